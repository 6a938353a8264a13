"""Helpers for params and shapes, transfer to the host, and functions that several ops compute."""

from __future__ import annotations

from collections.abc import Sequence
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


def require_equal(shapes: Sequence[Shape], first: int = 1) -> None:
    """Raise ShapeError unless the inputs, of which `first` is the first one's number, have the same shape."""
    for number, shape in enumerate(shapes[1:], first + 1):
        if shape != shapes[0]:
            raise ShapeError(f"input {number} is {text(shape)}, input {first} is {text(shapes[0])}; they must be equal")


def longest_axis(shape: Shape) -> int:
    """The axis of a vector that may have further singleton axes.

    >>> longest_axis((1, 1, 64)), longest_axis((64,)), longest_axis((1, 1))
    (2, 0, 0)
    """
    return max(range(len(shape)), key=shape.__getitem__, default=0)


def softmax(xp: Any, x: Array, axis: int) -> Array:
    """exp(x - m) / sum exp(x - m) along an axis, where m is the maximum."""
    result = xp.exp(x - x.max(axis=axis, keepdims=True))
    result /= result.sum(axis=axis, keepdims=True)
    return result


def sigmoid(xp: Any, x: Array) -> Array:
    """1 / (1 + exp(-x)) as tanh(x / 2) / 2 + 1/2, which does not overflow."""
    return xp.float32(0.5) * xp.tanh(xp.float32(0.5) * x) + xp.float32(0.5)
