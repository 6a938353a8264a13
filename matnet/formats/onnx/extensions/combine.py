"""ONNX exporters of Caffe's layers that join, slice and crop activations."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from matnet.formats.onnx.combine import chain
from matnet.formats.onnx.graph import LayerWriter, NeedsFixedSize
from matnet.formats.onnx.registry import exporter
from matnet.ops.extensions.combine import Axpy, CaffeCrop, Eltwise, Max, Slice, Tile
from matnet.ops.extensions.linear import InnerProduct

LAST = int(np.iinfo(np.int64).max)  # ONNX's way to say "to the end"


@exporter(Max)
def write_max(writer: LayerWriter, op: Max) -> None:
    writer.node("Max", *writer.inputs, to=writer.outputs[0])


@exporter(Eltwise)
def write_eltwise(writer: LayerWriter, op: Eltwise) -> None:
    if op.operation == "prod":
        chain(writer, "Mul", writer.inputs)
        return
    weights = op.coeff or (1.0,) * len(writer.inputs)
    terms = [
        value if weight == 1 else writer.node("Mul", value, writer.constant(weight, "coeff"))
        for value, weight in zip(writer.inputs, weights, strict=True)
    ]
    chain(writer, "Add", terms)


@exporter(Axpy)
def write_axpy(writer: LayerWriter, op: Axpy) -> None:
    scale, x, y = writer.inputs
    writer.node("Add", writer.node("Mul", scale, x), y, to=writer.outputs[0])


@exporter(CaffeCrop)
def write_caffe_crop(writer: LayerWriter, op: CaffeCrop) -> None:
    x, like = writer.inputs
    axes = list(range(op.axis, 4))
    start = writer.integers((list(op.offset) + [0] * 4)[: len(axes)], "start")
    wanted = writer.node("Shape", like, start=op.axis)
    end = writer.node("Add", start, wanted)
    writer.node("Slice", x, start, end, writer.integers(axes, "axes"), to=writer.outputs[0])


@exporter(Slice)
def write_slice(writer: LayerWriter, op: Slice) -> None:
    length = writer.axes[0][op.axis]
    if length is None and not op.points:
        raise NeedsFixedSize("splits an axis of unknown size into equal parts")
    bounds = [0, *op.points, LAST] if length is None else op._bounds(length)
    axis = writer.integers([op.axis], "axis")
    for output, (low, high) in zip(writer.outputs, pairwise(bounds), strict=False):  # further slices are unnamed
        ends = writer.integers([low], "start"), writer.integers([high], "end")
        writer.node("Slice", writer.inputs[0], *ends, axis, to=output)


@exporter(Tile)
def write_tile(writer: LayerWriter, op: Tile) -> None:
    repeats = [op.tiles if axis == op.axis else 1 for axis in range(4)]
    writer.node("Tile", writer.inputs[0], writer.integers(repeats, "repeats"), to=writer.outputs[0])


@exporter(InnerProduct)
def write_inner_product(writer: LayerWriter, op: InnerProduct) -> None:
    weights, bias = writer.prepared()
    rows = writer.node("Flatten", writer.inputs[0], axis=op.axis)
    parts = [writer.constant(weights, "weights")] + ([] if bias is None else [writer.constant(bias, "bias")])
    product = writer.node("Gemm", rows, *parts, transB=1)
    writer.reshape(product, writer.output_axes(), to=writer.outputs[0])
