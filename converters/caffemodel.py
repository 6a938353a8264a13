"""The public readers of Caffe networks, and their record types."""

from __future__ import annotations

import os
from collections.abc import Iterable

from matnet.converters.files.decode import decode_graph
from matnet.converters.files.mean import read_mean
from matnet.converters.files.message import Message
from matnet.converters.files.text import read_text
from matnet.converters.files.weights import read_weights
from matnet.converters.files.wire import open_wire
from matnet.converters.graph.assemble import assemble, net_state, without_split_layers
from matnet.converters.graph.attach import BlobMatch, attach_weights, blob_counts, match_blob
from matnet.converters.graph.netdef import Blob, CaffeWeights, LayerDef, NetDef
from matnet.converters.graph.sources import with_sources
from matnet.converters.graph.upgrade import upgrade
from matnet.errors import FileFormatError

__all__ = ["Blob", "BlobMatch", "CaffeWeights", "LayerDef", "NetDef", "attach_weights", "blob_counts",
           "match_blob", "net_from_caffemodel", "read_mean", "read_prototxt", "read_weights"]


def read_prototxt(path: str | os.PathLike[str], phase: str = "TEST", level: int = 0,
                  stages: Iterable[str] = (), lenient: bool = False) -> NetDef:
    """A prototxt of any generation (V0, V1, V2; deploy or train_val) as a wired NetDef.

    lenient: ignore unknown fields, and use the last value of repeated singular fields, with a note for each, instead of
    raising an error. Raises FileFormatError (with line and column) for an invalid prototxt, NetworkError for a graph
    that Caffe would reject.
    """
    notes: list[str] = []
    text = read_text(path, lenient=lenient, notes=notes)
    net = upgrade(text, notes)
    kept, elsewhere = with_sources(net, net_state(net, phase, level, stages), notes)
    return assemble(kept, notes, elsewhere)


def net_from_caffemodel(path: str | os.PathLike[str], lenient: bool = False) -> NetDef:
    """The graph stored in a binary caffemodel, without its weights.

    It is the training net: already filtered for the phase TRAIN, with data and loss layers. Caffe's Split layers are
    removed, and the phase TRAIN of layers becomes TEST. Raises as `read_prototxt` does, with byte offsets; unknown
    fields have numbers instead of names.
    """
    wire = open_wire(path, "caffemodel")
    notes = ["the graph is the training net stored in the caffemodel"]
    net = decode_graph(wire, lenient, notes)
    if net.has("layer") and net.has("layers"):
        raise FileFormatError(f"{path}: holds both V1 and V2 layers; expected only one generation")
    for layer in net.get("layers"):
        if layer.get("type") == "ELTWISE" and not layer.has("eltwise_param"):
            notes.append(f"layer {layer.get('name')!r}: type 25 without parameters is read as a sum; in files "
                         "of early 2014, it is a product")
    _declare_inputs(net)
    net = without_split_layers(upgrade(net, notes), notes)
    for layer in net.get("layer"):
        if layer.has("phase"):
            layer.set("phase", "TEST")
    return assemble(net, notes)


def _declare_inputs(net: Message) -> None:
    """Declare blobs without a producer as inputs, because a V1 caffemodel does not list its inputs."""
    produced = set(net.get("input"))
    for layer in net.get("layers") or net.get("layer"):
        for name in layer.get("bottom"):
            if name not in produced:
                net.append("input", name)
                produced.add(name)
        produced.update(layer.get("top"))
