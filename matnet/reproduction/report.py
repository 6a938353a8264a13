"""The rows as tables for the terminal and Markdown, each figure beside the published one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from matnet.evaluation.tasks import TASKS
from matnet.reproduction.expected import PAGE_VOC, SETS
from matnet.reproduction.rows import FIGURES, Row
from matnet.tables import Column, Table

WIDEST_STATUS = 40
HEADINGS = {
    "top1_error": "top-1 err.",
    "top5_error": "top-5 err.",
    "mean_iou": "mean IoU",
    "pixel_accuracy": "pixel acc.",
    "mean_class_accuracy": "mean class acc.",
    "accuracy": "accuracy",
    "mean_ap": "mean AP",
    "ods": "ODS",
    "ois": "OIS",
}
SWAPPED = (
    "MatConvNet's page exchanges the headings of its last two columns; here the figures have the right headings: "
    "accuracy of all pixels, and mean over classes."
)
UNLIKE_PAPER = (
    "The published accuracy is the paper's: its authors detected and cropped the faces, averaged descriptors over "
    "crops, and used an embedding that was never released. Here every image is used once, unaligned, and the network's "
    "descriptors are compared directly. The two are not expected to agree."
)


def tables(rows: Iterable[Row]) -> list[Table]:
    """The page's tables that have rows, in its order."""
    parts: dict[str, list[Row]] = {}
    for row in rows:
        parts.setdefault(SETS[row.expected.data].title, []).append(row)
    order = dict.fromkeys(known.title for known in SETS.values())
    return [_table(title, parts[title]) for title in order if title in parts]


def terminal(rows: Iterable[Row]) -> str:
    """All tables as text."""
    return "\n\n".join(table.terminal() for table in tables(rows))


def markdown(rows: Iterable[Row], remarks: Sequence[str] = ()) -> str:
    """All tables as a Markdown document, followed by `remarks`."""
    parts = [table.markdown() for table in tables(rows)]
    end = ["\n".join(f"- {line}" for line in remarks)] if remarks else []
    return "\n\n".join(["# Published tables, measured again", *parts, *end]) + "\n"


def _table(title: str, rows: Sequence[Row]) -> Table:
    task = rows[0].expected.task
    notes = [SWAPPED] if title == PAGE_VOC else []
    notes += [UNLIKE_PAPER] if task == "faces" and any(row.published("accuracy") is not None for row in rows) else []
    return Table(
        _columns(title, task),
        [_row(row) for row in rows],
        f"{title}: {TASKS[task].title}",
        (*notes, *_how(rows), *_details(rows)),
    )


def _columns(title: str, task: str) -> list[Column]:
    columns = [Column("model", "model")]
    columns.append(Column("data", "data") if title == PAGE_VOC else Column("introduced", "introduced", "right"))
    for figure in FIGURES[task]:
        columns += [
            Column(figure, HEADINGS[figure], "right", places=2),
            Column(f"{figure}_published", "published", "right"),
            Column(f"{figure}_difference", "diff.", "right", places=2, signed=True),
        ]
    if task == "faces":
        columns += [
            Column(key, heading, "right", places=2)
            for key, heading in (("standard_error", "+-"), ("equal_error_rate", "EER"), ("auc", "AUC"))
        ]
    columns.append(Column("images_per_s", "images/s", "right", places=1))
    if task == "classification":
        columns.append(Column("images_per_s_published", "published", "right"))
    return [*columns, Column("md5", "MD5"), Column("status", "status")]


def _row(row: Row) -> dict[str, Any]:
    figures = (*FIGURES[row.expected.task], "images_per_s")
    more = {name: row.measured(name) for name in ("standard_error", "equal_error_rate", "auc")}
    return {
        "model": row.expected.short_name,
        "introduced": str(row.expected.card.introduced or "-"),
        "data": row.expected.published.data if row.expected.published else "",
        **{name: row.measured(name) for name in figures},
        **{f"{name}_published": _plain(row.published(name)) for name in figures},
        **{f"{name}_difference": row.difference(name) for name in figures},
        **more,
        "md5": f"{row.md5_status} {row.generation}".strip(),
        "status": _status(row),
    }


def _plain(value: float | None) -> str:
    """A published figure with its published number of decimals, one or two."""
    if value is None:
        return ""
    return f"{value:.1f}" if value == round(value, 1) else f"{value:.2f}"


def _status(row: Row) -> str:
    status = row.status if row.done or row.failed else str(row.outcome.status)
    if row.outcome.reason.startswith("no data"):
        status = "absent: no data"
    parts = [status, *(["outside"] if row.outside else []), *(["kept"] if row.resumed else [])]
    text = ", ".join(parts)
    return text if len(text) <= WIDEST_STATUS else f"{text[: WIDEST_STATUS - 3]}..."


def _how(rows: Sequence[Row]) -> list[str]:
    """How the figures were measured, once for all rows with the same settings."""
    done = [row.run for row in rows if row.done]
    ways = dict.fromkeys(
        f"{run.get('images'):,} images of {run.get('dataset')}"
        + (f", {run.get('pairs'):,} pairs" if "pairs" in run else "")
        + f"; protocol {run.get('protocol')}; {run.get('backend')} on {run.get('device')}, {run.get('precision')}"
        for run in done
    )
    return [f"Measured on {way}." for way in ways]


def _details(rows: Sequence[Row]) -> list[str]:
    """The statuses that are too long for the column; equal ones once for all their models."""
    reasons: dict[str, list[str]] = {}
    for row in rows:
        if row.outcome.reason:
            reasons.setdefault(str(row.outcome), []).append(row.expected.short_name)
    return [f"{', '.join(names)}: {why}" for why, names in reasons.items()]
