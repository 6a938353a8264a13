"""Whether Winograd's algorithm is likely to pay for a convolution, and written in which of two ways."""

from __future__ import annotations

from typing import Literal

import numpy as np

from matnet.formats.onnx.winograd.matrices import SPAN, tiles_of
from matnet.ops.convolution import Conv

Method = Literal["tiles", "products"]
# Costs in the time of one multiplication inside a matrix product, measured in ONNX Runtime with two threads on an
# AMD EPYC of the third generation. A channel is one of the input or of the output.
PLAIN = 0.92  # a multiplication of a plain convolution
TILES_PER_CHANNEL = 4600  # and tile
TILES_PER_GRID = 36000  # per channel and image: tiles are moved in pieces that are a grid long
TILES_PER_WEIGHT = 13  # the transformed filters, four times as large, are read from memory once per batch
PRODUCTS_PER_CHANNEL = 1700  # and tile
PRODUCTS_PER_PIXEL = 90  # and that, for each pixel that the map is high: transforms are products with it
PRODUCTS_PER_WEIGHT = 28  # which are also packed
GROUPED = 1.8  # times as much to move: a group's channels are short pieces
CACHE = 32e6  # bytes; transformed values beyond that come from memory
FROM_MEMORY = 1.6  # times as slow


def winograd_method(op: Conv, filters: np.ndarray, axes: tuple[int | None, ...], images: int) -> Method | None:
    """How a convolution of this input, `axes`, is likely to be fastest so with that many images at a time.

    None: as a plain convolution, or one that the algorithm is not written for.
    """
    fh, fw, depth, count = filters.shape
    _, channels, height, width = axes
    if (fh, fw) != (3, 3) or op.stride != (1, 1) or op.dilate != (1, 1) or not filters.size:
        return None
    if channels is None or height is None or width is None:
        return None
    rows, columns = output_size(op, height, width)
    if rows < 1 or columns < 1:
        return None
    grid = tiles_of(rows) * tiles_of(columns)
    products, moved = SPAN * SPAN * depth * count, (channels + count) * images * grid
    slower = FROM_MEMORY if 4 * SPAN * SPAN * moved > CACHE else 1
    slower *= GROUPED if depth < channels else 1
    costs: dict[Method | None, float] = {
        None: PLAIN * 9 * depth * count * images * rows * columns,
        "products": products * (images * grid + PRODUCTS_PER_WEIGHT)
        + slower * moved * (PRODUCTS_PER_CHANNEL + PRODUCTS_PER_PIXEL * max(height, width)),
    }
    if depth == channels:
        costs["tiles"] = products * (images * grid + TILES_PER_WEIGHT)
        costs["tiles"] += moved * (TILES_PER_CHANNEL + TILES_PER_GRID / grid)
    return min(costs, key=lambda method: costs[method])


def output_size(op: Conv, height: int, width: int) -> tuple[int, int]:
    """Height and width of a 3 x 3 convolution's output."""
    top, bottom, left, right = op.pad
    return height + top + bottom - 2, width + left + right - 2
