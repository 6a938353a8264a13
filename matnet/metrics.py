"""Evaluation metrics: top-k error, confusion matrix, ROC curve, LFW's fold accuracy, VOC's average precision.

TopK and ConfusionMatrix are accumulators: `update` them with batches, `merge` shards in any order, read them at any
time. `chance_of` tells whether a result may be due to chance.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from matnet.errors import DataError, ShapeError
from matnet.ops.losses import label_rank

VOID = -1
"""The label of an image or pixel that never counts as an error but stays in the divisor, as in cnn_train."""


def chance_of(right: int, trials: int, probability: float) -> float:
    """The probability of at least `right` successes in `trials` independent trials (upper binomial tail).

    >>> round(chance_of(3, 4, 0.5), 6)
    0.3125
    """
    if right <= 0 or probability >= 1:
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

    A prediction is right for k if the label is among the first min(k, D) classes in stable descending order of the
    scores: ties go to the lowest class, and NaN sorts before every number. Errors are summed over pixels and divided by
    the number of images, including void ones (label -1). not_finite: number of images with a NaN or infinite score.
    classes: D, or 0 before the first batch.
    """

    ks: tuple[int, ...] = (1, 5)
    images: int = 0
    void: int = 0
    wrong: dict[int, int] = field(default_factory=dict)
    not_finite: int = 0
    classes: int = 0

    def update(self, scores: np.ndarray, labels: np.ndarray) -> None:
        """Count one batch. labels: 0-based, one per image (N) or one per pixel (N x H x W); -1 is void.

        Raises ShapeError if the shapes do not match, DataError for a label outside -1 .. D-1.
        """
        planes = scores[:, :, np.newaxis, np.newaxis] if scores.ndim == 2 else scores
        if planes.ndim != 4:
            raise ShapeError(f"scores have shape {scores.shape}; expected N x D or N x D x H x W")
        truth = _spread(np.asarray(labels), planes.shape)
        if truth.size and (truth.min() < VOID or truth.max() >= planes.shape[1]):
            raise DataError(
                f"labels run from {truth.min()} to {truth.max()}; "
                f"expected 0..{planes.shape[1] - 1} for {planes.shape[1]} classes (-1 = void)"
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
        """Add the counts of another accumulator with the same ks."""
        if other.ks != self.ks:
            raise DataError(f"cannot merge errors for k = {other.ks} into errors for k = {self.ks}")
        self.images += other.images
        self.void += other.void
        self.not_finite += other.not_finite
        self.classes = self.classes or other.classes
        for k in self.ks:
            self.wrong[k] = self.wrong.get(k, 0) + other.wrong.get(k, 0)

    def plus(self, other: TopK) -> TopK:
        """The sum of both. Raises DataError if ks differ."""
        total = TopK(self.ks)
        total.merge(self)
        total.merge(other)
        return total

    def record(self) -> dict[str, Any]:
        """The counts as JSON values."""
        return vars(self) | {"wrong": [self.wrong.get(k, 0) for k in self.ks]}

    @classmethod
    def of_record(cls, record: Any) -> TopK:
        """The counts from a `record`. Raises KeyError, TypeError or ValueError for anything else."""
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
    """Segmentation metrics in percent, as in the FCN paper."""

    pixels: int
    pixel_accuracy: float
    mean_accuracy: float
    mean_iu: float
    frequency_weighted_iu: float
    iu: tuple[float, ...]


class ConfusionMatrix:
    """Pixel counts by true class (row) and predicted class (column).

    counts: classes x classes, int64. Pixels with the true label `void` are ignored.
    """

    def __init__(self, classes: int, void: int = 255) -> None:
        self.void = void
        self.counts = np.zeros((classes, classes), np.int64)

    def update(self, predicted: np.ndarray, truth: np.ndarray) -> None:
        """Count two arrays of 0-based labels. Raises ShapeError if shapes differ, DataError for labels out of range."""
        if predicted.shape != truth.shape:
            raise ShapeError(f"predicted labels have shape {predicted.shape}; expected {truth.shape} (true labels)")
        classes = len(self.counts)
        valid = truth != self.void
        true_class, given = truth[valid].astype(np.int64), predicted[valid].astype(np.int64)
        for name, values in (("true", true_class), ("predicted", given)):
            if values.size and (values.min() < 0 or values.max() >= classes):
                raise DataError(f"{name} labels run from {values.min()} to {values.max()}; expected 0..{classes - 1}")
        pairs = np.bincount(true_class * classes + given, minlength=classes * classes)
        self.counts += pairs.reshape(classes, classes)

    def merge(self, other: ConfusionMatrix) -> None:
        """Add the counts of another matrix with the same number of classes."""
        if other.counts.shape != self.counts.shape:
            raise DataError(f"cannot merge counts of {len(other.counts)} classes into {len(self.counts)} classes")
        self.counts += other.counts

    def result(self, present_only: bool = False) -> SegmentationResult:
        """The metrics of the FCN paper.

        A class without pixels counts as 0 in the means, as in MatConvNet's FCN code. With `present_only` it is left
        out, as in the paper's results on SIFT Flow.
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
    """The ROC curve of a verification by distance, with one point per distinct threshold.

    thresholds: ascending; a pair is accepted as same if its distance is at most the threshold. false_accepts: fraction
    of different pairs accepted. true_accepts: fraction of same pairs accepted. Both are non-decreasing. The first point
    accepts no pair, the last one all pairs.
    """

    thresholds: np.ndarray
    false_accepts: np.ndarray
    true_accepts: np.ndarray

    @classmethod
    def of(cls, distances: np.ndarray, same: np.ndarray) -> RocCurve:
        """The curve of N distances. same: N booleans, true for pairs of the same identity.

        Raises ShapeError if the shapes do not match, DataError for non-finite distances or only one kind of pair.
        """
        thresholds, same_accepted, different_accepted = _accepted(distances, same)
        kinds = same_accepted[-1], different_accepted[-1]
        if not all(kinds):
            raise DataError(f"{kinds[0]} same and {kinds[1]} different pairs; a ROC curve needs both kinds")
        return cls(thresholds, different_accepted / kinds[1], same_accepted / kinds[0])

    def corners(self) -> RocCurve:
        """The same curve without points on the line between their neighbours."""
        across, up = np.diff(self.false_accepts), np.diff(self.true_accepts)
        bends = across[:-1] * up[1:] != across[1:] * up[:-1]
        kept = np.concatenate([[True], bends, [True]])
        return RocCurve(self.thresholds[kept], self.false_accepts[kept], self.true_accepts[kept])

    @property
    def auc(self) -> float:
        """Area under the curve in percent: how often a same pair is closer than a different pair; ties count half."""
        widths = np.diff(self.false_accepts)
        return 100 * float((widths * (self.true_accepts[1:] + self.true_accepts[:-1]) / 2).sum())

    @property
    def equal_error_rate(self) -> float:
        """The error rate in percent at equal rates of false accepts and false rejects; interpolated."""
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
        """Evaluate each fold with the best threshold of the other folds (Huang et al., LFW, 2007, section 4).

        distances, same, fold: N values each; fold numbers may start anywhere. Among equally good thresholds the lowest
        is used; it is halfway between two distances. standard_error: standard deviation of the fold accuracies (divisor
        folds - 1) over the square root of the number of folds. Raises ShapeError if the shapes do not match, DataError
        for fewer than two folds or non-finite distances.
        """
        distances, same, fold = np.asarray(distances), np.asarray(same, bool), np.asarray(fold)
        names = np.unique(fold)
        if len(names) < 2 or fold.shape != distances.shape:
            raise DataError(f"pairs: {distances.size}, folds: {len(names)}; expected at least 2 folds, one per pair")
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
    """The lowest threshold that classifies the most pairs correctly, halfway between two distances."""
    values, same_accepted, different_accepted = _accepted(distances, same)
    best = int(np.argmax(same_accepted - different_accepted))
    if best in (0, len(values) - 1):
        return float(values[best])
    return float(values[best] + values[best + 1]) / 2


def _accepted(distances: np.ndarray, same: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distinct distances, ascending, after one below all; and the number of same and different pairs up to each."""
    distances, same = np.asarray(distances, np.float64), np.asarray(same, bool)
    if distances.ndim != 1 or distances.shape != same.shape or not distances.size:
        raise ShapeError(f"distances have shape {distances.shape}, pairs {same.shape}; expected N of each, N >= 1")
    if not np.isfinite(distances).all():
        raise DataError(f"{int((~np.isfinite(distances)).sum())} of {distances.size} distances are not finite")
    values, where = np.unique(distances, return_inverse=True)
    counts = [np.bincount(where[kind], minlength=len(values)).cumsum() for kind in (same, ~same)]
    below = np.nextafter(values[0], -np.inf)
    return np.append(below, values), np.append(0, counts[0]), np.append(0, counts[1])


RIGHT, WRONG, NEITHER = 1, 0, -1
"""RIGHT: first detection of an object. WRONG: no object, or a duplicate. NEITHER: a difficult object, not counted."""


def matched_detections(
    boxes: np.ndarray, objects: np.ndarray, difficult: np.ndarray, overlap: float = 0.5
) -> np.ndarray:
    """RIGHT, WRONG or NEITHER for the detections of one class in one image.

    boxes: R x 4, best first. objects: O x 4, of the same class. difficult: O booleans. Corners are inclusive pixels.
    Each detection is matched to the object of greatest overlap (intersection over union), if at least `overlap`, even
    if that object is already matched. Source: the development kit of PASCAL VOC, VOCevaldet.
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
    """Number of pixels between inclusive corners; 0 if they are not in order."""
    return np.asarray(np.maximum(high - low + 1, 0).prod(axis=-1))


@dataclass(frozen=True)
class AveragePrecision:
    """Average precision of a class in percent, by both rules of PASCAL VOC; NaN without objects.

    eleven_points: the rule up to VOC 2007, the mean of the maximum precision at recall >= 0, 0.1, ..., 1. area: the
    later rule, the area under the curve of maximum precision at recall >= r (VOCevaldet, VOCap).
    """

    eleven_points: float
    area: float

    @classmethod
    def of(cls, right: np.ndarray, objects: int) -> AveragePrecision:
        """right: whether each counted detection is right, by descending score. objects: number of objects."""
        if not objects:
            return cls(math.nan, math.nan)
        found = np.cumsum(right, dtype=np.float64)
        recall, precision = found / objects, found / np.arange(1, len(found) + 1)
        envelope = np.maximum.accumulate(precision[::-1])[::-1]
        steps = np.diff(recall, prepend=0.0)
        # MATLAB's 0:0.1:1 counts from both ends. The envelope is the maximum precision at recall >= r.
        recalls = np.concatenate([np.arange(6) * 0.1, 1 - np.arange(4, -1, -1) * 0.1])
        places = np.searchsorted(recall, recalls)
        reached = np.append(envelope, 0.0)[places]
        return cls(100 * float(reached.mean()), 100 * float((steps * envelope).sum()))


def ranked_precision(relevant: np.ndarray) -> np.ndarray:
    """The average precision of each row of `relevant` (Q x R, best first), as a fraction.

    It is the mean of the precision at each relevant item; 0 for a row without relevant items.
    """
    found = np.cumsum(relevant, axis=1, dtype=np.float64)
    precision = found / np.arange(1, relevant.shape[1] + 1)
    total = np.where(relevant, precision, 0).sum(axis=1)
    return np.asarray(total / np.maximum(found[:, -1], 1))
