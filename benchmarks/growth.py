"""`python -m matnet.benchmarks.growth`: how the time of loading, tables, drawings and conversions grows with the input.

Every subject is an input of n parts and an action: networks of n layers with various graphs, prototxts, a caffemodel, a
model card, lists of images. The ratio of the processor times for 2 n and n parts is 2 if the work is linear.
"""

from __future__ import annotations

from matnet.interrupts import interruptible

if __name__ == "__main__":
    interruptible()

import argparse
import itertools
import logging
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from matnet.benchmarks.machine import write_figures
from matnet.command_line import CommandParser, run_command
from matnet.errors import MatnetError
from matnet.files import atomic_write, check_outputs
from matnet.formats.mat import write_mat
from matnet.formats.mat.values import Cell, StructArray
from matnet.kinds import JSON, TEXT
from matnet.tables import Table

SIZE = np.array([[8.0, 8, 3, 1]])
HEAD = 'name: "x"\ninput: "data" input_dim: 1 input_dim: 3 input_dim: 8 input_dim: 8\n'


@dataclass(frozen=True)
class GrowingInput:
    """prepare: creates the input with a number of parts in a folder; act: the timed action, which may raise."""

    name: str
    prepare: Callable[[int, Path], Any]
    act: Callable[[Any, Path], object]


# -- networks -----------------------------------------------------------------------------------------------


def chain(parts: int, **fields: Any) -> dict[str, Any]:
    layers = [{"type": "relu", "name": f"a{i}", **fields} for i in range(parts)]
    return {"layers": Cell(layers), "meta": {"inputSize": SIZE}}


def graph(layers: list[dict[str, Any]], kind: str = "dagnn.Sum") -> dict[str, Any]:
    rows = [{"type": kind, "params": Cell(), "block": {}, **layer} for layer in layers]
    return {
        "layers": StructArray(rows, fields=("name", "type", "inputs", "outputs", "params", "block")),
        "vars": StructArray([], fields=("name",)),
        "params": StructArray([], fields=("name",)),
        "meta": {"inputs": StructArray([{"name": "x", "size": SIZE}, {"name": "x0", "size": SIZE}])},
    }


def wide(parts: int) -> dict[str, Any]:
    """Every layer reads the network's input, and is an output."""
    return graph([{"name": f"a{i}", "inputs": Cell(["x", "x"]), "outputs": Cell([f"y{i}"])} for i in range(parts)])


def many_inputs(parts: int) -> dict[str, Any]:
    layers = [{"name": f"a{i}", "inputs": Cell([f"x{i}", f"z{i}"]), "outputs": Cell([f"y{i}"])} for i in range(parts)]
    stated = [{"name": f"{letter}{i}", "size": SIZE} for i in range(parts) for letter in "xz"]
    return {**graph(layers), "meta": {"inputs": StructArray(stated)}}


def dense(parts: int) -> dict[str, Any]:
    """Every layer reads the outputs of the four layers before it."""
    layers = [
        {"name": f"a{i}", "inputs": Cell(f"x{max(0, i - k)}" for k in range(4)), "outputs": Cell([f"x{i + 1}"])}
        for i in range(parts)
    ]
    return graph(layers)


def losses(parts: int) -> dict[str, Any]:
    block = {"loss": "softmaxlog"}
    layers = [
        {"name": f"a{i}", "inputs": Cell(["x", "label"]), "outputs": Cell([f"y{i}"]), "block": block}
        for i in range(parts)
    ]
    return graph(layers, "dagnn.Loss")


def class_names(parts: int) -> dict[str, Any]:
    """A network of one layer with names and descriptions of classes."""
    names = {key: Cell(f"{key} {i}" for i in range(parts)) for key in ("name", "description")}
    net = chain(1)
    return {**net, "meta": {**net["meta"], "classes": names}}


def many_params(parts: int) -> dict[str, Any]:
    """Convolutions of the same input, each with two params."""
    block = {"size": np.array([[1.0, 1, 3, 1]]), "hasBias": np.array([[True]])}
    layers = [
        {"inputs": Cell(["x"]), "outputs": Cell([f"y{i}"]), "params": Cell([f"f{i}", f"b{i}"]), "block": block}
        for i in range(parts)
    ]
    filters, bias = np.ones((1, 1, 3, 1), np.float32), np.ones((1, 1), np.float32)
    params = [
        {"name": f"{kind}{i}", "value": value} for i in range(parts) for kind, value in (("f", filters), ("b", bias))
    ]
    named = [{"name": f"a{i}", **layer} for i, layer in enumerate(layers)]
    return {**graph(named, "dagnn.Conv"), "params": StructArray(params)}


NETWORKS: dict[str, Callable[[int], dict[str, Any]]] = {
    "chain": chain,
    "equal names": partial(chain, name="a"),
    "losses": losses,
    "wide": wide,
    "many inputs": many_inputs,
    "dense": dense,
    "class names": class_names,
    "params": many_params,
}


def mat_file(build: Callable[[int], dict[str, Any]], parts: int, folder: Path) -> Path:
    write_mat(folder / "net.mat", build(parts))
    return folder / "net.mat"


def network(build: Callable[[int], dict[str, Any]], parts: int, folder: Path) -> Any:
    from matnet.loading import load

    return load(mat_file(build, parts, folder))


def load_file(path: Path, folder: Path) -> object:
    from matnet.loading import load

    return load(path)


def table(net: Any, folder: Path) -> object:
    from matnet.display.table import network_table

    return network_table(net)


def drawing(net: Any, folder: Path) -> object:
    from matnet.display.svg import network_svg
    from matnet.display.table import network_table

    return network_svg(network_table(net))


def save(net: Any, folder: Path) -> object:
    from matnet.formats import save_network

    return save_network(net, folder / "again.mat", format="dagnn")


def plan(net: Any, folder: Path) -> object:
    return net.compile(backend="numpy")


def onnx(net: Any, folder: Path) -> object:
    from matnet.formats.onnx import to_onnx_model

    return to_onnx_model(net)


def caffe(net: Any, folder: Path) -> object:
    from matnet.converters.export.to_caffe import to_caffe

    return to_caffe(net)


STEPS = {"table": table, "drawing": drawing, "save": save, "plan": plan, "to ONNX": onnx, "to Caffe": caffe}


# -- Caffe's files, cards, lists --------------------------------------------------------------------------------


def in_place(parts: int) -> str:
    return 'layer { name: "a" type: "ReLU" bottom: "data" top: "data" }\n' * parts


def one_after_another(parts: int) -> str:
    blobs = ["data", *(f"t{i}" for i in range(parts))]
    pairs = enumerate(itertools.pairwise(blobs))
    return "".join(f'layer {{ name: "a{i}" type: "ReLU" bottom: "{a}" top: "{b}" }}\n' for i, (a, b) in pairs)


def losses_of_one(parts: int) -> str:
    """Losses of the same scores."""
    kind = 'type: "SoftmaxWithLoss" bottom: "data" bottom: "label"'
    return "".join(f'layer {{ name: "a{i}" {kind} top: "t{i}" }}\n' for i in range(parts))


def losses_of_many(parts: int) -> str:
    """Losses of different scores, each with a layer that prepares its labels."""
    return "".join(
        f'layer {{ name: "s{i}" type: "ReLU" bottom: "data" top: "s{i}" }}\n'
        f'layer {{ name: "l{i}" type: "Slice" bottom: "label" top: "l{i}" }}\n'
        f'layer {{ name: "a{i}" type: "SoftmaxWithLoss" bottom: "s{i}" bottom: "l{i}" top: "t{i}" }}\n'
        for i in range(parts)
    )


def one_name(parts: int) -> str:
    return "".join(f'layer {{ name: "a" type: "ReLU" bottom: "data" top: "t{i}" }}\n' for i in range(parts))


def unknown_fields(parts: int) -> str:
    return "".join(f"zzz{i}: 1\n" for i in range(parts))


def keys_of_a_layer(parts: int) -> str:
    """One layer with many unknown fields and a repeated known field."""
    return (
        'layer { name: "a" type: "ReLU" bottom: "data" top: "a"\n'
        + "".join(f"phase: TEST k{i}: 1 relu_param {{ m{i}: 2 }}\n" for i in range(parts))
        + "}\n"
    )


def one_word(parts: int) -> str:
    return "a" * 100 * parts + ": 1\n"


def prototxt(build: Callable[[int], str], parts: int, folder: Path) -> Path:
    (folder / "net.prototxt").write_text(HEAD + build(parts))
    return folder / "net.prototxt"


def convert(path: Path, folder: Path) -> object:
    from matnet.converters import convert_caffe

    return convert_caffe(path)


def many_layers(parts: int, folder: Path) -> Path:
    """A caffemodel of ReLU layers, each of them in place."""
    from matnet.protobuf import WireMessage

    layer = WireMessage().text(1, "a").text(2, "ReLU").text(3, "data").text(4, "data")
    model = WireMessage().text(3, "data")
    for _ in range(parts):
        model.message(100, layer)
    (folder / "net.caffemodel").write_bytes(b"".join(model.chunks()))
    return folder / "net.caffemodel"


def convert_weights(path: Path, folder: Path) -> object:
    from matnet.converters import convert_caffe

    return convert_caffe(None, path)


def card(parts: int, folder: Path) -> Path:
    (folder / "readme.md").write_text("---\n" + "".join(f"k{i}: 1\n" for i in range(parts)) + "---\n")
    return folder


def read_card(path: Path, folder: Path) -> object:
    from matnet.zoo.cards import read_cards

    return read_cards(path)


def commas(parts: int, folder: Path) -> Path:
    """A list of one line with a hundred commas per part."""
    (folder / "list.txt").write_text("a" + "," * 100 * parts + "x\n")
    return folder / "list.txt"


def many_images(parts: int, folder: Path) -> Path:
    (folder / "list.txt").write_text("".join(f"a/{i}.png {i % 7}\n" for i in range(parts)))
    return folder / "list.txt"


def read_list(path: Path, folder: Path) -> object:
    from matnet.datasets import ImageList

    return ImageList.load(path)


def subjects() -> Iterator[GrowingInput]:
    """All subjects, in the order of the table."""
    for name, build in NETWORKS.items():
        yield GrowingInput(f"{name}: load", partial(mat_file, build), load_file)
        for step, act in STEPS.items():
            yield GrowingInput(f"{name}: {step}", partial(network, build), act)
    for text in (
        in_place,
        one_after_another,
        one_name,
        losses_of_one,
        losses_of_many,
        unknown_fields,
        keys_of_a_layer,
        one_word,
    ):
        yield GrowingInput(f"prototxt, {text.__name__.replace('_', ' ')}: convert", partial(prototxt, text), convert)
    yield GrowingInput("caffemodel alone: convert", many_layers, convert_weights)
    yield GrowingInput("card, fields: read", card, read_card)
    yield GrowingInput("list, one line of commas: read", commas, read_list)
    yield GrowingInput("list, images: read", many_images, read_list)


# -- the command --------------------------------------------------------------------------------------------


def attempt(subject: GrowingInput, given: Any, folder: Path) -> None:
    """Run the action once; a MatnetError is a valid result."""
    with suppress(MatnetError):
        subject.act(given, folder)


def seconds_of(subject: GrowingInput, parts: int, runs: int) -> float:
    """The minimum processor time of several runs."""
    with tempfile.TemporaryDirectory(prefix="matnet-") as name:
        folder = Path(name)
        given = subject.prepare(parts, folder)
        found = []
        for _ in range(runs):
            start = time.process_time()
            attempt(subject, given, folder)
            found.append(time.process_time() - start)
    return min(found)


def parser() -> argparse.ArgumentParser:
    command = CommandParser(
        prog="python -m matnet.benchmarks.growth",
        description="Processor time for inputs of N and of 2 N parts; the ratio is 2 if the work is linear.",
    )
    command.add_argument("--parts", type=int, default=1000, metavar="N", help="layers, lines or fields (default 1000)")
    command.add_argument("--runs", type=int, default=3, metavar="N", help="runs, for the minimum (default 3)")
    command.add_argument("--only", default="", metavar="TEXT", help="only rows with this prefix")
    command.add_argument("--json", metavar="FILE", help="write the figures to FILE as well")
    command.add_argument("--markdown", metavar="FILE", help="write the table to FILE as well")
    return command


def main(argv: list[str] | None = None) -> int:
    options = parser().parse_args(argv)
    check_outputs([(options.json, JSON), (options.markdown, TEXT)])
    if options.parts < 2 or options.runs < 1:
        raise MatnetError("--parts must be at least 2, and --runs at least 1")
    rows: list[dict[str, Any]] = []
    logging.disable(logging.WARNING)  # notes of thousands of layers
    for subject in (subject for subject in subjects() if subject.name.startswith(options.only)):
        seconds_of(subject, 2, 1)  # imports modules
        once, twice = (seconds_of(subject, parts, options.runs) for parts in (options.parts, 2 * options.parts))
        rows.append({"what": subject.name, "seconds": [once, twice], "ratio": twice / max(once, 1e-6)})
        print(f"{subject.name}: {once:.3f} s, {twice:.3f} s", file=sys.stderr, flush=True)
    headers = ["", f"{options.parts} parts, s", f"{2 * options.parts} parts, s", "ratio"]
    shown = [[row["what"], *(f"{value:.3f}" for value in row["seconds"]), f"{row['ratio']:.2f}"] for row in rows]
    result = Table.of(headers, shown, right=headers[1:])
    note = f"Minimum processor time of {options.runs} runs; Python {platform.python_version()}, {platform.platform()}"
    print(f"{result.text()}\n{note}")
    if options.json:
        figures = {"parts": options.parts, "runs": options.runs, "rows": rows}
        write_figures(options.json, "matnet.benchmarks.growth", figures, argv)
    if options.markdown:
        with atomic_write(options.markdown) as file:
            file.write(f"{result.markdown()}\n\n{note}\n".encode())
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
