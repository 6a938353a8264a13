"""The steps of the GPU engine carried out by numpy, on memory that is poisoned wherever nothing may be read.

Filters go through the same rearrangement as for cuDNN and cuBLAS, and are brought back from there; what is computed
on them is matnet's own ops. Every buffer is NaN before its first and after its last use.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from threading import RLock
from types import SimpleNamespace
from typing import Any

import numpy as np

from matnet.engines.cupy.bound import Bound, applied
from matnet.engines.cupy.steps import Apply, Convolve, DeviceBlob, Join, Load, Multiply, Schedule, Step
from matnet.engines.cupy.weights import filters_and_bias
from matnet.engines.layer_by_layer import LayerByLayer
from matnet.network import Layer, Network
from matnet.ops.base import Op
from matnet.ops.convolution import Conv, ConvTranspose
from tests import device_double

Array = np.ndarray
NAN = 0xFF  # in all bytes: NaN in float32 and in float16


class NumpyMachine:
    """A machine whose device is numpy."""

    def __init__(self, net: Network) -> None:
        self.net = net
        self.notes: list[str] = []

    def memory(self, size: int) -> Array:
        return np.full(size, NAN, np.uint8)

    def as_read(self, blob: DeviceBlob) -> DeviceBlob:
        return blob

    def load(self, target: Array) -> Callable[[Array], None]:
        return lambda value: np.copyto(target, value)

    def store(self, source: Array) -> Callable[[Array], None]:
        return lambda value: np.copyto(value, source)

    def bind(self, step: Step, reads: Sequence[Array], writes: Sequence[Array]) -> Callable[[], None]:
        if isinstance(step, Convolve):
            return self._convolve(step, reads, writes[0])
        if isinstance(step, Multiply):
            return self._multiply(step, reads, writes[0])
        if isinstance(step, Join):
            return lambda: self._join(reads, writes[0])
        assert isinstance(step, Apply)
        return applied(self.net, step, np, reads, writes)

    def _params(self, step: Convolve | Multiply) -> list[Array]:
        return [self.net.params[name].value for name in step.params]

    def _convolve(self, step: Convolve, reads: Sequence[Array], y: Array) -> Callable[[], None]:
        graph = step.graph
        filters, *bias = filters_and_bias(self._params(step), graph.bias, y.dtype.name)
        assert filters.shape == (graph.filters[0], *graph.filters[2:], graph.filters[1])
        assert reads[0].shape == graph.x and y.shape == graph.y
        wanted = [graph.x_strides, graph.y_strides, *([graph.residual] if graph.residual else [])]
        for array, strides in zip([reads[0], y, *reads[1:]], wanted, strict=True):
            assert array.strides == tuple(stride * array.itemsize for stride in strides)
        op: Op = Conv(pad=graph.pad, stride=graph.stride, dilate=graph.dilate)
        if graph.transposed:
            groups = graph.y[1] // graph.filters[1]
            op = ConvTranspose(crop=graph.pad, upsample=graph.stride, numGroups=groups)
        prepared = op.prepare(np, [filters.transpose(1, 2, 3, 0), *bias])

        def call() -> None:
            (found,) = op.forward(np, [np.ascontiguousarray(reads[0], np.float32)], prepared)
            y[...] = finished(found, reads[1:], graph.leak)

        return call

    def _multiply(self, step: Multiply, reads: Sequence[Array], y: Array) -> Callable[[], None]:
        filters, *bias = filters_and_bias(self._params(step), step.graph.bias, reads[0].dtype.name)
        rows = reads[0].transpose(0, 2, 3, 1).reshape(len(y), -1)
        assert np.shares_memory(rows, reads[0]), "cuBLAS gets the batch as one matrix, without a copy"

        def call() -> None:
            found = rows.astype(np.float32) @ filters.reshape(len(filters), -1).T.astype(np.float32)
            found = found + bias[0] if bias else found
            y[...] = finished(found.reshape(y.shape), reads[1:], step.graph.leak)

        return call

    def _join(self, reads: Sequence[Array], y: Array) -> None:
        first = 0
        for x in reads:
            y[:, first : first + x.shape[1]] = x
            first += x.shape[1]


def finished(found: Array, others: Sequence[Array], leak: float | None) -> Array:
    """The sum with the other term, and the ReLU."""
    for other in others:
        found = found + other
    return found if leak is None else np.where(found > 0, found, np.float32(leak) * found)


class EmulatedDevice:
    """What CupyEngine sees of a GPU, on numpy; layers that run one by one do so on the stand-in for CuPy."""

    def __init__(self, gpu: Any, options: Any) -> None:
        self.gpu, self.options = gpu, options
        self.notes: list[str] = []
        self.cudnn = None if options.cudnn is False else "cudnn"
        self.lock = RLock()
        self.packages = ["numpy"]
        self.schedules: list[Schedule] = []

    def machine(self, net: Network) -> NumpyMachine:
        return NumpyMachine(net)

    def program(self, machine: NumpyMachine, schedule: Schedule) -> Emulated:
        self.schedules.append(schedule)
        return Emulated(machine, schedule)

    def layer_by_layer(self, net: Network, layers: Sequence[Layer]) -> Callable[..., dict[str, Array]]:
        run = LayerByLayer(net, layers, device_double.xp)

        def call(values: Mapping[str, Array], wanted: Sequence[str], on_device: bool = False) -> dict[str, Array]:
            there = {name: device_double.xp.asarray(value) for name, value in values.items()}
            return {name: value.get() for name, value in run(there, wanted).items()}

        return call

    def free(self) -> None: ...


class Emulated:
    """A schedule that runs; each buffer holds NaN before the first and after the last step that uses it."""

    def __init__(self, machine: NumpyMachine, schedule: Schedule) -> None:
        self.bound, self.schedule = Bound(schedule, machine), schedule

    steps = SimpleNamespace(path="step by step")

    def submit(self, values: Mapping[str, Array], on_device: bool = False) -> SimpleNamespace:
        results = self.run(values)
        return SimpleNamespace(result=lambda: results, note="")

    def run(self, values: Mapping[str, Array]) -> dict[str, Array]:
        bound, schedule = self.bound, self.bound.schedule
        bound.memory[:] = NAN
        bound.load(values)
        last = {blob.name: number for number, step in enumerate(bound.steps) for blob in (*step.reads, *step.writes)}
        for blob in schedule.outputs.values():
            last[blob.name] = len(bound.steps)
        used = {step.writes[0].name for step in schedule.steps if isinstance(step, Load)}
        for number, (step, call) in enumerate(zip(bound.steps, bound.calls, strict=True)):
            for blob in step.writes:
                if blob.name not in used:
                    self.poison(blob)
                    used.add(blob.name)
            call()
            for blob in (*step.reads, *step.writes):
                if last[blob.name] == number:
                    self.poison(blob)
        results = {name: np.empty(blob.shape, np.float32) for name, blob in schedule.outputs.items()}
        bound.store(results)
        return results

    def poison(self, blob: DeviceBlob) -> None:
        """Fill the blob's whole buffer with NaN."""
        begin = self.bound.schedule.arena.offsets[blob.name]
        self.bound.memory[begin : begin + blob.bytes] = NAN
