"""A network made ready to score images, and what it needs to know for that."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from matnet.engines import EngineOptions
from matnet.engines.batches import Halving, combining_layer
from matnet.errors import NetworkError
from matnet.evaluation.pipeline import Done, Pipeline
from matnet.evaluation.record import versions
from matnet.evaluation.streams import SPARE_BATCHES, batch_memory, choose_streams, compile_ahead, crew_for, fills_up
from matnet.evaluation.tally import Tally
from matnet.metrics import TopK
from matnet.network import Network

if TYPE_CHECKING:
    from matnet.images import Preprocessing


@dataclass(frozen=True)
class Job:
    """What is to be computed for each image, but for the network itself: small enough to be sent around.

    scores: the variable to rank. engine: how it is computed. decoders: threads that decode, None
    for one per processor.
    """

    preprocessing: Preprocessing
    scores: str
    batch_size: int = 32
    strict: bool = False
    engine: EngineOptions = field(default_factory=EngineOptions)
    decoders: int | None = None

    @property
    def images_per_batch(self) -> int:
        """A batch of the engine holds all views of its images."""
        return max(1, self.batch_size // self.preprocessing.views)

    @property
    def identity(self) -> dict[str, str]:
        """All that decides the figures, but for the network and the images; the batch size does not."""
        prepared = self.preprocessing
        mean = b"".join(planes.tobytes() for planes in (prepared.mean, prepared.std) if planes is not None)
        return {
            "preprocessing": f"{prepared.describe()} x {prepared.views} {hashlib.sha256(mean).hexdigest()}",
            "variable": self.scores,
            **{name: str(getattr(self.engine, name)) for name in ("backend", "device", "precision", "runtime")},
        }


@dataclass(frozen=True)
class Site:
    """Where and by what figures were computed, as a row tells it."""

    backend: str
    device: str
    precision: str
    batch_size: int
    batch_halved_from: int | None
    versions: dict[str, str]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Part:
    """Consecutive images of a list: their files, their labels, and the number of the first."""

    paths: Sequence[Path]
    labels: np.ndarray
    first: int = 0


class Scorer:
    """A network made ready: compiled once, for as many images as come.

    `say` is called with what the user should hear. share: how many processors it may use; None: all.
    """

    def __init__(
        self, net: Network, job: Job, say: Callable[[str], Any] | None = None, share: int | None = None
    ) -> None:
        self.job, self._share = job, share
        self.streams = choose_streams(job.engine, share)
        self.engine = net.compile([job.scores], options=replace(job.engine, threads=self.streams.threads))
        if len(self.engine.inputs) != 1:
            count = len(self.engine.inputs)
            raise NetworkError(f"{net.source}: {job.scores!r} needs {count} inputs; evaluation feeds one image")
        self.halving, self._fills_up = Halving(self.engine, job.strict, say), fills_up(self.engine)
        combining = combining_layer(self.engine)
        self._combines = combining is not None
        if combining is not None:
            self.engine.notes.append(f"layer {combining.name!r} may combine images: errors depend on the batch size")

    def tallies(self, images: Part, spans: Sequence[range]) -> Iterator[Tally]:
        """A tally of each batch, in no certain order; spans: the image numbers of each."""
        if not spans:
            return
        job, shape, first = self.job, tuple(self.job.preprocessing.shape), images.first
        crew = crew_for(self.engine, self.streams, job.decoders or self._share)
        views, largest = job.preprocessing.views, max(len(span) for span in spans)
        rows = {largest} if self._fills_up else {len(span) for span in spans}
        compile_ahead(self.engine, [(count * views, *shape[-3:]) for count in sorted(rows)])
        memory = batch_memory(self.engine, (largest, *shape), min(len(spans), crew.streams + SPARE_BATCHES))

        def prepare(number: int, place: np.ndarray) -> None:
            job.preprocessing.load(images.paths[number - first], out=place)

        def compute(batch: np.ndarray, span: range, good: list[int]) -> TopK:
            labels = images.labels[span.start - first : span.stop - first]
            return self.score(batch if self._fills_up else batch[: len(span)], labels, good)

        for done in Pipeline(prepare, compute, memory, crew).run(spans):
            yield _counted(done, crew.streams)

    def score(self, batch: np.ndarray, labels: np.ndarray, good: list[int]) -> TopK:
        """The errors of a batch's good rows, N x C x H x W or N x views x C x H x W."""
        if self._combines:  # unreadable images must not take part
            batch, labels, good = batch[good], labels[good], list(range(len(good)))
        inputs = batch.reshape(-1, *batch.shape[-3:])
        scores = averaged(self.halving(inputs)[self.job.scores], len(batch))
        errors = TopK()
        errors.update(scores[good], labels[good])
        return errors

    @property
    def site(self) -> Site:
        """What a row says of the engine, once it has run."""
        return Site(
            backend=self.engine.backend,
            device=str(self.engine.device),
            precision=self.engine.precision,
            batch_size=self.halving.limit or self.job.batch_size,
            batch_halved_from=self.halving.halved_from,
            versions=versions(getattr(self.engine, "runtimes", ())),
            notes=tuple(self.engine.notes),
        )


def averaged(scores: np.ndarray, images: int) -> np.ndarray:
    """Scores of several views of each image as one row per image: their mean, in double precision."""
    views = len(scores) // images
    if views == 1:
        return scores
    return scores.reshape(images, views, *scores.shape[1:]).mean(axis=1, dtype=np.float64)


def _counted(done: Done, streams: int) -> Tally:
    """One batch as a tally; of `streams` batches computed side by side, each takes a part of the time."""
    return Tally(
        errors=done.value if done.value is not None else TopK(),
        unreadable=tuple(done.faults.items()),
        done=((done.span.start, done.span.stop),),
        network_seconds=done.seconds / streams,
    )
