"""Lowering: one function per Caffe layer type, which adds its MatConvNet form to a network; one family per file."""

from __future__ import annotations

from matnet.converters.lower.builder import Builder
from matnet.converters.lower.registry import LOWERINGS, lowers

__all__ = ["LOWERINGS", "Builder", "lowers"]
