"""Measured rows, one per engine, network and batch size, with conversion to and from JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from matnet.benchmarks.timing import Spread
from matnet.errors import DataError
from matnet.files import atomic_write, existing_file

OURS = "matnet"
OK = "ok"
RESIDENT = "resident"
FORMAT = 1  # of the JSON file
Group = tuple[str, int, str, str]


@dataclass
class EngineRow:
    """One engine on one network and batch size.

    scope: "" from array to array in host memory, "resident" if input and output stay in GPU memory. status: "ok", or
    "failed: reason" without figures. seconds: time of one batch, one number per turn. difference: largest absolute
    difference from matnet's output, relative to the largest magnitude. work: minimum bytes and operations of each step,
    if the engine states them.
    """

    model: str
    weights: str
    batch: int
    engine: str
    precision: str = "fp32"
    scope: str = ""
    status: str = OK
    runtime: str = ""  # the runtime chosen by auto
    difference: float | None = None
    operations: int = 0  # of one batch
    seconds: list[float] = field(default_factory=list)
    published: dict[str, float] = field(default_factory=dict)
    work: list[list[int]] = field(default_factory=list)

    @property
    def group(self) -> Group:
        """The rows it is compared with have the same network, batch, precision and scope."""
        return (self.model, self.batch, self.precision, self.scope)

    @property
    def ours(self) -> bool:
        return self.engine.startswith(OURS)

    @property
    def timed(self) -> bool:
        return self.status == OK and bool(self.seconds)

    @property
    def spread(self) -> Spread:
        """The spread of the seconds of one batch; only for timed rows."""
        return Spread.of(self.seconds)

    @property
    def images_per_s(self) -> float:
        return self.batch / self.spread.median

    @property
    def flop_per_s(self) -> float:
        return self.operations / self.spread.median


@dataclass
class Report:
    """Rows with a description of the machine: versions, processor, matmul peaks (FLOP/s by precision), command.

    sections: other checks and measurements, as JSON values by subject.
    """

    rows: list[EngineRow] = field(default_factory=list)
    machine: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    sections: dict[str, Any] = field(default_factory=dict)

    def peak(self, precision: str) -> float | None:
        return self.machine.get("matmul_flop_per_s", {}).get(precision)

    def add(self, rows: Sequence[EngineRow]) -> None:
        """Add rows; new groups replace existing ones as a whole."""
        groups = {**grouped(self.rows), **grouped(rows)}
        self.rows = [row for members in groups.values() for row in members]

    def write(self, path: str | Path) -> None:
        """Write the report as JSON, with derived figures for other programs."""
        rows = [{**asdict(row), **_derived(self.rows, row)} for row in self.rows]
        record = {"format": FORMAT, "machine": self.machine, "notes": self.notes, "sections": self.sections}
        record["rows"] = rows
        with atomic_write(path) as file:
            file.write(f"{json.dumps(record, indent=1)}\n".encode())


def grouped(rows: Iterable[EngineRow]) -> dict[Group, list[EngineRow]]:
    """Rows by group, in the order of first appearance."""
    groups: dict[Group, list[EngineRow]] = {}
    for row in rows:
        groups.setdefault(row.group, []).append(row)
    return groups


def best_peer(rows: Iterable[EngineRow], row: EngineRow) -> EngineRow | None:
    """The fastest other engine in the same group; None if none was timed."""
    peers = [other for other in rows if not other.ours and other.timed and other.group == row.group]
    return min(peers, key=lambda other: other.spread.median, default=None)


def ratio(row: EngineRow, peer: EngineRow | None) -> float | None:
    """The speed relative to the peer."""
    return peer.spread.median / row.spread.median if peer and row.timed else None


def ratio_at_fastest(rows: Iterable[EngineRow], row: EngineRow) -> float | None:
    """The ratio of the fastest turns of matnet and of any peer, which is least affected by other load."""
    peers = [other.spread.shortest for other in rows if not other.ours and other.timed and other.group == row.group]
    return min(peers) / row.spread.shortest if peers and row.timed else None


def _derived(rows: Sequence[EngineRow], row: EngineRow) -> dict[str, Any]:
    if not row.timed:
        return {}
    peer = best_peer(rows, row)
    return {
        "images_per_s": row.images_per_s,
        "flop_per_s": row.flop_per_s,
        "best_peer": peer.engine if peer else None,
        "ratio_to_best_peer": ratio(row, peer) if row.ours else None,
        "ratio_at_fastest": ratio_at_fastest(rows, row) if row.ours else None,
    }


def read_reports(paths: Sequence[str]) -> Report:
    """Merges reports of several runs.

    Only rows of one run are compared, so all rows of a network and batch come from the last file that has them. Raises
    DataError or FileFormatError for a file that is not such a report.
    """
    merged = Report()
    for path in paths:
        report = _read(path)
        merged.machine = _merge_machines(merged.machine, report.machine)
        merged.notes += [note for note in report.notes if note not in merged.notes]
        merged.sections.update(report.sections)
        merged.add(report.rows)
    return merged


def _read(path: str) -> Report:
    try:
        record = json.loads(existing_file(path, "report").read_text())
        known = {entry.name for entry in fields(EngineRow)}
        rows = [EngineRow(**{key: value for key, value in row.items() if key in known}) for row in record["rows"]]
        if record["format"] != FORMAT or not isinstance(record["machine"], dict):
            raise DataError(f"{path}: a report in another format; measure again")
        return Report(rows, record["machine"], list(record["notes"]), dict(record.get("sections", {})))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise DataError(f"{path}: not a report of this benchmark; expected a file written by --json") from None


def _merge_machines(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """The machine of the last run, with the highest peaks of all runs."""
    peaks = dict(first.get("matmul_flop_per_s", {}))
    for precision, peak in second.get("matmul_flop_per_s", {}).items():
        peaks[precision] = max(peak, peaks.get(precision, 0.0))
    return {**first, **second, "matmul_flop_per_s": peaks}
