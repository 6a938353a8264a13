"""The tables of vl_simplenn_display and DagNN.print, reproduced exactly: a column per layer, 18 per block."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from matnet.display.markup import latex_escaped, printable
from matnet.display.table import LayerRow, NetworkTable, variable_bytes
from matnet.display.units import BYTES_PER_ELEMENT, dims, memory, number
from matnet.shapes import ReceptiveField, Shape

MAX_COLUMNS = 18
RULE = "-"  # a cell drawn as a separator as wide as its column
ABBREVIATIONS = {"normalize": "norm", "softmax": "softmx", "softmaxloss": "softmxl"}
NAN = float("nan")

Column = list[str]
Writer = Callable[[Sequence[Column]], str]


def matconvnet_text(table: NetworkTable, latex: bool = False) -> str:
    """MatConvNet's output for this network: vl_simplenn_display for a SimpleNN, DagNN.print for any other.

    latex: each block as a tabular, as with their option `format`. The layout and the numbers are the same, except
    numbers after a convolution transpose and for grouped ones, which are wrong in MatConvNet (see `network_table`).
    """
    write = _latex_block if latex else _block
    return _simplenn_text(table, write) if table.simplenn else _dagnn_text(table, write)


def blocks(write: Writer, header: Column, columns: Sequence[Column]) -> str:
    """Blocks of at most `MAX_COLUMNS` right-aligned columns, each with the header column."""
    starts = range(0, len(columns), MAX_COLUMNS)
    return "".join(write([header, *columns[start : start + MAX_COLUMNS]]) for start in starts)


def _block(columns: Sequence[Column]) -> str:
    widths = [max(len(printable(cell)) for cell in column) for column in columns]
    lines = []
    for cells in zip(*columns, strict=True):
        pairs = zip(map(printable, cells), widths, strict=True)
        lines.append("".join(f"{RULE * width if cell == RULE else cell.rjust(width)}|" for cell, width in pairs) + "\n")
    return "".join(lines)


def _latex_block(columns: Sequence[Column]) -> str:
    lines = [f"\\begin{{tabular}}{{{'r' * len(columns)}}}"]
    for cells in zip(*columns, strict=True):
        if cells[0] == RULE:
            lines.append("\\hline")
        else:
            lines.append(" & ".join(latex_escaped(printable(cell)) for cell in cells) + r" \\")
    return "\n".join([*lines, "\\end{tabular}", ""])


# -- vl_simplenn_display ----------------------------------------------------------------------------

SIMPLENN_HEADER = [
    *("layer", "type", "name", RULE),
    *("support", "filt dim", "filt dilat", "num filts", "stride", "pad", RULE),
    *("rf size", "rf offset", "rf stride", RULE),
    *("data size", "data depth", "data num", RULE),
    *("data mem", "param mem"),
]


def _simplenn_text(table: NetworkTable, write: Writer) -> str:
    source = table.inputs[0] if table.inputs else ""
    sizes = _data_sizes(table, source)
    filler = ["n/a"] * 6 + [RULE] + ["n/a"] * 3
    columns = [["0", "input", "n/a", RULE, *filler, RULE, *_data_cells(sizes[0]), RULE, _data_memory(sizes[0]), "n/a"]]
    for row, size in zip(table.layers, sizes[1:], strict=True):
        columns.append(_simplenn_column(row, row.fields.get(source), size))
    data = sum(BYTES_PER_ELEMENT * math.prod(size) for size in sizes)
    return blocks(write, SIMPLENN_HEADER, columns) + write(
        [
            ["parameter memory", "data memory"],
            [
                f"{memory(BYTES_PER_ELEMENT * table.param_count)} ({table.param_count:.2g} parameters)",
                f"{memory(data)} (for batch size {sizes[0][3]:.0f})",
            ],
        ]
    )


def _data_sizes(table: NetworkTable, source: str) -> list[Sequence[float]]:
    """[H W C N] of the input and after each layer; unknown numbers are NaN, as upstream."""
    shapes: list[Shape | None] = [table.shapes.get(source), *(row.output_shapes[0] for row in table.layers)]
    depth = NAN
    sizes: list[Sequence[float]] = []
    for row, shape in zip([None, *table.layers], shapes, strict=True):
        depth = NAN if row is None or row.unknown else row.filters[3] if row.type == "Conv" and row.filters else depth
        sizes.append((NAN, NAN, depth, table.batch) if shape is None else (*shape[2:], shape[1], shape[0]))
    return sizes


def _simplenn_column(row: LayerRow, field: ReceptiveField | None, size: Sequence[float]) -> Column:
    bank = row.filters if row.type == "Conv" else None
    filters = [number(bank[2]), dims(row.dilate or (1, 1)), number(bank[3])] if bank else ["n/a"] * 3
    seen = (field.size, field.offset, field.stride) if field else ((NAN, NAN),) * 3
    return [
        *(str(row.index), _abbreviation(row), row.name, RULE),
        *(dims(row.support), *filters, dims(row.stride or (1, 1)), dims(row.pad or (0, 0, 0, 0)), RULE),
        *(dims(seen[0]), dims(seen[1]), dims(seen[2]), RULE),
        *(*_data_cells(size), RULE),
        *(_data_memory(size), memory(BYTES_PER_ELEMENT * row.param_count)),
    ]


def _abbreviation(row: LayerRow) -> str:
    if row.kind == "pool":
        return "apool" if row.method == "avg" else "mpool"
    return ABBREVIATIONS.get(row.kind, row.kind)


def _data_cells(size: Sequence[float]) -> Column:
    return [dims(size[:2]), *("NaN" if math.isnan(value) else f"{value:d}" for value in size[2:])]


def _data_memory(size: Sequence[float]) -> str:
    return memory(BYTES_PER_ELEMENT * math.prod(size))


# -- DagNN.print ------------------------------------------------------------------------------------


FUNCTION_HEADER = ["func", RULE, "type", "inputs", "outputs", "params", "pad", "stride"]


def _dagnn_text(table: NetworkTable, write: Writer) -> str:
    parts = [
        blocks(write, FUNCTION_HEADER, [_function(row) for row in table.layers]),
        blocks(
            write,
            ["param", RULE, "dims", "mem", "fanout"],
            [[row.name, RULE, *_dims_and_memory(row.shape), str(row.fanout)] for row in table.params],
        ),
        blocks(
            write,
            ["var", RULE, "dims", "mem", "fanin", "fanout"],
            [
                [row.name, RULE, *_dims_and_memory(_matlab_order(row.shape)), str(row.fanin), str(row.fanout)]
                for row in table.variables
            ],
        ),
        _memory_block(table, write),
        *(_dependencies(table, source, write) for source in table.inputs),
    ]
    return "\n".join(part for part in parts if part)


def _function(row: LayerRow) -> Column:
    return [
        *(row.name, RULE, row.type, " ".join(row.inputs), " ".join(row.outputs), " ".join(row.params)),
        "n/a" if row.pad is None else dims(row.pad),
        "n/a" if row.stride is None else dims(row.stride),
    ]


def _matlab_order(shape: Shape | None) -> Shape | None:
    return None if shape is None else (shape[2], shape[3], shape[1], shape[0])


def _dims_and_memory(shape: Shape | None) -> Column:
    return ["n/a", "NaN"] if shape is None else [dims(shape), memory(variable_bytes(shape) or 0)]


def _memory_block(table: NetworkTable, write: Writer) -> str:
    params, data = BYTES_PER_ELEMENT * table.param_count, table.data_bytes
    return write([["params", "vars", "total"], [memory(params), memory(data), memory(params + data)]])


def _dependencies(table: NetworkTable, source: str, write: Writer) -> str:
    columns = []
    for row in table.layers:
        for name in row.outputs:
            field = row.fields.get(source)
            seen = ["n/a"] * 3 if field is None else [dims(field.size), dims(field.stride), dims(field.offset)]
            columns.append([name, RULE, *seen])
    return blocks(write, [f"rf in {source!r}", RULE, "size", "stride", "offset"], columns)
