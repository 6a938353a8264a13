"""The reference engine: runs layer by layer in numpy. Other engines must agree with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from matnet.engines.base import Engine, does_not_fit
from matnet.engines.layer_by_layer import LayerByLayer
from matnet.engines.options import EngineOptions
from matnet.errors import UnsupportedLayersError, listing
from matnet.graph import computable_without
from matnet.network import Layer, Network
from matnet.ops.base import Unknown, Unreached


class NumpyEngine(Engine):
    """Runs the forward pass of each op in numpy."""

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
        """Compute the wanted variables from validated inputs."""
        try:
            return self._layer_by_layer(values, self.wanted.values())
        except MemoryError as error:
            raise does_not_fit(values, self.device, error) from None


def refuse_unknown(net: Network, layers: Sequence[Layer]) -> None:
    """Raise UnsupportedLayersError with all layers of unknown type."""
    unknown = {layer.name: layer.op.kind for layer in layers if isinstance(layer.op, Unknown)}
    if unknown:
        reached = {layer.name for layer in layers if not isinstance(layer.op, Unreached)}
        lines = [f"layer {name!r} of type {kind!r}" for name, kind in unknown.items() if name in reached]
        raise UnsupportedLayersError(
            listing(f"{net.source}: cannot run these layers of unknown type:", lines)
            + "\nRegister each type with matnet.ops.register, or select outputs that do not need them."
            + computable_without(net, unknown)
        )
