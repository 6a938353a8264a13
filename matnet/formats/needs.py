"""What MATLAB needs to run a saved network."""

from __future__ import annotations

import numpy as np

from matnet.errors import MatnetError
from matnet.formats.dagnn import constant_operands
from matnet.formats.simplenn import STOCK_TYPES
from matnet.network import Layer, Network

SHOWN = 5


def matlab_needs(net: Network, format: str) -> str:
    """One line: stock MatConvNet runs the network, or the missing types with their layers.

    format: simplenn or dagnn; vl_simplenn supports fewer types than DagNN.
    """
    constant = constant_operands(net) if format == "dagnn" else []
    needed: dict[str, list[str]] = {}
    for layer in net.layers.values():
        kind = _simplenn_type(layer) if format == "simplenn" else layer.type_name
        stock = kind in STOCK_TYPES if format == "simplenn" else layer.op.stock
        if not stock or layer.name in constant:
            needed.setdefault(kind, []).append(layer.name)
    missing = without_weights(net)
    faults = [f"layer {layer.name!r}: {fault}" for layer in net.layers.values() for fault in _faults(net, layer)]
    if faults:
        return f"cannot run: {'; '.join(faults[:SHOWN])}"
    ignored = [(layer.name, layer.extra["ignored"]) for layer in net.layers.values() if "ignored" in layer.extra]
    if ignored:
        refused = "; ".join(f"layer {name!r}: {', '.join(named)}" for name, named in ignored[:SHOWN])
        return f"MatConvNet cannot run it: the file keeps fields unknown to MatConvNet: {refused}"
    if needed:
        blocks = [f"{kind} ({_some(names)})" for kind, names in needed.items()]
        return f"needs an extension in MATLAB: {', '.join(blocks)}"
    return f"lacks weights for {missing}; with them, it runs in stock MatConvNet" if missing else STOCK


STOCK = "runs in stock MatConvNet"


def without_weights(net: Network) -> str:
    """The layers with missing params, as text; "" if there are none."""
    missing = [layer.name for layer in net.layers.values() if any(name not in net.params for name in layer.params)]
    return _some(missing) if missing else ""


def _faults(net: Network, layer: Layer) -> list[str]:
    """Why the layer cannot run: errors found while reading, and invalid param values."""
    values = [net.params[name].value for name in layer.params if name in net.params]
    if layer.faults or layer.op.has_filters or len(values) < len(layer.params):
        return layer.faults
    try:
        layer.op.prepare(np, values)
    except MatnetError as error:
        return [str(error)]
    return []


def _simplenn_type(layer: Layer) -> str:
    return str(layer.extra.get("simplenn", {}).get("type") or next(iter(layer.op.simplenn), layer.type_name))


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:SHOWN])
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{'layer' if len(names) == 1 else 'layers'} {shown}{more}"
