"""Binding of a schedule to memory: views of an arena, and a call per step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from matnet.engines.cupy.steps import Apply, Convolve, DeviceBlob, Load, Schedule, Step, Store
from matnet.engines.layer_by_layer import guarded
from matnet.network import Network

Array = Any
Call = Callable[[], None]


class Machine(Protocol):
    """Converts steps to calls: a GPU, or numpy in tests. Views are N x C x H x W of channels-last memory."""

    def memory(self, size: int) -> Array:
        """Allocate `size` bytes as a 1-D array of uint8."""

    def bind(self, step: Step, reads: Sequence[Array], writes: Sequence[Array]) -> Call:
        """The call that executes the step on these views."""

    def as_read(self, blob: DeviceBlob) -> DeviceBlob:
        """An input as read by the bound steps, with or without the spare channels."""

    def load(self, target: Array) -> Callable[[Array], None]:
        """A function that copies a float32 N x C x H x W array into the view, with zeros in spare channels."""

    def store(self, source: Array) -> Callable[[Array], None]:
        """A function that copies the view into a float32 N x C x H x W array."""


class Bound:
    """An executable schedule: `load` the inputs, call all of `calls` in order, `store` the outputs."""

    def __init__(self, schedule: Schedule, machine: Machine) -> None:
        self.schedule = schedule
        self.memory = machine.memory(max(schedule.arena.size, 1))
        self.steps = [step for step in schedule.steps if not isinstance(step, (Load, Store))]
        self.calls = [machine.bind(step, self.views(step.reads), self.views(step.writes)) for step in self.steps]
        self._loads = {
            step.layer: machine.load(self.view(machine.as_read(step.writes[0])))
            for step in schedule.steps
            if isinstance(step, Load)
        }
        self._stores = {name: machine.store(self.view(blob)) for name, blob in schedule.outputs.items()}

    def view(self, blob: DeviceBlob) -> Array:
        """The blob as an N x C x H x W view of the arena."""
        begin = self.schedule.arena.offsets[blob.name]
        return blob.view(self.memory[begin : begin + blob.bytes].view(blob.dtype))

    def views(self, blobs: Sequence[DeviceBlob]) -> list[Array]:
        """Views of all blobs."""
        return [self.view(blob) for blob in blobs]

    def load(self, inputs: Mapping[str, Array]) -> None:
        """Copy the inputs, float32 N x C x H x W, into the arena."""
        for name, load in self._loads.items():
            load(inputs[name])

    def store(self, outputs: Mapping[str, Array]) -> None:
        """Copy the outputs from the arena to these arrays, float32 N x C x H x W."""
        for name, store in self._stores.items():
            store(outputs[name])


def applied(net: Network, step: Apply | Convolve, xp: Any, reads: Sequence[Array], writes: Sequence[Array]) -> Call:
    """A call of the op's forward pass on arrays of `xp` in float32, with results copied to `writes`."""
    layer, op = net.layers[step.layer], step.op
    prepared = guarded(net, layer, op.prepare, xp, [net.params[name].value for name in step.params])

    def call() -> None:
        inputs = [x if x.dtype == xp.float32 else x.astype(xp.float32) for x in reads]
        results = guarded(net, layer, op.forward, xp, inputs, prepared)
        for target, result in zip(writes, results, strict=False):
            target[...] = result

    return call
