"""Conversion of MATLAB's char arrays (UTF-16 code units, column-major) to and from str and CharArray."""

from __future__ import annotations

import sys
from math import prod

import numpy as np

from matnet.formats.mat.limits import is_shape
from matnet.formats.mat.values import CharArray, Shape

# MATLAB indexes strings by code unit, so a lone surrogate is legal and must survive.
_CODEC = f"utf-16-{'le' if sys.byteorder == 'little' else 'be'}"


def to_text(units: np.ndarray, shape: Shape) -> str | CharArray:
    """A char array from its uint16 code units: str for a row or 0 x 0, otherwise CharArray (without rows if empty)."""
    if shape == (0, 0):
        return ""
    if not units.size:
        return CharArray((), shape)
    if len(shape) == 2 and shape[0] == 1:
        return decode(units)
    table = np.moveaxis(units.reshape(shape, order="F"), 1, -1).reshape((-1, shape[1]), order="F")
    return CharArray(tuple(decode(row) for row in table), shape)


def to_units(text: str | CharArray) -> tuple[np.ndarray, Shape]:
    """The uint16 code units of a valid char array (see `problem`), flat and column-major, and its shape."""
    if isinstance(text, str):
        units = encode(text)
        return units, (1, units.size) if units.size else (0, 0)
    if not prod(text.shape):
        return np.zeros(0, np.uint16), text.shape
    rows, width, *rest = text.shape
    table = np.stack([encode(row) for row in text.rows]).reshape((rows, *rest, width), order="F")
    return np.moveaxis(table, -1, 1).ravel(order="F"), text.shape


def row_count(shape: Shape) -> int:
    """The number of rows of text in a char array of `shape`, over all pages; 0 if it is empty."""
    return prod(shape) // shape[1] if prod(shape) else 0


def problem(text: CharArray) -> str | None:
    """Why `text` cannot be written (its rows do not match its shape), or None."""
    if not is_shape(text.shape):
        return f"has shape {text.shape}; a char array has at least 2 dimensions"
    widths = {encode(row).size for row in text.rows}
    if widths <= {text.shape[1]} and len(text.rows) == row_count(text.shape):
        return None
    return f"has {len(text.rows)} rows of widths {sorted(widths)}, which do not match its shape {text.shape}"


def decode(units: np.ndarray) -> str:
    return units.astype(np.uint16, copy=False).tobytes().decode(_CODEC, "surrogatepass")


def encode(text: str) -> np.ndarray:
    return np.frombuffer(text.encode(_CODEC, "surrogatepass"), np.uint16)
