"""Ways to run a network on the CPU: a runtime, how the layers are written for it, and how a batch is divided."""

from __future__ import annotations

from dataclasses import dataclass

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


def variant_from(record: object) -> Variant | None:
    """The variant with these fields, as JSON keeps them; None where they are not those of one."""
    if not isinstance(record, dict) or record.keys() != {"runtime", "winograd", "division"}:
        return None
    runtime, winograd, division = record["runtime"], record["winograd"], record["division"]
    if not isinstance(winograd, bool) or runtime not in RUNTIMES or division not in DIVISIONS:
        return None
    return Variant(runtime, winograd, division)
