"""What a user is told about a converted network: its inputs and outputs, and what MATLAB needs to run it."""

from __future__ import annotations

from matnet.network import Network
from matnet.shapes import text

SHOWN = 5


def matlab_needs(net: Network) -> str:
    """One line: stock MatConvNet runs the network, or the blocks that it lacks with the layers that use them."""
    needed: dict[str, list[str]] = {}
    for layer in net.layers.values():
        if not layer.op.stock:
            needed.setdefault(layer.type_name, []).append(layer.name)
    if not needed:
        return "runs in stock MatConvNet"
    blocks = [f"{kind} ({_some(names)})" for kind, names in needed.items()]
    return f"needs an extension in MATLAB: {', '.join(blocks)}"


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:SHOWN])
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{'layer' if len(names) == 1 else 'layers'} {shown}{more}"


def summary(net: Network) -> str:
    """One line: layers, numbers, inputs with their sizes, outputs."""
    count = sum(param.value.size for param in net.params.values())
    inputs = ", ".join(
        f"{name} ({text(net.input_shapes[name]) if name in net.input_shapes else 'size unknown'})"
        for name in net.inputs
    )
    return f"{len(net.layers)} layers, {count:,} numbers; inputs: {inputs or 'none'}; outputs: {', '.join(net.outputs)}"
