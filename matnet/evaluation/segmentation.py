"""A segmentation set through a network: every image at its own size, one confusion matrix over the whole set."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from matnet.engines import EngineOptions
from matnet.engines.device import processors
from matnet.errors import DataError, FileFormatError, NetworkError, listing
from matnet.evaluation.ahead import in_order
from matnet.evaluation.label_images import write_label_image
from matnet.evaluation.loop import score_variable
from matnet.evaluation.provenance import Course, provenance
from matnet.evaluation.record import Run
from matnet.files import check_outputs
from matnet.kinds import IMAGE
from matnet.meta import class_names
from matnet.network import Network

if TYPE_CHECKING:
    from matnet.datasets import SegmentationSet
    from matnet.images import Preprocessing
    from matnet.metrics import ConfusionMatrix

PROTOCOL = "argmax at own size"
"""Images at their own size, the mean subtracted, the largest score of each pixel, void pixels left out."""


@dataclass(kw_only=True)
class SegmentationEvaluation(Run):
    """A row of a segmentation: figures of the FCN paper in percent; a class that the set lacks counts as 0 in means."""

    mean_iou: float
    pixel_accuracy: float
    mean_class_accuracy: float
    frequency_weighted_iu: float
    class_iou: dict[str, float]
    pixels: int  # that are not void


@dataclass
class _Sample:
    """One image, ready for the network, and its true labels; or why it cannot be used."""

    index: int
    image: np.ndarray | None = None
    truth: np.ndarray | None = None
    fault: str = ""


def evaluate_segmentation(
    net: Network,
    images: SegmentationSet,
    preprocessing: Preprocessing,
    *,
    scores: str | None = None,
    engine: EngineOptions | None = None,
    workers: int | None = None,
    save: Path | None = None,
    progress: Callable[[int], Any] | None = None,
    **options: Any,
) -> SegmentationEvaluation:
    """Mean IoU and the accuracies of `net` over `images`, one by one, each at its own size.

    scores: the variable N x classes x H x W, as high and wide as the image (default: the network's last output).
    save: a folder for the labels that the network gives, one PNG per image with VOC's palette; made where it is not.
    Images that cannot be read, or do not fit their labels, are named in `unreadable` and left out. Raises NetworkError
    for scores that are no map of the image's size, DataError for other classes than the set's.
    """
    variable = score_variable(net, scores)
    compiled = net.compile([variable], options=engine, **options)
    if len(compiled.inputs) != 1:
        raise NetworkError(f"{net.source}: {variable!r} needs {len(compiled.inputs)} inputs, expected one image")
    order = class_order(class_names(net) or (), images.class_names)
    if save is not None:
        save.mkdir(parents=True, exist_ok=True)
        written = ((save / f"{image.stem}.png", IMAGE) for image in images.images)
        check_outputs(written, [*images.images, *images.labels])
    started = time.perf_counter()
    scorer = _Scorer(net, compiled, variable, images, order, save)
    read = partial(_sample, images, preprocessing)
    for sample in in_order(read, range(len(images)), workers or processors()):
        scorer.take(sample)
        if progress is not None:
            progress(1)
    return scorer.evaluation(preprocessing, time.perf_counter() - started)


def class_order(given: Sequence[str], wanted: Sequence[str]) -> np.ndarray | None:
    """For each class of a network its place in the set's; None where they agree, or the network does not name them.

    Raises DataError where the network's classes are not the set's.
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
        raise DataError(listing(f"{len(given)} classes of the network, {len(wanted)} of the data set:", faults))
    return np.array([places[name] for name in names])


def described(preprocessing: Preprocessing) -> str:
    """How images are prepared, in one line."""
    colour = "gray" if preprocessing.channels == 1 else preprocessing.color.upper()
    mean = "no mean"
    if preprocessing.mean is not None:
        values = preprocessing.mean.reshape(-1, preprocessing.channels).mean(axis=0, dtype=np.float64)
        mean = f"minus mean ({', '.join(f'{value:.6g}' for value in values)})"
    return f"own size, {colour}, {mean}"


class _Scorer:
    """Runs samples, counts their pixels, keeps their labels where that is asked for."""

    def __init__(
        self,
        net: Network,
        engine: Any,
        variable: str,
        images: SegmentationSet,
        order: np.ndarray | None,
        save: Path | None,
    ) -> None:
        from matnet.metrics import ConfusionMatrix

        self.net, self.engine, self.variable = net, engine, variable
        self.images, self.order, self.save = images, order, save
        self.matrix: ConfusionMatrix = ConfusionMatrix(len(images.class_names), void=images.void)
        self.course = Course()

    def take(self, sample: _Sample) -> None:
        if sample.image is None or sample.truth is None:
            self.course.unreadable.append(sample.fault)
            return
        before = time.perf_counter()
        scores = self.engine(sample.image)[self.variable]
        self.course.network_seconds += time.perf_counter() - before
        labels = self._labels(scores, sample.truth.shape)
        self.matrix.update(labels, sample.truth)
        if self.save is not None:
            write_label_image(self.save / f"{self.images.images[sample.index].stem}.png", labels)
        self.course.images += 1

    def _labels(self, scores: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
        classes = len(self.images.class_names)
        if scores.shape != (1, classes, *size):
            found = "x".join(map(str, scores.shape[1:]))
            raise NetworkError(
                f"{self.net.source}: {self.variable!r} is {found} for an image of {size[0]}x{size[1]}; expected "
                f"{classes} scores for each of its pixels ({classes}x{size[0]}x{size[1]}); name another with --scores"
            )
        labels = scores[0].argmax(axis=0)
        return labels if self.order is None else self.order[labels]

    def evaluation(self, preprocessing: Preprocessing, seconds: float) -> SegmentationEvaluation:
        images, net = self.images, self.net
        self.course.seconds = seconds
        if not self.course.images:
            first = self.course.unreadable[0] if self.course.unreadable else "it is empty"
            raise DataError(f"{images.name}: none of its {len(images)} images could be used; first: {first}")
        result = self.matrix.result()
        return SegmentationEvaluation(
            **provenance(net, self.engine, images, self.course, images.notes),
            preprocessing=described(preprocessing),
            protocol=PROTOCOL,
            scores=self.variable,
            batch_size=1,
            mean_iou=result.mean_iu,
            pixel_accuracy=result.pixel_accuracy,
            mean_class_accuracy=result.mean_accuracy,
            frequency_weighted_iu=result.frequency_weighted_iu,
            class_iou=dict(zip(images.class_names, result.iu, strict=True)),
            pixels=result.pixels,
        )


def _sample(images: SegmentationSet, preprocessing: Preprocessing, index: int) -> _Sample:
    """Read one image and its labels; what is wrong with either is told in `fault`."""
    path = images.images[index]
    try:
        image, truth = preprocessing.native(path), images.truth(index)
    except (DataError, FileFormatError) as error:
        return _Sample(index, fault=str(error))
    if image.shape[2:] != truth.shape:
        height, width = truth.shape
        size = f"{image.shape[2]}x{image.shape[3]}"
        return _Sample(index, fault=f"{path}: is {size}, its labels {height}x{width}; they must agree")
    return _Sample(index, image, truth)
