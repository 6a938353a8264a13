"""Helpers for params and shapes, and transfer to the host."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from matnet.errors import ShapeError
from matnet.layout import hwcn_to_nchw
from matnet.ops.base import Array
from matnet.shapes import Shape, text, to_4d


def as_float32(xp: Any, param: Array) -> Array:
    """A param as float32 on xp's device; copied only if necessary."""
    return xp.asarray(param, dtype=xp.float32)


def as_vector(xp: Any, param: Array) -> Array:
    """A param's elements as a vector in MATLAB's order."""
    return as_float32(xp, param).ravel(order="F")


def as_activation(xp: Any, param: Array) -> Array:
    """A param H x W x C x N (trailing dimensions may be missing) as C-contiguous N x C x H x W."""
    return xp.ascontiguousarray(hwcn_to_nchw(as_float32(xp, param)))


def activation_shape(what: str, shape: Shape) -> Shape:
    """The N x C x H x W shape of a param H x W x C x N. Raises ShapeError if it is missing."""
    if not shape:
        raise ShapeError(f"{what} is missing in the file, so the output size is unknown")
    h, w, c, n = to_4d(shape)
    return n, c, h, w


def on_host(array: Array) -> np.ndarray:
    """An array as numpy.ndarray, copied from the device if necessary."""
    return array.get() if hasattr(array, "get") else np.asarray(array)


def elements(shape: Shape) -> int:
    """The number of elements of an array; 0 for a missing param (shape ())."""
    return prod(shape) if shape else 0


def require_elements(what: str, shape: Shape, count: int) -> None:
    """Raise ShapeError unless the array has `count` elements, in any shape; accepts a missing param (shape ())."""
    if shape and prod(shape) != count:
        raise ShapeError(f"{what} has {prod(shape)} elements ({text(shape)}); expected {count}")


def longest_axis(shape: Shape) -> int:
    """The axis of a vector that may have further singleton axes.

    >>> longest_axis((1, 1, 64)), longest_axis((64,)), longest_axis((1, 1))
    (2, 0, 0)
    """
    return max(range(len(shape)), key=shape.__getitem__, default=0)
