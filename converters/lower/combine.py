"""Layers that combine blobs: Eltwise, Concat, Crop, MergeCrop, Axpy."""

from __future__ import annotations

from matnet.converters.graph.alignment import crop_offsets
from matnet.converters.graph.netdef import LayerDef
from matnet.converters.lower.activation import scaled
from matnet.converters.lower.builder import Builder
from matnet.converters.lower.conv import selectable, selection
from matnet.converters.lower.registry import lowers
from matnet.converters.lower.sizes import SizeNeededError, Sizes, text
from matnet.errors import NetworkError, ShapeError, UnsupportedLayersError, in_words
from matnet.ops.activation import ReLU
from matnet.ops.combine import Concat, Crop, Scale, Sum
from matnet.ops.convolution import Conv
from matnet.ops.extensions.activation import Power
from matnet.ops.extensions.combine import CaffeCrop, Max
from matnet.ops.extensions.common import as_axis
from matnet.ops.fields import DIM_OF_AXIS


@lowers("Eltwise", bottoms=(2, None))
def eltwise(layer: LayerDef, net: Builder) -> None:
    """SUM: Sum of inputs times coeff; PROD: a chain of Scales; MAX: an extension, or b + max(a - b, 0).

    DIV, of Synopsys' fork: a times the reciprocal of b, which is an extension.
    """
    param = layer.params.get("eltwise_param")
    operation, coefficients = param.get("operation"), [float(number) for number in param.get("coeff")]
    inputs = net.operands(layer)
    _require_one_shape(layer, net)
    if coefficients and operation in ("PROD", "DIV"):
        raise NetworkError("PROD and DIV do not allow coeff; remove it")
    if operation == "DIV" and len(inputs) != 2:
        raise NetworkError(f"DIV has {len(inputs)} bottoms; expected 2")
    if coefficients and len(coefficients) != len(inputs):
        raise NetworkError(f"has {len(coefficients)} coeff for {len(inputs)} bottoms; expected one per bottom, or none")
    if operation == "SUM":
        net.finish(layer, Sum(), _weighted(layer, net, inputs, coefficients))
    elif operation == "PROD":
        _product(layer, net, inputs)
    elif operation == "DIV":
        reciprocal = net.step(layer, "reciprocal", Power(power=-1.0), [inputs[1]])
        net.finish(layer, Scale(hasBias=False), [inputs[0], reciprocal])
    elif net.options.extensions == "allow":
        net.finish(layer, Max(), inputs)
    else:
        _maximum(layer, net, inputs)


def _weighted(layer: LayerDef, net: Builder, inputs: list[str], coefficients: list[float]) -> list[str]:
    if not coefficients:
        return inputs
    pairs = enumerate(zip(inputs, coefficients, strict=True), 1)
    return [x if factor == 1 else scaled(layer, net, f"times{index}", x, factor) for index, (x, factor) in pairs]


def _product(layer: LayerDef, net: Builder, inputs: list[str]) -> None:
    x, *others, last = inputs
    for index, other in enumerate(others, 2):
        x = net.step(layer, f"times{index}", Scale(hasBias=False), [x, other])
    net.finish(layer, Scale(hasBias=False), [x, last])


def _maximum(layer: LayerDef, net: Builder, inputs: list[str]) -> None:
    """max(a, b) = b + max(a - b, 0) for all inputs in turn; unlike the extension, it rounds."""
    x, *others = inputs
    for index, other in enumerate(others, 2):
        minus = scaled(layer, net, f"minus{index}", other, -1.0)
        excess = net.step(layer, f"excess{index}", ReLU(), [net.step(layer, f"less{index}", Sum(), [x, minus])])
        if index == len(inputs):
            net.finish(layer, Sum(), [other, excess])
        else:
            x = net.step(layer, f"max{index}", Sum(), [other, excess])


def _require_one_shape(layer: LayerDef, net: Builder) -> None:
    first, *others = (net.shape(variable) for variable in layer.inputs)
    for blob, shape in zip(layer.bottoms[1:], others, strict=True):
        different = [a != b for a, b in zip(first, shape, strict=False) if a is not None and b is not None]
        if len(shape) != len(first) or any(different):
            raise ShapeError(f"{blob!r} is {text(shape)}, {layer.bottoms[0]!r} is {text(first)}; they must be equal")


@lowers("Axpy", bottoms=3)
def axpy(layer: LayerDef, net: Builder) -> None:
    """a x + y with one a per channel (SENet fork): a Scale by the first bottom, and a Sum."""
    factor, x, y = net.operands(layer)
    if len(net.shape(layer.inputs[0])) not in (2, 4):
        raise UnsupportedLayersError("its first bottom must be N x C or N x C x 1 x 1")
    net.finish(layer, Sum(), [net.step(layer, "scaled", Scale(hasBias=False), [x, factor]), y], rank=4)


@lowers("Concat", bottoms=(1, None))
def concat(layer: LayerDef, net: Builder) -> None:
    """Concat along MATLAB's dimension for the axis; `concat_dim` is used only if set."""
    param = layer.params.get("concat_param")
    if param.has("concat_dim") and param.has("axis"):
        raise NetworkError("has both concat_dim and axis; keep only one")
    axis = net.axis(layer, param.get("concat_dim" if param.has("concat_dim") else "axis"))
    if len(layer.inputs) == 1:
        net.same(layer)
    else:
        net.finish(layer, Concat(dim=DIM_OF_AXIS[as_axis(axis)]))


@lowers("Crop", bottoms=2)
def crop(layer: LayerDef, net: Builder) -> None:
    """Crop at the given offsets, by default at those that align both inputs by geometry (FCN's branch of Caffe)."""
    if not layer.params.has("crop_param"):
        _aligned_crop(layer, net)
        return
    param = layer.params.get("crop_param")
    axis, given = net.axis(layer, param.get("axis")), [int(offset) for offset in param.get("offset")]
    rank = len(net.shape(layer.inputs[0]))
    if len(given) not in (0, 1, rank - axis):
        raise NetworkError(f"has {len(given)} offsets for {rank - axis} axes; expected one offset, or one per axis")
    _crop_at(layer, net, axis, given if len(given) > 1 else (given or [0]) * (rank - axis))


def _aligned_crop(layer: LayerDef, net: Builder) -> None:
    if net.options.crop == "caffe":
        net.note(layer, "has no offset; crops at 0, 0 like BVLC Caffe")
        _crop_at(layer, net, 2, [0, 0])
        return
    sizes = {name: (net.sizes[value.variable][2], net.sizes[value.variable][3]) for name, value in net.values.items()}
    try:
        offsets = crop_offsets(net.graph.layers, layer, net.crop_offsets, sizes)
    except NetworkError as error:  # FCN's branch of Caffe refuses such a layer, so the file is BVLC's
        net.note(layer, f"has no offset; crops at 0, 0 like BVLC Caffe, because alignment failed: {error}")
        _crop_at(layer, net, 2, [0, 0])
        return
    if offsets is None:
        net.note(layer, "has no offset; crops at 0, 0 like BVLC Caffe, because its inputs have no common blob")
        offsets = (0, 0)
    else:
        place = f"{offsets[0]}, {offsets[1]}"
        option = in_words("crop='caffe'", "--crop caffe")
        net.note(layer, f"has no offset; crops at {place}, aligned by geometry ({option}: at 0, 0)")
    _crop_at(layer, net, 2, list(offsets))


def _crop_at(layer: LayerDef, net: Builder, axis: int, offsets: list[int]) -> None:
    """Stock Crop for height and width, after a selection of channels if these are cropped; else an extension."""
    rank = len(net.shape(layer.inputs[0]))
    x, like = net.operands(layer)
    net.crop_offsets[layer.name] = (offsets[2 - axis], offsets[3 - axis]) if rank == 4 and axis <= 2 else (0, 0)
    cut, wanted = net.shape(layer.inputs[0]), net.shape(layer.inputs[1])
    _require_inside(layer, cut, wanted, axis, offsets)
    channels, kept = (cut[1], wanted[1]) if rank > 1 else (None, None)
    known = channels is not None and kept is not None and selectable(channels, kept)
    if rank != 4 or axis not in (1, 2) or (axis == 1 and not known):
        net.finish(layer, CaffeCrop(axis=axis, offset=tuple(offsets)))
        return
    if axis == 1 and channels is not None and kept is not None:
        chosen = range(offsets[0], offsets[0] + kept)
        filters = net.param(layer, "channels_filter", selection(channels, chosen))
        x = net.step(layer, "channels", Conv(size=(1, 1, channels, kept), hasBias=False), [x], [filters])
    net.finish(layer, Crop(crop=(offsets[2 - axis], offsets[3 - axis])), [x, like])


def _require_inside(layer: LayerDef, cut: Sizes, wanted: Sizes, axis: int, offsets: list[int]) -> None:
    if len(cut) != len(wanted):
        raise ShapeError(f"its bottoms have {len(cut)} and {len(wanted)} axes; they must have the same number")
    for index, offset in enumerate(offsets, axis):
        have, want = cut[index], wanted[index]
        if have is not None and want is not None and offset + want > have:
            raise ShapeError(
                f"a crop of {want} at {offset} along axis {index} is not inside {layer.bottoms[0]!r} ({text(cut)})"
            )


@lowers("MergeCrop", bottoms=2)
def merge_crop(layer: LayerDef, net: Builder) -> None:
    """The first bottom, and the second cropped at its centre to the same size: concatenated along channels, or added.

    Source: naibaf7's fork for U-Nets, mergecrop_layer.cpp and .cu. The crop offset is half the difference of the sizes,
    rounded down. With different numbers of channels, the fork's kernel mixes up the channels.
    """
    param = layer.params.get("mergecrop_param")
    if not all(param.get("forward")):
        raise UnsupportedLayersError("forward: false (zeros instead of a bottom) is not supported")
    small, large = (net.shape(name) for name in layer.inputs)
    if len(small) != 4 or len(large) != 4:
        raise ShapeError(f"its bottoms are {text(small)} and {text(large)}; both must have four axes")
    if small[1] != large[1]:
        raise UnsupportedLayersError(
            f"its bottoms have {small[1]} and {large[1]} channels; the fork supports only equal numbers"
        )
    if None in (*small[2:], *large[2:]):
        raise SizeNeededError("its crop offset depends on the unknown input size")
    offsets = [(have - want) // 2 for have, want in zip(large[2:], small[2:], strict=True) if have and want]
    if min(offsets) < 0:
        raise ShapeError(f"the second bottom, {text(large)}, is smaller than the first, {text(small)}")
    first, second = net.operands(layer)
    middle = net.step(layer, "middle", Crop(crop=(offsets[0], offsets[1])), [second, first])
    net.finish(layer, Sum() if param.get("operation") == "ADD" else Concat(dim=3), [first, middle])
