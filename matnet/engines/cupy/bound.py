"""The steps of a schedule bound to memory: views of one arena, and a call per step, for any machine that runs them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from matnet.engines.cupy.steps import Apply, Convolve, DeviceBlob, Load, Schedule, Step, Store
from matnet.engines.layer_by_layer import guarded
from matnet.network import Network

Array = Any
Call = Callable[[], None]


class Machine(Protocol):
    """What turns steps into calls: a GPU, or numpy in tests. Views are N x C x H x W of memory with channels last."""

    def memory(self, size: int) -> Array:
        """So many bytes, as a one-dimensional array of uint8."""

    def bind(self, step: Step, reads: Sequence[Array], writes: Sequence[Array]) -> Call:
        """The call that carries the step out on these views."""

    def as_read(self, blob: DeviceBlob) -> DeviceBlob:
        """An input as the steps that are bound read it: with room for more channels, these may be zeros or not."""

    def load(self, target: Array) -> Callable[[Array], None]:
        """What copies a float32 N x C x H x W array of the machine's into the view, zeros behind its channels."""

    def store(self, source: Array) -> Callable[[Array], None]:
        """What copies the view into a float32 N x C x H x W array of the machine's."""


class Bound:
    """A schedule that can run: `load` the inputs, call all of `calls` in order, `store` the outputs."""

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
        """`view` of each."""
        return [self.view(blob) for blob in blobs]

    def load(self, inputs: Mapping[str, Array]) -> None:
        """Bring the inputs, float32 N x C x H x W, into the arena."""
        for name, load in self._loads.items():
            load(inputs[name])

    def store(self, outputs: Mapping[str, Array]) -> None:
        """Bring the outputs from the arena into these arrays, float32 N x C x H x W."""
        for name, store in self._stores.items():
            store(outputs[name])


def applied(net: Network, step: Apply | Convolve, xp: Any, reads: Sequence[Array], writes: Sequence[Array]) -> Call:
    """The op's own forward pass on arrays of `xp`, in float32, its results copied to where they belong."""
    layer, op = net.layers[step.layer], step.op
    prepared = guarded(net, layer, op.prepare, xp, [net.params[name].value for name in step.params])

    def call() -> None:
        inputs = [x if x.dtype == xp.float32 else x.astype(xp.float32) for x in reads]
        results = guarded(net, layer, op.forward, xp, inputs, prepared)
        for target, result in zip(writes, results, strict=False):
            target[...] = result

    return call
