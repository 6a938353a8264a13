"""MATLAB values in Python, as returned by both MAT readers and accepted by both writers.

=====================  =====================================================================
MATLAB                 Python
=====================  =====================================================================
numeric array          numpy array of the class's dtype, MATLAB's shape (at least 2-D)
logical array          numpy array of bool
char row (or '')       str
other char array       CharArray (rows and shape)
cell array             Cell: a list in column-major order, with `.shape`
1x1 struct             dict, fields in file order
other struct array     StructArray: a list of dicts in column-major order, `.shape`, `.fields`
sparse matrix          scipy.sparse.csc_matrix
object, function       Opaque: class name and kind; never executed or decoded
=====================  =====================================================================
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

Shape = tuple[int, ...]


class Cell(list[Any]):
    """A MATLAB cell array: elements in column-major order; default shape 1 x n."""

    def __init__(self, items: Iterable[Any] = (), shape: Shape | None = None) -> None:
        super().__init__(items)
        self.shape: Shape = shape if shape is not None else ((1, len(self)) if self else (0, 0))


class StructArray(list[dict[str, Any]]):
    """A MATLAB struct array that is not 1x1: dicts in column-major order; keeps `fields` even when empty."""

    def __init__(
        self, items: Iterable[dict[str, Any]] = (), shape: Shape | None = None, fields: Iterable[str] | None = None
    ) -> None:
        super().__init__(items)
        self.shape: Shape = shape if shape is not None else ((1, len(self)) if self else (0, 0))
        self.fields: tuple[str, ...] = tuple(fields) if fields is not None else tuple(self[0]) if self else ()


@dataclass(frozen=True)
class CharArray:
    """A MATLAB char array that is not a single row: its rows and shape."""

    rows: tuple[str, ...]
    shape: Shape


@dataclass(frozen=True)
class Opaque:
    """A value that only MATLAB can restore: `kind` is object, function_handle or opaque."""

    kind: str
    class_name: str


def empty() -> np.ndarray:
    """MATLAB's `[]`: a 0 x 0 double."""
    return np.zeros((0, 0))


def row(values: Iterable[float]) -> np.ndarray:
    """A 1 x n double row, as used for hyper-parameters."""
    return np.asarray(list(values), dtype=np.float64).reshape(1, -1)


def equal(a: Any, b: Any) -> bool:
    """Whether two values are equal in MATLAB: class, shape, field names in any order, elements."""
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        same_kind = a.dtype == b.dtype and a.shape == b.shape
        return same_kind and bool(np.array_equal(a, b, equal_nan=a.dtype.kind in "fc"))
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(value, b[key]) for key, value in a.items())
    if isinstance(a, (Cell, StructArray)):
        same_kind = a.shape == b.shape and set(getattr(a, "fields", ())) == set(getattr(b, "fields", ()))
        return same_kind and len(a) == len(b) and all(map(equal, a, b))
    if hasattr(a, "tocsc"):
        return bool(a.shape == b.shape and (a != b).nnz == 0)
    return bool(a == b)
