"""Selection of the fastest cuDNN plan and way for a step: timed once, recorded per GPU and cuDNN version."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any, TypeVar

from matnet.engines.cupy.capture import recorded
from matnet.engines.cupy.graphs import build_graph, key_of, propose_plans
from matnet.engines.cupy.probe import BROKEN, Gpu
from matnet.engines.cupy.steps import ConvGraph
from matnet.files import cache_folder
from matnet.records import read_record, write_record

MOST_TRIED = 12  # usable plans per graph; cuDNN lists its best guesses first
TRIAL_SECONDS = 1.0  # maximum time of trials per graph
REPEATS = 10  # runs per CUDA graph, to exclude launch overhead
ENOUGH_SECONDS = 5e-3  # maximum run time per CUDA graph
LAUNCH_SECONDS = 1e-4  # maximum launch overhead of a plan
FAR = 2.0  # ratio to the best time above which a plan is rejected after one run
ALIKE = 1.02  # ratio to the best time up to which plans are equal, and the smallest workspace wins

T = TypeVar("T", bound=Callable[[], None])


class PlanBook:
    """Names of the fastest plans and ways by key, stored on disk if possible."""

    def __init__(self, folder: Path | None, name: str) -> None:
        self.path = folder / "cudnn" / f"{re.sub(r'[^A-Za-z0-9.]+', '-', name)}.json" if folder else None
        self._names = self._read()

    @classmethod
    def of(cls, gpu: Gpu, version: int) -> PlanBook:
        """The plan book for this type of GPU and cuDNN version."""
        return cls(cache_folder(), f"{gpu.name} {gpu.capability[0]}.{gpu.capability[1]} cudnn {version}")

    def _read(self) -> dict[str, str]:
        return (read_record(self.path, _names_in) if self.path else None) or {}

    def get(self, key: str) -> str | None:
        """The recorded name, or None."""
        return self._names.get(key)

    def put(self, key: str, name: str) -> None:
        """Record a name; keeps what other processes wrote meanwhile."""
        self._names = {**self._read(), **self._names, key: name}
        if self.path is not None and not write_record(self.path, dict(sorted(self._names.items()))):
            self.path = None  # a cache only saves time: one warning is enough


def _names_in(record: Mapping[str, Any]) -> dict[str, str]:
    if not all(isinstance(name, str) for name in record.values()):
        raise ValueError("expected names of plans")
    return dict(record)


class ChosenPlan:
    """A plan of a built graph: `run` it on device addresses by uid, with `workspace` bytes of scratch memory."""

    def __init__(self, built: Any, index: int, handle: Any) -> None:
        self.built, self.index, self.handle = built, index, handle
        self.name = str(built.get_plan_name_at_index(index))
        self.workspace = max(0, int(built.get_workspace_size_plan_at_index(index)))

    def run(self, addresses: Mapping[int, int], workspace: int) -> None:
        """Launch on the handle's stream. workspace: an address."""
        self.built.execute_plan_at_index(dict(addresses), workspace, self.index, handle=self.handle)


class Chooser:
    """Selects plans and ways for one GPU, timed on its stream. cudnn: None if not available (no plans).

    `limit`: maximum workspace of a plan in bytes.
    """

    def __init__(
        self, cupy: Any, stream: Any, book: PlanBook, cudnn: Any = None, handle: Any = None, autotune: bool = True
    ) -> None:
        self.cupy, self.cudnn, self.handle, self.stream = cupy, cudnn, handle, stream
        self.book, self.autotune = book, autotune
        self.limit = 0

    def way(self, key: str, ways: Mapping[str, Callable[[], T | None]]) -> T | None:
        """The fastest of several equivalent calls, each built by a function; None if none can be built.

        Its name is recorded under the key. Without `autotune`, the first that can be built.
        """
        key = f"way {key}"
        known = self.book.get(key)
        if known is not None and known in ways and (call := ways[known]()) is not None:
            return call
        best: tuple[float, str, T] | None = None
        for name, make in ways.items():
            call = make()
            if call is not None and (not self.autotune or len(ways) == 1):
                return call
            seconds = self._timed(call, best[0] if best else float("inf")) if call is not None else None
            if call is not None and seconds is not None and (best is None or seconds < best[0]):
                best = seconds, name, call
        if best is None:
            return next((call for make in ways.values() if (call := make()) is not None), None)
        self.book.put(key, best[1])
        return best[2]

    def plan(
        self, graph: ConvGraph, addresses: Mapping[int, int], scratch: Callable[[int], int]
    ) -> ChosenPlan | None:
        """cuDNN's fastest plan for this graph, timed on real buffers; None if none is within the limit.

        scratch: returns the address of the given number of bytes. Without `autotune`, cuDNN's first guess.
        """
        if self.cudnn is None:
            return None
        known = self.book.get(key_of(graph))
        plan = self._named(graph, known) if known else None
        if plan is None and self.autotune:
            plan = self._fastest(graph, addresses, scratch)
            if plan is not None:
                self.book.put(key_of(graph), plan.name)
        return plan or self._named(graph, None)

    def _named(self, graph: ConvGraph, name: str | None) -> ChosenPlan | None:
        """The plan with this name, or the first one for None; None if it cannot be built."""
        built, count = self._proposed(graph)
        for index in range(count):
            if name is None or str(built.get_plan_name_at_index(index)) == name:
                plan = self._built(built, index)
                if plan is not None:
                    return plan
        return None

    def _fastest(
        self, graph: ConvGraph, addresses: Mapping[int, int], scratch: Callable[[int], int]
    ) -> ChosenPlan | None:
        built, count = self._proposed(graph)
        seconds: dict[str, tuple[float, int]] = {}
        last: ChosenPlan | None = None
        started = perf_counter()
        for index in range(count):  # in fp32, most of the first plans are excluded on GPUs with tensor cores
            plan = self._built(built, index)
            if plan is None:
                continue
            place, best = scratch(plan.workspace), min(seconds.values(), default=(float("inf"), 0))
            time = self._timed(partial(plan.run, addresses, place), best[0])
            if time is not None:
                seconds[plan.name], last = (time, plan.workspace), plan
            if len(seconds) == MOST_TRIED or (seconds and perf_counter() - started > TRIAL_SECONDS):
                break
        if len(seconds) < 2:
            return last
        enough = ALIKE * min(seconds.values())[0]
        alike = [name for name, (time, _) in seconds.items() if time <= enough]
        # Build again, so that kernels of other plans do not stay in memory.
        return self._named(graph, min(alike, key=lambda name: (seconds[name][1], seconds[name][0])))

    def _proposed(self, graph: ConvGraph) -> tuple[Any, int]:
        try:
            built = build_graph(self.cudnn, graph, handle=self.handle)
            return built, propose_plans(self.cudnn, built, graph)
        except self._refusals():
            return None, 0

    def _built(self, built: Any, index: int) -> ChosenPlan | None:
        """The plan, or None if cuDNN does not support it, it is not exact enough, or it needs too much memory."""
        try:
            built.build_plan_at_index(index)
            plan = ChosenPlan(built, index, self.handle)
        except self._refusals():
            return None
        return plan if plan.workspace <= self.limit else None

    def _refusals(self) -> tuple[type[Exception], ...]:
        own = (self.cudnn.cudnnGraphNotSupportedError,) if self.cudnn is not None else ()
        return (*own, NotImplementedError, IndexError, MemoryError, *BROKEN)

    def _timed(self, call: Callable[[], None], best: float) -> float | None:
        """Seconds of a call; None if it fails, cannot be recorded in a CUDA graph, or is much slower than the best."""
        stream = self.stream
        try:
            call()  # the first run loads the kernel
            once = self._seconds(call)
            if once > FAR * best + LAUNCH_SECONDS:
                return None
            repeats = max(1, min(REPEATS, int(ENOUGH_SECONDS / max(once, 1e-9))))
            graph = recorded(stream, [call] * repeats)
            graph.launch(stream)
            return self._seconds(lambda: graph.launch(stream)) / repeats
        except self._refusals():
            return None

    def _seconds(self, start: Callable[[], None]) -> float:
        """The time on the stream of the work that `start` launches."""
        begin, end = self.cupy.cuda.Event(), self.cupy.cuda.Event()
        begin.record(self.stream)
        start()
        end.record(self.stream)
        end.synchronize()
        return float(self.cupy.cuda.get_elapsed_time(begin, end)) / 1000
