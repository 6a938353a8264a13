"""Classification: labelled images, top-1 and top-5 error."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from matnet.errors import NetworkError
from matnet.evaluation.classes import align
from matnet.evaluation.record import Evaluation, Run
from matnet.evaluation.scores import no_map, scores_of_one_image
from matnet.evaluation.tasks.base import Given, Task, chance_doubt
from matnet.metrics import TopK
from matnet.tables import Column, Table

if TYPE_CHECKING:
    from matnet.datasets import ImageList
    from matnet.images import Preprocessing
    from matnet.network import Network


@dataclass(frozen=True)
class Classification(Task["ImageList", TopK]):
    """Labelled images; a label is an index of the network's classes."""

    name: ClassVar[str] = "classification"
    title: ClassVar[str] = "classification, errors in percent"
    data_set: ClassVar[str] = "ImageList"
    options: ClassVar[tuple[str, ...]] = ("root", "protocol", "crops", "classes", "limit")

    @classmethod
    def load(cls, folder: str | Path, **given: Any) -> ImageList:
        from matnet.datasets import load_images

        return load_images(folder, given.get("root"))

    @classmethod
    def made(
        cls, net: Network, data: ImageList, preprocessing: Preprocessing, variable: str, given: Given
    ) -> Classification:
        """The task, with labels aligned with the network's classes (see `matnet.evaluation.classes`).

        Raises DataError if labels do not fit the classes, NetworkError for score maps.
        """
        outputs = scores_of_one_image(net, variable, preprocessing)
        return cls(align(net, data, outputs, given.classes, given.order, given.named, variable))

    @property
    def paths(self) -> Sequence[Path]:
        return self.data.paths

    @property
    def identity(self) -> dict[str, str]:
        return {**super().identity, "labels": hashlib.sha256(self.data.labels.tobytes()).hexdigest()}

    def empty(self) -> TopK:
        return TopK()

    def counts_of(self, record: Any) -> TopK:
        return TopK.of_record(record)

    def count(self, scores: np.ndarray, numbers: Sequence[int], truths: Sequence[Any]) -> TopK:
        if scores.ndim == 4 and scores.shape[2:] != (1, 1):
            raise NetworkError(no_map(scores.shape))
        errors = TopK()
        errors.update(scores, self.data.labels[[number - self.first for number in numbers]])
        return errors

    def result(self, counts: TopK, common: dict[str, Any]) -> Evaluation:
        return Evaluation(**common, top1_error=counts.top1_error, top5_error=counts.top5_error)

    def doubts(self, counts: TopK) -> list[str]:
        right = counts.images - counts.void - counts.wrong.get(1, 0)
        chance = chance_doubt(right, counts.images - counts.void, 1 / max(counts.classes, 1), "the top-1 error")
        return [*([self.data.doubt] if self.data.doubt else []), *chance]

    def running(self, counts: TopK) -> str:
        if not counts.images:
            return ""
        return f"top-1 error {counts.top1_error:.2f} %, top-5 error {counts.top5_error:.2f} %"

    def brief(self, counts: TopK) -> str:
        if not counts.images:
            return ""
        return f"top-1/5 error {counts.top1_error:.1f}/{counts.top5_error:.1f} %"

    @classmethod
    def report(cls, runs: Sequence[Run]) -> list[Table]:
        """The table of MatConvNet's page: right-aligned columns of fixed width, figures with one decimal.

        Newest models come first; models of one year keep their order.
        """
        ordered = sorted(runs, key=lambda run: run.introduced, reverse=True)
        rows = [{**run.record(), "introduced": run.introduced or "-"} for run in ordered]
        return [Table(PAGE_COLUMNS, rows)]


PAGE_COLUMNS = (
    Column("model", "model", "right", width=30),
    Column("introduced", "introduced", "right", width=10),
    Column("top1_error", "top-1 err.", "right", places=1, width=10),
    Column("top5_error", "top-5 err.", "right", places=1, width=10),
    Column("images_per_s", "images/s", "right", places=1, width=10),
)
"""The columns of the table on MatConvNet's page of pretrained models."""
