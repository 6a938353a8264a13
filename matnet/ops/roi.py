"""RoI pooling: pooling of boxes into a fixed number of tiles (vl_nnroipool)."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from math import prod
from typing import Any, ClassVar

import numpy as np

from matnet.errors import NetworkError, ShapeError
from matnet.layout import nchw_to_hwcn
from matnet.ops.arrays import on_host
from matnet.ops.base import Array, Channels, InputKind, Op, register
from matnet.ops.fields import Pair, as_bool, as_pair, choice, numbers, of
from matnet.shapes import Shape, text

logger = logging.getLogger(__name__)
BLOCK = 1 << 16
"""Number of values gathered at once."""
Row = tuple[float, float, float]
Transform = float | tuple[float, float] | tuple[Row, Row]


def _as_transform(value: Any) -> Transform:
    """One scale, two ([horizontal vertical]), or a 2 x 3 matrix (six numbers in column-major order)."""
    flat = numbers(value)
    if len(flat) == 1:
        return flat[0]
    if len(flat) == 2:
        return flat[0], flat[1]
    if len(flat) == 6:
        return (flat[0], flat[2], flat[4]), (flat[1], flat[3], flat[5])
    raise NetworkError(f"transform has {len(flat)} numbers; expected 1, 2 or 6 (2 x 3)")


@register("dagnn.ROIPooling", stock=True)
@dataclass(frozen=True, kw_only=True)
class ROIPooling(Op):
    """The maximum or average over each tile of each box; 0 for empty tiles (vl_nnroipool).

    Inputs: N x C x H x W, and boxes with 5 R numbers in MATLAB's order: image (1-based), then x, y of the upper-left
    and lower-right pixel (1-based, inclusive). Output: R x C x rows x columns, or with `flatten`
    R x (C * rows * columns) x 1 x 1, rows fastest. `transform` first maps box coordinates to pixels, by a scale T as
    T * (x - 1) + 1, or by a 2 x 3 matrix. Corners are rounded half away from zero; tiles overlap. A box with an image
    number outside the batch uses the nearest image of the batch, as in vl_nnroipool, with a warning.
    """

    refuses_other_images: ClassVar[bool] = False  # raise NetworkError for a box with an image outside the batch

    family = "pooling"
    pixelwise = False
    input_count: ClassVar[tuple[int, int | None]] = (2, 2)
    input_kinds: ClassVar = {1: InputKind.MATLAB_BOXES}
    uses_host: ClassVar[bool] = True
    method: str = of(choice("max", "avg"), "max")
    subdivisions: Pair = of(as_pair, (6, 6))
    transform: Transform = of(_as_transform, 1.0)
    flatten: bool = of(as_bool, False)

    @property
    def channels(self) -> Channels:
        return Channels.UNKNOWN if self.flatten else Channels.COUNT

    def output_shapes(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> list[Shape]:
        count, rest = divmod(prod(inputs[1]), 5)
        if rest:
            raise ShapeError(f"the boxes are {text(inputs[1])}, {prod(inputs[1])} numbers; expected 5 per box")
        channels, (rows, columns) = inputs[0][1], self.subdivisions
        return [(count, channels * rows * columns, 1, 1) if self.flatten else (count, channels, rows, columns)]

    def forward(self, xp: Any, inputs: Sequence[Array], params: Any) -> list[Array]:
        x = inputs[0]
        images, corners = self._boxes(on_host(inputs[1]), len(x))
        rows = _tiles(corners[:, 1], corners[:, 3], self.subdivisions[0], x.shape[2])
        columns = _tiles(corners[:, 0], corners[:, 2], self.subdivisions[1], x.shape[3])
        pixels = xp.ascontiguousarray(x.transpose(0, 2, 3, 1))  # channels last
        boxes = _Rectangles.of(images, rows, columns)
        pooled = _greatest(xp, pixels, boxes) if self.method == "max" else _mean(xp, pixels, boxes)
        tiles = pooled.reshape(len(images), *self.subdivisions, x.shape[1])
        if self.flatten:
            return [tiles.transpose(0, 3, 2, 1).reshape(len(images), -1, 1, 1)]
        return [xp.ascontiguousarray(tiles.transpose(0, 3, 1, 2))]

    def _boxes(self, rois: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        """The 0-based image of each box, and its corners left, top, right, bottom as 0-based integer pixels."""
        boxes = nchw_to_hwcn(rois).ravel(order="F").reshape(-1, 5).astype(np.float64)
        if not np.isfinite(boxes).all():
            raise NetworkError("a box has NaN or infinite values; expected image number and pixel coordinates")
        images = np.trunc(boxes[:, 0]).astype(np.int64) - 1
        outside = np.flatnonzero((images < 0) | (images >= count))
        if outside.size:
            first = f"box {outside[0] + 1} of {len(images)} has image number {images[outside[0]] + 1} (1-based)"
            if self.refuses_other_images:
                raise NetworkError(f"{first}; expected 1 to {count}")
            logger.warning("%s; expected 1 to %d; using the nearest image, as in MatConvNet", first, count)
            images = np.clip(images, 0, count - 1)
        # In single, because vl_nnroipool first rounds the transformed corners to the tensor's precision.
        corners = self._transformed(boxes[:, 1:]).astype(np.float32).astype(np.float64)
        return images, np.sign(corners) * np.floor(np.abs(corners) + 0.5) - 1

    def _transformed(self, corners: np.ndarray) -> np.ndarray:
        x, y = corners[:, 0::2], corners[:, 1::2]
        if isinstance(self.transform, float):
            across, down = self.transform * (x - 1) + 1, self.transform * (y - 1) + 1
        elif isinstance(self.transform[0], float):
            across, down = self.transform[0] * (x - 1) + 1, self.transform[1] * (y - 1) + 1
        else:
            across, down = (row[0] * x + row[1] * y + row[2] for row in self.transform)
        return np.stack([across[:, 0], down[:, 0], across[:, 1], down[:, 1]], axis=1)


@dataclass(frozen=True, kw_only=True)
class CaffeROIPooling(ROIPooling):
    """ROIPooling of a Caffe network: raises NetworkError for a box with an image outside the batch (CHECK_LT in Caffe).

    Saved as ROIPooling.
    """

    refuses_other_images: ClassVar[bool] = True


def _tiles(first: np.ndarray, last: np.ndarray, count: int, size: int) -> Array:
    """The start and end pixels of `count` tiles of each box along one axis: boxes x count x 2.

    Edges are computed in single as in MatConvNet, because rounding matters: 7 * single(57 / 7) exceeds 57 and adds a
    pixel.
    """
    length = np.maximum(last - first + 1, 1).astype(np.float32)
    step = (length / np.float32(count))[:, np.newaxis]
    tile = np.arange(count, dtype=np.float32)
    begin, end = np.floor(tile * step) + first[:, np.newaxis], np.ceil((tile + 1) * step) + first[:, np.newaxis]
    edges = np.clip(np.stack([begin, end], axis=-1), 0, size).astype(np.int64)
    edges[..., 1] = np.maximum(edges[..., 1], edges[..., 0])
    return edges


@dataclass(frozen=True)
class _Rectangles:
    """Tiles, grouped by box: images and pixel ranges, T integers each."""

    image: np.ndarray
    top: np.ndarray
    bottom: np.ndarray
    left: np.ndarray
    right: np.ndarray

    @classmethod
    def of(cls, images: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> _Rectangles:
        """The tiles of boxes, from their images and the `_tiles` of both axes."""
        down, across = rows[:, :, np.newaxis], columns[:, np.newaxis]
        shape = (len(images), rows.shape[1], columns.shape[1])
        parts = (images[:, np.newaxis, np.newaxis], down[..., 0], down[..., 1], across[..., 0], across[..., 1])
        return cls(*(np.broadcast_to(part, shape).ravel() for part in parts))

    @property
    def areas(self) -> Array:
        return (self.bottom - self.top) * (self.right - self.left)


def _greatest(xp: Any, pixels: Array, boxes: _Rectangles) -> Array:
    """The maximum of N x H x W x C over each tile, T x C; 0 for empty tiles.

    A sparse table: every range is the union of two overlapping ranges with a power of two as length, so a tile is the
    maximum of four precomputed maxima. Maxima of one size are computed from those of half the size.
    """
    _, height, width, channels = pixels.shape
    found = xp.zeros((len(boxes.image), channels), dtype=pixels.dtype)
    tall, wide = (_log2(high - low) for low, high in ((boxes.top, boxes.bottom), (boxes.left, boxes.right)))
    tall[boxes.areas == 0] = -1
    bands = pixels
    for step in range(int(tall.max(initial=-1)) + 1):
        bands = _doubled(xp, bands, step, axis=1)
        squares = bands
        for stride in range(int(wide[tall == step].max(initial=-1)) + 1):
            squares = _doubled(xp, squares, stride, axis=2)
            mine = np.flatnonzero((tall == step) & (wide == stride))
            flat = squares.reshape(-1, channels)
            first = boxes.image[mine] * height
            lines = [(first + edge) * width for edge in (boxes.top[mine], boxes.bottom[mine] - (1 << step))]
            places = [line + edge for line in lines for edge in (boxes.left[mine], boxes.right[mine] - (1 << stride))]
            for some in _blocks(len(mine), channels):
                found[xp.asarray(mine[some])] = reduce(xp.maximum, (flat[xp.asarray(place[some])] for place in places))
    return found


def _doubled(xp: Any, maxima: Array, step: int, axis: int) -> Array:
    """Maxima over 2^step positions along an axis, from maxima over half as many; invalid at the far edge."""
    if not step:
        return maxima
    half = 1 << (step - 1)
    before, behind = ([slice(None)] * maxima.ndim for _ in range(2))
    before[axis], behind[axis] = slice(None, -half), slice(half, None)
    found = maxima.copy()
    found[tuple(before)] = xp.maximum(maxima[tuple(before)], maxima[tuple(behind)])
    return found


def _mean(xp: Any, pixels: Array, boxes: _Rectangles) -> Array:
    """The average of N x H x W x C over each tile, T x C, from cumulative sums in double; 0 for empty tiles."""
    count, height, width, channels = pixels.shape
    finite = xp.isfinite(pixels)
    sums = xp.zeros((count, height + 1, width + 1, channels), dtype=xp.float64)
    sums[:, 1:, 1:] = xp.cumsum(xp.cumsum(xp.where(finite, pixels, 0).astype(xp.float64), axis=1), axis=2)
    flat = sums.reshape(-1, channels)
    above, below = ((boxes.image * (height + 1) + edge) * (width + 1) for edge in (boxes.top, boxes.bottom))
    found = xp.empty((len(boxes.image), channels), dtype=pixels.dtype)
    shares = 1 / np.maximum(boxes.areas, 1)
    corners = (below + boxes.right, below + boxes.left, above + boxes.right, above + boxes.left)
    for some in _blocks(len(found), 2 * channels):
        one, two, three, four = (flat[xp.asarray(corner[some])] for corner in corners)
        found[some] = (one - two - three + four) * xp.asarray(shares[some])[:, np.newaxis]
    if not finite.all():  # handled separately, because they would spread through the cumulative sums
        odd = xp.where(finite, 0, pixels)
        found += _greatest(xp, odd, boxes) - _greatest(xp, -odd, boxes)
    return found


def _log2(lengths: np.ndarray) -> np.ndarray:
    """floor(log2) of each length; -1 for 0."""
    return np.frexp(lengths.astype(np.float64))[1] - 1


def _blocks(count: int, channels: int) -> Iterator[slice]:
    """Slices of rows, sized for a core's cache."""
    size = max(1, BLOCK // max(1, channels))
    return (slice(start, start + size) for start in range(0, count, size))
