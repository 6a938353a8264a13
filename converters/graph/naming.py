"""Names in the converted network: unique layer names, and variables with the names of Caffe's blobs or the importer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from matnet.converters.graph.netdef import LayerDef, NetDef
from matnet.names import free_name


@dataclass(frozen=True)
class NamedGraph:
    """The layers of a Caffe network with final names.

    layers: with unique names; `inputs` and `outputs` are variables that are written once. inputs: input blob ->
    variable. finals: Caffe blob -> the variable with the blob's value after a forward pass.
    """

    layers: list[LayerDef]
    inputs: dict[str, str]
    finals: dict[str, str]


def named_graph(net: NetDef, layers: Iterable[LayerDef], scheme: str = "caffe") -> tuple[NamedGraph, list[str]]:
    """`layers` (the kept layers of `net`) with unique names, and a note for every renamed layer.

    scheme `caffe`: a blob's final value has the blob's name. scheme `upstream`: the names of MatConvNet's importer;
    every in-place layer appends an `x`, and `-` becomes `_` (conv1 -> conv1x -> conv1xx).
    """
    kept, notes = _unique(list(layers))
    finals = dict(net.input_variables)
    for layer in kept:
        finals.update(zip(layer.tops, layer.outputs, strict=True))
    graph = NamedGraph(kept, dict(net.input_variables), finals)
    if scheme != "upstream":
        return graph, notes
    renamed = _renamed(graph, upstream_variables(graph))
    for before, after in zip(kept, renamed.layers, strict=True):
        if after.name != _importer_spelling(before.name):
            notes.append(f"layer {before.name} renamed to {after.name}, as by MatConvNet's importer")
    return renamed, notes


def _unique(layers: list[LayerDef]) -> tuple[list[LayerDef], list[str]]:
    """Layers with unique names: `x` is appended to a repeated name, as by MatConvNet's importer."""
    taken: set[str] = set()
    repeats: dict[str, int] = {}
    unique, notes = [], []
    for layer in layers:
        name = free_name(layer.name or layer.type, taken, repeats)
        taken.add(name)
        if name != layer.name:
            notes.append(f"layer {layer.name!r} ({layer.type}) renamed to {name!r}, because names must be unique")
        unique.append(replace(layer, name=name))
    return unique, notes


def upstream_variables(graph: NamedGraph) -> dict[str, str]:
    """Variable -> its name by MatConvNet's importer (import-caffe.py)."""
    taken: set[str] = set()
    repeats: dict[str, int] = {}
    names: dict[str, str] = {}
    current: dict[str, str] = {}

    def take(name: str, variable: str, blob: str) -> None:
        name = free_name(name, taken, repeats)
        taken.add(name)
        names[variable] = current[blob] = name

    for blob, variable in graph.inputs.items():
        take(_importer_spelling(blob), variable, blob)
    for layer in graph.layers:
        for blob, variable in zip(layer.tops, layer.outputs, strict=True):
            in_place = blob in layer.bottoms
            take(current[blob] + "x" if in_place else _importer_spelling(blob), variable, blob)
    return names


def _importer_spelling(name: str) -> str:
    return name.replace("-", "_")


def _renamed(graph: NamedGraph, names: Mapping[str, str]) -> NamedGraph:
    layers = [
        replace(
            layer,
            name=_importer_spelling(layer.params.get("name") or layer.name),
            inputs=tuple(names[variable] for variable in layer.inputs),
            outputs=tuple(names[variable] for variable in layer.outputs),
        )
        for layer in graph.layers
    ]
    return NamedGraph(
        _unique(layers)[0],
        {blob: names[variable] for blob, variable in graph.inputs.items()},
        {blob: names[variable] for blob, variable in graph.finals.items()},
    )
