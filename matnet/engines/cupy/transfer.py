"""Batches on their way to the GPU and back: page-locked memory, and streams of their own beside the computing one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from matnet.shapes import Shape

Array = Any
LARGE_BATCH = 8
PART = 8 << 20  # bytes


class Slot:
    """Memory for one batch on either side, and events that tell how far it is.

    Two of them let one batch be copied while another is computed.
    """

    def __init__(self, cupy: Any, inputs: Mapping[str, Shape], outputs: Mapping[str, Shape], faults: int = 0) -> None:
        import cupyx

        self._cupy = cupy
        pinned, device = cupyx.empty_pinned, cupy.empty
        self._sent = {name: pinned(shape, np.float32) for name, shape in inputs.items()}
        self._returned = {name: pinned(shape, np.float32) for name, shape in outputs.items()}
        self.inputs = {name: device(shape, np.float32) for name, shape in inputs.items()}
        self.outputs = {name: device(shape, np.float32) for name, shape in outputs.items()}
        self.faults = pinned(faults + 1, np.int32)  # as many as are asked for, and one that is not used
        # A thread that waits for a large batch leaves its processor to others; for a small one that takes too long.
        large = any(shape[0] >= LARGE_BATCH for shape in inputs.values())
        events = [cupy.cuda.Event(block=large, disable_timing=True) for _ in range(3)]
        self.arrived, self.computed, self.back = events

    def send(self, values: Mapping[str, np.ndarray], page_locked: bool, stream: Any) -> None:
        """Start copying the inputs to the device; `page_locked`: from where they are, else by way of the slot."""
        for name, target in self.inputs.items():
            source = values[name]
            if page_locked:
                target.data.copy_from_host_async(source.ctypes.data, source.nbytes, stream)
            else:
                self._send_by_parts(source, self._sent[name], target, stream)
        self.arrived.record(stream)

    def _send_by_parts(self, source: np.ndarray, sent: np.ndarray, target: Array, stream: Any) -> None:
        """Copy some images into page-locked memory while those before them travel."""
        step = max(1, PART // max(1, source[0].nbytes))
        for first in range(0, len(source), step):
            part = sent[first : first + step]
            np.copyto(part, source[first : first + step])
            place = target.data + first * source[0].nbytes
            place.copy_from_host_async(part.ctypes.data, part.nbytes, stream)

    def fetch(self, stream: Any) -> None:
        """Start copying the outputs back, once they are computed."""
        stream.wait_event(self.computed)
        for name, source in self.outputs.items():
            target = self._returned[name]
            source.data.copy_to_host_async(target.ctypes.data, target.nbytes, stream)
        self.back.record(stream)

    def results(self) -> dict[str, np.ndarray]:
        """Wait for the outputs; arrays of the caller's own."""
        self.back.synchronize()
        return {name: value.copy() for name, value in self._returned.items()}


class PageLocked:
    """Where page-locked arrays lie that were handed out, and whether another array lies in one of them."""

    def __init__(self) -> None:
        self._spans: dict[int, int] = {}

    def array(self, shape: Shape) -> np.ndarray:
        """A float32 array of zeros, from which copies to the device are fastest."""
        import cupyx

        made = cupyx.zeros_pinned(shape, np.float32)
        self._spans[made.ctypes.data] = made.nbytes
        return made

    def holds(self, values: Mapping[str, np.ndarray]) -> bool:
        """Whether all arrays, C-contiguous, lie in such memory."""
        return all(self._holds(value.ctypes.data, value.nbytes) for value in values.values())

    def _holds(self, begin: int, size: int) -> bool:
        return any(start <= begin and begin + size <= start + length for start, length in self._spans.items())
