"""ONNX exporters of extension activations."""

from __future__ import annotations

import math

import numpy as np

from matnet.formats.onnx.graph import LayerWriter
from matnet.formats.onnx.registry import exporter
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

SAME_IN_ONNX: dict[type[Op], str] = {TanH: "Tanh", Tanh: "Tanh", AbsVal: "Abs", BNLL: "Softplus"}


@exporter(*SAME_IN_ONNX)
def write_same(writer: LayerWriter, op: Op) -> None:
    writer.node(SAME_IN_ONNX[type(op)], writer.inputs[0], to=writer.outputs[0])


@exporter(SoftMaxTranspose)
def write_softmax_along(writer: LayerWriter, op: SoftMaxTranspose) -> None:
    writer.node("Softmax", writer.inputs[0], to=writer.outputs[0], axis=AXIS_OF_DIM[op.dim])


@exporter(PReLU)
def write_prelu(writer: LayerWriter, op: PReLU) -> None:
    slopes = writer.constant(writer.prepared()[0], "slopes")  # C x 1 x 1
    writer.node("PRelu", writer.inputs[0], slopes, to=writer.outputs[0])


@exporter(ELU)
def write_elu(writer: LayerWriter, op: ELU) -> None:
    writer.node("Elu", writer.inputs[0], to=writer.outputs[0], alpha=op.alpha)


def _affine(writer: LayerWriter, scale: float, shift: float) -> str:
    """scale * x + shift, without trivial operations."""
    value = writer.inputs[0]
    if scale != 1:
        value = writer.node("Mul", value, writer.constant(scale, "scale"))
    return writer.node("Add", value, writer.constant(shift, "shift")) if shift else value


@exporter(Power)
def write_power(writer: LayerWriter, op: Power) -> None:
    if op.power == 0 or op.scale == 0:
        value = 1.0 if op.power == 0 else float(np.power(np.float32(op.shift), np.float32(op.power)))
        shape = writer.node("Shape", writer.inputs[0])
        writer.node("Expand", writer.constant(value), shape, to=writer.outputs[0])
        return
    base = _affine(writer, op.scale, op.shift)
    if op.power == 1:
        writer.node("Identity", base, to=writer.outputs[0])
    elif op.power == 2:
        writer.node("Mul", base, base, to=writer.outputs[0])
    else:
        writer.node("Pow", base, writer.constant(op.power, "power"), to=writer.outputs[0])


@exporter(Exp)
def write_exp(writer: LayerWriter, op: Exp) -> None:
    rate = 1.0 if op.base == -1 else math.log(op.base)
    power = writer.node("Exp", _affine(writer, rate * op.scale, 0.0))
    factor = writer.constant(math.exp(rate * op.shift), "factor")
    writer.node("Mul", power, factor, to=writer.outputs[0])


@exporter(Log)
def write_log(writer: LayerWriter, op: Log) -> None:
    logarithm = writer.node("Log", _affine(writer, op.scale, op.shift))
    factor = writer.constant(1.0 if op.base == -1 else 1 / math.log(op.base), "factor")
    writer.node("Mul", logarithm, factor, to=writer.outputs[0])


@exporter(Threshold)
def write_threshold(writer: LayerWriter, op: Threshold) -> None:
    greater = writer.node("Greater", writer.inputs[0], writer.constant(op.threshold, "threshold"))
    ones, zeros = writer.constant(1.0, "one"), writer.constant(0.0, "zero")
    writer.node("Where", greater, ones, zeros, to=writer.outputs[0])


@exporter(Clip)
def write_clip(writer: LayerWriter, op: Clip) -> None:
    bounds = writer.constant(op.min, "min"), writer.constant(op.max, "max")
    writer.node("Clip", writer.inputs[0], *bounds, to=writer.outputs[0])


@exporter(Swish)
def write_swish(writer: LayerWriter, op: Swish) -> None:
    gate = writer.node("Sigmoid", _affine(writer, op.beta, 0.0))
    writer.node("Mul", writer.inputs[0], gate, to=writer.outputs[0])


@exporter(Mish)
def write_mish(writer: LayerWriter, op: Mish) -> None:
    gate = writer.node("Tanh", writer.node("Softplus", writer.inputs[0]))
    writer.node("Mul", writer.inputs[0], gate, to=writer.outputs[0])


@exporter(HardSwish)
def write_hard_swish(writer: LayerWriter, op: HardSwish) -> None:
    gate = writer.node("HardSigmoid", writer.inputs[0], alpha=1 / 6, beta=0.5)
    writer.node("Mul", writer.inputs[0], gate, to=writer.outputs[0])
