"""Spatial transformers: bilinear sampling at grid points, and grid generators."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, ClassVar

import numpy as np

from matnet.errors import ShapeError
from matnet.ops.base import Array, Channels, Op, register
from matnet.ops.fields import as_int, of
from matnet.shapes import Shape, text


@register("dagnn.BilinearSampler", stock=True)
@dataclass(frozen=True, kw_only=True)
class BilinearSampler(Op):
    """Bilinear interpolation of the input at the points of a grid, zero outside the image (vl_nnbilinearsampler).

    Inputs: N x C x H x W, and a grid 2 x Ho x Wo x No in MATLAB (here No x Wo x 2 x Ho) of vertical and horizontal
    positions; -1 and 1 are the centres of the border pixels. Output: No x C x Ho x Wo, with No / N consecutive grids
    per image.
    """

    family = "pooling"
    images_independent = True
    channels = Channels.COUNT
    pixelwise = False
    input_count: ClassVar[tuple[int, int | None]] = (2, 2)

    def output_shapes(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> list[Shape]:
        (n, c, _, _), grid = inputs
        count, width, planes, height = grid
        if planes != 2:
            raise ShapeError(f"the grid is {planes}x{height}x{width}x{count} in MATLAB's order; expected 2 planes")
        if count % n:
            raise ShapeError(f"{count} grids for {n} images; expected a multiple")
        return [(count, c, height, width)]

    def forward(self, xp: Any, inputs: Sequence[Array], params: Any) -> list[Array]:
        x, grid = inputs
        n, c, h, w = x.shape
        pixels = x.transpose(0, 2, 3, 1).reshape(n * h * w, c)
        first = xp.arange(len(grid)) // (len(grid) // n) * (h * w)
        rows = _neighbours(xp, grid[:, :, 0].swapaxes(1, 2), h)
        columns = _neighbours(xp, grid[:, :, 1].swapaxes(1, 2), w)
        total = xp.zeros((*rows[0][0].shape, c), dtype=x.dtype)
        for row, row_weight in rows:
            for column, column_weight in columns:
                index = first[:, np.newaxis, np.newaxis] + row * w + column
                total += pixels[index] * (row_weight * column_weight)[..., np.newaxis]
        return [xp.ascontiguousarray(total.transpose(0, 3, 1, 2))]


def _neighbours(xp: Any, position: Array, size: int) -> list[tuple[Array, Array]]:
    """The two pixels around each position in [-1, 1] along an axis, with their weights (0 outside the image)."""
    place = (position + 1) * xp.float32(0.5 * (size - 1))
    below = xp.floor(place)
    near = (below >= -1) & (below <= size - 1)  # false for NaN as well
    place, below = xp.where(near, place, 0), xp.where(near, below, 0)
    found = []
    for index, weight in ((below, 1 - (place - below)), (below + 1, place - below)):
        inside = near & (index >= 0) & (index <= size - 1)
        found.append((xp.where(inside, index, 0).astype(np.int64), xp.where(inside, weight, 0).astype(np.float32)))
    return found


@dataclass(frozen=True, kw_only=True)
class GridGenerator(Op):
    """A grid of Ho x Wo points in [-1, 1], transformed per image: 2 x Ho x Wo x N in MATLAB."""

    images_independent = True
    pixelwise = False
    coefficients: ClassVar[int] = 0
    Ho: int = of(as_int, 0)
    Wo: int = of(as_int, 0)

    def output_shapes(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> list[Shape]:
        n = inputs[0][0]
        if prod(inputs[0]) != n * self.coefficients:
            raise ShapeError(
                f"the transforms are {text(inputs[0])}; expected {self.coefficients} coefficients per image: "
                f"{n}x{self.coefficients}x1x1"
            )
        if self.Ho < 1 or self.Wo < 1:
            raise ShapeError(f"the grid size Ho x Wo is {self.Ho}x{self.Wo}; expected at least 1x1")
        return [(n, self.Wo, 2, self.Ho)]

    def forward(self, xp: Any, inputs: Sequence[Array], params: Any) -> list[Array]:
        c = inputs[0].reshape(len(inputs[0]), self.coefficients, 1, 1)
        v, u = _positions(xp, self.Ho), _positions(xp, self.Wo)[:, np.newaxis]
        moved = self._move([c[:, i] for i in range(self.coefficients)], v, u)
        spread = [xp.broadcast_to(plane, (len(c), self.Wo, self.Ho)) for plane in moved]
        return [xp.stack(spread, axis=2)]

    def _move(self, c: list[Array], v: Array, u: Array) -> tuple[Array, Array]:
        """Vertical and horizontal positions, N x Wo x Ho, of the points (v, u)."""
        raise NotImplementedError(f"{type(self).__name__} has no transform")


def _positions(xp: Any, count: int) -> Array:
    """MATLAB's linspace(-1, 1, count), which is 1 for count 1."""
    return xp.linspace(-1, 1, count, dtype=xp.float32) if count > 1 else xp.ones(1, dtype=xp.float32)


@register("dagnn.AffineGridGenerator", stock=True)
@dataclass(frozen=True, kw_only=True)
class AffineGridGenerator(GridGenerator):
    """v' = c1 v + c2 u + c5, u' = c3 v + c4 u + c6 with six coefficients per image (dagnn.AffineGridGenerator)."""

    coefficients: ClassVar[int] = 6

    def _move(self, c: list[Array], v: Array, u: Array) -> tuple[Array, Array]:
        return c[0] * v + c[1] * u + c[4], c[2] * v + c[3] * u + c[5]


@register("dagnn.UniformScalingGridGenerator", stock=True)
@dataclass(frozen=True, kw_only=True)
class UniformScalingGridGenerator(GridGenerator):
    """v' = s v + ty, u' = s u + tx with (s, ty, tx) per image (dagnn.UniformScalingGridGenerator)."""

    coefficients: ClassVar[int] = 3

    def _move(self, c: list[Array], v: Array, u: Array) -> tuple[Array, Array]:
        return c[0] * v + c[1], c[0] * u + c[2]
