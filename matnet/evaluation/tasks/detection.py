"""Detection: boxes of objects, scored by the average precision of PASCAL VOC or COCO."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from matnet.errors import DataError, NetworkError, in_words, listing
from matnet.evaluation.classes import order_unstated, stated_names
from matnet.evaluation.coco import DETECTED, FIGURES, PROTOCOL, CocoEvaluation, coco_figures, require_pycocotools
from matnet.evaluation.detectors import (
    BACKGROUND,
    LIMITS,
    Detector,
    Found,
    detector_of,
    scored_classes,
    with_background,
)
from matnet.evaluation.record import Run
from matnet.evaluation.tasks.base import FEWEST, Given, Task
from matnet.metrics import NEITHER, RIGHT, AveragePrecision, matched_detections
from matnet.tables import Column, Table

if TYPE_CHECKING:
    from matnet.datasets import DetectionSet
    from matnet.images import Preprocessing
    from matnet.network import Network

OUTCOME = np.dtype([("score", "<f4"), ("class", "<i2"), ("right", "?")])
"""A counted detection: its score, its class in the data set, and whether it is correct."""


@dataclass(kw_only=True)
class DetectionEvaluation(Run):
    """The result of a detection on VOC, in percent: means over the classes with objects.

    mean_ap, class_ap: by the rule of the data set's year; the other two means: by each rule.
    """

    mean_ap: float
    mean_ap_11point: float
    mean_ap_area: float
    class_ap: dict[str, float]
    class_objects: dict[str, int]  # without difficult ones
    detections: int


@dataclass(frozen=True)
class DetectionCounts:
    """The detections in each image by number: rows of OUTCOME, or of DETECTED for COCO, best first in each class.

    objects: how many objects of each class there are. boxless: the images in which the network proposed no box.
    """

    objects: tuple[int, ...]
    not_finite: int = 0
    outcomes: Mapping[int, np.ndarray] = field(default_factory=dict)
    boxless: tuple[int, ...] = ()

    @property
    def images(self) -> int:
        return len(self.outcomes)

    def plus(self, other: DetectionCounts) -> DetectionCounts:
        objects = tuple(mine + more for mine, more in zip(self.objects, other.objects, strict=True))
        outcomes, boxless = {**self.outcomes, **other.outcomes}, tuple(sorted((*self.boxless, *other.boxless)))
        return DetectionCounts(objects, self.not_finite + other.not_finite, outcomes, boxless)

    def record(self) -> dict[str, Any]:
        packed = {str(k): base64.b64encode(self.outcomes[k].tobytes()).decode() for k in sorted(self.outcomes)}
        numbers = {"objects": self.objects, "not_finite": self.not_finite, "boxless": self.boxless}
        return {**numbers, "outcomes": packed}

    def precision(self) -> list[AveragePrecision]:
        """The average precision of each class. Ties in score are ordered by image number, as in VOC's result files."""
        rows = [self.outcomes[k] for k in sorted(self.outcomes)]
        found = np.concatenate(rows) if rows else np.empty(0, OUTCOME)
        precision = []
        for k, count in enumerate(self.objects):
            mine = found[found["class"] == k]
            order = np.argsort(-mine["score"], kind="stable")
            precision.append(AveragePrecision.of(mine["right"][order], count))
        return precision


@dataclass(frozen=True)
class Detection(Task["DetectionSet", DetectionCounts]):
    """Images, their objects and proposed boxes.

    detector: the network's inputs and outputs. order: the index in the data set of each class of the network, -1 for
    the background; None: the background first, then the data set's order. doubt: why the class order may be wrong.
    """

    name: ClassVar[str] = "detection"
    title: ClassVar[str] = "object detection, mean average precision in percent"
    data_set: ClassVar[str] = "DetectionSet"
    own_size: ClassVar[bool] = True
    protocol: ClassVar[str] = "VOC's average precision, overlap of 0.5"
    options: ClassVar[tuple[str, ...]] = ("year", "split", "proposals", "classes", "limit", "protocol")
    detector: Detector | None = None
    order: tuple[int, ...] | None = None
    doubt: str = ""

    @classmethod
    def load(cls, folder: str | Path, **given: Any) -> DetectionSet:
        from matnet.datasets import load_coco_objects, load_voc_objects
        from matnet.datasets.coco import is_coco

        if is_coco(folder):
            if given.get("year") is not None:
                raise DataError(f"{folder}: --year has no effect on COCO; choose a part with --split, such as val2017")
            return load_coco_objects(folder, given.get("split"), given.get("proposals"))
        return load_voc_objects(folder, given.get("year"), given.get("split") or "test", given.get("proposals"))

    @classmethod
    def made(
        cls, net: Network, data: DetectionSet, preprocessing: Preprocessing, variable: str, given: Given
    ) -> Detection:
        """Raises NetworkError for a network that is not a detector, DataError if proposals are needed but missing or
        if the network's classes are not those of the data set, EngineError if COCO's evaluation lacks pycocotools.
        """
        if data.coco is not None:
            require_pycocotools()
        detector = detector_of(net, variable)
        if detector.takes_proposals and data.proposals is None:
            raise DataError(
                f"{net.source}: needs proposed boxes as input {detector.boxes!r}; give those of selective search with "
                f"{in_words('proposals=FILE', '--proposals FILE')}"
            )
        names = stated_names(net, given.classes)[0] or given.named or ()
        doubt = ""
        if not names and given.order != "voc21":
            doubt = order_unstated()
        count = scored_classes(net, detector, preprocessing.channels)
        return cls(data, detector=detector, order=order_of(net, detector, data, names, count), doubt=doubt)

    @staticmethod
    def variable(net: Network, asked: str | None = None) -> str:
        return detector_of(net, asked).scores

    @classmethod
    def prepared(cls, net: Network, preprocessing: Preprocessing, variable: str) -> Preprocessing:
        return preprocessing.whole() if detector_of(net, variable).lists else preprocessing

    @property
    def beside(self) -> tuple[str, ...]:
        return self._detector.wanted[1:]

    @property
    def feeds(self) -> tuple[str, ...]:
        return self._detector.feeds

    @property
    def _detector(self) -> Detector:
        assert self.detector is not None
        return self.detector

    @property
    def paths(self) -> Sequence[Path]:
        return self.data.images

    @property
    def identity(self) -> dict[str, str]:
        return {**super().identity, "order of classes": str(self.order), "limits": str(LIMITS)}

    def read(self, number: int, preprocessing: Preprocessing, place: np.ndarray) -> None:
        """Read the network's inputs and the factor by which the image was resized; checks the annotated size."""
        index = number - self.first
        path, objects = self.paths[index], self.data.objects[index]
        if self._detector.lists:
            image, factor, size = preprocessing.load(path)[np.newaxis], 1.0, objects.size
        else:
            image, factor, size = preprocessing.within(path, LIMITS.shorter, LIMITS.longest)
        if size != objects.size:
            height, width = objects.size
            raise DataError(f"{path}: the image is {size[0]}x{size[1]}, but its annotation says {height}x{width}")
        place[0] = self._detector.inputs(image, factor, self._proposals(index)), factor

    def sized(self, preprocessing: Preprocessing) -> str:
        if self._detector.lists:
            height, width = preprocessing.image_size
            return f"resized to {height}x{width}"
        return f"shorter side {LIMITS.shorter}, longer side at most {LIMITS.longest}"

    def _proposals(self, index: int) -> np.ndarray | None:
        return None if self.data.proposals is None else self.data.proposals[index]

    @property
    def _kind(self) -> np.dtype:
        """The record of a detection."""
        return OUTCOME if self.data.coco is None else DETECTED

    def empty(self) -> DetectionCounts:
        return DetectionCounts((0,) * len(self.data.class_names))

    def counts_of(self, record: Any) -> DetectionCounts:
        outcomes = {
            int(number): np.frombuffer(base64.b64decode(text, validate=True), self._kind)
            for number, text in record["outcomes"].items()
        }
        objects = tuple(int(count) for count in record["objects"])
        if len(objects) != len(self.data.class_names):
            raise ValueError(f"it counts {len(objects)} classes")
        return DetectionCounts(objects, int(record["not_finite"]), outcomes, tuple(map(int, record["boxless"])))

    def count(self, scores: Any, numbers: Sequence[int], truths: Sequence[Any]) -> DetectionCounts:
        (number,), (factor,) = numbers, truths
        index = number - self.first
        values = scores if isinstance(scores, tuple) else (scores,)
        objects, order = self.data.objects[index], self._order(values[0])
        background = order.index(-1)
        found = self._detector.found(values, objects.size, factor, self._proposals(index), background)
        if self._detector.lists and self._detector.first and self.data.coco is not None:
            # SSD divides COCO's 0-based corners, which lie between pixels, by the image size.
            found = replace(found, boxes=found.boxes + np.array([1, 1, 0, 0], np.float32))
        outcomes = {number: self._outcomes(found, order, index)}
        return DetectionCounts(self._totals(index), int(not found.finite), outcomes)

    def without_boxes(self, numbers: Sequence[int]) -> DetectionCounts:
        """The counts of an image without detections."""
        (number,) = numbers
        return DetectionCounts(
            self._totals(number - self.first), 0, {number: np.empty(0, self._kind)}, boxless=(number,)
        )

    def _totals(self, index: int) -> tuple[int, ...]:
        """The number of objects of each class in an image, without difficult ones."""
        objects = self.data.objects[index]
        counted = objects.classes[~objects.difficult]
        return tuple(np.bincount(counted, minlength=len(self.data.class_names)).tolist())

    def _order(self, scores: np.ndarray) -> tuple[int, ...]:
        """The index in the data set of each class of the network. Raises NetworkError for a wrong number of scores."""
        order = self.order or (-1, *range(len(self.data.class_names)))
        if not self._detector.lists and scores.shape[1] != len(order):
            raise NetworkError(f"{scores.shape[1]} scores for each box; expected {len(order)}, one per class")
        return order

    def _outcomes(self, found: Found, order: tuple[int, ...], index: int) -> np.ndarray:
        if found.classes.size and found.classes.max() >= len(order):
            raise NetworkError(f"detection of class {found.classes.max()}; expected a class below {len(order)}")
        objects = self.data.objects[index]
        places = np.array(order)[found.classes]
        rows: list[tuple[Any, ...]] = []
        for k in np.unique(places[places >= 0]).tolist():
            mine = np.flatnonzero(places == k)
            mine = mine[np.argsort(-found.scores[mine], kind="stable")]
            true = objects.classes == k
            outcomes = matched_detections(found.boxes[mine], objects.boxes[true], objects.difficult[true]).tolist()
            scores = found.scores[mine].tolist()
            if self.data.coco is not None:
                boxes = map(tuple, found.boxes[mine].tolist())
                items = zip(scores, outcomes, boxes, strict=True)
                rows += [(score, k, what == RIGHT, box) for score, what, box in items]
            else:
                rows += [
                    (score, k, what == RIGHT) for score, what in zip(scores, outcomes, strict=True) if what != NEITHER
                ]
        return np.array(rows, self._kind)

    def result(self, counts: DetectionCounts, common: dict[str, Any]) -> DetectionEvaluation | CocoEvaluation:
        from matnet.datasets.scan import first_few

        objects = dict(zip(self.data.class_names, counts.objects, strict=True))
        detections = sum(map(len, counts.outcomes.values()))
        found: DetectionEvaluation | CocoEvaluation
        if self.data.coco is not None:
            figures, own = coco_figures(self.data.coco, counts.outcomes)
            common = {**common, **figures, "protocol": PROTOCOL}
            found = CocoEvaluation(**common, class_ap=self._known(own), class_objects=objects, detections=detections)
        else:
            eleven, area = ([getattr(item, rule) for item in counts.precision()] for rule in ("eleven_points", "area"))
            own = eleven if self._samples else area
            found = DetectionEvaluation(
                **common,
                mean_ap=_mean(own),
                mean_ap_11point=_mean(eleven),
                mean_ap_area=_mean(area),
                class_ap=self._known(own),
                class_objects=objects,
                detections=detections,
            )
        if counts.boxless:
            names = first_few([self.paths[number - self.first].name for number in counts.boxless])
            found.notes.append(f"images for which the network proposes no box ({len(counts.boxless)}): {names}")
        absent = [name for name, count in objects.items() if not count]
        if absent:
            found.notes.append(f"classes without objects ({len(absent)}) are left out of the mean: {', '.join(absent)}")
        return found

    @property
    def _samples(self) -> bool:
        """Whether average precision is the mean at eleven recall levels."""
        from matnet.datasets.objects import SAMPLES_2007

        return self.data.year <= SAMPLES_2007

    def _known(self, values: Sequence[float]) -> dict[str, float]:
        """Figures by class, for the classes with objects."""
        return {name: value for name, value in zip(self.data.class_names, values, strict=True) if value == value}

    def doubts(self, counts: DetectionCounts) -> list[str]:
        total = sum(counts.objects)
        right = sum(int(rows["right"].sum()) for rows in counts.outcomes.values())
        doubts = [self.doubt] if self.doubt else []
        if not total:
            doubts.append("no image has an object that counts")
        if total >= FEWEST and not right:
            doubts.append(f"found none of {total} objects; boxes, classes or preprocessing may be another network's")
        return doubts

    def running(self, counts: DetectionCounts) -> str:
        if self.data.coco is not None:  # its average precision takes minutes
            return f"{sum(map(len, counts.outcomes.values())):,} detections" if counts.images else ""
        own = [item.eleven_points if self._samples else item.area for item in counts.precision()]
        return f"mean AP {_mean(own):.2f} %" if sum(counts.objects) else ""

    def brief(self, counts: DetectionCounts) -> str:
        """Empty: computing the figures takes as long as running the network on an image."""
        return ""

    @classmethod
    def report(cls, runs: Sequence[Run]) -> list[Table]:
        columns = COCO_COLUMNS if any(isinstance(run, CocoEvaluation) for run in runs) else COLUMNS
        found = [Table(columns, [run.record() for run in runs])]
        if len(runs) == 1 and isinstance(runs[0], (DetectionEvaluation, CocoEvaluation)):
            objects = runs[0].class_objects
            rows = [{"class": name, "ap": ap, "objects": objects[name]} for name, ap in runs[0].class_ap.items()]
            columns = (
                Column("class", "class"),
                Column("ap", "AP", "right", places=2),
                Column("objects", "objects", "right"),
            )
            found.append(Table(columns, rows))
        return found


COLUMNS = (
    Column("model", "model"),
    Column("mean_ap", "mean AP", "right", places=2),
    Column("mean_ap_11point", "by 11 points", "right", places=2),
    Column("mean_ap_area", "by area", "right", places=2),
    Column("images_per_s", "images/s", "right", places=1),
)


COCO_COLUMNS = (
    Column("model", "model"),
    *(Column(name, name.replace("_", " ").replace("ap", "AP"), "right", places=2) for name in FIGURES),
    Column("images_per_s", "images/s", "right", places=1),
)


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if value == value]
    return sum(known) / len(known) if known else float("nan")


def order_of(
    net: Network, detector: Detector, data: DetectionSet, names: Sequence[str], count: int | None
) -> tuple[int, ...] | None:
    """As `class_places`. Raises DataError if the names do not match the `count` classes that the network scores."""
    background = None if detector.classes is None else detector.classes[1]
    order = class_places(with_background(net, detector, names, count), data.class_names)
    expected = len(data.class_names) + 1
    if count not in (None, expected):
        raise DataError(
            f"{net.source}: {detector.scores!r} scores {count} classes; expected {expected}: those of {data.name} and "
            "the background; give a data set with the detector's classes"
        )
    if background is None:
        return order
    order = order or (*range(background), -1, *range(background, expected - 1))
    if order.index(-1) != background:
        raise DataError(
            f"{net.source}: the class names have the background as class {order.index(-1)}, but "
            f"{detector.scores!r} as class {background}; give the names in the network's order with "
            f"{in_words('classes=', '--classes')}"
        )
    return order


def class_places(given: Sequence[str], wanted: Sequence[str]) -> tuple[int, ...] | None:
    """The index in the data set of each class of a network, -1 for the background; None if no names are given.

    Raises DataError if the network's classes are not the data set's classes and a background.
    """
    if not given:
        return None
    places = {name.casefold(): place for place, name in enumerate(wanted)}
    names = [name.casefold().strip() for name in given]
    faults = [f"only the data set has: {name}" for name in places if name not in names]
    faults += [f"only the network has: {name}" for name in names if name not in (*places, *BACKGROUND)]
    if sum(name in BACKGROUND for name in names) != 1:
        faults.append("none of the network's classes is the background")
    if faults or len(set(names)) < len(names):
        raise DataError(
            listing(f"the network has {len(given)} classes, the data set {len(wanted)}; they must be the same:", faults)
        )
    return tuple(places.get(name, -1) for name in names)
