"""The table of a network for programs: plain records for JSON, and comma-separated values."""

from __future__ import annotations

import csv
import io
from typing import Any

from matnet.display.markup import printable
from matnet.display.table import LayerRow, NetworkTable
from matnet.display.units import BYTES_PER_ELEMENT


def table_records(table: NetworkTable) -> dict[str, Any]:
    """The table as lists, dicts, numbers and None; activations N x C x H x W, bytes and elements as integers."""
    return {
        "layers": [layer_record(row) for row in table.layers],
        "params": [{"name": row.name, "shape": _list(row.shape), "fanout": row.fanout} for row in table.params],
        "variables": [
            {"name": row.name, "shape": _list(row.shape), "fanin": row.fanin, "fanout": row.fanout}
            for row in table.variables
        ],
        "totals": {
            "parameters": table.param_count,
            "parameter_bytes": BYTES_PER_ELEMENT * table.param_count,
            "data_bytes": table.data_bytes,
            "multiply_adds": table.multiply_adds,
            "batch_size": table.batch,
            "layers_of_unknown_size": table.unsized,
        },
    }


def layer_record(row: LayerRow) -> dict[str, Any]:
    """One layer as a plain record."""
    return {
        "index": row.index,
        "name": row.name,
        "type": row.kind,
        "known": not row.unknown,
        "inputs": list(row.inputs),
        "outputs": list(row.outputs),
        "params": list(row.params),
        "filters": _list(row.filters),
        "window": _list(row.window),
        "method": row.method or None,
        "stride": _list(row.stride),
        "pad": _list(row.pad),
        "dilate": _list(row.dilate),
        "settings": row.settings or None,
        "receptive_fields": {
            name: field and {"size": list(field.size), "offset": list(field.offset), "stride": list(field.stride)}
            for name, field in row.fields.items()
        },
        "output_shapes": [_list(shape) for shape in row.output_shapes],
        "data_bytes": row.data_bytes,
        "parameters": row.param_count,
        "parameter_bytes": BYTES_PER_ELEMENT * row.param_count,
        "multiply_adds": row.multiply_adds,
    }


CSV_FIELDS = (
    *("index", "name", "type", "inputs", "outputs", "params", "filters", "window", "method", "stride", "pad", "dilate"),
    *("settings", "data_bytes", "parameters", "parameter_bytes", "multiply_adds"),
)


def table_csv(table: NetworkTable) -> str:
    """A header and a row per layer; values in a cell are separated by spaces, unknown cells are empty.

    `output` is the first output's N C H W; there is one group of rf columns per data input.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    groups = [f"rf_{what}[{name}]" for name in table.inputs for what in ("size", "offset", "stride")]
    writer.writerow([*CSV_FIELDS, "output", *groups])
    for row in table.layers:
        record = layer_record(row)
        cells = [record[field] for field in CSV_FIELDS]
        cells.append(row.output_shapes[0] if row.output_shapes else None)
        for name in table.inputs:
            field = row.fields.get(name)
            cells += [None] * 3 if field is None else [field.size, field.offset, field.stride]
        writer.writerow(map(_cell, cells))
    return text.getvalue()


def _cell(value: Any) -> str:
    items = value if isinstance(value, (list, tuple)) else [value]
    texts = (f"{item:g}" if isinstance(item, float) else str(item) for item in items if item is not None)
    return printable(" ".join(texts))


def _list(values: tuple[int, ...] | None) -> list[int] | None:
    return None if values is None else list(values)
