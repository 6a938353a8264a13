"""Caffe -> Network (files, graph, lower) and back (export)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matnet.lazy import lazy

if TYPE_CHECKING:
    from matnet.converters.convert import convert_caffe

__getattr__, __dir__, __all__ = lazy(__name__, {"convert": "convert_caffe"})
