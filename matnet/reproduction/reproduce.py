"""The loop over the rows: find the model, use its stored row, else measure and store it; then compare."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matnet.errors import MatnetError
from matnet.evaluation.flow import Show
from matnet.evaluation.resume import SUFFIX
from matnet.outcomes import ExitStatus, Outcome, Status
from matnet.records import remove_record
from matnet.reproduction.data import DataSets
from matnet.reproduction.expected import SETS, Expected
from matnet.reproduction.measure import MeasureSettings, measure
from matnet.reproduction.models import AbsentModelError, Checksums, ModelSource
from matnet.reproduction.rows import FIGURES, Row
from matnet.reproduction.store import RowStore, key_of

if TYPE_CHECKING:
    from matnet.datasets.base import DataSet

log = logging.getLogger(__name__)


@dataclass
class Reproduction:
    """A run over rows. store: the folder of finished rows, or None. fresh: measure stored rows again.

    bar: creates the progress bar of a row from its title.
    """

    data: DataSets
    settings: MeasureSettings = field(default_factory=MeasureSettings)
    source: ModelSource = field(default_factory=ModelSource)
    store: RowStore | None = None
    fresh: bool = False
    bar: Callable[[str], Show] | None = None

    def rows(self, expected: Iterable[Expected]) -> Iterator[Row]:
        """Yields each row when it is finished; a failed model is also a row, and the run continues."""
        wanted = list(expected)
        for fault in self.data.faults(wanted):
            log.warning("%s", fault)
        checksums = Checksums()
        for row in wanted:
            yield self._row(row, checksums)

    def _row(self, expected: Expected, checksums: Checksums) -> Row:
        option = SETS[expected.data].option
        row = Row(expected, Outcome(Status.ABSENT, f"no data; give {option}" if option else "no data"))
        data, path = None, self.source.present(expected)
        try:
            data = self.data.of(expected)
            if data is not None:  # nothing is downloaded for a row without data
                path = self.source.find(expected)
        except AbsentModelError as error:
            data, row.outcome = None, Outcome(Status.ABSENT, str(error))
        except (MatnetError, OSError) as error:
            row.outcome = Outcome(Status.FAILED, reason(error))
        if not self.source.random:
            finding = checksums.of(expected, path)
            row.md5, row.md5_status, row.generation = finding.md5, finding.status, finding.generation
        try:
            if data is not None:
                self._fill(row, data, path)
        except (MatnetError, OSError, MemoryError) as error:
            row.outcome = Outcome(Status.FAILED, reason(error))
            log.warning("%s: %s", expected.card.name, error)
        return row

    def _fill(self, row: Row, data: DataSet, path: Path | None) -> None:
        """Take the row's figures from the store, or measure and store them."""
        expected, name = row.expected, row.expected.card.name
        key = key_of(
            self.source.identity(expected, path),
            data.list_sha256,
            self.settings.protocol_of(expected),
            self.settings.engine,
            **self.settings.decisive(expected),
        )
        needed = (*FIGURES[expected.task], "images", "images_per_s")
        kept = self.store.find(name, key, needed) if self.store and not self.fresh else None
        if kept is not None:
            row.run, row.resumed = kept, True
        else:
            row.run = self._measured(expected, data, path, key)
        row.outcome = Outcome(Status(row.run["status"]), str(row.run.get("status_reason", "")))
        part = self.data.is_part(expected)
        row.whole = not self.source.random and not part and row.outcome.status is Status.OK
        if part:
            row.remark = f"only {len(data)} of the data set"

    def _measured(self, expected: Expected, data: DataSet, path: Path | None, key: dict[str, Any]) -> dict[str, Any]:
        name = expected.card.name
        place = self.store.path(name, key) if self.store else None
        unfinished = place.with_name(place.name + SUFFIX) if place is not None else None
        try:
            net = self.source.load(expected, path)
            if unfinished is not None and self.fresh:
                remove_record(unfinished)
            show = self.bar(expected.short_name) if self.bar is not None else None
            run = measure(net, expected, data, self.settings, show, place).record()
        except (MatnetError, OSError, MemoryError) as error:
            if self.store:
                self.store.keep(name, key, None, failed=reason(error))
            raise
        run["model"] = name
        if self.source.random:
            run["status"], run["status_reason"] = str(Status.RANDOM_WEIGHTS), ""
        if self.store and unfinished is not None:
            self.store.keep(name, key, run)
            remove_record(unfinished)
        return run


def reason(error: BaseException) -> str:
    """An error as one line, for a table."""
    text = str(error).splitlines()[0] if str(error) else ""
    if isinstance(error, MemoryError):
        return "out of memory; try a smaller batch size"
    return text or type(error).__name__


@dataclass(frozen=True)
class Verdict:
    """The result of a check: lines of text, and the exit status.

    The status is 0 if at least one figure was compared, all are within their tolerance, and no row failed; else 1.
    Absent models, rows without data and rows without a tolerance are listed, and fail the check only if no other row
    was compared. Doubtful figures and NaN or infinite scores fail it.
    """

    status: int
    lines: tuple[str, ...]


def check(rows: Iterable[Row]) -> Verdict:
    """Compare the figures with the published ones."""
    found = list(rows)
    faults, left_out = [], []
    for row in found:
        name = row.expected.card.name
        faults += [
            f"{name}: {figure} is {row.measured(figure):.4g}, published {row.published(figure):.4g}; "
            f"the difference {gap:+.3f} exceeds the tolerance {row.tolerance:g}"
            for figure, gap in row.outside.items()
        ]
        if row.outcome.status in (Status.FAILED, Status.DOUBTFUL, Status.NOT_FINITE):
            faults.append(f"{name}: {row.status}")
        elif not row.judged:
            left_out.append(f"{name}: not compared ({why_not(row)})")
    judged = sum(row.judged for row in found)
    summary = f"check: {judged} of {len(found)} rows compared, {sum(bool(row.outside) for row in found)} outside"
    if not judged:
        faults.append("no row was compared, so no figure is confirmed")
    return Verdict(ExitStatus.CHECK_FAILED if faults else ExitStatus.DONE, (*left_out, *faults, summary))


def why_not(row: Row) -> str:
    """Why a row cannot be compared with published figures."""
    if not row.done:
        return row.status
    if row.whole and row.expected.published is None:
        return "no figures were published"
    return row.status if not row.whole else "its card gives no tolerance"
