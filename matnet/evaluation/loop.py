"""A labelled image list through a network: decode, prepare, run, score; what comes out is one comparable record."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from matnet.engines import EngineOptions
from matnet.errors import DataError
from matnet.evaluation.provenance import Course, provenance
from matnet.evaluation.record import Evaluation
from matnet.evaluation.scoring import Job, Part, Scorer, Site
from matnet.evaluation.tally import Tally, batches_left
from matnet.network import Network

if TYPE_CHECKING:
    from matnet.datasets import ImageList
    from matnet.images import Preprocessing

Watch = Callable[[Tally], Any]
"""Is called with all that is counted, after each batch."""


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
    workers: int | None = None,
    strict: bool = False,
    progress: Callable[[int], Any] | None = None,
    say: Callable[[str], Any] | None = None,
    **options: Any,
) -> Evaluation:
    """Top-1 and top-5 error of `net` over `images`, whose labels must already be the network's classes.

    Where preprocessing gives several views of an image, the scores are averaged over them before they are
    ranked. workers: threads that decode, by default one per processor. After each batch `progress` is called
    with the number of its images. A batch that does not fit in memory is halved, unless `strict`; `say` is
    called with a line about it. Unreadable images are named in `unreadable`, left out of the figures, and make
    the status `unreadable images`. Raises NetworkError for a network without one image input, DataError where
    no image at all could be read.
    """
    engine = EngineOptions.of(backend=backend, **options)
    job = Job(preprocessing, score_variable(net, scores), batch_size, strict, engine, workers)
    scorer, done = Scorer(net, job, say), 0

    def watch(tally: Tally) -> None:
        nonlocal done
        if progress is not None:
            progress(tally.images - done)
        done = tally.images

    tally = count(scorer, images, Tally(), watch)
    return evaluation(net, images, job, scorer.site, tally)


def count(scorer: Scorer, images: ImageList, start: Tally, watch: Watch) -> Tally:
    """`start`, and what is counted on the images that it has not seen."""
    spans = batches_left(len(images), scorer.job.images_per_batch, start.done)
    return added(start, scorer.tallies(Part(images.paths, images.labels), spans), watch)


def added(start: Tally, parts: Iterable[Tally], watch: Watch) -> Tally:
    """`start` and all parts, as they come; its seconds go on from those of `start`."""
    tally, began = start, time.perf_counter()
    for part in parts:
        tally = tally.plus(part).taking(start.seconds + time.perf_counter() - began)
        watch(tally)
    return tally


def evaluation(net: Network, images: ImageList, job: Job, site: Site, tally: Tally) -> Evaluation:
    """The row of what was counted; DataError where no image could be read."""
    errors, faults = tally.errors, tally.faults
    if not errors.images:
        raise DataError(f"{images.name}: none of its {len(faults)} images could be read; first: {faults[0]}")
    course = Course(errors.images, faults, tally.seconds, tally.network_seconds)
    return Evaluation(
        **{**provenance(net, site, images, course), "versions": site.versions},
        top1_error=errors.top1_error,
        top5_error=errors.top5_error,
        preprocessing=job.preprocessing.describe(),
        scores=job.scores,
        batch_size=site.batch_size,
        batch_halved_from=site.batch_halved_from,
    )
