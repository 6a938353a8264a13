"""Whether Winograd's algorithm is likely to pay for a convolution, and written in which way."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from matnet.formats.onnx.winograd.matrices import TAPS, tiles_of
from matnet.ops.convolution import Conv

# Costs in the time of one multiplication inside a matrix product, measured in ONNX Runtime with two threads on an
# AMD EPYC of the third generation, and tried on no other processor. What they decide is which convolutions a variant
# with Winograd's algorithm writes so; whether that variant is used follows from times alone. A value is one of a
# transformed tile, of an input or an output channel.
PLAIN = 0.92  # a multiplication of a plain convolution
TILES_PER_VALUE = 130
TILES_PER_GRID = 1000  # per value of all tiles of a channel: they are moved in pieces that are a grid long
TILES_PER_WEIGHT = 13  # the transformed filters, four times as large, are read from memory once per batch
PRODUCTS_PER_VALUE = 47
PRODUCTS_PER_PIXEL = 2.5  # and that, for each pixel that the map is high: transforms are products with it
PRODUCTS_PER_WEIGHT = 28  # which are also packed
GROUPED = 1.8  # times as much per value: a group's channels are short pieces
CACHE = 32e6  # bytes; transformed values beyond that come from memory
FROM_MEMORY = 1.6  # times as slow


@dataclass(frozen=True)
class WinogradWay:
    """By tiles that a convolution cuts out, or by products alone; tiles have that many output pixels along an axis."""

    kind: Literal["tiles", "products"]
    tile: int


TILES = WinogradWay("tiles", 4)
PRODUCTS = WinogradWay("products", 4), WinogradWay("products", 5)


@dataclass(frozen=True)
class _Work:
    """A convolution of 3 x 3 filters, for a number of images."""

    depth: int  # channels that a filter sees
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
    """How a convolution of this input, `axes`, is likely to be fastest so with that many images at a time.

    None: as a plain convolution, or one that the algorithm is not written for.
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
