"""A labelled image list through a network: decode, prepare, run, score; what comes out is one comparable record."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import numpy as np

from matnet.engines.batches import Halving
from matnet.errors import DataError, NetworkError
from matnet.evaluation.pipeline import Done, Pipeline
from matnet.evaluation.record import Evaluation, file_sha256, versions
from matnet.evaluation.streams import SPARE_BATCHES, batch_memory, choose_streams, compile_ahead, crew_for
from matnet.evaluation.tally import Tally, batches_left
from matnet.metrics import TopK
from matnet.network import Network

if TYPE_CHECKING:
    from matnet.datasets import ImageList
    from matnet.images import Preprocessing


def score_variable(net: Network, asked: str | None = None) -> str:
    """The variable to rank: `asked`, else the output of a SoftMax (the last in the file), else the last output.

    Training-only layers are not looked at. NetworkError where `asked` does not exist.
    """
    if asked is not None:
        net.resolve(asked)
        return asked
    inference = net.for_inference()
    outputs = inference.outputs
    softmax = [
        layer.outputs[0]
        for layer in inference.layers.values()
        if layer.op.dagnn == "dagnn.SoftMax" and layer.outputs[0] in outputs
    ]
    return (softmax or outputs)[-1]


def evaluate(
    net: Network,
    images: ImageList,
    preprocessing: Preprocessing,
    *,
    scores: str | None = None,
    backend: str = "numpy",
    batch_size: int = 32,
    decoders: int | None = None,
    workers: int | None = None,
    strict: bool = False,
    start: Tally | None = None,
    progress: Callable[[int], Any] | None = None,
    watch: Callable[[Tally], Any] | None = None,
    say: Callable[[str], Any] | None = None,
    **options: Any,
) -> Evaluation:
    """Top-1 and top-5 error of `net` over `images`, whose labels must already be the network's classes.

    Where preprocessing gives several views of an image, the scores are averaged over them before they are
    ranked. decoders (or workers): threads that decode, by default one per processor. start: what was counted
    before, whose images are not done again. After each batch `progress` is called with the number of its
    images, `watch` with all that is counted. A batch that does not fit in memory is halved, unless `strict`;
    `say` is called with a line about it. Unreadable images are
    named in `unreadable`, left out of the figures, and make the status `unreadable images`. Raises
    NetworkError for a network without one image input, DataError where no image at all could be read.
    """
    scorer = Scorer(net, preprocessing, scores, backend, batch_size, strict, say, **options)
    before = start or Tally()

    def told(tally: Tally) -> None:
        nonlocal before
        if progress is not None:
            progress(tally.images - before.images)
        if watch is not None:
            watch(tally)
        before = tally

    tally = scorer.run(images, before, decoders or workers, told)
    if not tally.errors.images:
        raise DataError(
            f"{images.name}: none of its {len(tally.faults)} images could be read; first: {tally.faults[0]}"
        )
    return scorer.row(images, tally)


class Scorer:
    """A network made ready to score images: it is compiled once, for as many lists as are wanted."""

    def __init__(
        self,
        net: Network,
        preprocessing: Preprocessing,
        scores: str | None = None,
        backend: str = "numpy",
        batch_size: int = 32,
        strict: bool = False,
        say: Callable[[str], Any] | None = None,
        **options: Any,
    ) -> None:
        self.net, self.preprocessing, self.batch_size = net, preprocessing, batch_size
        self.variable = score_variable(net, scores)
        self.streams = choose_streams(backend, **options)
        if self.streams.threads is not None:
            options["threads"] = self.streams.threads
        self.engine = net.compile([self.variable], backend=backend, **options)
        if len(self.engine.inputs) != 1:
            count = len(self.engine.inputs)
            raise NetworkError(f"{net.source}: {self.variable!r} needs {count} inputs; evaluation feeds one image")
        self.halving = Halving(self.engine, strict, say)
        self.views = getattr(preprocessing, "views", 1)
        self.images_per_batch = max(1, batch_size // self.views)

    def run(
        self,
        images: ImageList,
        start: Tally,
        decoders: int | None = None,
        watch: Callable[[Tally], Any] | None = None,
        stop: int | None = None,
    ) -> Tally:
        """`start` and what is counted on the images that it has not seen, up to number `stop`."""
        spans = batches_left(len(images) if stop is None else stop, self.images_per_batch, start.done)
        if not spans:
            return start
        crew = crew_for(self.engine, self.streams, decoders)
        shape = (self.preprocessing.channels, *self.preprocessing.image_size)
        largest = max(len(span) for span in spans)
        compile_ahead(self.engine, [(len(span) * self.views, *shape) for span in spans])
        one = (self.views, *shape) if self.views > 1 else shape
        memory = batch_memory(self.engine, (largest, *one), min(len(spans), crew.streams + SPARE_BATCHES))

        def prepare(number: int, place: np.ndarray) -> None:
            self.preprocessing.load(images.paths[number], out=place)

        def compute(batch: np.ndarray, span: range, good: list[int]) -> TopK:
            return self.score(batch[: len(span)], images.labels[span.start : span.stop], good)

        tally, started = start, time.perf_counter()
        for done in Pipeline(prepare, compute, memory, crew).run(spans):
            taken = start.seconds + time.perf_counter() - started
            tally = tally.plus(counted(done, crew.streams)).taking(taken)
            if watch is not None:
                watch(tally)
        return tally

    def score(self, batch: np.ndarray, labels: np.ndarray, good: list[int]) -> TopK:
        """The errors of a batch's good rows."""
        inputs = batch.reshape(-1, *batch.shape[-3:])
        scores = averaged(self.halving(inputs)[self.variable], len(batch))
        errors = TopK()
        errors.update(scores[good], labels[good])
        return errors

    def row(self, images: ImageList, tally: Tally) -> Evaluation:
        """The record of what was counted."""
        net, errors = self.net, tally.errors
        return Evaluation(
            model=net.source.path.stem if net.source.path else "network",
            introduced="",
            top1_error=errors.top1_error,
            top5_error=errors.top5_error,
            images_per_s=errors.images / tally.seconds,
            network_images_per_s=errors.images / tally.network_seconds,
            images=errors.images,
            status="unreadable images" if tally.unreadable else "ok",
            unreadable=tally.faults,
            dataset=images.name,
            list_sha256=images.list_sha256,
            model_file=str(net.source.path or ""),
            model_sha256=file_sha256(net.source.path),
            preprocessing=self.preprocessing.describe(),
            scores=self.variable,
            backend=self.engine.backend,
            device=self.engine.device,
            precision=self.engine.precision,
            batch_size=self.halving.limit or self.batch_size,
            batch_halved_from=self.halving.halved_from,
            seconds=tally.seconds,
            versions=versions(getattr(self.engine, "runtimes", ())),
            date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            notes=list(self.engine.notes),
        )


def counted(done: Done, streams: int) -> Tally:
    """One batch as a tally; of `streams` batches computed side by side, each takes a part of the time."""
    return Tally(
        errors=done.value if done.value is not None else TopK(),
        unreadable=tuple(done.faults.items()),
        done=((done.span.start, done.span.stop),),
        network_seconds=done.seconds / streams,
    )


def averaged(scores: np.ndarray, images: int) -> np.ndarray:
    """Scores of several views of each image as one row per image: their mean, in double precision."""
    views = len(scores) // images
    if views == 1:
        return scores
    return scores.reshape(images, views, *scores.shape[1:]).mean(axis=1, dtype=np.float64)
