"""Layers that change the shape or order of values: Flatten, Reshape, Permute, Slice, Tile, Split and others.

A Flatten or Reshape that only merges trailing axes needs no layer: its blob is an alias of its input with fewer axes.
A layer is added only if a reader needs the merged axes, or if no layer reads the blob. A blob with more than four axes
is also an alias; only Reshape, Flatten, Permute, Transpose and elementwise functions can read it.
"""

from __future__ import annotations

from itertools import pairwise
from math import prod

import numpy as np

from matnet.converters.graph.netdef import LayerDef
from matnet.converters.graph.storage import SHARED
from matnet.converters.lower.builder import Builder, Value
from matnet.converters.lower.conv import selectable, selection
from matnet.converters.lower.registry import lowers
from matnet.converters.lower.sizes import SizeNeededError, Sizes, known, merged, numbers, padded, text
from matnet.errors import NetworkError, ShapeError
from matnet.ops.convolution import Conv
from matnet.ops.extensions.combine import BatchReindex, Filter, Slice, Tile
from matnet.ops.extensions.reshape import (
    CaffeFlatten,
    CaffeReshape,
    ChannelShuffle,
    Permute,
    PermuteAxes,
    Reverse,
    fill_in,
)


@lowers("Flatten")
def flatten(layer: LayerDef, net: Builder) -> None:
    """Merge axes; if possible, without a layer for trailing axes."""
    param = layer.params.get("flatten_param")
    first, last = net.axis(layer, param.get("axis")), net.axis(layer, param.get("end_axis"))
    if last < first:
        raise NetworkError(f"end_axis {last} is before axis {first}")
    shape = net.shape(layer.inputs[0])
    if len(shape) > 4:
        new = (*shape[:first], _count(shape[first : last + 1]), *shape[last + 1 :])
        _reshape(layer, net, new, CaffeReshape(shape=numbers(padded(new)) if len(new) <= 4 else ()))
    elif last == len(shape) - 1:
        _reshape(layer, net, (*shape[:first], _count(shape[first:])), CaffeFlatten(axis=first))
    else:
        rank = len(shape) - (last - first)
        net.finish(layer, CaffeFlatten(axis=first, endAxis=last), rank=rank)


@lowers("Reshape")
def reshape(layer: LayerDef, net: Builder) -> None:
    """Another shape for the same values; without a layer if it only merges or adds trailing axes."""
    param = layer.params.get("reshape_param")
    shape, wanted = net.shape(layer.inputs[0]), tuple(param.get("shape").get("dim"))
    rank, axis, count = len(shape), param.get("axis"), param.get("num_axes")
    first = axis + rank + 1 if axis < 0 else axis
    last = rank if count == -1 else first + count
    if not 0 <= first <= last <= rank:
        raise NetworkError(f"axis {axis} and num_axes {count} are outside the {rank} axes of {text(shape)}")
    more = max(rank, rank - (last - first) + len(wanted)) > 4
    if not known(shape):
        if more:
            raise SizeNeededError("its output has more than four axes, which needs a known input size")
        op = CaffeReshape(shape=wanted, axis=first, numAxes=count)
        net.finish(layer, op, rank=rank - (last - first) + len(wanted))
        return
    op = CaffeReshape() if more else CaffeReshape(shape=wanted, axis=first, numAxes=count)
    sizes = [size for size in shape if size is not None]
    new = (*sizes[:first], *fill_in(wanted, sizes[first:], prod(sizes[first:last])), *sizes[last:])
    if rank > 4 and len(new) <= 4:
        op = CaffeReshape(shape=numbers(padded(new)))
    _reshape(layer, net, new, op)


def _reshape(layer: LayerDef, net: Builder, shape: Sizes, op: CaffeFlatten | CaffeReshape) -> None:
    """Change the shape; no layer if merging the stored sizes is enough and a layer reads it, or beyond 4 axes."""
    if len(shape) > 4 or (_is_free(net, layer.inputs[0], shape) and net.readers[layer.outputs[0]]):
        net.same(layer, shape)
    else:
        net.finish(layer, op, [net.stored(layer.inputs[0])], rank=len(shape))


def _is_free(net: Builder, variable: str, shape: Sizes) -> bool:
    """Whether merging a variable's stored sizes yields `shape`."""
    stored = net.sizes[net.values[variable].variable]
    return known(shape) and len(shape) <= 4 and (padded(shape) == stored or merged(stored, len(shape)) == shape)


@lowers(SHARED, bottoms=2)
def shared_storage(layer: LayerDef, net: Builder) -> None:
    """The shape of the first bottom with the values of the second."""
    shape = net.shape(layer.inputs[0])
    if _is_free(net, layer.inputs[1], shape):
        net.same(layer, shape, bottom=1)
    elif known(shape):
        net.finish(layer, CaffeReshape(shape=numbers(shape)), [net.operand(layer.inputs[1])])
    else:
        raise SizeNeededError("needs a known input size")


def _count(shape: Sizes) -> int | None:
    return prod(size for size in shape if size is not None) if known(shape) else None


@lowers("Permute")
def permute(layer: LayerDef, net: Builder) -> None:
    """An extension (SSD fork): output axis i is input axis order[i]; the other axes follow in order."""
    order = [int(axis) for axis in layer.params.get("permute_param").get("order")]
    rank = len(net.shape(layer.inputs[0]))
    if len(set(order)) < len(order) or any(axis >= rank for axis in order):
        raise NetworkError(f"order {order} must list different axes of a blob with {rank} axes")
    _exchange(layer, net, [*order, *(axis for axis in range(max(rank, 4)) if axis not in order)])


@lowers("Transpose")
def transpose(layer: LayerDef, net: Builder) -> None:
    """An extension (CTC and 3-D forks): output axis i is input axis dim[i]; every axis must be listed."""
    order = [int(axis) for axis in layer.params.get("transpose_param").get("dim")]
    rank = len(net.shape(layer.inputs[0]))
    if sorted(order) != list(range(rank)):
        raise NetworkError(f"dim {order} must list each axis of a blob with {rank} axes once")
    _exchange(layer, net, [*order, *range(rank, 4)])


def _exchange(layer: LayerDef, net: Builder, axes: list[int]) -> None:
    shape = net.shape(layer.inputs[0])
    if axes == sorted(axes) and net.readers[layer.outputs[0]]:
        net.same(layer)
    elif len(shape) <= 4:
        net.finish(layer, Permute.from_axes(axes))
    else:
        op = PermuteAxes(shape=numbers(shape), order=tuple(axes))
        net.finish(layer, op, [net.stored(layer.inputs[0])], rank=4)
        net.values[layer.outputs[0]] = Value(layer.outputs[0], tuple(shape[axis] for axis in axes))


@lowers("Squeeze")
def squeeze(layer: LayerDef, net: Builder) -> None:
    """Remove axes of size 1: the listed ones, else all (TensorFlow-like forks)."""
    shape = net.shape(layer.inputs[0])
    named = [net.axis(layer, int(axis)) for axis in layer.params.get("squeeze_param").get("axis")]
    if not known(shape):
        raise SizeNeededError("needs a known input size")
    if any(shape[axis] != 1 for axis in named):
        raise ShapeError(f"removes axes {named} of {text(shape)}; they must have size 1")
    gone = named or [axis for axis, size in enumerate(shape) if size == 1]
    new = tuple(size for axis, size in enumerate(shape) if axis not in gone)
    _reshape(layer, net, new, CaffeReshape(shape=numbers(padded(new))))


@lowers("Reverse")
def reverse(layer: LayerDef, net: Builder) -> None:
    """An extension (CTC forks) that reverses the order along an axis."""
    axes = [net.axis(layer, int(axis)) for axis in layer.params.get("reverse_param").get("axis")] or [0]
    net.finish(layer, Reverse(axis=tuple(sorted(axes))))


@lowers("Flip")
def flip(layer: LayerDef, net: Builder) -> None:
    """The image mirrored left to right, unless flip_width is false, and upside down with flip_height.

    Source: happynear's caffe-windows, flip_layer.cpp and caffe.proto.
    """
    param = layer.params.get("flip_param")
    axes = [axis for axis, name in ((2, "flip_height"), (3, "flip_width")) if param.get(name)]
    if axes:
        net.finish(layer, Reverse(axis=tuple(axes)))
    else:
        net.same(layer)


@lowers("Split", tops=(1, None))
def split(layer: LayerDef, net: Builder) -> None:
    """Aliases of one blob."""
    net.same(layer)


@lowers("Slice", tops=(1, None))
def slice_blob(layer: LayerDef, net: Builder) -> None:
    """Along channels, 1 x 1 convolutions that select channels; along other axes, an extension."""
    param = layer.params.get("slice_param")
    if param.has("slice_dim") and param.has("axis"):
        raise NetworkError("has both slice_dim and axis; keep only one")
    axis = net.axis(layer, param.get("slice_dim" if param.has("slice_dim") else "axis"))
    points, parts = [int(point) for point in param.get("slice_point")], len(layer.outputs)
    if points and len(points) != parts - 1:
        raise NetworkError(f"has {len(points)} slice points for {parts} tops; expected {parts - 1}")
    if parts == 1:
        net.same(layer)
        return
    channels = net.shape(layer.inputs[0])[axis]
    if axis != 1 or channels is None or not selectable(channels, channels):
        net.finish(layer, Slice(axis=axis, points=tuple(points), parts=parts))
        return
    for index, (low, high) in enumerate(_bounds(channels, points, parts)):
        filters = net.param(layer, f"part{index + 1}_filter", selection(channels, range(low, high)))
        op = Conv(size=(1, 1, channels, high - low), hasBias=False)
        part = f"part{index + 1}" if index else ""
        net.finish(layer, op, params=[filters], tops=slice(index, index + 1), part=part)


def _bounds(size: int, points: list[int], parts: int) -> list[tuple[int, int]]:
    """The start and end of each piece."""
    if not points and size % parts:
        raise ShapeError(f"{size} channels cannot be cut into {parts} equal parts; add slice_point")
    pieces = list(pairwise([0, *(points or range(size // parts, size, size // parts)), size]))
    if any(low >= high for low, high in pieces):
        raise ShapeError(f"slice points {points} must increase and be inside the {size} channels")
    return pieces


@lowers("Tile")
def tile(layer: LayerDef, net: Builder) -> None:
    """Along channels, a 1 x 1 convolution that repeats all channels; along other axes, an extension."""
    param = layer.params.get("tile_param")
    axis, tiles = net.axis(layer, param.get("axis")), param.get("tiles")
    channels = net.shape(layer.inputs[0])[axis]
    if tiles < 1:
        raise NetworkError(f"tiles is {tiles}; expected at least 1")
    if axis == 1 and channels is not None and selectable(channels, channels * tiles):
        _pick_channels(layer, net, channels, list(range(channels)) * tiles)
    else:
        net.finish(layer, Tile(axis=axis, tiles=tiles))


@lowers("ShuffleChannel")
def shuffle_channel(layer: LayerDef, net: Builder) -> None:
    """An extension; with extensions `avoid`, a 1 x 1 convolution."""
    group = layer.params.get("shuffle_channel_param").get("group")
    channels = net.channels(layer)
    if net.options.extensions == "allow" or not selectable(channels, channels):
        net.finish(layer, ChannelShuffle(group=group))
        return
    if group < 1 or channels % group:
        raise ShapeError(f"{channels} channels are not divisible by {group} groups")
    dealt = np.arange(channels).reshape(group, -1).T.ravel()
    _pick_channels(layer, net, channels, [int(channel) for channel in dealt])


def _pick_channels(layer: LayerDef, net: Builder, channels: int, chosen: list[int]) -> None:
    filters = net.param(layer, "filter", selection(channels, chosen))
    net.finish(layer, Conv(size=(1, 1, channels, len(chosen)), hasBias=False), params=[filters])


@lowers("BatchReindex", bottoms=2)
def batch_reindex(layer: LayerDef, net: Builder) -> None:
    """An extension with an output size that depends on values."""
    net.finish(layer, BatchReindex())


@lowers("Filter", bottoms=(2, None), tops=(1, None))
def filter_items(layer: LayerDef, net: Builder) -> None:
    """An extension with output sizes that depend on values, and one top less than bottoms."""
    if len(layer.outputs) != len(layer.inputs) - 1:
        raise NetworkError(
            f"has {len(layer.inputs)} bottoms and {len(layer.outputs)} tops; expected one top less than bottoms"
        )
    net.finish(layer, Filter())
    for bottom, top in zip(layer.inputs, layer.outputs, strict=False):
        net.give_rank(top, len(net.shape(bottom)))
