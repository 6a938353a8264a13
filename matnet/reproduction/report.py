"""The rows as tables for people: for the terminal and as Markdown, each figure beside the published one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from matnet.reproduction.expected import OWN
from matnet.reproduction.rows import DONE, FAILED, FIGURES, Row

WIDEST_STATUS = 40
HEADINGS = {
    "top1_error": "top-1 err.",
    "top5_error": "top-5 err.",
    "mean_iou": "mean IoU",
    "pixel_accuracy": "pixel acc.",
    "mean_class_accuracy": "mean class acc.",
    "accuracy": "accuracy",
}
TITLES = {
    "classification": "ImageNet ILSVRC-2012 val: classification, errors in percent",
    OWN: "Images beside the cards: classification, errors in percent",
    "segmentation": "PASCAL VOC: semantic segmentation, percent",
    "faces": "LFW: face verification, percent",
}
SWAPPED = (
    "MatConvNet's page heads its last two columns the other way round; the figures here stand under what they are: "
    "of all pixels, and as the mean over classes."
)
UNLIKE_PAPER = (
    "The published accuracy is the paper's, for faces found and cut by its authors, descriptors averaged over crops, "
    "and an embedding that was never released; here every image goes in once, unaligned, and descriptors are compared "
    "as the network gives them. The two are not expected to agree."
)


@dataclass(frozen=True)
class TableText:
    """One table: heading, columns, cells, and lines to stand below it."""

    title: str
    columns: tuple[str, ...]
    cells: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...]

    def grid(self) -> str:
        """Columns and cells, as Markdown has them."""
        from tabulate import tabulate

        sides = ["left" if name in ("model", "MD5", "status", "data") else "right" for name in self.columns]
        return tabulate(self.cells, self.columns, tablefmt="pipe", disable_numparse=True, colalign=sides)


def tables(rows: Iterable[Row]) -> list[TableText]:
    """The tables of the page that have rows, in its order."""
    parts: dict[str, list[Row]] = {}
    for row in rows:
        parts.setdefault(OWN if row.expected.data == OWN else row.expected.task, []).append(row)
    return [_table(name, parts[name]) for name in TITLES if name in parts]


def terminal(rows: Iterable[Row]) -> str:
    """All tables, as they are printed."""
    return "\n\n".join(_parted(table.title, table.grid(), *table.notes) for table in tables(rows))


def markdown(rows: Iterable[Row], remarks: Sequence[str] = ()) -> str:
    """All tables as a Markdown document; `remarks` are lines that end it."""
    parts = [_parted(f"## {table.title}", table.grid(), *_listed(table.notes)) for table in tables(rows)]
    end = ["\n".join(_listed(remarks))] if remarks else []
    return "\n\n".join(["# Published tables, measured again", *parts, *end]) + "\n"


def _parted(title: str, grid: str, *notes: str) -> str:
    return "\n".join([title, "", grid, *(["", *notes] if notes else [])])


def _listed(lines: Sequence[str]) -> list[str]:
    return [f"- {line}" for line in lines]


def _table(name: str, rows: Sequence[Row]) -> TableText:
    task = rows[0].expected.task
    columns = ["model", *({"segmentation": ["data"]}.get(name, ["introduced"]))]
    for figure in FIGURES[task]:
        columns += [HEADINGS[figure], "published", "diff."]
    columns += ["+-", "EER", "AUC"] if task == "faces" else []
    columns += ["images/s", "published"] if task == "classification" else ["images/s"]
    cells = tuple(tuple(_cells(row, task)) for row in rows)
    notes = [SWAPPED] if task == "segmentation" else []
    notes += [UNLIKE_PAPER] if task == "faces" and any(row.published("accuracy") is not None for row in rows) else []
    return TableText(TITLES[name], (*columns, "MD5", "status"), cells, (*notes, *_how(rows), *_details(rows)))


def _cells(row: Row, task: str) -> list[str]:
    card = row.expected.card
    data = row.expected.published.data if row.expected.published else ""
    cells = [row.expected.short_name, data if task == "segmentation" else str(card.introduced or "-")]
    for figure in FIGURES[task]:
        gap = row.difference(figure)
        cells += [_number(row.measured(figure)), _plain(row.published(figure)), _signed(gap)]
    if task == "faces":
        cells += [_number(row.measured(name)) for name in ("standard_error", "equal_error_rate", "auc")]
    cells.append(_number(row.measured("images_per_s"), 1))
    if task == "classification":
        cells.append(_plain(row.published("images_per_s")))
    return [*cells, f"{row.md5_status} {row.generation}".strip(), _status(row)]


def _number(value: float | None, places: int = 2) -> str:
    return "" if value is None else f"{value:.{places}f}"


def _plain(value: float | None) -> str:
    """A published figure with the digits that it was published with: one, or two."""
    if value is None:
        return ""
    return f"{value:.1f}" if value == round(value, 1) else f"{value:.2f}"


def _signed(value: float | None) -> str:
    return "" if value is None else f"{round(value, 2) + 0.0:+.2f}"


def _status(row: Row) -> str:
    status = row.status if row.state in (DONE, FAILED) else row.state
    parts = [status, *(["outside"] if row.outside else []), *(["kept"] if row.resumed else [])]
    text = ", ".join(parts)
    return text if len(text) <= WIDEST_STATUS else f"{text[: WIDEST_STATUS - 3]}..."


def _how(rows: Sequence[Row]) -> list[str]:
    """How the figures were measured, once for all rows that were measured alike."""
    done = [row.run for row in rows if row.state == DONE]
    ways = dict.fromkeys(
        f"{run.get('images'):,} images of {run.get('dataset')}"
        + (f", {run.get('pairs'):,} pairs" if "pairs" in run else "")
        + f"; protocol {run.get('protocol')}; {run.get('backend')} on {run.get('device')}, {run.get('precision')}"
        for run in done
    )
    return [f"Measured on {way}." for way in ways]


def _details(rows: Sequence[Row]) -> list[str]:
    """What the status column has no room for; the same words once for all models that they go for."""
    reasons: dict[str, list[str]] = {}
    for row in rows:
        if row.detail and row.state != DONE:
            reasons.setdefault(f"{row.state}: {row.detail}", []).append(row.expected.short_name)
    return [f"{', '.join(names)}: {why}" for why, names in reasons.items()]
