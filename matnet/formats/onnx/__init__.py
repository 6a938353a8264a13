"""Export networks to ONNX: `save_onnx` to files, `to_onnx_model` in memory, `exporter` for user-defined ops."""

from __future__ import annotations

from matnet.formats.onnx import activation, combine, convolution, normalization, pooling, sampling, winograd
from matnet.formats.onnx.export import (
    has_fully_connected,
    has_winograd,
    save_onnx,
    to_onnx_model,
    write_layer,
    write_model,
)
from matnet.formats.onnx.graph import ExportOptions, Graph, LayerWriter, NeedsFixedSize, NotExpressible
from matnet.formats.onnx.model import OnnxModel
from matnet.formats.onnx.registry import EXPORTERS, exporter
from matnet.formats.onnx.sizes import Axes, DynamicAxes, variable_axes

__all__ = [
    "EXPORTERS", "Axes", "DynamicAxes", "ExportOptions", "Graph", "LayerWriter", "NeedsFixedSize", "NotExpressible",
    "OnnxModel", "exporter", "has_fully_connected", "has_winograd", "save_onnx", "to_onnx_model", "variable_axes",
    "write_layer", "write_model",
]  # fmt: skip
