"""The rows as files: JSON with everything about each row, and CSV with a line per model."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import datetime, timezone
from typing import Any

from matnet import __version__
from matnet.reproduction.rows import FIGURES, Row
from matnet.tables import Column, Table

RUN_COLUMNS = (
    "images",
    "dataset",
    "protocol",
    "backend",
    "device",
    "precision",
    "batch_size",
    "seconds",
    "model_sha256",
    "list_sha256",
    "date",
)
"""The fields of a run in the CSV file, in addition to the figures."""


def as_json(rows: Iterable[Row], remarks: Sequence[str] = ()) -> str:
    """All rows with their runs; remarks: the lines of a check."""
    document = {
        "matnet": __version__,
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "rows": [row.record() for row in rows],
        "check": list(remarks) or None,
    }
    return json.dumps(document, indent=2, allow_nan=False)


def as_csv(rows: Iterable[Row]) -> str:
    """A line per model; figures of other tasks, and figures not measured or published, are empty."""
    return Table([Column(name, name) for name in _columns()], [_flat(row.record()) for row in rows]).csv()


def _columns() -> Iterable[str]:
    yield from ("model", "task", "introduced", "parameters", "status", "status_reason", "verdict", "tolerance")
    for figure in dict.fromkeys([*(figure for task in FIGURES.values() for figure in task), "images_per_s"]):
        yield from (figure, f"{figure}_published", f"{figure}_difference")
    yield from ("standard_error", "equal_error_rate", "auc", "source", "md5", "md5_status", "generation", *RUN_COLUMNS)


def _flat(record: dict[str, Any]) -> dict[str, Any]:
    flat = {name: value for name, value in record.items() if name in set(_columns()) and not isinstance(value, dict)}
    for figure, value in record["figures"].items():
        flat[figure] = value
        flat[f"{figure}_published"] = record["published"][figure]
        flat[f"{figure}_difference"] = record["difference"][figure]
    run = record["run"] or {}
    flat.update(
        {name: run[name] for name in (*RUN_COLUMNS, "standard_error", "equal_error_rate", "auc") if name in run}
    )
    md5 = record["md5"]
    flat.update(md5=md5["md5"], md5_status=md5["status"], generation=md5["generation"])
    return flat
