"""What every row says of where its figures come from, whatever was scored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from matnet.evaluation.record import file_sha256, versions
from matnet.network import Network


@dataclass
class Course:
    """How a run over a data set went: images done, those that could not be used, seconds in all and in the engine."""

    images: int = 0
    unreadable: list[str] = field(default_factory=list)
    seconds: float = 0.0
    network_seconds: float = 0.0


def provenance(net: Network, engine: Any, data: Any, course: Course, notes: Sequence[str] = ()) -> dict[str, Any]:
    """The fields of a Run that tell network, data set, engine and course; `data` has a name and a list_sha256."""
    return {
        "model": net.source.path.stem if net.source.path else "network",
        "introduced": "",
        "images_per_s": course.images / course.seconds,
        "network_images_per_s": course.images / course.network_seconds,
        "images": course.images,
        "status": "unreadable images" if course.unreadable else "ok",
        "unreadable": course.unreadable,
        "dataset": data.name,
        "list_sha256": data.list_sha256,
        "model_file": str(net.source.path or ""),
        "model_sha256": file_sha256(net.source.path),
        "backend": engine.backend,
        "device": engine.device,
        "precision": engine.precision,
        "seconds": course.seconds,
        "versions": versions(getattr(engine, "runtimes", ())),
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "notes": [*notes, *engine.notes],
    }
