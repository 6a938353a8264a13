"""A finding of the doctor: a sentence about one part of a network, its severity, and what to do."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

PROBLEM, NOTE = "problem", "note"
PARTS = ("file", "graph", "meta", "labels", "images")


@dataclass(frozen=True)
class Finding:
    """level: PROBLEM (exit status 1) or NOTE. part: one of PARTS. what: a sentence.

    remedy: the command or the option that corrects it, or "".
    """

    level: str
    part: str
    what: str
    remedy: str = ""

    def record(self) -> dict[str, Any]:
        return asdict(self)


def problem(part: str, what: str, remedy: str = "") -> Finding:
    return Finding(PROBLEM, part, what, remedy)


def note(part: str, what: str, remedy: str = "") -> Finding:
    return Finding(NOTE, part, what, remedy)
