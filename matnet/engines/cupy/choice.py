"""Which of cuDNN's plans computes a graph fastest: tried out once, and remembered per GPU and cuDNN version."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from time import perf_counter
from typing import Any

from matnet.engines.cupy.graphs import build_graph, key_of, propose_plans
from matnet.engines.cupy.probe import BROKEN, Gpu
from matnet.engines.cupy.steps import ConvGraph
from matnet.files import cache_folder
from matnet.records import read_record, write_record

MOST_TRIED = 12  # plans that can be used, of one graph; cuDNN gives its best guesses first
TRIAL_SECONDS = 1.0  # for one graph, after which no further plan is tried
REPEATS = 10  # runs in one CUDA graph, so that the host's time for a launch does not count
ENOUGH_SECONDS = 5e-3  # in one CUDA graph
LAUNCH_SECONDS = 1e-4  # that the host may need to start a plan
FAR = 2.0  # times the best: not timed further


class PlanBook:
    """The names of the fastest plans, kept in a record on disk where that can be read and written."""

    def __init__(self, folder: Path | None, name: str) -> None:
        self.path = folder / "cudnn" / f"{re.sub(r'[^A-Za-z0-9.]+', '-', name)}.json" if folder else None
        self._names = self._read()

    @classmethod
    def of(cls, gpu: Gpu, version: int) -> PlanBook:
        """The book of this kind of GPU and this version of cuDNN."""
        return cls(cache_folder(), f"{gpu.name} {gpu.capability[0]}.{gpu.capability[1]} cudnn {version}")

    def _read(self) -> dict[str, str]:
        return (read_record(self.path, _names_in) if self.path else None) or {}

    def get(self, graph: ConvGraph) -> str | None:
        """The name of the fastest plan, if it is known."""
        return self._names.get(key_of(graph))

    def put(self, graph: ConvGraph, name: str) -> None:
        """Remember; what other processes wrote meanwhile is kept."""
        self._names = {**self._read(), **self._names, key_of(graph): name}
        if self.path is not None and not write_record(self.path, dict(sorted(self._names.items()))):
            self.path = None  # a cache only saves time: one warning is enough


def _names_in(record: Mapping[str, Any]) -> dict[str, str]:
    if not all(isinstance(name, str) for name in record.values()):
        raise ValueError("expected names of plans")
    return dict(record)


class ChosenPlan:
    """One plan of a built graph: `run` it on device addresses by uid, with `workspace` bytes of scratch memory."""

    def __init__(self, built: Any, index: int, handle: Any) -> None:
        self.built, self.index, self.handle = built, index, handle
        self.name = str(built.get_plan_name_at_index(index))
        self.workspace = max(0, int(built.get_workspace_size_plan_at_index(index)))

    def run(self, addresses: Mapping[int, int], workspace: int) -> None:
        """Start it on the handle's stream; `workspace` is an address."""
        self.built.execute_plan_at_index(dict(addresses), workspace, self.index, handle=self.handle)


class Chooser:
    """Chooses plans for one GPU: `addresses` of real buffers serve to try them on."""

    def __init__(self, cupy: Any, cudnn: Any, handle: Any, stream: Any, book: PlanBook, autotune: bool = True) -> None:
        self.cupy, self.cudnn, self.handle, self.stream = cupy, cudnn, handle, stream
        self.book, self.autotune = book, autotune
        self._limit = 0

    def choose(
        self, graph: ConvGraph, addresses: Mapping[int, int], scratch: Any, limit: int = 1 << 30
    ) -> ChosenPlan | None:
        """The plan for this graph, ready to run; None where cuDNN has none that needs at most `limit` bytes besides.

        `scratch(bytes)` gives the address of that much memory. Without `autotune` it is cuDNN's first guess.
        """
        self._limit = limit
        known = self.book.get(graph)
        plan = self._named(graph, known) if known else None
        if plan is None and self.autotune:
            plan = self._fastest(graph, addresses, scratch)
            if plan is not None:
                self.book.put(graph, plan.name)
        return plan or self._named(graph, None)

    def _named(self, graph: ConvGraph, name: str | None) -> ChosenPlan | None:
        """The plan of that name, or for None the first; None where it cannot be built."""
        built, count = self._proposed(graph)
        for index in range(count):
            if name is None or str(built.get_plan_name_at_index(index)) == name:
                plan = self._built(built, index)
                if plan is not None:
                    return plan
        return None

    def _fastest(self, graph: ConvGraph, addresses: Mapping[int, int], scratch: Any) -> ChosenPlan | None:
        built, count = self._proposed(graph)
        seconds: dict[str, float] = {}
        last: ChosenPlan | None = None
        started = perf_counter()
        for index in range(count):  # in fp32 most of the first ones are barred on GPUs with tensor cores
            plan = self._built(built, index)
            best = min(seconds.values(), default=float("inf"))
            time = self._timed(plan, addresses, scratch, best) if plan is not None else None
            if plan is not None and time is not None:
                seconds[plan.name], last = time, plan
            if len(seconds) == MOST_TRIED or (seconds and perf_counter() - started > TRIAL_SECONDS):
                break
        if len(seconds) < 2:
            return last
        # Built anew, so that the losers' kernels do not stay in memory.
        return self._named(graph, min(seconds, key=lambda name: seconds[name]))

    def _proposed(self, graph: ConvGraph) -> tuple[Any, int]:
        built = build_graph(self.cudnn, graph, handle=self.handle)
        try:
            return built, propose_plans(self.cudnn, built, graph)
        except self._refusals():
            return built, 0

    def _built(self, built: Any, index: int) -> ChosenPlan | None:
        """None where cuDNN cannot, may not (less exact than asked for), or only with too much memory."""
        try:
            built.build_plan_at_index(index)
            plan = ChosenPlan(built, index, self.handle)
        except self._refusals():
            return None
        return plan if plan.workspace <= self._limit else None

    def _refusals(self) -> tuple[type[Exception], ...]:
        return (self.cudnn.cudnnGraphNotSupportedError, NotImplementedError, IndexError, MemoryError, *BROKEN)

    def _timed(self, plan: ChosenPlan, addresses: Mapping[int, int], scratch: Any, best: float) -> float | None:
        """Seconds per run; None for a plan that fails, that no CUDA graph can hold, or that is far from the best."""
        stream = self.stream
        try:
            place = scratch(plan.workspace)
            plan.run(addresses, place)  # the first run loads the kernel
            once = self._seconds(lambda: plan.run(addresses, place))
            if once > FAR * best + LAUNCH_SECONDS:
                return None
            repeats = max(1, min(REPEATS, int(ENOUGH_SECONDS / max(once, 1e-9))))
            stream.synchronize()
            stream.begin_capture()
            try:
                for _ in range(repeats):
                    plan.run(addresses, place)
            finally:
                graph = stream.end_capture()
            graph.launch(stream)
            return self._seconds(lambda: graph.launch(stream)) / repeats
        except self._refusals():
            return None

    def _seconds(self, start: Callable[[], None]) -> float:
        """How long what `start` puts on the stream takes there."""
        begin, end = self.cupy.cuda.Event(), self.cupy.cuda.Event()
        begin.record(self.stream)
        start()
        end.record(self.stream)
        end.synchronize()
        return float(self.cupy.cuda.get_elapsed_time(begin, end)) / 1000
