"""The doctor: which of a network's file, preprocessing and labels is wrong, found by checks and by numbers."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matnet.doctor.checks import check_network
    from matnet.doctor.findings import Finding
    from matnet.doctor.search import Diagnosis, Search, try_changes

__all__ = ["Diagnosis", "Finding", "Search", "check_network", "try_changes"]

# Loaded at first use, so that `matnet doctor` can be interrupted before they are.
_LAZY = {
    "Diagnosis": "search",
    "Finding": "findings",
    "Search": "search",
    "check_network": "checks",
    "try_changes": "search",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'matnet.doctor' has no attribute {name!r}")
    return getattr(import_module(f"matnet.doctor.{_LAZY[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_LAZY])
