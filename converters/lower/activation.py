"""Elementwise functions: stock layers if they compute the same, otherwise extension layers."""

from __future__ import annotations

from typing import Any

import numpy as np

from matnet.converters.graph.netdef import LayerDef
from matnet.converters.lower.builder import Builder, own_fields
from matnet.converters.lower.python_layers import lowers_python
from matnet.converters.lower.registry import lowers
from matnet.errors import UnsupportedLayersError
from matnet.ops import extensions
from matnet.ops.activation import DropOut, ReLU, Sigmoid
from matnet.ops.combine import Scale, Sum

ONE = np.ones((1, 1), np.float32)
SAME = {
    "BNLL": "",
    "Clip": "clip_param",
    "ELU": "elu_param",
    "Exp": "exp_param",
    "HardSwish": "",  # MobileNetV3 forks
    "Log": "log_param",
    "Mish": "",  # YOLOv4 forks
    "Threshold": "threshold_param",
}
"""Caffe type with the name and fields of its op -> the parameter message that has the fields."""


@lowers(*SAME)
def same_fields(layer: LayerDef, net: Builder) -> None:
    """An op with Caffe's fields."""
    kind, message = getattr(extensions, layer.type), SAME[layer.type]
    net.pointwise(layer, kind(**own_fields(kind, layer.params.get(message))) if message else kind())


@lowers("Sigmoid")
def sigmoid(layer: LayerDef, net: Builder) -> None:
    """Sigmoid."""
    net.pointwise(layer, Sigmoid())


@lowers("ReLU")
def relu(layer: LayerDef, net: Builder) -> None:
    """ReLU with negative_slope as its leak; a fork's `relu6` also clips at 6."""
    if layer.params.get("relu_param").get("relu6"):
        relu6(layer, net)
        return
    net.pointwise(layer, ReLU(leak=layer.params.get("relu_param").get("negative_slope")))


@lowers("PReLU")
def prelu(layer: LayerDef, net: Builder) -> None:
    """max(x, 0) - a max(-x, 0): exact, because one term is zero; a single slope becomes a leak."""
    shared = layer.params.get("prelu_param").get("channel_shared")
    channels = net.channels(layer)
    slope = net.weight(layer, 0, () if shared else (channels,))
    if shared and net.with_weights:
        net.pointwise(layer, ReLU(leak=float(slope.array)))
        return
    x = net.operand(layer.inputs[0])
    factors = np.broadcast_to(-slope.array, (1, 1, channels))
    positive = net.step(layer, "positive", ReLU(), [x])
    negative = net.step(layer, "negative", ReLU(), [scaled(layer, net, "minus", x, -1.0)])
    params = [net.param(layer, "mult", factors, slope)]
    op = Scale(size=factors.shape, hasBias=False)
    net.finish(layer, Sum(), [positive, net.step(layer, "sloped", op, [negative], params)])


@lowers("TanH")
def tanh(layer: LayerDef, net: Builder) -> None:
    """An extension; with extensions `avoid`, 2 sigmoid(2x) - 1, which loses digits near 0."""
    if net.options.extensions == "allow":
        net.pointwise(layer, extensions.TanH())
        return
    halved = net.step(layer, "sigmoid", Sigmoid(), [scaled(layer, net, "double", net.operand(layer.inputs[0]), 2.0)])
    net.finish(layer, *affine(layer, net, 2.0, -1.0, halved))


@lowers("AbsVal")
def absolute(layer: LayerDef, net: Builder) -> None:
    """max(x, 0) + max(-x, 0)."""
    x = net.operand(layer.inputs[0])
    positive = net.step(layer, "positive", ReLU(), [x])
    negative = net.step(layer, "negative", ReLU(), [scaled(layer, net, "minus", x, -1.0)])
    net.finish(layer, Sum(), [positive, negative])


@lowers("Power")
def power(layer: LayerDef, net: Builder) -> None:
    """(shift + scale x) ^ power: a Scale, multiplied with itself for power 2; an extension for other powers."""
    param = layer.params.get("power_param")
    exponent, factor, shift = param.get("power"), param.get("scale"), param.get("shift")
    x = net.operand(layer.inputs[0])
    if exponent == 1 and factor != 0:
        net.finish(layer, *affine(layer, net, factor, shift, x))
    elif exponent == 2 and factor != 0:
        if (factor, shift) != (1, 0):
            op, inputs, params = affine(layer, net, factor, shift, x)
            x = net.step(layer, "base", op, inputs, params)
        net.finish(layer, Scale(hasBias=False), [x, x])
    else:
        net.pointwise(layer, extensions.Power(power=exponent, scale=factor, shift=shift))


@lowers("Swish")
def swish(layer: LayerDef, net: Builder) -> None:
    """x times sigmoid(beta x)."""
    beta = layer.params.get("swish_param").get("beta")
    x = net.operand(layer.inputs[0])
    gate = x if beta == 1 else scaled(layer, net, "beta", x, beta)
    net.finish(layer, Scale(hasBias=False), [x, net.step(layer, "gate", Sigmoid(), [gate])])


@lowers("ReLU6")
def relu6(layer: LayerDef, net: Builder) -> None:
    """Clip from 0 to 6 (MobileNet forks)."""
    if layer.params.get("relu_param").get("negative_slope"):
        raise UnsupportedLayersError("has a negative_slope, which ReLU6 does not support")
    net.pointwise(layer, extensions.Clip(min=0.0, max=6.0))


@lowers("Dropout")
def dropout(layer: LayerDef, net: Builder) -> None:
    """DropOut, the identity at test time; a fork's `scale_train: false` scales by the fraction kept in training."""
    param = layer.params.get("dropout_param")
    ratio = param.get("dropout_ratio")
    if not param.get("scale_train"):
        net.note(layer, f"scales by {1 - ratio:g}, because its training does not (scale_train: false)")
        net.finish(layer, *affine(layer, net, 1 - ratio, 0.0, net.operand(layer.inputs[0])))
    elif net.options.remove_dropout:
        net.same(layer)
    else:
        net.pointwise(layer, DropOut(rate=ratio))


@lowers_python("spatial_dropout.SpatialDropoutLayer")
def spatial_dropout(layer: LayerDef, net: Builder, values: dict[str, Any]) -> None:
    """ENet's dropout of whole maps, the identity at test time."""
    net.same(layer)


def affine(
    layer: LayerDef, net: Builder, factor: float, shift: float, variable: str
) -> tuple[Scale, list[str], list[str]]:
    """The op, inputs and params of `factor * variable + shift` with scalar factor and shift."""
    params = [net.param(layer, "mult", np.float32(factor) * ONE)]
    if shift:
        params.append(net.param(layer, "bias", np.float32(shift) * ONE))
    return Scale(size=(1, 1, 1, 1), hasBias=bool(shift)), [variable], params


def scaled(layer: LayerDef, net: Builder, part: str, variable: str, factor: float) -> str:
    """Add an intermediate layer that multiplies a variable by a number."""
    name = net.param(layer, f"{part}_mult", np.float32(factor) * ONE)
    return net.step(layer, part, Scale(size=(1, 1, 1, 1), hasBias=False), [variable], [name])
