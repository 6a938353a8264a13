"""3 x 3 convolutions by Winograd's algorithm, of operators that runtimes compute fast: two ways, and when each pays.

An output of 4 x 4 pixels needs 36 products per pair of channels in place of 144, one of 5 x 5 pixels 49 in place of
225. Source: Lavin and Gray, Fast Algorithms for Convolutional Neural Networks. In float32 results differ by up to
about 1e-5 of the greatest from those of the plain sum.
"""

from __future__ import annotations

import numpy as np

from matnet.formats.onnx.graph import LayerWriter
from matnet.formats.onnx.winograd.choice import WinogradWay, winograd_way
from matnet.formats.onnx.winograd.products import write_products
from matnet.formats.onnx.winograd.tiles import write_tiles
from matnet.ops.convolution import Conv

__all__ = ["WinogradWay", "winograd_way", "write_winograd"]


def write_winograd(
    writer: LayerWriter, op: Conv, filters: np.ndarray, bias: np.ndarray | None, way: WinogradWay
) -> None:
    """The layer in the way that `winograd_way` gave; its input has a fixed height and width."""
    if way.kind == "tiles":
        write_tiles(writer, op, filters, bias)
    else:
        write_products(writer, op, filters, bias, way.tile)
