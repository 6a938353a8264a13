"""Regression: one number per image, such as a year or an age, scored by absolute error."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from matnet.errors import DataError, NetworkError, in_words, listing
from matnet.evaluation.classes import stated_names
from matnet.evaluation.record import Run
from matnet.evaluation.scores import another_variable, scores_of_one_image
from matnet.evaluation.tasks.base import FEWEST, Given, Task
from matnet.tables import Column, Table

if TYPE_CHECKING:
    from matnet.datasets import ValueList
    from matnet.images import Preprocessing
    from matnet.network import Network

ONE_NUMBER = "the output itself"
BEST_BIN = "the value of the bin with the highest score"
_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_BIN = re.compile(
    rf"({_NUMBER})|({_NUMBER})\s*(?:-|to)\s*({_NUMBER})|[(\[]\s*({_NUMBER})\s*(?:,|-|to)\s*({_NUMBER})\s*[)\]]"
)


@dataclass(kw_only=True)
class RegressionEvaluation(Run):
    """The result of a regression; errors in the unit of the list's values.

    within_share: the percentage of images with an error of at most `within`. estimate: how scores become one number.
    """

    mean_absolute_error: float
    median_absolute_error: float
    within: float
    within_share: float
    estimate: str


@dataclass(frozen=True)
class EstimateCounts:
    """The network's estimates by image number; NaN if scores are not finite."""

    not_finite: int = 0
    estimates: Mapping[int, float] = field(default_factory=dict)

    @property
    def images(self) -> int:
        return len(self.estimates)

    def plus(self, other: EstimateCounts) -> EstimateCounts:
        return EstimateCounts(self.not_finite + other.not_finite, {**self.estimates, **other.estimates})

    def record(self) -> dict[str, Any]:
        rows = [[number, None if value != value else value] for number, value in sorted(self.estimates.items())]
        return {"not_finite": self.not_finite, "estimates": rows}


@dataclass(frozen=True)
class Regression(Task["ValueList", EstimateCounts]):
    """Images and a value for each. bins: the value of each output; None if the single output is the value."""

    name: ClassVar[str] = "regression"
    title: ClassVar[str] = "regression, absolute errors in the unit of the values"
    data_set: ClassVar[str] = "ValueList"
    options: ClassVar[tuple[str, ...]] = ("root", "protocol", "crops", "classes", "limit", "within")
    bins: tuple[float, ...] | None = None

    @classmethod
    def load(cls, folder: str | Path, **given: Any) -> ValueList:
        from matnet.datasets import load_values

        return load_values(folder, given.get("root"), given.get("within"))

    @classmethod
    def made(
        cls, net: Network, data: ValueList, preprocessing: Preprocessing, variable: str, given: Given
    ) -> Regression:
        """The task of a network with one output, or with bins and their values as class names.

        Raises DataError for several outputs without known values, NetworkError for score maps.
        """
        try:
            outputs = scores_of_one_image(net, variable, preprocessing)
        except NetworkError:
            raise NetworkError(
                f"{net.source}: {variable!r} is a map; regression needs one number, or one score per bin: "
                f"{another_variable()}"
            ) from None
        if outputs == 1 and given.classes is None:
            return cls(data)
        names = stated_names(net, given.classes)[0] or given.named or ()
        if not names and outputs is None:
            return cls(data)
        return cls(data, bins=_bins(names, outputs, f"{net.source}: {variable!r}"))

    @property
    def paths(self) -> Sequence[Path]:
        return self.data.paths

    @property
    def identity(self) -> dict[str, str]:
        values = hashlib.sha256(self.data.values.tobytes()).hexdigest()
        bins = self._estimate if self.bins is None else " ".join(map(repr, self.bins))
        return {**super().identity, "values": values, "bins": bins, "within": repr(self.data.within)}

    @property
    def _estimate(self) -> str:
        return ONE_NUMBER if self.bins is None else BEST_BIN

    def empty(self) -> EstimateCounts:
        return EstimateCounts()

    def counts_of(self, record: Any) -> EstimateCounts:
        estimates = {int(number): float("nan" if value is None else value) for number, value in record["estimates"]}
        return EstimateCounts(int(record["not_finite"]), estimates)

    def count(self, scores: np.ndarray, numbers: Sequence[int], truths: Sequence[Any]) -> EstimateCounts:
        rows = scores.reshape(len(scores), -1).astype(np.float64)
        expected = 1 if self.bins is None else len(self.bins)
        if rows.shape[1] != expected:
            raise NetworkError(
                f"holds {rows.shape[1]} values per image; expected {expected}: {another_variable()}, or give the value "
                f"of each output with {_bins_option()}"
            )
        finite = np.isfinite(rows).all(axis=1)
        values = rows[:, 0] if self.bins is None else np.array(self.bins)[rows.argmax(axis=1)]
        estimates = np.where(finite, values, np.nan).tolist()
        return EstimateCounts(int((~finite).sum()), dict(zip(numbers, estimates, strict=True)))

    def _errors(self, counts: EstimateCounts) -> tuple[np.ndarray, np.ndarray]:
        """Absolute errors, and the true values, in the order of the images' numbers."""
        numbers = sorted(counts.estimates)
        truth = self.data.values[[number - self.first for number in numbers]]
        return np.abs(np.array([counts.estimates[number] for number in numbers]) - truth), truth

    def result(self, counts: EstimateCounts, common: dict[str, Any]) -> RegressionEvaluation:
        errors, _ = self._errors(counts)
        return RegressionEvaluation(
            **common,
            mean_absolute_error=float(errors.mean()),
            median_absolute_error=float(np.median(errors)),
            within=self.data.within,
            within_share=100 * float((errors <= self.data.within).mean()),
            estimate=self._estimate,
        )

    def doubts(self, counts: EstimateCounts) -> list[str]:
        """A reason for doubt if the errors are not smaller than with the median of all values as every estimate."""
        if counts.images < FEWEST:
            return []
        errors, truth = self._errors(counts)
        gain = np.abs(truth - np.median(truth)) - errors
        if gain.mean() > 3 * gain.std() / len(gain) ** 0.5:
            return []
        constant = float(np.abs(truth - np.median(truth)).mean())
        return [f"the mean absolute error is not better than with one constant value for all images ({constant:.4g})"]

    def running(self, counts: EstimateCounts) -> str:
        return f"mean absolute error {self._errors(counts)[0].mean():.4g}" if counts.images else ""

    @classmethod
    def report(cls, runs: Sequence[Run]) -> list[Table]:
        return [Table(COLUMNS, [run.record() for run in runs])]


COLUMNS = (
    Column("model", "model"),
    Column("mean_absolute_error", "mean abs. error", "right", places=3),
    Column("median_absolute_error", "median abs. error", "right", places=3),
    Column("within", "within", "right", places=1),
    Column("within_share", "share (%)", "right", places=2),
    Column("images_per_s", "images/s", "right", places=1),
)


def _bins_option() -> str:
    return in_words("classes=", "--classes FILE (one number or interval per line)")


def _bins(names: Sequence[str], outputs: int | None, where: str) -> tuple[float, ...]:
    """The value of each output, from names such as `1934`, `25.5` or `(25, 32)` (the middle of the interval)."""
    if not names or (outputs is not None and len(names) != outputs):
        found = f"{len(names)} values are given" if names else "their values are unknown"
        raise DataError(f"{where} holds {outputs} scores per image, but {found}; give {_bins_option()}")
    matches = [_BIN.fullmatch(name.strip()) for name in names]
    ends = [[float(text) for text in match.groups() if text is not None] if match else [] for match in matches]
    wrong = [
        name
        for name, found in zip(names, ends, strict=True)
        if not found or found[0] > found[-1] or not math.isfinite(sum(found))
    ]
    if wrong:
        raise DataError(
            listing(f"{where}: some class names are not numbers or intervals; give {_bins_option()}:", wrong)
        )
    return tuple(sum(values) / len(values) for values in ends)
