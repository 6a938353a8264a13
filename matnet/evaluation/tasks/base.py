"""What a task must say: everything else of an evaluation (threads, resume, workers, records) is the same for all."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from matnet.errors import NetworkError
from matnet.evaluation.record import Run
from matnet.evaluation.scores import score_variable
from matnet.metrics import chance_of

if TYPE_CHECKING:
    from matnet.datasets.base import DataSet
    from matnet.images import Preprocessing
    from matnet.network import Network
    from matnet.tables import Table

FEWEST = 20
"""Images, or pairs, from which on a figure is compared with chance."""
SIGNIFICANT = 0.01
"""A figure whose probability by chance is above this is doubtful."""


@dataclass(frozen=True)
class Task(ABC):
    """A data set and how it is scored; a part of it is small enough to be sent to a worker.

    data: what is evaluated on. first: the number of the first image, in a part.
    """

    data: DataSet
    first: int = 0

    name: ClassVar[str]
    title: ClassVar[str]  # for people
    data_set: ClassVar[str]  # the class of matnet.datasets that it is for
    own_size: ClassVar[bool] = False  # whether each image is computed alone, at its own size
    protocol: ClassVar[str] = ""  # how every row is measured; "" if the preprocessing has the name of one
    options: ClassVar[tuple[str, ...]] = ()  # options of the command that not all tasks have, and this one does

    @classmethod
    def suits(cls, data: DataSet) -> bool:
        """Whether the task is for this data set."""
        from matnet import datasets

        return isinstance(data, getattr(datasets, cls.data_set))

    @classmethod
    @abstractmethod
    def load(cls, folder: str | Path, **given: Any) -> DataSet:
        """The data set in a folder or file; given: the task's options, None where they were left out."""

    @classmethod
    @abstractmethod
    def made(cls, net: Network, data: Any, preprocessing: Preprocessing, variable: str, **given: Any) -> Task:
        """The task of a data set for a network that scores `variable`.

        given: `classes` as the user states their order, `order` and `named` as the model's card does, `save` for a
        folder.
        """

    @staticmethod
    def variable(net: Network, asked: str | None = None) -> str:
        """The variable that is scored: `asked`, else the task's default. NetworkError if it does not exist."""
        return score_variable(net, asked)

    @classmethod
    def scored(cls, net: Network, data: Any) -> str | None:
        """The variable that goes with the data set, where a network has one for each of several sets."""
        return None

    @property
    @abstractmethod
    def paths(self) -> Sequence[Path]:
        """The images, in the order of their numbers."""

    def part(self, first: int, stop: int) -> Task:
        """The same task over the images from number `first` to before `stop`, under absolute paths."""
        data: Any = self.data
        return replace(self, data=data.part(first - self.first, stop - self.first), first=first)

    @property
    def beside(self) -> tuple[str, ...]:
        """Variables that `count` takes besides the scored one; its scores are then a tuple of all."""
        return ()

    @property
    def feeds(self) -> tuple[str, ...]:
        """The inputs that `read` gives, where there are several; none: the one image input."""
        return ()

    @property
    def identity(self) -> dict[str, str]:
        """What decides the figures besides network, list of images and EvaluationConfig."""
        return {"task": self.name}

    @property
    def unreadable(self) -> Sequence[str]:
        """Folders of the data set that could not be read, each with its reason."""
        return self.data.unreadable

    def read(self, number: int, preprocessing: Preprocessing, place: np.ndarray) -> None:
        """Prepare image `number` into its place of a batch; DataError if it cannot be read.

        For own_size, `place` is an array of one object: a pair of the image 1 x C x H x W, or all inputs by name, and
        what `count` takes as its truth.
        """
        preprocessing.load(self.paths[number - self.first], out=place)

    def sized(self, preprocessing: Preprocessing) -> str:
        """For own_size: the size in which `read` gives an image, in words."""
        return "own size"

    @abstractmethod
    def empty(self) -> Any:
        """The counts before the first image; see `matnet.evaluation.tally.Counts`."""

    @abstractmethod
    def counts_of(self, record: Any) -> Any:
        """Counts from their record; KeyError, TypeError or ValueError for anything else."""

    @abstractmethod
    def count(self, scores: Any, numbers: Sequence[int], truths: Sequence[Any]) -> Any:
        """The counts of some images: the scores N x ..., the images' numbers, and what `read` gave as their truth."""

    def without_boxes(self, numbers: Sequence[int]) -> Any:
        """The counts of images in which a layer of the network found no box; only detectors have such layers."""
        raise NetworkError("a layer found no box in an image; only detections can be counted without one")

    @abstractmethod
    def result(self, counts: Any, common: dict[str, Any]) -> Run:
        """The row of results; `common` are the fields that all rows have."""

    def doubts(self, counts: Any) -> list[str]:
        """Why the figures may be wrong although everything ran."""
        return []

    def running(self, counts: Any) -> str:
        """The figures so far, for people; nothing where there are none yet."""
        return ""

    def brief(self, counts: Any) -> str:
        """As `running`, short enough for the progress bar."""
        return self.running(counts)

    @classmethod
    @abstractmethod
    def report(cls, runs: Sequence[Run]) -> list[Table]:
        """Rows of results as tables: one with the figures, and their details where there is a single row."""


def chance_doubt(right: int, trials: int, probability: float, what: str) -> list[str]:
    """A reason for doubt where `right` of so many trials is not significantly more than chance gives."""
    if trials < FEWEST or chance_of(right, trials, probability) <= SIGNIFICANT:
        return []
    expected = f"chance alone is expected to get {trials * probability:.3g} right"
    return [f"{what} is not significantly better than chance ({right} of {trials} right; {expected})"]
