"""Records of Caffe layers in a converted network, so that an export restores the same layers and blobs.

MatConvNet's form does not hold everything: BatchNorm stores sigma, but Caffe sums and a factor; a PReLU becomes five
layers. So for every Caffe layer that is not simply one stock layer, `meta.caffe` holds its prototxt, the blobs that are
not params, and a checksum of its network layers. A record is used only while these layers are unchanged.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any, NamedTuple

import numpy as np

from matnet.converters.export.whole_graph import (
    WholeGraph,
    caffe_layers,
    definition,
    is_text,
    remember_graph,
    whole_graph,
)
from matnet.converters.files.message import Message
from matnet.converters.files.text import parse_text
from matnet.converters.files.text_write import to_text
from matnet.converters.graph.netdef import LayerDef
from matnet.converters.lower.builder import Builder
from matnet.errors import FileFormatError
from matnet.formats.mat.values import Cell, StructArray, empty, row
from matnet.layout import filters_to_kchw, pad_to_4d
from matnet.meta.transposed import flipped_inputs
from matnet.network import Network

META_FIELD = "caffe"

# fmt: off
PLAIN = frozenset((
    "Convolution", "Deconvolution", "InnerProduct", "ReLU", "Pooling", "LRN", "Dropout", "Softmax", "Sigmoid",
    "Concat", "Eltwise", "Crop", "Scale"
))
# fmt: on
"""Caffe types that `to_caffe` restores from their stock layer alone."""


class Original(NamedTuple):
    """The original Caffe layers, and the network's layers for them.

    messages: LayerParameters with the network's variables as bottoms and tops. blobs: for each message, its arrays in
    Caffe's shapes. params: for each message, the name of the param of each blob, or "".
    """

    messages: list[Message]
    layers: list[str]
    blobs: list[list[np.ndarray]]
    params: list[list[str]]


def remember(builder: Builder, images: Iterable[str]) -> dict[str, Any]:
    """The struct `meta.caffe` of a finished conversion; images: inputs with reordered channels.

    Without weights, it leaves out layers with blobs that are not one stock layer, because their form depends on the
    weights.
    """
    groups: list[tuple[list[LayerDef], list[str]]] = []
    group_of: dict[str, int] = {}  # network layer -> group
    for layer in caffe_layers(builder):
        made = builder.emitted.get(layer.name, [])
        shared = min((group_of[name] for name in made if name in group_of), default=None)
        if shared is not None:
            groups[shared][0].append(layer)
        elif made:
            group_of.update(dict.fromkeys(made, len(groups)))
            groups.append(([layer], list(made)))
    plain = {layers[0].name: made[0] for layers, made in groups if _is_plain(builder, layers, made)}
    entries = [
        _entry(builder, layers, made)
        for layers, made in groups
        if layers[0].name not in plain and not _lacks_weights(builder, made)
    ]
    return {
        "flipped": Cell(images),
        "widthFirst": np.array([[not builder.options.transpose]]),
        "layers": entries[0] if len(entries) == 1 else StructArray(entries, fields=_FIELDS),
        "graph": remember_graph(builder, plain),
    }


def _lacks_weights(builder: Builder, made: list[str]) -> bool:
    return any(name in builder.placeholders for layer in made for name in builder.net.layers[layer].params)


_FIELDS = ("prototxt", "layers", "counts", "params", "shapes", "values", "checksum")


def _is_plain(builder: Builder, layers: list[LayerDef], made: list[str]) -> bool:
    """Whether the single stock layer holds everything: Caffe's fields, and the blobs in order."""
    first, stock = layers[0], builder.net.layers[made[0]]
    if len(layers) != 1 or len(made) != 1 or first.type not in PLAIN or not stock.op.stock:
        return False
    if any((first.name, index) not in builder.blob_shapes for index in range(len(stock.params))):
        return False
    param = first.params.get
    return not (
        (first.type == "Scale" and (len(first.inputs) > 1 or param("scale_param").get("num_axes") != 1))
        or (first.type == "Convolution" and any(param("convolution_param").has(f"pad_{side}") for side in "lrtb"))
        or (first.type == "Deconvolution" and param("convolution_param").has("dilation"))
        or (first.type == "InnerProduct" and param("inner_product_param").get("transpose"))
        or (first.type == "Pooling" and param("pooling_param").get("global_pooling"))
    )


def _entry(builder: Builder, layers: list[LayerDef], made: list[str]) -> dict[str, Any]:
    net = builder.net
    found = [_place_of(np.asarray(blob.data), net, made) for layer in layers for blob in layer.blobs]
    return {
        "prototxt": "".join(f"layer {{\n{to_text(_renamed(builder, layer))}}}\n" for layer in layers),
        "layers": Cell(made),
        "counts": row([len(layer.blobs) for layer in layers]),
        "params": Cell(place for place, _ in found),
        "shapes": Cell(
            row(builder.blob_shapes.get((layer.name, index), blob.shape) if blob.legacy else blob.shape)
            for layer in layers
            for index, blob in enumerate(layer.blobs)
        ),
        "values": Cell(value for _, value in found),
        "checksum": checksum(net, made),
    }


def _place_of(blob: np.ndarray, net: Network, made: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """The position of the blob's numbers: [layer param order], with 1-based layer and param; else the numbers."""
    for number, layer in enumerate(made, 1):
        for place, name in enumerate(net.layers[layer].params, 1):
            for order, unfold in enumerate(ORDERS):
                value = net.params[name].value
                if value.size == blob.size and np.array_equal(unfold(value), blob.reshape(-1)):
                    return row([number, place, order]), empty()
    return empty(), np.array(blob, np.float32).reshape(-1, 1)


ORDERS = (lambda value: value.reshape(-1), lambda value: filters_to_kchw(pad_to_4d(value)).reshape(-1))
"""Conversions of a param to Caffe's order: unchanged, or as filters."""


def _renamed(builder: Builder, layer: LayerDef) -> Message:
    """The layer's definition without blobs and rules, with the network's variables as bottoms and tops."""

    def variable(name: str) -> str:
        return builder.values[name].variable if name in builder.values else name

    return definition(layer, map(variable, layer.inputs), map(variable, layer.outputs))


def checksum(net: Network, names: Iterable[str]) -> str:
    """A digest of layers: types, fields, connections and the values of their params.

    The declared `size` is left out, because SimpleNN files do not have it.
    """
    digest = hashlib.sha256()
    for name in names:
        layer = net.layers[name]
        values = {item.name: getattr(layer.op, item.name) for item in fields(layer.op) if item.name != "size"}
        digest.update(repr((layer.type_name, values, layer.inputs, layer.outputs)).encode())
        for param in layer.params:
            if param in net.params:
                digest.update(np.asarray(net.params[param].value, "<f4").tobytes(order="F"))
    return digest.hexdigest()


def recorded_flips(net: Network) -> list[str] | None:
    """The inputs with channels reordered by the conversion; None for a network that was not converted."""
    return flipped_inputs(net) if isinstance(net.meta.get(META_FIELD), dict) else None


def graph(net: Network, recorded: Mapping[str, Any] | None) -> WholeGraph | None:
    """Caffe's whole graph, if the network is unchanged since the conversion.

    recorded: layers with valid records; None for a network without weights, which has only the definition.
    """
    kept = net.meta.get(META_FIELD)
    return whole_graph(net, kept.get("graph"), recorded) if isinstance(kept, dict) else None


def originals(net: Network) -> list[Original]:
    """The records in `meta.caffe` with unchanged layers; damaged records count as changed."""
    kept = net.meta.get(META_FIELD)
    stored = kept.get("layers") if isinstance(kept, dict) else None
    entries = [stored] if isinstance(stored, dict) else stored if isinstance(stored, StructArray) else []
    found = []
    for entry in entries:
        layers = entry.get("layers")
        if not isinstance(layers, list) or any(not isinstance(n, str) or n not in net.layers for n in layers):
            continue
        if is_text(entry.get("checksum"), checksum(net, layers)):
            original = _restored(net, entry, layers)
            if original is not None:
                found.append(original)
    return found


def _restored(net: Network, entry: Mapping[str, Any], layers: list[str]) -> Original | None:
    blobs: list[list[np.ndarray]] = []
    params: list[list[str]] = []
    try:
        messages = parse_text(entry["prototxt"], "meta.caffe", lenient=True).get("layer")
        stored = iter(zip(entry["params"], entry["shapes"], entry["values"], strict=True))
        for count in np.ravel(entry["counts"]):
            found = [_blob(net, layers, *next(stored)) for _ in range(int(count))]
            blobs.append([blob for blob, _ in found])
            params.append([name for _, name in found])
    except (FileFormatError, LookupError, StopIteration, TypeError, ValueError, OverflowError):
        return None
    return Original(messages, layers, blobs, params) if len(messages) == len(blobs) else None


def _blob(
    net: Network, layers: list[str], place: np.ndarray, shape: np.ndarray, value: np.ndarray
) -> tuple[np.ndarray, str]:
    """The blob, and the name of its param."""
    sizes = tuple(int(size) for size in np.ravel(shape))
    if np.size(place) == 0:
        return np.asarray(value, np.float32).reshape(sizes), ""
    layer, param, order = (int(number) for number in np.ravel(place))
    name = net.layers[layers[layer - 1]].params[param - 1]
    return ORDERS[order](net.params[name].value).reshape(sizes), name
