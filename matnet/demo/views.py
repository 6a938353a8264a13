"""The page's views of a network: plain data, the drawing's page, and pictures as PNG."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from matnet import plots
from matnet.demo.models import Kept
from matnet.display.page import network_page
from matnet.display.summary import summary, why_unsized
from matnet.display.table import NetworkTable, network_table
from matnet.display.text import layer_columns, totals
from matnet.errors import DataError, MatnetError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NUMERIC = ("#", "rf", "output", "data mem", "params", "mult-adds")
"""The beginnings of the headings of right-aligned columns."""


def network_view(kept: Kept) -> dict[str, Any]:
    """Everything about a network except pictures; `error`: why its layers cannot be analysed, if so."""
    found: dict[str, Any] = {
        "id": kept.id,
        "name": kept.name,
        "findings": [finding.record() for finding in kept.findings],
        "summary": [],
        "columns": [],
        "rows": [],
        "layers": [name for name, layer in kept.net.layers.items() if layer.outputs],
        "steps": _steps(kept),
    }
    try:
        table = network_table(kept.net)
        reason = why_unsized(kept.net, table, kept.net.default_input_shapes())
    except MatnetError as error:
        return {**found, "error": kept.text(str(error))}
    pairs = [*summary(kept.net, table), *totals(table), *([("unknown sizes", reason)] if reason else [])]
    missing = {name for layer in kept.net.layers.values() for name in layer.params} - kept.net.params.keys()
    if missing:
        advice = "drop a prototxt together with its caffemodel"
        pairs.insert(0, ("weights", f"missing: {len(missing)} params have no values; {advice}"))
    columns = layer_columns(table)
    found["summary"] = [[label, kept.text(text)] for label, text in pairs if label != "note"]
    found["columns"] = [{"title": title, "numeric": title.startswith(NUMERIC)} for title, _ in columns]
    found["rows"] = [[render(row) for _, render in columns] for row in table.layers]
    return found


def _steps(kept: Kept) -> dict[str, Any]:
    """The preprocessing as text, or an `error` if it is unknown."""
    try:
        return {"steps": kept.net.preprocessing.steps()}
    except MatnetError as error:
        return {"error": kept.text(str(error))}


def drawing_page(kept: Kept) -> str:
    """The interactive page of `matnet show --html`."""
    return network_page(kept.net, network_table(kept.net))


def filters_picture(kept: Kept, layer: str | None) -> bytes:
    """The filters of a layer, by default the first with filters, as PNG."""
    return png(plots.filters(kept.net, layer))


def png(figure: Figure) -> bytes:
    written = io.BytesIO()
    figure.savefig(written, format="png")
    return written.getvalue()


def table_for(kept: Kept, shape: tuple[int, ...] | None) -> NetworkTable:
    """The table for one image of shape C x H x W, by default the declared one. Raises DataError without an input."""
    from matnet.meta import image_input

    name = image_input(kept.net)
    if name is None:
        raise DataError(f"{kept.name}: no input takes an image")
    return network_table(kept.net, inputs={name: (1, *shape)} if shape else None)
