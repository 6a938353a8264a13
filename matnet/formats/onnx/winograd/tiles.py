"""Winograd's algorithm with a convolution per channel that extracts and transforms the tiles."""

from __future__ import annotations

import numpy as np

from matnet.formats.onnx.graph import LayerWriter
from matnet.formats.onnx.winograd.choice import TILES, output_size
from matnet.formats.onnx.winograd.matrices import TAPS, matrices, tiles_of
from matnet.layout import filters_to_kchw
from matnet.ops.convolution import Conv

TILE, SPAN = TILES.tile, TILES.tile + TAPS - 1  # pixels of an output tile, and of its input, along an axis
INPUT, FILTER, OUTPUT = matrices(TILE)


def write_tiles(writer: LayerWriter, op: Conv, filters: np.ndarray, bias: np.ndarray | None) -> None:
    """Write the layer, with one group, for an input of fixed height and width, with any number of images.

    After the transform of the tiles, 36 matrix products sum over the channels. A last product with depth-to-space gives
    the pixels.
    """
    channels, height, width = (writer.size(axis) for axis in (1, 2, 3))
    count = filters.shape[3]
    rows, columns = output_size(op, height, width)
    tiles = tiles_of(rows, TILE), tiles_of(columns, TILE)
    tile_values = _transformed_tiles(writer, op, (channels, height, width), tiles)
    weights = np.einsum("ui,kcij,vj->uvkc", FILTER, filters_to_kchw(filters).astype(np.float64), FILTER)
    filter_values = writer.constant(weights.reshape(SPAN * SPAN, count, channels), "winograd")
    products = writer.node("MatMul", filter_values, tile_values)  # 36 x K x (N tiles)
    outputs = np.einsum("yu,xv->yxuv", OUTPUT, OUTPUT).reshape(TILE * TILE, SPAN * SPAN)
    stacked = writer.node("Reshape", products, writer.integers([SPAN * SPAN, -1], "shape"))
    pixels = writer.node("MatMul", writer.constant(outputs, "outputs"), stacked)  # 16 x (K N tiles)
    planes = writer.node("Reshape", pixels, writer.integers([1, -1, *tiles], "shape"))
    maps = writer.node("DepthToSpace", planes, blocksize=TILE, mode="DCR")
    size = TILE * tiles[0], TILE * tiles[1]
    by_filter = writer.node("Reshape", maps, writer.integers([count, -1, *size], "shape"))
    value = writer.node("Transpose", by_filter, perm=[1, 0, 2, 3])
    if size != (rows, columns):
        bounds = [writer.integers(values) for values in ([0, 0], [rows, columns], [2, 3])]
        value = writer.node("Slice", value, *bounds)
    offset = np.zeros(count) if bias is None else bias
    writer.node("Add", value, writer.constant(offset.reshape(1, -1, 1, 1), "bias"), to=writer.outputs[0])


def _transformed_tiles(writer: LayerWriter, op: Conv, shape: tuple[int, int, int], tiles: tuple[int, int]) -> str:
    """36 x C x (N tiles): every channel's tiles, transformed."""
    channels, height, width = shape
    top, _, left, _ = op.pad
    # Complete the last tile; this is never less than the layer's own pad.
    bottom = TILE * (tiles[0] - 1) + SPAN - top - height
    right = TILE * (tiles[1] - 1) + SPAN - left - width
    transform = np.einsum("ui,vj->uvij", INPUT, INPUT).reshape(SPAN * SPAN, 1, SPAN, SPAN)
    planes = writer.node("Reshape", writer.inputs[0], writer.integers([-1, 1, height, width], "shape"))
    values = writer.node(
        "Conv",
        planes,
        writer.constant(transform, "tiles"),
        kernel_shape=[SPAN, SPAN],
        strides=[TILE, TILE],
        pads=[top, left, bottom, right],
    )
    apart = writer.node("Reshape", values, writer.integers([-1, channels, SPAN * SPAN, tiles[0] * tiles[1]], "shape"))
    together = writer.node("Transpose", apart, perm=[2, 1, 0, 3])
    return writer.node("Reshape", together, writer.integers([SPAN * SPAN, channels, -1], "shape"))
