"""A MATLAB structure such as `meta` as an indented outline: a line per field, long values abbreviated."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from matnet.formats.mat.values import Cell, CharArray, Opaque, StructArray

NUMBERS_SHOWN, ITEMS_SHOWN, TEXT_SHOWN, DEEPEST = 9, 4, 60, 12


def outline(value: Mapping[str, Any], depth: int = 0) -> Iterator[str]:
    """The lines for the fields of a struct."""
    width = max(map(len, value), default=0)
    for name, item in value.items():
        nested = _elements(item) if depth < DEEPEST else []
        yield f"{'  ' * depth}{name.ljust(width)}  {in_words(item)}"
        for label, element in nested:
            if label:
                yield f"{'  ' * (depth + 1)}{label}"
            yield from outline(element, depth + 1 + bool(label))


def _elements(value: Any) -> list[tuple[str, Mapping[str, Any]]]:
    """The structs inside a value, labelled if there are several."""
    if isinstance(value, dict):
        return [("", value)]
    if isinstance(value, (StructArray, Cell)):
        found = [(f"({number})", item) for number, item in enumerate(value, 1) if isinstance(item, dict)]
        return [*found[:ITEMS_SHOWN], *([("...", {})] if len(found) > ITEMS_SHOWN else [])]
    return []


def in_words(value: Any) -> str:
    """A short text for a value: a few numbers, or class, size and range."""
    if isinstance(value, str):
        return repr(value if len(value) <= TEXT_SHOWN else f"{value[:TEXT_SHOWN]}...")
    if isinstance(value, np.ndarray):
        return _array_in_words(value)
    if isinstance(value, dict):
        return "struct" if value else "struct without fields"
    if isinstance(value, (Cell, StructArray)):
        kind = "cell" if isinstance(value, Cell) else "struct array"
        texts = [in_words(item) for item in value[:ITEMS_SHOWN] if not isinstance(item, (dict, list))]
        more = ", ..." if len(value) > ITEMS_SHOWN else ""
        return f"{kind} {_size(value.shape)}{': ' if texts else ''}{', '.join(texts)}{more if texts else ''}"
    if isinstance(value, CharArray):
        return f"char {_size(value.shape)}: {', '.join(map(repr, value.rows[:ITEMS_SHOWN]))}"
    if isinstance(value, Opaque):
        return f"{value.kind.replace('_', ' ')} {value.class_name}".rstrip()
    return type(value).__name__ if hasattr(value, "shape") else repr(value)


def _array_in_words(array: np.ndarray) -> str:
    kind = {"float64": "double", "float32": "single", "bool": "logical"}.get(array.dtype.name, array.dtype.name)
    if array.size == 0:
        return f"[] ({_size(array.shape)} {kind})"
    if array.size <= NUMBERS_SHOWN:
        numbers = " ".join(map(_number, array.ravel("F").tolist()))
        return numbers if array.size == 1 else f"[{numbers}]"
    spread = f", {array.min():.6g} to {array.max():.6g}" if array.dtype.kind in "fiu" else ""
    return f"{_size(array.shape)} {kind}{spread}"


def _number(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:.6g}" if isinstance(value, (float, complex)) else str(value)


def _size(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
