"""Lowering of a planned network to a schedule: library, blobs and buffers of each layer."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import replace

from matnet.engines.cupy.memory import Arena, Buffer, place_buffers
from matnet.engines.cupy.steps import (
    Apply,
    ConvGraph,
    Convolve,
    DeviceBlob,
    Join,
    Load,
    Multiply,
    Schedule,
    Step,
    Store,
    strides_of,
)
from matnet.engines.plan import FullyConnected, FusedConv, to_products
from matnet.network import Layer, Network
from matnet.ops.base import computes_as
from matnet.ops.convolution import Conv, ConvTranspose
from matnet.shapes import Shape, to_4d

COLORS = 3  # channels of an image; cuDNN has more plans for 4


def lower(
    net: Network, inputs: Mapping[str, Shape], wanted: Sequence[str], precision: str = "fp32", cudnn: bool = True
) -> Schedule:
    """The schedule that computes `wanted` (variables written by layers) from inputs of these shapes.

    Each variable of `net` must have one writer. Without `cudnn`, convolutions use the ops' forward pass. Raises
    ShapeError if the shapes do not fit.
    """
    shapes = net.infer_shapes(inputs, wanted)
    net = to_products(net, shapes)
    layers = net.upto(wanted)
    halves = _half_precision(net, layers) if precision == "fp16" else set()
    blobs = _blobs(layers, shapes, halves, _roomy(net, layers, inputs) if cudnn else ())
    read = {name for layer in layers for name in layer.inputs}
    steps: list[Step] = [Load(name, (), (blobs[name],)) for name in inputs if name in read]
    for layer in layers:
        steps.append(_step(net, layer, blobs, precision, cudnn))
    steps += [Store(name, (blobs[name],), ()) for name in wanted]
    arena = _arena(steps)
    given = {step.layer: inputs[step.layer] for step in steps if isinstance(step, Load)}
    return Schedule(given, {name: blobs[name] for name in wanted}, tuple(steps), arena, precision)


def _half_precision(net: Network, layers: Sequence[Layer]) -> set[str]:
    """The variables stored as float16: inputs of tensor cores, and activations that lead to them.

    Scores, boxes and grids stay float32.
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
    layers: Sequence[Layer], shapes: Mapping[str, Shape], halves: Container[str], roomy: Container[str]
) -> dict[str, DeviceBlob]:
    """A blob per variable. roomy: variables with a spare channel per pixel."""
    names = dict.fromkeys(name for layer in layers for name in (*layer.inputs, *layer.outputs))
    return {
        name: DeviceBlob(
            name,
            shapes[name],
            "float16" if name in halves else "float32",
            shapes[name][1] + 1 if name in roomy else 0,
        )
        for name in names
        if name in shapes
    }


def _roomy(net: Network, layers: Sequence[Layer], inputs: Mapping[str, Shape]) -> set[str]:
    """Images read only by one convolution, which may read them with an additional channel of zeros."""
    found: set[str] = set()
    for name, shape in inputs.items():
        readers = [layer for layer in layers if name in layer.inputs]
        if shape[1] == COLORS and len(readers) == 1 and _is_convolution(net, readers[0]):
            found.update({name} if readers[0].inputs == [name] else ())
    return found


def _step(net: Network, layer: Layer, blobs: Mapping[str, DeviceBlob], precision: str, cudnn: bool) -> Step:
    reads = tuple(blobs[name] for name in layer.inputs)
    writes = tuple(blobs[name] for name in layer.outputs if name in blobs)
    if _is_product(layer):
        graph = _product_graph(net, layer, reads, writes[0], precision)
        return Multiply(layer.name, reads, writes, layer.op, tuple(layer.params), graph)
    if cudnn and _is_convolution(net, layer):
        graph = _graph(net, layer, reads, writes[0], precision)
        return Convolve(layer.name, reads, writes, layer.op, tuple(layer.params), graph)
    if cudnn and computes_as(layer.op, ConvTranspose):
        graph = _transposed_graph(net, layer, layer.op, reads[0], writes[0], precision)
        return Convolve(layer.name, reads, writes, layer.op, tuple(layer.params), graph)
    if layer.op.joins_channels:
        return Join(layer.name, reads, writes)
    return Apply(layer.name, reads, writes, layer.op, tuple(layer.params))


def _conv(layer: Layer) -> Conv | None:
    op = layer.op.conv if isinstance(layer.op, FusedConv) else layer.op
    return op if computes_as(op, Conv) else None


def filters_of(net: Network, layer: Layer) -> Shape:
    """The filters' shape h x w x c/groups x K; () if the layer is not a convolution or has no filters."""
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


def _graph(net: Network, layer: Layer, reads: Sequence[DeviceBlob], y: DeviceBlob, precision: str) -> ConvGraph:
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


def _product_graph(net: Network, layer: Layer, reads: Sequence[DeviceBlob], y: DeviceBlob, precision: str) -> ConvGraph:
    """The graph of a convolution that covers the whole map, read as one pixel with many channels."""
    h, w, depth, count = filters_of(net, layer)
    x, result = (reads[0].shape[0], h * w * depth, 1, 1), (y.shape[0], count, 1, 1)
    return ConvGraph(
        x=x,
        x_strides=strides_of(x),
        filters=(count, h * w * depth, 1, 1),
        y=result,
        y_strides=strides_of(result),
        pad=(0, 0, 0, 0),
        stride=(1, 1),
        dilate=(1, 1),
        precision=precision,
        bias=_has_bias(net, layer),
        residual=strides_of(result) if len(reads) > 1 else None,
        leak=_leak(layer),
        wide=y.dtype == "float32",
    )


def _transposed_graph(
    net: Network, layer: Layer, op: ConvTranspose, x: DeviceBlob, y: DeviceBlob, precision: str
) -> ConvGraph:
    """The adjoint of a convolution with filters D x K x h x w, with this layer's crop as its pad."""
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
    """The placement of buffers, each in use from its first write to its last read."""
    buffers: dict[str, Buffer] = {}
    for number, step in enumerate(steps):
        for blob in (*step.reads, *step.writes):
            known = buffers.get(blob.name)
            buffers[blob.name] = Buffer(blob.bytes, known.first if known else number, number)
    return place_buffers(buffers)


def without_fusing(graph: ConvGraph) -> tuple[ConvGraph, ...]:
    """The convolution with less and less fused into the graph, for cuDNN to try in this order.

    The remaining operations are computed afterwards, in place.
    """
    plain = replace(graph, bias=False, residual=None, leak=None)
    simpler = [graph, replace(graph, residual=None, leak=None), plain] if graph.residual else [graph, plain]
    if graph.transposed:  # few cuDNN kernels support epilogues for it
        simpler = [plain]
    return tuple(dict.fromkeys(simpler))
