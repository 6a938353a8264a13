"""A planned network as steps for one GPU: which library computes each layer, on which blobs, in which buffers."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import replace

from matnet.engines.cupy.memory import Arena, Buffer, plan_memory
from matnet.engines.cupy.steps import (
    ITEM_BYTES,
    Apply,
    Blob,
    ConvGraph,
    Convolve,
    Join,
    Load,
    Multiply,
    Schedule,
    Step,
    Store,
)
from matnet.engines.plan import FullyConnected, FusedConv, to_products
from matnet.network import Layer, Network
from matnet.ops.base import computes_as
from matnet.ops.combine import Concat
from matnet.ops.convolution import Conv, ConvTranspose
from matnet.shapes import Shape, to_4d

CHANNELS = 3  # Concat's `dim` for channels
WORD = 16  # bytes


def lower(
    net: Network, inputs: Mapping[str, Shape], wanted: Sequence[str], precision: str = "fp32", cudnn: bool = True
) -> Schedule:
    """The steps that compute `wanted` (variables that layers write) from inputs of these shapes.

    `net` is a planned network, each of whose variables has one writer. Without `cudnn` convolutions are left to
    the ops. Raises ShapeError where the shapes do not fit.
    """
    shapes = net.infer_shapes(inputs, wanted)
    net = to_products(net, shapes)
    layers = net.upto(wanted)
    halves = _half_precision(net, layers) if precision == "fp16" else set()
    places = _places(net, layers, shapes, wanted, halves) if cudnn else {}
    blobs = _blobs(layers, shapes, halves, places)
    read = {name for layer in layers for name in layer.inputs}
    steps: list[Step] = [Load(name, (), (blobs[name],)) for name in inputs if name in read]
    for layer in layers:
        steps.append(_step(net, layer, blobs, precision, cudnn))
    steps += [Store(name, (blobs[name],), ()) for name in wanted]
    arena = _arena(steps)
    given = {step.layer: inputs[step.layer] for step in steps if isinstance(step, Load)}
    return Schedule(given, {name: blobs[name] for name in wanted}, tuple(steps), arena, precision)


def _half_precision(net: Network, layers: Sequence[Layer]) -> set[str]:
    """The variables that are kept as float16: those that tensor cores read, and activations on the way to them.

    Scores, boxes, grids and the like stay float32.
    """
    halves = set()
    for layer in layers:
        if filters_of(net, layer) or computes_as(layer.op, ConvTranspose):
            halves.update(layer.inputs)
            if not _is_product(layer):
                halves.update(layer.outputs)
        elif layer.op.half_precision and len(layer.outputs) == 1 and halves.intersection(layer.inputs):
            halves.update(layer.outputs)
    return halves


def _blobs(
    layers: Sequence[Layer], shapes: Mapping[str, Shape], halves: Container[str], places: Mapping[str, tuple[str, int]]
) -> dict[str, Blob]:
    """A blob per variable; `places` says which are part of another one, and from which channel on."""
    names = dict.fromkeys(name for layer in layers for name in (*layer.inputs, *layer.outputs))
    blobs = {}
    for name in names:
        if name in shapes:
            root, first = places.get(name, (name, 0))
            dtype = "float16" if root in halves else "float32"
            blobs[name] = Blob(name, shapes[name], dtype, root, shapes[root][1], first)
    return blobs


def _places(
    net: Network,
    layers: Sequence[Layer],
    shapes: Mapping[str, Shape],
    wanted: Iterable[str],
    halves: Container[str],
) -> dict[str, tuple[str, int]]:
    """Variables that a convolution can write straight to their place in a concatenation that alone reads them.

    Each has to begin at a multiple of WORD, as cuDNN takes for granted, in every pixel.
    """
    readers: dict[str, int] = {}
    for layer in layers:
        for name in layer.inputs:
            readers[name] = readers.get(name, 0) + 1
    convolved = {layer.outputs[0] for layer in layers if _is_convolution(net, layer)}
    places = {}
    for layer in layers:
        if not computes_as(layer.op, Concat) or layer.op.dim != CHANNELS:
            continue
        (output,), first = layer.outputs, 0
        width = ITEM_BYTES["float16" if output in halves else "float32"]
        whole = shapes[output][1] * width % WORD == 0
        for name in layer.inputs:
            alone = readers[name] == 1 and name not in wanted
            if whole and alone and name in convolved and first * width % WORD == 0:
                places[name] = (output, first)
            first += shapes[name][1]
    return places


def _step(net: Network, layer: Layer, blobs: Mapping[str, Blob], precision: str, cudnn: bool) -> Step:
    reads = tuple(blobs[name] for name in layer.inputs)
    writes = tuple(blobs[name] for name in layer.outputs if name in blobs)
    if _is_product(layer):
        return Multiply(layer.name, reads, writes, layer.op, tuple(layer.params), _has_bias(net, layer), _leak(layer))
    if cudnn and _is_convolution(net, layer):
        graph = _graph(net, layer, reads, writes[0], precision)
        return Convolve(layer.name, reads, writes, layer.op, tuple(layer.params), graph)
    if cudnn and computes_as(layer.op, ConvTranspose):
        graph = _transposed_graph(net, layer, layer.op, reads[0], writes[0], precision)
        return Convolve(layer.name, reads, writes, layer.op, tuple(layer.params), graph)
    if computes_as(layer.op, Concat) and layer.op.dim == CHANNELS:
        return Join(layer.name, reads, writes)
    return Apply(layer.name, reads, writes, layer.op, tuple(layer.params))


def _conv(layer: Layer) -> Conv | None:
    op = layer.op.conv if isinstance(layer.op, FusedConv) else layer.op
    return op if computes_as(op, Conv) else None


def filters_of(net: Network, layer: Layer) -> Shape:
    """h x w x c/groups x K; () where the layer is no convolution, or has no filters."""
    if _conv(layer) is None:
        return ()
    shape = net.params[layer.params[0]].value.shape
    return to_4d(shape) if all(shape) and shape else ()


def _is_product(layer: Layer) -> bool:
    return isinstance(_conv(layer), FullyConnected)


def _is_convolution(net: Network, layer: Layer) -> bool:
    return bool(filters_of(net, layer)) and not _is_product(layer)


def _has_bias(net: Network, layer: Layer) -> bool:
    conv = layer.op if computes_as(layer.op, ConvTranspose) else _conv(layer)
    return bool(conv and conv.hasBias and len(layer.params) > 1 and net.params[layer.params[1]].value.size)


def _leak(layer: Layer) -> float | None:
    relu = layer.op.relu if isinstance(layer.op, FusedConv) else None
    return relu.leak if relu else None


def _graph(net: Network, layer: Layer, reads: Sequence[Blob], y: Blob, precision: str) -> ConvGraph:
    conv, (h, w, depth, count) = _conv(layer), filters_of(net, layer)
    assert conv is not None
    return ConvGraph(
        x=reads[0].shape,
        x_strides=reads[0].strides,
        filters=(count, depth, h, w),
        y=y.shape,
        y_strides=y.strides,
        pad=conv.pad,
        stride=conv.stride,
        dilate=conv.dilate,
        precision=precision,
        bias=_has_bias(net, layer),
        residual=reads[1].strides if len(reads) > 1 else None,
        leak=_leak(layer),
    )


def _transposed_graph(net: Network, layer: Layer, op: ConvTranspose, x: Blob, y: Blob, precision: str) -> ConvGraph:
    """The adjoint of a convolution with filters D x K x h x w, in as many groups, that pads what this one crops."""
    h, w, count, depth = to_4d(net.params[layer.params[0]].value.shape)
    bias = _has_bias(net, layer)
    return ConvGraph(
        x=x.shape,
        x_strides=x.strides,
        filters=(depth, count, h, w),
        y=y.shape,
        y_strides=y.strides,
        pad=op.crop,
        stride=op.upsample,
        dilate=(1, 1),
        precision=precision,
        bias=bias,
        transposed=True,
    )


def _arena(steps: Sequence[Step]) -> Arena:
    """The buffers' places, each in use from the first step that writes to it until the last one that reads it."""
    buffers: dict[str, Buffer] = {}
    for number, step in enumerate(steps):
        for blob in (*step.reads, *step.writes):
            known = buffers.get(blob.root)
            size = max(blob.bytes, known.size if known else 0)
            buffers[blob.root] = Buffer(size, known.first if known else number, number)
    return plan_memory(buffers)


def without_fusing(step: Convolve) -> tuple[Convolve, ...]:
    """The same convolution with less in one graph, for cuDNN to try in this order where it cannot do all at once.

    What is left out of a graph is computed afterwards, in place.
    """
    graph = step.graph
    plain = replace(graph, bias=False, residual=None, leak=None)
    simpler = [graph, replace(graph, residual=None, leak=None), plain] if graph.residual else [graph, plain]
    if graph.transposed:  # cuDNN has no epilogues for it that more than a few kernels know
        simpler = [plain]
    return tuple(replace(step, graph=item) for item in dict.fromkeys(simpler))
