"""Reshaping and reordering: Flatten, Reshape, Permute, Reverse, Reorg, ShuffleChannel, Im2col.

In Caffe the last axis (W) varies fastest, in MATLAB the first dimension (H). Ops named Caffe... use Caffe's order.
Permute, Flatten and Reshape are those of the MATLAB modules: Caffe's Flatten from axis 1 corresponds to Permute with
order [2 1 3 4], followed by Flatten with axis 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np

from matnet.errors import NetworkError, ShapeError
from matnet.ops.base import Array, Channels, Op, register
from matnet.ops.extensions.common import RANK, FromAxis, as_axis, as_count, as_integers
from matnet.ops.fields import AXIS_OF_DIM, DIM_OF_AXIS, Pair, as_dim, as_int, as_pad, as_pair, of
from matnet.shapes import Pad, ReceptiveField, Shape, filtered, text, to_4d, window_field


def fill_in(wanted: Sequence[int], given: Sequence[int], count: int) -> list[int]:
    """`wanted` with each 0 replaced by the size at the same position in `given`, and a -1 inferred from `count`.

    Raises ShapeError if the shape does not match `count`.

    >>> fill_in([0, -1, 4], [2, 6, 8], 96)
    [2, 12, 4]
    """
    sizes = [given[index] if size == 0 and index < len(given) else size for index, size in enumerate(wanted)]
    known = prod(size for size in sizes if size != -1)
    if sizes.count(-1) > 1 or any(size < -1 or size == 0 for size in sizes):
        raise ShapeError(f"shape is {list(wanted)}; expected sizes >= 1, 0 (copy) and at most one -1 (infer)")
    if (known != count) if -1 not in sizes else count % known:
        raise ShapeError(f"{text(tuple(given))} ({count} values) cannot be reshaped to {list(wanted)}")
    return [count // known if size == -1 else size for size in sizes]


class _Reshaping(Op):
    """Base of ops that reshape their input, last axis fastest."""

    pixelwise = False

    def forward(self, xp: Any, inputs: Sequence[Array], params: Any) -> list[Array]:
        return [inputs[0].reshape(self.output_shapes([inputs[0].shape], [])[0])]


@register("dagnn.CaffeFlatten")
@dataclass(frozen=True, kw_only=True)
class CaffeFlatten(FromAxis, _Reshaping):
    """Merges the axes from `axis` to `endAxis` into one, last axis fastest (BVLC Caffe, flatten layer).

    Both are axes of N x C x H x W; axes after endAxis move up.
    """

    axis: int = of(as_axis, 1)
    endAxis: int = of(as_axis, RANK - 1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.endAxis < self.axis:
            raise NetworkError(f"field 'endAxis' is {self.endAxis}; expected at least axis {self.axis}")

    def output_shapes(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> list[Shape]:
        shape, stop = inputs[0], self.endAxis + 1
        return [to_4d((*shape[: self.axis], prod(shape[self.axis : stop]), *shape[stop:]))]


@register("dagnn.CaffeReshape")
@dataclass(frozen=True, kw_only=True)
class CaffeReshape(_Reshaping):
    """Reshapes `numAxes` axes from `axis` on to `shape`, last axis fastest (BVLC Caffe, reshape layer).

    In `shape`, 0 copies the input's size at the same position, and one -1 is inferred. numAxes -1: all axes to the
    last; 0: insert axes.
    """

    shape: tuple[int, ...] = of(as_integers, ())
    axis: int = of(as_int, 0)
    numAxes: int = -1

    def _kept(self) -> int:
        """The number of leading axes that keep their sizes."""
        copied = next((place for place, size in enumerate(self.shape) if size), len(self.shape))
        return self.axis + (copied if self.numAxes else 0)

    @property
    def images_independent(self) -> bool:
        return self._kept() > 0

    @property
    def channels(self) -> Channels:
        return Channels.SEPARATE if self._kept() > 1 else Channels.UNKNOWN

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.axis <= RANK or self.numAxes < -1 or self.axis + self.numAxes > RANK:
            raise NetworkError(f"axis {self.axis} and numAxes {self.numAxes} exceed {RANK} axes")

    def output_shapes(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> list[Shape]:
        given = inputs[0]
        stop = RANK if self.numAxes == -1 else self.axis + self.numAxes
        sizes = fill_in(self.shape, given[self.axis :], prod(given[self.axis : stop]))
        return [to_4d((*given[: self.axis], *sizes, *given[stop:]))]


@register("dagnn.ChannelShuffle")
@dataclass(frozen=True, kw_only=True)
class ChannelShuffle(Op):
    """Interleaves the channels of the groups: channel j group + i is input channel i (C / group) + j.

    Source: ShuffleNet forks of Caffe, shuffle_channel layer.
    """

    images_independent = True
    channels = Channels.COUNT
    axes_alike = True
    group: int = of(as_count, 1)

    def output_shapes(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> list[Shape]:
        if inputs[0][1] % self.group:
            raise ShapeError(f"{inputs[0][1]} channels cannot be divided into {self.group} equal groups")
        return [inputs[0]]

    def forward(self, xp: Any, inputs: Sequence[Array], params: Any) -> list[Array]:
        x = inputs[0]
        n, c, h, w = x.shape
        dealt = x.reshape(n, self.group, c // self.group, h, w).swapaxes(1, 2)
        return [xp.ascontiguousarray(dealt).reshape(n, c, h, w)]


@register("dagnn.Im2col")
@dataclass(frozen=True, kw_only=True)
class Im2col(Op):
    """The values of each window as channels (c kh + i) kw + j (BVLC Caffe, im2col layer)."""

    images_independent = True
    kernelSize: Pair = of(as_pair, (1, 1))
    stride: Pair = of(as_pair, (1, 1))
    pad: Pad = of(as_pad, (0, 0, 0, 0))
    dilate: Pair = of(as_pair, (1, 1))

    def output_shapes(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> list[Shape]:
        n, c, *size = inputs[0]
        height, width = filtered((size[0], size[1]), self.kernelSize, self.stride, self.pad, self.dilate)
        return [(n, c * prod(self.kernelSize), height, width)]

    def receptive_fields(self, inputs: Sequence[Shape]) -> list[ReceptiveField | None]:
        return [window_field(self.kernelSize, self.stride, self.pad, self.dilate)]

    def forward(self, xp: Any, inputs: Sequence[Array], params: Any) -> list[Array]:
        x = inputs[0]
        n, channels, height, width = self.output_shapes([x.shape], [])[0]
        top, bottom, left, right = self.pad
        padded = xp.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)))
        rows = (height - 1) * self.stride[0] + 1
        columns = (width - 1) * self.stride[1] + 1
        windows = [
            padded[:, :, i : i + rows : self.stride[0], j : j + columns : self.stride[1]]
            for i in range(0, self.kernelSize[0] * self.dilate[0], self.dilate[0])
            for j in range(0, self.kernelSize[1] * self.dilate[1], self.dilate[1])
        ]
        return [xp.stack(windows, axis=2).reshape(n, channels, height, width)]


def _as_order(value: Any) -> tuple[int, ...]:
    order = as_integers(value)
    if sorted(order) != list(range(1, RANK + 1)):
        raise NetworkError(f"expected a permutation of the dimensions 1 2 3 4, found {list(order)}")
    return order


@register("dagnn.Permute")
@dataclass(frozen=True, kw_only=True)
class Permute(Op):
    """Permutes dimensions: MATLAB's permute(x, order) of an H x W x C x N array (mcnPyTorch's Permute)."""

    order: tuple[int, ...] = of(_as_order, (1, 2, 3, 4))

    @property
    def images_independent(self) -> bool:
        return self.order[3] == 4

    @property
    def channels(self) -> Channels:
        return Channels.SEPARATE if self.order[2] == 3 else Channels.UNKNOWN

    def with_axes_swapped(self) -> Op | None:
        other = {1: 2, 2: 1, 3: 3, 4: 4}
        return replace(self, order=tuple(other[self.order[other[dim] - 1]] for dim in other))

    @classmethod
    def from_axes(cls, axes: Sequence[int]) -> Permute:
        """The op that makes input axis axes[i] of N x C x H x W output axis i (SSD fork, permute layer).

        >>> Permute.from_axes((0, 2, 3, 1)).order
        (2, 3, 1, 4)
        """
        if sorted(axes) != list(range(RANK)):
            raise NetworkError(f"expected a permutation of the axes 0 1 2 3, found {list(axes)}")
        return cls(order=tuple(DIM_OF_AXIS[axes[AXIS_OF_DIM[dim]]] for dim in range(1, RANK + 1)))

    def axes(self) -> tuple[int, ...]:
        """The input axis of N x C x H x W for each output axis."""
        return tuple(AXIS_OF_DIM[self.order[DIM_OF_AXIS[axis] - 1]] for axis in range(RANK))

    def output_shapes(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> list[Shape]:
        return [tuple(inputs[0][axis] for axis in self.axes())]

    def receptive_fields(self, inputs: Sequence[Shape]) -> list[ReceptiveField | None]:
        return [ReceptiveField() if self.order[:2] == (1, 2) else None]

    def forward(self, xp: Any, inputs: Sequence[Array], params: Any) -> list[Array]:
        return [xp.ascontiguousarray(inputs[0].transpose(self.axes()))]


@register("dagnn.PermuteAxes")
@dataclass(frozen=True, kw_only=True)
class PermuteAxes(Op):
    """Permutes axes of the input, reshaped to more than four axes (SSD fork, permute layer).

    shape: sizes of all axes, including the batch, last axis fastest. Axis i of the result is axis order[i] (0-based).
    In the result, all axes except the first and the last two are merged into the second.
    """

    pixelwise = False
    shape: tuple[int, ...] = of(as_integers, (1, 1, 1, 1, 1))
    order: tuple[int, ...] = of(as_integers, (0, 1, 2, 3, 4))

    def __post_init__(self) -> None:
        super().__post_init__()
        if sorted(self.order) != list(range(len(self.shape))) or len(self.shape) < 4:
            raise NetworkError(f"order is {list(self.order)}; expected a permutation of the axes of {list(self.shape)}")

    @property
    def images_independent(self) -> bool:
        return False  # `shape` includes the number of images

    def output_shapes(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> list[Shape]:
        if prod(inputs[0]) != prod(self.shape):
            raise ShapeError(f"{text(inputs[0])} cannot be reshaped to {text(self.shape)}")
        first, *middle, height, width = (self.shape[axis] for axis in self.order)
        return [(first, prod(middle), height, width)]

    def forward(self, xp: Any, inputs: Sequence[Array], params: Any) -> list[Array]:
        (shape,) = self.output_shapes([inputs[0].shape], [])
        return [xp.ascontiguousarray(inputs[0].reshape(self.shape).transpose(self.order)).reshape(shape)]


@register("dagnn.Reverse")
@dataclass(frozen=True, kw_only=True)
class Reverse(Op):
    """Reverses the input along some axes of N x C x H x W (reverse and flip layers of Caffe's forks)."""

    axis: tuple[int, ...] = of(as_integers, (0,))

    def __post_init__(self) -> None:
        super().__post_init__()
        if any(not 0 <= axis < RANK for axis in self.axis):
            raise NetworkError(f"field 'axis' is {list(self.axis)}; expected axes 0 (N) to 3 (W)")

    @property
    def images_independent(self) -> bool:
        return 0 not in self.axis

    @property
    def channels(self) -> Channels:
        return Channels.REVERSIBLE if 1 in self.axis else Channels.SEPARATE

    def with_axes_swapped(self) -> Op | None:
        return replace(self, axis=tuple({2: 3, 3: 2}.get(axis, axis) for axis in self.axis))

    def receptive_fields(self, inputs: Sequence[Shape]) -> list[ReceptiveField | None]:
        return [None if {2, 3} & set(self.axis) else ReceptiveField()]

    def forward(self, xp: Any, inputs: Sequence[Array], params: Any) -> list[Array]:
        where = tuple(slice(None, None, -1) if axis in self.axis else slice(None) for axis in range(RANK))
        return [xp.ascontiguousarray(inputs[0][where])]


@register("dagnn.Reorg")
@dataclass(frozen=True, kw_only=True)
class Reorg(Op):
    """Moves rows and columns to channels in the order of darknet's reorg layer (YOLOv2 forks of Caffe).

    With stride s, the C x H x W values of an item are reshaped to C / s^2 maps of H s x W s. Value
    (d C / s^2 + c, i, j) of a new C x H x W array is map c's value at row i s + d / s, column j s + d % s. This array
    is reshaped to C s^2 x H / s x W / s. Darknet, all public forks and OpenCV compute this, which is not plain
    space-to-depth. With `reverse` the result is C / s^2 x H s x W s, and channel d C / s^2 + c goes to row d / s,
    column d % s of each s x s block of map c.
    """

    images_independent = True
    pixelwise = False
    stride: int = of(as_count, 2)
    reverse: bool = False

    def output_shapes(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> list[Shape]:
        n, c, h, w = inputs[0]
        square = self.stride**2
        if c % square or (not self.reverse and (h % self.stride or w % self.stride)):
            needed = f"channels divisible by {square}" + ("" if self.reverse else f", sides by {self.stride}")
            raise ShapeError(f"the input is {text(inputs[0])}; expected {needed}")
        if self.reverse:
            return [(n, c // square, h * self.stride, w * self.stride)]
        return [(n, c * square, h // self.stride, w // self.stride)]

    def forward(self, xp: Any, inputs: Sequence[Array], params: Any) -> list[Array]:
        x, s = inputs[0], self.stride
        (shape,) = self.output_shapes([x.shape], [])
        n, c, h, w = x.shape
        if self.reverse:
            moved = x.reshape(n, s, s, c // s**2, h, w).transpose(0, 3, 4, 1, 5, 2)
        else:
            moved = x.reshape(n, c // s**2, h, s, w, s).transpose(0, 3, 5, 1, 2, 4)
        return [xp.ascontiguousarray(moved).reshape(shape)]


def _as_matlab_reshape(xp: Any, x: Array, sizes: Sequence[int]) -> Array:
    """MATLAB's reshape of each item's H x W x C array to `sizes`, first dimension fastest."""
    height, width, channels = sizes
    columns = x.transpose(0, 1, 3, 2).reshape(x.shape[0], channels, width, height)
    return xp.ascontiguousarray(columns.transpose(0, 1, 3, 2))


@register("dagnn.Flatten")
@dataclass(frozen=True, kw_only=True)
class Flatten(Op):
    """Flattens each item's H x W x C values into MATLAB's dimension `axis`, H fastest.

    Source: mcnExtraLayers' vl_nnflatten, which ignores firstAxis; it is kept for saving.
    """

    images_independent = True
    pixelwise = False
    firstAxis: int = 1
    axis: int = of(as_dim, 3)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.axis > 3:
            raise NetworkError(f"field 'axis' is {self.axis}; expected 1 (H), 2 (W) or 3 (C)")

    def output_shapes(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> list[Shape]:
        shape = [inputs[0][0], 1, 1, 1]
        shape[AXIS_OF_DIM[self.axis]] = prod(inputs[0][1:])
        return [tuple(shape)]

    def forward(self, xp: Any, inputs: Sequence[Array], params: Any) -> list[Array]:
        x = inputs[0]
        _, channels, height, width = self.output_shapes([x.shape], [])[0]
        return [_as_matlab_reshape(xp, x, (height, width, channels))]


def _as_sizes(value: Any) -> tuple[int, ...]:
    """2 or 3 sizes; an empty one, which MATLAB's reshape infers, becomes -1."""
    items = value if isinstance(value, (list, tuple)) else np.asarray(value).ravel(order="F")
    sizes = tuple(as_int(item) if np.size(item) else -1 for item in items)
    if len(sizes) not in (0, 2, 3):
        raise NetworkError(f"expected 3 sizes (height, width, channels), found {list(sizes)}")
    return (*sizes, -1) if len(sizes) == 2 else sizes


@register("dagnn.Reshape")
@dataclass(frozen=True, kw_only=True)
class Reshape(Op):
    """Reshapes each item's H x W x C array to `shape`, H fastest (mcnExtraLayers' vl_nnreshape).

    0 copies the input's size at the same position; one -1, an empty size or a missing third size is inferred.
    """

    images_independent = True
    pixelwise = False
    shape: tuple[int, ...] = of(_as_sizes, ())

    def output_shapes(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> list[Shape]:
        n, c, h, w = inputs[0]
        height, width, channels = fill_in(self.shape or (0, 0, 0), (h, w, c), h * w * c)
        return [(n, channels, height, width)]

    def forward(self, xp: Any, inputs: Sequence[Array], params: Any) -> list[Array]:
        _, channels, height, width = self.output_shapes([inputs[0].shape], [])[0]
        return [_as_matlab_reshape(xp, inputs[0], (height, width, channels))]
