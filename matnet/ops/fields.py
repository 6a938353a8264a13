"""Field converters of ops: from values in MATLAB files, Caffe files or Python to canonical Python values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import Field, field
from typing import Any

import numpy as np

from matnet.errors import NetworkError
from matnet.shapes import Pad

Pair = tuple[int, int]
LARGEST = 2**31 - 1
"""Upper limit for sizes and counts."""
AXIS_OF_DIM = {1: 2, 2: 3, 3: 1, 4: 0}  # MATLAB's dimension (H, W, C, N) -> axis of N x C x H x W
DIM_OF_AXIS = {axis: dim for dim, axis in AXIS_OF_DIM.items()}


def numbers(value: Any) -> list[float]:
    """Any numeric value (scalar, sequence, array of any shape and class) as a flat list of Python floats."""
    try:
        return [float(item) for item in np.asarray(value).ravel(order="F")]
    except (TypeError, ValueError):
        raise NetworkError(f"expected numbers, found {value!r:.80}") from None


def integers(value: Any) -> list[int]:
    """Any numeric value as a flat list of ints. Raises NetworkError for non-integers."""
    found = numbers(value)
    if any(not np.isfinite(item) or item != int(item) for item in found):
        raise NetworkError(f"expected integers, found {found}")
    if any(abs(item) > LARGEST for item in found):
        raise NetworkError(f"expected integers of at most {LARGEST:,}, found {found}")
    return [int(item) for item in found]


def as_pad(value: Any) -> Pad:
    """1, 2 ([vertical horizontal]) or 4 integers >= 0 as (top, bottom, left, right); empty means 0."""
    found = integers(value)
    if any(item < 0 for item in found):
        raise NetworkError(f"pad and crop are {found}; expected numbers >= 0")
    if len(found) <= 1:
        same = found[0] if found else 0
        return (same, same, same, same)
    if len(found) == 2:
        return (found[0], found[0], found[1], found[1])
    if len(found) == 4:
        return (found[0], found[1], found[2], found[3])
    raise NetworkError(f"pad and crop are {found}; expected 1, 2 or 4 numbers")


def as_pair(value: Any) -> Pair:
    """1 or 2 integers >= 1 as (vertical, horizontal); empty means 1."""
    found = integers(value) or [1]
    if len(found) > 2 or any(item < 1 for item in found):
        raise NetworkError(f"expected 1 or 2 numbers >= 1 (stride, dilate, upsample or window size), found {found}")
    return (found[0], found[-1])


def as_offsets(value: Any) -> Pair:
    """1 or 2 integers of any sign as (vertical, horizontal); empty means 0."""
    found = integers(value) or [0]
    if len(found) > 2:
        raise NetworkError(f"expected 1 or 2 offsets, found {found}")
    return (found[0], found[-1])


def as_size(value: Any) -> tuple[int, ...]:
    """A declared size as four elements, truncated or padded with ones as in DagNN's setters; empty stays empty."""
    found = integers(value)
    return tuple([*found, 1, 1, 1, 1][:4]) if found else ()


def as_floats(count: int) -> Callable[[Any], tuple[float, ...]]:
    """A converter to exactly `count` floats."""

    def convert(value: Any) -> tuple[float, ...]:
        found = numbers(value)
        if len(found) != count:
            raise NetworkError(f"expected {count} numbers, found {found}")
        return tuple(found)

    return convert


def as_float(value: Any) -> float:
    """A scalar of any numeric class."""
    return as_floats(1)(value)[0]


def as_int(value: Any) -> int:
    """An integer scalar."""
    found = integers(value)
    if len(found) != 1:
        raise NetworkError(f"expected one integer, found {found}")
    return found[0]


def as_dim(value: Any) -> int:
    """A MATLAB dimension: 1 (H), 2 (W), 3 (C) or 4 (N)."""
    dim = as_int(value)
    if dim not in AXIS_OF_DIM:
        raise NetworkError(f"dimension is {dim}; expected 1 (H), 2 (W), 3 (C) or 4 (N)")
    return dim


def as_bool(value: Any) -> bool:
    """A logical or numeric truth value; empty means false, as in MATLAB's `if`."""
    found = numbers(value)
    return bool(found) and all(item != 0 for item in found)


def as_text(value: Any) -> str:
    """A char row, or a cell with one."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if not isinstance(value, str):
        raise NetworkError(f"expected text, found {value!r:.80}")
    return value


def choice(*allowed: str) -> Callable[[Any], str]:
    """A converter to one of `allowed`, case-insensitive."""

    def convert(value: Any) -> str:
        text = as_text(value).lower()
        if text not in allowed:
            raise NetworkError(f"{text!r} is not one of {', '.join(allowed)}")
        return text

    return convert


def of(convert: Callable[[Any], Any], default: Any = ...) -> Any:
    """A dataclass field with a converter; required if no default is given."""
    metadata = {"convert": convert}
    return field(metadata=metadata) if default is ... else field(default=default, metadata=metadata)


def converter(item: Field[Any]) -> Callable[[Any], Any] | None:
    """The converter of a dataclass field: the one given to `of`, or else by the type of its default."""
    stated: Callable[[Any], Any] | None = item.metadata.get("convert")
    if stated is not None:
        return stated
    default = item.default
    for kind, convert in ((bool, as_bool), (int, as_int), (float, as_float), (str, as_text)):
        if isinstance(default, kind):
            return convert
    return as_floats(len(default)) if isinstance(default, tuple) else None
