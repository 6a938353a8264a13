"""Execution layer by layer: the forward pass of each op, on arrays of any array module."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from matnet.errors import MatnetError
from matnet.network import Layer, Network

Result = TypeVar("Result")
Step = tuple[Sequence[str], Callable[[dict[str, Any]], Mapping[str, Any]]]
"""Variables read by a step, and a function that computes others from them."""


def run_steps(steps: Sequence[Step], given: Mapping[str, Any], wanted: Iterable[str]) -> dict[str, Any]:
    """Compute the wanted variables from those given, and free each variable after its last use."""
    kept = list(wanted)
    left = Counter(name for inputs, _ in steps for name in inputs)
    left.update(kept)
    values = dict(given)
    for inputs, call in steps:
        values.update(call({name: values[name] for name in inputs}))
        for name in inputs:
            left[name] -= 1
            if not left[name]:
                values.pop(name, None)
    return {name: values[name] for name in kept}


class LayerByLayer:
    """Runs layers with params prepared once, as arrays of module `xp`."""

    def __init__(self, net: Network, layers: Sequence[Layer], xp: Any) -> None:
        self.net, self.layers, self.xp = net, layers, xp
        self.prepared = [guarded(net, layer, self._prepare, layer) for layer in layers]

    def _prepare(self, layer: Layer) -> Any:
        return layer.op.prepare(self.xp, [self.net.params[name].value for name in layer.params])

    def __call__(self, given: Mapping[str, Any], wanted: Iterable[str]) -> dict[str, Any]:
        """Compute the wanted variables from arrays of `xp`; errors name the file and layer."""
        layers = zip(self.layers, self.prepared, strict=True)
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):  # commands report NaN and infinite values
            return run_steps([self._step(layer, prepared) for layer, prepared in layers], given, wanted)

    def _step(self, layer: Layer, prepared: Any) -> Step:
        def forward(values: dict[str, Any]) -> dict[str, Any]:
            inputs = [values[name] for name in layer.inputs]
            results = guarded(self.net, layer, layer.op.forward, self.xp, inputs, prepared)
            return dict(zip(layer.outputs, results, strict=False))

        return layer.inputs, forward


def guarded(net: Network, layer: Layer, action: Callable[..., Result], *arguments: Any) -> Result:
    """The result of `action`; adds file and layer to its errors."""
    try:
        return action(*arguments)
    except MatnetError as error:
        raise type(error)(f"{net.source}, layer {layer.name!r} ({layer.type_name}): {error}") from None
