"""The matrices of Winograd's algorithm along one axis, F(4, 3), with the points 0, 1, -1, 2, -2 and infinity.

Four correlations of three weights g with six pixels d are OUTPUT ((FILTER g) * (INPUT d)).
"""

from __future__ import annotations

import numpy as np

TILE, SPAN = 4, 6  # pixels of an output tile, and of what it sees, along an axis
INPUT = np.array(
    [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ],
    np.float64,
)
FILTER = (
    np.array(
        [[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]],
        np.float64,
    )
    / 24
)
OUTPUT = np.array(
    [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]],
    np.float64,
)


def tiles_of(length: int) -> int:
    """How many tiles cover so many output pixels along an axis."""
    return -(-length // TILE)
