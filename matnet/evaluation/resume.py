"""Evaluations that are cut short: what was counted is kept in a small file, and a later run goes on from it."""

from __future__ import annotations

import hashlib
import json
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matnet.errors import DataError, FileFormatError, MatnetError
from matnet.evaluation.provenance import network_sha256
from matnet.evaluation.scoring import Job
from matnet.evaluation.tally import Tally
from matnet.files import atomic_write, cache_folder
from matnet.network import Network

KEEP_EVERY = 10.0  # seconds between two times that the file is written
SUFFIX = ".unfinished"

Count = Callable[[Tally, Callable[[Tally], Any]], Tally]
"""Counts on from a tally, and calls a function with each one on the way."""


class Interrupted(KeyboardInterrupt):
    """A run that was stopped by Ctrl-C or SIGTERM; `tally` is what it had counted, `kept` the file of it, if any."""

    def __init__(self, tally: Tally, kept: Path | None, status: int) -> None:
        super().__init__()
        self.tally, self.kept, self.status = tally, kept, status


class Terminated(KeyboardInterrupt):
    """SIGTERM, raised where Ctrl-C would be."""


@dataclass(frozen=True)
class Unfinished:
    """The file of an unfinished run. `key` holds all that decides the figures; the batch size is not part of it."""

    path: Path
    key: Mapping[str, str]

    def load(self) -> Tally | None:
        """What was counted; None where no run is unfinished. DataError for a file that belongs to another run."""
        if not self.path.exists():
            return None
        way_out = "remove it, or leave --resume out to start anew"
        try:
            record = json.loads(self.path.read_text(encoding="utf-8"))
            key, tally = dict(record["key"]), Tally.of_record(record["tally"])
        except (OSError, ValueError, KeyError, TypeError, MatnetError) as error:
            raise DataError(f"{self.path}: cannot be resumed from ({error}); {way_out}") from None
        differing = [name for name in {**key, **self.key} if key.get(name) != self.key.get(name)]
        if differing:
            raise DataError(f"{self.path}: is of a run with another {', another '.join(differing)}; {way_out}")
        return tally

    def save(self, tally: Tally) -> None:
        """Write the tally, whole or not at all."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(self.path) as file:
            file.write(json.dumps({"key": dict(self.key), "tally": tally.record()}).encode())

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)


def unfinished(net: Network, job: Job, list_sha256: str, target: str | None) -> Unfinished:
    """Where a run is kept while it is unfinished: beside `target`, its file of results, else in the cache folder."""
    key = {"model": network_sha256(net), "list of images": list_sha256, **job.identity}
    if target is not None and target != "-":
        return Unfinished(Path(target).with_name(Path(target).name + SUFFIX), key)
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    return Unfinished(cache_folder() / "evaluations" / f"{digest[:16]}{SUFFIX}", key)


def run_kept(count: Count, state: Unfinished, start: Tally, watch: Callable[[Tally], Any]) -> Tally:
    """What `count` gives, its tallies kept in `state` meanwhile; Interrupted where Ctrl-C or SIGTERM stops it."""
    latest, saved = start, time.monotonic()

    def watching(tally: Tally) -> None:
        nonlocal latest, saved
        latest = tally
        watch(tally)
        if time.monotonic() - saved > KEEP_EVERY:
            state.save(tally)
            saved = time.monotonic()

    try:
        with termination_raised():
            tally = count(start, watching)
    except KeyboardInterrupt as stop:
        kept = _keep(state, latest)
        raise Interrupted(latest, kept, 143 if isinstance(stop, Terminated) else 130) from None
    except MatnetError:
        _keep(state, latest)
        raise
    state.remove()
    return tally


def _keep(state: Unfinished, tally: Tally) -> Path | None:
    """Save what is worth it; None where nothing is, or the folder cannot be written to."""
    if not tally.images:
        return None
    try:
        state.save(tally)
    except (OSError, FileFormatError):
        return None
    return state.path


@contextmanager
def termination_raised() -> Iterator[None]:
    """SIGTERM raises Terminated meanwhile, as SIGINT raises KeyboardInterrupt; only the main thread hears either."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: object) -> None:
        raise Terminated

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
