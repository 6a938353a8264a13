"""Registry of ONNX exporters by op, filled by a decorator; also for user-defined ops."""

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
    """Decorator: register `export(writer, op)` for these ops. Raises NetworkError for a duplicate."""

    def enter(export: ExporterType) -> ExporterType:
        for op in ops:
            if op in EXPORTERS:
                raise NetworkError(f"op {op.__name__} already has an ONNX exporter, {EXPORTERS[op].__name__}")
            EXPORTERS[op] = export
        return export

    return enter


def exporter_of(op: Op) -> Exporter | None:
    """The exporter of an op's exact class. Subclasses need their own, because they may compute something else."""
    if type(op) not in EXPORTERS and type(op).__module__.startswith("matnet.ops.extensions."):
        import_module("matnet.formats.onnx.extensions")
    return EXPORTERS.get(type(op))
