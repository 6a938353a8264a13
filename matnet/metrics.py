"""Scores of an evaluation: top-k errors, confusion of pixels, ROC curve and LFW's folds, VOC's average precision.

The first two are accumulators: `update` with batches, `merge` with other shards in any order, read them at any time.
`chance_of` judges whether a figure may be chance.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from matnet.errors import DataError, ShapeError
from matnet.ops.losses import label_rank

VOID = -1
"""The label of an image or pixel that counts no error; it stays in the divisor, as in cnn_train."""


def chance_of(right: int, trials: int, probability: float) -> float:
    """The probability of at least `right` successes in so many independent trials (binomial, upper tail).

    >>> round(chance_of(3, 4, 0.5), 6)
    0.3125
    """
    if right <= 0:
        return 1.0
    if probability >= 1:
        return 1.0
    logs = [
        math.lgamma(trials + 1)
        - math.lgamma(k + 1)
        - math.lgamma(trials - k + 1)
        + k * math.log(probability)
        + (trials - k) * math.log1p(-probability)
        for k in range(right, trials + 1)
    ]
    return min(1.0, math.fsum(math.exp(value) for value in logs))


@dataclass
class TopK:
    """Top-k errors of scores N x D or N x D x H x W, by the rules of cnn_train's error_multiclass.

    A label is right for k when its class is among the first min(k, D) in stable descending order of the
    scores: of equal scores the lowest class comes first, and NaN comes before every number. Errors are
    summed over pixels and divided by the number of images, void ones (label -1) included. not_finite: images with a
    score that is NaN or infinite. classes: D, 0 before the first batch.
    """

    ks: tuple[int, ...] = (1, 5)
    images: int = 0
    void: int = 0
    wrong: dict[int, int] = field(default_factory=dict)
    not_finite: int = 0
    classes: int = 0

    def update(self, scores: np.ndarray, labels: np.ndarray) -> None:
        """Count one batch: labels are 0-based, one per image (N) or one per pixel (N x H x W); -1 is void.

        Raises ShapeError where the two do not fit, DataError for a label outside -1 .. D-1.
        """
        planes = scores[:, :, np.newaxis, np.newaxis] if scores.ndim == 2 else scores
        if planes.ndim != 4:
            raise ShapeError(f"scores have shape {scores.shape}; expected N x D or N x D x H x W")
        truth = _spread(np.asarray(labels), planes.shape)
        if truth.size and (truth.min() < VOID or truth.max() >= planes.shape[1]):
            raise DataError(
                f"labels run from {truth.min()} to {truth.max()}; "
                f"the network has {planes.shape[1]} classes, 0..{planes.shape[1] - 1} (-1 = void)"
            )
        valid = truth != VOID
        rank = label_rank(planes, np.maximum(truth, 0))
        for k in self.ks:
            self.wrong[k] = self.wrong.get(k, 0) + int((valid & (rank >= k)).sum())
        self.images += len(planes)
        self.void += int((~valid).all(axis=(1, 2)).sum())
        self.not_finite += int((~np.isfinite(planes)).any(axis=(1, 2, 3)).sum())
        self.classes = planes.shape[1]

    def merge(self, other: TopK) -> None:
        """Add what another accumulator, of the same ks, has counted."""
        if other.ks != self.ks:
            raise DataError(f"cannot merge errors for k = {other.ks} into those for k = {self.ks}")
        self.images += other.images
        self.void += other.void
        self.not_finite += other.not_finite
        self.classes = self.classes or other.classes
        for k in self.ks:
            self.wrong[k] = self.wrong.get(k, 0) + other.wrong.get(k, 0)

    def plus(self, other: TopK) -> TopK:
        """Both together; DataError for other ks."""
        total = TopK(self.ks)
        total.merge(self)
        total.merge(other)
        return total

    def record(self) -> dict[str, Any]:
        """The counts as plain JSON values."""
        return {
            "ks": self.ks,
            "images": self.images,
            "void": self.void,
            "wrong": [self.wrong.get(k, 0) for k in self.ks],
            "not_finite": self.not_finite,
            "classes": self.classes,
        }

    @classmethod
    def of_record(cls, record: Any) -> TopK:
        """The counts from what `record` gave; KeyError, TypeError or ValueError for anything else."""
        ks = tuple(int(k) for k in record["ks"])
        wrong = dict(zip(ks, (int(count) for count in record["wrong"]), strict=True))
        return cls(
            ks, int(record["images"]), int(record["void"]), wrong, int(record["not_finite"]), int(record["classes"])
        )

    @property
    def errors(self) -> dict[int, float]:
        """Error in percent for each k; NaN before the first image."""
        divisor = self.images or np.nan
        return {k: 100.0 * self.wrong.get(k, 0) / divisor for k in self.ks}

    @property
    def top1_error(self) -> float:
        return self.errors[1]

    @property
    def top5_error(self) -> float:
        return self.errors[5]


def _spread(labels: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """One label per image or per pixel as N x H x W."""
    count, _, height, width = shape
    if labels.size == count:
        return np.broadcast_to(labels.reshape(count, 1, 1), (count, height, width)).astype(np.int64)
    if labels.size != count * height * width or labels.ndim not in (3, 4):
        raise ShapeError(f"labels of shape {labels.shape} for scores of shape {shape}; expected N or N x H x W")
    return labels.reshape(count, height, width).astype(np.int64)


@dataclass(frozen=True)
class SegmentationResult:
    """Accuracies in percent; the last two columns of papers are `mean_iu` and `frequency_weighted_iu`."""

    pixels: int
    pixel_accuracy: float
    mean_accuracy: float
    mean_iu: float
    frequency_weighted_iu: float
    iu: tuple[float, ...]


class ConfusionMatrix:
    """Pixels of each true class (row) that were given each class (column), over a whole set.

    counts: classes x classes, int64. Pixels whose true label is `void` are left out on both sides.
    """

    def __init__(self, classes: int, void: int = 255) -> None:
        self.void = void
        self.counts = np.zeros((classes, classes), np.int64)

    def update(self, predicted: np.ndarray, truth: np.ndarray) -> None:
        """Count two arrays of 0-based labels of one shape; ShapeError, DataError where they do not fit."""
        if predicted.shape != truth.shape:
            raise ShapeError(f"predicted labels have shape {predicted.shape}, true ones {truth.shape}; they must agree")
        classes = len(self.counts)
        valid = truth != self.void
        true_class, given = truth[valid].astype(np.int64), predicted[valid].astype(np.int64)
        for name, values in (("true", true_class), ("predicted", given)):
            if values.size and (values.min() < 0 or values.max() >= classes):
                raise DataError(f"{name} labels run from {values.min()} to {values.max()}; expected 0..{classes - 1}")
        pairs = np.bincount(true_class * classes + given, minlength=classes * classes)
        self.counts += pairs.reshape(classes, classes)

    def merge(self, other: ConfusionMatrix) -> None:
        """Add what another matrix, of as many classes, has counted."""
        if other.counts.shape != self.counts.shape:
            raise DataError(f"cannot merge confusion of {len(other.counts)} classes into {len(self.counts)} classes")
        self.counts += other.counts

    def result(self, present_only: bool = False) -> SegmentationResult:
        """The FCN paper's figures. A class that no pixel has counts as 0 in means, as in MatConvNet's FCN code; with
        `present_only` it does not count, as in the paper's figures on SIFT Flow.
        """
        right = np.diag(self.counts).astype(np.float64)
        true, given = self.counts.sum(axis=1), self.counts.sum(axis=0)
        iu = right / np.maximum(1, true + given - right)
        pixels = max(1, int(self.counts.sum()))
        counted = true > 0 if present_only and true.any() else np.ones(len(true), bool)
        return SegmentationResult(
            pixels=int(self.counts.sum()),
            pixel_accuracy=100 * float(right.sum()) / pixels,
            mean_accuracy=100 * float((right / np.maximum(1, true))[counted].mean()),
            mean_iu=100 * float(iu[counted].mean()),
            frequency_weighted_iu=100 * float((true * iu).sum()) / pixels,
            iu=tuple(100 * iu),
        )


@dataclass(frozen=True)
class RocCurve:
    """Telling same from different pairs by their distance, at every threshold that makes a difference.

    thresholds: ascending; a pair counts as the same where its distance is at most the threshold. false_accepts, of the
    different pairs, and true_accepts, of the same ones: fractions from 0 to 1, neither ever falling. The first point
    accepts no pair, the last all of them.
    """

    thresholds: np.ndarray
    false_accepts: np.ndarray
    true_accepts: np.ndarray

    @classmethod
    def of(cls, distances: np.ndarray, same: np.ndarray) -> RocCurve:
        """The curve of N distances, of which `same` (N booleans) says which belong together.

        Raises ShapeError for arrays that do not fit, DataError for distances that are not finite, or for pairs all
        of one kind.
        """
        thresholds, same_accepted, different_accepted = _accepted(distances, same)
        kinds = same_accepted[-1], different_accepted[-1]
        if not all(kinds):
            raise DataError(f"{kinds[0]} same and {kinds[1]} different pairs; a ROC curve needs both kinds")
        return cls(thresholds, different_accepted / kinds[1], same_accepted / kinds[0])

    def corners(self) -> RocCurve:
        """The same curve without the points that lie on the line between their neighbours."""
        across, up = np.diff(self.false_accepts), np.diff(self.true_accepts)
        bends = across[:-1] * up[1:] != across[1:] * up[:-1]
        kept = np.concatenate([[True], bends, [True]])
        return RocCurve(self.thresholds[kept], self.false_accepts[kept], self.true_accepts[kept])

    @property
    def auc(self) -> float:
        """Area under the curve in percent: how often a same pair is nearer than a different one, ties half."""
        widths = np.diff(self.false_accepts)
        return 100 * float((widths * (self.true_accepts[1:] + self.true_accepts[:-1]) / 2).sum())

    @property
    def equal_error_rate(self) -> float:
        """The error rate in percent where false accepts and false rejects are equally frequent; interpolated."""
        gap = self.false_accepts - (1 - self.true_accepts)
        after = int(np.argmax(gap >= 0))
        part = gap[after - 1] / (gap[after - 1] - gap[after])
        before, behind = self.false_accepts[after - 1 : after + 1]
        return 100 * float(before + part * (behind - before))


@dataclass(frozen=True)
class FoldAccuracy:
    """Verification accuracy by LFW's protocol, in percent, with the threshold of each fold."""

    mean: float
    standard_error: float
    accuracies: tuple[float, ...]
    thresholds: tuple[float, ...]

    @classmethod
    def of(cls, distances: np.ndarray, same: np.ndarray, fold: np.ndarray) -> FoldAccuracy:
        """Each fold is judged by the threshold that is best on all the others (Huang et al., LFW, 2007, section 4).

        distances, same, fold: N values each; `fold` numbers them, from any start. Of thresholds that are equally good
        the lowest is taken; it lies half way between two distances. standard_error: the deviation of the folds'
        accuracies (with divisor folds - 1) over the root of their number. Raises ShapeError, or DataError for fewer
        than two folds and distances that are not finite.
        """
        distances, same, fold = np.asarray(distances), np.asarray(same, bool), np.asarray(fold)
        names = np.unique(fold)
        if len(names) < 2 or fold.shape != distances.shape:
            raise DataError(f"{len(names)} fold(s) for {distances.size} pairs; expected at least 2, a number per pair")
        accuracies, thresholds = [], []
        for name in names:
            held_out = fold == name
            threshold = best_threshold(distances[~held_out], same[~held_out])
            right = (distances[held_out] <= threshold) == same[held_out]
            accuracies.append(100 * float(right.mean()))
            thresholds.append(threshold)
        error = float(np.std(accuracies, ddof=1)) / len(names) ** 0.5
        return cls(float(np.mean(accuracies)), error, tuple(accuracies), tuple(thresholds))


def best_threshold(distances: np.ndarray, same: np.ndarray) -> float:
    """The lowest threshold that classifies the most pairs correctly; half way between two distances."""
    values, same_accepted, different_accepted = _accepted(distances, same)
    best = int(np.argmax(same_accepted - different_accepted))
    if best in (0, len(values) - 1):
        return float(values[best])
    return float(values[best] + values[best + 1]) / 2


def _accepted(distances: np.ndarray, same: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Every distance once, ascending, behind one below all; how many same and different pairs are within each."""
    distances, same = np.asarray(distances, np.float64), np.asarray(same, bool)
    if distances.ndim != 1 or distances.shape != same.shape or not distances.size:
        raise ShapeError(f"distances of shape {distances.shape} for {same.shape} pairs; expected N of each, N >= 1")
    if not np.isfinite(distances).all():
        raise DataError(f"{int((~np.isfinite(distances)).sum())} of {distances.size} distances are not finite")
    values, where = np.unique(distances, return_inverse=True)
    counts = [np.bincount(where[kind], minlength=len(values)).cumsum() for kind in (same, ~same)]
    below = np.nextafter(values[0], -np.inf)
    return np.append(below, values), np.append(0, counts[0]), np.append(0, counts[1])


RIGHT, WRONG, NEITHER = 1, 0, -1
"""What a detection is: the first on an object, none or a further one, or on an object that is difficult."""


def matched_detections(
    boxes: np.ndarray, objects: np.ndarray, difficult: np.ndarray, overlap: float = 0.5
) -> np.ndarray:
    """RIGHT, WRONG or NEITHER for the detections of one class in one image, best first, R x 4.

    objects: O x 4, of the same class, difficult: which of them do not count. Corners are pixels, inclusive. Each
    detection belongs to the object that it overlaps most (intersection over union), if by at least `overlap`, also
    where another detection found it before. Source: the development kit of PASCAL VOC, VOCevaldet.
    """
    outcomes = np.full(len(boxes), WRONG, np.int8)
    if not len(objects) or not len(boxes):
        return outcomes
    first, second = boxes[:, np.newaxis].astype(np.float64), objects[np.newaxis].astype(np.float64)
    shared = _area(np.maximum(first[..., :2], second[..., :2]), np.minimum(first[..., 2:], second[..., 2:]))
    areas = _area(first[..., :2], first[..., 2:]) + _area(second[..., :2], second[..., 2:])
    share = shared / (areas - shared)
    nearest = share.argmax(axis=1)
    taken = np.zeros(len(objects), bool)
    for place in np.flatnonzero(share.max(axis=1) >= overlap).tolist():
        mine = nearest[place]
        if difficult[mine]:
            outcomes[place] = NEITHER
        elif not taken[mine]:
            outcomes[place], taken[mine] = RIGHT, True
    return outcomes


def _area(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Pixels between corners, inclusive; 0 where they are not in order."""
    area: np.ndarray = np.maximum(high - low + 1, 0).prod(axis=-1)
    return area


@dataclass(frozen=True)
class AveragePrecision:
    """Average precision of a class in percent, by both rules of PASCAL VOC: NaN without objects.

    eleven_points: up to 2007, the mean of the greatest precision at a recall of at least 0, 0.1, ..., 1. area: later,
    below the curve of the greatest precision at each recall or a higher one (VOCevaldet, VOCap).
    """

    eleven_points: float
    area: float

    @classmethod
    def of(cls, right: np.ndarray, objects: int) -> AveragePrecision:
        """right: whether each detection is right, of falling score, without those that do not count."""
        if not objects:
            return cls(math.nan, math.nan)
        found = np.cumsum(right, dtype=np.float64)
        recall, precision = found / objects, found / np.arange(1, len(found) + 1)
        envelope = np.maximum.accumulate(precision[::-1])[::-1]
        steps = np.diff(recall, prepend=0.0)
        # MATLAB's 0:0.1:1 counts from both ends, and the greatest precision from a recall on is the envelope there.
        recalls = np.concatenate([np.arange(6) * 0.1, 1 - np.arange(4, -1, -1) * 0.1])
        places = np.searchsorted(recall, recalls)
        reached = np.append(envelope, 0.0)[places]
        return cls(100 * float(reached.mean()), 100 * float((steps * envelope).sum()))


def ranked_precision(relevant: np.ndarray) -> np.ndarray:
    """The average precision of each row of `relevant`, Q x R, best first: the mean precision at the places of relevant
    ones, as a fraction; 0 where there is none.
    """
    found = np.cumsum(relevant, axis=1, dtype=np.float64)
    precision = found / np.arange(1, relevant.shape[1] + 1)
    total = np.where(relevant, precision, 0).sum(axis=1)
    fractions: np.ndarray = total / np.maximum(found[:, -1], 1)
    return fractions
