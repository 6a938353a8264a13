"""Arrays other than activations: params as float32, and data that is read on the host."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from matnet.errors import ShapeError
from matnet.layout import hwcn_to_nchw
from matnet.ops.base import Array
from matnet.shapes import Shape, text, to_4d


def as_float32(xp: Any, param: Array) -> Array:
    """A param as float32 on xp's device; not copied where it is that already."""
    return xp.asarray(param, dtype=xp.float32)


def as_vector(xp: Any, param: Array) -> Array:
    """A param's elements in MATLAB's order, whatever its shape."""
    return as_float32(xp, param).ravel(order="F")


def as_activation(xp: Any, param: Array) -> Array:
    """A param H x W x C x N (trailing dimensions may be missing) as C-contiguous N x C x H x W."""
    return xp.ascontiguousarray(hwcn_to_nchw(as_float32(xp, param)))


def activation_shape(what: str, shape: Shape) -> Shape:
    """The N x C x H x W shape of a param H x W x C x N; ShapeError where it is missing."""
    if not shape:
        raise ShapeError(f"{what} is not in the file, so the output size is not known")
    h, w, c, n = to_4d(shape)
    return n, c, h, w


def on_host(array: Array) -> np.ndarray:
    """An array as numpy's, copied from the device where it lies on one."""
    return array.get() if hasattr(array, "get") else np.asarray(array)


def elements(shape: Shape) -> int:
    """How many numbers an array of this shape holds; 0 for a missing param, whose shape is ()."""
    return prod(shape) if shape else 0


def require_elements(what: str, shape: Shape, count: int) -> None:
    """ShapeError unless the array has `count` elements, in any shape; a missing param, (), passes."""
    if shape and prod(shape) != count:
        raise ShapeError(f"{what} has {prod(shape)} elements ({text(shape)}), expected {count}")


def longest_axis(shape: Shape) -> int:
    """The axis along which a vector lies, whatever singleton axes its file gave it.

    >>> longest_axis((1, 1, 64)), longest_axis((64,)), longest_axis((1, 1))
    (2, 0, 0)
    """
    return max(range(len(shape)), key=shape.__getitem__, default=0)
