"""What was measured, one row per engine, network and batch size; rows as JSON values and back."""

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

    scope: "" from array to array in host memory, "resident" where input and output stay in a GPU's memory.
    status: "ok", or "failed: reason", then without figures. seconds: of one batch, one number per turn.
    difference: from matnet's output, the largest absolute one relative to the largest magnitude. work: bytes and
    operations of each step, at least, where the engine states them.
    """

    model: str
    weights: str
    batch: int
    engine: str
    precision: str = "fp32"
    scope: str = ""
    status: str = OK
    runtime: str = ""  # what runtime auto chose
    difference: float | None = None
    operations: int = 0  # of one batch
    seconds: list[float] = field(default_factory=list)
    published: dict[str, float] = field(default_factory=dict)
    work: list[list[int]] = field(default_factory=list)

    @property
    def group(self) -> Group:
        """What it is compared within: network, batch, precision and scope."""
        return (self.model, self.batch, self.precision, self.scope)

    @property
    def ours(self) -> bool:
        return self.engine.startswith(OURS)

    @property
    def timed(self) -> bool:
        return self.status == OK and bool(self.seconds)

    @property
    def spread(self) -> Spread:
        """Of the seconds of one batch; only for rows that were timed."""
        return Spread.of(self.seconds)

    @property
    def images_per_s(self) -> float:
        return self.batch / self.spread.median

    @property
    def flop_per_s(self) -> float:
        return self.operations / self.spread.median


@dataclass
class Report:
    """Rows with what they were measured on: versions, processor, matmul peaks (FLOP/s by precision), command.

    sections: what else was checked or measured, as JSON values by subject.
    """

    rows: list[EngineRow] = field(default_factory=list)
    machine: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    sections: dict[str, Any] = field(default_factory=dict)

    def peak(self, precision: str) -> float | None:
        return self.machine.get("matmul_flop_per_s", {}).get(precision)

    def add(self, rows: Sequence[EngineRow]) -> None:
        """Put rows in, whole groups taking the place of those that are there."""
        groups = {**grouped(self.rows), **grouped(rows)}
        self.rows = [row for members in groups.values() for row in members]

    def write(self, path: str | Path) -> None:
        """The report as JSON; the derived figures stand beside the measured ones for other programs."""
        rows = [{**asdict(row), **_derived(self.rows, row)} for row in self.rows]
        record = {"format": FORMAT, "machine": self.machine, "notes": self.notes, "sections": self.sections}
        record["rows"] = rows
        with atomic_write(path) as file:
            file.write(f"{json.dumps(record, indent=1)}\n".encode())


def grouped(rows: Iterable[EngineRow]) -> dict[Group, list[EngineRow]]:
    """Rows that are compared with each other, in the order of their first appearance."""
    groups: dict[Group, list[EngineRow]] = {}
    for row in rows:
        groups.setdefault(row.group, []).append(row)
    return groups


def best_peer(rows: Iterable[EngineRow], row: EngineRow) -> EngineRow | None:
    """The fastest other engine in the same group; None where none was timed."""
    peers = [other for other in rows if not other.ours and other.timed and other.group == row.group]
    return min(peers, key=lambda other: other.spread.median, default=None)


def ratio(row: EngineRow, peer: EngineRow | None) -> float | None:
    """How many times as fast as the peer."""
    return peer.spread.median / row.spread.median if peer and row.timed else None


def ratio_at_fastest(rows: Iterable[EngineRow], row: EngineRow) -> float | None:
    """The ratio of the fastest turns, matnet's to those of any peer, which something else disturbs least."""
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
    """Reports of several runs as one, later rows in place of earlier ones for the same engine, network and batch.

    Only rows of one run are compared with each other, so a network and batch is taken whole from the last
    file that has it. Raises DataError or FileFormatError for a file that is none of these reports.
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
            raise DataError(f"{path}: is a report of another format; measure again")
        return Report(rows, record["machine"], list(record["notes"]), dict(record.get("sections", {})))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise DataError(f"{path}: is no report of this benchmark; give a file that --json wrote") from None


def _merge_machines(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """The facts of the last run, with the greatest peak of all."""
    peaks = dict(first.get("matmul_flop_per_s", {}))
    for precision, peak in second.get("matmul_flop_per_s", {}).items():
        peaks[precision] = max(peak, peaks.get(precision, 0.0))
    return {**first, **second, "matmul_flop_per_s": peaks}
