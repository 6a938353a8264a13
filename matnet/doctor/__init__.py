"""The doctor: find what is wrong with a network's file, preprocessing or labels, by checks and by experiments."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matnet.lazy import lazy

if TYPE_CHECKING:
    from matnet.doctor.checks import check_network
    from matnet.doctor.findings import Finding
    from matnet.doctor.search import Diagnosis, Search, try_changes

__getattr__, __dir__, __all__ = lazy(
    __name__, {"checks": "check_network", "findings": "Finding", "search": "Diagnosis Search try_changes"}
)
