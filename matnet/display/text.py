"""The table of a network as text for a terminal: one row per layer, and the totals."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from textwrap import wrap

from matnet.display.markup import clipped
from matnet.display.table import LayerRow, NetworkTable
from matnet.display.units import BYTES_PER_ELEMENT, count, dims, memory
from matnet.shapes import ReceptiveField, Shape
from matnet.tables import Table

UNKNOWN = "?"
REDUCTIONS = (
    ("rf offset", 0), ("rf stride", 0), ("data mem", 0), ("pad", 0), ("rf size", 0), ("inputs", 20), ("stride", 0),
    ("mult-adds", 0), ("inputs", 12), ("params", 0), ("inputs", 0), ("layer", 24), ("filter", 12), ("layer", 12),
)  # fmt: skip
"""Steps to narrow a table that is too wide: a column, and the maximum length of its cells (0 drops the column)."""
LONGEST_INPUTS = 60  # characters; longer lists of inputs are shortened in the middle

Column = tuple[str, Callable[[LayerRow], str]]


def table_text(table: NetworkTable, width: int | None = None) -> str:
    """One row per layer with the columns that this network needs; sizes as H x W x C x N, `?` where unknown.

    width: the width of the terminal. REDUCTIONS are applied until the table fits; its last lines list the omitted
    columns. None: the whole table.
    """
    columns = layer_columns(table)
    text, left_out = _text(table, columns), []
    for heading, length in REDUCTIONS if width is not None else ():
        if _fits(text, width):
            break
        concerned = [name for name, _ in columns if name.startswith(heading)]
        left_out += [] if length else concerned
        columns = [
            (name, _shortened(render, length) if name in concerned else render)
            for name, render in columns
            if length or name not in concerned
        ]
        text = _text(table, columns)
    if left_out:
        note = f"omitted to fit {width} columns: {', '.join(left_out)}; to see all, pipe the output or use --format csv"
        text = "\n".join([text, "", *wrap(note, width or len(note), break_on_hyphens=False)])
    return text


def _fits(text: str, width: int | None) -> bool:
    return width is None or len(text.split("\n", 1)[0]) <= width


def _shortened(render: Callable[[LayerRow], str], length: int) -> Callable[[LayerRow], str]:
    return lambda row: clipped(render(row), length)


def _text(table: NetworkTable, columns: Sequence[Column]) -> str:
    rows = [[render(row) for _, render in columns] for row in table.layers]
    right = {"#", "output", "data mem", "params", "mult-adds"}
    headings = [heading for heading, _ in columns]
    right |= {heading for heading in headings if heading.startswith("rf")}
    return Table.of(headings, rows, right).text()


def totals(table: NetworkTable) -> list[tuple[str, str]]:
    """Memory of params and data, and multiply-adds, as labels and texts with the number of layers not counted."""
    missing = f"{len(table.unsized)} layers of unknown size not counted" if table.unsized else ""
    sized = not table.layers or len(table.unsized) < len(table.layers)
    data, work = (memory(table.data_bytes), count(table.multiply_adds)) if sized else (UNKNOWN, UNKNOWN)
    return [
        ("parameter memory", _parameter_memory(table)),
        ("data memory", f"{data} (for batch size {table.batch}{f'; {missing}' if missing else ''})"),
        ("multiply-adds", f"{work} ({missing})" if missing else work),
    ]


def _parameter_memory(table: NetworkTable) -> str:
    missing = f"{len(table.valueless)} params without values not counted"
    if table.valueless and not table.param_count:
        return f"{UNKNOWN} ({missing})"
    counted = f"{table.param_count:.2g} parameters{f'; {missing}' if table.valueless else ''}"
    return f"{memory(BYTES_PER_ELEMENT * table.param_count)} ({counted})"


def layer_columns(table: NetworkTable) -> list[Column]:
    """Headers and cell functions, without empty columns.

    Inputs equal to the outputs of the row above are not repeated.
    """
    follows = {
        row.index for above, row in zip(table.layers, table.layers[1:], strict=False) if row.inputs == above.outputs
    }
    wanted: list[Column] = [
        ("#", lambda row: str(row.index)),
        ("layer", lambda row: row.name),
        ("type", lambda row: f"{row.type} (unknown)" if row.unknown else row.type),
        *([] if is_chain(table) else [("inputs", lambda row: _inputs_text(row, row.index in follows))]),
        ("filter", filter_text),
        ("stride", lambda row: _unless((1, 1), row.stride)),
        ("pad", lambda row: _unless((0, 0, 0, 0), row.pad)),
        *_field_columns(table),
        ("output", lambda row: ", ".join(map(size_text, row.output_shapes))),
        ("data mem", lambda row: UNKNOWN if row.data_bytes is None else memory(row.data_bytes)),
        ("params", lambda row: count(row.param_count) if row.param_count else ""),
        ("mult-adds", _multiply_adds_text),
    ]
    return [(header, render) for header, render in wanted if any(render(row) for row in table.layers)]


def _inputs_text(row: LayerRow, follows: bool) -> str:
    return "" if follows else clipped(", ".join(row.inputs), LONGEST_INPUTS)


def is_chain(table: NetworkTable) -> bool:
    """Whether every layer reads the output of the layer before it, which makes a column of inputs unnecessary."""
    pairs = zip(table.layers, table.layers[1:], strict=False)
    return all(row.outputs[:1] == following.inputs[:1] for row, following in pairs)


def filter_text(row: LayerRow) -> str:
    """Filters, window and settings of a layer: `11x11x3x96`, `max 3x3`, `leak 0.1`; may be empty."""
    parts = []
    if row.filters:
        parts.append("x".join(map(str, row.filters)))
    elif row.window:
        parts.append(f"{row.method} {'x'.join(map(str, row.window))}".strip())
    if row.dilate and row.dilate != (1, 1):
        parts.append(f"dilate {dims(row.dilate)}")
    if row.settings:
        parts.append(row.settings)
    return ", ".join(parts)


def size_text(shape: Shape | None) -> str:
    """N x C x H x W as MatConvNet's H x W x C x N; `?` where unknown.

    >>> size_text((10, 3, 224, 227))
    '224x227x3x10'
    """
    return UNKNOWN if shape is None else "x".join(str(shape[axis]) for axis in (2, 3, 1, 0))


def _unless(usual: tuple[int, ...], values: tuple[int, ...] | None) -> str:
    return "" if values is None or values == usual else dims(values)


def _multiply_adds_text(row: LayerRow) -> str:
    if row.multiply_adds is None:
        return UNKNOWN
    return count(row.multiply_adds) if row.multiply_adds else ""


def _field_columns(table: NetworkTable) -> Iterable[Column]:
    """Columns for the size, offset and stride of the receptive field in every data input that has fields."""
    seen = [name for name in table.inputs if any(row.fields.get(name) for row in table.layers)]
    for name in seen:
        suffix = f" ({name})" if len(seen) > 1 else ""
        for what in ("size", "offset", "stride"):
            yield f"rf {what}{suffix}", _field_cell(name, what)


def _field_cell(name: str, what: str) -> Callable[[LayerRow], str]:
    def cell(row: LayerRow) -> str:
        if name not in row.fields:
            return ""
        field: ReceptiveField | None = row.fields[name]
        if field is None:
            return "" if row.training_only else UNKNOWN
        return dims(getattr(field, what))

    return cell
