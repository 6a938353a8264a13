"""Pooling by rules of Caffe that MatConvNet cannot express, global pooling, and spatial pyramid pooling."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from matnet.errors import NetworkError, ShapeError
from matnet.ops.base import Array, Channels, Op, register
from matnet.ops.extensions.common import as_count
from matnet.ops.fields import Pair, as_pad, as_pair, choice, of
from matnet.shapes import Pad, ReceptiveField, Shape, caffe_pooled, swapped, swapped_pad, window_field

LOWEST = float(np.finfo(np.float32).min)  # -FLT_MAX, the initial value of Caffe's maximum


@dataclass(frozen=True)
class Windows:
    """The layout of pooling windows: kernel, stride, pad and count, each (vertical, horizontal)."""

    kernel: Pair
    stride: Pair
    pad: Pair
    count: Pair

    def cells(self, xp: Any, x: Array, outside: float) -> Iterator[tuple[int, int, Array]]:
        """For each cell (i, j) of the kernel, the values in all windows; `outside` beyond the input."""
        spans = [(n - 1) * s + k for n, s, k in zip(self.count, self.stride, self.kernel, strict=True)]
        after = [max(0, span - p - n) for span, p, n in zip(spans, self.pad, x.shape[2:], strict=True)]
        border = ((0, 0), (0, 0), (self.pad[0], after[0]), (self.pad[1], after[1]))
        padded = xp.pad(x, border, constant_values=outside)
        for i in range(self.kernel[0]):
            rows = slice(i, i + (self.count[0] - 1) * self.stride[0] + 1, self.stride[0])
            for j in range(self.kernel[1]):
                columns = slice(j, j + (self.count[1] - 1) * self.stride[1] + 1, self.stride[1])
                yield i, j, padded[:, :, rows, columns]

    def starts(self, xp: Any, axis: int) -> Array:
        """The first row or column of every window; negative inside the leading pad."""
        return xp.arange(self.count[axis]) * self.stride[axis] - self.pad[axis]

    def areas(self, xp: Any, size: Pair) -> Array:
        """Caffe's divisors: the number of cells of each window inside the padded input; <= 0 for windows outside."""
        starts = [self.starts(xp, axis) for axis in (0, 1)]
        stops = [xp.minimum(starts[i] + self.kernel[i], size[i] + self.pad[i]) for i in (0, 1)]
        return xp.outer(stops[0] - starts[0], stops[1] - starts[1]).astype(xp.float32)


def max_pool(xp: Any, x: Array, windows: Windows) -> Array:
    """The maximum of each window; -FLT_MAX for windows outside the input."""
    greatest = None
    for _, _, cell in windows.cells(xp, x, LOWEST):
        greatest = cell.copy() if greatest is None else xp.maximum(greatest, cell)
    return greatest


def max_pool_with_mask(xp: Any, x: Array, windows: Windows) -> tuple[Array, Array]:
    """`max_pool`, and the index h W + w of each maximum (the first of equal ones; -1 if there is none)."""
    rows = windows.starts(xp, 0).astype(xp.float32)[:, None] * x.shape[3]
    places = rows + windows.starts(xp, 1).astype(xp.float32)
    greatest = xp.full((*x.shape[:2], *windows.count), LOWEST, dtype=xp.float32)
    mask = xp.full_like(greatest, -1)
    for i, j, cell in windows.cells(xp, x, LOWEST):
        larger = cell > greatest
        greatest = xp.where(larger, cell, greatest)
        mask = xp.where(larger, places + xp.float32(i * x.shape[3] + j), mask)
    return greatest, mask


def average_pool(xp: Any, x: Array, windows: Windows) -> Array:
    """The sum of each window over Caffe's divisor; NaN for windows outside the padded input."""
    total = xp.zeros((*x.shape[:2], *windows.count), dtype=xp.float32)
    for _, _, cell in windows.cells(xp, x, 0.0):
        total += cell
    return total / windows.areas(xp, x.shape[2:])


def stochastic_pool(xp: Any, x: Array, windows: Windows) -> Array:
    """The mean of each window weighted by its values, sum x^2 / sum x; 0 if the sum is not positive."""
    total = xp.zeros((*x.shape[:2], *windows.count), dtype=xp.float32)
    squares = xp.zeros_like(total)
    for _, _, cell in windows.cells(xp, x, 0.0):
        total += cell
        squares += cell * cell
    return xp.where(total > 0, squares / xp.where(total > 0, total, 1), 0).astype(xp.float32)


@register("dagnn.CaffePooling")
@dataclass(frozen=True, kw_only=True)
class CaffePooling(Op):
    """Pooling with Caffe's sizes, divisor and empty windows (BVLC Caffe, pooling layer).

    Sizes are rounded up (roundMode 'floor': down). With padding, the last window must start inside the padded input.
    'avg' counts padded cells, but no cells beyond the padding. Windows outside the input give -FLT_MAX or NaN.
    'stochastic' is the expectation used by Caffe at test time. With `mask`, 'max' has a second output, the index
    h W + w of each maximum. Opposite sides have equal pads.
    """

    family = "pooling"
    images_independent = True
    channels = Channels.SEPARATE
    half_precision = True
    method: str = of(choice("max", "avg", "stochastic"), "max")
    poolSize: Pair = of(as_pair, (1, 1))
    stride: Pair = of(as_pair, (1, 1))
    pad: Pad = of(as_pad, (0, 0, 0, 0))
    roundMode: str = of(choice("ceil", "floor"), "ceil")
    mask: bool = False

    def with_axes_swapped(self) -> Op | None:
        if self.mask:  # indices count along rows
            return None
        return replace(self, poolSize=swapped(self.poolSize), stride=swapped(self.stride), pad=swapped_pad(self.pad))

    def __post_init__(self) -> None:
        super().__post_init__()
        top, bottom, left, right = self.pad
        if (top, left) != (bottom, right):
            raise NetworkError(f"field 'pad' is {list(self.pad)}; expected equal pads on opposite sides, as in Caffe")
        if (top and top >= self.poolSize[0]) or (left and left >= self.poolSize[1]):
            raise NetworkError(f"field 'pad' is {[top, left]}; expected less than the window {list(self.poolSize)}")
        if self.mask and self.method != "max":
            raise NetworkError(f"field 'mask': supported only for max pooling, not {self.method!r}")
        if self.method == "stochastic" and any(self.pad):
            raise NetworkError("field 'pad': not supported for stochastic pooling")

    def _windows(self, size: Pair) -> Windows:
        pad = (self.pad[0], self.pad[2])
        count = [
            caffe_pooled(size[i], self.poolSize[i], self.stride[i], pad[i], self.roundMode == "floor", any(pad))
            for i in (0, 1)
        ]
        return Windows(self.poolSize, self.stride, pad, (count[0], count[1]))

    def output_shapes(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> list[Shape]:
        n, c, h, w = inputs[0]
        return [(n, c, *self._windows((h, w)).count)] * (2 if self.mask else 1)

    def receptive_fields(self, inputs: Sequence[Shape]) -> list[ReceptiveField | None]:
        return [window_field(self.poolSize, self.stride, self.pad)]

    def forward(self, xp: Any, inputs: Sequence[Array], params: Any) -> list[Array]:
        x = inputs[0]
        windows = self._windows(x.shape[2:])
        if self.mask:
            return list(max_pool_with_mask(xp, x, windows))
        pool = {"max": max_pool, "avg": average_pool, "stochastic": stochastic_pool}[self.method]
        return [pool(xp, x, windows)]


@register("dagnn.GlobalPooling")
@dataclass(frozen=True, kw_only=True)
class GlobalPooling(Op):
    """The mean or maximum of each channel over the whole map.

    Source: mcnExtraLayers' vl_nnglobalpool; BVLC Caffe, pooling layer with global_pooling.
    """

    family = "pooling"
    images_independent = True
    channels = Channels.SEPARATE
    axes_alike = True
    method: str = of(choice("avg", "max"), "avg")

    def output_shapes(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> list[Shape]:
        return [(*inputs[0][:2], 1, 1)]

    def receptive_fields(self, inputs: Sequence[Shape]) -> list[ReceptiveField | None]:
        height, width = inputs[0][2:]
        return [window_field((height, width), (1, 1), (0, 0, 0, 0))]

    def forward(self, xp: Any, inputs: Sequence[Array], params: Any) -> list[Array]:
        x = inputs[0]
        return [x.max(axis=(2, 3), keepdims=True) if self.method == "max" else x.mean(axis=(2, 3), keepdims=True)]


@register("dagnn.SPP")
@dataclass(frozen=True, kw_only=True)
class SPP(Op):
    """Spatial pyramid pooling: pools the whole map in 1, 2 x 2, 4 x 4, ... windows (BVLC Caffe, spp layer).

    Level l has windows of ceil(size / 2^l) with the same stride, and half of the overhang, rounded up, as pad. Raises
    ShapeError if the pad is not less than the window. Output N x (all values) x 1 x 1, each level C x rows x columns.
    """

    family = "pooling"
    images_independent = True
    pixelwise = False
    pyramidHeight: int = of(as_count, 1)
    method: str = of(choice("max", "avg"), "max")

    def _level(self, size: Pair, level: int) -> Windows:
        kernel = [-(-length // 2**level) for length in size]
        pad = [(k * 2**level - length + 1) // 2 for k, length in zip(kernel, size, strict=True)]
        if any(p and p >= k for p, k in zip(pad, kernel, strict=True)):
            raise ShapeError(
                f"a map of {size[0]}x{size[1]} is too small for pyramid level {level + 1}: "
                f"windows of {kernel} need a pad of {pad}; use a larger input"
            )
        count = [caffe_pooled(size[i], kernel[i], kernel[i], pad[i], clip=any(pad)) for i in (0, 1)]
        return Windows((kernel[0], kernel[1]), (kernel[0], kernel[1]), (pad[0], pad[1]), (count[0], count[1]))

    def output_shapes(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> list[Shape]:
        n, c, h, w = inputs[0]
        levels = [self._level((h, w), level).count for level in range(self.pyramidHeight)]
        return [(n, c * sum(rows * columns for rows, columns in levels), 1, 1)]

    def forward(self, xp: Any, inputs: Sequence[Array], params: Any) -> list[Array]:
        x = inputs[0]
        pool = max_pool if self.method == "max" else average_pool
        levels = [pool(xp, x, self._level(x.shape[2:], level)) for level in range(self.pyramidHeight)]
        return [xp.concatenate([values.reshape(x.shape[0], -1) for values in levels], axis=1)[:, :, None, None]]
