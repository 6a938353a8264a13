"""Networks as ONNX models: `save_onnx` for files, `to_onnx_model` in memory, `exporter` for users' own ops."""

from __future__ import annotations

from matnet.formats.onnx import (
    activation,
    combine,
    convolution,
    normalization,
    pooling,
    reshape,
    sampling,
)
from matnet.formats.onnx.export import save_onnx, to_onnx_model
from matnet.formats.onnx.graph import LayerWriter, NeedsFixedSize, NotExpressible
from matnet.formats.onnx.model import OnnxModel
from matnet.formats.onnx.registry import EXPORTERS, exporter

__all__ = [
    "EXPORTERS",
    "LayerWriter",
    "NeedsFixedSize",
    "NotExpressible",
    "OnnxModel",
    "activation",
    "combine",
    "convolution",
    "exporter",
    "normalization",
    "pooling",
    "reshape",
    "sampling",
    "save_onnx",
    "to_onnx_model",
]
