"""The schedule of a network on a GPU: the graph passes before it, whether there can be one, and its text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matnet.engines.base import network_to_run, wanted_variables
from matnet.engines.cupy.lower import lower
from matnet.engines.cupy.steps import schedule_text
from matnet.engines.plan import fuse, plan_network
from matnet.network import Network
from matnet.shapes import Shape


def planned_for(net: Network, wanted: Sequence[str]) -> Network:
    """The network after all passes that help a GPU; `wanted` keep their names."""
    return fuse(plan_network(net, wanted), wanted)


def why_layer_by_layer(net: Network) -> str | None:
    """Why the network cannot have a schedule, and so no memory in advance; None where it can."""
    writers: dict[str, str] = {}
    for layer in net.layers.values():
        if layer.op.sizes_depend_on_values:
            return f"the size of the output of layer {layer.name!r} is known only when it runs"
        for name in layer.outputs:
            if name in writers:
                return f"{name!r} is written by layers {writers[name]!r} and {layer.name!r}"
            writers[name] = layer.name
    return None


def schedule_lines(
    net: Network, inputs: Mapping[str, Shape], outputs: Sequence[str] | None = None, precision: str = "fp32"
) -> list[str]:
    """What the GPU engine would do for inputs of these shapes, a line per step; no GPU is needed to say so."""
    net = network_to_run(net, outputs)
    variables = wanted_variables(net, outputs).values()
    written = {name for layer in net.layers.values() for name in layer.outputs}
    wanted = [name for name in dict.fromkeys(variables) if name in written]
    planned = planned_for(net, wanted)
    reason = why_layer_by_layer(planned)
    if reason:
        return [f"layers run one at a time in CuPy: {reason}", "activations are channels first (NCHW)"]
    lines = schedule_text(lower(planned, inputs, wanted, precision))
    merged = [name for name in net.layers if name not in planned.layers]
    return [*lines, f"merged into their neighbours: {', '.join(merged)}"] if merged else lines
