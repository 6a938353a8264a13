"""`net.classify`: the best classes of images and their probabilities, as a table."""

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
from matnet.datasets.matching import IMAGENET
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
        lambda value: value is None or PATH.accepts(value) or all_texts(value), "names, a file of names, or 'ilsvrc12'"
    ),
    "scores": TEXT.or_none(),
    "progress": FUNCTION.or_none(),
}
"""The accepted values of the keywords of `classify`."""


def nameless(outputs: int | None) -> str:
    """The note on a network without class names. outputs: how many classes it scores, if known."""
    of_python = "net.classes = ... or classes=... (a list, or a file with a class per line)"
    ways = [in_words(of_python, "--classes FILE (a class per line)")]
    if outputs == IMAGENET:
        ways.append(in_words("'ilsvrc12'", "--classes ilsvrc12") + " (the 1000 of ImageNet)")
    return f"the network's file has no class names, so classes are numbered from 0; name them with {', or '.join(ways)}"


@dataclass(frozen=True)
class Answer:
    """One class: its name, its probability (or score), its WordNet id if known, and its index among the outputs."""

    name: str
    probability: float
    wordnet_id: str | None
    index: int


@dataclass(frozen=True)
class Predictions:
    """The best classes of one or several images, as a table: text, HTML in a notebook, plain data by `to_dicts`.

    images: their names. answers: the classes of each image, best first; empty for an unreadable image. several: whether
    the input was a list or a folder; then the table has a row per image, else one per class. measure: `probability`
    after a softmax, else `score`. unreadable: the errors of skipped images. notes: remarks and warnings. not_finite:
    the number of images with NaN or infinite scores. damaged: the params with NaN or infinite values, and how many.
    runtime: the runtime of the onnx backend; with the image ranges if it changed during the run.
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
        """A dict per image: `image`, and either `top` (its classes, best first) or `error`."""
        return [
            {"image": image, "top": [self._plain(answer) for answer in answers]}
            if answers
            else {"image": image, "error": self._faults.get(number, "cannot be read")}
            for number, (image, answers) in enumerate(zip(self.images, self.answers, strict=True))
        ]

    def to_dicts(self) -> list[dict[str, Any]]:
        """A dict per row. One image: class, probability, wordnet_id, index of each class.

        Several images: image, the same fields of its best class, and `top` with all classes; or `error` if unreadable.
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
        raise NetworkError(f"{net.source}: this network is a detector: it scores boxes, not images; use {way}")
    prepared, engine = chosen(net, preprocessing, keywords)
    variable = score_variable(net, scores)
    known = net.classes if classes is None else stated_classes(classes)
    seen, not_finite = Seen(), []
    answers: list[tuple[Answer, ...]] = [()] * len(pictures)
    faults: dict[int, str] = {}
    ways: dict[str, Ranges] = {}
    outputs = 0
    for batch in batches(net, pictures, [variable], prepared, engine, seen):
        faults.update(batch.faults)
        ways = merged(ways, batch.ways)
        if progress is not None:
            progress(len(batch.numbers) + len(batch.faults))
        rows = _rows(net, variable, batch.values.get(variable))
        outputs = rows.shape[1] or outputs
        for number, row in zip(batch.numbers, rows, strict=True):
            if not np.isfinite(row).all():
                not_finite.append(pictures[number].name)
            answers[number] = _best(row, top, _fitting(net, known, variable, len(row)))
    unreadable = tuple(faults[number] for number in sorted(faults))
    if len(faults) == len(pictures):
        raise DataError(unreadable[0] if len(faults) == 1 else "\n".join(["no image could be read:", *unreadable[:20]]))
    about = [*seen.notes(prepared.exif), *([] if known else [nameless(outputs)])]
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
    """Warnings, also logged, on unreadable images, and on images (by name) with NaN or infinite scores."""
    found = []
    if not_finite:
        found.append(f"images with NaN or infinite scores: {len(not_finite)}, the first is {not_finite[0]}")
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
    """Scores as images x classes. Raises NetworkError for score maps."""
    if values is None:
        return np.empty((0, 0), np.float32)
    if values.ndim == 4 and values.shape[2:] != (1, 1):
        size = "x".join(map(str, values.shape))
        scores, image_size = in_words("scores=", "--scores"), in_words("image_size=", "--input-size")
        raise NetworkError(
            f"{net.source}: {variable!r} is a score map of {size}, expected one pixel; name another variable with "
            f"{scores}, or give the size that the network was trained for with {image_size}"
        )
    return values.reshape(len(values), -1)


def _fitting(net: Network, classes: Classes, variable: str, outputs: int) -> Classes:
    """The classes. Raises DataError if the variable has another number of outputs."""
    if classes and len(classes) != outputs:
        raise DataError(
            f"{net.source}: {len(classes)} class names ({classes.source}), but {variable!r} scores {outputs}; "
            f"give {outputs} names with {in_words('classes=', '--classes')}, or another variable with "
            f"{in_words('scores=', '--scores')}"
        )
    return classes


def _best(row: np.ndarray, top: int, classes: Classes) -> tuple[Answer, ...]:
    """The largest scores, in descending order; ties keep the order of the classes, and NaN comes last."""
    order = np.argsort(-np.where(np.isnan(row), -np.inf, row), kind="stable")[:top]
    ids = classes.wordnet_ids
    return tuple(
        Answer(classes[index] if classes else str(index), float(row[index]), ids[index] if ids else None, index)
        for index in map(int, order)
    )
