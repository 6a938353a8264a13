"""Tables for terminals and Markdown: all engines of a network, and one line per network with its best peer."""

from __future__ import annotations

from collections.abc import Sequence

from matnet.benchmarks.rows import EngineRow, Report, best_peer, grouped, ratio, ratio_at_fastest
from matnet.tables import Table

Columns = tuple[str, ...]
DETAILS: Columns = ("engine", "images/s", "spread", "slowest", "fastest", "GFLOP/s", "of peak", "differs", "remark")
SUMMARY: Columns = (
    "model",
    "batch",
    "engine",
    "precision",
    "images/s",
    "spread",
    "best peer",
    "its images/s",
    "ratio",
    "at fastest",
)
SUMMARY += ("GFLOP/s", "of peak", "weights", "published")
READING = """\
images/s: median of the turns; spread: interquartile range in percent of the median. ratio: speed relative to the best
peer of the same run on the same weights, above 1 if matnet is faster; at fastest: the same for the fastest turns, which
are less affected by other load. GFLOP/s: direct multiplications and additions of all convolutions; of peak: relative to
the fastest measured matrix product, which algorithms with fewer operations (Winograd) may exceed. differs: difference
from matnet's output relative to the largest value. Weights are random if a network's file is not available; this does
not affect the speed. published: images/s of MatConvNet's authors on an NVIDIA Titan X, end to end, in May 2016."""


def details(report: Report, rows: Sequence[EngineRow], form: str = "simple") -> str:
    """The engines of one network and batch, fastest first, failed ones last."""
    ordered = sorted(rows, key=lambda row: -row.images_per_s if row.timed else 0.0)
    return _table([_detail_cells(report, row) for row in ordered], DETAILS, form)


def _detail_cells(report: Report, row: EngineRow) -> list[str]:
    if not row.timed:
        return [row.engine, *[""] * 6, _share(row.difference), row.status]
    spread = row.spread
    return [
        row.engine,
        _figure(row.images_per_s),
        _percent(spread.quartile_range / spread.median),
        _figure(row.batch / spread.longest),
        _figure(row.batch / spread.shortest),
        f"{row.flop_per_s / 1e9:.0f}",
        _of_peak(report, row),
        _share(row.difference),
        f"on {row.runtime}" if row.runtime else "",
    ]


def summary(report: Report, form: str = "simple") -> str:
    """One line per form of matnet, network and batch."""
    cells = []
    for row in report.rows:
        if not row.ours:
            continue
        peer = best_peer(report.rows, row)
        times, fastest = ratio(row, peer), ratio_at_fastest(report.rows, row)
        cells.append(
            [
                row.model,
                str(row.batch),
                row.engine,
                " ".join(part for part in (row.precision, row.scope) if part),
                _figure(row.images_per_s) if row.timed else row.status.partition(":")[0],
                _percent(row.spread.quartile_range / row.spread.median) if row.timed else "",
                peer.engine if peer else "",
                _figure(peer.images_per_s) if peer else "",
                f"{times:.2f}" if times else "",
                f"{fastest:.2f}" if fastest else "",
                f"{row.flop_per_s / 1e9:.0f}" if row.timed else "",
                _of_peak(report, row) if row.timed else "",
                row.weights,
                _published(row),
            ]
        )
    return _table(cells, SUMMARY, form)


def machine_lines(report: Report) -> list[str]:
    """A description of the machine as lines."""
    machine = report.machine
    lines = [
        f"{machine.get('processor', '')}, {machine.get('threads')} of {machine.get('processors')} threads, "
        f"{machine.get('platform', '')}, Python {machine.get('python', '')}",
        ", ".join(f"{name} {number}" for name, number in machine.get("versions", {}).items()),
    ]
    if machine.get("device"):
        lines.insert(0, str(machine["device"]))
    for precision, peak in machine.get("matmul_flop_per_s", {}).items():
        lines.append(f"peak, {precision}: {peak / 1e9:.0f} GFLOP/s in a matrix product")
    if machine.get("command"):
        lines.append(f"{machine['command']} ({machine.get('date', '')})")
    return [*lines, *report.notes]


def markdown(report: Report) -> str:
    """The whole report as a Markdown page."""
    parts = ["# Speed", "", *[f"- {line}" for line in machine_lines(report)], "", summary(report, "pipe"), "", READING]
    return "\n".join([*parts, *speed_details(report)]) + "\n"


def speed_details(report: Report) -> list[str]:
    """A Markdown section for every network, batch, precision and scope: all engines."""
    parts = []
    for (model, batch, precision, scope), rows in grouped(report.rows).items():
        title = ", ".join(part for part in (model, f"batch {batch}", precision, scope) if part)
        parts += ["", f"### {title}", "", details(report, rows, "pipe")]
    return parts


def _table(cells: Sequence[Sequence[str]], headers: Sequence[str], form: str) -> str:
    numbers = {"batch", "images/s", "spread", "slowest", "fastest", "its images/s", "ratio", "at fastest", "GFLOP/s"}
    return Table.of(headers, cells, right=numbers | {"of peak", "differs", "published"}).text(form)


def _figure(value: float) -> str:
    """A number with three significant digits and at most two decimals."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _percent(part: float) -> str:
    return f"{100 * part:.0f} %"


def _of_peak(report: Report, row: EngineRow) -> str:
    peak = report.peak(row.precision)
    return _percent(row.flop_per_s / peak) if peak else ""


def _share(difference: float | None) -> str:
    return "" if difference is None else f"{difference:.0e}"


def _published(row: EngineRow) -> str:
    return _figure(next(iter(row.published.values()))) if row.published else ""
