"""Max and average pooling, separably over rows and columns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from matnet.errors import ShapeError
from matnet.ops.base import Array, Channels, Op, register
from matnet.ops.fields import Pair, as_pad, as_pair, choice, of
from matnet.shapes import Pad, ReceptiveField, Shape, filtered, swapped, swapped_pad, window_field


@register("dagnn.Pooling", simplenn="pool", simplenn_fields={"poolSize": "pool"}, stock=True)
@dataclass(frozen=True, kw_only=True)
class Pooling(Op):
    """The maximum or average of the image's pixels in each window (vl_nnpool).

    N x C x H x W -> N x C x H' x W', H' = floor((H + top + bottom - h) / stride) + 1. Padding only moves the windows:
    padded cells are ignored by the maximum and the average.
    """

    family = "pooling"
    images_independent = True
    channels = Channels.SEPARATE
    half_precision = True
    opts_fields: ClassVar = {"method": "method", "pad": "pad", "stride": "stride"}
    inert_properties = frozenset({"dilate"})  # inherited, not passed to vl_nnpool
    method: str = of(choice("max", "avg"), "max")
    poolSize: Pair = of(as_pair, (1, 1))
    stride: Pair = of(as_pair, (1, 1))
    pad: Pad = of(as_pad, (0, 0, 0, 0))

    def with_axes_swapped(self) -> Op | None:
        return replace(self, poolSize=swapped(self.poolSize), stride=swapped(self.stride), pad=swapped_pad(self.pad))

    def output_shapes(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> list[Shape]:
        n, c, h, w = inputs[0]
        top, bottom, left, right = self.pad
        if max(top, bottom) >= self.poolSize[0] or max(left, right) >= self.poolSize[1]:
            raise ShapeError(
                f"pad [top bottom left right] is {list(self.pad)}; expected less than the pooling window of "
                f"{self.poolSize[0]}x{self.poolSize[1]}"
            )
        return [(n, c, *filtered((h, w), self.poolSize, self.stride, self.pad))]

    def receptive_fields(self, inputs: Sequence[Shape]) -> list[ReceptiveField | None]:
        return [window_field(self.poolSize, self.stride, self.pad)]

    def forward(self, xp: Any, inputs: Sequence[Array], params: Any) -> list[Array]:
        pool = max_pool if self.method == "max" else average_pool
        return [pool(xp, inputs[0], self.poolSize, self.stride, self.pad)]


def max_pool(xp: Any, x: Array, window: Pair, stride: Pair, pad: Pad) -> Array:
    """The maximum over each window's pixels inside the image, first along rows, then along columns."""
    for axis in (0, 1):
        x = _fold(xp, xp.maximum, -np.inf, x, axis, window, stride, pad)
    return x


def average_pool(xp: Any, x: Array, window: Pair, stride: Pair, pad: Pad) -> Array:
    """The average over each window's pixels inside the image."""
    size = x.shape[2:]
    for axis in (0, 1):
        x = _fold(xp, xp.add, 0.0, x, axis, window, stride, pad)
    rows, columns = (_valid(xp, size[axis], axis, x.shape[2 + axis], window, stride, pad) for axis in (0, 1))
    x *= (1 / xp.outer(rows, columns)).astype(x.dtype)
    return x


def _fold(
    xp: Any, combine: Callable[..., Array], start: float, x: Array, axis: int, window: Pair, stride: Pair, pad: Pad
) -> Array:
    """Combine the pixels of each window along one spatial axis, one tap of all windows at a time.

    Maximum and sum are separable, so a window takes h + w taps instead of h * w.
    """
    size, before, step = x.shape[2 + axis], pad[2 * axis], stride[axis]
    count = (size + before + pad[2 * axis + 1] - window[axis]) // step + 1
    shape = (*x.shape[:2], count, x.shape[3]) if axis == 0 else (*x.shape[:3], count)
    result = xp.full(shape, start, dtype=x.dtype)
    for tap in range(window[axis]):
        first = max(0, -((tap - before) // step))  # first output with its tap inside the image
        last = min(count - 1, (size - 1 + before - tap) // step)
        if first > last:
            continue
        begin, end = first * step + tap - before, last * step + tap - before + 1
        outputs, pixels = slice(first, last + 1), slice(begin, end, step)
        index = (..., outputs, slice(None)) if axis == 0 else (..., outputs)
        source = x[:, :, pixels] if axis == 0 else x[..., pixels]
        combine(result[index], source, out=result[index])
    return result


def _valid(xp: Any, size: int, axis: int, count: int, window: Pair, stride: Pair, pad: Pad) -> Array:
    """The number of pixels of each window inside the image, along one axis."""
    begin = xp.arange(count) * stride[axis] - pad[2 * axis]
    return xp.minimum(begin + window[axis], size) - xp.maximum(begin, 0)
