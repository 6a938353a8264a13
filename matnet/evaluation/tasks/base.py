"""The interface of a task; the rest of an evaluation (threads, resume, workers, records) is shared."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

import numpy as np

from matnet.errors import NetworkError
from matnet.evaluation.record import Run
from matnet.evaluation.scores import score_variable
from matnet.evaluation.tally import Counts
from matnet.metrics import chance_of

if TYPE_CHECKING:
    from matnet.datasets.base import DataSet
    from matnet.images import Preprocessing
    from matnet.network import Network
    from matnet.tables import Table

FEWEST = 20
"""The fewest images, or pairs, for a comparison with chance."""
SIGNIFICANT = 0.01
"""A figure is doubtful if its probability by chance is above this."""

Data = TypeVar("Data", bound="DataSet")
Counted = TypeVar("Counted", bound=Counts)
Same = TypeVar("Same", bound="Task[Any, Any]")


@dataclass(frozen=True)
class Given:
    """What is stated about a network's classes and results.

    classes: the user's class order. order, named: those of the model card. save: a folder for predicted labels.
    """

    classes: str | Sequence[str] | None = None
    order: str | None = None
    named: Sequence[str] | None = None
    save: Path | None = None


@dataclass(frozen=True)
class Task(ABC, Generic[Data, Counted]):
    """A data set and its scoring, by its kind of data set and of counts; `part` makes a task small enough for a worker.

    data: the data set. first: the number of the first image, in a part.
    """

    data: Data
    first: int = 0

    name: ClassVar[str]
    title: ClassVar[str]  # for people
    data_set: ClassVar[str]  # its class of data set in matnet.datasets
    own_size: ClassVar[bool] = False  # whether each image is computed alone, at its own size
    protocol: ClassVar[str] = ""  # how figures are measured; "" if the name of the preprocessing says it
    options: ClassVar[tuple[str, ...]] = ()  # the task's own command-line options

    @classmethod
    def suits(cls, data: DataSet) -> bool:
        """Whether the task can evaluate this data set."""
        from matnet import datasets

        return isinstance(data, getattr(datasets, cls.data_set))

    @classmethod
    @abstractmethod
    def load(cls, folder: str | Path, **given: Any) -> Data:
        """The data set in a folder or file; given: the task's options, None if left out."""

    @classmethod
    @abstractmethod
    def made(
        cls, net: Network, data: Data, preprocessing: Preprocessing, variable: str, given: Given
    ) -> Task[Data, Counted]:
        """The task of a data set for a network that scores `variable`."""

    @staticmethod
    def variable(net: Network, asked: str | None = None) -> str:
        """The scored variable: `asked`, else the task's default. Raises NetworkError if it does not exist."""
        return score_variable(net, asked)

    @classmethod
    def prepared(cls, net: Network, preprocessing: Preprocessing, variable: str) -> Preprocessing:
        """The preprocessing that the task needs, based on the one stated."""
        return preprocessing

    @classmethod
    def scored(cls, net: Network, data: Data) -> str | None:
        """The variable for this data set, if the network has different ones for several data sets."""
        return None

    @property
    @abstractmethod
    def paths(self) -> Sequence[Path]:
        """The images, in the order of their numbers."""

    def part(self: Same, first: int, stop: int) -> Same:
        """The same task over the images from number `first` to before `stop`, under absolute paths."""
        return replace(self, data=self.data.part(first - self.first, stop - self.first), first=first)

    @property
    def beside(self) -> tuple[str, ...]:
        """The further variables that `count` needs; its scores are then a tuple of all variables."""
        return ()

    @property
    def feeds(self) -> tuple[str, ...]:
        """The names of the inputs that `read` returns, if several; empty for a single image input."""
        return ()

    @property
    def identity(self) -> dict[str, str]:
        """Everything else that decides the figures, besides network, list of images and EvaluationConfig."""
        return {"task": self.name}

    @property
    def unreadable(self) -> Sequence[str]:
        """The errors of unreadable folders of the data set."""
        return self.data.unreadable

    def read(self, number: int, preprocessing: Preprocessing, place: np.ndarray) -> None:
        """Write the prepared image `number` to its place in a batch. Raises DataError if it cannot be read.

        For own_size, `place` is an array of one object: a pair of the image 1 x C x H x W, or all inputs by name, and
        the truth for `count`.
        """
        preprocessing.load(self.paths[number - self.first], out=place)

    def sized(self, preprocessing: Preprocessing) -> str:
        """For own_size: a description of the size of an image from `read`."""
        return "own size"

    @abstractmethod
    def empty(self) -> Counted:
        """The counts before the first image."""

    @abstractmethod
    def counts_of(self, record: Any) -> Counted:
        """Counts from their record. Raises KeyError, TypeError or ValueError for anything else."""

    @abstractmethod
    def count(self, scores: Any, numbers: Sequence[int], truths: Sequence[Any]) -> Counted:
        """The counts of some images, from the scores N x ..., the image numbers, and the truths from `read`."""

    def without_boxes(self, numbers: Sequence[int]) -> Counted:
        """The counts of images in which the network proposed no box; only detectors propose boxes."""
        raise NetworkError("a layer proposed no box for an image; only --task detection supports such networks")

    @abstractmethod
    def result(self, counts: Counted, common: dict[str, Any]) -> Run:
        """The result; `common` holds the fields that all tasks share."""

    def doubts(self, counts: Counted) -> list[str]:
        """Reasons why the figures may be wrong, although no error occurred."""
        return []

    def running(self, counts: Counted) -> str:
        """The figures so far as text; "" if there are none yet."""
        return ""

    def brief(self, counts: Counted) -> str:
        """As `running`, short enough for the progress bar."""
        return self.running(counts)

    @classmethod
    @abstractmethod
    def report(cls, runs: Sequence[Run]) -> list[Table]:
        """Tables of the results: the figures, and their details for a single result."""


def chance_doubt(right: int, trials: int, probability: float, what: str) -> list[str]:
    """A reason for doubt if `right` of `trials` is not significantly more than expected by chance."""
    if trials < FEWEST or chance_of(right, trials, probability) <= SIGNIFICANT:
        return []
    expected = f"expected by chance: {trials * probability:.3g}"
    return [f"{what} is not significantly better than chance ({right} of {trials} right; {expected})"]
