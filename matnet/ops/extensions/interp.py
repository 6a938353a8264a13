"""Bilinear resizing with aligned corners: Interp of DeepLab and PSPNet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from matnet.errors import NetworkError, ShapeError
from matnet.ops.base import Array, Channels, Op, register
from matnet.ops.extensions.common import as_count
from matnet.ops.fields import Pair, of
from matnet.shapes import Shape, text


@register("dagnn.Interp")
@dataclass(frozen=True, kw_only=True)
class Interp(Op):
    """Bilinear interpolation with aligned corners (DeepLab fork of Caffe, interp layer).

    Output position t of o reads input position t (i - 1) / (o - 1) of i. First, -padBeg rows and columns are removed at
    the start and -padEnd at the end. The output size o is `height` and `width` if given (> 0); otherwise
    s + (s - 1) (zoomFactor - 1) with s = floor((i - 1) / shrinkFactor) + 1. If there is a second input, only its height
    and width are used, as the output size (forks with use_blob_size).
    """

    input_count: ClassVar[tuple[int, int | None]] = (1, 2)
    size_only_inputs: ClassVar[frozenset[int]] = frozenset({1})

    family = "pooling"
    images_independent = True
    channels = Channels.SEPARATE
    pixelwise = False
    shrinkFactor: int = of(as_count, 1)
    zoomFactor: int = of(as_count, 1)
    height: int = 0
    width: int = 0
    padBeg: int = 0
    padEnd: int = 0

    def with_axes_swapped(self) -> Op | None:
        return replace(self, height=self.width, width=self.height)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.padBeg > 0 or self.padEnd > 0:
            raise NetworkError(f"padBeg and padEnd are {self.padBeg} and {self.padEnd}; expected numbers <= 0")
        if self.height < 0 or self.width < 0 or (self.height > 0) != (self.width > 0):
            raise NetworkError(f"height and width are {self.height} and {self.width}; give both or none")

    def _size(self, given: Pair, like: Pair | None = None) -> tuple[Pair, Pair]:
        """Sizes of the input after cropping, and of the output (`like`, if given)."""
        kept = [size + self.padBeg + self.padEnd for size in given]
        if min(kept) < 1:
            raise ShapeError(f"padBeg {self.padBeg} and padEnd {self.padEnd} remove the whole input of {text(given)}")
        shrunk = [(size - 1) // self.shrinkFactor + 1 for size in kept]
        zoomed = [size + (size - 1) * (self.zoomFactor - 1) for size in shrunk]
        result = (self.height, self.width) if self.height else (zoomed[0], zoomed[1])
        return (kept[0], kept[1]), like or result

    def output_shapes(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> list[Shape]:
        n, c, h, w = inputs[0]
        return [(n, c, *self._size((h, w), _like(inputs))[1])]

    def forward(self, xp: Any, inputs: Sequence[Array], params: Any) -> list[Array]:
        x = inputs[0]
        kept, result = self._size(x.shape[2:], _like([each.shape for each in inputs]))
        start = -self.padBeg
        x = x[:, :, start : start + kept[0], start : start + kept[1]]
        left, right, weight = _neighbours(xp, kept[1], result[1])
        x = x[:, :, :, left] * (1 - weight) + x[:, :, :, right] * weight
        above, below, weight = _neighbours(xp, kept[0], result[0])
        weight = weight[:, None]
        return [xp.ascontiguousarray(x[:, :, above] * (1 - weight) + x[:, :, below] * weight)]


def _like(shapes: Sequence[Shape]) -> Pair | None:
    """Height and width of a second input."""
    return (shapes[1][2], shapes[1][3]) if len(shapes) > 1 else None


def _neighbours(xp: Any, given: int, wanted: int) -> tuple[Array, Array, Array]:
    """Both input positions for each output position, and the weight of the second; in single precision as in Caffe."""
    ratio = np.float32(given - 1) / np.float32(wanted - 1) if wanted > 1 else np.float32(0)
    place = xp.arange(wanted, dtype=xp.float32) * ratio
    first = place.astype(xp.int64)
    second = xp.minimum(first + 1, given - 1)
    return first, second, place - first.astype(xp.float32)
