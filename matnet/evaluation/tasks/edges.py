"""Edge detection: object boundaries compared with human annotations, by BSDS500's benchmark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from matnet.errors import NetworkError
from matnet.evaluation.boundaries import THRESHOLDS, best_f, boundary_counts, f_measure, rates, suppressed
from matnet.evaluation.record import Run
from matnet.evaluation.scores import another_variable
from matnet.evaluation.tasks.base import Given, Task
from matnet.tables import Column, Table

if TYPE_CHECKING:
    from matnet.datasets import EdgeSet
    from matnet.images import Preprocessing
    from matnet.network import Network


@dataclass(kw_only=True)
class EdgeEvaluation(Run):
    """The result for edges: F-measures in percent, at one threshold for the data set (ods) and per image (ois)."""

    ods: float
    ois: float
    threshold: float  # for ods


@dataclass(frozen=True)
class EdgeCounts:
    """The result of `boundary_counts` by image number."""

    not_finite: int = 0
    counts: Mapping[int, np.ndarray] = field(default_factory=dict)

    @property
    def images(self) -> int:
        return len(self.counts)

    def plus(self, other: EdgeCounts) -> EdgeCounts:
        return EdgeCounts(self.not_finite + other.not_finite, {**self.counts, **other.counts})

    def record(self) -> dict[str, Any]:
        return {"not_finite": self.not_finite, "counts": {str(k): self.counts[k].tolist() for k in sorted(self.counts)}}

    @property
    def total(self) -> np.ndarray:
        return np.asarray(sum(self.counts.values(), np.zeros((4, len(THRESHOLDS)), np.int64)))

    def ois(self) -> float:
        """The F-measure of the summed counts, each image at its own best threshold."""
        chosen = np.zeros((4, 1), np.int64)
        for counts in self.counts.values():
            chosen[:, 0] += counts[:, int(f_measure(*rates(counts)).argmax())]
        return float(f_measure(*rates(chosen))[0])


@dataclass(frozen=True)
class Edges(Task["EdgeSet", EdgeCounts]):
    """Images and their human boundary annotations."""

    name: ClassVar[str] = "edges"
    title: ClassVar[str] = "edges, F-measure in percent"
    data_set: ClassVar[str] = "EdgeSet"
    own_size: ClassVar[bool] = True
    protocol: ClassVar[str] = "BSDS500's boundaries, matched within 0.0075 of the diagonal"
    options: ClassVar[tuple[str, ...]] = ("split", "limit")

    @classmethod
    def load(cls, folder: str | Path, **given: Any) -> EdgeSet:
        from matnet.datasets import load_bsds

        return load_bsds(folder, given.get("split") or "test")

    @classmethod
    def made(cls, net: Network, data: EdgeSet, preprocessing: Preprocessing, variable: str, given: Given) -> Edges:
        return cls(data)

    @staticmethod
    def variable(net: Network, asked: str | None = None) -> str:
        """The output that fuses all side outputs (`fuse` in its name), else the last output."""
        inference = net.for_inference()
        if asked is not None:
            inference.resolve(asked)
            return asked
        return ([name for name in inference.outputs if "fuse" in name] or inference.outputs)[-1]

    @property
    def paths(self) -> Sequence[Path]:
        return self.data.images

    def read(self, number: int, preprocessing: Preprocessing, place: np.ndarray) -> None:
        index = number - self.first
        place[0] = preprocessing.native(self.paths[index]), self.data.boundaries(index)

    def empty(self) -> EdgeCounts:
        return EdgeCounts()

    def counts_of(self, record: Any) -> EdgeCounts:
        counts = {int(number): np.array(rows, np.int64) for number, rows in record["counts"].items()}
        if any(array.shape != (4, len(THRESHOLDS)) for array in counts.values()):
            raise ValueError("its counts are for other thresholds")
        return EdgeCounts(int(record["not_finite"]), counts)

    def count(self, scores: np.ndarray, numbers: Sequence[int], truths: Sequence[Any]) -> EdgeCounts:
        (number,), (drawn,) = numbers, truths
        if scores.shape != (1, 1, *drawn[0].shape):
            found = "x".join(map(str, scores.shape[1:]))
            height, width = drawn[0].shape
            raise NetworkError(
                f"the scored variable is {found} for an image of {height}x{width}; expected one value per pixel; "
                f"{another_variable()}"
            )
        finite = bool(np.isfinite(scores).all())
        edges = suppressed(np.nan_to_num(scores[0, 0]))
        return EdgeCounts(int(not finite), {number: boundary_counts(edges, drawn)})

    def result(self, counts: EdgeCounts, common: dict[str, Any]) -> EdgeEvaluation:
        ods, threshold = best_f(counts.total)
        return EdgeEvaluation(**common, ods=ods, ois=counts.ois(), threshold=threshold)

    def running(self, counts: EdgeCounts) -> str:
        return f"ODS {best_f(counts.total)[0]:.2f} %" if counts.images else ""

    @classmethod
    def report(cls, runs: Sequence[Run]) -> list[Table]:
        return [Table(COLUMNS, [run.record() for run in runs])]


COLUMNS = (
    Column("model", "model"),
    Column("ods", "ODS", "right", places=2),
    Column("ois", "OIS", "right", places=2),
    Column("threshold", "at threshold", "right", places=2),
    Column("images_per_s", "images/s", "right", places=2),
)
