"""Writers and readers of variables, for passes that merge layers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from matnet.network import Layer, Network


@dataclass
class Uses:
    """Writers and readers of the variables of one network, by layer."""

    writers: dict[str, list[Layer]]
    readers: dict[str, list[Layer]]
    wanted: set[str]

    @classmethod
    def of(cls, net: Network, wanted: Iterable[str]) -> Uses:
        writers: dict[str, list[Layer]] = {}
        readers: dict[str, list[Layer]] = {}
        for layer in net.layers.values():
            for name in layer.outputs:
                writers.setdefault(name, []).append(layer)
            for name in layer.inputs:
                readers.setdefault(name, []).append(layer)
        return cls(writers, readers, set(wanted))

    def only_link(self, variable: str) -> tuple[Layer, Layer] | None:
        """The only writer and the only reader of `variable`; None if there are others, or if it is wanted."""
        writers, readers = self.writers.get(variable, []), self.readers.get(variable, [])
        if variable in self.wanted or len(writers) != 1 or len(readers) != 1:
            return None
        return writers[0], readers[0]


def links(net: Network, wanted: Sequence[str]) -> list[tuple[Layer, Layer]]:
    """All pairs (writer, reader) where the reader is the only one of the writer's single output."""
    uses = Uses.of(net, wanted)
    found = [uses.only_link(layer.outputs[0]) for layer in net.layers.values() if len(layer.outputs) == 1]
    return [pair for pair in found if pair is not None]
