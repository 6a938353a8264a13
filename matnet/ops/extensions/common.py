"""What extension ops share: field types, facts of layers along an axis, shapes of fewer axes, checks of indices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

from matnet.errors import NetworkError, ShapeError
from matnet.ops.arrays import as_float32
from matnet.ops.base import Array, Channels, Op
from matnet.ops.fields import as_int, integers, numbers, of
from matnet.shapes import ReceptiveField, Shape, text

RANK = 4  # every activation has four axes: N, C, H, W
AXIS_OF_DIM = {1: 2, 2: 3, 3: 1, 4: 0}  # MATLAB's dimensions H, W, C, N among the axes N, C, H, W


def as_axis(value: Any) -> int:
    """An axis of N x C x H x W: 0, 1, 2 or 3."""
    axis = as_int(value)
    if not 0 <= axis < RANK:
        raise NetworkError(f"an axis is 0 (N), 1 (C), 2 (H) or 3 (W), found {axis}")
    return axis


def as_dim(value: Any) -> int:
    """A dimension as MATLAB counts it: 1 (H), 2 (W), 3 (C) or 4 (N)."""
    dim = as_int(value)
    if dim not in AXIS_OF_DIM:
        raise NetworkError(f"a dimension is 1 (H), 2 (W), 3 (C) or 4 (N), found {dim}")
    return dim


def as_count(value: Any) -> int:
    """A whole number >= 1."""
    count = as_int(value)
    if count < 1:
        raise NetworkError(f"expected a whole number >= 1, found {count}")
    return count


def as_values(value: Any) -> tuple[float, ...]:
    """Any number of numbers."""
    return tuple(numbers(value))


def as_integers(value: Any) -> tuple[int, ...]:
    """Any number of whole numbers."""
    return tuple(integers(value))


def to_four(shape: Sequence[int]) -> Shape:
    """`shape` padded on the right with ones to four axes; ShapeError where more than four are needed.

    >>> to_four((5, 3)), to_four((2, 3, 4, 5, 1))
    ((5, 3, 1, 1), (2, 3, 4, 5))
    """
    if any(size != 1 for size in shape[RANK:]):
        raise ShapeError(f"a result of {text(tuple(shape))} has more than four axes, which is not supported")
    return (*shape[:RANK], *(1,) * (RANK - len(shape)))


def require_equal(shapes: Sequence[Shape]) -> None:
    """ShapeError unless all inputs have one shape."""
    for index, shape in enumerate(shapes[1:], 2):
        if shape != shapes[0]:
            raise ShapeError(f"input {index} is {text(shape)}, another {text(shapes[0])}; they must be equal")


def require_count(param: Shape, allowed: Sequence[int], what: str) -> None:
    """ShapeError unless the param's number of elements is among `allowed`; an unknown shape () passes."""
    if param and prod(param) not in allowed:
        wanted = " or ".join(str(count) for count in dict.fromkeys(allowed))
        raise ShapeError(f"{what} has {prod(param)} values ({text(param)}), expected {wanted}")


def require_indices(index: Array, count: int, what: str) -> None:
    """ShapeError unless all 0-based indices lie inside `what`, which has `count` rows."""
    lowest, highest = int(index.min()), int(index.max())
    if lowest < 0 or highest >= count:
        raise ShapeError(f"indices run from {lowest} to {highest}, {what} has {count} rows")


def as_matrix(xp: Any, param: Array) -> Array:
    """A 2-D param as float32, whatever singleton dimensions the file added or dropped behind the first."""
    found = as_float32(xp, param)
    return found.reshape(found.shape[0], -1)


@dataclass(frozen=True, kw_only=True)
class AlongAxis(Op):
    """What is true of a layer that cuts or repeats its input along one axis."""

    axis: int = of(as_axis, 1)

    @property
    def images_independent(self) -> bool:
        return self.axis != 0

    @property
    def channels(self) -> Channels:
        return Channels.UNKNOWN if self.axis == 1 else Channels.SEPARATE

    def with_axes_swapped(self) -> Op | None:
        return replace(self, axis={2: 3, 3: 2}.get(self.axis, self.axis))

    def receptive_fields(self, inputs: Sequence[Shape]) -> list[ReceptiveField | None]:
        return [ReceptiveField() if self.axis < 2 else None]


class FromAxis:
    """What is true of a layer that treats all elements from its field `axis` on together."""

    axis: int

    @property
    def images_independent(self) -> bool:
        return self.axis > 0

    @property
    def channels(self) -> Channels:
        return Channels.SEPARATE if self.axis > 1 else Channels.UNKNOWN
