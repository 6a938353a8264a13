"""Retrieval: images of a database ranked by similarity to a query, scored by mean average precision."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from matnet.errors import NetworkError
from matnet.evaluation.record import Run
from matnet.evaluation.tasks.base import FEWEST, Given, Task
from matnet.metrics import ranked_precision
from matnet.tables import Column, Table

if TYPE_CHECKING:
    from matnet.datasets import RetrievalSet
    from matnet.images import Preprocessing
    from matnet.network import Network

MOST = 1000
"""The number of top-ranked images that count for each query."""
QUERIES_AT_ONCE = 64
BITS = "Hamming distance of bits (values above 0.5)"
VALUES = "Euclidean distance of values"


@dataclass(kw_only=True)
class RetrievalEvaluation(Run):
    """The result of a retrieval, in percent. queries: their number; ranked_by: the distance."""

    mean_ap: float
    queries: int
    ranked_by: str


@dataclass(frozen=True)
class DescriptorCounts:
    """The descriptor of each image by number: packed bits (uint8), or float32 values."""

    bits: bool
    not_finite: int = 0
    rows: Mapping[int, np.ndarray] = field(default_factory=dict)

    @property
    def images(self) -> int:
        return len(self.rows)

    def plus(self, other: DescriptorCounts) -> DescriptorCounts:
        return DescriptorCounts(self.bits, self.not_finite + other.not_finite, {**self.rows, **other.rows})

    def record(self) -> dict[str, Any]:
        packed = {str(k): base64.b64encode(self.rows[k].tobytes()).decode() for k in sorted(self.rows)}
        return {"bits": self.bits, "not_finite": self.not_finite, "rows": packed}


@dataclass(frozen=True)
class Retrieval(Task["RetrievalSet", DescriptorCounts]):
    """The images of a database and the queries. bits: whether sigmoid outputs are compared as bits."""

    name: ClassVar[str] = "retrieval"
    title: ClassVar[str] = "retrieval, mean average precision in percent"
    data_set: ClassVar[str] = "RetrievalSet"
    options: ClassVar[tuple[str, ...]] = ("protocol", "limit")
    bits: bool = False

    @classmethod
    def load(cls, folder: str | Path, **given: Any) -> RetrievalSet:
        from matnet.datasets import load_retrieval

        return load_retrieval(folder)

    @classmethod
    def made(
        cls, net: Network, data: RetrievalSet, preprocessing: Preprocessing, variable: str, given: Given
    ) -> Retrieval:
        """Compares bits if the variable is the output of a sigmoid layer, otherwise values."""
        inference = net.for_inference()
        name = inference.resolve(variable)
        maker = next((layer for layer in inference.layers.values() if name in layer.outputs), None)
        return cls(data, bits=maker is not None and maker.type_name == "dagnn.Sigmoid")

    @property
    def paths(self) -> Sequence[Path]:
        return self.data.paths

    @property
    def identity(self) -> dict[str, str]:
        return {**super().identity, "ranked by": self._ranked_by}

    @property
    def _ranked_by(self) -> str:
        return BITS if self.bits else VALUES

    def read(self, number: int, preprocessing: Preprocessing, place: np.ndarray) -> None:
        preprocessing.load(self.data.source(number - self.first), out=place)

    def empty(self) -> DescriptorCounts:
        return DescriptorCounts(self.bits)

    def counts_of(self, record: Any) -> DescriptorCounts:
        if record["bits"] is not self.bits:
            raise ValueError("its descriptors are of another kind")
        kind = np.uint8 if self.bits else np.float32
        rows = {
            int(k): np.frombuffer(base64.b64decode(text, validate=True), kind) for k, text in record["rows"].items()
        }
        return DescriptorCounts(self.bits, int(record["not_finite"]), rows)

    def count(self, scores: np.ndarray, numbers: Sequence[int], truths: Sequence[Any]) -> DescriptorCounts:
        values = scores.reshape(len(scores), -1).astype(np.float32)
        not_finite = int((~np.isfinite(values)).any(axis=1).sum())
        rows = np.packbits(values > 0.5, axis=1) if self.bits else values
        return DescriptorCounts(self.bits, not_finite, dict(zip(numbers, rows, strict=True)))

    def result(self, counts: DescriptorCounts, common: dict[str, Any]) -> RetrievalEvaluation:
        precision = self._precision(counts)
        if precision is None:
            raise NetworkError("no query or no image of the database could be read")
        return RetrievalEvaluation(
            **common, mean_ap=100 * float(precision.mean()), queries=len(precision), ranked_by=self._ranked_by
        )

    def _precision(self, counts: DescriptorCounts) -> np.ndarray | None:
        """The average precision of each query over its MOST nearest images; None without queries or database.

        Ties in distance are ordered by image number (caffe-cvprw15, precision.m).
        """
        known = np.array(sorted(counts.rows))
        kept, asked = known[known < self.data.database], known[known >= self.data.database]
        if not len(kept) or not len(asked):
            return None
        base, labels = self._matrix(counts, kept), self.data.labels
        found = []
        for start in range(0, len(asked), QUERIES_AT_ONCE):
            some = asked[start : start + QUERIES_AT_ONCE]
            distances = _distances(self._matrix(counts, some), base, self.bits)
            order = np.argsort(distances, axis=1, kind="stable")[:, :MOST]
            found.append(ranked_precision(labels[kept[order]] == labels[some][:, np.newaxis]))
        return np.concatenate(found)

    def _matrix(self, counts: DescriptorCounts, numbers: np.ndarray) -> np.ndarray:
        rows = np.stack([counts.rows[k] for k in numbers.tolist()])
        return np.unpackbits(rows, axis=1).astype(np.float32) if self.bits else rows.astype(np.float64)

    def doubts(self, counts: DescriptorCounts) -> list[str]:
        """A reason for doubt if the ranking is not better than chance, the share of relevant images."""
        precision = self._precision(counts)
        if precision is None or len(precision) < FEWEST:
            return []
        base, queries = self.data.labels[: self.data.database], self.data.labels[self.data.database :]
        share = np.bincount(base, minlength=int(self.data.labels.max()) + 1) / len(base)
        chance = float(share[queries].mean())
        if precision.mean() > chance + 3 * precision.std() / len(precision) ** 0.5:
            return []
        return [f"the mean average precision is not better than that of a random order ({100 * chance:.2f} %)"]

    @classmethod
    def report(cls, runs: Sequence[Run]) -> list[Table]:
        return [Table(COLUMNS, [run.record() for run in runs])]


COLUMNS = (
    Column("model", "model"),
    Column("mean_ap", "mean AP", "right", places=2),
    Column("queries", "queries", "right"),
    Column("ranked_by", "ranked by"),
    Column("images_per_s", "images/s", "right", places=1),
)


def _distances(queries: np.ndarray, base: np.ndarray, bits: bool) -> np.ndarray:
    """The distance of each query to each image: Hamming (uint16), or squared Euclidean."""
    products = queries @ base.T
    squares = (queries**2).sum(axis=1)[:, np.newaxis] + (base**2).sum(axis=1)
    found = squares - 2 * products
    return found.astype(np.uint16) if bits else found
