"""The flow of an evaluation: align labels, compile, count, resume, judge; the result is one comparable record."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matnet.engines import EngineOptions, engine_options
from matnet.errors import DataError
from matnet.evaluation.config import EvaluationConfig
from matnet.evaluation.counters import counter_for
from matnet.evaluation.provenance import RunStats, provenance
from matnet.evaluation.record import Run
from matnet.evaluation.resume import Unfinished, Watch, keeping
from matnet.evaluation.runner import EngineInfo
from matnet.evaluation.tally import Tally, batches_left, described
from matnet.evaluation.tasks import TASKS, Task
from matnet.evaluation.tasks.base import Given
from matnet.network import Network
from matnet.outcomes import Outcome, Status

if TYPE_CHECKING:
    from matnet.datasets.base import DataSet
    from matnet.images import Preprocessing

log = logging.getLogger(__name__)

Show = Callable[[int, Tally, Task], AbstractContextManager[Watch]]
"""Creates the progress display from the number of images, the tally of an earlier run, and the task."""


@dataclass(frozen=True)
class Sharing:
    """Where to compute: `workers` Dask processes on this machine, a Dask `scheduler` at an address, or this process."""

    workers: int | None = None
    scheduler: str | None = None


def evaluate(
    net: Network,
    data: DataSet,
    preprocessing: Preprocessing,
    *,
    classes: str | Sequence[str] | None = None,
    scores: str | None = None,
    backend: str = "numpy",
    batch_size: int | None = None,
    workers: int | None = None,
    strict: bool = False,
    save: Path | None = None,
    progress: Callable[[int], Any] | None = None,
    engine: EngineOptions | None = None,
    **options: Any,
) -> Any:
    """Evaluate `net` over a data set: an Evaluation of an ImageList, a SegmentationEvaluation of a SegmentationSet, a
    VerificationEvaluation of a PairSet, a DetectionEvaluation of a DetectionSet.

    classes: the order of the network's classes if its file has no class names: `ilsvrc12`, `devkit`, a list file, or
    the names. scores: the scored variable (default: see the task). engine, or its fields as keywords: the engine's
    options. workers: number of decoding threads; by default one per processor. save: for segmentations, a folder for
    the predicted labels. `progress` is called after each batch with the number of its images.

    If preprocessing makes several views of an image, their scores are averaged. A batch that does not fit in memory is
    halved, unless `strict`, with a warning in the log. Unreadable images are listed in `unreadable` and left out of
    the figures. `status` says whether the figures are valid (docs/outcomes.md). Raises NetworkError if the network does
    not have exactly one image input, or its scores do not suit the task; DataError if labels do not fit the network's
    classes, or no image could be read.
    """
    if engine is None:
        engine = engine_options(backend=backend, batch_size=batch_size, strict=strict, **options)
    config, task = planned(net, data, preprocessing, scores, engine, workers, classes=classes, save=save)
    return run(net, config, task, show=_steps(progress), searches=True)


def kind_of(data: DataSet) -> type[Task]:
    """The task of a data set."""
    kind = next((kind for kind in TASKS.values() if kind.suits(data)), None)
    if kind is None:
        raise DataError(f"a {type(data).__name__} is not a data set; load one with a function of matnet.datasets")
    return kind


def planned(
    net: Network,
    data: DataSet,
    preprocessing: Preprocessing,
    scores: str | None = None,
    engine: EngineOptions | None = None,
    decoders: int | None = None,
    **given: Any,
) -> tuple[EvaluationConfig, Task]:
    """The configuration and the task for a network and a data set.

    given: the fields of Given. Raises what the task's `made` and `variable` raise.
    """
    kind = kind_of(data)
    variable = kind.variable(net, scores or kind.scored(net, data))
    preprocessing = kind.prepared(net, preprocessing, variable)
    task = kind.made(net, data, preprocessing, variable, Given(**given))
    config = EvaluationConfig(
        preprocessing, variable, engine or EngineOptions(), decoders, beside=task.beside, feeds=task.feeds
    )
    return config, task


def run(
    net: Network,
    config: EvaluationConfig,
    task: Task,
    *,
    sharing: Sharing = Sharing(),
    state: Unfinished | None = None,
    resume: bool = False,
    random_weights: bool = False,
    show: Show | None = None,
    searches: bool = False,
) -> Any:
    """Evaluate a task, or with `resume` the rest of the unfinished run in `state`.

    state: the file that keeps the counts; the caller removes it after writing the result. searches: whether the engine
    may search for a faster way to run the network during the first batches, with backend auto and no runtime given.
    Raises Interrupted on Ctrl-C and SIGTERM, and what `evaluate` raises.
    """
    found_before = state.load() if state is not None and resume else None
    if found_before is not None:
        log.info("resuming after %s images", f"{found_before.images:,}")
    start = found_before or Tally(task.empty())
    if start.chosen:  # so that the remaining images are computed as in an uninterrupted run
        config = replace(config, engine=replace(config.engine, runtime=start.chosen))
    shown = show(len(task.paths), start, task) if show is not None else nullcontext(lambda tally: None)
    with (
        shown as display,
        counter_for(net, config, task, sharing.scheduler, sharing.workers, searches) as counter,
        keeping(state, start, task) as keep,
    ):

        def watch(tally: Tally) -> None:
            keep(tally)
            display(tally)

        size = 1 if task.own_size else config.images_per_batch
        with closing(counter.tallies(batches_left(len(task.paths), size, start.done))) as parts:
            tally = added(start, parts, watch)
        engine = counter.info
    found = result(net, config, task, engine, tally, random_weights)
    if start.images:
        found.notes.append(f"resumed after {start.images:,} images")
    return found


def added(start: Tally, parts: Iterable[Tally], watch: Watch) -> Tally:
    """`start` plus all parts, in order of arrival; the seconds continue from those of `start`."""
    tally, began = start, time.perf_counter()
    for part in parts:
        tally = tally.plus(part).with_seconds(start.seconds + time.perf_counter() - began)
        watch(tally)
    return tally


def result(
    net: Network, config: EvaluationConfig, task: Task, engine: EngineInfo, tally: Tally, random_weights: bool = False
) -> Run:
    """The result for a tally. Raises DataError if no image could be read."""
    faults = [*task.unreadable, *tally.faults]
    if not tally.counts.images:
        raise DataError(f"{task.data.name}: none of its {len(tally.faults)} images could be read; first: {faults[0]}")
    stats = RunStats(tally.counts.images, faults, tally.seconds, tally.network_seconds)
    outcome = judged(task, tally, faults, random_weights, engine.damaged)
    # A conversion's note on resizing and cropping is wrong for a task that sizes images itself.
    notes = [note for note in net.source.notes if not (task.own_size and note.startswith("images: "))]
    prepared = config.preprocessing
    common = {
        **provenance(net, engine, task.data, stats, outcome, (*notes, *task.data.notes)),
        "preprocessing": prepared.describe_sized(task.sized(prepared)) if task.own_size else prepared.describe(),
        "protocol": task.protocol or prepared.protocol,
        "scores": config.scores,
        "runtime": described(tally.ways),
    }
    found = task.result(tally.counts, common)
    if outcome.status is not Status.DOUBTFUL and not random_weights:
        found.notes += task.doubts(tally.counts)
    return found


def judged(
    task: Task, tally: Tally, faults: Sequence[str], random_weights: bool, weights: Sequence[str] = ()
) -> Outcome:
    """The status of the figures, and its reason. weights: an Engine's `damaged` params."""
    counts = tally.counts
    if random_weights:
        return Outcome(Status.RANDOM_WEIGHTS)
    reasons = [f"weights are NaN or infinite ({', '.join(weights[:5])})"] if weights else []
    if counts.not_finite:
        reasons.append(f"scores of {counts.not_finite:,} of {counts.images:,} images are NaN or infinite")
    if reasons:
        return Outcome(Status.NOT_FINITE, "; ".join(reasons))
    if faults:
        return Outcome(Status.UNREADABLE_IMAGES, f"{len(faults):,} left out", len(faults))
    doubts = task.doubts(counts)
    return Outcome(Status.DOUBTFUL, "; ".join(doubts)) if doubts else Outcome()


def _steps(progress: Callable[[int], Any] | None) -> Show:
    """Calls `progress` with the number of images that each tally adds."""

    def show(total: int, start: Tally, task: Task) -> AbstractContextManager[Watch]:
        done = start.images

        def watch(tally: Tally) -> None:
            nonlocal done
            if progress is not None:
                progress(tally.images - done)
            done = tally.images

        return nullcontext(watch)

    return show
