"""The readable reference: ops one by one in numpy, any variable on request. Other engines must agree with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from matnet.engines.base import Engine, does_not_fit
from matnet.engines.options import EngineOptions
from matnet.errors import MatnetError, UnsupportedLayersError, listing
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
        self.prepared = [self._guard(layer, self._prepare, layer) for layer in self.layers]

    def _prepare(self, layer: Layer) -> Any:
        return layer.op.prepare(np, [self.net.params[name].value for name in layer.params])

    def run(self, values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        left = Counter(name for layer in self.layers for name in layer.inputs)
        left.update(self.wanted.values())
        try:
            return self._run(dict(values), left)
        except MemoryError as error:
            raise does_not_fit(values, self.device, error) from None

    def _run(self, values: dict[str, np.ndarray], left: Counter[str]) -> dict[str, np.ndarray]:
        for layer, prepared in zip(self.layers, self.prepared, strict=True):
            inputs = [values[name] for name in layer.inputs]
            results = self._guard(layer, layer.op.forward, np, inputs, prepared)
            values.update(zip(layer.outputs, results, strict=False))
            for name in layer.inputs:
                left[name] -= 1
                if not left[name]:
                    values.pop(name, None)
        return values

    def _guard(self, layer: Layer, action: Any, *arguments: Any) -> Any:
        try:
            return action(*arguments)
        except MatnetError as error:
            where = f"{self.net.source}, layer {layer.name!r} ({layer.type_name})"
            raise type(error)(f"{where}: {error}") from None


def refuse_unknown(net: Network, layers: Sequence[Layer]) -> None:
    """UnsupportedLayersError listing all layers of unknown types."""
    unknown = [f"layer {layer.name!r} of type {layer.op.kind!r}" for layer in layers if isinstance(layer.op, Unknown)]
    if unknown:
        raise UnsupportedLayersError(
            listing(f"{net.source}: cannot run these layers, whose types are not known:", unknown)
            + "\nRegister each type with matnet.ops.register, or ask for outputs that do not need them."
        )
