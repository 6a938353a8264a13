"""ONNX exporters of Conv and ConvTranspose: filters K x c x h x w, or Gemm if the window covers the whole map."""

from __future__ import annotations

import numpy as np

from matnet.formats.onnx.graph import LayerWriter
from matnet.formats.onnx.registry import exporter
from matnet.formats.onnx.winograd import winograd_way, write_winograd
from matnet.layout import filters_to_kchw, pad_to_4d
from matnet.ops.arrays import as_vector
from matnet.ops.convolution import Conv, ConvTranspose
from matnet.shapes import Pad

MANY_WEIGHTS = 1 << 22  # weights of a matrix that exceed the CPU cache


def onnx_pads(pad: Pad) -> list[int]:
    """[top left bottom right], ONNX's order."""
    top, bottom, left, right = pad
    return [top, left, bottom, right]


def _bias_values(writer: LayerWriter, has_bias: bool) -> np.ndarray | None:
    if not has_bias or len(writer.params) < 2 or not writer.params[1].size:
        return None
    values: np.ndarray = as_vector(np, writer.params[1])
    return values


def _bias(writer: LayerWriter, has_bias: bool) -> list[str]:
    values = _bias_values(writer, has_bias)
    return [] if values is None else [writer.constant(values, "bias")]


@exporter(Conv)
def write_conv(writer: LayerWriter, op: Conv) -> None:
    writer.prepared()  # validates the filters
    filters = pad_to_4d(writer.params[0])
    if not filters.size:
        _write_picked(writer, op)
        return
    options = writer.graph.options
    if op.covers(writer.axes[0], filters.shape) and not (options.product_as_conv and writer.axes[0][0] == 1):
        _write_product(writer, op, filters)
        return
    way = winograd_way(op, filters, writer.axes[0], options.winograd) if options.winograd else None
    if way:
        write_winograd(writer, op, filters, _bias_values(writer, op.hasBias), way)
        return
    weights = writer.constant(filters_to_kchw(filters), "filters")
    writer.node(
        "Conv",
        writer.inputs[0],
        weights,
        *_bias(writer, op.hasBias),
        to=writer.outputs[0],
        kernel_shape=list(filters.shape[:2]),
        strides=list(op.stride),
        pads=onnx_pads(op.pad),
        dilations=list(op.dilate),
        group=writer.size(1) // filters.shape[2],
    )


def _write_product(writer: LayerWriter, op: Conv, filters: np.ndarray) -> None:
    """A single matrix product for the batch, so that each weight is read once, not once per image."""
    count = filters.shape[3]
    rows = filters_to_kchw(filters)
    flat = writer.node("Flatten", writer.inputs[0], axis=1)
    if writer.graph.options.product_as_conv and filters.size >= MANY_WEIGHTS:
        _write_product_as_conv(writer, op, flat, rows.reshape(count, -1, 1, 1))
        return
    if writer.graph.options.product_by_columns:
        columns = writer.constant(rows.reshape(count, -1).T, "filters")
        product = writer.node("Gemm", flat, columns, *_bias(writer, op.hasBias))
    else:
        weights = writer.constant(rows, "filters", shape=(count, filters.size // count))
        product = writer.node("Gemm", flat, weights, *_bias(writer, op.hasBias), transB=1)
    writer.reshape(product, writer.output_axes(), to=writer.outputs[0])


def _write_product_as_conv(writer: LayerWriter, op: Conv, flat: str, filters: np.ndarray) -> None:
    """The product as a 1 x 1 convolution over a row of pixels, one per image."""
    columns = writer.node("Transpose", flat, perm=[1, 0])
    row = writer.node("Reshape", columns, writer.integers([1, filters.shape[1], 1, -1], "shape"))
    weights = writer.constant(filters, "filters")
    product = writer.node("Conv", row, weights, *_bias(writer, op.hasBias), kernel_shape=[1, 1])
    writer.node("Transpose", product, perm=[3, 1, 0, 2], to=writer.outputs[0])


def _write_picked(writer: LayerWriter, op: Conv) -> None:
    """Conv with empty filters: every stride-th pixel of the padded input, plus the bias."""
    value = writer.inputs[0]
    if any(op.pad):
        top, bottom, left, right = op.pad
        value = writer.node("Pad", value, writer.integers([0, 0, top, left, 0, 0, bottom, right], "pads"))
    if op.stride != (1, 1):
        bounds = [writer.integers(values) for values in ([0, 0], [np.iinfo(np.int64).max] * 2, [2, 3], op.stride)]
        value = writer.node("Slice", value, *bounds)
    bias = _bias(writer, op.hasBias)
    if bias:
        column = writer.reshape(bias[0], (1, writer.size(1), 1, 1))
        writer.node("Add", value, column, to=writer.outputs[0])
    else:
        writer.node("Identity", value, to=writer.outputs[0])


@exporter(ConvTranspose)
def write_conv_transpose(writer: LayerWriter, op: ConvTranspose) -> None:
    writer.prepared()
    filters = pad_to_4d(writer.params[0])  # h x w x K x D, where D comes first in ONNX
    writer.node(
        "ConvTranspose",
        writer.inputs[0],
        writer.constant(filters_to_kchw(filters), "filters"),
        *_bias(writer, op.hasBias),
        to=writer.outputs[0],
        kernel_shape=list(filters.shape[:2]),
        strides=list(op.upsample),
        pads=onnx_pads(op.crop),
        group=op.numGroups,
    )
