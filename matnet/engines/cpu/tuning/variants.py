"""Ways to run a network on the CPU: runtime, algorithm and division of the batch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from matnet.engines.cpu.division import DIVISIONS
from matnet.engines.cpu.runtimes import RUNTIMES, candidates
from matnet.errors import EngineError


@dataclass(frozen=True)
class Variant:
    """A runtime of RUNTIMES, matnet's Winograd algorithm or not, and a key of DIVISIONS."""

    runtime: str = "onnxruntime"
    winograd: bool = False
    division: str = ""

    @property
    def text(self) -> str:
        """The name in option --runtime and in results: `openvino`, `onnxruntime+winograd+threads`."""
        return "+".join(part for part in (self.runtime, "winograd" * self.winograd, self.division) if part)

    def __str__(self) -> str:
        parts = [RUNTIMES[self.runtime].title, "Winograd" * self.winograd, DIVISIONS[self.division]]
        return ", ".join(part for part in parts if part)


def variant_of(text: str) -> Variant:
    """The variant for a `Variant.text`. Raises EngineError for anything else."""
    runtime, *forms = text.split("+")
    candidates(runtime)  # EngineError for an unknown name
    winograd = forms[:1] == ["winograd"]
    division = "".join(forms[1:2] if winograd else forms[:1])
    found = Variant(runtime, winograd, division if division in DIVISIONS else "")
    if found.text != text:
        divisions = ", ".join(f"+{name}" for name in DIVISIONS if name)
        raise EngineError(
            f"runtime {text!r}: expected a runtime, optionally followed by +winograd, then by one of {divisions}"
        )
    return found


def variant_from(record: Mapping[str, Any]) -> Variant:
    """The variant from a JSON record. Raises ValueError for an invalid record."""
    variant = Variant(**record)
    if (
        not isinstance(variant.winograd, bool)
        or variant.runtime not in RUNTIMES
        or variant.division not in DIVISIONS
        or record.keys() != {"runtime", "winograd", "division"}
    ):
        raise ValueError(f"invalid variant: {dict(record)}")
    return variant
