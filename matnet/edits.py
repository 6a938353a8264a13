"""A count of the edits of all networks, so that a network that was not edited need not be compared with its engine."""

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
    """State that a network was edited."""
    global _latest
    _latest = next(_numbers)


class Edited:
    """Base of classes whose edits count: assignments to attributes, and changes of the lists and dicts in `counted`."""

    counted: ClassVar[frozenset[str]] = frozenset()

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self.counted and not isinstance(value, (CountedList, CountedDict)):
            value = CountedDict(value) if isinstance(value, dict) else CountedList(value)
        super().__setattr__(name, value)
        note_edit()

    @property
    def is_counted(self) -> bool:
        """Whether the edits of all of `counted` are: not where something set the attributes' dict itself."""
        return all(isinstance(getattr(self, name), (CountedList, CountedDict)) for name in self.counted)


def _counts(*methods: str) -> Callable[[Container], Container]:
    """Class decorator: calls of these methods, inherited from list or dict, count as edits."""

    def decorate(container: Container) -> Container:
        for name in methods:
            setattr(container, name, _counting(getattr(container.__base__, name)))
        return container

    return decorate


def _counting(method: Callable[..., Any]) -> Callable[..., Any]:
    def counting(self: Any, *arguments: Any, **keywords: Any) -> Any:
        try:
            return method(self, *arguments, **keywords)
        finally:  # an error may come after a part of the work
            note_edit()

    return counting


@_counts(
    "__setitem__", "__delitem__", "__iadd__", "__imul__", "append", "extend", "insert", "pop", "remove", "clear",
    "reverse", "sort",
)  # fmt: skip
class CountedList(list[Any]):
    """A list whose edits count."""


@_counts("__setitem__", "__delitem__", "__ior__", "pop", "popitem", "clear", "update", "setdefault")
class CountedDict(dict[Any, Any]):
    """A dict whose edits count."""
