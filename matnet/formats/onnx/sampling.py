"""ONNX exporters of spatial transformers: GridSample, and grids as products with a constant basis."""

from __future__ import annotations

from typing import Any

import numpy as np

from matnet.formats.onnx.graph import LayerWriter
from matnet.formats.onnx.registry import exporter
from matnet.ops.sampling import AffineGridGenerator, BilinearSampler, GridGenerator, UniformScalingGridGenerator


@exporter(BilinearSampler)
def write_bilinear_sampler(writer: LayerWriter, op: BilinearSampler) -> None:
    """The grid No x Wo x (vertical, horizontal) x Ho becomes No x Ho x Wo x (horizontal, vertical)."""
    images, grids = writer.size(0), writer.size(0, 1)
    turned = writer.node("Transpose", writer.inputs[1], perm=[0, 3, 1, 2])
    grid = writer.node("Gather", turned, writer.integers([1, 0], "order"), axis=3)
    x = writer.inputs[0]
    if grids != images:
        x = writer.node("Gather", x, writer.integers(np.arange(grids) // (grids // images), "image"), axis=0)
    attributes: dict[str, Any] = {"mode": "bilinear", "padding_mode": "zeros", "align_corners": 1}
    writer.node("GridSample", x, grid, to=writer.outputs[0], **attributes)


@exporter(AffineGridGenerator, UniformScalingGridGenerator)
def write_grid(writer: LayerWriter, op: GridGenerator) -> None:
    """Grid points are linear in the coefficients of the transform; the basis is the grid of each unit coefficient."""
    (basis,) = op.forward(np, [np.eye(op.coefficients, dtype=np.float32)[:, :, np.newaxis, np.newaxis]], [])
    rows = writer.node("Flatten", writer.inputs[0], axis=1)
    points = writer.node("MatMul", rows, writer.constant(basis.reshape(op.coefficients, -1), "basis"))
    writer.reshape(points, writer.output_axes(), to=writer.outputs[0])
