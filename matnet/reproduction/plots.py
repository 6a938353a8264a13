"""Plots of the tables: error against speed, error against parameters, and ROC curves of faces."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matnet.figures import empty_figure, require_matplotlib
from matnet.files import atomic_write, check_outputs, make_folder
from matnet.kinds import IMAGE
from matnet.reproduction.labels import place_labels
from matnet.reproduction.rows import Row

SIZE = 9.0, 6.0  # inches
MEASURED, PUBLISHED = "#1f5fa8", "#9a9a9a"


@dataclass(frozen=True)
class Point:
    """The point of a model: its name, x value, top-1 error, and whether both were measured here."""

    name: str
    x: float
    error: float
    measured: bool


def write_plots(rows: Iterable[Row], folder: Path) -> list[Path]:
    """Write the PNG files for the rows; creates the folder if necessary. Raises EngineError without matplotlib.

    Errors on different data are not comparable, so each data set has its own plots. Models without measurements appear
    with their published figures, as hollow marks.
    """
    require_matplotlib()
    found = list(rows)
    make_folder(folder)
    written = []
    for data in dict.fromkeys(row.expected.data for row in found):
        same = [row for row in found if row.expected.data == data]
        where = "" if data == "imagenet" else f"-{data.replace(' ', '-')}"
        for name, place, label in (
            ("error-speed", _speed, "images per second"),
            ("error-parameters", _parameters, "parameters, millions"),
        ):
            if points := [point for row in same if (point := place(row))]:
                written.append(_save(_scatter(points, label), folder / f"{name}{where}.png"))
    curves = [row for row in found if row.run.get("roc")]
    if curves:
        written.append(_save(_roc(curves), folder / "roc-lfw.png"))
    return written


def _speed(row: Row) -> Point | None:
    if row.expected.task != "classification":
        return None
    return _point(row, row.measured("images_per_s")) or _published(row, row.published("images_per_s"))


def _parameters(row: Row) -> Point | None:
    count = row.expected.card.parameters
    if row.expected.task != "classification" or not count:
        return None
    return _point(row, count / 1e6) or _published(row, count / 1e6)


def _point(row: Row, x: float | None) -> Point | None:
    error = row.measured("top1_error")
    return None if x is None or error is None else Point(row.expected.short_name, x, error, True)


def _published(row: Row, x: float | None) -> Point | None:
    error = row.published("top1_error")
    return None if x is None or error is None else Point(row.expected.short_name, x, error, False)


def _scatter(points: Sequence[Point], across: str) -> Any:
    drawn = empty_figure(*SIZE)
    axes = drawn.add_subplot()
    for measured, colour, face, label in (
        (True, MEASURED, MEASURED, "measured"),
        (False, PUBLISHED, "white", "published"),
    ):
        kind = [point for point in points if point.measured is measured]
        if kind:
            places = [point.x for point in kind], [point.error for point in kind]
            axes.scatter(*places, s=36, edgecolors=colour, facecolors=face, label=label, zorder=3)
    axes.set_xlabel(across)
    axes.set_ylabel("top-1 error, %")
    axes.set_xscale("log")
    _plain_ticks(axes, [point.x for point in points])
    axes.grid(True, which="major", color="#e4e4e4", zorder=0)
    errors = [point.error for point in points]
    room = max(0.12 * (max(errors) - min(errors)), 1.0)
    axes.set_ylim(min(errors) - room, max(errors) + room)
    axes.legend(loc="best", frameon=True, edgecolor="#b0b0b0", fancybox=False)
    place_labels(axes, [(point.x, point.error, point.name) for point in points])
    return drawn


def _plain_ticks(axes: Any, values: Sequence[float]) -> None:
    """Set plain tick labels on a logarithmic axis: 10, 20, 30, 50, ..."""
    from matplotlib.ticker import FixedLocator, NullFormatter, NullLocator

    low, high = min(values) / 1.5, max(values) * 1.5
    steps = [step * 10.0**power for power in range(-4, 9) for step in (1, 2, 3, 5)]
    ticks = [step for step in steps if low <= step <= high]
    axes.set_xlim(low, high)
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])


def _roc(rows: Sequence[Row]) -> Any:
    drawn = empty_figure(*SIZE)
    axes = drawn.add_subplot()
    for row in rows:
        curve = row.run["roc"]
        label = f"{row.expected.short_name}: EER {row.run['equal_error_rate']:.2f} %, AUC {row.run['auc']:.2f} %"
        axes.plot(curve["false_accepts"], curve["true_accepts"], label=label)
    axes.plot([0, 1], [1, 0], color="#c8c8c8", linewidth=0.8, label="equal errors")
    axes.set_xlabel("different pairs taken for the same")
    axes.set_ylabel("same pairs found")
    axes.set_xlim(-0.01, 1.01)
    axes.set_ylim(-0.01, 1.01)
    axes.grid(True, color="#e4e4e4")
    axes.legend(loc="lower left", frameon=True, edgecolor="#b0b0b0", fancybox=False)
    return drawn


def _save(drawn: Any, path: Path) -> Path:
    check_outputs([(path, IMAGE)])
    with atomic_write(path) as file:
        drawn.savefig(file, format="png", metadata={"Software": None})
    return path
