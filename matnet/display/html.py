"""A network as an HTML table, for notebooks."""

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

NUMERIC = ("#", "rf", "output", "data mem", "params", "mult-adds")  # prefixes of the headers of right-aligned columns

# Styles are inline: JupyterLab's table rules override a <style> element, and it removes that element from untrusted
# notebooks. Text colours come from the page, for light and dark themes.
TABLE = ' style="border-collapse:collapse;margin:0.4em 0;font-size:13px"'
LINE = "padding:2px 9px;border-bottom:1px solid rgba(128,128,128,0.25);vertical-align:top"
TEXT = f' style="{LINE};text-align:left;max-width:26em;white-space:normal;overflow-wrap:anywhere;word-break:break-word"'
NUMBER = f' style="{LINE};text-align:right;white-space:nowrap"'


def network_to_html(net: Network) -> str:
    """A self-contained HTML fragment: the summary, a row per layer, the totals.

    For a network that cannot be analysed, such as one with a cycle, it has the reason and the list of layers.
    """
    try:
        table = network_table(net)
        body = [_pairs([*summary(net, table), *totals(table)]), _layer_table(table)]
    except MatnetError as error:
        body = [f"<div>{'<br>'.join(map(escaped, str(error).splitlines()))}</div>", _bare_table(net)]
    return "\n".join([f'<div class="matnet"><div><b>{escaped(display_name(net))}</b></div>', *body, "</div>"])


def _pairs(pairs: Iterable[tuple[str, str]]) -> str:
    rows = "\n".join(_row("td", [TEXT, TEXT], [escaped(label), escaped(text)]) for label, text in pairs)
    return f"<table{TABLE}>\n{rows}\n</table>"


def _layer_table(table: NetworkTable) -> str:
    columns = layer_columns(table)
    looks = [NUMBER if header.startswith(NUMERIC) else TEXT for header, _ in columns]
    lines = [_row("th", looks, [escaped(header) for header, _ in columns])]
    for row in table.layers:
        cells = [(_mark(row) if header == "type" else "") + escaped(render(row)) for header, render in columns]
        lines.append(_row("td", looks, cells))
    return _scrolling(lines)


def _row(tag: str, looks: Sequence[str], cells: Sequence[str]) -> str:
    inside = "".join(f"<{tag}{look}>{cell}</{tag}>" for look, cell in zip(looks, cells, strict=True))
    return f"<tr>{inside}</tr>"


def _scrolling(rows: Sequence[str]) -> str:
    return "\n".join([f'<div style="max-height:40em;overflow:auto"><table{TABLE}>', *rows, "</table></div>"])


def _mark(row: LayerRow) -> str:
    """A mark in the colour of the layer's family, as in the drawing."""
    fill, stroke = COLOURS[family(row)]
    return f'<span style="background-color:{fill};border:1px solid {stroke};padding:0 0.3em;margin-right:0.5em"></span>'


def _bare_table(net: Network) -> str:
    lines = [_row("th", [TEXT] * 4, ["layer", "type", "inputs", "outputs"])]
    for layer in net.layers.values():
        texts = [layer.name, layer.type_name, ", ".join(layer.inputs), ", ".join(layer.outputs)]
        lines.append(_row("td", [TEXT] * 4, [escaped(text) for text in texts]))
    return _scrolling(lines)
