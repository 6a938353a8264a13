"""What is said about a network, in text and in data, and the command that shows it."""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import matnet
from matnet import show
from matnet.command_line import run_command
from matnet.display.outline import outline
from matnet.display.records import table_csv, table_records
from matnet.display.summary import summary, why_unsized
from matnet.display.table import network_table
from matnet.display.text import table_text, totals
from matnet.files import models_folder
from matnet.formats.mat.values import Cell, CharArray, Opaque, StructArray
from matnet.network import Layer, Network, Source
from matnet.ops.activation import ReLU
from tests import example_nets as nets
from tests.conftest import DATA, conformance_cases

MODELS = DATA / "matconvnet"


# -- text and records --------------------------------------------------------------------------------


def test_text_for_people() -> None:
    """Cells of a line stand two blanks apart at least; those that have nothing to say are empty."""
    lines = table_text(network_table(nets.small_dag())).splitlines()
    assert [re.split(r" {2,}", line.strip()) for line in lines if not line.startswith("---")] == [
        ["#", "layer", "type", "filter", "stride", "pad", "rf size", "rf offset", "rf stride", "output", "data mem",
         "params", "mult-adds"],
        ["1", "conv", "Conv", "3x5x6x4", "1x1x2x2", "3x5", "1", "1", "7x11x4x1", "1KB", "364", "27.7k"],
        ["2", "pool", "Pooling", "max 2x2", "2", "4x6", "1.5", "2", "3x5x4x1", "240B"],
        ["3", "join", "Odd (unknown)", *"??????"],
    ]  # fmt: skip


def test_totals_say_what_is_missing() -> None:
    """364 params; 7x11x6 + 7x11x4 + 3x5x4 floats."""
    assert totals(network_table(nets.small_dag())) == [
        ("parameter memory", "1KB (3.6e+02 parameters)"),
        ("data memory", "3KB (for batch size 1; 1 layers of unknown size not counted)"),
        ("multiply-adds", "27.7k (1 layers of unknown size not counted)"),
    ]


def test_inputs_are_a_column_unless_the_layers_are_a_chain() -> None:
    assert "inputs" not in table_text(network_table(nets.alexnet()))
    assert "data, layer" not in table_text(network_table(nets.residual(2)))
    assert "block0_branch1, block0_branch2c" in table_text(network_table(nets.residual(2)))


def test_inputs_that_are_the_outputs_of_the_row_above_are_not_repeated() -> None:
    table = network_table(nets.residual(2))
    head, _, *lines = table_text(table).splitlines()
    place = head.index("inputs")
    for above, row, line in zip((None, *table.layers), table.layers, lines, strict=False):
        shown = re.split(r" {2,}", line[place:])[0] if line[place - 1] == " " else ""
        assert shown == ("" if above is not None and above.outputs == row.inputs else ", ".join(row.inputs))


@pytest.mark.parametrize("width", [50, 60, 80, 100, 120, 150])
def test_the_table_fits_a_terminal_and_names_what_it_leaves_out(width: int) -> None:
    table = network_table(nets.residual(2))
    whole, fitted = table_text(table), table_text(table, width)
    assert max(map(len, whole.splitlines())) > 120
    assert max(map(len, fitted.splitlines())) <= width
    headings = re.split(r" {2,}", whole.splitlines()[0].strip())
    shown = re.split(r" {2,}", fitted.splitlines()[0].strip())
    said = " ".join(fitted.partition("\n\n")[2].split())
    assert {"#", "layer", "type", "output"} <= set(shown)
    assert [heading for heading in headings if heading not in shown and heading not in said] == []
    assert len(fitted.partition("\n\n")[0].splitlines()) == len(whole.splitlines())


def test_a_pipe_gets_the_whole_table(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    assert show.main(["digits-lenet"]) == 0
    piped = capsys.readouterr().out
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert show.main(["digits-lenet"]) == 0
    shown = capsys.readouterr().out
    assert any("rf offset  " in line for line in piped.splitlines())
    table = [line for line in shown.splitlines() if re.match(r" *(#|\d+|-+)  ", line)]
    assert table and max(map(len, table)) <= 60


def test_fields_in_several_inputs_have_columns_each() -> None:
    net = matnet.load(MODELS / "dag_shared_params" / "model.mat")
    head = table_text(network_table(net, size=(9, 13))).splitlines()[0]
    assert [f"rf size ({name})" in head for name in ("a", "b")] == [True, True]


def test_csv_has_a_row_per_layer() -> None:
    found = list(csv.DictReader(io.StringIO(table_csv(network_table(nets.small_dag())))))
    assert [row["name"] for row in found] == ["conv", "pool", "join"]
    picked = ("filters", "pad", "output", "rf_size[data]", "rf_offset[data]", "multiply_adds", "params")
    assert [found[0][key] for key in picked] == ["3 5 6 4", "1 1 2 2", "1 4 7 11", "3 5", "1 1", "27720", "f b"]
    assert [found[2][key] for key in picked] == [""] * len(picked)


def test_records_are_json() -> None:
    found = json.loads(json.dumps(table_records(network_table(nets.small_dag()))))
    assert found["layers"][1]["receptive_fields"] == {"data": {"size": [4, 6], "offset": [1.5, 1.5], "stride": [2, 2]}}
    assert found["layers"][2]["output_shapes"] == [None]
    assert found["totals"]["layers_of_unknown_size"] == ["join"]
    assert found["params"][0] == {"name": "f", "shape": [3, 5, 6, 4], "fanout": 1}


# -- what is said about a network --------------------------------------------------------------------


def why(net: Network, size: tuple[int, int] | None = None) -> str | None:
    inputs = net.default_input_shapes(1, size)
    return why_unsized(net, network_table(net, inputs=inputs), inputs)


def test_the_reason_for_unknown_sizes_names_the_option_that_helps() -> None:
    chain = nets.simplenn([nets.conv("c", 3, 5, 2, 7)])
    assert {"'input'", "height", "width"} <= set((why(chain) or "").replace(";", "").split())
    assert why(chain, (7, 11)) is None
    relu = nets.simplenn([{"type": "relu", "name": "r"}])
    assert "channels" in (why(relu) or "") and "channels" not in (why(chain) or "")


def test_the_reason_for_unknown_sizes_names_the_layer_that_stops() -> None:
    chain = nets.simplenn([nets.conv("c", 3, 5, 2, 7)])
    assert "layer 'c'" in (why(chain, (2, 2)) or "") and "use a larger input" in (why(chain, (2, 2)) or "")
    assert "unknown layer type 'dagnn.Odd'" in (why(nets.small_dag()) or "")


def test_a_class_whose_description_is_its_name_is_written_once() -> None:
    net = matnet.load("digits-lenet")
    net.meta["classes"] = {"name": Cell(["0", "n1"]), "description": Cell(["0", "one"])}
    assert dict(summary(net, network_table(net)))["classes"] == "2: 0, n1 (one)"


def test_summary_tells_classes_layers_and_notes() -> None:
    net = nets.small_dag()
    net.meta["classes"] = {"name": Cell(["n1", "n2", "n3", "n4"]), "description": Cell(["tench", "", "shark", "ray"])}
    net.source.notes.append("something was dropped")
    found = summary(net, network_table(net))
    assert ("layers", "3 (of unknown type: join)") in found
    assert ("inputs", "data 7x11x6x1") in found
    assert ("outputs", "o ?") in found
    assert ("classes", "4: n1 (tench), n2, n3 (shark), ...") in found
    assert ("note", "something was dropped") in found


def test_outline_of_a_structure() -> None:
    """One line per field; numbers if they are few, else size, class and range."""
    meta = {
        "size": nets.row(7, 11, 6),
        "mean": np.arange(12, dtype=np.float32).reshape(3, 4),
        "names": Cell(["a", "b"]),
        "inner": {"on": np.array([[True]]), "none": np.zeros((0, 0))},
        "inputs": StructArray([{"name": "x"}, {"name": "y"}]),
        "rows": CharArray(("ab", "cd"), (2, 2)),
        "gpu": Opaque("object", "gpuArray"),
    }
    assert list(outline(meta)) == [
        "size    [7 11 6]",
        "mean    3x4 single, 0 to 11",
        "names   cell 1x2: 'a', 'b'",
        "inner   struct",
        "  on    true",
        "  none  [] (0x0 double)",
        "inputs  struct array 1x2",
        "  (1)",
        "    name  'x'",
        "  (2)",
        "    name  'y'",
        "rows    char 2x2: 'ab', 'cd'",
        "gpu     object gpuArray",
    ]


# -- the command -------------------------------------------------------------------------------------


SHOWN = [
    (case, form)
    for number, case in enumerate(conformance_cases("matconvnet"))
    for form in (show.FORMATS if number % 5 == 0 else ["json"])
]
"""Every model as JSON, which holds all that is shown, and every fifth in each format."""


@pytest.mark.process
@pytest.mark.parametrize(("case", "form"), SHOWN)
def test_every_conformance_model_is_shown(case: str, form: str, capsys: pytest.CaptureFixture[str]) -> None:
    model = MODELS / case / "model.mat"
    assert show.main([str(model), "--format", form]) == 0
    shown = capsys.readouterr().out.replace("\\_", "_")  # as LaTeX writes an underscore
    assert all(name in shown for name in matnet.load(model).layers)
    if form == "json":
        assert json.loads(shown)["file"] == str(model)


@pytest.mark.process
@pytest.mark.parametrize(
    ("file", "field"),
    [
        ("dncnn3/DnCNN3.mat", 41),  # 20 convolutions of 3x3
        ("charscnn_legacy/charscnn.mat", 32),  # 5, +1, +2*4, +2, +4*3, +4*1
        ("dcfnet_7_125_2/DCFNet-net-7-125-2.mat", 5),  # 2 convolutions of 3x3
        ("lapsrn_x2/LapSRN_x2.mat", 25),  # 11 of 3x3, then in half pixels: +1 (3x3 up by 2), +1 (3x3)
    ],
)
def test_real_networks_are_shown(file: str, field: int, real_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The receptive field at the end (before LapSRN's loss), by hand from the filters."""
    assert show.main([str(real_data / "matconvnet" / file), "--input-size", "64", "96", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    last = [layer for layer in record["layers"] if layer["known"]][-1]
    [seen] = last["receptive_fields"].values()
    assert seen["size"] == [field, field]
    assert None not in last["output_shapes"]


@pytest.mark.process
def test_drawings_are_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    svg, dot = tmp_path / "net.svg", tmp_path / "net.dot"
    assert show.main([str(MODELS / "sn_alexnet" / "model.mat"), "--svg", str(svg), "--dot", str(dot)]) == 0
    assert svg.read_text("utf-8").startswith("<svg xmlns=") and dot.read_text("utf-8").startswith("digraph DagNN {")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net.dot", "net.svg"]
    assert f"wrote {svg}" in capsys.readouterr().err


def test_meta_is_shown_on_request(capsys: pytest.CaptureFixture[str]) -> None:
    show.main([str(MODELS / "sn_alexnet" / "model.mat"), "--meta"])
    assert "    interpolation  'bicubic'" in capsys.readouterr().out.splitlines()


@pytest.mark.process
def test_matconvnet_format_takes_the_batch_of_the_file(capsys: pytest.CaptureFixture[str]) -> None:
    """sn_alexnet declares [83 83 3 10], as the importer writes it; an option wins."""
    model = str(MODELS / "sn_alexnet" / "model.mat")
    show.main([model, "--format", "matconvnet"])
    assert "(for batch size 10)" in capsys.readouterr().out
    show.main([model, "--format", "matconvnet", "--batch-size", "3"])
    assert "(for batch size 3)" in capsys.readouterr().out
    show.main([model])
    assert "(for batch size 1)" in capsys.readouterr().out


def test_input_size_with_channels(capsys: pytest.CaptureFixture[str]) -> None:
    show.main(["--input-size", "20", "30", str(MODELS / "dag_crop" / "model.mat"), "--channels", "4", "--json"])
    record = json.loads(capsys.readouterr().out)
    assert record["sizes_unknown_because"] is None
    assert record["layers"][0]["output_shapes"] == [[1, 4, 20, 30]]


@pytest.mark.parametrize(
    "arguments",
    [["--input-size", "7"], ["--input-size", "7", "0"], ["--input-size", "a", "b"], ["--batch-size", "-1"],
     ["--format", "pdf"], ["--input-size", "1", "2", "3"]],
)  # fmt: skip
def test_wrong_options_are_usage_errors(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        show.main(["model.mat", *arguments])
    assert stop.value.code == 2
    assert "usage: python -m matnet.show" in capsys.readouterr().err


def test_what_cannot_be_shown_is_one_sentence_and_status_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = str(MODELS / "sn_conv_basic" / "model.mat")
    assert run_command(show.main, [str(tmp_path / "none.mat")]) == 2
    assert run_command(show.main, [model, "--svg", str(tmp_path / "no folder" / "net.svg")]) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and len(printed.err.splitlines()) == 2
    assert list(tmp_path.iterdir()) == []


def test_control_characters_do_not_reach_the_terminal(monkeypatch: Any, capsys: pytest.CaptureFixture[str]) -> None:
    net = Network(source=Source(format="dagnn"))
    net.add(Layer("red\x1b[31m\nline", ReLU(), ["x"], ["y"]))
    monkeypatch.setattr(show, "network_from", lambda name, options: net)
    for form in show.FORMATS:
        show.main([str(DATA / "matconvnet/sn_relu/model.mat"), "--format", form])
        assert "\x1b" not in capsys.readouterr().out


@pytest.mark.process
def test_any_name_can_be_printed_in_any_encoding(tmp_path: Path) -> None:
    """A name outside of the terminal's character set is escaped rather than the end of the command."""
    graph = nets.Graph()
    graph.relu("\u6f22\u5b57", "data")
    graph.net.meta["classes"] = {"name": Cell(["\u6f22"])}
    model = matnet.save(graph.net, tmp_path / "net.mat")
    command = [sys.executable, "-X", "utf8=0", "-m", "matnet.show", str(model)]
    done = subprocess.run(command, capture_output=True, env={"PYTHONIOENCODING": "ascii", "PATH": ""}, check=False)
    assert done.returncode == 0, done.stderr
    assert b"classes           1: \\u6f22" in done.stdout


def test_a_definition_without_weights_shows_every_card(capsys: pytest.CaptureFixture[str]) -> None:
    """An InnerProduct along axis 2 takes the number of its outputs from weights that are not there."""
    card = models_folder() / "video2text-vgg-mean-pool" / "deploy.prototxt"
    assert show.main([str(card)]) == 0
    assert "InnerProduct" in capsys.readouterr().out
