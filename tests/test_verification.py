"""Verification of pairs: ROC curve, LFW's folds, and a network's descriptors. Expected figures are worked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from matnet.errors import DataError, MatnetError, ShapeError
from matnet.metrics import FoldAccuracy, RocCurve, best_threshold

T, F = True, False

# distances, same -> false accepts and true accepts behind the point that accepts nothing; AUC, equal error rate
CURVES: dict[str, tuple[list[float], list[bool], list[float], list[float], float, float]] = {
    # of 3 x 3 pairs of a same and a different one, 8 are in the right order
    "one out of order": (
        [1, 2, 3, 4, 5, 6],
        [T, T, F, T, F, F],
        [0, 0, 1 / 3, 1 / 3, 2 / 3, 1],
        [1 / 3, 2 / 3, 2 / 3, 1, 1, 1],
        800 / 9,
        100 / 3,
    ),
    # a tie counts half: (2 + 1.5) / 4; the line from (0, 1/2) to (1/2, 1) meets false accepts = false rejects at 1/4
    "a tie in the middle": ([2, 1, 3, 2], [T, T, F, F], [0, 0.5, 1], [0.5, 1, 1], 87.5, 25),
    "all equal": ([7, 7, 7], [T, F, F], [1], [1], 50, 50),
    "perfect": ([0.5, 0.25, 3], [T, T, F], [0, 0, 1], [0.5, 1, 1], 100, 0),
    "all wrong": ([2, 1], [T, F], [1, 1], [0, 1], 0, 100),
}


@pytest.mark.parametrize("case", CURVES.values(), ids=CURVES)
def test_roc_curve(case: tuple[list[float], list[bool], list[float], list[float], float, float]) -> None:
    distances, same, false_accepts, true_accepts, auc, eer = case
    curve = RocCurve.of(np.array(distances), np.array(same))
    np.testing.assert_array_equal(curve.thresholds[1:], sorted(set(distances)))
    assert curve.thresholds[0] < min(distances)
    np.testing.assert_allclose(curve.false_accepts, [0, *false_accepts])
    np.testing.assert_allclose(curve.true_accepts, [0, *true_accepts])
    np.testing.assert_allclose(curve.auc, auc)
    np.testing.assert_allclose(curve.equal_error_rate, eer, atol=1e-12)


def test_corners_leave_the_curve_as_it_is() -> None:
    """Of four points on the two straight parts of a perfect curve, the ends and the bend stay."""
    corners = RocCurve.of(np.arange(5.0), np.array([T, T, T, F, F])).corners()
    np.testing.assert_array_equal(corners.false_accepts, [0, 0, 1])
    np.testing.assert_array_equal(corners.true_accepts, [0, 1, 1])
    np.testing.assert_array_equal(corners.thresholds[1:], [2, 4])
    np.testing.assert_allclose(corners.auc, 100)


# distances and kinds of the other folds -> the threshold
THRESHOLDS: dict[str, tuple[list[float], list[bool], float]] = {
    "between the two nearest": ([0.25, 0.5, 0.75, 2], [T, T, F, F], 0.625),
    "of two equally good ones the lower": ([1, 2, 3, 4], [T, F, T, F], 1.5),
    "accept all": ([3, 1], [T, T], 3),
    "accept none": ([3, 1], [F, F], np.nextafter(1, 0)),
    "equal distances are not told apart": ([1, 1, 1, 5], [T, T, F, F], 3),
}


@pytest.mark.parametrize(("distances", "same", "expected"), THRESHOLDS.values(), ids=THRESHOLDS)
def test_best_threshold(distances: list[float], same: list[bool], expected: float) -> None:
    assert best_threshold(np.array(distances), np.array(same)) == expected


def test_accuracy_over_folds() -> None:
    """Fold 3 is judged by 0.5, half way between 0.2 and 0.8: 3 of 4 right. Fold 8 by 0.425: both right.

    Mean 87.5; deviation of 75 and 100 with divisor 1 is 25 / sqrt 2, over the root of 2 folds 12.5.
    """
    distances = np.array([0.3, 0.2, 0.4, 0.6, 0.8, 0.45])
    same = np.array([T, T, T, F, F, F])
    fold = np.array([3, 8, 3, 3, 8, 3])
    result = FoldAccuracy.of(distances, same, fold)
    np.testing.assert_allclose(result.accuracies, [75, 100])
    np.testing.assert_allclose(result.thresholds, [0.5, 0.425])
    np.testing.assert_allclose([result.mean, result.standard_error], [87.5, 12.5])


REFUSED: dict[str, tuple[object, type[MatnetError], str]] = {
    "one kind": (lambda: RocCurve.of(np.arange(3.0), np.ones(3)), DataError, "3 same and 0 different pairs"),
    "lengths": (lambda: RocCurve.of(np.arange(3.0), np.ones(2)), ShapeError, r"shape \(3,\) for \(2,\) pairs"),
    "none": (lambda: RocCurve.of(np.zeros(0), np.zeros(0)), ShapeError, "N >= 1"),
    "not finite": (lambda: best_threshold(np.array([1, np.nan, np.inf]), np.ones(3)), DataError, "2 of 3 distances"),
    "one fold": (lambda: FoldAccuracy.of(np.arange(3.0), np.ones(3), np.ones(3)), DataError, "at least 2"),
    "folds": (lambda: FoldAccuracy.of(np.arange(3.0), np.ones(3), np.arange(2)), DataError, "a number per pair"),
}


@pytest.mark.parametrize(("call", "error", "message"), REFUSED.values(), ids=REFUSED)
def test_arrays_that_do_not_fit(call: object, error: type[MatnetError], message: str) -> None:
    with pytest.raises(error, match=message):
        call()  # type: ignore[operator]
