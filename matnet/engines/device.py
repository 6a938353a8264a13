"""Devices of engines, as named in options."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from matnet.errors import EngineError

DEVICES = "cpu, gpu, gpu:N for GPU number N from 0 (or cuda, cuda:N), or gpu:0,gpu:1 for several"


@dataclass(frozen=True)
class Device:
    """A requested CPU or GPU. `index`: None for the current GPU and for the CPU. `others`: further GPUs that share
    the batches.
    """

    kind: str  # cpu or gpu
    index: int | None = None
    others: tuple[int, ...] = ()

    @property
    def each(self) -> list[str]:
        """The names of all devices."""
        first = self.kind if self.index is None else f"{self.kind}:{self.index}"
        return [first, *(f"{self.kind}:{index}" for index in self.others)]


def parse_device(text: str | None) -> Device | None:
    """Parse a device name; None stays None. Raises EngineError for an invalid name.

    >>> parse_device("cuda:1"), parse_device("cpu")
    (Device(kind='gpu', index=1, others=()), Device(kind='cpu', index=None, others=()))
    """
    if text is None:
        return None
    if "," in text:
        return _several(text)
    found = re.fullmatch(r"(cpu)|(?:gpu|cuda)(?::(\d{1,4}))?", text.strip().lower())
    if not found:
        raise EngineError(f"unknown device {text!r}; expected {DEVICES}")
    if found[1]:
        return Device("cpu")
    return Device("gpu", int(found[2]) if found[2] else None)


def _several(text: str) -> Device:
    found = [parse_device(part) for part in text.split(",")]
    numbers = [device.index for device in found if device is not None and device.index is not None]
    if len(numbers) != len(found) or len(set(numbers)) != len(numbers):
        raise EngineError(f"device is {text!r}; expected different GPUs by number, such as gpu:0,gpu:1")
    return Device("gpu", numbers[0], tuple(numbers[1:]))


def refuse_on_cpu(backend: str, device: Device | None, precision: str) -> None:
    """Raise EngineError if a GPU or a reduced precision is requested from a CPU backend."""
    if device is not None and device.kind != "cpu":
        raise EngineError(
            f"backend {backend!r} runs on the CPU; for a GPU use backend 'cupy' or 'auto', otherwise omit device 'gpu'"
        )
    if precision != "fp32":
        raise EngineError(
            f"backend {backend!r} supports only fp32; precision {precision!r} needs backend 'cupy' and a GPU"
        )


def processors() -> int:
    """The number of processors available to this process."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
