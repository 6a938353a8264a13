"""Removal of layers that are not needed or do nothing."""

from __future__ import annotations

from collections.abc import Sequence

from matnet.engines.plan.uses import Uses
from matnet.network import Network
from matnet.ops.activation import DropOut
from matnet.ops.base import computes_as


def keep_needed(net: Network, wanted: Sequence[str]) -> Network:
    """Keep only the layers, in execution order, and params that `wanted` depends on."""
    planned = net.copy()
    planned.layers = {layer.name: planned.layers[layer.name] for layer in net.upto(wanted)}
    used = {name for layer in planned.layers.values() for name in layer.params}
    planned.params = {name: param for name, param in planned.params.items() if name in used}
    return planned


def drop_dropout(net: Network, wanted: Sequence[str]) -> Network:
    """Remove dropout layers, except those with a wanted output."""
    planned = net.copy()
    for layer in net.layers.values():
        (output,) = layer.outputs[:1] or [""]
        if not computes_as(layer.op, DropOut) or output in wanted or len(Uses.of(planned, wanted).writers[output]) > 1:
            continue
        source = planned.layers.pop(layer.name).inputs[0]
        for reader in planned.layers.values():
            reader.inputs = [source if name == output else name for name in reader.inputs]
    return planned
