"""A converted network in one line: its layers, inputs and outputs."""

from __future__ import annotations

from matnet.network import Network
from matnet.shapes import text


def summary(net: Network) -> str:
    """One line: layers, numbers, inputs with their sizes, outputs."""
    count = sum(param.value.size for param in net.params.values())
    inputs = ", ".join(
        f"{name} ({text(net.input_shapes[name]) if name in net.input_shapes else 'size unknown'})"
        for name in net.inputs
    )
    return f"{len(net.layers)} layers, {count:,} numbers; inputs: {inputs or 'none'}; outputs: {', '.join(net.outputs)}"
