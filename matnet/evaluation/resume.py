"""Evaluations that are interrupted: the counts are kept in a small file, and a later run goes on from it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from matnet.errors import DataError, MatnetError, in_words
from matnet.evaluation.config import EvaluationConfig
from matnet.evaluation.provenance import network_sha256
from matnet.evaluation.tally import Tally
from matnet.evaluation.tasks import Task
from matnet.files import cache_folder, is_special
from matnet.interrupts import Terminated, termination_raised
from matnet.network import Network
from matnet.outcomes import ExitStatus
from matnet.records import key_digest, read_record, remove_record, write_record

log = logging.getLogger(__name__)

KEEP_EVERY = 10.0  # seconds between two times that the file is written
SUFFIX = ".unfinished"

Watch = Callable[[Tally], Any]
"""Is called with all that is counted, after each batch."""


class Interrupted(KeyboardInterrupt):
    """A run that was stopped by Ctrl-C or SIGTERM.

    tally: what it had counted. figures: the same for people. kept: the file of it, if any. status: the exit status.
    """

    def __init__(self, tally: Tally, kept: Path | None, status: int, figures: str = "") -> None:
        super().__init__()
        self.tally, self.kept, self.status, self.figures = tally, kept, status, figures


@dataclass
class Unfinished:
    """The file of an unfinished run. `key` holds all that decides the figures; the batch size is not part of it.

    The file is best effort: where it cannot be written, one warning says so and the run goes on.
    """

    path: Path
    key: Mapping[str, str]
    task: Task
    _gave_up: bool = field(default=False, init=False)

    def load(self) -> Tally | None:
        """What was counted; None if no run is unfinished, or its file is damaged, which a warning says.

        Raises DataError for a file that belongs to another run.
        """
        key = read_record(self.path, lambda record: dict(record["key"]))
        if key is None:
            return None
        differing = [name for name in {**key, **self.key} if key.get(name) != self.key.get(name)]
        if differing:
            raise DataError(
                f"{self.path}: is of a run with another {', another '.join(differing)}; remove it, or leave "
                f"{in_words('resume=True', '--resume')} out to start anew"
            )
        return read_record(self.path, lambda record: Tally.of_record(record["tally"], self.task.counts_of))

    def save(self, tally: Tally) -> bool:
        """Write the tally, whole or not at all; whether that worked."""
        if self._gave_up:
            return False
        self._gave_up = not write_record(self.path, {"key": dict(self.key), "tally": tally.record()})
        return not self._gave_up

    def remove(self) -> None:
        """Remove the file: to be called once the result is written."""
        remove_record(self.path)


def unfinished(net: Network, config: EvaluationConfig, task: Task, target: str | Path | None) -> Unfinished:
    """Where a run is kept while it is unfinished: beside `target`, its file of results, else in the cache folder.

    A device or FIFO has no file beside it."""
    key = {
        "model": network_sha256(net),
        "list of images": task.data.list_sha256,
        **config.identity,
        **task.identity,
    }
    if target is not None and not is_special(Path(target)):
        return Unfinished(Path(target).with_name(Path(target).name + SUFFIX), key, task)
    return Unfinished(cache_folder() / "evaluations" / f"{key_digest(key)[:16]}{SUFFIX}", key, task)


@contextmanager
def keeping(state: Unfinished | None, start: Tally, task: Task) -> Iterator[Watch]:
    """A function to call with each tally: it is kept in `state` from time to time, and when the block is left by an
    error. Interrupted where Ctrl-C or SIGTERM ends the block.
    """
    latest, saved = start, time.monotonic()

    def watch(tally: Tally) -> None:
        nonlocal latest, saved
        latest = tally
        if state is not None and time.monotonic() - saved > KEEP_EVERY:
            state.save(tally)
            saved = time.monotonic()

    def keep() -> Path | None:
        return state.path if state is not None and latest.images and state.save(latest) else None

    try:
        with termination_raised():
            yield watch
    except KeyboardInterrupt as stop:
        status = ExitStatus.TERMINATED if isinstance(stop, Terminated) else ExitStatus.INTERRUPTED
        raise Interrupted(latest, keep(), status, task.running(latest.counts)) from None
    except MatnetError:
        keep()
        raise
