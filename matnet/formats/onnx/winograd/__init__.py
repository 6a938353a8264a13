"""3 x 3 convolutions by Winograd's algorithm in ONNX: two implementations, and the choice between them.

A tile of 4 x 4 output pixels needs 36 products per channel pair instead of 144, a tile of 5 x 5 pixels 49 instead of
225. In float32, results differ from the direct sum by up to about 1e-5 of the maximum. Source: Lavin and Gray, Fast
Algorithms for Convolutional Neural Networks.
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
    """Write the layer as chosen by `winograd_way`, for an input of fixed height and width."""
    if way.kind == "tiles":
        write_tiles(writer, op, filters, bias)
    else:
        write_products(writer, op, filters, bias, way.tile)
