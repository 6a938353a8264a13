"""Resume interrupted evaluations: a small file keeps the counts, and a later run continues from it."""

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

KEEP_EVERY = 10.0  # seconds between writes of the file
SUFFIX = ".unfinished"

Watch = Callable[[Tally], Any]
"""Called after each batch with the tally so far."""


class Interrupted(KeyboardInterrupt):
    """Ctrl-C or SIGTERM stopped a run.

    tally: the counts so far. figures: the same as text. kept: the file that holds the tally, if any. status: the exit
    status.
    """

    def __init__(self, tally: Tally, kept: Path | None, status: int, figures: str = "") -> None:
        super().__init__()
        self.tally, self.kept, self.status, self.figures = tally, kept, status, figures


@dataclass
class Unfinished:
    """The file of an unfinished run. `key` holds everything that decides the figures, so not the batch size.

    If the file cannot be written, one warning is logged and the run continues.
    """

    path: Path
    key: Mapping[str, str]
    task: Task
    _gave_up: bool = field(default=False, init=False)

    def exists(self) -> bool:
        """Whether there is an unfinished run. A file that is none is set aside, with a warning."""
        return self._read_key() is not None

    def _read_key(self) -> dict[str, Any] | None:
        return read_record(self.path, lambda record: dict(record["key"]))

    def load(self) -> Tally | None:
        """The tally of the unfinished run; None if there is none, or (with a warning) if its file is damaged.

        Raises DataError for a file that belongs to another run.
        """
        key = self._read_key()
        if key is None:
            return None
        differing = [name for name in {**key, **self.key} if key.get(name) != self.key.get(name)]
        if differing:
            raise DataError(
                f"{self.path}: belongs to a run with another {', another '.join(differing)}; remove it, or leave out "
                f"{in_words('resume=True', '--resume')} to start again"
            )
        return read_record(self.path, lambda record: Tally.of_record(record["tally"], self.task.counts_of))

    def save(self, tally: Tally) -> bool:
        """Write the tally, whole or not at all. Returns whether that succeeded."""
        if self._gave_up:
            return False
        self._gave_up = not write_record(self.path, {"key": dict(self.key), "tally": tally.record()})
        return not self._gave_up

    def remove(self) -> None:
        """Remove the file; call it after writing the result."""
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
    """Yields a function to call with each tally; `state` keeps it from time to time, and if an error ends the block.

    Raises Interrupted if Ctrl-C or SIGTERM ends the block.
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
