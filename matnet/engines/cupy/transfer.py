"""Transfer of batches to and from the GPU: page-locked memory, and separate streams for copies."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np

from matnet.engines.cupy.views import Array
from matnet.engines.device import processors
from matnet.shapes import Shape

LARGE_BATCH = 8
PART = 4 << 20  # bytes per copy of a thread
MOST_COPIERS = 4  # threads, enough to saturate the memory bandwidth of a host


class PinnedBatch:
    """Memory for one batch on host and device, and events for its progress.

    With two of them, one batch is copied while another is computed.
    """

    def __init__(self, cupy: Any, inputs: Mapping[str, Shape], outputs: Mapping[str, Shape], faults: int = 0) -> None:
        import cupyx

        self._cupy = cupy
        pinned, device = cupyx.empty_pinned, cupy.empty
        self._sent = {name: pinned(shape, np.float32) for name, shape in inputs.items()}
        self._returned = {name: pinned(shape, np.float32) for name, shape in outputs.items()}
        self._inputs = {name: device(shape, np.float32) for name, shape in inputs.items()}
        self._outputs = {name: device(shape, np.float32) for name, shape in outputs.items()}
        self.outputs = self._outputs
        self.faults = pinned(faults + 1, np.int32)  # one more than requested, so never empty
        # Waiting for a large batch blocks the thread, which frees its CPU; for a small batch that is too slow.
        large = any(shape[0] >= LARGE_BATCH for shape in inputs.values())
        events = [cupy.cuda.Event(block=large, disable_timing=True) for _ in range(3)]
        self.arrived, self.computed, self.back = events

    def prepare(self, on_device: bool) -> None:
        """Set the destination of results: the host or, with `on_device`, new arrays of the current stream."""
        if on_device:
            self.outputs = {name: self._cupy.empty(value.shape, np.float32) for name, value in self._outputs.items()}
        else:
            self.outputs = self._outputs

    def send(self, values: Mapping[str, Any], page_locked: PageLocked, stream: Any) -> dict[str, Array]:
        """The inputs on the device; starts copying those on the host, which are complete at event `arrived`."""
        host = {name: value for name, value in values.items() if not isinstance(value, self._cupy.ndarray)}
        in_place = page_locked.holds(host)
        self.arrived.synchronize()  # the previous batch may still be running if its results stay on the device
        stream.wait_event(self.computed)
        for name, source in host.items():
            target = self._inputs[name]
            if in_place:
                target.data.copy_from_host_async(source.ctypes.data, source.nbytes, stream)
            else:
                _send_by_parts(source, self._sent[name], target, stream)
        self.arrived.record(stream)
        return {**values, **{name: self._inputs[name] for name in host}}

    def fetch(self, stream: Any) -> None:
        """Start copying outputs to the host, after they are computed, unless they stay on the device."""
        stream.wait_event(self.computed)
        if self.outputs is self._outputs:
            for name, source in self.outputs.items():
                target = self._returned[name]
                source.data.copy_to_host_async(target.ctypes.data, target.nbytes, stream)
        self.back.record(stream)

    def results(self) -> dict[str, Array]:
        """Wait for the outputs; returns new arrays.

        For results that stay on the device, waits only for the inputs, and for layers that validate theirs.
        """
        if self.outputs is not self._outputs:
            outputs, self.outputs = self.outputs, self._outputs
            (self.back if len(self.faults) > 1 else self.arrived).synchronize()
            return outputs
        self.back.synchronize()
        found = {}
        for name, value in self._returned.items():
            found[name] = np.empty_like(value)
            _copy_by_parts(value, found[name])
        return found


def _send_by_parts(source: np.ndarray, sent: np.ndarray, target: Array, stream: Any) -> None:
    """Copy into page-locked memory with several threads, and send each finished part to the device."""
    for first, part in _copies(source, sent):
        place = target.data + first * sent.itemsize
        place.copy_from_host_async(part.ctypes.data, part.nbytes, stream)


def _copy_by_parts(source: np.ndarray, target: np.ndarray) -> None:
    for _ in _copies(source, target):
        pass


def _copies(source: np.ndarray, target: np.ndarray) -> Any:
    """Copy a contiguous array in parts, yielding (index of the first element, copied part) in order."""
    flat, place = source.reshape(-1), target.reshape(-1)
    length = max(1, PART // source.itemsize)
    firsts = range(0, flat.size, length)

    def copy(first: int) -> tuple[int, np.ndarray]:
        part = place[first : first + length]
        np.copyto(part, flat[first : first + length])
        return first, part

    return map(copy, firsts) if len(firsts) < 2 else _copiers().map(copy, firsts)


@cache
def _copiers() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(min(MOST_COPIERS, processors()), "matnet-copy")


class PageLocked:
    """Tracks allocated page-locked arrays, to test whether an array is inside one of them."""

    def __init__(self) -> None:
        self._spans: dict[int, int] = {}

    def array(self, shape: Shape) -> np.ndarray:
        """A float32 array of zeros in page-locked memory."""
        import cupyx

        made: np.ndarray = cupyx.zeros_pinned(shape, np.float32)
        self._spans[made.ctypes.data] = made.nbytes
        weakref.finalize(made, self._spans.pop, made.ctypes.data, None).atexit = False
        return made

    def holds(self, values: Mapping[str, np.ndarray]) -> bool:
        """Whether all arrays, C-contiguous, are in page-locked memory."""
        return all(self._holds(value.ctypes.data, value.nbytes) for value in values.values())

    def _holds(self, begin: int, size: int) -> bool:
        spans = list(self._spans.items())
        return any(start <= begin and begin + size <= start + length for start, length in spans)
