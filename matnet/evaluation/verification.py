"""Pairs of faces through a network: are they one person's? By the distance of descriptors, as LFW's protocol judges."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from matnet.engines import EngineOptions, engine_options
from matnet.engines.batches import Halving, combining_layer
from matnet.errors import DataError, NetworkError
from matnet.evaluation.pipeline import Done, Pipeline
from matnet.evaluation.provenance import Course, provenance
from matnet.evaluation.record import Run
from matnet.evaluation.scoring import averaged
from matnet.evaluation.streams import SPARE_BATCHES, batch_memory, choose_streams, compile_ahead, crew_for
from matnet.evaluation.tally import batches_left
from matnet.network import Network
from matnet.ops.convolution import Conv

if TYPE_CHECKING:
    from matnet.datasets import PairSet
    from matnet.images import Preprocessing

PROTOCOL = "LFW, threshold of each fold chosen on the others"
FACE_CROP = 1.3 / 2.2
"""The part of an LFW image that is taken: the detector's box, of which the images are 2.2 times, with 0.3 around it."""


@dataclass(kw_only=True)
class VerificationEvaluation(Run):
    """A row of a verification, in percent: mean and standard error over the folds, and the whole set's ROC curve."""

    accuracy: float
    standard_error: float
    equal_error_rate: float
    auc: float
    pairs: int
    fold_accuracies: list[float]
    fold_thresholds: list[float]
    roc: dict[str, list[float]] = field(default_factory=dict)  # corners of the curve: rates, and their thresholds


def descriptor_variable(net: Network, asked: str | None = None) -> str:
    """The variable that describes a face: `asked`, else what goes into the last inner product (a Conv whose output is
    one pixel, as all of MatConvNet's are): under `fc8` of VGG-Face, behind the ReLU of fc7.

    NetworkError where there is no convolution, or `asked` does not exist.
    """
    if asked is not None:
        net.resolve(asked)
        return asked
    inference = net.for_inference()
    last = [layer for layer in inference.layers.values() if isinstance(layer.op, Conv)]
    if not last:
        raise NetworkError(f"{net.source}: has no convolution or inner product to describe faces by; name a variable")
    return last[-1].inputs[0]


def evaluate_verification(
    net: Network,
    pairs: PairSet,
    preprocessing: Preprocessing,
    *,
    scores: str | None = None,
    engine: EngineOptions | None = None,
    batch_size: int = 32,
    workers: int | None = None,
    strict: bool = False,
    progress: Callable[[int], Any] | None = None,
    say: Callable[[str], Any] | None = None,
    **options: Any,
) -> VerificationEvaluation:
    """Verification accuracy of `net` over `pairs`, by the Euclidean distance of descriptors of unit length.

    Each image goes through the network once; descriptors of several views are averaged. scores: the variable that
    describes a face (default: see `descriptor_variable`); all its values count, whatever its height and width.
    workers: threads that decode, by default one per processor. Pairs with an image that cannot be read are left out,
    their images named in `unreadable`. Raises NetworkError for descriptors that are all zero.
    """
    camera = _Camera(net, preprocessing, scores, engine_options(engine, **options), batch_size, strict, say)
    places = {path: place for place, path in enumerate(pairs.images)}
    described = camera.describe(pairs.images, workers, progress)
    if not described.course.images:
        raise DataError(f"{pairs.name}: none of its images could be read; first: {described.course.unreadable[0]}")
    first, second = (np.array([places[pair[side]] for pair in pairs.pairs]) for side in (0, 1))
    usable = described.known[first] & described.known[second]
    distances = descriptor_distances(described.values, first[usable], second[usable])
    return VerificationEvaluation(
        **provenance(net, camera.engine, pairs, described.course, pairs.notes),
        **_figures(distances, pairs.same[usable], pairs.fold[usable]),
        preprocessing=preprocessing.describe(),
        protocol=PROTOCOL,
        scores=camera.variable,
        batch_size=camera.halving.limit or batch_size,
        batch_halved_from=camera.halving.halved_from,
    )


def descriptor_distances(descriptors: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Euclidean distances between rows of `descriptors` (N x D), each divided by its own length; in double precision.

    Raises NetworkError for a row that is zero, or not finite.
    """
    distances = []
    for pair in zip(first.tolist(), second.tolist(), strict=True):
        one, other = (_unit(descriptors[place]) for place in pair)
        distances.append(float(np.sqrt(((one - other) ** 2).sum())))
    return np.array(distances)


def _unit(descriptor: np.ndarray) -> np.ndarray:
    values = descriptor.astype(np.float64)
    length = np.sqrt((values * values).sum())
    if not (np.isfinite(length) and length):
        raise NetworkError("a face's descriptor is all zero or not finite; name another variable with --scores")
    return values / length


@dataclass
class _Described:
    values: np.ndarray  # a descriptor per image
    known: np.ndarray  # whether the image could be read
    course: Course


class _Camera:
    """A network made ready to describe images."""

    def __init__(
        self,
        net: Network,
        preprocessing: Preprocessing,
        scores: str | None,
        options: EngineOptions,
        batch_size: int,
        strict: bool,
        say: Callable[[str], Any] | None,
    ) -> None:
        self.preprocessing = preprocessing
        self.variable = descriptor_variable(net, scores)
        self.streams = choose_streams(options)
        self.engine = net.compile([self.variable], options=replace(options, threads=self.streams.threads))
        if len(self.engine.inputs) != 1:
            count = len(self.engine.inputs)
            raise NetworkError(f"{net.source}: {self.variable!r} needs {count} inputs; evaluation feeds one image")
        self.halving = Halving(self.engine, strict, say)
        self.images_per_batch = max(1, batch_size // preprocessing.views)

    def describe(
        self, paths: Sequence[Path], decoders: int | None, progress: Callable[[int], Any] | None
    ) -> _Described:
        """The descriptors of all images, one row each: the mean over an image's views."""
        course, started = Course(), time.perf_counter()
        values: np.ndarray = np.zeros((len(paths), 0), np.float32)
        known = np.ones(len(paths), bool)
        faults: dict[int, str] = {}
        for done in self._pipeline(paths, decoders):
            course.network_seconds += done.seconds / self.streams.count
            if done.value is not None:
                if not values.shape[1]:
                    values = np.zeros((len(paths), done.value.shape[1]), np.float32)
                values[done.span.start : done.span.stop] = done.value
            faults.update(done.faults)
            if progress is not None:
                progress(len(done.span))
        known[list(faults)] = False
        course.unreadable = [faults[place] for place in sorted(faults)]
        course.images = int(known.sum())
        course.seconds = time.perf_counter() - started
        return _Described(values, known, course)

    def _pipeline(self, paths: Sequence[Path], decoders: int | None) -> Iterator[Done]:
        spans = batches_left(len(paths), self.images_per_batch)
        crew = crew_for(self.engine, self.streams, decoders)
        inputs = (self.preprocessing.channels, *self.preprocessing.image_size)
        compile_ahead(self.engine, [(len(span) * self.preprocessing.views, *inputs) for span in spans])
        shape = (self.images_per_batch, *self.preprocessing.shape)
        memory = batch_memory(self.engine, shape, min(len(spans), crew.streams + SPARE_BATCHES))

        combines = combining_layer(self.engine) is not None

        def prepare(number: int, place: np.ndarray) -> None:
            self.preprocessing.load(paths[number], out=place)

        def compute(batch: np.ndarray, span: range, good: list[int]) -> np.ndarray:
            taken = batch[good] if combines else batch[: len(span)]  # unreadable images must not take part
            found = averaged(self.halving(taken.reshape(-1, *inputs))[self.variable], len(taken))
            found = found.reshape(len(taken), -1)
            if not combines:
                return found
            values = np.zeros((len(span), found.shape[1]), found.dtype)
            values[good] = found
            return values

        return Pipeline(prepare, compute, memory, crew).run(spans)


def _figures(distances: np.ndarray, same: np.ndarray, fold: np.ndarray) -> dict[str, Any]:
    from matnet.metrics import FoldAccuracy, RocCurve

    folds, curve = FoldAccuracy.of(distances, same, fold), RocCurve.of(distances, same)
    corners = curve.corners()
    return {
        "accuracy": folds.mean,
        "standard_error": folds.standard_error,
        "equal_error_rate": curve.equal_error_rate,
        "auc": curve.auc,
        "pairs": len(distances),
        "fold_accuracies": list(folds.accuracies),
        "fold_thresholds": list(folds.thresholds),
        "roc": {
            "false_accepts": corners.false_accepts.tolist(),
            "true_accepts": corners.true_accepts.tolist(),
            "thresholds": corners.thresholds.tolist(),
        },
    }
