"""Measures the GPU's ceilings: matrix products in each precision, and copies in its memory."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

from matnet.benchmarks.peers.base import imported
from matnet.errors import EngineError

SIDE = 8192  # of the matrices
COPIED = 2 << 30  # bytes
RUNS = 10
TURNS = 3


def torch_with_gpu() -> Any:
    """The torch module if it is installed and finds a GPU; else None."""
    try:
        torch = imported("torch", "torch")
    except EngineError:
        return None
    return torch if torch.cuda.is_available() else None


def seconds_per_run(torch: Any, action: Callable[[], object], runs: int = RUNS) -> float:
    """The minimum of a few turns, timed by events in the stream."""
    action()
    best = float("inf")
    for _ in range(TURNS):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        for _ in range(runs):
            action()
        end.record()
        end.synchronize()
        best = min(best, begin.elapsed_time(end) / 1e3 / runs)
    return best


def matmul_peaks(torch: Any) -> dict[str, float]:
    """FLOP/s of a product of random matrices, by precision; FP16 accumulates in float32."""
    peaks = {}
    for precision in ("fp32", "tf32", "fp16"):
        torch.backends.cuda.matmul.allow_tf32 = precision != "fp32"
        kind = torch.float16 if precision == "fp16" else torch.float32
        a, b = (torch.randn(SIDE, SIDE, device="cuda", dtype=kind) for _ in range(2))
        result = torch.empty_like(a)
        peaks[precision] = 2 * SIDE**3 / seconds_per_run(torch, partial(torch.mm, a, b, out=result))
    return peaks


def copy_bandwidth(torch: Any) -> float:
    """Bytes per second of a copy in device memory, counting reads and writes."""
    source = torch.randn(COPIED // 4, device="cuda")
    target = torch.empty_like(source)
    return 2 * COPIED / seconds_per_run(torch, lambda: target.copy_(source))


def transfer_bandwidth(torch: Any, size: int = 256 << 20) -> float:
    """Bytes per second from pinned host memory to the device."""
    source = torch.empty(size // 4, pin_memory=True)
    target = torch.empty(size // 4, device="cuda")
    target.copy_(source)
    torch.cuda.synchronize()
    began = time.perf_counter()
    for _ in range(RUNS):
        target.copy_(source, non_blocking=True)
    torch.cuda.synchronize()
    return RUNS * size / (time.perf_counter() - began)
