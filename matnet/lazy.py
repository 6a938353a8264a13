"""Lazy loading of a package's names, and of what its modules register, so that its import is fast."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from typing import Any, TypeVar

Registered = TypeVar("Registered")


def lazy(package: str, names: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """`__getattr__`, `__dir__` and `__all__` of a package with lazy names.

    names: module -> its names, separated by spaces; `save=save_network` renames one. The names under "" are submodules.

    >>> __getattr__, __dir__, __all__ = lazy("matnet", {"shapes": "Shape pool_size", "params": "Param"})
    >>> __all__, __getattr__("Param")
    (['Param', 'Shape', 'pool_size'], <class 'matnet.params.Param'>)
    """
    entries = [(module, *entry.partition("=")[::2]) for module, listed in names.items() for entry in listed.split()]
    places = {name: (module, attribute or name) for module, name, attribute in entries}

    def load(name: str) -> Any:
        if name not in places:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module, attribute = places[name]
        found = import_module(f"{package}.{module or name}")
        return getattr(found, attribute) if module else found

    def names_of_package() -> list[str]:
        return sorted({*vars(sys.modules[package]), *places})

    return load, names_of_package, sorted(places)


class LazyTable(dict[str, Registered]):
    """What modules register, by name. A module in `places` is imported when one of its names is looked up; listing the
    names imports all of them.
    """

    def __init__(self, places: Mapping[str, str]) -> None:
        super().__init__()
        self._places = dict(places)

    def completed(self) -> LazyTable[Registered]:
        """Import all modules; returns self."""
        for module in dict.fromkeys(self._places.values()):
            import_module(module)
        return self

    def __missing__(self, name: str) -> Registered:
        if name in self._places:
            import_module(self._places[name])
        if dict.__contains__(self, name):
            return dict.__getitem__(self, name)
        raise KeyError(name)

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name) or name in self._places

    def get(self, name: str, default: Any = None) -> Any:
        try:
            return self[name]
        except KeyError:
            return default

    def __iter__(self) -> Iterator[str]:
        return super(LazyTable, self.completed()).__iter__()

    def __len__(self) -> int:
        return super(LazyTable, self.completed()).__len__()

    def keys(self) -> Any:
        return super(LazyTable, self.completed()).keys()

    def values(self) -> Any:
        return super(LazyTable, self.completed()).values()

    def items(self) -> Any:
        return super(LazyTable, self.completed()).items()
