"""What the values of keywords must be: each kind of value once, and one sentence about all that are wrong."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

from matnet.errors import DataError, MatnetError, nearest


@dataclass(frozen=True)
class Kind:
    """A kind of value: the test that it passes, and what it is called."""

    accepts: Callable[[Any], bool]
    expected: str

    def or_none(self) -> Kind:
        """The same kind, or None."""
        return Kind(lambda value: value is None or self.accepts(value), f"{self.expected}, or None")


def is_whole(value: Any, least: int = 1) -> bool:
    """Whether it is a whole number of at least `least`, of Python or NumPy; True and False are none."""
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= least


def is_number(value: Any) -> bool:
    """Whether it is a finite number, of Python or NumPy; True and False are none."""
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def all_texts(value: Any) -> bool:
    """Whether it is a list, or another sequence, of texts, and not an empty one."""
    return _is_sequence(value) and len(value) > 0 and all(isinstance(text, str) and text for text in value)


def whole(least: int = 1) -> Kind:
    """A whole number of at least `least`."""
    return Kind(lambda value: is_whole(value, least), f"a whole number from {least}")


def pair(of: Callable[[Any], bool], expected: str) -> Kind:
    """Two values, each of which passes the test."""
    return Kind(lambda value: _is_sequence(value) and len(value) == 2 and all(map(of, value)), expected)


def choice(*known: Any) -> Kind:
    """One of some values, which are of one type."""
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
    """What is wrong with the values, one clause each: the keyword, its value, and what was expected."""
    return [
        f"{name} is {_short(values[name])}; expected {kind.expected}"
        for name, kind in kinds.items()
        if name in values and not kind.accepts(values[name])
    ]


def require(values: Mapping[str, Any], kinds: Mapping[str, Kind], error: type[MatnetError] = DataError) -> None:
    """`error` that names every value which is not of its kind."""
    wrong = faults(values, kinds)
    if wrong:
        raise error("; ".join(wrong))


def plain(value: Any) -> Any:
    """The value with NumPy's numbers as Python's, and its sequences as tuples."""
    if _is_sequence(value):
        return tuple(map(plain, value))
    return value.item() if hasattr(value, "dtype") and not value.ndim else value


def unknown(names: Iterable[str], known: Iterable[str]) -> list[str]:
    """What is wrong with keywords that nothing takes, one clause each, with the nearest names."""
    taken = list(known)
    return [f"no keyword is called {name!r}{nearest(name, taken)}" for name in names if name not in taken]


def _is_sequence(value: Any) -> bool:
    return hasattr(value, "__len__") and hasattr(value, "__getitem__") and not isinstance(value, (str, bytes, Mapping))


def _short(value: Any) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"{text[:57]}..."
