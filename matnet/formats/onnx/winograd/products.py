"""Winograd's algorithm as matrix products only, with channels last, for small maps.

The transform along an axis is a single matrix for all tiles, without the zeros of the padding, so nothing is extracted,
padded or copied. Values are moved in blocks of whole channels.
"""

from __future__ import annotations

import numpy as np

from matnet.formats.onnx.graph import LayerWriter
from matnet.formats.onnx.winograd.choice import output_size
from matnet.formats.onnx.winograd.matrices import TAPS, matrices, tiles_of
from matnet.layout import filters_to_kchw
from matnet.ops.convolution import Conv


def write_products(writer: LayerWriter, op: Conv, filters: np.ndarray, bias: np.ndarray | None, tile: int) -> None:
    """Write the layer for an input of fixed height and width, with any number of images and groups.

    tile: output pixels of a tile along an axis; its input has span = tile + 2 pixels.
    """
    depth, count = filters.shape[2:]
    channels, height, width = (writer.size(axis) for axis in (1, 2, 3))
    rows, columns = output_size(op, height, width)
    tiles, groups = (tiles_of(rows, tile), tiles_of(columns, tile)), channels // depth
    values = _transformed(writer, op, (channels, height, width), tiles, groups, tile)
    weights = writer.constant(_filter_values(filters, groups, tile), "winograd")
    products = writer.node("MatMul", values, weights)  # (span span groups) x (N tiles) x (K / groups)
    pixels = _pixels(writer, products, tiles, (groups, count // groups), tile)
    if (rows, columns) != (tile * tiles[0], tile * tiles[1]):
        bounds = [writer.integers(ends) for ends in ([0, 0], [rows, columns], [1, 2])]
        pixels = writer.node("Slice", pixels, *bounds)
    if bias is not None:
        pixels = writer.node("Add", pixels, writer.constant(bias.reshape(-1), "bias"))
    writer.node("Transpose", pixels, perm=[0, 3, 1, 2], to=writer.outputs[0])


def _transformed(
    writer: LayerWriter, op: Conv, shape: tuple[int, int, int], tiles: tuple[int, int], groups: int, tile: int
) -> str:
    """(span span groups) x (N tiles) x (C / groups): all tiles, transformed along the width, then along the height."""
    (channels, height, width), span = shape, tile + TAPS - 1
    last = writer.node("Transpose", writer.inputs[0], perm=[0, 2, 3, 1])
    across = writer.constant(_input_matrix(width, op.pad[2], tiles[1], tile), "columns")
    wide = writer.node("MatMul", across, last)  # N x H x (span tiles) x C
    lines = _shaped(writer, wide, -1, height, span * tiles[1] * channels)
    along = writer.constant(_input_matrix(height, op.pad[0], tiles[0], tile), "rows")
    both = writer.node("MatMul", along, lines)  # N x (span tiles) x (span tiles C)
    if groups == 1:
        apart = _shaped(writer, both, -1, span, tiles[0], span, tiles[1] * channels)
        together = writer.node("Transpose", apart, perm=[1, 3, 0, 2, 4])
    else:
        apart = _shaped(writer, both, -1, span, tiles[0], span, tiles[1], groups, channels // groups)
        together = writer.node("Transpose", apart, perm=[1, 3, 5, 0, 2, 4, 6])
    return _shaped(writer, together, span * span * groups, -1, channels // groups)


def _pixels(writer: LayerWriter, products: str, tiles: tuple[int, int], shares: tuple[int, int], tile: int) -> str:
    """N x (tile tiles) x (tile tiles) x K: output pixels from the products, first along the height."""
    span, (groups, share) = tile + TAPS - 1, shares
    count = groups * share
    if groups == 1:
        apart = _shaped(writer, products, span, span, -1, tiles[1], count)
        together = writer.node("Transpose", apart, perm=[2, 0, 3, 1, 4])  # (N tiles) span tiles span K
    else:
        apart = _shaped(writer, products, span, span, groups, -1, tiles[1], share)
        together = writer.node("Transpose", apart, perm=[3, 0, 4, 1, 2, 5])
    output = writer.constant(matrices(tile).output, "outputs")
    high = writer.node("MatMul", output, _shaped(writer, together, -1, span, tiles[1] * span * count))
    both = writer.node("MatMul", output, _shaped(writer, high, -1, span, count))
    return _shaped(writer, both, -1, tile * tiles[0], tile * tiles[1], count)


def _input_matrix(length: int, before: int, tiles: int, tile: int) -> np.ndarray:
    """(span tiles) x length: the transform of all tiles along an axis, padded with `before` zeros at the start."""
    span, transform = tile + TAPS - 1, matrices(tile).input
    padded = np.zeros((span, tiles, tile * (tiles - 1) + span))
    for number in range(tiles):
        padded[:, number, tile * number : tile * number + span] = transform
    found = np.zeros((span, tiles, length))
    seen = padded[:, :, before : before + length]
    found[:, :, : seen.shape[2]] = seen
    return found.reshape(span * tiles, length)


def _filter_values(filters: np.ndarray, groups: int, tile: int) -> np.ndarray:
    """(span span groups) x (C / groups) x (K / groups): the transformed filters."""
    depth, count = filters.shape[2:]
    shares = filters_to_kchw(filters).astype(np.float64).reshape(groups, count // groups, depth, TAPS, TAPS)
    transform = matrices(tile).filter
    values: np.ndarray = np.einsum("ui,gkcij,vj->uvgck", transform, shares, transform, optimize=True)
    return values.reshape(-1, depth, count // groups)


def _shaped(writer: LayerWriter, value: str, *lengths: int) -> str:
    """Reshape `value`; one length may be -1."""
    return writer.node("Reshape", value, writer.integers(lengths, "shape"))
