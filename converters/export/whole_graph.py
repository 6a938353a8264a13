"""The whole Caffe graph of a converted network: stored by the conversion, restored if the network is unchanged.

An export layer by layer loses everything without a layer: a Flatten that only changes the shape, a Split, the names of
intermediate blobs. As long as no layer is added, removed or reconnected, the stored graph is valid.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from math import prod
from typing import Any

import numpy as np

from matnet.converters.export.export_layers import EXPORTS, CaffeLayer, Exporter
from matnet.converters.files.layer_types import FORK_PARAMETERS, PARAMETERS, is_known
from matnet.converters.files.message import Message, build
from matnet.converters.files.text import parse_text
from matnet.converters.files.text_write import to_text
from matnet.converters.graph.netdef import LayerDef
from matnet.converters.graph.storage import SHARED
from matnet.converters.lower.builder import Builder
from matnet.errors import FileFormatError
from matnet.formats.mat.values import Cell, row
from matnet.meta.values import flag
from matnet.network import Network
from matnet.shapes import Shape

RULES = ("blobs", "include", "exclude", "phase", "loss_weight")
"""Fields used only for training or for choosing a phase."""


# -- keeping ----------------------------------------------------------------------------------------


def definition(layer: LayerDef, bottoms: Iterable[str], tops: Iterable[str]) -> Message:
    """The layer at test time: without blobs, rules, ignored fields, and loss parameters."""
    message = layer.params.known_fields() if is_known(layer.type) else layer.params.shallow_copy()
    own = {*PARAMETERS.get(layer.type, ()), *FORK_PARAMETERS.get(layer.type, ())}
    others = [name for name, _ in message.items() if name.endswith("_param") and name not in own]
    for name in (*RULES, *(others if is_known(layer.type) else [])):
        message.clear(name)
    message.set("name", layer.name)
    message.set("type", layer.type)
    message.set("bottom", list(bottoms))
    message.set("top", list(tops))
    return message


def caffe_layers(builder: Builder) -> list[LayerDef]:
    """The layers of the Caffe graph, without pseudo-layers for shared memory."""
    return [layer for layer in builder.graph.layers if layer.type != SHARED]


def remember_graph(builder: Builder, plain: Mapping[str, str]) -> dict[str, Any]:
    """The struct `meta.caffe.graph`; plain: Caffe layer -> the single stock layer with its blobs as params.

    prototxt: all layers with Caffe's names and order. For each of them, plain: this stock layer; record: its name in
    `meta.caffe.layers`; or "". shapes: those of all plain layers' blobs. variables, blobs: the names of the inputs in
    the network and in Caffe. hasWeights: whether all params had values.
    """
    layers = caffe_layers(builder)
    complete = all(name in builder.net.params for layer in builder.net.layers.values() for name in layer.params)
    named = Counter(layer.params.get("name") for layer in builder.graph.layers)
    recorded = [bool(builder.emitted.get(layer.name)) and layer.name not in plain for layer in layers]
    inputs = {
        builder.values[variable].variable: blob
        for blob, variable in builder.graph.inputs.items()
        if variable in builder.values
    }
    return {
        "prototxt": "".join(f"layer {{\n{to_text(_in_caffes_names(builder, layer, named))}}}\n" for layer in layers),
        "plain": Cell(plain.get(layer.name, "") for layer in layers),
        "record": Cell(layer.name if found else "" for layer, found in zip(layers, recorded, strict=True)),
        "shapes": Cell(row(shape) for layer in layers for shape in _blob_shapes(builder, layer, plain)),
        "variables": Cell(inputs),
        "blobs": Cell(inputs.values()),
        "hasWeights": np.array([[complete]]),
        "checksum": structure(builder.net, complete),
    }


def _blob_shapes(builder: Builder, layer: LayerDef, plain: Mapping[str, str]) -> list[Shape]:
    params = builder.net.layers[plain[layer.name]].params if layer.name in plain else []
    return [builder.blob_shapes[layer.name, index] for index in range(len(params))]


def _in_caffes_names(builder: Builder, layer: LayerDef, named: Counter[str]) -> Message:
    """The definition with the layer's own name, unless it is repeated; an aligned Crop gets its offsets."""
    message = definition(layer, layer.bottoms, layer.tops)
    given = layer.params.get("name")
    if given and named[given] == 1:
        message.set("name", given)
    if layer.type == "Crop" and not message.has("crop_param"):
        message.set("crop_param", build("CropParameter", offset=list(builder.crop_offsets[layer.name])))
    return message


def structure(net: Network, complete: bool = True) -> str:
    """A digest of everything except the params' values: layers, fields, connections, sizes of params.

    complete: False if params are missing; facts that a SimpleNN file states only by its params are then left out.
    """
    digest = hashlib.sha256()
    ignored = {"size"} if complete else {"size", "hasBias", "numChannels"}
    for layer in net.layers.values():
        values = {item.name: getattr(layer.op, item.name) for item in fields(layer.op) if item.name not in ignored}
        shapes = [shape for shape in net.param_shapes(layer) if complete or shape]
        sizes = [[size for size in shape if size != 1] for shape in shapes]
        digest.update(repr((layer.name, layer.type_name, values, layer.inputs, layer.outputs, sizes)).encode())
    return digest.hexdigest()


# -- giving back ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class WholeGraph:
    """Caffe's layers, and the positions of their blobs: see `remember_graph`. inputs: variable -> blob."""

    messages: Sequence[Message]
    plain: Sequence[str]
    record: Sequence[str]
    shapes: Sequence[Shape]
    inputs: Mapping[str, str]

    def layers(self, exporter: Exporter, recorded: Mapping[str, CaffeLayer]) -> list[CaffeLayer]:
        """Every layer with its blobs, from `recorded` or from its stock layer."""
        shapes = iter(self.shapes)
        found = _constants(exporter)
        for message, plain, record in zip(self.messages, self.plain, self.record, strict=True):
            blobs = recorded[record].blobs if record else _blobs_of(plain, exporter, shapes) if plain else ()
            found.append(CaffeLayer(message.get("name"), message.get("bottom"), message.get("top"), message, blobs))
        return found


def is_text(value: Any, text: str) -> bool:
    """Whether a value of a file is this text; safe for arrays in a damaged file, which compare elementwise."""
    return isinstance(value, str) and value == text


def whole_graph(net: Network, kept: Any, recorded: Mapping[str, Any] | None) -> WholeGraph | None:
    """The graph in `kept` (meta.caffe.graph), if the network has the same structure and all records are valid.

    recorded: the valid records by layer; None for the graph of a network without weights.
    """
    complete = recorded is not None
    if not isinstance(kept, dict) or flag(kept.get("hasWeights", True)) != complete:
        return None
    if not is_text(kept.get("checksum"), structure(net, complete)):
        return None
    try:
        messages = parse_text(kept["prototxt"], "meta.caffe.graph", lenient=True).get("layer")
        plain, record, variables, blobs = (
            [str(name) for name in kept[field]] for field in ("plain", "record", "variables", "blobs")
        )
        shapes = [tuple(int(size) for size in np.ravel(shape)) for shape in kept["shapes"]]
    except (FileFormatError, LookupError, TypeError, ValueError, OverflowError):
        return None
    fits = len(messages) == len(plain) == len(record) and len(variables) == len(blobs)
    if not fits or (recorded is not None and any(name and name not in recorded for name in record)):
        return None
    if any(name and (name not in net.layers or net.layers[name].op.dagnn not in EXPORTS) for name in plain):
        return None
    return WholeGraph(messages, plain, record, shapes, dict(zip(variables, blobs, strict=True)))


def _constants(exporter: Exporter) -> list[CaffeLayer]:
    """Inputs with a constant filler, which are layers of the network, but not of Caffe's graph."""
    constants = [layer for layer in exporter.net.layers.values() if layer.op.dagnn == "dagnn.DummyData"]
    return [made for layer in constants for made in EXPORTS["dagnn.DummyData"](layer, exporter)]


def _blobs_of(name: str, exporter: Exporter, shapes: Iterator[Shape]) -> list[np.ndarray]:
    layer = exporter.net.layers[name]
    if not layer.params:
        return []
    wanted = [next(shapes, ()) for _ in layer.params]
    blobs = EXPORTS[layer.op.dagnn](layer, exporter)[0].blobs
    pairs = zip(blobs, wanted, strict=False)
    return [blob.reshape(shape) if prod(shape) == blob.size else blob for blob, shape in pairs]
