"""The matrices of Winograd's algorithm along one axis, by the Toom-Cook method."""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from math import prod
from typing import NamedTuple

import numpy as np

TAPS = 3  # filter weights along an axis
POINTS = (0, 1, -1, 2, -2, Fraction(1, 2))  # interpolation points, besides infinity; small ones reduce rounding errors


class Matrices(NamedTuple):
    """`tile` correlations of 3 weights g with span = tile + 2 pixels d: output @ ((filter @ g) * (input @ d)).

    input: span x span, filter: span x 3, output: tile x span; float64.
    """

    input: np.ndarray
    filter: np.ndarray
    output: np.ndarray


@cache
def matrices(tile: int) -> Matrices:
    """F(tile, 3), by transposition of polynomial evaluation and interpolation."""
    span = tile + TAPS - 1
    points = [Fraction(point) for point in POINTS[: span - 1]]
    others = [[other for other in points if other != point] for point in points]
    rows = [[*_coefficients(roots), Fraction(0)] for roots in others] + [_coefficients(points)]
    weights = [
        [point**power / prod(point - root for root in roots) for power in range(TAPS)]
        for point, roots in zip(points, others, strict=True)
    ]
    weights.append([Fraction(power == TAPS - 1) for power in range(TAPS)])
    values = [[*(point**power for point in points), Fraction(power == tile - 1)] for power in range(tile)]
    return Matrices(*(np.array(matrix, np.float64) for matrix in (rows, weights, values)))


def _coefficients(roots: list[Fraction]) -> list[Fraction]:
    """Coefficients of the product of (x - root) over all roots, lowest power first."""
    found = [Fraction(1)]
    for root in roots:
        pairs = zip([Fraction(0), *found], [*found, Fraction(0)], strict=True)
        found = [higher - root * lower for higher, lower in pairs]
    return found


def tiles_of(length: int, tile: int) -> int:
    """The number of tiles that cover `length` output pixels along an axis."""
    return -(-length // tile)
