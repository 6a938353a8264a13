"""Greedy non-maximum suppression: drop boxes that overlap a better kept box too much."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from matnet.ops.base import Array

BLOCK = 256
"""Size of the first block of boxes; each following block is twice as large."""
PAIRS = 1 << 16
"""Number of pairs compared at once, to stay in a core's cache."""


@dataclass(frozen=True)
class Overlap:
    """The measure of overlap of two boxes (xmin, ymin, xmax, ymax).

    plus: added to each extent of boxes and intersections: 1 if corners are inclusive pixels, 0 if they are points.
    ordered: an intersection counts only if its corners are in order before `plus` is added. ordered_rows: in addition,
    its rows must differ. over: divisor of the intersection: "union", "smaller" (the smaller area) or "first" (the area
    of the better box). inclusive: drop a box also if the overlap equals the limit.
    """

    plus: float = 0.0
    ordered: bool = False
    ordered_rows: bool = False
    over: str = "union"
    inclusive: bool = False

    def exceeds(
        self, first: np.ndarray, first_area: np.ndarray, second: np.ndarray, second_area: np.ndarray, limit: np.float32
    ) -> Array:
        """Whether boxes `second` (4 x ...) overlap the better boxes `first` too much, in float32, with broadcasting."""
        shared = self._extent(first, second, 0)
        shared *= self._extent(first, second, 1)
        if self.over == "union":
            whole = first_area + second_area
            whole -= shared
        else:
            whole = first_area if self.over == "first" else np.minimum(first_area, second_area)
        with np.errstate(invalid="ignore", divide="ignore"):
            share = np.divide(shared, whole, out=shared)
        return share >= limit if self.inclusive else share > limit

    def _extent(self, first: np.ndarray, second: np.ndarray, axis: int) -> Array:
        """Width or height of each intersection."""
        found = np.minimum(first[axis + 2], second[axis + 2])
        found -= np.maximum(first[axis], second[axis])
        if self.ordered:
            found[found <= 0 if axis and self.ordered_rows else found < 0] = -self.plus
        if self.plus:
            found += np.float32(self.plus)
        return np.maximum(found, 0, out=found)

    def reach(self, boxes: np.ndarray, limit: float) -> Array:
        """The rightmost start of a box that can overlap one of `boxes` from the right too much.

        Intersection over union is at most the shared fraction of the width.
        """
        size = boxes[:, 2] - boxes[:, 0] + self.plus
        share = 1 - limit if self.over == "union" else 1.0
        return boxes[:, 0] + (share * size + 1e-5 * (1 + np.abs(boxes[:, 0])))


POINTS = Overlap()
PIXELS = Overlap(plus=1.0)


def areas_of(boxes: np.ndarray, plus: float) -> Array:
    """Width times height of each box."""
    size = boxes[:, 2:] - boxes[:, :2] + np.float32(plus)
    return size[:, 0] * size[:, 1]


def keep_best(
    boxes: np.ndarray, limit: float, overlap: Overlap = POINTS, most: int | None = None, areas: np.ndarray | None = None
) -> np.ndarray:
    """Indices of the kept boxes, at most `most`. boxes: R x 4, best first.

    Blocks of increasing size are compared with all kept boxes and then with each other, or with both at once if that
    needs fewer comparisons. areas: default computed from the boxes.
    """
    boxes = np.ascontiguousarray(boxes, np.float32)
    areas = areas_of(boxes, overlap.plus) if areas is None else areas
    kept = np.empty(0, np.int64)
    start, size = 0, BLOCK
    while start < len(boxes) and (most is None or len(kept) < most):
        fresh = np.arange(start, min(start + size, len(boxes)))
        both = np.concatenate([kept, fresh])
        all_pairs = len(kept) * len(fresh)
        near = _Neighbours(boxes[both], areas[both], overlap, limit)
        if near.comparisons < all_pairs:
            kept = both[near.kept()]
        else:
            fresh = _left_over(boxes, areas, kept, fresh, overlap, np.float32(limit))
            among = _Neighbours(boxes[fresh], areas[fresh], overlap, limit)
            kept = np.concatenate([kept, fresh[among.kept()]])
        start, size = start + size, 2 * size
    return kept[:most]


class _Neighbours:
    """Boxes, best first, sorted from left to right to find overlapping pairs."""

    def __init__(self, boxes: np.ndarray, areas: np.ndarray, overlap: Overlap, limit: float) -> None:
        self.overlap, self.limit = overlap, np.float32(limit)
        self.rank = np.argsort(boxes[:, 0], kind="stable")
        self.columns, self.areas = np.ascontiguousarray(boxes[self.rank].T), areas[self.rank]
        self.furthest = self._furthest(overlap.reach(self.columns.T, limit)) if limit > 0 else len(boxes) - 1
        self.comparisons = self.furthest * len(boxes)

    def _furthest(self, reach: np.ndarray) -> int:
        """The maximum distance, in positions from left to right, of two boxes that may overlap."""
        ends = np.searchsorted(self.columns[0], reach, side="right")
        return int((ends - np.arange(1, len(ends) + 1)).max(initial=0))

    def kept(self) -> np.ndarray:
        """Indices of the kept boxes."""
        better, worse = self._pairs()
        bounds = np.flatnonzero(np.diff(better, prepend=-1, append=-1))
        dropped = np.zeros(len(self.rank), bool)
        for low, high in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
            if not dropped[better[low]]:
                dropped[worse[low:high]] = True
        return np.flatnonzero(~dropped)

    def _pairs(self) -> tuple[np.ndarray, np.ndarray]:
        """Indices of the better and worse box of each overlapping pair, sorted by the better one."""
        found = [np.empty((2, 0), np.int64)]
        for distance in range(1, self.furthest + 1):
            left, right = self.rank[:-distance], self.rank[distance:]
            area, other = self.areas[:-distance], self.areas[distance:]
            if self.overlap.over == "first":
                area = np.where(left < right, area, other)
            hit = np.flatnonzero(
                self.overlap.exceeds(self.columns[:, :-distance], area, self.columns[:, distance:], other, self.limit)
            )
            if len(hit):
                found.append(np.sort([left[hit], right[hit]], axis=0))
        pairs = np.concatenate(found, axis=1)
        better, worse = pairs[:, np.argsort(pairs[0], kind="stable")]
        return better, worse


def _left_over(
    boxes: np.ndarray, areas: np.ndarray, kept: np.ndarray, fresh: np.ndarray, overlap: Overlap, limit: np.float32
) -> np.ndarray:
    """The boxes of `fresh` that no box of `kept` overlaps too much."""
    start = 0
    while start < len(kept) and len(fresh):
        before = kept[start : start + max(1, PAIRS // len(fresh))]
        first, second = boxes[before].T[..., None], np.ascontiguousarray(boxes[fresh].T)[:, None]
        hit = overlap.exceeds(first, areas[before][:, None], second, areas[fresh], limit)
        fresh = fresh[~hit.any(axis=0)]
        start += len(before)
    return fresh
