"""Layer by layer: each op's own forward pass on arrays of any array module, without cuDNN or fusing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from matnet.errors import MatnetError
from matnet.network import Layer, Network


class LayerByLayer:
    """Params are prepared once on `xp`'s device; values are freed after their last use."""

    def __init__(self, net: Network, layers: Sequence[Layer], xp: Any) -> None:
        self.net, self.layers, self.xp = net, layers, xp
        self.prepared = [guarded(net, layer, self._prepare, layer) for layer in layers]

    def _prepare(self, layer: Layer) -> Any:
        return layer.op.prepare(self.xp, [self.net.params[name].value for name in layer.params])

    def __call__(self, given: Mapping[str, Any], wanted: Iterable[str]) -> dict[str, Any]:
        """The wanted variables, from arrays on the device."""
        values = dict(given)
        kept = list(wanted)
        left = Counter(name for layer in self.layers for name in layer.inputs)
        left.update(kept)
        for layer, prepared in zip(self.layers, self.prepared, strict=True):
            inputs = [values[name] for name in layer.inputs]
            results = guarded(self.net, layer, layer.op.forward, self.xp, inputs, prepared)
            values.update(zip(layer.outputs, results, strict=False))
            for name in layer.inputs:
                left[name] -= 1
                if not left[name]:
                    values.pop(name, None)
        return {name: values[name] for name in kept}


def guarded(net: Network, layer: Layer, action: Any, *arguments: Any) -> Any:
    """What `action` gives; its errors name the file and the layer."""
    try:
        return action(*arguments)
    except MatnetError as error:
        raise type(error)(f"{net.source}, layer {layer.name!r} ({layer.type_name}): {error}") from None
