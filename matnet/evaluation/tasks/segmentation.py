"""Segmentation: every image at its own size, one confusion matrix for the whole data set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from matnet.errors import DataError, NetworkError, listing
from matnet.evaluation.classes import order_unstated, stated_names
from matnet.evaluation.label_images import write_label_image
from matnet.evaluation.record import Run
from matnet.evaluation.scores import another_variable
from matnet.evaluation.tasks.base import Given, Task, chance_doubt
from matnet.files import check_outputs, make_folder
from matnet.kinds import IMAGE
from matnet.metrics import ConfusionMatrix
from matnet.tables import Column, Table

if TYPE_CHECKING:
    from matnet.datasets import SegmentationSet
    from matnet.images import Preprocessing
    from matnet.network import Network

COLOR_HHA = ("color", "hha")
"""The inputs of FCN's network for an image and its depth."""
HHA_MEAN = (132.431, 94.076, 118.477)
"""The mean that FCN's data layer for NYUDv2 subtracts from the channels of HHA, in stored order."""
PROTOCOL = "argmax at own size"
"""Images at their own size, the mean subtracted, the largest score of each pixel, void pixels left out."""


@dataclass(kw_only=True)
class SegmentationEvaluation(Run):
    """The result of a segmentation: the FCN paper's figures in percent; classes absent from the data set count as 0."""

    mean_iou: float
    pixel_accuracy: float
    mean_class_accuracy: float
    frequency_weighted_iu: float
    class_iou: dict[str, float]
    pixels: int  # without void ones


@dataclass(frozen=True)
class PixelCounts:
    """The confusion matrix of all pixels, and numbers of images.

    not_finite: images with NaN or infinite scores. mixed: images with at least two true classes; better: those of them
    with more correct pixels than expected if the labels were independent of the truth.
    """

    matrix: ConfusionMatrix
    images: int = 0
    not_finite: int = 0
    mixed: int = 0
    better: int = 0

    def plus(self, other: PixelCounts) -> PixelCounts:
        matrix = ConfusionMatrix(len(self.matrix.counts), self.matrix.void)
        matrix.merge(self.matrix)
        matrix.merge(other.matrix)
        return PixelCounts(
            matrix,
            self.images + other.images,
            self.not_finite + other.not_finite,
            self.mixed + other.mixed,
            self.better + other.better,
        )

    def record(self) -> dict[str, Any]:
        numbers = {name: getattr(self, name) for name in ("images", "not_finite", "mixed", "better")}
        return {"matrix": self.matrix.counts.tolist(), **numbers}


@dataclass(frozen=True)
class Segmentation(Task["SegmentationSet", PixelCounts]):
    """Images and the class of each pixel.

    order: the index in the data set of each class of the network; None if they agree. save: a folder for the predicted
    labels. doubt: why the class order may be wrong, or "". inputs: the names of the two inputs of a network that also
    takes the data set's `beside` images; empty for a single image.
    """

    name: ClassVar[str] = "segmentation"
    title: ClassVar[str] = "semantic segmentation, percent"
    data_set: ClassVar[str] = "SegmentationSet"
    own_size: ClassVar[bool] = True
    protocol: ClassVar[str] = PROTOCOL
    options: ClassVar[tuple[str, ...]] = ("year", "split", "sbd", "kind", "save", "classes", "limit")
    order: np.ndarray | None = field(default=None, compare=False)
    save: Path | None = None
    doubt: str = ""
    inputs: tuple[str, ...] = ()

    @classmethod
    def load(cls, folder: str | Path, **given: Any) -> SegmentationSet:
        from matnet.datasets import load_segmentations

        return load_segmentations(folder, *(given.get(name) for name in ("year", "split", "sbd", "kind")))

    @classmethod
    def made(
        cls, net: Network, data: SegmentationSet, preprocessing: Preprocessing, variable: str, given: Given
    ) -> Segmentation:
        """The task, with the network's classes aligned with the data set's by name.

        Raises DataError if the network's classes are not those of the data set. Creates the folder `save` if necessary.
        """
        names = stated_names(net, given.classes)[0]
        if not names and given.named is not None and len(given.named) == len(data.class_names):
            names = given.named
        in_card = given.order == VOC21 or all(name in (given.order or "") for name in data.class_names)
        doubt = "" if names or in_card else order_unstated()
        save = None if given.save is None else given.save.absolute()  # workers have other folders
        if save is not None:
            make_folder(save)
            written = ((save / f"{image.stem}.png", IMAGE) for image in data.images)
            check_outputs(written, [*data.images, *data.labels])
        order = class_order(names, data.class_names)
        return cls(data, order=order, save=save, doubt=doubt, inputs=_two_inputs(net, data))

    @classmethod
    def scored(cls, net: Network, data: SegmentationSet) -> str | None:
        name = data.stored.scored if data.stored is not None else ""
        return name if name in net.for_inference().outputs else None

    @property
    def paths(self) -> Sequence[Path]:
        return self.data.images

    @property
    def identity(self) -> dict[str, str]:
        order = "as the data set" if self.order is None else " ".join(map(str, self.order.tolist()))
        second = {"inputs": f"{', '.join(self.inputs)}, less {HHA_MEAN}"} if self.inputs else {}
        return {**super().identity, "order of classes": order, "saved labels": str(self.save or ""), **second}

    @property
    def feeds(self) -> tuple[str, ...]:
        return self.inputs

    def read(self, number: int, preprocessing: Preprocessing, place: np.ndarray) -> None:
        """Read the image, or both inputs by name, and the true labels; checks their size."""
        path = self.paths[number - self.first]
        image, truth = preprocessing.native(path), self.data.truth(number - self.first)
        if image.shape[2:] != truth.shape:
            height, width = truth.shape
            size = f"{image.shape[2]}x{image.shape[3]}"
            raise DataError(f"{path}: the image is {size}, but its labels are {height}x{width}")
        place[0] = self._with_second(image, number, preprocessing), truth

    def _with_second(self, image: np.ndarray, number: int, preprocessing: Preprocessing) -> Any:
        """The image, or for a network with two inputs both by name. Raises DataError if sizes differ."""
        if not self.inputs:
            return image
        path = self.data.beside[number - self.first]
        second = read_hha(path, preprocessing)
        if second.shape != image.shape:
            raise DataError(f"{path}: has shape {second.shape[1:]}, but its image has {image.shape[1:]}")
        return dict(zip(self.inputs, (image, second), strict=True))

    def empty(self) -> PixelCounts:
        return PixelCounts(ConfusionMatrix(len(self.data.class_names), self.data.void))

    def counts_of(self, record: Any) -> PixelCounts:
        matrix = ConfusionMatrix(len(self.data.class_names), self.data.void)
        counts = np.array(record["matrix"], dtype=np.int64)
        if counts.shape != matrix.counts.shape:
            raise ValueError(f"its confusion matrix has shape {counts.shape}, expected {matrix.counts.shape}")
        matrix.counts[...] = counts
        return PixelCounts(matrix, *(int(record[name]) for name in ("images", "not_finite", "mixed", "better")))

    def count(self, scores: np.ndarray, numbers: Sequence[int], truths: Sequence[Any]) -> PixelCounts:
        (number,), (truth,) = numbers, truths
        labels = self._labels(scores, truth.shape)
        if self.save is not None:
            write_label_image(self.save / f"{self.paths[number - self.first].stem}.png", labels)
        matrix = ConfusionMatrix(len(self.data.class_names), self.data.void)
        matrix.update(labels, truth)
        true, given = matrix.counts.sum(axis=1), matrix.counts.sum(axis=0)
        mixed = int((true > 0).sum() > 1)
        # Compares with the number expected if labels were independent of the truth; both sides times the pixel count.
        better = int(int(np.trace(matrix.counts)) * int(true.sum()) > int((true * given).sum()))
        return PixelCounts(matrix, 1, int(not np.isfinite(scores).all()), mixed, mixed * better)

    def _labels(self, scores: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
        classes = len(self.data.class_names)
        if scores.shape != (1, classes, *size):
            found = "x".join(map(str, scores.shape[1:]))
            raise NetworkError(
                f"the scored variable is {found} for an image of {size[0]}x{size[1]}; expected "
                f"{classes} scores per pixel ({classes}x{size[0]}x{size[1]}); "
                f"{another_variable()}"
            )
        labels = scores[0].argmax(axis=0)
        return labels if self.order is None else self.order[labels]

    def result(self, counts: PixelCounts, common: dict[str, Any]) -> SegmentationEvaluation:
        stored = self.data.stored
        found = counts.matrix.result(present_only=stored is not None and stored.present_only)
        return SegmentationEvaluation(
            **common,
            mean_iou=found.mean_iu,
            pixel_accuracy=found.pixel_accuracy,
            mean_class_accuracy=found.mean_accuracy,
            frequency_weighted_iu=found.frequency_weighted_iu,
            class_iou=dict(zip(self.data.class_names, found.iu, strict=True)),
            pixels=found.pixels,
        )

    def doubts(self, counts: PixelCounts) -> list[str]:
        chance = chance_doubt(counts.better, counts.mixed, 0.5, "the pixel accuracy, image by image,")
        return [*([self.doubt] if self.doubt else []), *chance]

    def running(self, counts: PixelCounts) -> str:
        return f"mean IoU {counts.matrix.result().mean_iu:.2f} %" if counts.images else ""

    @classmethod
    def report(cls, runs: Sequence[Run]) -> list[Table]:
        found = [Table(COLUMNS, [run.record() for run in runs])]
        if len(runs) == 1 and isinstance(runs[0], SegmentationEvaluation):
            rows = [{"class": name, "iou": value} for name, value in runs[0].class_iou.items()]
            found.append(Table((Column("class", "class"), Column("iou", "IoU", "right", places=2)), rows))
        return found


COLUMNS = (
    Column("model", "model"),
    Column("mean_iou", "mean IoU", "right", places=2),
    Column("pixel_accuracy", "pixel accuracy", "right", places=2),
    Column("mean_class_accuracy", "mean class accuracy", "right", places=2),
    Column("frequency_weighted_iu", "frequency weighted IoU", "right", places=2),
    Column("images_per_s", "images/s", "right", places=1),
)
VOC21 = "voc21"
"""The name in model cards of PASCAL VOC's class order, background first."""


def _two_inputs(net: Network, images: SegmentationSet) -> tuple[str, ...]:
    """COLOR_HHA if the network has these inputs and the data set both kinds of images, which are checked; else none."""
    if not images.beside or set(net.for_inference().data_inputs()) != set(COLOR_HHA):
        return ()
    images.check_beside()
    return COLOR_HHA


def read_hha(path: Path, preprocessing: Preprocessing) -> np.ndarray:
    """HHA, 1 x 3 x H x W float32: the stored channels minus HHA_MEAN. Raises DataError for other files."""
    return replace(preprocessing, mean=np.array(HHA_MEAN, np.float32), color="rgb").native(path)


def class_order(given: Sequence[str], wanted: Sequence[str]) -> np.ndarray | None:
    """The index in the data set of each class of a network; None if they agree or the network has no class names.

    Raises DataError if the network's classes are not those of the data set.
    """
    if not given or list(given) == list(wanted):
        return None
    places = {name.casefold(): place for place, name in enumerate(wanted)}
    names = [name.casefold() for name in given]
    missing = [name for name in wanted if name.casefold() not in names]
    foreign = [name for name in given if name.casefold() not in places]
    if missing or foreign or len(names) != len(places):
        faults = [f"only the data set has: {name}" for name in missing]
        faults += [f"only the network has: {name}" for name in foreign]
        raise DataError(
            listing(f"the network has {len(given)} classes, the data set {len(wanted)}; they must be the same:", faults)
        )
    return np.array([places[name] for name in names])
