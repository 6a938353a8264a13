"""The readable reference: ops one by one in numpy, any variable on request. Other engines must agree with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from matnet.engines.base import Engine, does_not_fit
from matnet.engines.layer_by_layer import LayerByLayer
from matnet.engines.options import EngineOptions
from matnet.errors import UnsupportedLayersError, listing
from matnet.network import Layer, Network
from matnet.ops.base import Unknown


class NumpyEngine(Engine):
    """Runs each layer's own `forward`; params are prepared once, values are freed after their last use."""

    backend = "numpy"

    def __init__(
        self, net: Network, outputs: Sequence[str] | None = None, options: EngineOptions | None = None
    ) -> None:
        super().__init__(net, outputs, options)
        refuse_unknown(self.net, self.layers)
        self._layer_by_layer = LayerByLayer(self.net, self.layers, np)

    def __call__(self, x: Any) -> dict[str, np.ndarray]:
        values = self.take_inputs(x)
        self.prepare({name: value.shape for name, value in values.items()})
        results = self.run(values)
        return {name: results[variable] for name, variable in self.wanted.items()}

    def run(self, values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The wanted variables, from checked inputs."""
        try:
            return self._layer_by_layer(values, self.wanted.values())
        except MemoryError as error:
            raise does_not_fit(values, self.device, error) from None


def refuse_unknown(net: Network, layers: Sequence[Layer]) -> None:
    """UnsupportedLayersError listing all layers of unknown types."""
    unknown = {layer.name: layer.op.kind for layer in layers if isinstance(layer.op, Unknown)}
    if unknown:
        lines = [f"layer {name!r} of type {kind!r}" for name, kind in unknown.items()]
        raise UnsupportedLayersError(
            listing(f"{net.source}: cannot run these layers, whose types are not known:", lines)
            + "\nRegister each type with matnet.ops.register, or ask for outputs that do not need them."
            + net.computable_without(unknown)
        )
