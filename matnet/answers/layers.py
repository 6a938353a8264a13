"""`net["conv1"]`: one layer of a network with its params."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from matnet.errors import NetworkError, nearest

if TYPE_CHECKING:
    from matnet.network import Layer, Network
    from matnet.ops.base import Op


class UnknownLayerError(NetworkError, KeyError):
    """No layer has this name; the message lists the nearest names."""

    def __str__(self) -> str:
        return str(self.args[0])


class LayerView:
    """A layer of a network: its op, inputs and outputs (names of variables), and params (name -> array).

    Arrays have MatConvNet's shapes: filters are height x width x channels x number. Assigning to `filters` or `biases`
    changes the network.
    """

    def __init__(self, net: Network, layer: Layer) -> None:
        self._net, self._layer = net, layer

    @property
    def name(self) -> str:
        return self._layer.name

    @property
    def op(self) -> Op:
        return self._layer.op

    @property
    def inputs(self) -> list[str]:
        return list(self._layer.inputs)

    @property
    def outputs(self) -> list[str]:
        return list(self._layer.outputs)

    @property
    def params(self) -> dict[str, np.ndarray]:
        """The params by name, in the layer's order."""
        held = self._net.params
        return {name: held[name].value for name in self._layer.params if name in held}

    @property
    def filters(self) -> np.ndarray | None:
        """The first param: filters or multipliers; None for a layer without params."""
        return self._param(0)

    @filters.setter
    def filters(self, value: np.ndarray) -> None:
        self._assign(0, value)

    @property
    def biases(self) -> np.ndarray | None:
        """The second param: biases or offsets; None for a layer without a second param."""
        return self._param(1)

    @biases.setter
    def biases(self, value: np.ndarray) -> None:
        self._assign(1, value)

    def _param(self, position: int) -> np.ndarray | None:
        names = self._layer.params[position : position + 1]
        return self._net.params[names[0]].value if names and names[0] in self._net.params else None

    def _assign(self, position: int, value: np.ndarray) -> None:
        old = self._param(position)
        if old is None:
            raise NetworkError(f"layer {self.name!r} ({self._layer.type_name}) has no such param to replace")
        new = np.asarray(value, dtype=old.dtype)
        if new.shape != old.shape:
            raise NetworkError(f"layer {self.name!r}: the new array has shape {new.shape}, expected {old.shape}")
        self._net.params[self._layer.params[position]].value = new

    def __repr__(self) -> str:
        arrays = ", ".join(f"{name} {'x'.join(map(str, value.shape))}" for name, value in self.params.items())
        wires = f"{', '.join(self.inputs)} -> {', '.join(self.outputs)}"
        return f"<Layer {self.name!r}: {self.op}, {wires}{f', {arrays}' if arrays else ''}>"


def layer_view(net: Network, name: str) -> LayerView:
    """The layer with this name. Raises UnknownLayerError, which is also a KeyError."""
    if isinstance(name, str) and name in net.layers:
        return LayerView(net, net.layers[name])
    raise UnknownLayerError(f"{net.source}: no layer is called {name!r}{nearest(str(name), net.layers)}")
