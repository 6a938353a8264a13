"""Finished rows on disk, one JSON file each, so that a run that was cut goes on where it was."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matnet.engines import EngineOptions
from matnet.files import atomic_write

FIGURES = 1
"""Raised when a change of matnet moves figures; rows that were kept under another number are measured anew."""

ENGINE = ("backend", "device", "precision", "threads", "runtime")
"""The engine options that belong to a row's key."""


@dataclass(frozen=True)
class Store:
    """A folder of rows. A row is found again by all that decides its figures: see `key_of`."""

    folder: Path

    def path(self, model: str, key: Mapping[str, Any]) -> Path:
        """Where the row of a model is kept: `<model>-<first 16 digits of the key's SHA-256>.json`."""
        text = json.dumps(key, sort_keys=True)
        return self.folder / f"{model}-{hashlib.sha256(text.encode()).hexdigest()[:16]}.json"

    def find(self, model: str, key: Mapping[str, Any], needed: Sequence[str] = ()) -> Mapping[str, Any] | None:
        """The record of a finished run with all the `needed` figures; None where there is none, it had failed, images
        of it could not be read, or the file is no such record.
        """
        try:
            kept = json.loads(self.path(model, key).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        run = kept.get("run") if isinstance(kept, dict) and kept.get("key") == dict(key) else None
        if not isinstance(run, dict) or run.get("status") != "ok":
            return None
        whole = all(isinstance(run.get(name), (int, float)) for name in needed)
        return run if whole else None

    def keep(self, model: str, key: Mapping[str, Any], run: Mapping[str, Any] | None, failed: str = "") -> None:
        """Write a row, finished or failed, whole or not at all; the folder is made where it is not."""
        self.folder.mkdir(parents=True, exist_ok=True)
        record = {"key": dict(key), "run": run, **({"failed": failed} if failed else {})}
        with atomic_write(self.path(model, key)) as file:
            file.write(f"{json.dumps(record, indent=2)}\n".encode())


def key_of(
    model_sha256: str, list_sha256: str, protocol: str, engine: EngineOptions, **other: Any
) -> dict[str, Any]:
    """What decides a row's figures: the weights, the list of images, the protocol, the engine as it was asked for.

    other: whatever else does, such as the part of an image that is a face.
    """
    return {
        "model": model_sha256,
        "data": list_sha256,
        "protocol": protocol,
        "engine": {name: value for name in ENGINE if (value := getattr(engine, name)) is not None},
        **other,
        "figures": FIGURES,
    }
