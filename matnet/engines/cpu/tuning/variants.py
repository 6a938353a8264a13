"""Ways to run a network on the CPU: a runtime, how the layers are written for it, and how a batch is divided."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from matnet.engines.cpu.division import DIVISIONS
from matnet.engines.cpu.runtimes import RUNTIMES


@dataclass(frozen=True)
class Variant:
    """A runtime of RUNTIMES, Winograd's algorithm or none of matnet's own, and a key of DIVISIONS."""

    runtime: str = "onnxruntime"
    winograd: bool = False
    division: str = ""

    def __str__(self) -> str:
        parts = [RUNTIMES[self.runtime].title, "Winograd" * self.winograd, DIVISIONS[self.division]]
        return ", ".join(part for part in parts if part)


def variant_from(record: Mapping[str, Any]) -> Variant:
    """The variant with these fields, as JSON keeps them; raises ValueError where they are not those of one."""
    variant = Variant(**record)
    if (
        not isinstance(variant.winograd, bool)
        or variant.runtime not in RUNTIMES
        or variant.division not in DIVISIONS
        or record.keys() != {"runtime", "winograd", "division"}
    ):
        raise ValueError(f"no way to run a network: {dict(record)}")
    return variant
