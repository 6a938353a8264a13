"""Random inputs that a network can take."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from matnet.network import Layer, Network
from matnet.ops.base import InputKind
from matnet.shapes import Shape

SPREAD = 50.0  # standard deviation of photographs' pixels about their mean


def reader_of_input(net: Network, name: str) -> tuple[Layer | None, InputKind | None]:
    """The first layer that reads an input, and what the input holds for it; None for activations."""
    reader = next((layer for layer in net.layers.values() if name in layer.inputs), None)
    return reader, reader.op.input_kinds.get(reader.inputs.index(name)) if reader else None


def sample_inputs(net: Network, shapes: Mapping[str, Shape], seed: int = 0) -> dict[str, np.ndarray]:
    """Random valid values for every input: pixels around 0, boxes inside the image, indices, starts of sequences.

    shapes: N x C x H x W by input. The layers that read an input say what it means; networks from Caffe add 1 to boxes
    before MatConvNet's layer reads them.
    """
    generator = np.random.default_rng(seed)
    found = {}
    pools_boxes = any(kind.is_boxes for layer in net.layers.values() for kind in layer.op.input_kinds.values())
    for name, shape in shapes.items():
        reader, kind = reader_of_input(net, name)
        if kind is InputKind.MATLAB_BOXES or (shape[1:] == (5, 1, 1) and pools_boxes):
            _, _, height, width = max(shapes.values(), key=lambda other: other[2] * other[3])
            found[name] = _boxes(shape, (height, width)) + np.float32(kind is InputKind.MATLAB_BOXES)
        elif reader and kind is InputKind.INDICES:
            found[name] = generator.integers(net.param_shapes(reader)[0][0], size=shape).astype(np.float32)
        elif kind is InputKind.CONTINUED:
            found[name] = np.ones(shape, np.float32)
            found[name][0] = 0
        else:
            found[name] = generator.standard_normal(shape, np.float32) * np.float32(SPREAD)
    return found


def _boxes(shape: Shape, size: tuple[int, int]) -> np.ndarray:
    """0-based boxes (image, left, top, right, bottom) in the first image: the whole image, then each half as high."""
    boxes = np.zeros((shape[0], 5), np.float32)
    for index, box in enumerate(boxes):
        box[3:] = size[1] - 1, size[0] // (index + 1) - 1
    return boxes.reshape(shape)
