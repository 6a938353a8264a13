"""Run images through a network in batches: decoding and computing overlap, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from matnet.answers.pictures import Picture
from matnet.engines import EngineOptions, engine_options, for_batches
from matnet.engines.batches import Halving, combining_layer
from matnet.engines.kept import kept_engines
from matnet.errors import DataError, NetworkError, ShapeError, in_words
from matnet.evaluation.pipeline import Done, Pipeline
from matnet.evaluation.streams import (
    SPARE_BATCHES,
    averaged,
    batch_memory,
    each_with_its_way,
    fills_up,
    prepare_shapes,
    thread_counts,
)
from matnet.evaluation.tally import Ranges, joined
from matnet.finite import not_finite
from matnet.images.decode import opened
from matnet.keywords import instance, require, unknown

if TYPE_CHECKING:
    from matnet.images import Preprocessing
    from matnet.network import Network

BATCH = 32


@dataclass
class Batch:
    """A finished batch: the numbers of its images, the variables (a row per number), the errors of unreadable images.

    way: how the network ran (`Engine.way`). chosen: the way for all later images, once the engine has chosen it.
    """

    numbers: list[int]
    values: dict[str, np.ndarray]
    faults: dict[int, str] = field(default_factory=dict)
    way: str = ""
    chosen: str = ""

    @property
    def ways(self) -> dict[str, Ranges]:
        """Which images the way computed."""
        return {self.way: joined((number, number + 1) for number in (*self.numbers, *self.faults))} if self.way else {}


class Seen:
    """Observations of a run: EXIF orientations, the engine's `damaged` params, images with NaN or infinite values."""

    def __init__(self) -> None:
        self.turned = 0
        self.example = ""
        self.damaged: tuple[str, ...] = ()
        self.not_finite = 0

    def check(self, values: Mapping[str, np.ndarray]) -> None:
        """Count the images (rows) with NaN or infinite values."""
        if not_finite(values):
            rows = [np.isfinite(value).reshape(len(value), -1).all(axis=1) for value in values.values()]
            self.not_finite += int(np.count_nonzero(~np.logical_and.reduce(rows)))

    def note(self, name: str, orientation: int) -> None:
        if orientation > 1:
            self.turned += 1
            self.example = self.example or name

    def add(self, other: Seen) -> None:
        """Add the observations of another part of the run."""
        self.turned += other.turned
        self.example = self.example or other.example
        self.not_finite += other.not_finite

    def notes(self, exif: bool) -> list[str]:
        damaged = [f"values of {self.not_finite:,} images are NaN or infinite"] if self.not_finite else []
        if not self.turned:
            return damaged
        others = f" and {self.turned - 1} more" if self.turned > 1 else ""
        applies = in_words("exif=True", "--exif")
        done = "applied" if exif else f"ignored, as in MatConvNet and Caffe; {applies} applies it"
        return [*damaged, f"{self.example}{others}: EXIF orientation is {done}"]


def prepared(picture: Picture, preprocessing: Preprocessing, out: np.ndarray | None, seen: Seen) -> np.ndarray:
    """The network's input for one picture. Raises DataError, with its name, if the picture is unusable."""
    try:
        if isinstance(picture.source, np.ndarray):
            return preprocessing.apply(picture.source, out)
        with opened(picture.source, preprocessing.max_pixels, preprocessing.exif) as image:
            seen.note(picture.name, image.info.get("orientation", 1))
            return preprocessing.put(image, out)
    except (DataError, ShapeError) as error:
        text = str(error)
        raise DataError(text if picture.name in text else f"{picture.name}: {text}") from None


def batches(
    net: Network,
    pictures: Sequence[Picture],
    variables: Sequence[str],
    preprocessing: Preprocessing,
    options: EngineOptions,
    seen: Seen,
    share: int | None = None,
) -> Iterator[Batch]:
    """The variables for every picture, in batches in no particular order; the views of an image are averaged.

    share: how many processors to use if other processes use the rest; None: all. With all processors, backend auto and
    no runtime given, the engine searches for a faster way to run the network while the first batches run.

    Raises NetworkError for a network that needs more than one input.
    """
    engine = kept_engines(net).engine(net, list(variables), for_batches(options, share))
    seen.damaged = tuple(engine.damaged)
    if len(engine.inputs) != 1:
        raise NetworkError(
            f"{net.source}: {', '.join(variables)} needs {len(engine.inputs)} inputs ({', '.join(engine.inputs)}), "
            "but only one image is given; in Python, net.forward takes inputs by name"
        )
    size = min(options.batch_size or BATCH, len(pictures))
    # The result for an image must not depend on other images, so layers that combine images get one at a time.
    images = 1 if combining_layer(engine) else max(1, size // preprocessing.views)
    halving = Halving(engine, options.strict)
    full, shape = fills_up(engine), tuple(preprocessing.shape)
    spans = [range(start, min(start + images, len(pictures))) for start in range(0, len(pictures), images)]
    threads = thread_counts(engine, share)
    if share is None and options.backend == "auto" and len(spans) > 1:
        engine.search(len(spans))
    rows = {images} if full else {len(span) for span in spans}
    prepare_shapes(engine, [(count * preprocessing.views, *shape[-3:]) for count in sorted(rows, reverse=True)])
    memory = batch_memory(engine, (images, *shape), min(len(spans), threads.streams + SPARE_BATCHES))

    def prepare(number: int, place: np.ndarray) -> None:
        prepared(pictures[number], preprocessing, place, seen)

    def compute(batch: np.ndarray, span: range, good: list[int]) -> dict[str, np.ndarray]:
        used = batch if full else batch[: len(span)]
        found = halving(used.reshape(-1, *shape[-3:]))
        # Copies, because engines reuse their memory.
        return {name: averaged(value, len(used))[good].astype(np.float32) for name, value in found.items()}

    def run(part: Sequence[range]) -> Iterator[Done]:
        return Pipeline(prepare, compute, memory, threads).run(part)

    for done, way in each_with_its_way(engine, spans, run):
        numbers = [number for number in done.span if number not in done.faults]
        chosen = "" if engine.searching else engine.way
        yield Batch(numbers, done.value or {}, done.faults, way, chosen)


def chosen(
    net: Network, preprocessing: Preprocessing | None, keywords: dict[str, Any]
) -> tuple[Preprocessing, EngineOptions]:
    """The preprocessing and engine options from keywords: fields of Preprocessing, `options`, fields of EngineOptions.

    Fields of Preprocessing replace those of the file or of `preprocessing`. The default backend is the fastest. Raises
    DataError for other keywords.
    """
    from matnet.images import Preprocessing

    own = {field.name for field in fields(Preprocessing)}
    engines = [field.name for field in fields(EngineOptions)]
    wrong = unknown(keywords, [*own, *engines, "options"])
    if wrong:
        raise DataError("; ".join(wrong))
    given = {name: value for name, value in keywords.items() if name in own}
    rest = {name: value for name, value in keywords.items() if name not in own}
    options = rest.pop("options", None)
    require({"options": options}, {"options": instance(EngineOptions, "EngineOptions").or_none()})
    prepared = preparation(net, preprocessing, given)
    usual = {} if options is not None else {"backend": "auto"}
    return prepared, engine_options(options, **{**usual, **rest})


def preparation(net: Network, preprocessing: Preprocessing | None, overrides: dict[str, Any]) -> Preprocessing:
    """`preprocessing`, else that of the network's file, with the fields in `overrides` replaced."""
    from matnet.images import Preprocessing
    from matnet.images.prepare import label_of

    kind = instance(Preprocessing, "a Preprocessing, such as net.preprocessing").or_none()
    require({"preprocessing": preprocessing}, {"preprocessing": kind})
    if preprocessing is None:
        return Preprocessing.of(net, **overrides)
    if "protocol" in overrides:
        raise DataError("protocol has no effect with preprocessing; leave one of them out")
    wrong = unknown(overrides, [field.name for field in fields(Preprocessing)])
    if wrong:
        raise DataError(f"preprocessing: {'; '.join(wrong)}")
    return replace(preprocessing, protocol=label_of(preprocessing.protocol, overrides), **overrides)
