"""Shared helpers of extension ops: field converters, base classes of layers along an axis, checks."""

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


def as_axis(value: Any) -> int:
    """An axis of N x C x H x W: 0, 1, 2 or 3."""
    axis = as_int(value)
    if not 0 <= axis < RANK:
        raise NetworkError(f"axis is {axis}; expected 0 (N), 1 (C), 2 (H) or 3 (W)")
    return axis


def as_count(value: Any) -> int:
    """An integer >= 1."""
    count = as_int(value)
    if count < 1:
        raise NetworkError(f"expected an integer >= 1, found {count}")
    return count


def as_values(value: Any) -> tuple[float, ...]:
    """Any number of floats."""
    return tuple(numbers(value))


def as_integers(value: Any) -> tuple[int, ...]:
    """Any number of integers."""
    return tuple(integers(value))


def require_count(param: Shape, allowed: Sequence[int], what: str) -> None:
    """Raise ShapeError unless the param's number of elements is in `allowed`; accepts an unknown shape ()."""
    if param and prod(param) not in allowed:
        wanted = " or ".join(str(count) for count in dict.fromkeys(allowed))
        raise ShapeError(f"{what} has {prod(param)} values ({text(param)}); expected {wanted}")


def require_indices(index: Array, count: int, what: str) -> None:
    """Raise ShapeError unless all 0-based indices are inside `what` with `count` rows."""
    lowest, highest = int(index.min()), int(index.max())
    if lowest < 0 or highest >= count:
        raise ShapeError(f"indices run from {lowest} to {highest}; expected 0 to {count - 1} for {what}")


def as_matrix(xp: Any, param: Array) -> Array:
    """A param as a float32 matrix, independent of singleton dimensions after the first."""
    found = as_float32(xp, param)
    return found.reshape(found.shape[0], -1)


@dataclass(frozen=True, kw_only=True)
class AlongAxis(Op):
    """Base of layers that slice or repeat their input along one axis."""

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
    """Mixin for layers that operate on all axes from `axis` on together."""

    axis: int

    @property
    def images_independent(self) -> bool:
        return self.axis > 0

    @property
    def channels(self) -> Channels:
        return Channels.SEPARATE if self.axis > 1 else Channels.UNKNOWN
