"""A pool of threads that decode images and compute batches, in reused memory."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from threading import Condition
from typing import Any, NamedTuple

import numpy as np

from matnet.errors import DataError

BACKLOG = 16  # finished batches that are not yet yielded; a limit on memory
WAKE = 0.5  # seconds; the waiting thread wakes so often, so that Ctrl-C works on every system

Prepare = Callable[[int, np.ndarray], Any]
"""Writes the prepared image number k into its row of a batch; raises DataError if it cannot be read."""
Compute = Callable[[np.ndarray, range, list[int]], Any]
"""Computes a batch from its memory (the images of a range in the first rows), the range, and the readable rows."""


class ThreadCounts(NamedTuple):
    """The number of threads, and how many of them at most decode, or compute, at the same time."""

    threads: int
    decoders: int
    streams: int


@dataclass
class Done:
    """A finished batch: its images, the errors of unreadable images, and the computed value."""

    span: range
    faults: dict[int, str]
    value: Any
    seconds: float  # computing time


@dataclass
class Slot:
    """The memory of one batch, and how far it is filled."""

    memory: np.ndarray
    span: range = range(0)
    given: int = 0  # images assigned to decoders
    missing: int = 0  # images not yet decoded
    faults: dict[int, str] = field(default_factory=dict)

    def begin(self, span: range) -> None:
        self.span, self.given, self.missing, self.faults = span, 0, len(span), {}


class Pipeline:
    """Runs batches of images through `prepare` and `compute`, as many at a time as there are arrays in `memory`.

    memory: one array per batch in progress. Each thread takes the next job; complete batches come before images to
    decode. So no thread waits while there is work, and a slow image delays only its own batch. The timing decides only
    the order of finished batches, not which images a batch holds, so results do not depend on it.
    """

    def __init__(self, prepare: Prepare, compute: Compute, memory: Sequence[np.ndarray], counts: ThreadCounts) -> None:
        self._prepare, self._compute, self._counts = prepare, compute, counts
        self._free = [Slot(array) for array in memory]
        self._filling: Slot | None = None
        self._full: deque[Slot] = deque()
        self._spans: deque[range] = deque()
        self._done: deque[Done] = deque()
        self._decoding = self._computing = 0
        self._stopped = False
        self._changed = Condition()

    def run(self, spans: Sequence[range]) -> Iterator[Done]:
        """Yields each batch as it finishes, in no particular order; raises what `compute` raises.

        Leaving the loop early stops the threads; batches in progress are finished and dropped. Ctrl-C does not wait for
        them.
        """
        self._spans.extend(spans)
        pool, waits = ThreadPoolExecutor(self._counts.threads, thread_name_prefix="matnet"), True
        try:
            threads = [pool.submit(self._work) for _ in range(self._counts.threads)]
            for thread in threads:
                thread.add_done_callback(self._wake)
            for _ in spans:
                yield self._wait_for_one(threads)
        except KeyboardInterrupt:
            waits = False
            raise
        finally:
            with self._changed:
                self._stopped = True
                self._changed.notify_all()
            pool.shutdown(waits)

    def _wait_for_one(self, threads: Sequence[Future[None]]) -> Done:
        with self._changed:
            while not self._done:
                for thread in threads:
                    if thread.done():
                        thread.result()  # raises its error, if any
                self._changed.wait(WAKE)
            if len(self._done) == BACKLOG:
                self._changed.notify_all()
            return self._done.popleft()

    def _wake(self, _: object) -> None:
        with self._changed:
            self._changed.notify_all()

    def _work(self) -> None:
        while (task := self._next()) is not None:
            task()

    def _next(self) -> Callable[[], None] | None:
        """The next job of this thread; None if no job is left."""
        with self._changed:
            while not self._stopped:
                if self._full and self._computing < self._counts.streams and len(self._done) < BACKLOG:
                    self._computing += 1
                    return partial(self._run, self._full.popleft())
                if self._decoding < self._counts.decoders:
                    slot = self._slot_to_fill()
                    if slot is not None:
                        self._decoding += 1
                        slot.given += 1
                        return partial(self._decode, slot, slot.given - 1)
                if self._nothing_left():
                    return None
                self._changed.wait()
        return None

    def _slot_to_fill(self) -> Slot | None:
        """A batch with images left to decode, if memory is free."""
        if self._filling is not None and self._filling.given == len(self._filling.span):
            self._filling = None
        if self._filling is None and self._free and self._spans:
            self._filling = self._free.pop()
            self._filling.begin(self._spans.popleft())
        return self._filling

    def _nothing_left(self) -> bool:
        return not (self._spans or self._filling or self._full or self._decoding)

    def _decode(self, slot: Slot, row: int) -> None:
        fault = ""
        try:
            self._prepare(slot.span[row], slot.memory[row])
        except DataError as error:
            fault = str(error)
            slot.memory[row] = 0  # so that results do not depend on its old content
        with self._changed:
            idle = self._decoding == self._counts.decoders < self._counts.threads  # whether others may wait for a turn
            self._decoding -= 1
            slot.missing -= 1
            if fault:
                slot.faults[row] = fault
            if not slot.missing:
                self._full.append(slot)
            if idle or not slot.missing:
                self._changed.notify_all()

    def _run(self, slot: Slot) -> None:
        good = [row for row in range(len(slot.span)) if row not in slot.faults]
        started = time.perf_counter()
        value = self._compute(slot.memory, slot.span, good) if good else None
        seconds = time.perf_counter() - started
        faults = {slot.span[row]: slot.faults[row] for row in sorted(slot.faults)}
        with self._changed:
            self._computing -= 1
            self._done.append(Done(slot.span, faults, value, seconds))
            self._free.append(slot)
            self._changed.notify_all()
