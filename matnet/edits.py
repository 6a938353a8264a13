"""A process-wide count of edits to networks: while it is unchanged, compiled engines are known to be current."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any, ClassVar, TypeVar

_numbers = count(1)
_latest = 0
Container = TypeVar("Container", bound=type)


def edits() -> int:
    """A number that changes with every edit of any network of this process."""
    return _latest


def note_edit() -> None:
    """Count an edit of a network."""
    global _latest
    _latest = next(_numbers)


class Edited:
    """Base class that counts assignments to attributes, and changes to the lists and dicts named in `counted`."""

    counted: ClassVar[frozenset[str]] = frozenset()

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self.counted and not isinstance(value, (CountedList, CountedDict)):
            value = CountedDict(value) if isinstance(value, dict) else CountedList(value)
        super().__setattr__(name, value)
        note_edit()

    @property
    def is_counted(self) -> bool:
        """Whether all of `counted` are counting containers; false if code wrote to `__dict__` directly."""
        return all(isinstance(getattr(self, name), (CountedList, CountedDict)) for name in self.counted)


def _counts(*methods: str) -> Callable[[Container], Container]:
    """Class decorator: calls of these inherited list or dict methods count as edits."""

    def decorate(container: Container) -> Container:
        for name in methods:
            setattr(container, name, _counting(getattr(container.__base__, name)))
        return container

    return decorate


def _counting(method: Callable[..., Any]) -> Callable[..., Any]:
    def counting(self: Any, *arguments: Any, **keywords: Any) -> Any:
        try:
            return method(self, *arguments, **keywords)
        finally:  # a failed call may have changed something
            note_edit()

    return counting


@_counts(
    "__setitem__", "__delitem__", "__iadd__", "__imul__", "append", "extend", "insert", "pop", "remove", "clear",
    "reverse", "sort",
)  # fmt: skip
class CountedList(list[Any]):
    """A list that counts its edits."""


@_counts("__setitem__", "__delitem__", "__ior__", "pop", "popitem", "clear", "update", "setdefault")
class CountedDict(dict[Any, Any]):
    """A dict that counts its edits."""
