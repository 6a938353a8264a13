"""Write the features of many images to a file: bounded memory, one or several processes or machines, resumable."""

from __future__ import annotations

import hashlib
import logging
import multiprocessing
import os
import signal
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, nullcontext, suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import wait
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from matnet.answers.feature_files import Features, kind_for, names_beside, refuse_to_replace_others, write_features
from matnet.answers.pictures import Picture, pictures_of
from matnet.answers.running import Batch, Seen, batches
from matnet.answers.staging import DONE, Staging, Writer
from matnet.engines import EngineOptions
from matnet.engines.device import processors
from matnet.errors import DataError, MatnetError, NetworkError, ShapeError, in_words, use_wording, wording
from matnet.evaluation.tally import batches_left, described, joined, merged
from matnet.files import check_outputs
from matnet.finite import warn_not_finite
from matnet.kinds import TEXT
from matnet.layer_files import imported_layer_files, run_layer_files

if TYPE_CHECKING:
    from matnet.answers.remote import Remote
    from matnet.images import Preprocessing
    from matnet.network import Network

log = logging.getLogger(__name__)
POOLS = ("none", "avg", "max")
SHOWN = 20
DEATHS = 3
"""A run ends after so many deaths of a process in a row without progress."""

Watch = Callable[[int], Any]
"""Called after each batch with the number of finished images."""


@dataclass(frozen=True)
class Extraction:
    """What to compute for each image. variables: requested name -> variable."""

    net: Network
    variables: Mapping[str, str]
    pool: str
    preprocessing: Preprocessing
    options: EngineOptions


def extract(
    task: Extraction,
    images: Any,
    target: Path,
    *,
    workers: int = 1,
    scheduler: str | None = None,
    resume: bool = True,
    progress: Callable[[int, int], Watch] | None = None,
) -> list[str]:
    """Write the features of images to `target`. Returns the errors of unreadable images; their rows are NaN.

    workers: number of processes. scheduler: the address of a Dask scheduler, whose workers compute instead. resume:
    continue an interrupted run with the same arguments. progress: called with the numbers of all and of finished
    images; returns a function to call with each further number of finished images. Raises DataError if no image can be
    read, and what writing and computing raise.
    """
    kind = kind_for(target, len(task.variables))
    check_outputs([(target, kind)], task.net.source.files)
    if target.suffix.lower() == ".npy":
        check_outputs([(names_beside(target), TEXT)])
    refuse_to_replace_others(target, unfinished=Staging.at(target).exists())
    pictures, _ = pictures_of(images)
    shapes = row_shapes(task)
    key = _key(task, pictures)
    with _remote(scheduler, task, pictures) as remote:
        staging, done = Staging.open(target, key, shapes, len(pictures), resume)
        if done:
            done -= staging.forget(_changed(pictures, staging))
            log.info("%s: resuming after %d of %d images", staging.folder, done, len(pictures))
        rows = np.flatnonzero(staging.states() != DONE).tolist()
        chosen = staging.ways()[1]
        if chosen:  # so that the remaining rows are computed as in an uninterrupted run
            task = replace(task, options=replace(task.options, runtime=chosen))
        watch = progress(len(pictures), done) if progress is not None else None
        try:
            faults = _compute(task, pictures, rows, staging, remote or workers, watch)
        except KeyboardInterrupt:
            again = in_words("the same call", "the same command")
            log.info("finished images are kept in %s; %s continues", staging.folder, again)
            raise
    if len(faults) == len(pictures):
        staging.remove()
        named = [faults[row] for row in sorted(faults)]
        raise DataError(named[0] if len(named) == 1 else "\n".join(["no image could be read:", *named[:SHOWN]]))
    bad = sorted(faults)
    runtime = _runtime(task, staging, len(pictures))
    processes = remote.count if remote is not None else workers
    about = {**key, "layers": dict(task.variables), "processes": processes, "runtime": runtime}
    names = [picture.name for picture in pictures]
    write_features(target, Features({name: staging.path(name) for name in shapes}, names, bad, about))
    staging.remove()
    return [faults[row] for row in bad]


def _runtime(task: Extraction, staging: Staging, images: int) -> str:
    """The runtime of the network, with the image ranges if it changed; "" if the engine chose none."""
    ways, chosen = staging.ways()
    before = joined(span for ranges in ways.values() for span in ranges)
    after = joined((span.start, span.stop) for span in batches_left(images, images, before))
    return described(merged(ways, {chosen: after} if after else {})) if chosen else task.options.runtime or ""


def row_shapes(task: Extraction) -> dict[str, tuple[int, ...]]:
    """The shape of one image's features by requested name: (C,), or (C, H, W) for maps without pooling."""
    net, views = task.net, task.preprocessing.views
    wanted = list(task.variables.values())
    read = {name for layer in net.upto(wanted) for name in layer.inputs}.union(wanted)
    inputs = [name for name in net.inputs if name in read]
    if len(inputs) != 1:
        raise NetworkError(
            f"{net.source}: {', '.join(task.variables)} needs {len(inputs)} inputs ({', '.join(inputs)}), not one image"
        )
    image = (views, *task.preprocessing.shape[-3:])
    shapes = net.infer_shapes({inputs[0]: image}, wanted)
    found = {}
    for name, variable in task.variables.items():
        rows, *row = shapes[variable]
        if rows != views:
            raise ShapeError(f"{net.source}: {name!r} has {rows} rows for {views} inputs; expected one each")
        found[name] = tuple(row[:1] if task.pool != "none" or row[1:] == [1, 1] else row)
    return found


def pooled(values: np.ndarray, pool: str) -> np.ndarray:
    """N x C for pooled maps and maps of one pixel, else N x C x H x W."""
    if pool == "avg":
        return values.mean(axis=(2, 3), dtype=np.float64).astype(np.float32)
    if pool == "max":
        return values.max(axis=(2, 3))
    return values.reshape(values.shape[:2]) if values.shape[2:] == (1, 1) else values


def _key(task: Extraction, pictures: Sequence[Picture]) -> dict[str, str]:
    """Everything that decides the values, as text."""
    from matnet.evaluation.provenance import network_sha256

    listed = hashlib.sha256()
    for picture in pictures:
        listed.update(f"{picture.name}\n".encode("utf-8", "surrogateescape"))
        listed.update(_content(picture.source))
    prepared, options = task.preprocessing, task.options
    mean = b"".join(planes.tobytes() for planes in (prepared.mean, prepared.std) if planes is not None)
    return {
        "model": f"{task.net.source} {network_sha256(task.net)}",
        "list of images": f"{len(pictures)} {listed.hexdigest()}",
        "choice of layers": " ".join(f"{name}={variable}" for name, variable in task.variables.items()),
        "pool": task.pool,
        "preprocessing": f"{prepared.describe()} {hashlib.sha256(mean).hexdigest()}",
        "engine": " ".join(filter(None, (options.backend, options.precision, options.runtime))),
        "file of layers": " ".join(file.sha256 for file in imported_layer_files()),
    }


def _content(source: Any) -> Any:
    """The bytes of an image that is not a file; nothing for a file, which `_changed` checks."""
    if isinstance(source, (bytes, bytearray, memoryview)):
        return source
    with suppress(OSError, ValueError, AttributeError):  # an unreadable image, which is reported later
        if hasattr(source, "read"):
            start, content = source.tell(), source.read()
            source.seek(start)
            return content if isinstance(content, bytes) else b""
        if hasattr(source, "tobytes") and not getattr(source, "filename", None):
            return source.tobytes()
    return b""


def _changed(pictures: Sequence[Picture], staging: Staging) -> list[int]:
    """The finished rows whose image files changed after the run began, which are computed again."""
    found = []
    for row in np.flatnonzero(staging.states() == DONE).tolist():
        source = pictures[row].source
        with suppress(OSError):
            stated = os.stat(source) if isinstance(source, (str, os.PathLike)) else None
            if stated is not None and max(stated.st_mtime_ns, stated.st_ctime_ns) > staging.started:
                found.append(row)
    if found:
        log.warning("images that changed since the interrupted run began, and are computed again: %d", len(found))
    return found


# -- computing --------------------------------------------------------------------------------------


def _remote(
    scheduler: str | None, task: Extraction, pictures: Sequence[Picture]
) -> AbstractContextManager[Remote | None]:
    if scheduler is None:
        return nullcontext()
    from matnet.answers.remote import remote_at

    return remote_at(scheduler, task.net, pictures)


def _compute(
    task: Extraction,
    pictures: Sequence[Picture],
    rows: Sequence[int],
    staging: Staging,
    workers: int | Remote,
    watch: Watch | None,
) -> dict[int, str]:
    """Fill in the rows. Returns the errors of unreadable images by row."""
    faults: dict[int, str] = {}
    seen = Seen()
    if not isinstance(workers, int) or min(workers, len(rows)) > 1:
        warn_not_finite(task.net, str(task.net.source))
    if not isinstance(workers, int):
        found = workers.compute(task, pictures, rows, staging, seen)
    elif min(workers, len(rows)) > 1:
        found = _by_processes(task, pictures, rows, staging, seen, min(workers, len(rows)))
    else:
        found = _by_threads(task, [pictures[row] for row in rows], rows, staging, seen)
    with closing(found):  # also if `watch` raises
        for number, failed in found:
            faults.update(failed)
            if watch is not None:
                watch(number)
    for note in seen.notes(task.preprocessing.exif):
        log.warning(note)
    return faults


def computed(
    task: Extraction, pictures: Sequence[Picture], seen: Seen, share: int | None = None
) -> Iterator[tuple[Batch, dict[str, np.ndarray]]]:
    """The batches of `running.batches`, each with its features by requested name."""
    names = task.variables
    wanted = list(dict.fromkeys(names.values()))
    for batch in batches(task.net, pictures, wanted, task.preprocessing, task.options, seen, share):
        if share is not None and (task.options.runtime or "").startswith("auto"):
            batch.way = ""  # other processes may choose another one
        found = {name: pooled(batch.values[names[name]], task.pool) for name in names if batch.numbers}
        seen.check(found)
        yield batch, found


def _by_threads(
    task: Extraction,
    pictures: Sequence[Picture],
    rows: Sequence[int],
    staging: Staging,
    seen: Seen,
    share: int | None = None,
) -> Generator[tuple[int, dict[int, str]], None, None]:
    """Compute and write; yields the number of images in each batch and their errors by row."""
    if not rows:
        return
    ways, chosen = staging.ways()
    with Writer(staging) as writer:
        for batch, values in computed(task, pictures, seen, share):
            failed = {rows[number]: fault for number, fault in batch.faults.items()}
            if not chosen and batch.way:
                found = joined((rows[number], rows[number] + 1) for number in (*batch.numbers, *batch.faults))
                ways, chosen = merged(ways, {batch.way: found}), batch.chosen
                staging.keep_ways(ways, chosen)
            writer.put([rows[number] for number in batch.numbers], values, sorted(failed))
            yield len(batch.numbers) + len(failed), failed


def _by_processes(
    task: Extraction, pictures: Sequence[Picture], rows: Sequence[int], staging: Staging, seen: Seen, workers: int
) -> Generator[tuple[int, dict[int, str]], None, None]:
    """As `_by_threads`, with the images divided among processes, which write different rows of the same files.

    A new process takes over the rest of a killed one. With several GPUs, each process uses one.
    """
    from matnet.evaluation.shard import on_own_gpu

    share = max(1, processors() // workers)
    parts = []
    for number, places in enumerate(np.array_split(np.arange(len(rows)), workers)):
        own = replace(task, options=on_own_gpu(task.options, str(number)))
        parts.append(_Part(own, pictures, [rows[place] for place in places], staging, share))
    try:
        for part in parts:
            part.start()
        while left := [part for part in parts if part.missing]:
            ready = wait([part.reports for part in left])
            for part in left:
                if part.reports in ready:
                    yield part.heard()
        for found in (found for part in parts for found in part.seen):
            seen.add(found)
    finally:
        for part in parts:
            part.end()


class _Part:
    """The rows of one process, which is replaced if it is killed."""

    def __init__(
        self, task: Extraction, pictures: Sequence[Picture], rows: list[int], staging: Staging, share: int
    ) -> None:
        self.task, self.pictures, self.rows, self.staging, self.share = task, pictures, rows, staging, share
        self.missing = len(rows)
        self.seen: list[Seen] = []  # by each process
        self._faults: dict[int, str] = {}
        self._deaths = 0
        self._process: Any = None

    def start(self) -> None:
        self.seen.append(Seen())
        context = multiprocessing.get_context("spawn")
        self.reports, theirs = context.Pipe(duplex=False)
        given = [self.pictures[row] for row in self.rows], self.rows, self.staging, self.share, theirs, wording()
        # Arguments are unpickled in this order: the classes of the user's layers before a network that uses them.
        arguments = _ImportedLayers(), replace(self.task, net=self.task.net.copy()), *given
        self._process = context.Process(target=_work, args=arguments, daemon=True)
        self._process.start()
        theirs.close()  # so that the end of the process ends the reports

    def heard(self) -> tuple[int, dict[int, str]]:
        """The next report: the number of finished images, and the errors by row."""
        try:
            kind, *what = self.reports.recv()
        except (EOFError, OSError):
            return self._again(), {}
        if kind == "error":
            raise what[0]
        number, failed, self.seen[-1] = what
        self.missing -= number
        self._faults.update(failed)
        return number, failed

    def _again(self) -> int:
        """Start a new process for the rest of a killed one. Returns the number of its finished, unreported images."""
        states = self.staging.states()
        left = [row for row in self.rows if states[row] != DONE and row not in self._faults]
        self._deaths = 0 if len(left) < len(self.rows) else self._deaths + 1
        if self._deaths == DEATHS:
            raise DataError(
                f"a process that computes features ended {DEATHS} times without progress (killed, or out of memory?); "
                "finished images are kept: run the same command again to resume, with fewer workers if memory was short"
            )
        log.warning("a process that computes features was killed; a new one continues with %d images", len(left))
        unheard, self.rows, self.missing = self.missing - len(left), left, len(left)
        self.end()
        if left:
            self.start()
        return unheard

    def end(self) -> None:
        if self._process is not None:
            if self.missing:
                self._process.terminate()
            self._process.join()
            self.reports.close()
            self._process = None


class _ImportedLayers:
    """The user's layers of this process (`--import`); unpickling this object imports them in another process."""

    def __reduce__(self) -> tuple[Any, ...]:
        return run_layer_files, (imported_layer_files(),)


def _work(
    _layers: Any,
    task: Extraction,
    pictures: Sequence[Picture],
    rows: Sequence[int],
    staging: Staging,
    share: int,
    reports: Any,
    words: tuple[list[object], list[str]],
) -> None:
    """The main function of a process: reports after each batch, and ends when its parent ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent receives it and ends this process
    use_wording(words)
    logging.getLogger(warn_not_finite.__module__).disabled = True  # the parent warns
    parent, seen = multiprocessing.parent_process(), Seen()
    try:
        for report in _by_threads(task, pictures, rows, staging, seen, share):
            reports.send(("batch", *report, seen))
            if parent is not None and not parent.is_alive():
                return
    except MatnetError as error:
        reports.send(("error", error))
    except BrokenPipeError:
        return  # the parent has ended
