"""Export a Network to prototxt and caffemodel; one error lists all layers that Caffe cannot express."""

from __future__ import annotations

import heapq
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from matnet.converters.colour import TO_CAFFE, reorder_inputs
from matnet.converters.export.export_layers import EXPORTS, CaffeLayer, Exporter
from matnet.converters.export.provenance import Original, graph, originals, recorded_flips
from matnet.converters.export.whole_graph import WholeGraph
from matnet.converters.files.caffe_write import write_caffemodel
from matnet.converters.files.layer_types import WITHOUT_NAME
from matnet.converters.files.message import Message, build
from matnet.converters.files.text_write import to_text
from matnet.converters.transposition import swap_rows_and_columns
from matnet.errors import MatnetError, NetworkError, UnsupportedLayersError, in_words, listing
from matnet.files import atomic_write
from matnet.meta import image_input, normalization
from matnet.meta.given import InputSize, given_input_shapes, require_sizes, with_given_sizes
from matnet.meta.transposed import is_width_first
from matnet.names import RESTORED, with_unique_names
from matnet.network import Layer, Network
from matnet.shapes import Shape

PathLike = str | os.PathLike[str]


@dataclass(frozen=True)
class CaffeNet:
    """A Caffe network: the NetParameter, and the blobs of each layer in Caffe's shapes.

    notes: the decisions. has_weights: False if weights are missing.
    """

    message: Message
    blobs: Mapping[str, Sequence[np.ndarray]]
    notes: list[str] = field(default_factory=list)
    has_weights: bool = True

    def write(self, prototxt: PathLike | None, caffemodel: PathLike | None) -> None:
        """Write the given files, whole; if one cannot be written, neither is replaced.

        Raises NetworkError for a caffemodel if the network has no weights.
        """
        if caffemodel is not None and not self.has_weights:
            raise NetworkError(f"{caffemodel}: the network has no weights to write; write only the prototxt")
        with ExitStack() as pending:
            if prototxt is not None:
                file = pending.enter_context(atomic_write(prototxt))
                file.write(to_text(self.message).encode())
                file.flush()  # fails here on a full disk, before older weights are replaced
            if caffemodel is not None:
                write_caffemodel(caffemodel, self.message, self.blobs)


def to_caffe(
    net: Network, input_size: InputSize | None = None, color_format: str | None = None, batch: int = 1
) -> CaffeNet:
    """A Caffe network that computes the same as `net`.

    A network converted from Caffe yields Caffe's layers and blobs, bit for bit; converted from only a prototxt, only
    the definition. color_format: `bgr` makes the Caffe net take B, G, R instead of R, G, B; the default reverses the
    conversion, or is `bgr`. input_size (height and width, C H W or N C H W, or by input name) is required if the
    network does not state it. Training layers are dropped. Raises UnsupportedLayersError that lists all layers without
    a Caffe equivalent, NetworkError for sizes that do not fit.
    """
    definition = _definition_alone(net, input_size, batch)
    if definition is not None:
        return definition
    net = net.for_inference()
    net.check()
    _require_one_writer(net)
    _name_blobs(net)
    kept = originals(net)
    whole = graph(net, {message.get("name"): message for original in kept for message in original.messages})
    width_first = is_width_first(net)
    if width_first:
        swap_rows_and_columns(net)
    shapes = _input_shapes(net, input_size, batch)
    sizes = net.infer_shapes(shapes)
    notes = list(net.source.notes)
    if normalization(net.meta):
        notes.append("Caffe's files cannot hold preprocessing: mean, size and scale of images are not written")
    if width_first:
        notes.append(
            f"the Caffe net takes images height first, {net.source} width first "
            f"({in_words('transpose=False', '--no-transpose')} is undone)"
        )
    notes += _flip(net, sizes, color_format)
    sizes = net.infer_shapes(shapes)  # a layer that restores the channel order may have added a variable
    _require_usable_values(net)
    _require_matrices_to_fit(net, sizes, kept, whole)
    layers = _caffe_layers(net, sizes, kept) if whole is None else _original_layers(net, sizes, kept, whole)
    _require_names_of_types(net, [layer.message for layer in layers])
    names = _blob_names(layers) if whole is None else whole.inputs
    whole_layers = [*_inputs(net, shapes, names), *(_message(layer, names) for layer in layers)]
    message = build("NetParameter", name=Path(str(net.source)).stem, layer=whole_layers)
    if whole is None:
        _declare_sharing(message, layers)
    return CaffeNet(message, {layer.name: layer.blobs for layer in layers if layer.blobs}, notes)


def _definition_alone(net: Network, input_size: InputSize | None, batch: int) -> CaffeNet | None:
    """Caffe's layers, for an unchanged network converted from a prototxt without weights; None for others."""
    net = net.for_inference()
    _name_blobs(net)
    whole = graph(net, None)
    if whole is None:
        return None
    if is_width_first(net):
        net.input_shapes = {name: (n, c, w, h) for name, (n, c, h, w) in net.input_shapes.items()}
    _require_names_of_types(net, whole.messages)
    inputs = _inputs(net, _input_shapes(net, input_size, batch), whole.inputs)
    message = build("NetParameter", name=Path(str(net.source)).stem, layer=[*inputs, *whole.messages])
    note = "the network has no weights: only its definition is exported"
    return CaffeNet(message, {}, [*net.source.notes, note], has_weights=False)


# -- inputs -----------------------------------------------------------------------------------------


def _input_shapes(net: Network, input_size: InputSize | None, batch: int) -> dict[str, Shape]:
    """N x C x H x W of every input: that of the network, or the given one."""
    named = isinstance(input_size, Mapping)
    shapes = given_input_shapes(net, None if named else input_size, batch)
    for name, shape in net.input_shapes.items():
        if name in net.inputs and (name not in shapes or named or input_size is None):
            shapes[name] = shape
    if isinstance(input_size, Mapping):
        shapes = with_given_sizes(net, shapes, input_size, batch)
    require_sizes(net, net.inputs, shapes)
    return shapes


def _require_one_writer(net: Network) -> None:
    """Raises NetworkError for variables that several layers write; Caffe has one producer per blob, except in place."""
    writers: dict[str, list[str]] = {}
    for layer in net.layers.values():
        for name in layer.outputs:
            writers.setdefault(name, []).append(layer.name)
    shared = [
        f"variable {name!r}: layers {', '.join(map(repr, layers))}"
        for name, layers in writers.items()
        if len(layers) > 1
    ]
    if shared:
        raise NetworkError(
            listing(f"{net.source}: variables that several layers write; Caffe needs one layer for each:", shared)
        )


def _require_usable_values(net: Network) -> None:
    """Raises NetworkError for params that no engine accepts, such as BatchNorm moments that were never recorded."""
    unusable = []
    for layer in net.layers.values():
        try:
            layer.op.prepare(np, [net.params[name].value for name in layer.params])
        except MatnetError as error:
            unusable.append(f"layer {layer.name!r} ({layer.type_name}): {error}")
    if unusable:
        raise NetworkError(listing(f"{net.source}: layers that cannot run ({len(unusable)}):", unusable))


def _require_names_of_types(net: Network, messages: Sequence[Message]) -> None:
    """Raises UnsupportedLayersError for layer types without an unambiguous name in V2 files."""
    refused = [
        f"layer {message.get('name')!r} ({message.get('type')}): {WITHOUT_NAME[message.get('type')]}"
        for message in messages
        if message.get("type") in WITHOUT_NAME
    ]
    _refuse(net, refused)


def _refuse(net: Network, layers: Sequence[str]) -> None:
    if layers:
        count = "1 layer" if len(layers) == 1 else f"{len(layers)} layers"
        raise UnsupportedLayersError(listing(f"{net.source}: {count} cannot be exported to Caffe:", layers))


def _require_matrices_to_fit(
    net: Network, sizes: Mapping[str, Shape], kept: Sequence[Original], whole: WholeGraph | None
) -> None:
    """Raises NetworkError for an input size that does not fit the matrix of a Caffe InnerProduct."""
    made = [
        (message, name)
        for original in kept
        for message in original.messages
        for name in original.layers
        if message.get("type") == "InnerProduct"
    ]
    if whole is not None:
        pairs = zip(whole.messages, whole.plain, strict=True)
        made += [(message, name) for message, name in pairs if name and message.get("type") == "InnerProduct"]
    for message, name in made:
        layer = net.layers[name]
        size = sizes.get(layer.outputs[0])
        if layer.op.dagnn == "dagnn.Conv" and size is not None and size[2:] != (1, 1):
            raise NetworkError(
                f"{net.source}: layer {message.get('name')!r} (InnerProduct) would output {size[2]}x{size[3]} pixels "
                "for inputs of this size, but Caffe's outputs one; give the input size of the original network"
            )


def _inputs(net: Network, shapes: Mapping[str, Shape], names: Mapping[str, str]) -> list[Message]:
    messages = []
    for name in net.inputs:
        rank = net.blob_ranks.get(name, 4)
        blob = names.get(name, name)
        shape = {"dim": list(shapes[name][:rank])}
        messages.append(build("LayerParameter", name=blob, type="Input", top=[blob], input_param={"shape": [shape]}))
    return messages


def _flip(net: Network, sizes: Mapping[str, Shape], color_format: str | None) -> list[str]:
    """Undo the channel reversal in `net`; convolutions that become the identity are removed."""
    recorded = recorded_flips(net)
    images = recorded
    if recorded is None or color_format is not None:
        image = image_input(net)
        wanted = color_format != "rgb" and image is not None and sizes[image][1] == 3
        images = [image] if wanted and image is not None else []
    images = [name for name in images or [] if name in net.inputs]
    if not images:
        return ["the input keeps the network's channel order"]
    given = ", ".join(map(repr, images))
    notes = [f"the Caffe net takes {TO_CAFFE.new} instead of the network's {TO_CAFFE.old}: {given}"]
    notes += reorder_inputs(net, images, sizes, TO_CAFFE)
    for layer in list(net.layers.values()):
        if RESTORED in layer.name and _does_nothing(net, layer):
            del net.layers[layer.name]
            notes = [note for note in notes if not note.startswith(f"layer {layer.name!r}")]
            for other in net.layers.values():
                other.inputs = [layer.inputs[0] if name == layer.outputs[0] else name for name in other.inputs]
    return notes


def _does_nothing(net: Network, layer: Layer) -> bool:
    """Whether a convolution is the identity."""
    if layer.op.dagnn != "dagnn.Conv" or len(layer.params) != 1:
        return False
    filters = net.params[layer.params[0]].value
    return filters.ndim == 4 and filters.shape[:2] == (1, 1) and np.array_equal(filters[0, 0], np.eye(filters.shape[2]))


# -- layers -----------------------------------------------------------------------------------------


def _caffe_layers(net: Network, sizes: Mapping[str, Shape], kept: Sequence[Original]) -> list[CaffeLayer]:
    """Every layer as a Caffe layer: the original one if it is recorded, else from the stock layer."""
    exporter = Exporter(net, sizes)
    by_layer = {name: original for original in kept for name in original.layers}
    done: set[int] = set()
    layers: list[CaffeLayer] = []
    refused = []
    for layer in net.execution_order():
        original = by_layer.get(layer.name)
        if original is not None:
            if id(original) not in done:
                done.add(id(original))
                layers += _as_it_was(original)
        elif layer.op.dagnn in EXPORTS:
            try:
                layers += EXPORTS[layer.op.dagnn](layer, exporter)
            except NetworkError as error:
                refused.append(f"layer {layer.name!r} ({layer.type_name}): {error}")
        else:
            refused.append(f"layer {layer.name!r} ({layer.type_name}): Caffe has no such layer")
    _refuse(net, refused)
    return with_unique_names(_ordered(layers, net))


def _original_layers(
    net: Network, sizes: Mapping[str, Shape], kept: Sequence[Original], whole: WholeGraph
) -> list[CaffeLayer]:
    """Caffe's original layers, if the network is unchanged."""
    recorded = {layer.name: layer for original in kept for layer in _as_it_was(original)}
    return with_unique_names(whole.layers(Exporter(net, sizes), recorded))


def _as_it_was(original: Original) -> list[CaffeLayer]:
    layers = []
    for message, blobs, params in zip(original.messages, original.blobs, original.params, strict=True):
        name = message.get("name")
        names = [param or f"{name}:{index}" for index, param in enumerate(params)]
        layers.append(CaffeLayer(name, message.get("bottom"), message.get("top"), message, blobs, names))
    return layers


def _ordered(layers: list[CaffeLayer], net: Network) -> list[CaffeLayer]:
    """The layers sorted topologically, because Caffe reads a prototxt from top to bottom."""
    made = set(net.inputs)
    missing = [set(layer.bottoms) - made for layer in layers]
    readers: dict[str, list[int]] = {}
    for index, names in enumerate(missing):
        for name in names:
            readers.setdefault(name, []).append(index)
    ready = [index for index, names in enumerate(missing) if not names]  # a heap, so that file order decides ties
    ordered = []
    while ready:
        first = layers[heapq.heappop(ready)]
        ordered.append(first)
        for name in first.tops:
            for index in readers.pop(name, ()):
                missing[index].discard(name)
                if not missing[index]:
                    heapq.heappush(ready, index)
    if len(ordered) < len(layers):
        stuck = next(layer.name for layer, names in zip(layers, missing, strict=True) if names)
        raise NetworkError(f"{net.source}: the graph has a cycle through layer {stuck!r}")
    return ordered


# -- names ------------------------------------------------------------------------------------------


def _name_blobs(net: Network) -> None:
    """Name the variables of a SimpleNN file, which have no names, after Caffe's blobs, else after the layers.

    Of several aliases, the last one is the variable's own former name (matnet.formats.names.recall).
    """
    if net.source.format != "simplenn":
        return
    names = {variable: alias for alias, variable in net.aliases.items()}
    if not names:
        names = {layer.outputs[0]: layer.name for layer in net.layers.values()}
        names |= {name: "data" for name in net.inputs if name == "input"}
    if len(set(names.values())) == len(names):
        net.rename(names)
        variables = set(net.variables)
        net.aliases.update({old: new for old, new in names.items() if old not in variables})


def _blob_names(layers: Sequence[CaffeLayer]) -> dict[str, str]:
    """Variable -> blob: `<blob>_before_<layer>`, if only that layer reads it, is the same blob, changed in place."""
    readers = Counter(name for layer in layers for name in layer.bottoms)
    names: dict[str, str] = {}
    for layer in reversed(layers):
        if len(layer.tops) != 1 or not layer.bottoms:
            continue
        top, bottom = layer.tops[0], layer.bottoms[0]
        blob = names.get(top, top)
        if bottom == f"{blob}_before_{layer.name}" and readers[bottom] == 1:
            names[bottom] = blob
    return names


def _message(layer: CaffeLayer, names: Mapping[str, str]) -> Message:
    bottoms, tops = ([names.get(name, name) for name in blobs] for blobs in (layer.bottoms, layer.tops))
    return layer.message.having(name=layer.name, bottom=bottoms, top=tops)


def _declare_sharing(message: Message, layers: Sequence[CaffeLayer]) -> None:
    """Give shared params ParamSpec names, so that Caffe shares them too."""
    users = Counter(name for layer in layers for name in layer.params)
    for layer, definition in zip(layers, message.get("layer")[-len(layers) :], strict=True):
        if any(users[name] > 1 for name in layer.params) and not definition.has("param"):
            definition.set("param", [build("ParamSpec", name=name) for name in layer.params])
