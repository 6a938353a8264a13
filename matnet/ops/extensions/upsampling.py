"""Upsampling by repetition, and unpooling by the mask of a max pooling (SegNet, DeconvNet, YOLOv3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from matnet.errors import NetworkError, ShapeError
from matnet.ops.arrays import on_host, require_equal
from matnet.ops.base import Array, Channels, Op, register
from matnet.ops.extensions.common import as_integers
from matnet.ops.fields import Pair, as_offsets, as_pair, of
from matnet.shapes import Shape, swapped


@register("dagnn.Upsample")
@dataclass(frozen=True, kw_only=True)
class Upsample(Op):
    """Repeats each value `scale` (vertical, horizontal) times (YOLOv3 forks of Caffe, upsample layer)."""

    family = "pooling"
    images_independent = True
    channels = Channels.SEPARATE
    pixelwise = False
    half_precision = True
    scale: Pair = of(as_pair, (2, 2))

    def with_axes_swapped(self) -> Op | None:
        return replace(self, scale=swapped(self.scale))

    def output_shapes(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> list[Shape]:
        n, c, h, w = inputs[0]
        return [(n, c, h * self.scale[0], w * self.scale[1])]

    def forward(self, xp: Any, inputs: Sequence[Array], params: Any) -> list[Array]:
        rows = xp.repeat(inputs[0], self.scale[0], axis=2)
        return [xp.ascontiguousarray(xp.repeat(rows, self.scale[1], axis=3))]


@register("dagnn.Unpooling")
@dataclass(frozen=True, kw_only=True)
class Unpooling(Op):
    """Puts values back at the indices found by a max pooling, with zeros elsewhere.

    Sources: SegNet fork of Caffe, upsample_layer.cpp; DeconvNet fork, unpooling_layer.cpp, method MAX. Inputs: x and
    the mask, the second output of the pooling, with the index row * width + column of each value; without a mask, value
    i, j goes to row i scale, column j scale. The result has height and width `outputSize`, or else those of x times
    `scale` minus padOut (both vertical, horizontal). If several values have the same index, the last one wins.
    """

    input_count: ClassVar[tuple[int, int | None]] = (1, 2)
    uses_host: ClassVar[bool] = True
    family = "pooling"
    images_independent = True
    channels = Channels.SEPARATE
    pixelwise = False
    scale: Pair = of(as_pair, (2, 2))
    padOut: Pair = of(as_offsets, (0, 0))
    outputSize: tuple[int, ...] = of(as_integers, ())

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.outputSize) not in (0, 2) or any(size < 1 for size in self.outputSize):
            raise NetworkError(f"field 'outputSize' is {list(self.outputSize)}; expected height and width")

    def output_shapes(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> list[Shape]:
        require_equal(inputs)
        n, c, h, w = inputs[0]
        grown = (h * self.scale[0] - self.padOut[0], w * self.scale[1] - self.padOut[1])
        height, width = self.outputSize or grown
        if min(height, width) < 1:
            raise ShapeError(f"padOut {self.padOut} removes the whole map of {grown}")
        return [(n, c, height, width)]

    def forward(self, xp: Any, inputs: Sequence[Array], params: Any) -> list[Array]:
        x = on_host(inputs[0])
        ((n, c, height, width),) = self.output_shapes([each.shape for each in inputs], [])
        places = self._places(inputs, height, width)
        outside = places[(places < 0) | (places >= height * width)]
        if len(outside):
            raise NetworkError(
                f"the mask has index {outside[0]}, outside the result of {height}x{width}; "
                "expected the size of the pooling's input"
            )
        result = np.zeros((n * c, height * width), np.float32)
        result[np.arange(n * c)[:, None], places] = x.reshape(n * c, -1)
        return [xp.asarray(result.reshape(n, c, height, width))]

    def _places(self, inputs: Sequence[Array], height: int, width: int) -> Array:
        """The index of each value in its map: (N C) x (H W)."""
        n, c, h, w = inputs[0].shape
        if len(inputs) > 1:
            return np.trunc(on_host(inputs[1])).astype(np.int64).reshape(n * c, h * w)
        rows = np.minimum(np.arange(h) * self.scale[0], height - 1)
        columns = np.minimum(np.arange(w) * self.scale[1], width - 1)
        return np.broadcast_to((rows[:, None] * width + columns).ravel(), (n * c, h * w))
