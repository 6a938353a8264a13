"""Values of parameter blobs that may be missing in a caffemodel, because the prototxt's filler defines them."""

from __future__ import annotations

import numpy as np

from matnet.converters.files.message import Message
from matnet.converters.graph.netdef import LayerDef
from matnet.errors import ShapeError
from matnet.shapes import Shape


def filler_values(layer: LayerDef, index: int, shape: Shape) -> np.ndarray:
    """The values of blob `index` of a Deconvolution by a constant or bilinear filler.

    Raises ShapeError for other layers and fillers: the values of a random filler exist only in the file.
    """
    if layer.type == "Deconvolution":
        filler: Message = layer.params.get("convolution_param").get(("weight_filler", "bias_filler")[index])
        kind = filler.get("type")
        if kind == "bilinear" and len(shape) == 4:
            return bilinear(shape)
        if kind == "constant":
            return np.full(shape, filler.get("value"), np.float32)
    raise ShapeError(f"missing in the weights file; expected {'x'.join(map(str, shape)) or 'a single number'}")


def bilinear(shape: Shape) -> np.ndarray:
    """Caffe's bilinear filler of `shape` (outputs, inputs, h, w), for interpolation (BVLC Caffe, filler.hpp).

    >>> bilinear((1, 1, 4, 4))[0, 0, 1]
    array([0.1875, 0.5625, 0.5625, 0.1875], dtype=float32)
    """
    height, width = shape[2:]
    if height != width:
        raise ShapeError(f"a bilinear filler needs a square kernel, found {height}x{width}")
    factor = (width + 1) // 2
    centre = np.float32((width - 1) / (2.0 * factor))
    ramp = 1 - np.abs(np.arange(width, dtype=np.float32) / np.float32(factor) - centre)
    return np.ascontiguousarray(np.broadcast_to(ramp[:, None] * ramp[None, :], shape))
