"""The statistics behind a verdict: a paired signed-rank test, Wilson's interval, and how many images a test needs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SIGNIFICANT = 0.01
"""The error of the first kind of a whole search: of all its tests together."""
POWER = 0.8
"""The probability with which the number of images that is asked for shows a difference of the observed size."""
MOST_NEEDED = 1_000_000
"""A difference that needs more images than this is called none."""
FLOOR = float(np.log(1e-30))
"""The least log-probability: where float32 gives a probability of 0, or the scores are NaN."""


@dataclass(frozen=True)
class Paired:
    """A paired comparison of a change with what it changes, image by image.

    gain: the mean difference of the log-probabilities of the true class, in nats. better, worse: p-values, one-sided,
    corrected for `tests`. needed: images that would decide it; None if no number up to MOST_NEEDED would.
    """

    images: int
    gain: float
    better: float
    worse: float
    needed: int | None


def paired(differences: np.ndarray, tests: int) -> Paired:
    """Wilcoxon's signed-rank test of N differences, corrected by Bonferroni for so many tests.

    Differences of 0 are left out (Wilcoxon 1945). The number of images comes from Noether (1987, JASA 82:645):
    (z_alpha + z_beta)^2 / (3 (p - 1/2)^2), p the probability that the sum of two differences is positive, estimated by
    the rank sum.
    """
    from scipy.stats import norm, rankdata, wilcoxon

    count = len(differences)
    kept = differences[np.abs(differences) > 1e-6]
    gain = float(differences.mean()) if count else 0.0
    if not len(kept):
        return Paired(count, gain, 1.0, 1.0, None)
    better, worse = (min(1.0, tests * float(wilcoxon(kept, alternative=side).pvalue)) for side in ("greater", "less"))
    ranks = rankdata(np.abs(kept))
    share = float(ranks[kept > 0].sum() / ranks.sum())
    quantiles = norm.isf(SIGNIFICANT / tests) + norm.ppf(POWER)
    distance = max(abs(share - 0.5), 1e-9)
    wanted = quantiles**2 / (3 * distance**2) * count / len(kept)
    needed = None if wanted > MOST_NEEDED else max(round_up(wanted), count + 1)
    return Paired(count, gain, better, worse, needed)


def round_up(number: float) -> int:
    """A number of images to two digits, rounded up.

    >>> round_up(1234.5), round_up(7.2)
    (1300, 8)
    """
    whole = int(np.ceil(number))
    unit = 10 ** max(0, len(str(whole)) - 2)
    return -(-whole // unit) * unit


def interval(wrong: int, images: int) -> tuple[float, float]:
    """Wilson's 95 % interval of an error, in percent."""
    from scipy.stats import binomtest

    if not images:
        return 0.0, 100.0
    low, high = binomtest(wrong, images).proportion_ci(0.95, method="wilson")
    return 100 * float(low), 100 * float(high)


def log_probabilities(scores: np.ndarray) -> np.ndarray:
    """Scores N x K, probabilities or what a softmax would take, as float32 logarithms of probabilities, >= FLOOR.

    Rows of numbers from 0 to 1 that add up to 1 are probabilities.
    """
    values = np.nan_to_num(scores.astype(np.float64), nan=-np.inf, posinf=1e30, neginf=-np.inf)
    sums = values.sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        if (values >= 0).all() and np.allclose(sums, 1, atol=1e-2):
            logs = np.log(values)
        else:
            shifted = values - values.max(axis=1, keepdims=True)
            logs = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return np.maximum(np.nan_to_num(logs, nan=FLOOR, neginf=FLOOR), FLOOR).astype(np.float32)


TEMPERATURES = np.array([0, *(2.0 ** np.arange(-8, 3))])
"""Inverse temperatures: log-probabilities are multiplied by one and normalized again; 0 makes all classes equal."""


def normalizers(logs: np.ndarray) -> np.ndarray:
    """What normalizes log-probabilities N x K at each of TEMPERATURES: the logarithms of sums, T x N."""
    found = np.empty((len(TEMPERATURES), len(logs)))
    for row, inverse in enumerate(TEMPERATURES):
        scaled = logs.astype(np.float64) * inverse
        highest = scaled.max(axis=1)
        found[row] = highest + np.log(np.exp(scaled - highest[:, np.newaxis]).sum(axis=1))
    return found


def calibrated(true: np.ndarray, normalizers: np.ndarray) -> np.ndarray:
    """Log-probabilities of the true classes, N, at the one temperature with the greatest mean (Guo et al., ICML 2017).

    So a change is not better because the network is less sure of wrong answers: what tells nothing gives every image
    log(1 / K), however sure it is.
    """
    all_true = TEMPERATURES[:, np.newaxis] * true.astype(np.float64) - normalizers
    return np.asarray(all_true[all_true.mean(axis=1).argmax()])
