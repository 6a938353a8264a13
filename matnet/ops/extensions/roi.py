"""RoI pooling layers of Caffe's forks: position-sensitive averages (R-FCN) and bilinear samples (MS-CNN)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, ClassVar

import numpy as np

from matnet.errors import NetworkError, ShapeError
from matnet.ops.arrays import on_host
from matnet.ops.base import Array, Channels, InputKind, Op, register
from matnet.ops.extensions.common import as_count
from matnet.ops.fields import Pair, as_pair, of
from matnet.shapes import Shape, text


def box_count(shape: Shape) -> int:
    """The number of boxes of an input R x 5. Raises ShapeError for another shape."""
    if prod(shape[1:]) != 5:
        raise ShapeError(f"the boxes are {text(shape)}; expected R x 5: image, xmin, ymin, xmax, ymax")
    return shape[0]


def boxes_on_host(boxes: Array, images: int) -> tuple[np.ndarray, np.ndarray]:
    """The 0-based image of each box, and its corners R x 4 float32. Raises NetworkError for an invalid image."""
    found = on_host(boxes).reshape(-1, 5)
    if not np.isfinite(found).all():
        raise NetworkError("a box has NaN or infinite values; expected image number and pixel coordinates")
    numbers = np.trunc(found[:, 0]).astype(np.int64)
    wrong = numbers[(numbers < 0) | (numbers >= images)]
    if len(wrong):
        raise NetworkError(f"a box has image number {wrong[0]}; expected 0 to {images - 1}")
    return numbers, found[:, 1:]


@register("dagnn.PSROIPooling")
@dataclass(frozen=True, kw_only=True)
class PSROIPooling(Op):
    """The average over each tile of each box, with separate channels per tile (R-FCN, psroi_pooling_layer.cu).

    Inputs: N x (outputDim groupSize^2) x H x W, and boxes R x 5 (image, xmin, ymin, xmax, ymax, 0-based pixels of the
    image). Output: R x outputDim x groupSize x groupSize; tile i, j of output channel c averages channel
    (c groupSize + i) groupSize + j. Corners are rounded half away from zero, 1 is added to the last corner, and both
    are multiplied by spatialScale. A box is at least 0.1 cells long. Tiles extend from the floor of their start to the
    ceiling of their end; empty tiles give 0.
    """

    input_count: ClassVar[tuple[int, int | None]] = (2, 2)
    input_kinds: ClassVar = {1: InputKind.BOXES}
    uses_host: ClassVar[bool] = True
    family = "pooling"
    pixelwise = False
    spatialScale: float = 1.0
    outputDim: int = of(as_count, 1)
    groupSize: int = of(as_count, 1)

    def output_shapes(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> list[Shape]:
        wanted = self.outputDim * self.groupSize**2
        if inputs[0][1] != wanted:
            raise ShapeError(
                f"input 1 has {inputs[0][1]} channels; expected {wanted} = "
                f"outputDim {self.outputDim} * groupSize {self.groupSize}^2"
            )
        return [(box_count(inputs[1]), self.outputDim, self.groupSize, self.groupSize)]

    def forward(self, xp: Any, inputs: Sequence[Array], params: Any) -> list[Array]:
        x = inputs[0]
        images, corners = boxes_on_host(inputs[1], len(x))
        tiles = [self._tiles(corners[:, axis], corners[:, axis + 2], x.shape[2 + 1 - axis]) for axis in (1, 0)]
        sums = self._sums(xp, x)
        image, channel = xp.asarray(images)[:, None, None, None], xp.arange(self.outputDim)[:, None, None]
        row, column = xp.arange(self.groupSize)[:, None], xp.arange(self.groupSize)
        top, bottom = (xp.asarray(tiles[0][edge])[:, None, :, None] for edge in (0, 1))
        left, right = (xp.asarray(tiles[1][edge])[:, None, None, :] for edge in (0, 1))
        below = sums[image, channel, row, column, bottom, right] - sums[image, channel, row, column, bottom, left]
        above = sums[image, channel, row, column, top, right] - sums[image, channel, row, column, top, left]
        cells = (bottom - top) * (right - left)
        return [xp.ascontiguousarray(((below - above) / xp.maximum(cells, 1)).astype(xp.float32))]

    def _tiles(self, low: np.ndarray, high: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
        """The first and last (exclusive) cell along one axis, boxes x groupSize each; in single as in R-FCN."""
        scale = np.float32(self.spatialScale)
        start = _half_away(low) * scale
        length = np.maximum((_half_away(high) + np.float32(1)) * scale - start, np.float32(0.1))
        step, tile = (length / np.float32(self.groupSize))[:, None], np.arange(self.groupSize, dtype=np.float32)
        first = np.clip(np.floor(tile * step + start[:, None]), 0, size).astype(np.int64)
        behind = np.clip(np.ceil((tile + 1) * step + start[:, None]), 0, size).astype(np.int64)
        return first, np.maximum(behind, first)

    def _sums(self, xp: Any, x: Array) -> Array:
        """The summed-area table in double: N x D x g x g x (H + 1) x (W + 1)."""
        n, _, height, width = x.shape
        group = self.groupSize
        sums = xp.zeros((n, self.outputDim, group, group, height + 1, width + 1), dtype=xp.float64)
        parts = x.reshape(n, self.outputDim, group, group, height, width).astype(xp.float64)
        sums[..., 1:, 1:] = xp.cumsum(xp.cumsum(parts, axis=4), axis=5)
        return sums


def _half_away(values: np.ndarray) -> Array:
    return (np.sign(values) * np.floor(np.abs(values) + np.float32(0.5))).astype(np.float32)


@register("dagnn.ROIAlign")
@dataclass(frozen=True, kw_only=True)
class ROIAlign(Op):
    """Bilinear samples on a grid over each box (MS-CNN and Cascade R-CNN forks, roi_align_layer.cpp).

    Inputs: N x C x H x W, and boxes R x 5 (image, xmin, ymin, xmax, ymax, 0-based pixels of the image). Output:
    R x C x (rows + 1) x (columns + 1) for `subdivisions` rows and columns: samples at the corners of all tiles, from
    the first to the last corner of the box. Boxes are enlarged by padRatio times their size (xmax - xmin + 1) on each
    side, multiplied by spatialScale and shifted by half a cell. Points more than half a cell outside the map, and boxes
    without area, give 0.
    """

    input_count: ClassVar[tuple[int, int | None]] = (2, 2)
    input_kinds: ClassVar = {1: InputKind.BOXES}
    uses_host: ClassVar[bool] = True
    family = "pooling"
    channels = Channels.COUNT
    pixelwise = False
    subdivisions: Pair = of(as_pair, (6, 6))
    spatialScale: float = 1.0
    padRatio: float = 0.0

    def output_shapes(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> list[Shape]:
        rows, columns = self.subdivisions
        return [(box_count(inputs[1]), inputs[0][1], rows + 1, columns + 1)]

    def forward(self, xp: Any, inputs: Sequence[Array], params: Any) -> list[Array]:
        x = inputs[0]
        images, corners = boxes_on_host(inputs[1], len(x))
        low, high = self._extents(corners)
        down = _samples(low[:, 1], high[:, 1], self.subdivisions[0], x.shape[2])
        across = _samples(low[:, 0], high[:, 0], self.subdivisions[1], x.shape[3])
        solid = np.all(high > low, axis=1)[:, None, None]
        inside = down[3][:, :, None] & across[3][:, None, :] & solid
        pixels = xp.ascontiguousarray(x.transpose(0, 2, 3, 1))
        image = xp.asarray(images)[:, None, None]
        total: Any = 0
        for row, below in ((down[0], 1 - down[2]), (down[1], down[2])):
            for column, beside in ((across[0], 1 - across[2]), (across[1], across[2])):
                weight = xp.asarray(beside[:, None, :] * below[:, :, None] * inside)
                values = pixels[image, xp.asarray(row)[:, :, None], xp.asarray(column)[:, None, :]]
                total = total + values * weight[..., None]
        return [xp.ascontiguousarray(total.transpose(0, 3, 1, 2))]

    def _extents(self, corners: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """First and last corner of each box in cells, relative to the centre of the first cell."""
        pad = (corners[:, 2:] - corners[:, :2] + np.float32(1)) * np.float32(self.padRatio)
        scale, half = np.float32(self.spatialScale), np.float32(0.5)
        return (corners[:, :2] - pad) * scale - half, (corners[:, 2:] + pad) * scale - half


def _samples(
    low: np.ndarray, high: np.ndarray, tiles: int, size: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """For each box and point along an axis: both cells, the weight of the second, and whether the point is valid."""
    step = ((high - low) / np.float32(tiles))[:, None]
    place = low[:, None] + np.arange(tiles + 1, dtype=np.float32) * step
    counts = (place >= -0.5) & (place <= size - 0.5)
    floor = np.clip(np.floor(place), -1, size).astype(np.int64)
    first, second = floor.clip(0, size - 1), (floor + 1).clip(0, size - 1)
    weight = np.where(counts, np.clip(place, 0, np.float32(size - 1)) - first, 0).astype(np.float32)
    return first, second, weight, counts
