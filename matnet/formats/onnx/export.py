"""Network -> ONNX model -> file."""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np

from matnet.errors import MatnetError, NetworkError, UnsupportedLayersError, listing
from matnet.files import atomic_path, atomic_write
from matnet.formats.onnx.graph import Graph, LayerWriter, NotExpressible, Style
from matnet.formats.onnx.metadata import metadata
from matnet.formats.onnx.model import Axis, OnnxModel
from matnet.formats.onnx.registry import exporter_of
from matnet.formats.onnx.sizes import Axes, Freedom, variable_axes
from matnet.formats.onnx.winograd import winograd_way
from matnet.layout import pad_to_4d
from matnet.network import Layer, Network
from matnet.ops.convolution import Conv
from matnet.shapes import Shape

log = logging.getLogger(__name__)

Size = tuple[int, int]
PROTOBUF_LIMIT = (1 << 31) - (1 << 24)  # a message holds 2 GiB; the nodes need some of it
PLAIN = Style()
AXIS_NAMES = ("batch", "channels", "height", "width")


def save_onnx(
    net: Network,
    path: str | os.PathLike[str],
    outputs: Sequence[str] | None = None,
    batch: int | str = "dynamic",
    size: Size | str | None = None,
    *,
    largest: int = PROTOBUF_LIMIT,
) -> list[Path]:
    """Write `net` as an ONNX file (opset 17) and return the files written.

    See `to_onnx_model` for the arguments and what is raised. Weights above `largest` bytes, 2 GiB, which no
    ONNX file can hold, go to a second file, `path` with `.data` added.
    """
    model = to_onnx_model(net, outputs, batch, size)
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
    size: Size | str | None = None,
    *,
    input_shapes: Mapping[str, Shape] | None = None,
    native_lrn: bool = False,
) -> OnnxModel:
    """`net` as an ONNX model in memory; variables keep their names.

    `outputs` are variable, layer or blob names (default: the network's outputs). `batch` is a number or
    "dynamic". `size` is (height, width), "dynamic", or None: dynamic if the network has no fully connected
    layer, else the size that it declares. `input_shapes` (N x C x H x W by input) replaces what the network
    declares. `native_lrn` writes ONNX's own, slow LRN operator. Raises UnsupportedLayersError listing all
    layers that ONNX cannot express, NetworkError where the input's size is neither known nor given.
    """
    inference = net.for_inference()
    for note in inference.source.notes[len(net.source.notes) :]:
        log.info(note)
    wanted = list(dict.fromkeys(inference.resolve(name) for name in outputs or inference.outputs))
    inference.check(wanted)
    unwritten = [name for name in wanted if name in inference.inputs]
    if unwritten:
        raise NetworkError(f"{net.source}: {unwritten[0]!r} is an input; ask for outputs that a layer computes")
    given = dict(input_shapes) if input_shapes else _input_shapes(inference, wanted, batch, size)
    freedom = Freedom(batch=batch == "dynamic", size=size == "dynamic" or size is None)
    if size is None and has_fully_connected(inference, inference.infer_shapes(given, wanted), wanted):
        freedom = Freedom(batch=freedom.batch, size=False)
    axes = variable_axes(inference, given, wanted, freedom)
    if axes is None:
        raise NetworkError(f"{net.source}: does not run on inputs of another size; give the size as (height, width)")
    shapes = inference.infer_shapes(given, wanted)
    images = next(iter(given.values()))[0]
    together = {name for name, shape in shapes.items() if shape[0] == images}
    model = write_model(inference, list(given), wanted, axes, together, Style(native_lrn=native_lrn))
    model.metadata = metadata(net, given)
    return model


def _input_shapes(net: Network, wanted: list[str], batch: int | str, size: Size | str | None) -> dict[str, Shape]:
    """The shapes of the inputs that `wanted` needs; NetworkError where one is not known."""
    if not (batch == "dynamic" or (isinstance(batch, int) and batch >= 1)):
        raise NetworkError(f"batch is a number >= 1 or 'dynamic', found {batch!r}")
    if isinstance(size, str) and size != "dynamic":
        raise NetworkError(f"size is (height, width) or 'dynamic', found {size!r}")
    images = 1 if batch == "dynamic" else int(batch)
    known = net.default_input_shapes(images, None if isinstance(size, str) else size)
    needed = inputs_of(net.upto(wanted))
    missing = [name for name in needed if name not in known]
    if missing:
        raise NetworkError(
            f"{net.source}: the size of input {missing[0]!r} is not in the file; give size=(height, width)"
        )
    return {name: known[name] for name in needed}


def inputs_of(layers: Sequence[Layer]) -> list[str]:
    """What the layers read and none of them writes, in order of first mention."""
    written = {name for layer in layers for name in layer.outputs}
    return list(dict.fromkeys(name for layer in layers for name in layer.inputs if name not in written))


def has_fully_connected(net: Network, shapes: Mapping[str, Shape], wanted: Sequence[str]) -> bool:
    """Whether a convolution covers its whole map at these sizes, so that it can be written as a matrix product."""
    return any(
        layer.op.covers(shapes[layer.inputs[0]], net.param_shapes(layer)[0])
        for layer in net.upto(wanted)
        if isinstance(layer.op, Conv)
    )


def has_winograd(net: Network, shapes: Mapping[str, Shape], wanted: Sequence[str], images: int) -> bool:
    """Whether a convolution would be written by Winograd's algorithm, for that many images at a time."""
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
    style: Style = PLAIN,
) -> OnnxModel:
    """The model that computes the variables `wanted` from those `given`; UnsupportedLayersError as above.

    `together`: the variables that have as many items as the first input. Runtimes reuse memory where two axes
    have one name, so that boxes, or images one after the other, must not share the name of the batch.
    """
    graph = Graph(axes, taken=set(net.variables), style=style)
    faults = []
    for layer in net.upto(wanted):
        try:
            write_layer(graph, net, layer)
        except NotExpressible as error:
            faults.append(f"layer {layer.name!r} ({layer.type_name}): {error}")
    if faults:
        raise UnsupportedLayersError(
            listing(f"{net.source}: ONNX cannot express these layers:", faults)
            + "\nAsk for outputs before them, or run the network with the onnx or numpy backend."
        )
    inputs = {name: _named_axes(name, axes[name], len(given) > 1, name in together) for name in given}
    results = {name: _named_axes(name, axes[name], True, name in together) for name in wanted}
    return OnnxModel(net.source.format, graph.nodes, graph.constants, inputs, results)


def _named_axes(variable: str, axes: Axes, several: bool, together: bool) -> tuple[Axis, ...]:
    """Dynamic axes by name: `batch`, and `height` and `width`, behind the variable's name where there are several."""
    named: list[Axis] = []
    for place, length in enumerate(axes):
        alone = together if place == 0 else not several
        name = AXIS_NAMES[place] if alone else f"{variable}_{AXIS_NAMES[place]}"
        named.append(name if length is None else length)
    return tuple(named)


def write_layer(graph: Graph, net: Network, layer: Layer) -> None:
    """Append one layer; NotExpressible with the reason alone where ONNX cannot compute it.

    Any other fault, of params that no engine can use, is told with the layer's name.
    """
    export = exporter_of(layer.op)
    if export is None:
        raise NotExpressible("has no ONNX form")
    writer = LayerWriter(graph, layer, [np.asarray(net.params[name].value) for name in layer.params])
    try:
        export(writer, layer.op)
    except NotExpressible:
        raise
    except MatnetError as error:
        raise type(error)(f"{net.source}, layer {layer.name!r} ({layer.type_name}): {error}") from None
