"""ONNX exporters of sums, concatenation, crops, scales, sub-pixel layers and distances."""

from __future__ import annotations

import numpy as np

from matnet.formats.onnx.graph import LayerWriter
from matnet.formats.onnx.registry import exporter
from matnet.ops.combine import Concat, ConcatMap, Crop, Scale, SubP, Sum
from matnet.ops.fields import AXIS_OF_DIM
from matnet.ops.training import PDist


def chain(writer: LayerWriter, op_type: str, values: list[str]) -> None:
    """Apply a binary operator to all values from left to right, in the order of the reference."""
    total = values[0]
    for place, value in enumerate(values[1:], 2):
        total = writer.node(op_type, total, value, to=writer.outputs[0] if place == len(values) else None)
    if len(values) == 1:
        writer.node("Identity", total, to=writer.outputs[0])


@exporter(Sum)
def write_sum(writer: LayerWriter, op: Sum) -> None:
    chain(writer, "Add", writer.inputs)


@exporter(Concat)
def write_concat(writer: LayerWriter, op: Concat) -> None:
    writer.node("Concat", *writer.inputs, to=writer.outputs[0], axis=AXIS_OF_DIM[op.dim])


@exporter(ConcatMap)
def write_concat_map(writer: LayerWriter, op: ConcatMap) -> None:
    """Broadcast the map over the images and pixels of the first input."""
    x, levels = writer.inputs
    channels = writer.integers([writer.size(1, 1)], "channels")
    sizes = writer.node("Shape", x, start=0, end=1), channels, _spatial_size(writer, x)
    spread = writer.node("Expand", levels, writer.node("Concat", *sizes, axis=0))
    writer.node("Concat", x, spread, to=writer.outputs[0], axis=1)


@exporter(Scale)
def write_scale(writer: LayerWriter, op: Scale) -> None:
    constants = [writer.constant(param, "factor") for param in writer.prepared()]
    x, multiplier, *bias = [*writer.inputs, *constants][: 3 if op.hasBias else 2]
    if bias:
        writer.node("Add", writer.node("Mul", x, multiplier), bias[0], to=writer.outputs[0])
    else:
        writer.node("Mul", x, multiplier, to=writer.outputs[0])


@exporter(Crop)
def write_crop(writer: LayerWriter, op: Crop) -> None:
    """start = min(crop, size - size of the reference), computed in the graph if sizes are dynamic.

    OpenCV cannot read such graphs.
    """
    x, reference = writer.inputs
    size, kept = ([length for length in axes[2:] if length is not None] for axes in writer.axes)
    if len(size) == len(kept) == 2:
        first = op.offsets([(1, 1, *size), (1, 1, *kept)])
        last = [begin + length for begin, length in zip(first, kept, strict=True)]
        places = writer.integers(first, "start"), writer.integers(last, "end"), writer.integers([2, 3], "axes")
        writer.node("Slice", x, *places, to=writer.outputs[0])
        return
    wanted = _spatial_size(writer, reference)
    start = writer.integers([0, 0], "start")
    if any(op.crop):
        left_over = writer.node("Sub", _spatial_size(writer, x), wanted)
        start = writer.node("Min", writer.integers(op.crop, "crop"), left_over)
    end = writer.node("Add", start, wanted)
    writer.node("Slice", x, start, end, writer.integers([2, 3], "axes"), to=writer.outputs[0])


def _spatial_size(writer: LayerWriter, value: str) -> str:
    return writer.node("Shape", value, start=2)


@exporter(SubP)
def write_sub_pixels(writer: LayerWriter, op: SubP) -> None:
    """Blocks vary fastest along columns in ONNX and along rows in MATLAB, so the channels are permuted."""
    s, channels = op.factor, writer.size(1)
    if op.scale > 1:  # channel (c, column, row) -> (c, row, column)
        order = np.arange(channels).reshape(-1, s, s).swapaxes(1, 2).ravel()
        turned = writer.node("Gather", writer.inputs[0], writer.integers(order, "order"), axis=1)
        writer.node("DepthToSpace", turned, to=writer.outputs[0], blocksize=s, mode="CRD")
        return
    blocks = writer.node("SpaceToDepth", writer.inputs[0], blocksize=s)  # channel (row, column, c)
    order = np.arange(channels * s * s).reshape(s, s, channels).transpose(2, 1, 0).ravel()
    writer.node("Gather", blocks, writer.integers(order, "order"), to=writer.outputs[0], axis=1)


@exporter(PDist)
def write_pdist(writer: LayerWriter, op: PDist) -> None:
    constants = [writer.constant(param, "argument") for param in writer.prepared()]
    x, x0, *weights = [*writer.inputs, *constants]
    powers = writer.node("Abs", writer.node("Sub", x, x0))
    if op.p == 2:
        powers = writer.node("Mul", powers, powers)
    elif op.p != 1:
        powers = writer.node("Pow", powers, writer.constant(op.p, "p"))
    distance = writer.node("ReduceSum", powers, writer.integers([1], "axes"), keepdims=1)
    if op.p != 1 and not op.noRoot:
        root = writer.constant(1 / op.p, "root")
        distance = writer.node("Sqrt", distance) if op.p == 2 else writer.node("Pow", distance, root)
    if weights:
        distance = writer.node("Mul", distance, weights[0])
    if op.aggregate:
        axes = writer.integers([0, 1, 2, 3], "axes")
        writer.node("ReduceSum", distance, axes, to=writer.outputs[0], keepdims=1)
    else:
        writer.node("Identity", distance, to=writer.outputs[0])
