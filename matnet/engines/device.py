"""Where and how exactly an engine computes: device names and precisions, as the options spell them."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from matnet.errors import EngineError

PRECISIONS = ("fp32", "tf32", "fp16")
DEVICES = "cpu, gpu, or gpu:N for the N-th GPU, counted from 0 (cuda and cuda:N mean the same); gpu:0,gpu:1 for several"


@dataclass(frozen=True)
class Device:
    """A processor or GPU as asked for; `index` is None for the current GPU, and for a processor.

    `others`: further GPUs, which share the batches.
    """

    kind: str  # cpu or gpu
    index: int | None = None
    others: tuple[int, ...] = ()

    @property
    def each(self) -> list[str]:
        """The names of the devices one by one."""
        first = self.kind if self.index is None else f"{self.kind}:{self.index}"
        return [first, *(f"{self.kind}:{index}" for index in self.others)]


def parse_device(text: str | None) -> Device | None:
    """What a device's name means; None for none. EngineError for a name of another form.

    >>> parse_device("cuda:1"), parse_device("cpu")
    (Device(kind='gpu', index=1, others=()), Device(kind='cpu', index=None, others=()))
    """
    if text is None:
        return None
    if "," in text:
        return _several(text)
    found = re.fullmatch(r"(cpu)|(?:gpu|cuda)(?::(\d{1,4}))?", text.strip().lower())
    if not found:
        raise EngineError(f"no device is called {text!r}; expected {DEVICES}")
    if found[1]:
        return Device("cpu")
    return Device("gpu", int(found[2]) if found[2] else None)


def _several(text: str) -> Device:
    found = [parse_device(part) for part in text.split(",")]
    numbers = [device.index for device in found if device is not None and device.index is not None]
    if len(numbers) != len(found) or len(set(numbers)) != len(numbers):
        raise EngineError(f"several devices are different GPUs by number, such as gpu:0,gpu:1; found {text!r}")
    return Device("gpu", numbers[0], tuple(numbers[1:]))


def refuse_on_cpu(backend: str, device: Device | None, precision: str) -> None:
    """EngineError where a backend that computes on the processor is asked for a GPU or a shorter precision."""
    if device is not None and device.kind != "cpu":
        raise EngineError(
            f"backend {backend!r} computes on the processor; for a GPU choose backend 'cupy' or 'auto', "
            "or leave device 'gpu' out"
        )
    if precision != "fp32":
        raise EngineError(
            f"backend {backend!r} computes in fp32 alone; precision {precision!r} needs backend 'cupy' and a GPU"
        )


def processors() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
