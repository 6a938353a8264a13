"""Validation of keyword values: kinds of values, and one error that lists all wrong ones."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping
from numbers import Integral, Real
from typing import Any, NamedTuple

from matnet.errors import DataError, MatnetError, nearest


class Kind(NamedTuple):
    """A kind of value: its test, and its description in messages."""

    accepts: Callable[[Any], bool]
    expected: str

    def or_none(self) -> Kind:
        """The same kind, or None."""
        return Kind(lambda value: value is None or self.accepts(value), f"{self.expected}, or None")


def is_whole(value: Any, least: int = 1) -> bool:
    """Whether the value is an integer (Python or NumPy, not bool) >= `least`."""
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= least


def is_number(value: Any) -> bool:
    """Whether the value is a finite number (Python or NumPy, not bool)."""
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def all_of(value: Any, accepts: Callable[[Any], bool]) -> bool:
    """Whether the value is a sequence of values that all pass the test."""
    return _is_sequence(value) and all(map(accepts, value))


def all_texts(value: Any) -> bool:
    """Whether the value is a non-empty sequence of non-empty strings."""
    return all_of(value, lambda text: isinstance(text, str) and bool(text)) and len(value) > 0


def whole(least: int = 1) -> Kind:
    """An integer >= `least`."""
    return Kind(lambda value: is_whole(value, least), f"an integer >= {least}")


def pair(of: Callable[[Any], bool], expected: str) -> Kind:
    """Two values that both pass the test."""
    return Kind(lambda value: all_of(value, of) and len(value) == 2, expected)


def choice(*known: Any) -> Kind:
    """One of the values `known`, which have the same type."""
    return Kind(lambda value: type(value) is type(known[0]) and value in known, f"one of {', '.join(map(repr, known))}")


def instance(of: type, expected: str) -> Kind:
    """A value of a type."""
    return Kind(lambda value: isinstance(value, of), expected)


FLAG = Kind(lambda value: isinstance(value, bool) or type(value).__name__ in ("bool_", "bool"), "True or False")
FACTOR = Kind(lambda value: is_number(value) and value != 0, "a finite number other than 0")
TEXT = Kind(lambda value: isinstance(value, str) and bool(value), "text")
PATH = Kind(lambda value: isinstance(value, (str, os.PathLike)) and bool(os.fspath(value)), "a path")
FUNCTION = Kind(callable, "a function")


def faults(values: Mapping[str, Any], kinds: Mapping[str, Kind]) -> list[str]:
    """One clause per wrong value: the keyword, its value, and the expected kind."""
    return [
        f"{name} is {_short(values[name])}; expected {kind.expected}"
        for name, kind in kinds.items()
        if name in values and not kind.accepts(values[name])
    ]


def require(values: Mapping[str, Any], kinds: Mapping[str, Kind], error: type[MatnetError] = DataError) -> None:
    """Raise one `error` that names every wrong value."""
    wrong = faults(values, kinds)
    if wrong:
        raise error("; ".join(wrong))


def plain(value: Any) -> Any:
    """The value with NumPy scalars as Python numbers and sequences as tuples."""
    if _is_sequence(value):
        return tuple(map(plain, value))
    return value.item() if hasattr(value, "dtype") and not value.ndim else value


def unknown(names: Iterable[str], known: Iterable[str]) -> list[str]:
    """One clause per unknown keyword, with the nearest known names."""
    taken = list(known)
    return [f"unknown keyword {name!r}{nearest(name, taken)}" for name in names if name not in taken]


def _is_sequence(value: Any) -> bool:
    return hasattr(value, "__len__") and hasattr(value, "__getitem__") and not isinstance(value, (str, bytes, Mapping))


def _short(value: Any) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"{text[:57]}..."
