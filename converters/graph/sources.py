"""Sources for blobs that no layer of the chosen phase produces: data layers of other phases, and labels."""

from __future__ import annotations

from matnet.converters.files.message import Message
from matnet.converters.graph.assemble import NetState, filtered
from matnet.converters.graph.inputs import is_source
from matnet.converters.graph.training import LOSSES, SINKS


def with_sources(net: Message, state: NetState, notes: list[str]) -> tuple[Message, dict[str, str]]:
    """`net` with the layers that `state` keeps, and with sources for the blobs that they read, if possible.

    Data layers of another phase or stage are added for blobs without a producer. A label that only losses and metrics
    read becomes an input without a size, and is dropped with them. If a blob has two sources, the file's `input:` is
    ignored. Every decision adds a note. Also returned: blobs that only layers of another phase or stage produce, with
    the option that keeps these layers.
    """
    kept = filtered(net, state, notes)
    layers = _without_double_inputs(kept.get("layer"), notes)
    layers = _with_other_phases(layers, net.get("layer"), notes)
    missing = _missing_labels(layers)
    if missing:
        notes.append(f"no layer produces {', '.join(missing)}; only losses and metrics read it")
        label = Message("LayerParameter", net.source, net.position)
        layers = [label.having(name="labels", type="Input", top=missing), *layers]
    kept.set("layer", layers)
    return kept, _elsewhere(layers, net.get("layer"), state)


def _elsewhere(kept: list[Message], whole: list[Message], state: NetState) -> dict[str, str]:
    """Blob without a kept producer -> the layer that produces it, and the option that keeps this layer."""
    produced = {top for layer in kept for top in layer.get("top")}
    found: dict[str, str] = {}
    for layer in whole:
        rules = [*layer.get("include"), *layer.get("exclude")]
        for top in layer.get("top"):
            if top not in produced and rules:
                found.setdefault(top, f"layer {layer.get('name')!r} produces it with {state.ways_to([layer])}")
    return found


def _without_double_inputs(layers: list[Message], notes: list[str]) -> list[Message]:
    """Drop `input:` lines without a shape if Input or data layers have the same tops, as BVLC Caffe does."""
    first = layers[0]
    if not (is_source(first) and first.get("type") == "Input" and first.get("name") == "input"):
        return layers
    others = {top for layer in layers[1:] if is_source(layer) for top in layer.get("top")}
    doubled = [top for top in first.get("top") if top in others]
    if not doubled or first.get("input_param").get("shape"):
        return layers
    notes.append(f"`input` of {', '.join(doubled)} without a shape is ignored: a layer produces it")
    rest = [top for top in first.get("top") if top not in others]
    return [first.having(top=rest), *layers[1:]] if rest else layers[1:]


def _with_other_phases(kept: list[Message], whole: list[Message], notes: list[str]) -> list[Message]:
    """`kept` with the data layers of `whole` that are the only producers of blobs read by kept layers."""
    produced = {top for layer in kept for top in layer.get("top")}
    wanted = {name for layer in kept for name in layer.get("bottom")} - produced
    added = []
    for layer in whole:
        if is_source(layer) and wanted.intersection(layer.get("top")) and produced.isdisjoint(layer.get("top")):
            produced.update(layer.get("top"))
            wanted.difference_update(layer.get("top"))
            added.append(layer)
            notes.append(f"layer {layer.get('name')!r} ({layer.get('type')}) of another phase or stage provides the "
                         f"inputs {', '.join(layer.get('top'))}, which no layer of this phase produces")
    return [*added, *kept]


def _missing_labels(layers: list[Message]) -> list[str]:
    """Blobs without a producer that are only read as labels, by losses and metrics."""
    produced = {top for layer in layers for top in layer.get("top")}
    labels: dict[str, None] = {}
    others = set()
    for layer in layers:
        for position, name in enumerate(layer.get("bottom")):
            if name in produced:
                continue
            type = layer.get("type")
            if type == "Silence" or (position and (type in LOSSES | SINKS)):
                labels[name] = None
            else:
                others.add(name)
    return [name for name in labels if name not in others]
