"""The statistics of a verdict: a paired signed-rank test, Wilson's interval, and the sample size of a test."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SIGNIFICANT = 0.01
"""The type I error rate of all tests of a search together."""
POWER = 0.8
"""The power for which the number of images needed is computed."""
MOST_NEEDED = 1_000_000
"""A difference that needs more images than this counts as no difference."""
FLOOR = float(np.log(1e-30))
"""The lowest log-probability, used if a float32 probability is 0 or scores are NaN."""


@dataclass(frozen=True)
class Paired:
    """A paired comparison, image by image, with and without a change.

    gain: the mean difference of the log-probabilities of the true class, in nats. better, worse: one-sided p-values,
    corrected for `tests`. needed: the number of images for a decision; None if it exceeds MOST_NEEDED.
    """

    images: int
    gain: float
    better: float
    worse: float
    needed: int | None


def paired(differences: np.ndarray, tests: int) -> Paired:
    """Wilcoxon's signed-rank test of N differences, with Bonferroni's correction for `tests`.

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
    """A number of images, rounded up to two digits.

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
    """Scores N x K (probabilities or the input of a softmax) as float32 log-probabilities, >= FLOOR.

    Rows of values from 0 to 1 that sum to 1 are probabilities.
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
"""Inverse temperatures: factors of log-probabilities, which are then normalized again; 0 makes all classes equal."""


def normalizers(logs: np.ndarray) -> np.ndarray:
    """The normalizers (log-sum-exp) of log-probabilities N x K at each of TEMPERATURES, T x N."""
    found = np.empty((len(TEMPERATURES), len(logs)))
    for row, inverse in enumerate(TEMPERATURES):
        scaled = logs.astype(np.float64) * inverse
        highest = scaled.max(axis=1)
        found[row] = highest + np.log(np.exp(scaled - highest[:, np.newaxis]).sum(axis=1))
    return found


def calibrated(true: np.ndarray, normalizers: np.ndarray) -> np.ndarray:
    """Log-probabilities of the true classes, N, at the temperature with the highest mean (Guo et al., ICML 2017).

    With calibration, a change does not win only by making the network less confident of wrong answers: an uninformative
    network gets log(1 / K) for every image, whatever its confidence.
    """
    all_true = TEMPERATURES[:, np.newaxis] * true.astype(np.float64) - normalizers
    return np.asarray(all_true[all_true.mean(axis=1).argmax()])
