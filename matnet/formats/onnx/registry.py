"""Which function writes which op: one table, filled by a decorator, open to users' own ops."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any, TypeVar

from matnet.errors import NetworkError
from matnet.formats.onnx.graph import LayerWriter
from matnet.ops.base import Op

Exporter = Callable[[LayerWriter, Any], None]
ExporterType = TypeVar("ExporterType", bound=Exporter)
EXPORTERS: dict[type[Op], Exporter] = {}


def exporter(*ops: type[Op]) -> Callable[[ExporterType], ExporterType]:
    """Function decorator: `export(writer, op)` writes these ops; NetworkError where one has an exporter already."""

    def enter(export: ExporterType) -> ExporterType:
        for op in ops:
            if op in EXPORTERS:
                raise NetworkError(f"op {op.__name__} already has an ONNX exporter, {EXPORTERS[op].__name__}")
            EXPORTERS[op] = export
        return export

    return enter


def exporter_of(op: Op) -> Exporter | None:
    """The exporter of an op's own class; a subclass may mean something else, and needs its own."""
    if type(op) not in EXPORTERS and type(op).__module__.startswith("matnet.ops.extensions."):
        import_module("matnet.formats.onnx.extensions")
    return EXPORTERS.get(type(op))
