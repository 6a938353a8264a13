"""Recording of calls as CUDA graphs, so that the host launches a whole network at once."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from matnet.engines.cupy.bound import Call

log = logging.getLogger(__name__)
SHOWN = 3  # layers named in a note

# A CUDA graph, or None for calls run individually; first and last (exclusive) call.
Piece = tuple[Any, int, int]


class Unrecordable(RuntimeError):
    """Calls cannot be recorded. `index`: the failing call; None if the error occurs only at the end."""

    def __init__(self, index: int | None, reason: BaseException) -> None:
        super().__init__(str(reason).strip().split("\n")[0])
        self.index = index


def recorded(stream: Any, calls: Sequence[Call]) -> Any:
    """The calls as a CUDA graph. Raises Unrecordable if one cannot be recorded."""
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
    """Runs calls in order, as recorded graphs where possible.

    recordable: which calls run only on the device and may be recorded. names: layer names of the calls. The first run
    is not recorded, because it compiles kernels and lets libraries allocate memory. A call that cannot be recorded
    splits the graph, and `note` gives the reason. Temporary arrays of recorded calls have a separate pool, because each
    replay reuses their addresses.
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
        """How the calls will run the next time."""
        graphs = sum(graph is not None for graph, _, _ in self._pieces or ())
        alone = sum(end - begin for graph, begin, end in self._pieces or () if graph is None)
        if not graphs:
            return "step by step"
        steps = f", {alone} single step{'s' if alone > 1 else ''}" if alone else ""
        return f"{graphs} graph{'s' if graphs > 1 else ''}{steps}"

    def __call__(self, stream: Any) -> None:
        """Run all calls on `stream`, which must be the current stream."""
        if self._pieces is None:
            self._run(0, len(self._calls))
            self._record(stream)
            self._direct.free_all_blocks()  # graphs use the other pool
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
            self.note = f"layers {'; '.join(self._refused[:SHOWN])}{more} are not in a CUDA graph, but run individually"
            log.info("%s", self.note)

    def _parted(self, stream: Any, begin: int, end: int) -> list[Piece]:
        """These calls as graphs, split at calls that cannot be recorded."""
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

