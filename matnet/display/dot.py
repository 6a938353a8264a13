"""The graph of a network for Graphviz, in the format of MatConvNet's model2dot and DagNN.print."""

from __future__ import annotations

from collections.abc import Iterator

from matnet.display.table import NetworkTable, variable_bytes
from matnet.display.units import dims, memory
from matnet.shapes import Shape

VARIABLE_COLOUR, PARAM_COLOUR, LAYER_COLOUR = "beige", "lightsteelblue", "tomato"


def network_dot(table: NetworkTable) -> str:
    """A `digraph DagNN` with variables, params and layers as nodes; render it with `dot -Tsvg`.

    Node names are `var_<variable>`, `par_<param>` and `<layer>`, as upstream; sizes are H x W x C x N.
    """
    return "\n".join(["digraph DagNN {", "\tfontsize=12", *map("\t{}".format, _statements(table)), "}", ""])


def _statements(table: NetworkTable) -> Iterator[str]:
    for variable in table.variables:
        shape = variable.shape and (variable.shape[2], variable.shape[3], variable.shape[1], variable.shape[0])
        yield _node(f"var_{variable.name}", [variable.name, *_size(shape)], VARIABLE_COLOUR)
    for param in table.params:
        yield _node(f"par_{param.name}", [param.name, *_size(param.shape)], PARAM_COLOUR)
    for row in table.layers:
        yield _node(row.name, [row.name, row.full_type], LAYER_COLOUR)
        yield from (_edge(f"var_{name}", row.name, 10) for name in row.inputs)
        yield from (_edge(f"par_{name}", row.name, 1) for name in row.params)
        yield from (_edge(row.name, f"var_{name}", 10) for name in row.outputs)


def _size(shape: Shape | None) -> list[str]:
    return ["n/a", "NaN"] if shape is None else [dims(shape), memory(variable_bytes(shape) or 0)]


def _node(name: str, fields: list[str], colour: str) -> str:
    label = " | ".join(map(_record_field, fields))
    looks = f'shape=record style="filled" fillcolor="{colour}" fontname="Helvetica" fontsize=12'
    return f'{_quoted(name)} [label="{{{label}}}" {looks}]'


def _edge(tail: str, head: str, weight: int) -> str:
    return f"{_quoted(tail)} -> {_quoted(head)} [weight={weight}]"


def _quoted(name: str) -> str:
    """A double-quoted dot identifier: quotes and backslashes escaped, line breaks as spaces."""
    return '"' + _one_line(name).replace("\\", "\\\\").replace('"', '\\"') + '"'


def _record_field(text: str) -> str:
    """Text for a record label; escapes braces, bars and angle brackets."""
    return "".join(f"\\{character}" if character in '\\"{}|<> ' else character for character in _one_line(text))


def _one_line(text: str) -> str:
    return "".join(character if character.isprintable() else " " for character in text)
