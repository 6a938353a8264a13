"""A converted network in one line: its layers, inputs and outputs."""

from __future__ import annotations

from collections.abc import Iterable

from matnet.network import Network
from matnet.shapes import text


def summary(net: Network) -> str:
    """One line: layers, numbers, inputs with their sizes, outputs."""
    count = sum(param.value.size for param in net.params.values())
    return summary_of(f"{len(net.layers)} layers", count, net, net.inputs, net.outputs)


def summary_of(parts: str, count: int, net: Network, inputs: Iterable[str], outputs: Iterable[str]) -> str:
    """The same line for an export of `net`, which may be a part of it: its parts, numbers, inputs and outputs."""
    sized = ", ".join(
        f"{name} ({text(net.input_shapes[name]) if name in net.input_shapes else 'size unknown'})" for name in inputs
    )
    return f"{parts}, {count:,} numbers; inputs: {sized or 'none'}; outputs: {', '.join(outputs)}"
