"""Validation of values, names and shapes before writing a MAT file."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from math import prod
from typing import Any

import numpy as np

from matnet.errors import MatnetError, listing
from matnet.formats.mat import chars
from matnet.formats.mat.classes import class_name
from matnet.formats.mat.limits import MAX_DEPTH, is_shape
from matnet.formats.mat.values import Cell, CharArray, Opaque, StructArray

MAX_NAME = 63
_IDENTIFIER = re.compile(rf"[A-Za-z][A-Za-z0-9_]{{0,{MAX_NAME - 1}}}\Z")

# v7.3 stores the field names of a struct in one HDF5 attribute: 16 bytes each, at most 64 KiB.
MAX_FIELDS = 4000


def check(path: Any, variables: Mapping[str, Any]) -> list[str]:
    """Validate variables; returns the places of Opaque values, which cannot be written: `layers{2}.handle` (1-based).

    Raises MatnetError with the places of all values that a MAT file cannot hold: names that are not MATLAB identifiers,
    Python types not listed in `matnet.formats.mat.values`, shapes that do not match their elements, too deep nesting.
    """
    opaque: list[str] = []
    problems: list[str] = []
    for name, value in variables.items():
        problems += [f"variable {problem}" for problem in _names([name])]
        for place, found in _walk(str(name), value, depth=1):
            if found is None:
                opaque.append(place)
            else:
                problems.append(f"{place} {found}")
    if problems:
        what = f"{path}: not written; a MAT file cannot hold these values:"
        raise MatnetError(listing(what, problems))
    return opaque


def _names(names: Iterable[Any]) -> Iterator[str]:
    for name in names:
        if not isinstance(name, str) or not _IDENTIFIER.match(name):
            yield (
                f"name {name!r} is not a MATLAB identifier; use at most {MAX_NAME} letters, digits and _, "
                f"the first a letter"
            )


def _walk(place: str, value: Any, depth: int) -> Iterator[tuple[str, str | None]]:
    """Every place from `place` down that cannot be written, with its problem (None: opaque)."""
    if depth > MAX_DEPTH:
        yield place, f"is nested more than {MAX_DEPTH} levels deep"
    elif isinstance(value, dict):
        yield from _walk_struct(place, value, depth)
    elif isinstance(value, (Cell, StructArray)):
        yield from _walk_list(place, value, depth)
    elif isinstance(value, Opaque):
        yield place, None
    else:
        problem = _leaf_problem(value)
        if problem:
            yield place, problem


def _walk_struct(place: str, struct: dict[str, Any], depth: int) -> Iterator[tuple[str, str | None]]:
    yield from ((place, f"has a field whose {problem}") for problem in _names(struct))
    if len(struct) > MAX_FIELDS:
        yield place, f"has {len(struct)} fields; at most {MAX_FIELDS} are supported"
    for name, value in struct.items():
        yield from _walk(f"{place}.{name}", value, depth + 1)


def _walk_list(place: str, items: Cell | StructArray, depth: int) -> Iterator[tuple[str, str | None]]:
    if not is_shape(items.shape) or prod(items.shape) != len(items):
        yield place, f"has shape {items.shape} but {len(items)} elements"
    if isinstance(items, Cell):
        for i, item in enumerate(items, start=1):
            yield from _walk(f"{place}{{{i}}}", item, depth + 1)
        return
    yield from ((place, f"has a field whose {problem}") for problem in _names(items.fields))
    for i, item in enumerate(items, start=1):
        if not isinstance(item, dict) or item.keys() != set(items.fields):
            found = sorted(map(str, item)) if isinstance(item, dict) else type(item).__name__
            yield f"{place}({i})", f"has fields {found}; expected {sorted(items.fields)} as in its struct array"
        else:
            yield from _walk_struct(f"{place}({i})", item, depth)


def _leaf_problem(value: Any) -> str | None:
    if isinstance(value, str):
        return None
    if isinstance(value, CharArray):
        return chars.problem(value)
    if isinstance(value, np.ndarray):
        if class_name(value.dtype) is None:
            return f"is an array of {value.dtype}, which MATLAB does not have; convert it to float32 or float64"
        if not is_shape(value.shape):
            return f"is an array of shape {value.shape}; MATLAB arrays have at least 2 dimensions, see values.row()"
        return None
    if hasattr(value, "tocsc"):
        known = value.ndim == 2 and value.dtype in (np.dtype(bool), np.dtype(float), np.dtype(complex))
        return None if known else f"is a sparse matrix of {value.dtype}; MATLAB supports 2-D, double or logical"
    return (
        f"is a Python {type(value).__name__}; expected an array, str, CharArray, Cell, dict, StructArray "
        f"or sparse matrix of matnet.formats.mat.values"
    )
