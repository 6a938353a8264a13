"""Calls recorded as CUDA graphs and replayed: the host then starts a whole network at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from matnet.engines.cupy.bound import Call


def runs_of(captured: Sequence[bool]) -> list[tuple[bool, int, int]]:
    """Consecutive equal values as (value, begin, end).

    >>> runs_of([True, True, False, True])
    [(True, 0, 2), (False, 2, 3), (True, 3, 4)]
    """
    runs: list[tuple[bool, int, int]] = []
    for number, value in enumerate(captured):
        if runs and runs[-1][0] == value:
            runs[-1] = (value, runs[-1][1], number + 1)
        else:
            runs.append((value, number, number + 1))
    return runs


class Replayed:
    """Calls in order, those that may be recorded as graphs, the others one by one.

    `recordable` says which calls do their work on the device alone. The first run is not recorded: it compiles
    kernels and lets libraries allocate what they need. Where recording fails, calls go on one by one, and
    `note` says why. Temporary arrays of recorded calls come from pools of their own, since a graph uses their
    addresses again whenever it is replayed.
    """

    def __init__(self, cupy: Any, calls: Sequence[Call], recordable: Sequence[bool], enabled: bool = True) -> None:
        self._cupy, self._calls, self._recordable = cupy, list(calls), list(recordable)
        self._enabled = enabled
        self._direct, self._recording = cupy.cuda.MemoryPool(), cupy.cuda.MemoryPool()
        self._replays: list[Callable[[Any], None]] | None = None
        self.note = ""

    def __call__(self, stream: Any) -> None:
        """Run all calls on the stream, which is the current one."""
        if self._replays is not None:
            for replay in self._replays:
                replay(stream)
            return
        with self._cupy.cuda.using_allocator(self._direct.malloc):
            for call in self._calls:
                call()
        self._replays = self._record(stream)
        self._direct.free_all_blocks()  # what graphs use again lies in the other pool

    def _record(self, stream: Any) -> list[Callable[[Any], None]]:
        replays: list[Callable[[Any], None]] = []
        for recordable, begin, end in runs_of(self._recordable):
            graph = self._graph(stream, self._calls[begin:end]) if recordable and self._enabled else None
            replays.append(self._one_by_one(begin, end) if graph is None else graph.launch)
        return replays

    def _one_by_one(self, begin: int, end: int) -> Callable[[Any], None]:
        def run(stream: Any) -> None:
            with self._cupy.cuda.using_allocator(self._direct.malloc):
                for call in self._calls[begin:end]:
                    call()

        return run

    def _graph(self, stream: Any, calls: Sequence[Call]) -> Any:
        """The calls as a CUDA graph; None where one of them cannot be recorded."""
        graph = None
        stream.synchronize()
        try:
            with self._cupy.cuda.using_allocator(self._recording.malloc):
                stream.begin_capture()
                try:
                    for call in calls:
                        call()
                finally:
                    graph = stream.end_capture()
            graph.upload(stream)
        except RuntimeError as error:
            self.note = f"layers run one by one, because they cannot be recorded: {error}"
            return None
        return graph
