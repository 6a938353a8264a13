"""Calls recorded as CUDA graphs and replayed: the host then starts a whole network at once."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from matnet.engines.cupy.bound import Call

log = logging.getLogger(__name__)
SHOWN = 3  # layers by name in a note

# A CUDA graph, or None where calls run one by one; from the first call to the one behind the last.
Piece = tuple[Any, int, int]


class Unrecordable(RuntimeError):
    """Calls cannot be recorded; `index`: the call that says so, None where that shows at the end alone."""

    def __init__(self, index: int | None, reason: BaseException) -> None:
        super().__init__(str(reason).strip().split("\n")[0])
        self.index = index


def recorded(stream: Any, calls: Sequence[Call]) -> Any:
    """The calls as a CUDA graph; Unrecordable where it cannot hold one of them."""
    stream.synchronize()
    stream.begin_capture()
    refused: Unrecordable | None = None
    try:
        for index, call in enumerate(calls):
            try:
                call()
            except RuntimeError as error:
                refused = Unrecordable(index, error)
                break
    finally:
        try:
            graph = stream.end_capture()
        except RuntimeError as error:
            refused = refused or Unrecordable(None, error)
    if refused:
        raise refused
    try:
        graph.upload(stream)
    except RuntimeError as error:
        raise Unrecordable(None, error) from None
    return graph


class Replayed:
    """Calls in order, as far as possible as recorded graphs, the others one by one.

    `recordable` says which calls may be recorded: those whose work is done on the device alone; `names` are those of
    their layers. The first run is not recorded: it compiles kernels and lets libraries allocate what they need. A
    call that turns out not to be recordable parts the graph, and `note` says why. Temporary arrays of recorded calls
    come from a pool of their own, since a graph uses their addresses again whenever it is replayed.
    """

    def __init__(
        self, cupy: Any, calls: Sequence[Call], recordable: Sequence[bool], names: Sequence[str], pools: Sequence[Any]
    ) -> None:
        self._cupy, self._calls, self._names = cupy, list(calls), list(names)
        self._recordable = list(recordable)
        self._direct, self._recording = pools
        self._pieces: list[Piece] | None = None
        self._refused: list[str] = []
        self.note = ""

    @property
    def path(self) -> str:
        """How the calls run at the next call of this object."""
        graphs = sum(graph is not None for graph, _, _ in self._pieces or ())
        alone = sum(end - begin for graph, begin, end in self._pieces or () if graph is None)
        if not graphs:
            return "step by step"
        steps = f", {alone} step{'s' if alone > 1 else ''} one by one" if alone else ""
        return f"{graphs} graph{'s' if graphs > 1 else ''}{steps}"

    def __call__(self, stream: Any) -> None:
        """Run all calls on the stream, which is the current one."""
        if self._pieces is None:
            self._run(0, len(self._calls))
            self._record(stream)
            self._direct.free_all_blocks()  # what graphs use again lies in the other pool
            return
        for graph, begin, end in self._pieces:
            if graph is None:
                self._run(begin, end)
            else:
                graph.launch(stream)

    def _run(self, begin: int, end: int) -> None:
        with self._cupy.cuda.using_allocator(self._direct.malloc):
            for call in self._calls[begin:end]:
                call()

    def _record(self, stream: Any) -> None:
        self._pieces = []
        begin = 0
        for end in range(1, len(self._calls) + 1):
            if end == len(self._calls) or self._recordable[end] != self._recordable[begin]:
                found = self._parted(stream, begin, end) if self._recordable[begin] else [(None, begin, end)]
                self._pieces += found
                begin = end
        if self._refused:
            more = f" and {len(self._refused) - SHOWN} more" if len(self._refused) > SHOWN else ""
            self.note = f"layers {'; '.join(self._refused[:SHOWN])}{more}: each batch runs them one by one"
            log.info("%s", self.note)

    def _parted(self, stream: Any, begin: int, end: int) -> list[Piece]:
        """These calls as graphs, parted at those that cannot be recorded."""
        if begin == end:
            return []
        try:
            with self._cupy.cuda.using_allocator(self._recording.malloc):
                return [(recorded(stream, self._calls[begin:end]), begin, end)]
        except Unrecordable as error:
            if end - begin == 1:
                self._refused.append(f"{self._names[begin]!r} ({error})")
                return [(None, begin, end)]
            if error.index is None:
                middle = (begin + end) // 2
                return self._parted(stream, begin, middle) + self._parted(stream, middle, end)
            at = begin + error.index
        before, one = self._parted(stream, begin, at), self._parted(stream, at, at + 1)
        return before + one + self._parted(stream, at + 1, end)

