"""3 x 3 convolutions by Winograd's algorithm, F(4 x 4, 3 x 3), of operators that runtimes compute fast.

An output of 4 x 4 pixels needs 36 products per pair of channels in place of 144. Tiles of 6 x 6 pixels, two of
which overlap, are transformed by one convolution that sees a channel at a time; 36 matrix products over the channels
follow; a last product with depth-to-space gives the pixels. Source: Lavin and Gray, Fast Algorithms for Convolutional
Neural Networks. In float32 results differ by about 1e-5 of the greatest from those of the plain sum.
"""

from __future__ import annotations

import numpy as np

from matnet.formats.onnx.graph import LayerWriter
from matnet.layout import filters_to_kchw
from matnet.ops.convolution import Conv

TILE, SPAN = 4, 6  # pixels of an output tile, and of what it sees, along an axis
# With the points 0, 1, -1, 2, -2 and infinity: input tiles B' d B, filters G g G', outputs A' m A.
INPUT = np.array(
    [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ],
    np.float64,
)
FILTER = (
    np.array(
        [[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]],
        np.float64,
    )
    / 24
)
OUTPUT = np.array(
    [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]],
    np.float64,
)
# What else it costs, in the time of one multiplication, measured in ONNX Runtime with two threads.
PER_TILE_AND_CHANNEL = 4000  # of input and of output
PER_WEIGHT = 13  # the transformed filters, four times as large, are read from memory once per batch


def winograd_pays(op: Conv, filters: np.ndarray, axes: tuple[int | None, ...], images: int) -> bool:
    """Whether a convolution of this input, `axes`, is likely to be faster so with that many images at a time."""
    fh, fw, depth, count = filters.shape
    _, channels, height, width = axes
    if (fh, fw) != (3, 3) or op.stride != (1, 1) or op.dilate != (1, 1) or depth != channels:
        return False
    if height is None or width is None:
        return False
    rows, columns = _output_size(op, height, width)
    if rows < 1 or columns < 1:
        return False
    tiles = images * _tiles(rows) * _tiles(columns)
    cost = SPAN * SPAN * depth * count * (tiles + PER_WEIGHT) + PER_TILE_AND_CHANNEL * (depth + count) * tiles
    return cost < 9 * depth * count * images * rows * columns


def write_winograd(writer: LayerWriter, op: Conv, filters: np.ndarray, bias: np.ndarray | None) -> None:
    """The layer, whose input has a fixed height and width; for any number of images."""
    channels, height, width = (writer.size(axis) for axis in (1, 2, 3))
    count = filters.shape[3]
    rows, columns = _output_size(op, height, width)
    tiles = _tiles(rows), _tiles(columns)
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
    # So that the last tile is whole; never less than the layer's own pad.
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


def _output_size(op: Conv, height: int, width: int) -> tuple[int, int]:
    top, bottom, left, right = op.pad
    return height + top + bottom - 2, width + left + right - 2


def _tiles(length: int) -> int:
    return -(-length // TILE)
