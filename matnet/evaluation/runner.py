"""A compiled network that counts the batches of an evaluation, for all tasks."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from matnet.engines import compile_network, for_batches
from matnet.engines.batches import Halving, combining_layer
from matnet.engines.cpu.runtimes import tries_out
from matnet.errors import NetworkError, NoBoxError
from matnet.evaluation.config import EvaluationConfig
from matnet.evaluation.pipeline import Compute, Done, Pipeline, Prepare, ThreadCounts
from matnet.evaluation.record import versions
from matnet.evaluation.streams import (
    SPARE_BATCHES,
    averaged,
    batch_memory,
    each_with_its_way,
    fills_up,
    prepare_shapes,
    thread_counts,
)
from matnet.evaluation.tally import Counts, Ranges, Tally
from matnet.evaluation.tasks import Task
from matnet.network import Network


@dataclass(frozen=True)
class EngineInfo:
    """The engine of a run, as results describe it; damaged: see `Engine`."""

    backend: str
    device: str
    precision: str
    batch_size: int
    batch_halved_from: int | None
    versions: dict[str, str]
    notes: tuple[str, ...]
    damaged: tuple[str, ...] = ()


class Runner:
    """A compiled network that counts batches of images.

    own_size: whether images are computed one by one at their own size. share: how many processors it may use; None:
    all. searches: whether the engine may search for a faster way to run the network during the first batches; never
    for images at their own size. Raises NetworkError if the network needs other inputs than the evaluation feeds.
    """

    def __init__(
        self,
        net: Network,
        config: EvaluationConfig,
        own_size: bool = False,
        share: int | None = None,
        searches: bool = False,
    ) -> None:
        self._searches = searches and not own_size and config.engine.backend == "auto"
        self.config, self._share, self._own_size, self._source = config, share, own_size, net.source
        options = for_batches(config.engine, share)
        if own_size:
            # An image at its own size gets all threads: several at once would need several times the memory.
            options = replace(options, callers=1)
        self.engine = compile_network(net.for_inference(), [config.scores, *config.beside], options)
        if set(self.engine.inputs) != set(config.feeds or self.engine.inputs[:1]):
            needed, fed = ", ".join(self.engine.inputs), ", ".join(config.feeds) or "one image"
            raise NetworkError(f"{net.source}: {config.scores!r} needs the inputs {needed}; evaluation feeds {fed}")
        self.halving = Halving(self.engine, config.engine.strict)
        self._fills_up = not own_size and fills_up(self.engine)
        combining = None if own_size else combining_layer(self.engine)
        self._combines = combining is not None
        if combining is not None:
            self.engine.notes.append(f"layer {combining.name!r} may combine images: figures depend on the batch size")

    def tallies(self, task: Task, spans: Sequence[range]) -> Generator[Tally, None, None]:
        """A tally of each batch, in no particular order; spans: the image numbers of each batch."""
        if not spans:
            return
        prepared = self.config.preprocessing
        threads = thread_counts(self.engine, self.config.decoders or self._share)
        count = min(len(spans), threads.streams + SPARE_BATCHES)
        largest = max(len(span) for span in spans)
        if self._own_size:
            memory = [np.zeros((largest, 1), object) for _ in range(max(count, min(len(spans), threads.decoders)))]
        else:
            if self._searches:
                self.engine.search(len(spans))
            self._prepare_shapes(spans)
            memory = batch_memory(self.engine, (largest, *prepared.shape), count)

        def prepare(number: int, place: np.ndarray) -> None:
            task.read(number, prepared, place)

        def compute(batch: np.ndarray, span: range, good: list[int]) -> Counts:
            try:
                return self.count(task, batch, span, good)
            except NetworkError as error:
                raise NetworkError(f"{self._source}: {self.config.scores!r}: {error}") from None

        pipeline = partial(_piped, prepare, compute, memory, threads)
        for done, way in each_with_its_way(self.engine, spans, pipeline):
            chosen = self.engine.way if self._searches and not self.engine.searching else ""
            yield replace(_counted(task, done, threads.streams), ways=_of(way, done.span), chosen=chosen)

    def count(self, task: Task, batch: np.ndarray, span: range, good: list[int]) -> Counts:
        """The task's counts for a batch: N x C x H x W, N x views x C x H x W, or N x 1 pairs of image and truth."""
        numbers = [span[row] for row in good]
        if self._own_size:
            images, truths = zip(*(batch[row, 0] for row in good), strict=True)
            batch[...] = 0  # frees the images
            try:
                values = self.halving(images[0])
            except NoBoxError:
                return task.without_boxes(numbers)
            beside = tuple(values[name] for name in self.config.beside)
            scores = values[self.config.scores]
            return task.count((scores, *beside) if beside else scores, numbers, truths)
        if self._combines:  # leave out unreadable images
            batch, span, good = batch[good], range(len(good)), list(range(len(good)))
        rows = len(batch) if self._fills_up else len(span)
        inputs = batch[:rows].reshape(-1, *batch.shape[-3:])
        scores = averaged(self.halving(inputs)[self.config.scores], rows)
        return task.count(scores[good], numbers, ())

    def _prepare_shapes(self, spans: Sequence[range]) -> None:
        prepared = self.config.preprocessing
        largest = max(len(span) for span in spans)
        rows = {largest} if self._fills_up else {len(span) for span in spans}
        runtime = self.config.engine.runtime
        if runtime is not None and not tries_out(runtime) and not self._fills_up:
            # The way of a partial batch depends on that of a full one, even if a resumed run has no full batch.
            rows.add(self.config.images_per_batch)
        planes = (prepared.channels, *prepared.image_size)
        prepare_shapes(self.engine, [(count * prepared.views, *planes) for count in sorted(rows, reverse=True)])

    @property
    def info(self) -> EngineInfo:
        """The engine as results describe it; valid after the run."""
        return EngineInfo(
            backend=self.engine.backend,
            device=str(self.engine.device),
            precision=self.engine.precision,
            batch_size=1 if self._own_size else self.halving.limit or self.config.batch_size,
            batch_halved_from=self.halving.halved_from,
            versions=versions(self.engine.runtimes),
            notes=tuple(self.engine.notes),
            damaged=tuple(self.engine.damaged),
        )


def _piped(
    prepare: Prepare, compute: Compute, memory: Sequence[np.ndarray], threads: ThreadCounts, spans: Sequence[range]
) -> Iterator[Done]:
    return Pipeline(prepare, compute, memory, threads).run(spans)


def _of(way: str, span: range) -> dict[str, Ranges]:
    return {way: ((span.start, span.stop),)} if way else {}


def _counted(task: Task, done: Done, streams: int) -> Tally:
    """The tally of one batch; `streams` batches computed in parallel share the time."""
    return Tally(
        counts=done.value if done.value is not None else task.empty(),
        unreadable=tuple(done.faults.items()),
        done=((done.span.start, done.span.stop),),
        network_seconds=done.seconds / streams,
    )
