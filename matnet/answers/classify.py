"""`net.classify`: images in, a table of classes and probabilities out."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from matnet.answers.classes import Classes, stated_classes
from matnet.answers.pictures import pictures_of
from matnet.answers.running import Seen, batches, chosen
from matnet.errors import DataError, NetworkError, in_words, program
from matnet.evaluation.detectors import detects
from matnet.evaluation.scores import score_variable
from matnet.evaluation.tally import Ranges, described, merged
from matnet.images.doubts import doubts
from matnet.keywords import FUNCTION, PATH, TEXT, Kind, all_texts, require, whole
from matnet.tables import Column, Table

if TYPE_CHECKING:
    from matnet.images import Preprocessing
    from matnet.network import Network

log = logging.getLogger(__name__)
KINDS = {
    "top": whole(),
    "classes": Kind(
        lambda value: value is None or PATH.accepts(value) or all_texts(value), "names, a file of them, or 'ilsvrc12'"
    ),
    "scores": TEXT.or_none(),
    "progress": FUNCTION.or_none(),
}
"""What the keywords of `classify` must be."""
NAMELESS = "the network's file names no classes, so they are numbered from 0; name them with "
NAMING = (
    "net.classes = [...] or classes=[...] (a list, a file with a class per line, or 'ilsvrc12', the 1000 of ImageNet)",
    "--classes FILE (a class per line), or --classes ilsvrc12 (the 1000 of ImageNet)",
)


@dataclass(frozen=True)
class Answer:
    """One class: its name, its probability (or score), its WordNet id if known, and its place among the outputs."""

    name: str
    probability: float
    wordnet_id: str | None
    index: int


@dataclass(frozen=True)
class Predictions:
    """The best classes of one or several images, as a table: text, HTML in a notebook, plain data by `to_dicts`.

    images: their names. answers: the best first, for each image; none for one that could not be read. several: whether
    a list or a folder was given; then the table has a row per image, else one per class. measure: what the numbers are,
    `probability` after a softmax, else `score`. unreadable: why images were left out. notes: what to know besides.
    not_finite: of how many images scores are NaN or infinite. damaged: the params that hold such values, and how many.
    runtime: of backend onnx, how the network ran, and which images where that changed.
    """

    images: tuple[str, ...]
    answers: tuple[tuple[Answer, ...], ...]
    several: bool
    measure: str = "probability"
    unreadable: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    runtime: str = ""
    _faults: dict[int, str] = field(default_factory=dict, repr=False)
    not_finite: int = 0
    damaged: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.images) if self.several else len(self.answers[0])

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.to_dicts())

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.to_dicts()[index]

    def records(self) -> list[dict[str, Any]]:
        """A dict per image: image, and either `top`, its classes with the best first, or `error`."""
        return [
            {"image": image, "top": [self._plain(answer) for answer in answers]}
            if answers
            else {"image": image, "error": self._faults.get(number, "cannot be read")}
            for number, (image, answers) in enumerate(zip(self.images, self.answers, strict=True))
        ]

    def to_dicts(self) -> list[dict[str, Any]]:
        """A dict per row. One image: class, probability, wordnet_id, index. Several: image, those of its best class,
        and `top`, all its classes; `error` in their place for an image that could not be read.
        """
        if not self.several:
            return [self._plain(answer) for answer in self.answers[0]]
        return [
            {"image": row["image"], **row["top"][0], "top": row["top"]} if "top" in row else row
            for row in self.records()
        ]

    def _plain(self, answer: Answer) -> dict[str, Any]:
        return {
            "class": answer.name,
            self.measure: answer.probability,
            "wordnet_id": answer.wordnet_id,
            "index": answer.index,
        }

    def table(self) -> Table:
        """A row per class of one image, or per image."""
        ids = any(answer.wordnet_id for answers in self.answers for answer in answers)
        columns = [
            *([Column("image", "image")] if self.several else []),
            Column("class", "class"),
            Column(self.measure, self.measure, places=4),
            *([Column("wordnet_id", "WordNet id")] if ids else []),
        ]
        rows = [{**row, "class": f"({row['error']})"} if "error" in row else row for row in self.to_dicts()]
        return Table(columns, rows, notes=self.notes)

    def __str__(self) -> str:
        return "\n".join([self.table().text(), *self.notes])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return self.table().html()


def classify(
    net: Network,
    images: Any,
    top: int = 5,
    classes: str | os.PathLike[str] | Sequence[str] | None = None,
    scores: str | None = None,
    preprocessing: Preprocessing | None = None,
    progress: Callable[[int], object] | None = None,
    **keywords: Any,
) -> Predictions:
    """The `top` classes of each image: see `Network.classify`."""
    require({"top": top, "classes": classes, "scores": scores, "progress": progress}, KINDS)
    pictures, several = pictures_of(images)
    if scores is None and detects(net):
        way = in_words("net.detect(images)", f"`{program('predict')}`")
        raise NetworkError(
            f"{net.source}: is a detector, which scores boxes and not images; {way} lists the objects in images"
        )
    prepared, engine = chosen(net, preprocessing, keywords)
    variable = score_variable(net, scores)
    known = net.classes if classes is None else stated_classes(classes)
    seen, not_finite = Seen(), []
    answers: list[tuple[Answer, ...]] = [()] * len(pictures)
    faults: dict[int, str] = {}
    ways: dict[str, Ranges] = {}
    for batch in batches(net, pictures, [variable], prepared, engine, seen):
        faults.update(batch.faults)
        ways = merged(ways, batch.ways)
        if progress is not None:
            progress(len(batch.numbers) + len(batch.faults))
        rows = _rows(net, variable, batch.values.get(variable))
        for number, row in zip(batch.numbers, rows, strict=True):
            if not np.isfinite(row).all():
                not_finite.append(pictures[number].name)
            answers[number] = _best(row, top, _fitting(net, known, variable, len(row)))
    unreadable = tuple(faults[number] for number in sorted(faults))
    if len(faults) == len(pictures):
        raise DataError(unreadable[0] if len(faults) == 1 else "\n".join(["no image could be read:", *unreadable[:20]]))
    about = [*seen.notes(prepared.exif), *([] if known else [NAMELESS + in_words(*NAMING)])]
    for note in about:
        log.info(note)
    notes = [*about, *doubts(net, prepared), *_faulty(unreadable, not_finite, len(pictures))]
    names = tuple(picture.name for picture in pictures)
    measure = "probability" if _are_probabilities(net, variable) else "score"
    known_ways, count = described(ways), len(not_finite)
    return Predictions(
        names, tuple(answers), several, measure, unreadable, tuple(notes), known_ways, faults, count, seen.damaged
    )


def _faulty(unreadable: Sequence[str], not_finite: Sequence[str], images: int) -> list[str]:
    """Warnings, also in the log, on images that could not be read, and those (by name) whose scores are not finite."""
    found = []
    if not_finite:
        found.append(f"scores that are not finite numbers: {len(not_finite)} images, the first {not_finite[0]}")
    if unreadable:
        found.append(f"{len(unreadable)} of {images} images could not be read: {'; '.join(unreadable[:3])}")
    for fault in found:
        log.warning(fault)
    return found


def _are_probabilities(net: Network, variable: str) -> bool:
    inference = net.for_inference()
    name = inference.resolve(variable)
    return any(name in layer.outputs and layer.op.probabilities for layer in inference.layers.values())


def _rows(net: Network, variable: str, values: np.ndarray | None) -> np.ndarray:
    """Scores as images x classes; NetworkError for maps of scores."""
    if values is None:
        return np.empty((0, 0), np.float32)
    if values.ndim == 4 and values.shape[2:] != (1, 1):
        size = "x".join(map(str, values.shape))
        way = in_words("scores=, or an image_size", "--scores, or an --input-size")
        raise NetworkError(
            f"{net.source}: {variable!r} is {size}, a map of scores and not one row per image; name a variable that "
            f"has one with {way} that leaves one pixel"
        )
    return values.reshape(len(values), -1)


def _fitting(net: Network, classes: Classes, variable: str, outputs: int) -> Classes:
    """The classes; DataError where they are not as many as the variable has outputs."""
    if classes and len(classes) != outputs:
        raise DataError(
            f"{net.source}: {len(classes)} classes are named ({classes.source}), but {variable!r} scores {outputs}; "
            f"give as many names with {in_words('classes=', '--classes')}, or another variable with "
            f"{in_words('scores=', '--scores')}"
        )
    return classes


def _best(row: np.ndarray, top: int, classes: Classes) -> tuple[Answer, ...]:
    """The largest scores; of equal ones the first counts, and what is not a number comes last."""
    order = np.argsort(-np.where(np.isnan(row), -np.inf, row), kind="stable")[:top]
    ids = classes.wordnet_ids
    return tuple(
        Answer(classes[index] if classes else str(index), float(row[index]), ids[index] if ids else None, index)
        for index in map(int, order)
    )
