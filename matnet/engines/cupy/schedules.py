"""The schedule of a network on a GPU: graph passes, feasibility, and a text description."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matnet.engines.base import network_to_run, wanted_variables
from matnet.engines.cupy.lower import lower
from matnet.engines.cupy.steps import schedule_text
from matnet.engines.plan import fuse, plan_network
from matnet.network import Network
from matnet.shapes import Shape


def planned_for(net: Network, wanted: Sequence[str]) -> Network:
    """The network after all passes for a GPU; `wanted` variables keep their names."""
    return fuse(plan_network(net, wanted), wanted)


def why_layer_by_layer(net: Network) -> str | None:
    """Why the network cannot have a static schedule, or None."""
    writers: dict[str, str] = {}
    for layer in net.layers.values():
        if layer.op.sizes_depend_on_values:
            return f"the output size of layer {layer.name!r} is known only at run time"
        for name in layer.outputs:
            if name in writers:
                return f"{name!r} is written by layers {writers[name]!r} and {layer.name!r}"
            writers[name] = layer.name
    return None


def schedule_lines(net: Network, inputs: Mapping[str, Shape], precision: str = "fp32") -> list[str]:
    """The schedule for inputs of these shapes, a line per step; needs no GPU."""
    net = network_to_run(net, None)
    variables = wanted_variables(net, None).values()
    written = {name for layer in net.layers.values() for name in layer.outputs}
    wanted = [name for name in dict.fromkeys(variables) if name in written]
    planned = planned_for(net, wanted)
    reason = why_layer_by_layer(planned)
    if reason:
        return [f"layers run one at a time in CuPy: {reason}", "activations are channels first (NCHW)"]
    lines = schedule_text(lower(planned, inputs, wanted, precision))
    merged = [name for name in net.layers if name not in planned.layers]
    return [*lines, f"merged into their neighbours: {', '.join(merged)}"] if merged else lines
