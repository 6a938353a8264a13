"""Verification: pairs of faces compared by the distance of their descriptors, by LFW's protocol."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from matnet.errors import NetworkError
from matnet.evaluation.record import Run
from matnet.evaluation.scores import another_variable
from matnet.evaluation.tasks.base import Given, Task, chance_doubt
from matnet.ops.convolution import Conv
from matnet.tables import Column, Table

if TYPE_CHECKING:
    from matnet.datasets import PairSet
    from matnet.images import Preprocessing
    from matnet.network import Network

PROTOCOL = "LFW, threshold of each fold chosen on the others"
FACE_CROP = 1.3 / 2.2
"""The cropped part of an LFW image: the detector's box (the image is 2.2 times as large) with a margin of 0.3."""


@dataclass(kw_only=True)
class VerificationEvaluation(Run):
    """The result of a verification, in percent: mean and standard error over folds, and the ROC curve of all pairs."""

    accuracy: float
    standard_error: float
    equal_error_rate: float
    auc: float
    pairs: int
    fold_accuracies: list[float]
    fold_thresholds: list[float]
    roc: dict[str, list[float]] = field(default_factory=dict)  # corners of the curve: rates and thresholds


@dataclass(frozen=True)
class PairIndex:
    """The numbers of the two images of each pair."""

    first: np.ndarray
    second: np.ndarray

    @cached_property
    def of_image(self) -> Mapping[int, Sequence[int]]:
        """The pairs of an image."""
        found: dict[int, list[int]] = {}
        for pair, images in enumerate(zip(self.first.tolist(), self.second.tolist(), strict=True)):
            for image in images:
                found.setdefault(image, []).append(pair)
        return found

    def images(self, pair: int) -> tuple[int, int]:
        return int(self.first[pair]), int(self.second[pair])


@dataclass(frozen=True)
class PairCounts:
    """The distances of complete pairs, and the descriptors that incomplete pairs wait for.

    A pair's distance depends only on its two descriptors, so parts can be added in any order. index: None in a part,
    which has no pairs. A distance is NaN if a descriptor is not finite.
    """

    index: PairIndex | None = None
    images: int = 0
    not_finite: int = 0
    waiting: Mapping[int, np.ndarray] = field(default_factory=dict)  # image -> descriptor, float32
    distances: Mapping[int, float] = field(default_factory=dict)  # pair -> distance

    def plus(self, other: PairCounts) -> PairCounts:
        index = self.index or other.index
        waiting, distances = {**self.waiting, **other.waiting}, {**self.distances, **other.distances}
        if index is not None:
            both_know = self.index is not None and other.index is not None
            _complete(index, waiting, distances, waiting if self.index is None or both_know else other.waiting)
        return PairCounts(index, self.images + other.images, self.not_finite + other.not_finite, waiting, distances)

    def record(self) -> dict[str, Any]:
        return {
            "images": self.images,
            "not_finite": self.not_finite,
            "waiting": {str(image): base64.b64encode(row.tobytes()).decode() for image, row in self.waiting.items()},
            "distances": [[pair, value if value == value else None] for pair, value in sorted(self.distances.items())],
        }


def _complete(
    index: PairIndex, waiting: dict[int, np.ndarray], distances: dict[int, float], new: Iterable[int]
) -> None:
    """Add the distances of pairs that `new` descriptors complete; drop descriptors that no pair waits for."""
    touched: set[int] = set()
    for image in list(new):
        for pair in index.of_image.get(image, ()):
            first, second = index.images(pair)
            if pair not in distances and first in waiting and second in waiting:
                distances[pair] = descriptor_distance(waiting[first], waiting[second])
                touched.update((first, second))
    for image in touched:
        if all(pair in distances for pair in index.of_image[image]):
            del waiting[image]


@dataclass(frozen=True)
class Verification(Task["PairSet", PairCounts]):
    """Pairs of images; each image goes through the network once.

    faces: the images, in the order of the pairs. index: the images of each pair; None in a part.
    """

    name: ClassVar[str] = "faces"
    title: ClassVar[str] = "face verification, percent"
    data_set: ClassVar[str] = "PairSet"
    protocol: ClassVar[str] = PROTOCOL
    options: ClassVar[tuple[str, ...]] = ("pairs", "crops")
    faces: tuple[Path, ...] = ()
    index: PairIndex | None = field(default=None, compare=False)

    @classmethod
    def load(cls, folder: str | Path, **given: Any) -> PairSet:
        from matnet.datasets import load_lfw

        return load_lfw(folder, given.get("pairs"))

    @classmethod
    def made(
        cls, net: Network, data: PairSet, preprocessing: Preprocessing, variable: str, given: Given
    ) -> Verification:
        numbers = {path: number for number, path in enumerate(data.images)}
        first, second = (np.array([numbers[pair[side]] for pair in data.pairs]) for side in (0, 1))
        return cls(data, faces=data.images, index=PairIndex(first, second))

    @staticmethod
    def variable(net: Network, asked: str | None = None) -> str:
        return descriptor_variable(net, asked)

    @property
    def paths(self) -> Sequence[Path]:
        return self.faces

    def part(self, first: int, stop: int) -> Verification:
        faces = tuple(path.absolute() for path in self.faces[first - self.first : stop - self.first])
        none = replace(self.data, pairs=(), same=self.data.same[:0], fold=self.data.fold[:0])
        return Verification(none, first, faces)

    def empty(self) -> PairCounts:
        return PairCounts(self.index)

    def counts_of(self, record: Any) -> PairCounts:
        waiting = {
            int(image): np.frombuffer(base64.b64decode(text, validate=True), np.float32)
            for image, text in record["waiting"].items()
        }
        distances = {int(pair): np.nan if value is None else float(value) for pair, value in record["distances"]}
        return PairCounts(self.index, int(record["images"]), int(record["not_finite"]), waiting, distances)

    def count(self, scores: np.ndarray, numbers: Sequence[int], truths: Sequence[Any]) -> PairCounts:
        rows = scores.reshape(len(scores), -1).astype(np.float32)
        not_finite = int((~np.isfinite(rows)).any(axis=1).sum())
        return PairCounts(None, len(rows), not_finite, dict(zip(numbers, rows, strict=True)))

    def result(self, counts: PairCounts, common: dict[str, Any]) -> VerificationEvaluation:
        from matnet.metrics import RocCurve

        found = self._judged(counts)
        if found is None:
            raise NetworkError(f"no pair has two finite descriptors; {another_variable()}")
        folds, distances, same = found
        curve = RocCurve.of(distances, same)
        corners = curve.corners()
        if not folds.accuracies:
            common["notes"].append("no accuracy: its threshold is chosen on other folds, but the pairs are of one fold")
        return VerificationEvaluation(
            **common,
            accuracy=folds.mean,
            standard_error=folds.standard_error,
            equal_error_rate=curve.equal_error_rate,
            auc=curve.auc,
            pairs=len(distances),
            fold_accuracies=list(folds.accuracies),
            fold_thresholds=list(folds.thresholds),
            roc={
                "false_accepts": corners.false_accepts.tolist(),
                "true_accepts": corners.true_accepts.tolist(),
                "thresholds": corners.thresholds.tolist(),
            },
        )

    def _judged(self, counts: PairCounts) -> Any:
        """LFW's folds, distances and kinds of the pairs with two finite descriptors; None without such pairs."""
        from matnet.metrics import FoldAccuracy

        pairs = [pair for pair, value in sorted(counts.distances.items()) if np.isfinite(value)]
        if not pairs:
            return None
        distances = np.array([counts.distances[pair] for pair in pairs])
        same = self.data.same[pairs]
        fold = self.data.fold[pairs]
        several = len(np.unique(fold)) > 1
        folds = FoldAccuracy.of(distances, same, fold) if several else FoldAccuracy(np.nan, np.nan, (), ())
        return folds, distances, same

    def doubts(self, counts: PairCounts) -> list[str]:
        found = self._judged(counts)
        if found is None:
            return []
        folds, distances, _ = found
        if not folds.accuracies:
            return []
        pairs = [pair for pair, value in sorted(counts.distances.items()) if np.isfinite(value)]
        sizes = np.unique(self.data.fold[pairs], return_counts=True)[1]
        right = sum(round(part * size / 100) for part, size in zip(folds.accuracies, sizes.tolist(), strict=True))
        return chance_doubt(right, len(distances), 0.5, "the accuracy")

    def running(self, counts: PairCounts) -> str:
        return f"{len(counts.distances):,} pairs" if counts.images else ""

    @classmethod
    def report(cls, runs: Sequence[Run]) -> list[Table]:
        found = [Table(COLUMNS, [run.record() for run in runs])]
        if len(runs) == 1 and isinstance(runs[0], VerificationEvaluation) and runs[0].fold_accuracies:
            folds = zip(runs[0].fold_accuracies, runs[0].fold_thresholds, strict=True)
            rows = [{"fold": k, "accuracy": part, "threshold": at} for k, (part, at) in enumerate(folds, 1)]
            columns = (
                Column("fold", "fold", "right"),
                Column("accuracy", "accuracy", "right", places=2),
                Column("threshold", "threshold", "right", places=4),
            )
            found.append(Table(columns, rows))
        return found


COLUMNS = (
    Column("model", "model"),
    Column("accuracy", "accuracy", "right", places=2),
    Column("standard_error", "standard error", "right", places=2),
    Column("equal_error_rate", "equal error rate", "right", places=2),
    Column("auc", "area under ROC", "right", places=2),
    Column("images_per_s", "images/s", "right", places=1),
)


def descriptor_variable(net: Network, asked: str | None = None) -> str:
    """The variable of a face's descriptor: `asked`, else the input of the last inner product.

    An inner product is a Conv with an output of one pixel, as in MatConvNet. For VGG-Face, this is the input of `fc8`,
    behind the ReLU of fc7. Raises NetworkError if there is no convolution, or `asked` does not exist.
    """
    if asked is not None:
        net.resolve(asked)
        return asked
    inference = net.for_inference()
    last = [layer for layer in inference.layers.values() if isinstance(layer.op, Conv)]
    if not last:
        raise NetworkError(f"{net.source}: has no convolution or inner product; {another_variable()}")
    return last[-1].inputs[0]


def descriptor_distance(first: np.ndarray, second: np.ndarray) -> float:
    """The Euclidean distance of two descriptors scaled to unit length, in double precision; NaN if one is not finite.

    Raises NetworkError for a zero descriptor.
    """
    one, other = _unit(first), _unit(second)
    return float(np.sqrt(((one - other) ** 2).sum()))


def _unit(descriptor: np.ndarray) -> np.ndarray:
    values = descriptor.astype(np.float64)
    if not np.isfinite(values).all():
        return np.full_like(values, np.nan)
    length = np.sqrt((values * values).sum())
    if not length:
        raise NetworkError(f"the descriptor of a face is all zero; {another_variable()}")
    return values / length
