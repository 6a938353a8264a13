"""Cost model of Winograd's algorithm: whether and how to use it for a convolution."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from matnet.formats.onnx.winograd.matrices import TAPS, tiles_of
from matnet.ops.convolution import Conv

# Costs in units of one multiplication inside a matrix product, measured in ONNX Runtime with two threads on a
# third-generation AMD EPYC only. They select the convolutions that a Winograd variant replaces; whether the variant is
# used depends on measured times. A value is one element of a transformed tile of an input or output channel.
PLAIN = 0.92  # a multiplication of a plain convolution
TILES_PER_VALUE = 130
TILES_PER_GRID = 1000  # per value of all tiles of a channel, moved in blocks of one grid
TILES_PER_WEIGHT = 13  # transformed filters (four times as large) are read once per batch
PRODUCTS_PER_VALUE = 47
PRODUCTS_PER_PIXEL = 2.5  # additional, per pixel of the longer side of the map
PRODUCTS_PER_WEIGHT = 28  # includes packing
GROUPED = 1.8  # factor per value for groups, which move shorter blocks
CACHE = 32e6  # bytes; larger transformed values are read from memory
FROM_MEMORY = 1.6  # slowdown for values read from memory


@dataclass(frozen=True)
class WinogradWay:
    """Implementation (tiles by a convolution, or matrix products only) and output pixels per tile along an axis."""

    kind: Literal["tiles", "products"]
    tile: int


TILES = WinogradWay("tiles", 4)
PRODUCTS = WinogradWay("products", 4), WinogradWay("products", 5)


@dataclass(frozen=True)
class _Work:
    """A convolution with 3 x 3 filters of a batch of images."""

    depth: int  # input channels per filter
    channels: int
    count: int
    rows: int
    columns: int
    images: int

    def plain(self) -> float:
        return PLAIN * TAPS * TAPS * self.depth * self.count * self.images * self.rows * self.columns

    def by(self, way: WinogradWay) -> float:
        grid = tiles_of(self.rows, way.tile) * tiles_of(self.columns, way.tile)
        span = way.tile + TAPS - 1
        weights, tiles = span * span * self.depth * self.count, grid * self.images
        values = span * span * (self.channels + self.count) * tiles
        if way.kind == "tiles":
            return weights * (tiles + TILES_PER_WEIGHT) + values * (TILES_PER_VALUE + TILES_PER_GRID / grid)
        slower = FROM_MEMORY if 4 * values > CACHE else 1
        slower *= GROUPED if self.depth < self.channels else 1
        each = PRODUCTS_PER_VALUE + PRODUCTS_PER_PIXEL * max(self.rows, self.columns)
        return weights * (tiles + PRODUCTS_PER_WEIGHT) + slower * values * each


def winograd_way(op: Conv, filters: np.ndarray, axes: tuple[int | None, ...], images: int) -> WinogradWay | None:
    """The fastest Winograd implementation, by the cost model, for an input with `axes` and a batch of `images`.

    None if a plain convolution is faster, or the algorithm is not applicable.
    """
    fh, fw, depth, count = filters.shape
    _, channels, height, width = axes
    if (fh, fw) != (TAPS, TAPS) or op.stride != (1, 1) or op.dilate != (1, 1) or not filters.size:
        return None
    if channels is None or height is None or width is None:
        return None
    rows, columns = output_size(op, height, width)
    if rows < 1 or columns < 1:
        return None
    work = _Work(depth, channels, count, rows, columns, images)
    cost, way = min(((work.by(way), way) for way in _ways(work)), key=lambda pair: pair[0])
    return way if cost < work.plain() else None


def _ways(work: _Work) -> Iterator[WinogradWay]:
    yield from PRODUCTS
    if work.depth == work.channels:
        yield TILES


def output_size(op: Conv, height: int, width: int) -> tuple[int, int]:
    """Height and width of the convolution's output."""
    top, bottom, left, right = op.pad
    return height + top + bottom - TAPS + 1, width + left + right - TAPS + 1
