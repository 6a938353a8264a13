"""Work grows in proportion to the size of its input: lines of matnet that run for n and for 2 n parts."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest

import matnet
from matnet.display.svg import network_svg
from matnet.display.table import network_table
from matnet.formats.mat import write_mat
from matnet.formats.mat.values import Cell, StructArray
from matnet.formats.onnx import to_onnx_model

MATNET = str(Path(matnet.__file__).parent)
SIZE = np.array([[8.0, 8, 3, 1]])
PARTS = 40
MOST = 2.4
"""Twice the parts take twice the lines, and a little more where there are levels or a logarithm."""


def lines_run(action: Callable[[], object]) -> int:
    """How many lines of matnet's own modules an action runs; the passes of a comprehension count as lines."""
    count = 0

    def line(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal count
        count += 1
        return line

    def call(frame: FrameType, event: str, argument: Any) -> Any:
        return line if frame.f_code.co_filename.startswith(MATNET) else None

    before = sys.gettrace()
    sys.settrace(call)
    try:
        action()
    finally:
        sys.settrace(before)
    return count


def names(*given: str) -> Cell:
    return Cell(given)


def chain(parts: int, **fields: Any) -> dict[str, Any]:
    layers = [{"type": "relu", "name": f"a{i}", **fields} for i in range(parts)]
    return {"layers": Cell(layers), "meta": {"inputSize": SIZE}}


def graph(layers: list[dict[str, Any]], kind: str = "dagnn.Sum") -> dict[str, Any]:
    rows = [{"type": kind, "params": Cell(), "block": {}, **layer} for layer in layers]
    fields = ("name", "type", "inputs", "outputs", "params", "block")
    return {
        "layers": StructArray(rows, fields=fields),
        "vars": StructArray([], fields=("name",)),
        "params": StructArray([], fields=("name",)),
        "meta": {"inputs": StructArray([{"name": "x", "size": SIZE}, {"name": "x0", "size": SIZE}])},
    }


def wide(parts: int) -> dict[str, Any]:
    """Every layer reads the network's input, and is an output."""
    return graph([{"name": f"a{i}", "inputs": names("x", "x"), "outputs": names(f"y{i}")} for i in range(parts)])


def many_inputs(parts: int) -> dict[str, Any]:
    layers = [{"name": f"a{i}", "inputs": names(f"x{i}", f"z{i}"), "outputs": names(f"y{i}")} for i in range(parts)]
    stated = [{"name": f"{letter}{i}", "size": SIZE} for i in range(parts) for letter in "xz"]
    return {**graph(layers), "meta": {"inputs": StructArray(stated)}}


def dense(parts: int) -> dict[str, Any]:
    """Every layer reads what the four before it wrote."""
    layers = [
        {"name": f"a{i}", "inputs": names(*(f"x{max(0, i - k)}" for k in range(4))), "outputs": names(f"x{i + 1}")}
        for i in range(parts)
    ]
    return graph(layers)


def losses(parts: int) -> dict[str, Any]:
    layers = [
        {"name": f"a{i}", "inputs": names("x", "label"), "outputs": names(f"y{i}"), "block": {"loss": "softmaxlog"}}
        for i in range(parts)
    ]
    return graph(layers, "dagnn.Loss")


FILES = {
    "chain": chain,
    "equal names": partial(chain, name="a"),
    "losses": losses,
    "wide": wide,
    "many inputs": many_inputs,
    "dense": dense,
}
USES: dict[str, Callable[[Any, Path], object]] = {
    "table": lambda net, path: network_table(net),
    "drawing": lambda net, path: network_svg(network_table(net)),
    "save": lambda net, path: matnet.save(net, path.with_name("again.mat"), format="dagnn"),
    "plan": lambda net, path: net.compile(backend="numpy"),
    "onnx": lambda net, path: to_onnx_model(net),
}


@pytest.mark.parametrize("shape", FILES)
def test_a_network(shape: str, tmp_path: Path) -> None:
    """Loaded, as a table, drawn, saved, planned, written as ONNX."""
    counts: dict[str, list[int]] = {what: [] for what in ("load", *USES)}
    for parts in (3, PARTS, 2 * PARTS):  # the first run imports what it needs
        path = tmp_path / f"{parts}.mat"
        write_mat(path, FILES[shape](parts))
        counts["load"].append(lines_run(partial(matnet.load, path)))
        net = matnet.load(path)
        for what, use in USES.items():
            counts[what].append(lines_run(partial(use, net, path)))
    growth = {what: round(large / small, 2) for what, (_, small, large) in counts.items()}
    assert max(growth.values()) < MOST, (growth, counts)
