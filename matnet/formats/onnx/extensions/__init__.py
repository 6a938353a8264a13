"""ONNX exporters of extension ops, imported when a network has one of them."""

from __future__ import annotations

from matnet.formats.onnx.extensions import activation, combine, normalization, pooling, reshape

__all__ = ["activation", "combine", "normalization", "pooling", "reshape"]
