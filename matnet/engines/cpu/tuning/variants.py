"""Ways to run a network on the CPU: a runtime, how the layers are written for it, and how a batch is divided."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from matnet.engines.cpu.runtimes import RUNTIMES

DIVISIONS = {"": "", "threads": "a part of the batch per thread", "images": "an image at a time per thread"}


@dataclass(frozen=True)
class Variant:
    """A runtime of RUNTIMES, Winograd's algorithm or none of matnet's own, and a key of DIVISIONS."""

    runtime: str = "onnxruntime"
    winograd: bool = False
    division: str = ""

    def __str__(self) -> str:
        parts = [RUNTIMES[self.runtime].title, "Winograd" * self.winograd, DIVISIONS[self.division]]
        return ", ".join(part for part in parts if part)

    def images(self, batch: int, threads: int) -> int:
        """How many images of a batch go through the network together."""
        return {"": batch, "threads": -(-batch // threads), "images": 1}[self.division]


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
