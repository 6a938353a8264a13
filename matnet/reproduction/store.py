"""Finished rows on disk, one JSON record each, so that an interrupted run can continue."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matnet.engines import EngineOptions
from matnet.outcomes import Status
from matnet.records import key_digest, read_record, write_record

FIGURES = 1
"""Incremented when a change of matnet alters figures; rows stored with another number are measured again."""

ENGINE = ("backend", "device", "precision", "threads", "runtime")
"""The engine options in a row's key."""


@dataclass(frozen=True)
class RowStore:
    """A folder of rows. The key of a row holds everything that decides its figures: see `key_of`."""

    folder: Path

    def path(self, model: str, key: Mapping[str, Any]) -> Path:
        """The file of a row: `<model>-<first 16 digits of the key's SHA-256>.json`."""
        return self.folder / f"{model}-{key_digest(key)[:16]}.json"

    def find(self, model: str, key: Mapping[str, Any], needed: Sequence[str] = ()) -> Mapping[str, Any] | None:
        """The record of a run with status `ok` and all the `needed` figures; None if there is none."""

        def parse(record: dict[str, Any]) -> Mapping[str, Any] | None:
            run = record["run"]
            if record["key"] != dict(key) or run is None or run["status"] != Status.OK:
                return None
            return run if all(isinstance(run.get(name), (int, float)) for name in needed) else None

        return read_record(self.path(model, key), parse)

    def keep(self, model: str, key: Mapping[str, Any], run: Mapping[str, Any] | None, failed: str = "") -> None:
        """Write a finished or failed row, whole or not at all; logs a warning if that fails."""
        record = {"key": dict(key), "run": run, **({"failed": failed} if failed else {})}
        write_record(self.path(model, key), record)


def key_of(model_sha256: str, list_sha256: str, protocol: str, engine: EngineOptions, **other: Any) -> dict[str, Any]:
    """Everything that decides a row's figures: weights, list of images, protocol, engine options.

    other: anything else, such as the cropped part of a face image.
    """
    return {
        "model": model_sha256,
        "data": list_sha256,
        "protocol": protocol,
        "engine": {name: value for name in ENGINE if (value := getattr(engine, name)) is not None},
        **other,
        "figures": FIGURES,
    }
