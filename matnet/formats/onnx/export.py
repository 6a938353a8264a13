"""Export a network to an ONNX model and file."""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np

from matnet.errors import MatnetError, NetworkError, UnsupportedLayersError, in_words, listing
from matnet.files import atomic_path, atomic_write, refuse_other_kind
from matnet.formats.onnx.graph import ExportOptions, Graph, LayerWriter, NeedsFixedSize, NotExpressible
from matnet.formats.onnx.metadata import metadata
from matnet.formats.onnx.model import Axis, OnnxModel
from matnet.formats.onnx.registry import exporter_of
from matnet.formats.onnx.sizes import Axes, DynamicAxes, variable_axes
from matnet.formats.onnx.winograd import winograd_way
from matnet.kinds import ONNX
from matnet.layout import pad_to_4d
from matnet.meta.given import InputSize, given_input_shapes, require_sizes
from matnet.meta.inputs import InputFacts
from matnet.meta.transposed import transposition_notes
from matnet.network import Layer, Network
from matnet.ops.convolution import Conv
from matnet.shapes import Shape

log = logging.getLogger(__name__)
PROTOBUF_LIMIT = (1 << 31) - (1 << 24)  # 2 GiB per message, less room for the nodes
PLAIN = ExportOptions()
# Sizes to try for a network without input size. No convolution of known networks covers the whole map at these sizes.
PROBES = ((64, 80), (256, 320), (1024, 1280))
AXIS_NAMES = ("batch", "channels", "height", "width")


def save_onnx(
    net: Network,
    path: str | os.PathLike[str],
    outputs: Sequence[str] | None = None,
    batch: int | str = "dynamic",
    size: InputSize | str | None = None,
    *,
    partial: bool = False,
    largest: int = PROTOBUF_LIMIT,
) -> list[Path]:
    """Write `net` as an ONNX file (opset 17); returns the files written.

    Arguments and errors are those of `to_onnx_model`. Weights above `largest` bytes (default: the 2 GiB limit of ONNX
    files) are written to a second file, `path` + `.data`. Raises FileFormatError if another kind of file
    exists at the path.
    """
    refuse_other_kind(path, ONNX)
    transposition_notes(net)
    return write_onnx(to_onnx_model(net, outputs, batch, size, partial=partial), path, largest)


def write_onnx(model: OnnxModel, path: str | os.PathLike[str], largest: int = PROTOBUF_LIMIT) -> list[Path]:
    """Write a model as `save_onnx` does."""
    target = Path(path)
    if model.weight_bytes <= largest:
        with atomic_write(target) as file:
            file.writelines(model.message().chunks())
        return [target]
    data = target.with_name(f"{target.name}.data")
    with atomic_path(target) as graph, atomic_write(data) as file:
        file.writelines(model.external_chunks())
        graph.write_bytes(b"".join(model.message(model.external_layout(data.name)).chunks()))
    return [target, data]


def to_onnx_model(
    net: Network,
    outputs: Sequence[str] | None = None,
    batch: int | str = "dynamic",
    size: InputSize | str | None = None,
    *,
    partial: bool = False,
    input_shapes: Mapping[str, Shape] | None = None,
    native_lrn: bool = False,
) -> OnnxModel:
    """`net` as an ONNX model in memory; variables keep their names.

    outputs: names of variables, layers or blobs (default: the network's outputs). batch: a number or "dynamic". size:
    (height, width), (C, H, W), a mapping from input to such a size, "dynamic", or None: dynamic if no layer needs a
    fixed size, else the size declared by the network. partial: drop layers that ONNX cannot express, and all layers
    after them, with a warning; the outputs are then the inputs of the dropped layers. input_shapes: N x C x H x W by
    input, in place of the declared shapes. native_lrn: use ONNX's own, slow LRN operator. Raises
    UnsupportedLayersError, listing all layers that ONNX cannot express, and NetworkError if a required input size is
    unknown.
    """
    inference = net.for_inference().with_blobs(outputs)
    for note in inference.source.notes[len(net.source.notes) :]:
        log.info(note)
    wanted = list(dict.fromkeys(inference.resolved(outputs or inference.outputs)))
    if not wanted:
        raise NetworkError(f"{net.source}: no layer has an output; nothing to export")
    inference.check(wanted)
    options = ExportOptions(native_lrn=native_lrn)
    while True:
        unwritten = sorted(set(inference.inputs).intersection(wanted))
        if unwritten:
            raise NetworkError(f"{net.source}: {unwritten[0]!r} is an input; select outputs that a layer computes")
        try:
            return _model(inference, wanted, batch, size, input_shapes, options)
        except UnsupportedLayersError as error:
            stated = _known_shapes(inference, batch, None)
            if size is None and not error.layers and stated.keys() >= set(inputs_of(inference.upto(wanted))):
                log.info("%s: exported for its declared input size, because some layers need a fixed size", net.source)
                return _model(inference, wanted, batch, {}, input_shapes, options)
            before = outputs_before(inference, wanted, error.layers) if partial and error.layers else []
            if not before:
                raise
            first = inference.layers[error.layers[0]]
            log.warning(
                "%s: exported up to layer %r (%s), which ONNX cannot express; the outputs are %s",
                net.source, first.name, first.type_name, ", ".join(before),
            )  # fmt: skip
            wanted = before


def _model(
    net: Network,
    wanted: list[str],
    batch: int | str,
    size: InputSize | str | None,
    input_shapes: Mapping[str, Shape] | None,
    options: ExportOptions,
) -> OnnxModel:
    known = dict(input_shapes) if input_shapes else _known_shapes(net, batch, size)
    needed = list(known) if input_shapes else inputs_of(net.upto(wanted))
    if not needed:
        raise NetworkError(f"{net.source}: {', '.join(wanted)} depends on no input; nothing to export")
    given = {name: known[name] for name in needed if name in known}
    open_size = size == "dynamic" or size is None
    if len(given) < len(needed):
        given = _any_size(net, wanted, needed, given) if open_size else given
        require_sizes(net, needed, given)
    if size is None and has_fully_connected(net, net.infer_shapes(given, wanted), wanted):
        open_size = False
    axes = variable_axes(net, given, wanted, DynamicAxes(batch=batch == "dynamic", size=open_size))
    if axes is None:
        option = in_words("size=(height, width)", "--input-size HxW")
        raise NetworkError(f"{net.source}: needs a fixed input size; give {option}")
    shapes = net.infer_shapes(given, wanted)
    images = next(iter(given.values()))[0]
    together = {name for name, shape in shapes.items() if shape[0] == images}
    model = write_model(net, list(given), wanted, axes, together, options)
    model.metadata = metadata(net, {name: shape for name, shape in given.items() if name in known})
    return model


def _known_shapes(net: Network, batch: int | str, size: InputSize | str | None) -> dict[str, Shape]:
    """The input shapes stated by the network or by `size`."""
    if not (batch == "dynamic" or (isinstance(batch, int) and batch >= 1)):
        raise NetworkError(f"batch is {batch!r}; expected a number >= 1 or 'dynamic'")
    if isinstance(size, str) and size != "dynamic":
        raise NetworkError(f"size is {size!r}; expected (height, width), a size by input, or 'dynamic'")
    images = 1 if batch == "dynamic" else int(batch)
    return given_input_shapes(net, None if isinstance(size, str) else size, images)


def _any_size(net: Network, wanted: list[str], needed: list[str], known: dict[str, Shape]) -> dict[str, Shape]:
    """Shapes to use for inputs of any size; `known` if the network has fully connected layers."""
    images = next((shape[0] for shape in known.values()), 1)
    facts = InputFacts(net)
    channels = {name: facts.channels(name) for name in needed if name not in known}
    for size in PROBES:
        shapes = {**known, **{name: (images, count, *size) for name, count in channels.items() if count}}
        try:
            sizes = net.infer_shapes(shapes, wanted)
        except MatnetError:
            continue
        if not has_fully_connected(net, sizes, wanted):
            return {name: shapes[name] for name in needed}
    return known


def outputs_before(net: Network, wanted: Sequence[str], layers: Collection[str]) -> list[str]:
    """The outputs without `layers` and those after them: the unaffected ones of `wanted`, and inputs of the rest."""
    lost: set[str] = set()
    read: list[str] = []
    for layer in net.upto(wanted):
        if layer.name in layers or lost.intersection(layer.inputs):
            lost.update(layer.outputs)
            read += [name for place, name in enumerate(layer.inputs) if place not in layer.op.size_only_inputs]
    kept = [*(name for name in wanted if name not in lost), *(name for name in read if name not in lost)]
    inputs = set(net.inputs)
    return [name for name in dict.fromkeys(kept) if name not in inputs]


def inputs_of(layers: Sequence[Layer]) -> list[str]:
    """The variables that the layers read but do not write, in order of first use."""
    written = {name for layer in layers for name in layer.outputs}
    return list(dict.fromkeys(name for layer in layers for name in layer.inputs if name not in written))


def has_fully_connected(net: Network, shapes: Mapping[str, Shape], wanted: Sequence[str]) -> bool:
    """Whether a convolution covers its whole map at these sizes and can be a matrix product."""
    return any(
        layer.op.covers(shapes[layer.inputs[0]], net.param_shapes(layer)[0])
        for layer in net.upto(wanted)
        if isinstance(layer.op, Conv)
    )


def has_winograd(net: Network, shapes: Mapping[str, Shape], wanted: Sequence[str], images: int) -> bool:
    """Whether any convolution would use Winograd's algorithm for a batch of `images`."""
    return any(
        winograd_way(layer.op, pad_to_4d(net.params[layer.params[0]].value), shapes[layer.inputs[0]], images)
        for layer in net.upto(wanted)
        if isinstance(layer.op, Conv) and layer.params[0] in net.params
    )


def write_model(
    net: Network,
    given: Sequence[str],
    wanted: Sequence[str],
    axes: Mapping[str, Axes],
    together: Collection[str] = (),
    options: ExportOptions = PLAIN,
) -> OnnxModel:
    """The model that computes the variables `wanted` from those `given`. Raises UnsupportedLayersError.

    together: the variables with as many items as the first input. Runtimes reuse memory of axes with the same name, so
    other axes, such as boxes, must not be named like the batch.
    """
    graph = Graph(axes, taken=set(net.variables), options=options)
    faults, never = [], []
    for layer in net.upto(wanted):
        try:
            write_layer(graph, net, layer)
        except NotExpressible as error:
            sized = isinstance(error, NeedsFixedSize)
            never += [] if sized else [layer.name]
            cure = f"; give {in_words('size=(height, width)', '--input-size HxW')}" if sized else ""
            faults.append(f"layer {layer.name!r} ({layer.type_name}): {error}{cure}")
    if faults:
        raise UnsupportedLayersError(
            listing(f"{net.source}: ONNX cannot express these layers:", faults)
            + "\nSelect outputs before these layers, or run the network with the onnx or numpy backend.",
            never,
        )
    inputs = {name: _named_axes(name, axes[name], len(given) > 1, name in together) for name in given}
    results = {name: _named_axes(name, axes[name], True, name in together) for name in wanted}
    return OnnxModel(net.source.format, graph.nodes, graph.constants, inputs, results)


def _named_axes(variable: str, axes: Axes, several: bool, together: bool) -> tuple[Axis, ...]:
    """Names of dynamic axes: `batch`, `height` and `width`, prefixed with the variable's name if there are several."""
    named: list[Axis] = []
    for place, length in enumerate(axes):
        alone = together if place == 0 else not several
        name = AXIS_NAMES[place] if alone else f"{variable}_{AXIS_NAMES[place]}"
        named.append(name if length is None else length)
    return tuple(named)


def write_layer(graph: Graph, net: Network, layer: Layer) -> None:
    """Append one layer. Raises NotExpressible, with the reason only, if ONNX cannot compute it.

    Other errors, for invalid params, name the layer.
    """
    export = exporter_of(layer.op)
    if export is None:
        raise NotExpressible("has no ONNX form")
    writer = LayerWriter(graph, layer, [np.asarray(net.params[name].value) for name in layer.params])
    try:
        export(writer, layer.op)
    except NotExpressible:
        raise
    except OverflowError:
        raise NotExpressible("has a value too large for single precision, which ONNX uses") from None
    except MatnetError as error:
        raise type(error)(f"{net.source}, layer {layer.name!r} ({layer.type_name}): {error}") from None
