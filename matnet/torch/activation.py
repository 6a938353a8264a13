"""Elementwise functions, softmax and dropout of MatConvNet and Caffe in torch."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from matnet.ops.activation import DropOut, ReLU, Sigmoid, SoftMax
from matnet.ops.base import Op
from matnet.ops.extensions.activation import (
    BNLL,
    ELU,
    AbsVal,
    Clip,
    Exp,
    HardSwish,
    Log,
    Mish,
    Power,
    PReLU,
    Swish,
    TanH,
    Tanh,
    Threshold,
)
from matnet.ops.extensions.reduce import SoftMaxTranspose
from matnet.ops.fields import AXIS_OF_DIM
from matnet.torch.registry import translation
from matnet.torch.writer import LayerWriter, call, number

MODULES: dict[type[Op], Callable[[Any], str]] = {
    ReLU: lambda op: call("nn.LeakyReLU", op.leak) if op.leak else "nn.ReLU()",  # NaN stays NaN; MATLAB's max gives 0
    Sigmoid: lambda op: "nn.Sigmoid()",
    SoftMax: lambda op: "nn.Softmax(dim=1)",
    SoftMaxTranspose: lambda op: f"nn.Softmax(dim={AXIS_OF_DIM[op.dim]})",
    DropOut: lambda op: call("nn.Dropout", op.rate),
    TanH: lambda op: "nn.Tanh()",
    Tanh: lambda op: "nn.Tanh()",
    BNLL: lambda op: "nn.Softplus()",
    ELU: lambda op: call("nn.ELU", op.alpha),
    Clip: lambda op: call("nn.Hardtanh", op.min, op.max),
    Mish: lambda op: "nn.Mish()",
    HardSwish: lambda op: "nn.Hardswish()",
}
"""Ops with a module of torch: its constructor."""


@translation(*MODULES)
def write_module(writer: LayerWriter, op: Op) -> None:
    writer.through(MODULES[type(op)](op))


@translation(PReLU)
def write_prelu(writer: LayerWriter, op: PReLU) -> None:
    slopes = writer.prepared().ravel()
    writer.through(call("nn.PReLU", slopes.size), weight=slopes)


@translation(AbsVal)
def write_absolute(writer: LayerWriter, op: AbsVal) -> None:
    writer.write(f"{writer.x}.abs()")


def _affine(writer: LayerWriter, scale: float, shift: float) -> str:
    """scale * x + shift, without no-ops."""
    value = writer.x if scale == 1 else f"{number(scale)} * {writer.x}"
    return f"({value} + {number(shift)})" if shift else value if scale == 1 else f"({value})"


@translation(Power)
def write_power(writer: LayerWriter, op: Power) -> None:
    if op.power == 0 or op.scale == 0:
        with np.errstate(all="ignore"):
            value = 1.0 if op.power == 0 else float(np.power(np.float32(op.shift), np.float32(op.power)))
        text = f"torch.full_like({writer.x}, {_literal(value)})"
        writer.write(text)
        return
    base = _affine(writer, op.scale, op.shift)
    writer.write(base if op.power == 1 else f"{base} ** {number(op.power)}")


def _literal(value: float) -> str:
    return number(value) if math.isfinite(value) else f'float("{value}")'


@translation(Exp)
def write_exp(writer: LayerWriter, op: Exp) -> None:
    rate = 1.0 if op.base == -1 else math.log(op.base)
    power = f"torch.exp({_affine(writer, rate * op.scale, 0.0)})"
    factor = math.exp(rate * op.shift)
    writer.write(power if factor == 1 else f"{number(factor)} * {power}")


@translation(Log)
def write_log(writer: LayerWriter, op: Log) -> None:
    logarithm = f"torch.log({_affine(writer, op.scale, op.shift)})"
    writer.write(logarithm if op.base == -1 else f"{logarithm} * {1 / math.log(op.base)!r}")


@translation(Threshold)
def write_threshold(writer: LayerWriter, op: Threshold) -> None:
    writer.write(f"({writer.x} > {number(np.float32(op.threshold))}).to({writer.x}.dtype)")


@translation(Swish)
def write_swish(writer: LayerWriter, op: Swish) -> None:
    if op.beta == 1:
        writer.through("nn.SiLU()")
    else:
        writer.write(f"{writer.x} * torch.sigmoid({_affine(writer, op.beta, 0.0)})")
