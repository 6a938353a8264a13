"""Conversions between Python values and MATLAB values, as readers accept and writers emit them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields
from typing import Any

import numpy as np

from matnet.errors import FileFormatError, NetworkError
from matnet.formats.mat.sparse import dense
from matnet.formats.mat.values import Cell, CharArray, Opaque, StructArray, empty, row
from matnet.ops.base import Op, spelling_in_files
from matnet.ops.fields import converter


def is_empty(value: Any) -> bool:
    """Whether a value is empty in MATLAB (`[]`, `{}`, `''`, an empty struct array) or missing."""
    if value is None or isinstance(value, (str, list, dict)):
        return not value and not isinstance(value, dict)
    return 0 in getattr(value, "shape", ())


def as_text(value: Any, where: str) -> str:
    """A name: a char row, or a cell with one. Raises FileFormatError naming `where`."""
    if isinstance(value, Cell) and len(value) == 1:
        value = value[0]
    if is_empty(value):
        return ""
    if not isinstance(value, str):
        raise FileFormatError(f"{where}: expected text, found {describe(value)}")
    return value


def as_names(value: Any, where: str) -> list[str]:
    """A list of names: a cell of char rows, a single char row, or anything empty."""
    if is_empty(value):
        return []
    if isinstance(value, str):
        return [value]
    if isinstance(value, CharArray):
        return [line.rstrip() for line in value.rows]
    if isinstance(value, Cell):
        return [as_text(item, f"{where}{{{index}}}") for index, item in enumerate(value, 1)]
    raise FileFormatError(f"{where}: expected a cell of names, found {describe(value)}")


def as_structs(value: Any, where: str) -> list[dict[str, Any]]:
    """The elements of a struct array, which may be empty or a plain struct."""
    if isinstance(value, StructArray):
        return list(value)
    if isinstance(value, dict):
        return [value]
    if is_empty(value):
        return []
    if isinstance(value, Cell) and all(isinstance(item, dict) for item in value):
        return list(value)
    raise FileFormatError(f"{where}: expected a struct array, found {describe(value)}")


def as_array(value: Any, where: str) -> np.ndarray:
    """A numeric array. Raises FileFormatError for anything else, such as a gpuArray."""
    if isinstance(value, Opaque):
        raise FileFormatError(f"{where} {_only_in_matlab(value)}")
    if hasattr(value, "toarray"):
        full = dense(value)
        if full is None:
            size = "x".join(map(str, value.shape))
            raise FileFormatError(
                f"{where}: the sparse {size} matrix with {value.nnz:,} values is too large as a full array for a file "
                "of this size; in MATLAB, apply full() and save again"
            )
        value = full
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "fiub":
        raise FileFormatError(f"{where}: expected a numeric array, found {describe(value)}")
    return value


def _only_in_matlab(value: Opaque) -> str:
    advice = "; in MATLAB, gather() it and save again" if value.class_name == "gpuArray" else ""
    return f"is a MATLAB {value.class_name or value.kind}, which only MATLAB can read{advice}"


def describe(value: Any) -> str:
    """A short description of a value, for messages."""
    if isinstance(value, np.ndarray):
        return f"a {'x'.join(map(str, value.shape))} {value.dtype} array"
    if isinstance(value, Opaque):
        return f"a MATLAB {value.class_name or value.kind}"
    names = {str: "text", Cell: "a cell array", StructArray: "a struct array", dict: "a struct", CharArray: "text"}
    return names.get(type(value), type(value).__name__)


def to_matlab(value: Any) -> Any:
    """A Python value as a MATLAB value: numbers become doubles, bools logical, lists rows or cells."""
    if value is None:
        return empty()
    if isinstance(value, (str, Cell, StructArray, CharArray, Opaque)) or hasattr(value, "tocsc"):
        return value
    if isinstance(value, (bool, np.bool_)):
        return np.array([[bool(value)]])
    if isinstance(value, (int, float, np.integer, np.floating)):
        return np.array([[float(value)]])
    if isinstance(value, np.ndarray):
        return value if value.ndim >= 2 else np.atleast_2d(value)
    if isinstance(value, Mapping):
        return {str(name): to_matlab(item) for name, item in value.items()}
    if isinstance(value, Sequence):
        if _are_numbers(value):
            return row(value)
        if _are_rows(value):
            return np.array(value, dtype=np.float64)
        return Cell(to_matlab(item) for item in value)
    raise NetworkError(f"a .mat file cannot hold a {type(value).__name__}; use numbers, text, lists or dicts")


def _are_numbers(items: Sequence[Any]) -> bool:
    return bool(items) and all(isinstance(item, (int, float)) and not isinstance(item, bool) for item in items)


def _are_rows(items: Sequence[Any]) -> bool:
    """Whether this is a matrix as stored in an op: a tuple of equally long tuples (ROIPooling's transform)."""
    if not items or not all(isinstance(line, tuple) and _are_numbers(line) for line in items):
        return False
    return isinstance(items, tuple) and len({len(line) for line in items}) == 1


def op_fields(
    op: Op, original: Mapping[str, Any], spelling: Mapping[str, str], overridden: Collection[str] = ()
) -> dict[str, Any]:
    """The op's fields for a file, with their names in files.

    A field is written in its `original` form if that still has the op's value (a scalar pad stays a scalar), so that
    load and save change nothing. A field in `overridden` is set by the layer's `opts`: it keeps its original form, or
    is not written if the file had none.
    """
    written = {}
    for item in fields(op):
        name = spelling.get(item.name, spelling_in_files(item.name))
        if item.name in overridden:
            if name in original:
                written[name] = original[name]
        else:
            kept = means(op, item.name, original.get(name))
            written[name] = original[name] if kept else to_matlab(getattr(op, item.name))
    return written


def means(op: Op, name: str, original: Any) -> bool:
    """Whether a value from a file equals the op's field `name` after conversion."""
    convert = converter(op.__dataclass_fields__[name])
    if original is None or convert is None:
        return False
    try:
        return bool(convert(original) == getattr(op, name))
    except (NetworkError, ValueError):
        return False


def op_from_fields(op: type[Op], given: Mapping[str, Any], spelling: Mapping[str, str]) -> Op:
    """An op from a file's fields; missing and empty ones get the op's defaults. Raises NetworkError for bad values."""
    arguments = {}
    for item in fields(op):
        name = spelling.get(item.name, spelling_in_files(item.name))
        value = given.get(name)
        if isinstance(value, Opaque):
            raise NetworkError(f"field {name!r} {_only_in_matlab(value)}")
        if value is not None and not is_empty(value):
            arguments[item.name] = value
    try:
        return op(**arguments)
    except TypeError as error:
        raise NetworkError(f"{op.__name__}: {str(error).split(') ', 1)[-1]}") from None
