"""A network as an HTML table, which is how it shows itself in a notebook."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from matnet.display.markup import escaped
from matnet.display.summary import summary
from matnet.display.svg import COLOURS, family
from matnet.display.table import LayerRow, NetworkTable, network_table
from matnet.display.text import layer_columns, totals
from matnet.errors import MatnetError
from matnet.meta import display_name
from matnet.network import Network

NUMERIC = ("#", "rf", "output", "data mem", "params", "mult-adds")  # headers of right-aligned columns begin so

# Colours come from the page, so that the table suits light and dark notebooks.
STYLE = """<style>
.matnet { font-size: 13px; }
.matnet .rows { max-height: 40em; overflow: auto; }
.matnet table { border-collapse: collapse; margin: 0.4em 0; color: inherit; font-size: inherit; }
.matnet th, .matnet td { padding: 2px 9px; text-align: left; white-space: nowrap; }
.matnet th, .matnet td { border-bottom: 1px solid rgba(128, 128, 128, 0.25); }
.matnet th.n, .matnet td.n { text-align: right; font-variant-numeric: tabular-nums; }
.matnet .mark { display: inline-block; width: 0.7em; height: 0.7em; margin-right: 0.5em; border-radius: 2px; }
</style>"""


def network_to_html(net: Network) -> str:
    """A self-contained HTML fragment: what the network is, a row per layer, the totals.

    A network that cannot be analysed, such as one with a cycle, is shown by its layers and the reason.
    """
    try:
        table = network_table(net)
        body = [_pairs([*summary(net, table), *totals(table)]), _layer_table(table)]
    except MatnetError as error:
        body = [f"<div>{_lines(str(error))}</div>", _bare_table(net)]
    return "\n".join([STYLE, f'<div class="matnet"><div><b>{escaped(display_name(net))}</b></div>', *body, "</div>"])


def _pairs(pairs: Iterable[tuple[str, str]]) -> str:
    rows = "\n".join(f"<tr><td>{escaped(label)}</td><td>{escaped(text)}</td></tr>" for label, text in pairs)
    return f"<table>\n{rows}\n</table>"


def _layer_table(table: NetworkTable) -> str:
    columns = layer_columns(table)
    looks = [' class="n"' if header.startswith(NUMERIC) else "" for header, _ in columns]
    lines = [_row("th", looks, [escaped(header) for header, _ in columns])]
    for row in table.layers:
        cells = [(_mark(row) if header == "type" else "") + escaped(render(row)) for header, render in columns]
        lines.append(_row("td", looks, cells))
    return _scrolling(lines)


def _row(tag: str, looks: Sequence[str], cells: Sequence[str]) -> str:
    inside = "".join(f"<{tag}{css}>{cell}</{tag}>" for css, cell in zip(looks, cells, strict=True))
    return f"<tr>{inside}</tr>"


def _scrolling(rows: Sequence[str]) -> str:
    return "\n".join(['<div class="rows"><table>', *rows, "</table></div>"])


def _mark(row: LayerRow) -> str:
    """A patch in the colour of the layer's family, as in the drawing."""
    fill, stroke = COLOURS[family(row)]
    return f'<span class="mark" style="background:{fill};border:1px solid {stroke}"></span>'


def _bare_table(net: Network) -> str:
    lines = [_row("th", [""] * 4, ["layer", "type", "inputs", "outputs"])]
    for layer in net.layers.values():
        texts = [layer.name, layer.type_name, ", ".join(layer.inputs), ", ".join(layer.outputs)]
        lines.append(_row("td", [""] * 4, [escaped(text) for text in texts]))
    return _scrolling(lines)


def _lines(text: str) -> str:
    return "<br>".join(map(escaped, text.splitlines()))
