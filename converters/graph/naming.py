"""Names in the converted network: unique layer names, and variables with the names of Caffe's blobs or the importer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import NamedTuple

from matnet.converters.graph.netdef import LayerDef, NetDef
from matnet.names import free_name, with_unique_names


class NamedGraph(NamedTuple):
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
    given = list(layers)
    kept = with_unique_names(given)
    notes = [
        f"layer {before.name!r} ({before.type}) renamed to {after.name!r}, because names must be unique"
        for before, after in zip(given, kept, strict=True)
        if after.name != before.name
    ]
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
        with_unique_names(layers),
        {blob: names[variable] for blob, variable in graph.inputs.items()},
        {blob: names[variable] for blob, variable in graph.finals.items()},
    )
