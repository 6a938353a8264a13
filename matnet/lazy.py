"""Lazy loading of a package's names, so that its import is fast."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


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
