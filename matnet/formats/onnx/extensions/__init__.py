"""Exporters of the ops that MatConvNet lacks, which are imported when a network holds one of them."""

from __future__ import annotations

from matnet.formats.onnx.extensions import activation, combine, normalization, pooling, reshape

__all__ = ["activation", "combine", "normalization", "pooling", "reshape"]
