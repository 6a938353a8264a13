"""Checks of the graph: sizes that do not fit, training layers, layers that an engine does not support."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec

from matnet.doctor.findings import Finding, note, problem
from matnet.errors import MatnetError
from matnet.network import Network
from matnet.ops.base import Op, Unknown
from matnet.shapes import Shape

SHOWN = 5


def graph_findings(net: Network, size: tuple[int, int] | None = None) -> Iterator[Finding]:
    """Problems of the graph; layers used only for training do not count.

    size: height and width of the image, if known.
    """
    training = [layer.name for layer in net.training_layers()]
    if training:
        yield note("graph", f"used only for training, left out by eval and predict: {_layers(training)}")
    try:
        inference = net.for_inference()
        inference.check()
    except MatnetError as error:
        yield problem("graph", str(error).removeprefix(f"{net.source}: "))
        return
    unknown = [
        f"{layer.name} ({layer.type_name})"
        for layer in inference.layers.values()
        if isinstance(layer.op, Unknown) or type(layer.op).forward is Op.forward
    ]
    if unknown:
        yield problem("graph", f"no engine supports {_layers(unknown)}", "register its type with matnet.ops.register")
    shapes = inference.default_input_shapes(size=size)
    unsized = [name for name in inference.data_inputs() if name not in shapes]
    if unsized:
        named = ", ".join(map(repr, unsized))
        yield note("graph", f"the size of input {named} is unknown", "give it with --input-size HxW")
        return
    try:
        inference.infer_shapes(shapes)
    except MatnetError as error:
        if not unknown:
            fault = str(error).removeprefix(f"{net.source}, ")
            yield problem("graph", fault, "give the right size with --input-size HxW")
        return
    if not unknown:
        yield from _backends(inference, shapes)


def _backends(net: Network, shapes: dict[str, Shape]) -> Iterator[Finding]:
    """Layers that ONNX, or the torch module, cannot express."""
    from matnet.engines.cpu.program import choose_axes
    from matnet.formats.onnx import DynamicAxes

    try:
        _, reasons = choose_axes(net, shapes, net.outputs, DynamicAxes(batch=False, size=False))
    except MatnetError as error:
        yield note("graph", f"ONNX: {error}")
    else:
        if reasons:
            named = [f"{name} ({reason})" for name, reason in reasons.items()]
            yield note("graph", f"ONNX cannot express {_layers(named)}; backend onnx computes them with numpy")
    if find_spec("matnet.torch") is not None and find_spec("torch") is not None and hasattr(net, "to_torch"):
        try:
            net.to_torch()
        except MatnetError as error:
            yield note("graph", f"torch: {error}")


def _layers(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"layer{'s' if len(names) > 1 else ''} {', '.join(names[:SHOWN])}{more}"
