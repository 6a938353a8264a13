"""Scores of an evaluation: top-k errors as MatConvNet counts them, and a confusion matrix for segmentation.

Both are accumulators: `update` with batches, `merge` with other shards in any order, read them at any time.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from matnet.errors import DataError, ShapeError
from matnet.ops.losses import label_rank

VOID = -1
"""The label of an image or pixel that counts no error; it stays in the divisor, as it does upstream."""


@dataclass
class TopK:
    """Top-k errors of scores N x D or N x D x H x W, by the rules of cnn_train's error_multiclass.

    A label is right for k when its class is among the first min(k, D) in stable descending order of the
    scores: of equal scores the lowest class comes first, and NaN comes before every number. Errors are
    summed over pixels and divided by the number of images, void ones (label -1) included.
    """

    ks: tuple[int, ...] = (1, 5)
    images: int = 0
    void: int = 0
    wrong: dict[int, int] = field(default_factory=dict)

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

    def merge(self, other: TopK) -> None:
        """Add what another accumulator, of the same ks, has counted."""
        if other.ks != self.ks:
            raise DataError(f"cannot merge errors for k = {other.ks} into those for k = {self.ks}")
        self.images += other.images
        self.void += other.void
        for k in self.ks:
            self.wrong[k] = self.wrong.get(k, 0) + other.wrong.get(k, 0)

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
        raise ShapeError(
            f"labels of shape {labels.shape} for scores of shape {shape}; expected N or N x H x W"
        )
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
            raise ShapeError(
                f"predicted labels have shape {predicted.shape}, true ones {truth.shape}; they must agree"
            )
        classes = len(self.counts)
        valid = truth != self.void
        true_class, given = truth[valid].astype(np.int64), predicted[valid].astype(np.int64)
        for name, values in (("true", true_class), ("predicted", given)):
            if values.size and (values.min() < 0 or values.max() >= classes):
                raise DataError(
                    f"{name} labels run from {values.min()} to {values.max()}; expected 0..{classes - 1}"
                )
        pairs = np.bincount(true_class * classes + given, minlength=classes * classes)
        self.counts += pairs.reshape(classes, classes)

    def merge(self, other: ConfusionMatrix) -> None:
        """Add what another matrix, of as many classes, has counted."""
        if other.counts.shape != self.counts.shape:
            raise DataError(
                f"cannot merge confusion of {len(other.counts)} classes into {len(self.counts)} classes"
            )
        self.counts += other.counts

    def result(self) -> SegmentationResult:
        """The FCN paper's figures, as MatConvNet's FCN code computes them: an absent class counts as 0."""
        right = np.diag(self.counts).astype(np.float64)
        true, given = self.counts.sum(axis=1), self.counts.sum(axis=0)
        iu = right / np.maximum(1, true + given - right)
        pixels = max(1, int(self.counts.sum()))
        return SegmentationResult(
            pixels=int(self.counts.sum()),
            pixel_accuracy=100 * float(right.sum()) / pixels,
            mean_accuracy=100 * float((right / np.maximum(1, true)).mean()),
            mean_iu=100 * float(iu.mean()),
            frequency_weighted_iu=100 * float((true * iu).sum()) / pixels,
            iu=tuple(100 * iu),
        )
