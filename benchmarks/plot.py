"""Draws a report as a bar chart: images/s of every engine relative to the best peer, one panel per batch size."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from matnet.benchmarks.rows import EngineRow, Report, best_peer
from matnet.errors import EngineError
from matnet.figures import empty_figure
from matnet.files import atomic_write

# Okabe and Ito's colour-blind-safe colours; hatches distinguish them in grey.
OUR_STYLES = (("#D55E00", ""), ("#E69F00", "///"), ("#CC79A7", "xxx"))
PEER_STYLES = {
    "onnxruntime": ("#0072B2", ""),
    "openvino": ("#56B4E9", "\\\\\\"),
    "opencv": ("#009E73", "..."),
    "torch": ("#999999", "---"),
}
BAR = 0.13  # inches of height
MODEL_GAP = 1.2  # bars between two networks


def draw(report: Report, path: str | Path) -> None:
    """Write the chart as PNG; EngineError if matplotlib is missing or no engine was timed."""
    panels = sorted({(row.batch, row.precision, row.scope) for row in report.rows if row.timed})
    if not panels:
        raise EngineError("nothing to draw: no engine was timed")
    models = list(dict.fromkeys(row.model for row in report.rows if row.timed))
    engines = _engines(report)
    height = 1.7 + len(models) * (len(engines) + MODEL_GAP) * BAR
    figure = empty_figure(2.4 + 4.2 * len(panels), height)
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for panel, shown in zip(axes, panels, strict=True):
        batch, precision, scope = shown
        rows = [row for row in report.rows if (row.batch, row.precision, row.scope) == shown and row.timed]
        _draw_panel(panel, rows, models, engines)
        panel.set_title(f"batch {batch}, {precision} {scope}", fontsize=10)
    axes[0].set_yticks([_place(number, 0, engines) for number in range(len(models))], models, fontsize=8)
    edge = (len(engines) + MODEL_GAP) / 2
    axes[0].set_ylim(_place(len(models) - 1, edge, engines), _place(0, -edge, engines))
    handles, labels = _legend(engines)
    figure.legend(handles, labels, loc="outside upper center", ncols=min(4, len(labels)), fontsize=8, frameon=True)
    figure.supxlabel(
        "images/s relative to the best peer (at the bars: images/s); of several forms, the best", fontsize=8
    )
    target = io.BytesIO()
    figure.savefig(target, format="png", dpi=figure.dpi)
    with atomic_write(path) as file:
        file.write(target.getvalue())


def _engines(report: Report) -> dict[str, tuple[str, str]]:
    """Colour and hatch of every timed engine or group of forms, matnet first."""
    ours = list(dict.fromkeys(row.engine for row in report.rows if row.ours and row.timed))
    styles = {name: OUR_STYLES[number % len(OUR_STYLES)] for number, name in enumerate(ours)}
    groups = {_group(row) for row in report.rows if not row.ours and row.timed}
    return {**styles, **{name: style for name, style in PEER_STYLES.items() if name in groups}}


def _group(row: EngineRow) -> str:
    """The peer of a form; each form of matnet is its own group."""
    return row.engine if row.ours else next((name for name in PEER_STYLES if row.engine.startswith(name)), row.engine)


def _draw_panel(panel: Any, rows: list[EngineRow], models: list[str], engines: dict[str, tuple[str, str]]) -> None:
    """Draw one panel, with the fastest form of each peer."""
    longest = 1.0
    for number, model in enumerate(models):
        own = [row for row in rows if row.model == model]
        peer = best_peer(own, own[0]) if own else None
        for slot, (engine, (colour, hatch)) in enumerate(engines.items()):
            found = [row for row in own if _group(row) == engine]
            if not found:
                continue
            row = max(found, key=lambda row: row.images_per_s)
            length = row.images_per_s / (peer or row).images_per_s
            longest = max(longest, length)
            place = _place(number, slot - (len(engines) - 1) / 2, engines)
            panel.barh(place, length, height=0.9, color=colour, hatch=hatch, edgecolor="white", linewidth=0.4)
            label = panel.text(length + 0.02, place, f"{row.images_per_s:.3g}", va="center", fontsize=6)
            label.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 0.3})
    panel.axvline(1.0, color="black", linewidth=0.8, linestyle="--", zorder=1.5)
    panel.set_xlim(0, longest * 1.18)
    panel.tick_params(axis="x", labelsize=8)
    panel.spines[["top", "right"]].set_visible(False)


def _place(model: int, slot: float, engines: dict[str, tuple[str, str]]) -> float:
    """The position of a bar: networks from top to bottom, in units of bars."""
    return -(model * (len(engines) + MODEL_GAP) + slot)


def _legend(engines: dict[str, tuple[str, str]]) -> tuple[list[Any], list[str]]:
    from matplotlib.patches import Patch

    handles = [Patch(facecolor=colour, hatch=hatch, edgecolor="white") for colour, hatch in engines.values()]
    return handles, list(engines)
