"""Times each step of the GPU engine and compares it with the minimum for its bytes and operations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from matnet.network import Network

if TYPE_CHECKING:
    from matnet.engines.cupy.steps import DeviceBlob, Step

RUNS = 20
TURNS = 3


@dataclass(frozen=True)
class StepTime:
    """One step: its implementation, its time, and its minimum bytes and operations."""

    layer: str
    how: str
    seconds: float
    bytes: int
    operations: int

    def floor(self, bytes_per_s: float, flop_per_s: float) -> float:
        """The minimum seconds: reading and writing every byte once, or the operations at the peak."""
        return max(self.bytes / bytes_per_s, self.operations / flop_per_s)


def step_bytes(net: Network, step: Step) -> int:
    """Bytes of inputs, params and outputs, each once, as stored on the device."""
    stored = sum(prod(blob.shape) * np.dtype(blob.dtype).itemsize for blob in (*step.reads, *step.writes))
    kept = np.dtype(step.reads[0].dtype if step.reads else "float32").itemsize
    return stored + kept * sum(net.params[name].value.size for name in getattr(step, "params", ()))


def step_operations(net: Network, step: Step) -> int:
    """Multiplications and additions of the convolution in a step; 0 for other steps."""
    op = getattr(step, "op", None)
    if op is None:
        return 0
    shapes = [net.params[name].value.shape for name in getattr(step, "params", ())]
    return 2 * int(op.multiply_adds(_shapes(step.reads), shapes, _shapes(step.writes)))


def _shapes(blobs: Sequence[DeviceBlob]) -> list[tuple[int, ...]]:
    return [blob.shape for blob in blobs]


def step_times(net: Network, steps: Sequence[Step], calls: Sequence[Callable[[], None]], cupy: Any) -> list[StepTime]:
    """The time of every call, repeated on the same memory, so that small data come from the cache.

    The calls run on the current stream, to which they must be bound; `calls` has one call per step.
    """
    return [
        StepTime(step.layer, step.how, seconds_per_call(cupy, call), step_bytes(net, step), step_operations(net, step))
        for step, call in zip(steps, calls, strict=True)
    ]


def seconds_per_call(cupy: Any, call: Callable[[], None]) -> float:
    """The minimum of a few turns, timed by events in the current stream.

    The calls of a turn are one CUDA graph if possible, which excludes Python's launch time.
    """
    from matnet.engines.cupy.capture import Unrecordable, recorded

    stream = cupy.cuda.get_current_stream()
    call()
    try:
        graph = recorded(stream, [call] * RUNS)
    except Unrecordable:
        graph = None
    best = float("inf")
    for _ in range(TURNS):
        begin, end = cupy.cuda.Event(), cupy.cuda.Event()
        begin.record(stream)
        if graph is not None:
            graph.launch(stream)
        else:
            for _ in range(RUNS):
                call()
        end.record(stream)
        end.synchronize()
        best = min(best, cupy.cuda.get_elapsed_time(begin, end) / 1e3 / RUNS)
    return best


def by_kind(times: Sequence[StepTime], bytes_per_s: float, flop_per_s: float) -> list[dict[str, Any]]:
    """Number of steps, seconds and minimum seconds by kind of step, slowest first."""
    groups: dict[str, list[StepTime]] = {}
    for time in times:
        groups.setdefault(time.how, []).append(time)
    rows = []
    for how, members in groups.items():
        seconds = sum(time.seconds for time in members)
        floor = sum(time.floor(bytes_per_s, flop_per_s) for time in members)
        rows.append({"how": how, "steps": len(members), "seconds": seconds, "floor": floor})
    return sorted(rows, key=lambda row: -row["seconds"])
