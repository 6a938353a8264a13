"""Gaussian filtering in any number of dimensions on the permutohedral lattice, in numpy.

Source: Adams, Baek and Davis, "Fast High-Dimensional Filtering Using the Permutohedral Lattice" (2010), with the
scaling of Kraehenbuehl and Koltun's DenseCRF, as used by CRF-RNN and CCNN. Positions are computed in single precision
and in the order of operations of these programs, to get the same lattice points.
"""

from __future__ import annotations

import numpy as np

from matnet.errors import NetworkError
from matnet.ops.base import Array


class Permutohedral:
    """The lattice around N points of d features, in units of the Gaussian's standard deviation.

    `filter` is linear, and symmetric except for the order of the blurs. Each point gets approximately
    sum_j exp(-|f_i - f_j|^2 / 2) v_j (within about 10 %). Dividing by the filtered ones gives the weighted mean, which
    is exact for constant v.
    """

    def __init__(self, features: np.ndarray) -> None:
        features = np.asarray(features, dtype=np.float32)
        self.points, self.dimensions = features.shape
        if not np.isfinite(features).all():
            raise NetworkError("the image has NaN or infinite values and cannot be filtered")
        keys, self.weights = _enclosing_simplices(_elevated(features))
        codes, encode = _encoder(keys, self.dimensions + 1)
        known, self.corners = np.unique(codes, return_inverse=True)
        self.corners = self.corners.reshape(self.points, self.dimensions + 1)
        self.size = len(known)
        self.neighbours = self._neighbours(known, encode)

    def _neighbours(self, known: np.ndarray, steps: np.ndarray) -> np.ndarray:
        """The points before and after each point along each axis, (d + 1) x 2 x size; `size` if there is none."""
        found = np.full((len(steps), 2, self.size), self.size, dtype=np.int64)
        for axis, step in enumerate(steps):
            for side, wanted in enumerate((known + step, known - step)):
                place = np.searchsorted(known, wanted)
                place[place == self.size] = 0
                found[axis, side] = np.where(known[place] == wanted, place, self.size)
        return found

    def filter(self, values: np.ndarray) -> Array:
        """C x N values at the points -> C x N filtered values, float32."""
        values = np.asarray(values, dtype=np.float32)
        # The last row is for missing points.
        lattice = np.zeros((self.size + 1, len(values)), dtype=np.float32)
        corners = self.corners.ravel()
        for channel, row in enumerate(values):
            splatted = np.bincount(corners, (self.weights * row[:, None]).ravel(), self.size)
            lattice[:-1, channel] = splatted
        for before, after in self.neighbours:
            blurred = lattice[before]
            blurred += lattice[after]
            blurred *= np.float32(0.5)
            lattice[:-1] += blurred
        result = np.zeros((self.points, len(values)), dtype=np.float32)
        for corner in range(self.dimensions + 1):
            result += self.weights[:, corner, None] * lattice[self.corners[:, corner]]
        return np.ascontiguousarray(result.T) * np.float32(1 / (1 + 2.0**-self.dimensions))


def _elevated(features: np.ndarray) -> np.ndarray:
    """N x d features on the plane of d + 1 coordinates that sum to 0, scaled to the lattice's spacing."""
    points, d = features.shape
    spread = np.float32(np.sqrt(2.0 / 3.0) * (d + 1))
    scale = [np.float32(1.0 / np.sqrt((i + 2) * (i + 1)) * spread) for i in range(d)]
    elevated = np.empty((points, d + 1), dtype=np.float32)
    total = np.zeros(points, dtype=np.float32)
    for j in range(d, 0, -1):
        scaled = features[:, j - 1] * scale[j - 1]
        elevated[:, j] = total - np.float32(j) * scaled
        total = total + scaled
    elevated[:, 0] = total
    return elevated


def _enclosing_simplices(elevated: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The corners of the enclosing simplex of each point, N x (d + 1) x d, and their weights, N x (d + 1).

    Corners have integer coordinates; the last coordinate is omitted, because they sum to 0.
    """
    points, width = elevated.shape
    nearest, rank = _nearest_zero_point(elevated)
    weights = np.zeros((points, width + 1), dtype=np.float32)
    rows = np.arange(points)
    for i in range(width):
        share = (elevated[:, i] - nearest[:, i]) * np.float32(1.0 / width)
        weights[rows, width - 1 - rank[:, i]] += share
        weights[rows, width - rank[:, i]] -= share
    weights[:, 0] += 1 + weights[:, width]
    # Corner r of the canonical simplex is r in its first places and r - (d + 1) in the last r ones.
    canonical = np.array([[r - width * (place >= width - r) for place in range(width)] for r in range(width)])
    corners = nearest[:, None, :-1].astype(np.int64) + canonical[:, rank[:, :-1]].transpose(1, 0, 2)
    return corners, weights[:, :width]


def _nearest_zero_point(elevated: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The nearest lattice point with multiples of d + 1 as coordinates, and the ranks of the remainders."""
    width = elevated.shape[1]
    quotient = np.rint(elevated * np.float32(1.0 / width))
    nearest = quotient * np.float32(width)
    # Deviation, caused by rounding, from the plane of coordinates with sum 0.
    excess = quotient.sum(axis=1).astype(np.int64)[:, None]
    remainder = elevated - nearest
    rank = np.zeros(elevated.shape, dtype=np.int64)
    for i in range(width - 1):
        for j in range(i + 1, width):
            smaller = remainder[:, i] < remainder[:, j]
            rank[:, i] += smaller
            rank[:, j] += ~smaller
    rank += excess
    wrap = np.where(rank < 0, width, 0) - np.where(rank >= width, width, 0)
    return nearest + wrap.astype(np.float32), rank + wrap


def _encoder(keys: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
    """An integer code for each lattice point, and the increment of the code for a step along each axis."""
    flat = keys.reshape(-1, keys.shape[-1])
    low, high = flat.min(axis=0) - width, flat.max(axis=0) + width  # a step never leaves this range
    spans = [int(span) for span in high - low + 1]
    strides = np.ones(len(spans), dtype=object)
    for axis in range(len(spans) - 2, -1, -1):
        strides[axis] = strides[axis + 1] * spans[axis + 1]
    if strides[0] * spans[0] >= 2**62:
        raise NetworkError("the range of features is too large for the lattice; use larger standard deviations")
    strides = strides.astype(np.int64)
    codes = (flat - low) @ strides
    # A step along axis j adds d to coordinate j, and -1 to all others.
    steps = np.full((width, len(spans)), -1, dtype=np.int64)
    steps[np.arange(len(spans)), np.arange(len(spans))] += width
    return codes, steps @ strides
