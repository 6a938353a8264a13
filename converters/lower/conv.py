"""Convolution, Deconvolution, InnerProduct and Im2col: products with filters."""

from __future__ import annotations

from collections.abc import Sequence
from math import isqrt, prod

import numpy as np

from matnet.converters.files.message import Message
from matnet.converters.graph.netdef import LayerDef
from matnet.converters.graph.windows import convolution_window
from matnet.converters.lower.builder import Builder, ParamBlob
from matnet.converters.lower.registry import lowers
from matnet.converters.lower.sizes import SizeNeededError, Sizes, known
from matnet.errors import NetworkError, ShapeError, UnsupportedLayersError
from matnet.layout import kchw_to_filters
from matnet.ops import extensions
from matnet.ops.convolution import Conv, ConvTranspose
from matnet.shapes import Pad

LARGEST_SELECTION = 1 << 22
"""The most elements of filters that only copy channels: 16 MB, 2048 of 2048 channels."""
DEPTHWISE = ("DepthwiseConvolution", "ConvolutionDepthwise")


@lowers("Convolution", *DEPTHWISE, bottoms=(1, None), tops=(1, None))
def convolution(layer: LayerDef, net: Builder) -> None:
    """Conv; several bottoms share the same filters."""
    param = layer.params.get("convolution_param")
    window = convolution_window(param)
    outputs, channels = _outputs(param), _channels(layer, net, param)
    groups = _groups(layer, param, channels)
    _refuse_uneven("input channels", channels, groups)
    _refuse_uneven("num_output", outputs, groups)
    weight = net.weight(layer, 0, (outputs, channels // groups, *window.kernel))
    params = _params(layer, net, param, weight, kchw_to_filters(weight.array), outputs)
    op = Conv(
        size=(*window.kernel, channels // groups, outputs),
        hasBias=len(params) > 1,
        pad=window.pads,
        stride=window.stride,
        dilate=window.dilation,
    )
    _once_per_bottom(layer, net, op, params)


@lowers("Deconvolution", bottoms=(1, None), tops=(1, None))
def deconvolution(layer: LayerDef, net: Builder) -> None:
    """ConvTranspose; a dilated kernel gets explicit zeros, because ConvTranspose has no dilation."""
    param = layer.params.get("convolution_param")
    window = convolution_window(param)
    outputs, channels, groups = _outputs(param), _channels(layer, net, param), int(param.get("group"))
    _refuse_uneven("input channels", channels, groups)
    _refuse_uneven("num_output", outputs, groups)
    weight = net.weight(layer, 0, (channels, outputs // groups, *window.kernel))
    filters = _with_holes(kchw_to_filters(weight.array), window.dilation)
    params = _params(layer, net, param, weight, filters, outputs)
    op = ConvTranspose(
        size=(*window.spans, outputs // groups, channels),
        hasBias=len(params) > 1,
        upsample=window.stride,
        crop=window.pads,
        numGroups=groups,
    )
    _once_per_bottom(layer, net, op, params)


@lowers("InnerProduct")
def inner_product(layer: LayerDef, net: Builder) -> None:
    """Conv with a kernel as large as the input: Caffe's K runs over channels, rows, columns in this order."""
    param = layer.params.get("inner_product_param")
    axis = net.axis(layer, param.get("axis"))
    if axis != 1:
        _inner_product_along(layer, net, param, axis)
        return
    value = net.values[layer.inputs[0]]
    outputs = _outputs(param)
    _, channels, height, width = _flattened_sizes(layer, net, net.sizes[value.variable])
    weight = _matrix(layer, net, param, outputs, channels * height * width)
    filters = kchw_to_filters(weight.array.reshape(outputs, channels, height, width))
    params = _params(layer, net, param, weight, filters, outputs)
    op = Conv(size=(height, width, channels, outputs), hasBias=len(params) > 1)
    net.finish(layer, op, [value.variable], params, rank=2)
    net.settle(layer.outputs[0], (net.shape(layer.inputs[0])[0], outputs))


def _inner_product_along(layer: LayerDef, net: Builder, param: Message, axis: int) -> None:
    shape = net.shape(layer.inputs[0])
    if not known(shape[axis:]):
        raise SizeNeededError("needs a known input size")
    outputs = _outputs(param)
    weight = _matrix(layer, net, param, outputs, prod(size or 0 for size in shape[axis:]))
    params = _params(layer, net, param, weight, weight.array, outputs)
    net.finish(layer, extensions.InnerProduct(axis=axis, hasBias=len(params) > 1), params=params, rank=axis + 1)


def _matrix(layer: LayerDef, net: Builder, param: Message, outputs: int, inputs: int) -> ParamBlob:
    """The weights as outputs x inputs."""
    if not param.get("transpose"):
        return net.weight(layer, 0, (outputs, inputs))
    stored = net.weight(layer, 0, (inputs, outputs))
    return ParamBlob(stored.array.T, stored.key)


def _flattened_sizes(layer: LayerDef, net: Builder, sizes: Sizes) -> tuple[int, int, int, int]:
    """The input's sizes; unknown height and width are inferred from the weights, as a square."""
    channels, height, width = sizes[1:]
    if channels is not None and (height is None or width is None) and layer.blobs:
        area, rest = divmod(layer.blobs[0].data.size, _outputs(layer.params.get("inner_product_param")) * channels)
        if not rest and isqrt(area) ** 2 == area:
            height = width = isqrt(area)
            net.note(layer, f"its weights take an input of {height}x{width}; the network's input size is unknown")
    if channels is None or height is None or width is None:
        raise SizeNeededError("its weights depend on the unknown input size")
    return sizes[0] or 1, channels, height, width


@lowers("Im2col")
def im2col(layer: LayerDef, net: Builder) -> None:
    """Conv with filters that each select one pixel of the window, channel (c * kh + y) * kw + x; or an extension."""
    window = convolution_window(layer.params.get("convolution_param"))
    channels = _channels(layer, net, layer.params.get("convolution_param"))
    height, width = window.kernel
    if not selectable(channels * height * width, channels * height * width):
        pad = window.pads
        op = extensions.Im2col(kernelSize=window.kernel, stride=window.stride, pad=pad, dilate=window.dilation)
        net.finish(layer, op)
        return
    picks = np.eye(channels * height * width, dtype=np.float32).reshape(-1, channels, height, width)
    params = [net.param(layer, "filter", kchw_to_filters(picks))]
    conv = Conv(
        size=(height, width, channels, channels * height * width),
        hasBias=False,
        pad=window.pads,
        stride=window.stride,
        dilate=window.dilation,
    )
    net.finish(layer, conv, params=params)


def selectable(channels: int, count: int) -> bool:
    """Whether filters that select `count` of `channels` channels are small; otherwise extensions are used."""
    return channels * count <= LARGEST_SELECTION


def selection(channels: int, chosen: Sequence[int]) -> np.ndarray:
    """1 x 1 filters that copy the channels `chosen`, in this order, out of `channels`."""
    filters = np.zeros((1, 1, channels, len(chosen)), np.float32, order="F")
    filters[0, 0, list(chosen), range(len(chosen))] = 1
    return filters


def zero_padded(layer: LayerDef, net: Builder, variable: str, channels: int, pad: Pad) -> str:
    """A zero-padded variable: a padded 1 x 1 convolution of every channel with 1."""
    if not selectable(channels, 1):
        raise UnsupportedLayersError(f"pads {channels:,} channels; at most {LARGEST_SELECTION:,} are supported")
    ones = net.param(layer, "pad_filter", np.ones((1, 1, 1, channels), np.float32))
    return net.step(layer, "pad", Conv(size=(1, 1, 1, channels), hasBias=False, pad=pad), [variable], [ones])


def _params(
    layer: LayerDef, net: Builder, param: Message, weight: ParamBlob, filters: np.ndarray, outputs: int
) -> list[str]:
    names = [net.param(layer, "filter", filters, weight)]
    if param.get("bias_term"):
        bias = net.weight(layer, 1, (outputs,))
        names.append(net.param(layer, "bias", bias.array.reshape(outputs, 1), bias))
    return names


def _once_per_bottom(layer: LayerDef, net: Builder, op: Conv | ConvTranspose, params: list[str]) -> None:
    if len(layer.inputs) != len(layer.outputs):
        raise NetworkError(f"has {len(layer.inputs)} bottoms and {len(layer.outputs)} tops; expected equal numbers")
    for index in range(len(layer.inputs)):
        part = f"{index + 1}" if index else ""
        net.finish(layer, op, [net.operand(layer.inputs[index])], params, tops=slice(index, index + 1), part=part)


def _outputs(param: Message) -> int:
    count = int(param.get("num_output"))
    if count < 1:
        raise NetworkError("num_output is missing or 0; expected at least 1")
    return count


def _channels(layer: LayerDef, net: Builder, param: Message) -> int:
    shape = net.shape(layer.inputs[0])
    if len(shape) != 4:
        raise UnsupportedLayersError(f"reads a blob with {len(shape)} axes; only N x C x H x W is supported")
    if param.get("axis") not in (1, -3):
        raise UnsupportedLayersError(f"convolves along axis {param.get('axis')}; only axis 1 is supported")
    if shape[1] is None and layer.blobs and len(layer.blobs[0].shape) == 4:
        outputs, inputs = layer.blobs[0].shape[:2]  # known only from the weights
        return outputs if layer.type == "Deconvolution" else inputs * max(_groups(layer, param, outputs), 1)
    return net.channels(layer)


def _groups(layer: LayerDef, param: Message, channels: int) -> int:
    """The number of groups; forks' depthwise types imply one group per channel."""
    implied = layer.type in DEPTHWISE and not param.has("group")
    return channels if implied else int(param.get("group"))


def _refuse_uneven(what: str, count: int, groups: int) -> None:
    if groups < 1 or count % groups:
        raise ShapeError(f"{count} {what} are not divisible by {groups} groups")


def _with_holes(filters: np.ndarray, dilation: tuple[int, int]) -> np.ndarray:
    if dilation == (1, 1):
        return filters
    height, width, *rest = filters.shape
    spread = np.zeros(((height - 1) * dilation[0] + 1, (width - 1) * dilation[1] + 1, *rest), np.float32)
    spread[:: dilation[0], :: dilation[1]] = filters
    return spread
