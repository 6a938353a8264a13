"""Caffe -> Network (files, graph, lower) and back (export)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matnet.converters.convert import convert_caffe as convert_caffe

__all__ = ["convert_caffe"]


def __getattr__(name: str) -> Any:
    if name == "convert_caffe":
        from matnet.converters.convert import convert_caffe  # everything behind it loads only when needed

        return convert_caffe
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
