"""Compare edges with human annotations: non-maximum suppression, thinning, pixel matching (BSDS500)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

THRESHOLDS = np.arange(1, 100) / 100
"""Thresholds of the edge map, as in the benchmark of Structured Edge Detection (Dollar and Zitnick, edgesEvalDir)."""
DISTANCE = 0.0075
"""The largest distance of matching pixels, as a fraction of the image's diagonal."""


def boundary_counts(edges: np.ndarray, drawn: Sequence[np.ndarray], thresholds: np.ndarray = THRESHOLDS) -> np.ndarray:
    """Counts at each threshold, 4 x T: matched and all annotated pixels, matched and all detected edge pixels.

    edges: H x W, after non-maximum suppression. drawn: one H x W mask per annotator; each is matched with all edges
    separately, and an edge pixel counts as matched if any annotator matches it. The edges above a threshold are thinned
    to a width of one pixel first. Source: BSDS500's evaluation_bdry_image.
    """
    found = np.zeros((4, len(thresholds)), np.int64)
    reach = DISTANCE * float(np.hypot(*edges.shape))
    for place, threshold in enumerate(thresholds):
        given = thinned(edges >= threshold)
        matched = np.zeros(edges.shape, bool)
        for person in drawn:
            ours, theirs = matching(given, person, reach)
            matched |= ours
            found[:2, place] += int(theirs.sum()), int(person.sum())
        found[2:, place] = int(matched.sum()), int(given.sum())
    return found


def matching(first: np.ndarray, second: np.ndarray, reach: float) -> tuple[np.ndarray, np.ndarray]:
    """The matched pixels of each of two H x W masks, in a maximum one-to-one matching within a distance of `reach`.

    The benchmark's own program (correspondPixels) minimizes the cost of pairs among a few neighbours of each pixel; an
    unmatched pixel costs 100 times the reach. It finds at most as many pairs, perhaps different ones.
    """
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import maximum_bipartite_matching
    from scipy.spatial import cKDTree

    ours, theirs = np.argwhere(first), np.argwhere(second)
    results = np.zeros(first.shape, bool), np.zeros(second.shape, bool)
    if not len(ours) or not len(theirs):
        return results
    near = cKDTree(ours).sparse_distance_matrix(cKDTree(theirs), reach, output_type="coo_matrix")
    near = csr_matrix((np.ones(near.nnz, np.int8), (near.row, near.col)), shape=near.shape)
    partner = maximum_bipartite_matching(near, perm_type="column")
    results[0][tuple(ours[partner >= 0].T)] = True
    results[1][tuple(theirs[partner[partner >= 0]].T)] = True
    return results


def thinned(mask: np.ndarray) -> np.ndarray:
    """An H x W mask thinned to lines one pixel wide, as by MATLAB's bwmorph(mask, 'thin', Inf).

    Source: Lam, Lee, Suen, Thinning Methodologies, PAMI 1992, p. 879, with the conditions in MATLAB's documentation.
    """
    found = np.pad(mask.astype(bool), 1)
    while True:
        before = found.copy()
        for turn in (0, 1):
            found[1:-1, 1:-1] &= ~_removable(found, turn)
        if np.array_equal(before, found):
            return found[1:-1, 1:-1]


def _removable(padded: np.ndarray, turn: int) -> np.ndarray:
    """The pixels that a thinning pass removes; the neighbours x1 to x8 run counter-clockwise from east."""
    height, width = padded.shape
    shifts = ((0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1), (1, 0), (1, 1))
    x = [padded[1 + down : height - 1 + down, 1 + right : width - 1 + right] for down, right in shifts]
    at = [None, *x, x[0]]  # indices 1 to 9; 9 is 1 again
    crossings = sum((~at[k] & (at[k + 1] | at[k + 2])).astype(int) for k in (1, 3, 5, 7))  # type: ignore[index, operator]
    one = sum((at[k] | at[k + 1]).astype(int) for k in (1, 3, 5, 7))  # type: ignore[operator, union-attr]
    other = sum((at[k + 1] | at[k + 2]).astype(int) for k in (1, 3, 5, 7))  # type: ignore[operator, union-attr]
    fewest = np.minimum(one, other)
    side = (x[1] | x[2] | ~x[7]) & x[0] if turn == 0 else (x[5] | x[6] | ~x[3]) & x[4]
    removable: np.ndarray = (crossings == 1) & (fewest >= 2) & (fewest <= 3) & ~side
    return removable


def suppressed(edges: np.ndarray) -> np.ndarray:
    """Non-maximum suppression of an H x W edge map, as for HED's results.

    Source: Dollar and Zitnick, Structured Edge Detection (edgesNms, with radius 1, border 5, factor 1.01). The map is
    smoothed by a triangle filter of radius 1; the orientation comes from second derivatives after one of radius 4.
    """
    smooth = _triangle(edges.astype(np.float64), 1)
    down, across = np.gradient(_triangle(smooth, 4))
    down_down, _ = np.gradient(down)
    down_across, across_across = np.gradient(across)
    angle = np.mod(np.arctan(down_down * np.sign(-down_across) / (across_across + 1e-5)), np.pi)
    kept = smooth.copy()
    rows, columns = np.mgrid[: edges.shape[0], : edges.shape[1]]
    for side in (-1, 1):
        beside = _interpolated(smooth, rows + side * np.sin(angle), columns + side * np.cos(angle))
        kept[smooth * 1.01 < beside] = 0
    return kept * _fading(edges.shape[0], 5)[:, np.newaxis] * _fading(edges.shape[1], 5)


def _fading(length: int, border: int) -> np.ndarray:
    """Factors from 0 at both ends to 1 `border` pixels inside."""
    border = min(border, length // 2)
    places = np.minimum(np.arange(length), np.arange(length)[::-1])
    return np.asarray(np.minimum(places / max(border, 1), 1))


def _triangle(image: np.ndarray, radius: int) -> np.ndarray:
    """The image smoothed along both axes by a triangle filter, with mirrored borders."""
    from scipy.ndimage import correlate1d

    weights = np.array([*range(1, radius + 1), radius + 1, *range(radius, 0, -1)], np.float64)
    weights /= weights.sum()
    return np.asarray(correlate1d(correlate1d(image, weights, axis=0, mode="reflect"), weights, axis=1, mode="reflect"))


def _interpolated(image: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Bilinear interpolation, with replicated borders."""
    from scipy.ndimage import map_coordinates

    return np.asarray(map_coordinates(image, [rows, columns], order=1, mode="nearest"))


def best_f(counts: np.ndarray) -> tuple[float, float]:
    """The best F-measure (percent) for counts 4 x T, and its threshold.

    Recall and precision are interpolated linearly between thresholds, in 100 steps (edgesEvalDir).
    """
    recall, precision = rates(counts)
    steps = np.linspace(0, 1, 101)
    if counts.shape[1] == 1:
        return float(f_measure(recall, precision)[0]), float(THRESHOLDS[0])
    r, p, t = (
        (values[:-1, np.newaxis] * (1 - steps) + values[1:, np.newaxis] * steps).ravel()
        for values in (recall, precision, THRESHOLDS)
    )
    f = f_measure(r, p)
    return float(f.max()), float(t[f.argmax()])


def rates(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Recall and precision of counts 4 x T, as fractions."""
    return counts[0] / np.maximum(counts[1], 1), counts[2] / np.maximum(counts[3], 1)


def f_measure(recall: np.ndarray, precision: np.ndarray) -> np.ndarray:
    """The harmonic mean, in percent; 0 where both are 0."""
    total = recall + precision
    return np.asarray(100 * 2 * recall * precision / np.where(total > 0, total, 1))
