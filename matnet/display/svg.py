"""Draws the graph of a network as SVG, without other programs or fonts."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from matnet.display.folding import fold
from matnet.display.layered import DrawnBox, Wire
from matnet.display.markup import clipped, escaped
from matnet.display.routing import Layout, Place, draw
from matnet.display.table import LayerRow, NetworkTable
from matnet.display.text import filter_text, size_text
from matnet.display.units import BYTES_PER_ELEMENT, count, dims, memory
from matnet.errors import NetworkError
from matnet.shapes import Shape

NAME_SIZE, DETAIL_SIZE, LABEL_SIZE = 12.0, 10.5, 9.5
LINE_HEIGHT = 14.0
PADDING = 8.0
MARGIN = 20.0
HEADING = 34.0
SMALLEST_WIDTH = 76.0
MOST_REPEATED = 10_000  # additional wires of variables with several writers
LONGEST_NAME, LONGEST_DETAIL = 32, 52  # characters; the tooltip has the full text

# Fill and outline by family of layers (`Op.family`), and of variables.
COLOURS = {
    "convolution": ("#dde9f8", "#4a78b5"),
    "pooling": ("#def1e0", "#4c9257"),
    "activation": ("#fdf0d4", "#c08a1e"),
    "normalisation": ("#ebe3f5", "#8262ad"),
    "joining": ("#d9f0f1", "#34909a"),
    "result": ("#fbe1de", "#c0564b"),
    "unknown": ("#ffffff", "#c0564b"),
    "other": ("#efefef", "#777777"),
    "folded": ("#f7f7f7", "#999999"),
    "variable": ("#ffffff", "#555555"),
}


@dataclass(frozen=True)
class _Node:
    """A layer, or an input or output variable of the network: its lines of text and its style."""

    name: str  # in full
    css: str  # layer or variable
    lines: tuple[str, ...]  # the first is the name
    family: str
    tooltip: str


def network_svg(table: NetworkTable, heading: str = "network", unfold: bool = False) -> str:
    """The drawing as one SVG document: layers as boxes, variables as wires labelled H x W x C (x N).

    Each layer is one `<g class="layer">`; inputs and outputs of the network are `<g class="variable">`. Unless
    `unfold`, repetitions of a block are one `<g class="layer">` after the first.
    """
    whole, table = table, table if unfold else fold(table)
    nodes, wires, variables = _graph(table)
    labels = [_size_label(table, name) for name in variables]
    leaving: dict[int, list[str]] = {}
    for wire, label in zip(wires, labels, strict=True):
        leaving.setdefault(wire.source, []).append(label)
    drawing = draw([_box(node, leaving.get(index, [])) for index, node in enumerate(nodes)], wires)
    caption = f"{heading}: {len(whole.layers)} layers, {totals_caption(whole)}"
    width = 2 * MARGIN + max(drawing.width, text_width(caption, NAME_SIZE))
    height = 2 * MARGIN + HEADING + drawing.height
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" class="matnet-graph" font-family="Helvetica, Arial, sans-serif">',
        f"<title>{escaped(heading)}</title>",
        STYLE,
        f'<rect width="{width:.0f}" height="{height:.0f}" fill="#ffffff"/>',
        f'<text x="{MARGIN:g}" y="{MARGIN + NAME_SIZE:g}" font-size="{NAME_SIZE:g}">{escaped(caption)}</text>',
        f'<g transform="translate({MARGIN:g} {MARGIN + HEADING:g})">',
        *_wire_elements(drawing, variables, labels),
        *(_node_element(node, place) for node, place in zip(nodes, drawing.places, strict=True)),
        "</g>\n</svg>\n",
    ]
    return "\n".join(parts)


def family(row: LayerRow) -> str:
    """The family that determines the colour of a row: a key of COLOURS."""
    return row.family if row.family in COLOURS else "other"


def totals_caption(table: NetworkTable) -> str:
    """Params, their memory and multiply-adds in one line."""
    parts = [f"{count(table.param_count)} parameters ({memory(BYTES_PER_ELEMENT * table.param_count)})"]
    if table.multiply_adds:
        batch = f" for batch size {table.batch}" if table.batch != 1 else ""
        parts.append(f"{count(table.multiply_adds)} multiply-adds{batch}")
    return ", ".join(parts)


STYLE = """<style>
.matnet-graph .wire { fill: none; stroke: #8a8f98; stroke-width: 1.3; }
.matnet-graph .size { font-size: 9.5px; fill: #5b616b; paint-order: stroke; stroke: #ffffff; stroke-width: 3px; }
.matnet-graph .name { font-size: 12px; font-weight: bold; fill: #222222; text-anchor: middle; }
.matnet-graph .detail { font-size: 10.5px; fill: #555555; text-anchor: middle; }
</style>
<defs><marker id="matnet-arrow" viewBox="0 0 8 8" refX="7.5" refY="4" markerWidth="6" markerHeight="6" orient="auto">
<path d="M0 0.5L8 4L0 7.5z" fill="#8a8f98"/></marker></defs>"""


# -- from the table to nodes and wires ---------------------------------------------------------------


def _graph(table: NetworkTable) -> tuple[list[_Node], list[Wire], list[str]]:
    """Nodes (layers first, in file order), wires, and the variable of each wire.

    Raises NetworkError if variables with several writers need too many wires: one per writer and reader.
    """
    nodes = [_layer_node(row) for row in table.layers]
    writers: dict[str, list[int]] = {}
    readers: dict[str, list[int]] = {}
    for index, row in enumerate(table.layers):
        for name in dict.fromkeys(row.outputs):
            writers.setdefault(name, []).append(index)
        for name in dict.fromkeys(row.inputs):
            readers.setdefault(name, []).append(index)
    repeated = sum((len(sources) - 1) * len(readers.get(name, [])) for name, sources in writers.items())
    if repeated > MOST_REPEATED:
        raise NetworkError(
            f"the network cannot be drawn: variables with several writers need {repeated:,} additional wires; expected "
            f"at most {MOST_REPEATED:,}"
        )
    wires, variables = [], []
    for variable in table.variables:
        name = variable.name
        sources, targets = writers.get(name, []), readers.get(name, [])
        if not sources or not targets:
            nodes.append(_variable_node(name, variable.shape))
            sources, targets = sources or [len(nodes) - 1], targets or [len(nodes) - 1]
        for source in sources:
            wires.append(Wire(source, tuple(targets)))
            variables.append(name)
    return nodes, wires, variables


def _layer_node(row: LayerRow) -> _Node:
    detail = [f"{row.type} {filter_text(row)}".strip()]
    if row.stride and row.stride != (1, 1):
        detail.append(f"stride {dims(row.stride)}")
    if row.pad and any(row.pad):
        detail.append(f"pad {dims(row.pad)}")
    lines = [clipped(row.name, LONGEST_NAME), clipped(", ".join(detail), LONGEST_DETAIL)]
    if row.param_count:
        lines.append(f"{count(row.param_count)} params")
    if row.unknown:
        lines.append("unknown type")
    sizes = ", ".join(map(size_text, row.output_shapes))
    return _Node(row.name, "layer", tuple(lines), family(row), f"{row.name}: {', '.join(detail)}; output {sizes}")


def _variable_node(name: str, shape: Shape | None) -> _Node:
    return _Node(name, "variable", (clipped(name, LONGEST_NAME),), "variable", f"{name}: {size_text(shape)}")


def _size_label(table: NetworkTable, variable: str) -> str:
    shape = table.shapes[variable]
    if shape is None:
        return ""
    batch = (shape[0],) if shape[0] != 1 else ()
    return "x".join(map(str, (shape[2], shape[3], shape[1], *batch)))


def _box(node: _Node, labels: Sequence[str]) -> DrawnBox:
    """A box wide enough for the node's text, and for the labels of its wires below."""
    sizes = [NAME_SIZE, *[DETAIL_SIZE] * (len(node.lines) - 1)]
    inside = max(text_width(line, size) for line, size in zip(node.lines, sizes, strict=True)) + 2 * PADDING
    under = len(labels) * 2 * max((text_width(label, LABEL_SIZE) + PADDING for label in labels), default=0.0)
    return DrawnBox(max(inside, under, SMALLEST_WIDTH), LINE_HEIGHT * len(node.lines) + PADDING)


def text_width(text: str, size: float) -> float:
    """An upper bound of the width of `text` in bold sans-serif of `size` pixels, for any viewer's font.

    The widths are those of DejaVu Sans Bold, which is wider than Arial, Helvetica and Segoe UI.
    """
    return size * sum(_character_width(character) for character in text)


def _character_width(character: str) -> float:
    if character in "iljI.,:;'|!()[] /-ftr":
        return 0.5
    if character in "mwMW@%" or unicodedata.east_asian_width(character) in "WF" or ord(character) > 0x2E7F:
        return 1.11
    return 0.85 if character.isupper() else 0.74


# -- drawing -----------------------------------------------------------------------------------------


def _wire_elements(drawing: Layout, variables: Sequence[str], labels: Sequence[str]) -> list[str]:
    parts = []
    for route in drawing.routes:
        arrow = ' marker-end="url(#matnet-arrow)"' if route.ends else ""
        title = f"<title>{escaped(variables[route.wire])}</title>"
        parts.append(f'<path class="wire" d="{route.path}"{arrow}>{title}</path>')
    for (x, y), label in zip(drawing.starts, labels, strict=True):
        if label:
            parts.append(f'<text class="size" x="{x + 5:.1f}" y="{y + 12:.1f}">{label}</text>')
    return parts


def _node_element(node: _Node, place: Place) -> str:
    fill, stroke = COLOURS[node.family]
    round_corner = place.height / 2 if node.css == "variable" else 4
    dashes = ' stroke-dasharray="5 3"' if node.family in ("unknown", "folded") else ""
    middle = place.left + place.width / 2
    parts = [
        f'<g class="{node.css}" data-name="{escaped(node.name)}"><title>{escaped(node.tooltip)}</title>',
        f'<rect x="{place.left:.1f}" y="{place.top:.1f}" width="{place.width:.1f}" height="{place.height:.1f}" '
        f'rx="{round_corner:g}" fill="{fill}" stroke="{stroke}"{dashes}/>',
    ]
    for number, line in enumerate(node.lines):
        y = place.top + PADDING / 2 + LINE_HEIGHT * number + 11
        looks = "name" if number == 0 else "detail"
        parts.append(f'<text class="{looks}" x="{middle:.1f}" y="{y:.1f}">{escaped(line)}</text>')
    return "\n".join([*parts, "</g>"])
