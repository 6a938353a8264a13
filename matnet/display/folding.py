"""Folds repeated blocks of a network into single rows, so that the drawing of a deep network fits on a screen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from matnet.display.table import LayerRow, NetworkTable

LONGEST_PERIOD = 4  # parts per block
FEWEST_FOLDED = 8  # layers; shorter repetitions are not folded


def fold(table: NetworkTable) -> NetworkTable:
    """The table with each run of equal blocks reduced to its first block and one row of family `folded`.

    A block is connected to the rest of the network by a single variable at each end. Blocks are equal if their layers
    have the same types, settings, filters, output sizes and connections; names do not matter.
    """
    parts = _parts(table)
    keys = [_key(table.layers[start:end]) for start, end in parts]
    rows: list[LayerRow] = []
    at = 0
    while at < len(parts):
        period, repeats = _longest_run(keys, at)
        first_end = parts[at + period - 1][1]
        last_end = parts[at + period * repeats - 1][1]
        rows += table.layers[parts[at][0] : first_end]
        if repeats > 1 and last_end - first_end >= FEWEST_FOLDED:
            rows.append(_folded(table.layers[first_end:last_end], repeats - 1))
        else:
            rows += table.layers[first_end:last_end]
        at += period * repeats
    if len(rows) == len(table.layers):
        return table
    used = {name for row in rows for name in (*row.inputs, *row.outputs)}
    inside = {name for row in table.layers for name in row.outputs} - used
    return replace(table, layers=tuple(rows), variables=tuple(row for row in table.variables if row.name not in inside))


def _parts(table: NetworkTable) -> list[tuple[int, int]]:
    """The start and end of each part: the layers split wherever only one variable is read later."""
    last_read = {name: index for index, row in enumerate(table.layers) for name in row.inputs}
    live: set[str] = set()
    ends = []
    for index, row in enumerate(table.layers):
        live |= {name for name in (*row.inputs, *row.outputs) if last_read.get(name, -1) > index}
        live = {name for name in live if last_read[name] > index}
        if len(live) <= 1 and live <= set(row.outputs):
            ends.append(index + 1)
    if not ends or ends[-1] != len(table.layers):
        ends.append(len(table.layers))
    return list(zip([0, *ends], ends, strict=False))


def _key(rows: Sequence[LayerRow]) -> tuple[Any, ...]:
    """A key of everything but names, the same for equal parts."""
    numbers: dict[str, int] = {}
    key = []
    for row in rows:
        wires = tuple(
            tuple(numbers.setdefault(name, len(numbers)) for name in names) for names in (row.inputs, row.outputs)
        )
        looks = (row.full_type, row.filters, row.window, row.method, row.stride, row.pad, row.dilate, row.settings)
        key.append((looks, row.output_shapes, row.param_count, wires))
    return tuple(key)


def _longest_run(keys: Sequence[tuple[Any, ...]], at: int) -> tuple[int, int]:
    """Parts per block and repeats of the longest run that begins at `at`; prefers short blocks."""
    best = (1, 1)
    for period in range(1, LONGEST_PERIOD + 1):
        block, repeats = keys[at : at + period], 1
        while keys[at + period * repeats : at + period * (repeats + 1)] == block and len(block) == period:
            repeats += 1
        if repeats > 1 and period * repeats > best[0] * best[1]:
            best = (period, repeats)
    return best


def _folded(rows: Sequence[LayerRow], blocks: int) -> LayerRow:
    """One row for `blocks` equal blocks."""
    made = {name for row in rows for name in row.outputs}
    inputs = tuple(dict.fromkeys(name for row in rows for name in row.inputs if name not in made))
    adds = [row.multiply_adds for row in rows]
    each = len(rows) // blocks
    return replace(
        rows[-1],
        name=f"the same, {blocks} times more" if blocks > 1 else "the same, once more",
        full_type=f"{blocks} x {each} layers, {rows[0].name} to {rows[-1].name}",
        inputs=inputs,
        params=tuple(dict.fromkeys(name for row in rows for name in row.params)),
        filters=None,
        window=None,
        method="",
        stride=None,
        pad=None,
        dilate=None,
        settings="",
        param_count=sum(row.param_count for row in rows),
        multiply_adds=None if None in adds else sum(add or 0 for add in adds),
        family="folded",
        unknown=False,
        training_only=False,
    )
