"""Pooling, SPP and ROIPooling: Caffe's ceil rounding and padded averages with MatConvNet's pooling."""

from __future__ import annotations

import numpy as np

from matnet.converters.graph.netdef import LayerDef
from matnet.converters.graph.windows import Window, pooling_window
from matnet.converters.lower.builder import Builder
from matnet.converters.lower.conv import zero_padded
from matnet.converters.lower.registry import lowers
from matnet.converters.lower.sizes import Sizes, text
from matnet.errors import UnsupportedLayersError, in_words
from matnet.ops import extensions
from matnet.ops.combine import Scale
from matnet.ops.convolution import Conv
from matnet.ops.pooling import Pooling
from matnet.ops.roi import CaffeROIPooling
from matnet.shapes import Pad, caffe_pool_trailing_pad, caffe_pooled, windows

MAKERS_OF_BOXES = frozenset(("Proposal", "Python", "BoxOutput", "BoxGroupOutput", "DecodeBBox"))
METHODS = {"MAX": "max", "AVE": "avg", "STOCHASTIC": "stochastic", "AVE_EXC_PAD": "avg"}


@lowers("Pooling", tops=(1, 2))
def pooling(layer: LayerDef, net: Builder) -> None:
    """Stock Pooling with Caffe's size; extensions for a mask, stochastic pooling, and windows outside the input.

    AVE_EXC_PAD (Synopsys' fork) divides by the number of pixels inside the input, like MatConvNet.
    """
    param = layer.params.get("pooling_param")
    variable = net.operand(layer.inputs[0])
    sizes = net.sizes[variable]
    method, floor = METHODS[param.get("pool")], param.get("round_mode") == "FLOOR"
    if param.get("global_pooling") and None in sizes[2:] and method != "stochastic":
        way = in_words("input_size=(height, width)", "--input-size HxW")
        net.note(layer, f"its input size is unknown; {way} makes it a stock layer")
        net.finish(layer, extensions.GlobalPooling(method=method), [variable])
        return
    window = pooling_window(param, (sizes[2], sizes[3]))
    if method == "stochastic" or len(layer.outputs) > 1 or _leaves_input(sizes, window, floor):
        if window.after is not None or param.get("pool") == "AVE_EXC_PAD":
            raise UnsupportedLayersError("combines windows outside its input, or a mask, with a fork's padding rules")
        _as_caffe(layer, net, window, method, floor)
    elif param.get("pool") == "AVE" and any(window.pads):
        _average_with_border(layer, net, variable, window, floor)
    else:
        op = Pooling(method=method, poolSize=window.kernel, stride=window.stride, pad=_pads(window, floor))
        net.finish(layer, op, [variable])


def _average_with_border(layer: LayerDef, net: Builder, variable: str, window: Window, floor: bool) -> None:
    """Zero padding, then an average without pad, which counts the zeros like Caffe, but nothing beyond them."""
    _, bottom, _, right = _pads(window, floor)
    counted = window.pads[0], min(window.pads[1], bottom), window.pads[2], min(window.pads[3], right)
    bordered = zero_padded(layer, net, variable, net.channels(layer), counted)
    pad = (0, bottom - counted[1], 0, right - counted[3])
    net.finish(layer, Pooling(method="avg", poolSize=window.kernel, stride=window.stride, pad=pad), [bordered])


def _pads(window: Window, floor: bool) -> Pad:
    """Top, bottom, left, right pads for MatConvNet's floor rule, valid for every input size."""
    top, bottom, left, right = window.pads
    if not floor:
        bottom = caffe_pool_trailing_pad(window.kernel[0], window.stride[0], bottom)
        right = caffe_pool_trailing_pad(window.kernel[1], window.stride[1], right)
    return top, bottom, left, right


def _leaves_input(sizes: Sizes, window: Window, floor: bool) -> bool:
    """Whether the last window is completely outside the input, as in Caffe for some strides larger than the window."""
    top, bottom, left, right = _pads(window, floor)
    _, below, _, behind = window.pads
    for axis, (before, stated, after) in enumerate(((top, below, bottom), (left, behind, right))):
        size, kernel, stride = sizes[2 + axis], window.kernel[axis], window.stride[axis]
        if size is None:
            continue
        wanted = caffe_pooled(size, kernel, stride, before, floor, clip=any(window.pads), after=stated)
        if wanted != windows(size, before, after, kernel, stride):
            return True
    return False


def _as_caffe(layer: LayerDef, net: Builder, window: Window, method: str, floor: bool) -> None:
    """The extension with all of Caffe's rules; a second top holds the index of each maximum."""
    op = extensions.CaffePooling(
        method=method,
        poolSize=window.kernel,
        stride=window.stride,
        pad=(window.pad[0], window.pad[0], window.pad[1], window.pad[1]),
        roundMode="floor" if floor else "ceil",
        mask=len(layer.outputs) > 1,
    )
    net.finish(layer, op)


@lowers("SPP")
def spatial_pyramid(layer: LayerDef, net: Builder) -> None:
    """An extension; a pyramid with one level is not flattened."""
    param = layer.params.get("spp_param")
    height = param.get("pyramid_height")
    if param.get("pool") == "AVE_EXC_PAD":
        raise UnsupportedLayersError("pool AVE_EXC_PAD is not supported in SPP; expected MAX, AVE or STOCHASTIC")
    op = extensions.SPP(pyramidHeight=height, method=METHODS[param.get("pool")])
    net.finish(layer, op, rank=4 if height == 1 else 2)


@lowers("ROIPooling", bottoms=2)
def roi_pooling(layer: LayerDef, net: Builder) -> None:
    """ROIPooling; boxes [image x1 y1 x2 y2] are 0-based in Caffe and 1-based in MatConvNet, so 1 is added first.

    A fork's `pad_ratio` enlarges them before.
    """
    param = layer.params.get("roi_pooling_param")
    features, boxes = net.operands(layer)
    if param.get("pad_ratio"):
        boxes = _padded_boxes(layer, net, boxes, param.get("pad_ratio"))
    made = _made_by_a_layer(layer.inputs[1], net)
    if made or net.options.roi_base == "caffe":
        ones = np.ones((1, 1), np.float32)
        params = [net.param(layer, "from_zero_mult", ones), net.param(layer, "from_zero_bias", ones)]
        boxes = net.step(layer, "from_zero", Scale(size=(1, 1, 1, 1), hasBias=True), [boxes], params)
        way = in_words("roi_base='matconvnet'", "--roi-base matconvnet")
        choice = "" if made else f"; {way} makes it 1-based"
        net.note(layer, f"{layer.bottoms[1]!r} is 0-based as in Caffe{choice}")
    else:
        net.note(layer, f"{layer.bottoms[1]!r} is 1-based as in MatConvNet (image index and coordinates)")
    op = CaffeROIPooling(
        method="max",
        subdivisions=(param.get("pooled_h"), param.get("pooled_w")),
        transform=param.get("spatial_scale"),
        flatten=False,
    )
    net.finish(layer, op, [features, boxes], rank=4)


def _made_by_a_layer(variable: str, net: Builder) -> bool:
    """Whether a layer of the network computes these boxes (0-based as in Caffe), instead of the user feeding them."""
    for made in reversed(net.graph.layers):
        if variable in made.outputs:
            return made.type in MAKERS_OF_BOXES or any(_made_by_a_layer(name, net) for name in made.inputs)
    return False


def _padded_boxes(layer: LayerDef, net: Builder, boxes: str, ratio: float) -> str:
    """Boxes with `ratio` of their width and height added on every side (MS-CNN, roi_pooling layer).

    The width of a box is x2 - x1 + 1, so x1 becomes x1 - ratio (x2 - x1 + 1), which is a 1 x 1 convolution.
    """
    if net.sizes[boxes][1:] not in ((5, 1, 1), (None, 1, 1)):
        raise UnsupportedLayersError(f"pads boxes of {text(net.sizes[boxes])}; expected N x 5")
    first, second = (1, 2), (3, 4)  # left and top, right and bottom
    filters = np.zeros((1, 1, 5, 5), np.float32, order="F")
    filters[0, 0, range(5), range(5)] = 1
    offsets = np.zeros((5, 1), np.float32)
    for low, high in zip(first, second, strict=True):
        filters[0, 0, [low, high], low] = 1 + ratio, -ratio
        filters[0, 0, [low, high], high] = -ratio, 1 + ratio
        offsets[[low, high], 0] = -ratio, ratio
    params = [net.param(layer, "padded_filter", filters), net.param(layer, "padded_bias", offsets)]
    net.note(layer, f"adds {ratio:g} of each box's size on every side (pad_ratio)")
    return net.step(layer, "padded", Conv(size=(1, 1, 5, 5)), [boxes], params)
