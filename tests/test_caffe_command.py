"""`python -m matnet.convert`: its own options and the original importer's, what it prints, and bad input."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import matnet
from matnet import diff, run, show
from matnet.command_line import run_command
from matnet.convert import conversion_options, main, parser
from matnet.images import Preprocessing
from matnet.images.doubts import doubts
from matnet.network import Layer, Network, Source
from matnet.ops.activation import ReLU
from matnet.stated_options import parse_stated
from tests.conftest import DATA
from tests.helpers import assert_line

LSTM = DATA / "caffe" / "lstm"
ALEXNET = DATA / "caffe" / "net_alexnet"
FILES = ["--prototxt", str(ALEXNET / "deploy.prototxt"), "--caffemodel", str(ALEXNET / "weights.caffemodel")]


# -- options ---------------------------------------------------------------------------------------

SPELLINGS: list[tuple[str, dict[str, Any]]] = [
    ("--average-value (123.68,116.779,103.939)", {"mean_values": [123.68, 116.779, 103.939]}),
    ("--mean-values 123,117,104", {"mean_values": [123, 117, 104]}),
    ("--average-image mean.binaryproto", {"mean": "mean.binaryproto"}),
    ("--full-image-size [300,256]", {"full_image_size": (256, 300)}),
    ("--full-image-size 256x300", {"full_image_size": (256, 300)}),
    ("--full-image-size [600]", {"full_image_size": (600,)}),
    ("--preproc vgg-caffe", {"preprocessing": "vgg-caffe"}),
    ("--synsets words.txt", {"labels": "words.txt"}),
    ("--class-names ('cat','dog')", {"class_names": ["cat", "dog"]}),
    ("--class-names cat,dog", {"class_names": ["cat", "dog"]}),
    ("--color-format rgb", {"color_format": "rgb"}),
    ("--no-transpose", {"transpose": False}),
    ("--remove-dropout --remove-loss", {"remove_dropout": True, "remove_loss": True}),
    ("--no-remove-dropout", {"remove_dropout": False}),
    ("--append-softmax cls3_fc", {"append_softmax": ["cls3_fc"]}),
    ("--simplify", {"merge_batchnorm": "always"}),
    ("--no-simplify", {"merge_batchnorm": "never"}),
    ("--caffe-variant vgg-caffe", {}),
    ("--input-size 500x400", {"input_size": (500, 400)}),
    ("--input-size data=3x500x400 --input-size rois=5x5", {"input_size": {"data": (3, 500, 400), "rois": (5, 5)}}),
    ("--stage deploy --stage fast --level 2", {"stages": ["deploy", "fast"], "level": 2}),
]


@pytest.mark.parametrize(("line", "expected"), SPELLINGS, ids=[line for line, _ in SPELLINGS])
def test_both_spellings_of_options(line: str, expected: dict[str, Any]) -> None:
    assert conversion_options(parse_stated(parser(), line.split())) == expected


@pytest.mark.parametrize(
    "line",
    [
        "--input-size 5xy",
        "--full-image-size big",
        "--mean-values a,b",
        "--scale nan",
        "--scale 0",
        "--class-names (a",
        "--color-format gbr",
    ],
)
def test_values_that_are_none(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        parser().parse_args(line.split())
    assert left.value.code == 2
    assert line.split()[1] in capsys.readouterr().err


@pytest.mark.process
def test_the_original_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "net.mat"
    assert (
        main(
            [FILES[1], str(target), "--caffe-data", FILES[3], "--output-format", "simplenn", "--caffe-variant", "caffe"]
        )
        == 0
    )
    assert matnet.load(target).source.format == "simplenn"
    out = capsys.readouterr().out
    assert_line(out, "'conv1'", "R, G, B", "Caffe", "B, G, R")
    assert "runs in stock MatConvNet" in out


def test_nothing_is_written_that_was_not_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(FILES) == 0
    assert list(tmp_path.iterdir()) == []
    assert "nothing written (no --out)" in capsys.readouterr().out


def test_extensions_are_named_with_their_layers(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--prototxt", str(LSTM / "deploy.prototxt"), "--caffemodel", str(LSTM / "weights.caffemodel")]) == 0
    assert_line(capsys.readouterr().out, "MATLAB", "dagnn.LSTM", "r")


def test_an_old_prototxt_is_shown_in_todays_form(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--prototxt", str(DATA / "caffe" / "v0_net_padding" / "deploy.prototxt"), "--show-upgraded"]) == 0
    out = capsys.readouterr().out
    assert 'type: "Convolution"' in out
    assert "layers" not in out
    assert '"padding"' not in out


@pytest.mark.process
def test_the_network_inside_a_caffemodel(tmp_path: Path) -> None:
    target = tmp_path / "net.mat"
    assert main(["--caffemodel", FILES[3], "--out", str(target)]) == 0
    assert matnet.load(target).resolve("prob")


@pytest.mark.process
def test_the_same_conversion_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.mat", "b.mat"):
        assert main([*FILES, "--mean-values", "123,117,104", "--out", str(tmp_path / name)]) == 0
    assert (tmp_path / "a.mat").read_bytes() == (tmp_path / "b.mat").read_bytes()


# -- bad input -------------------------------------------------------------------------------------

PROTOTXT = (ALEXNET / "deploy.prototxt").read_text()


def without(text: str, part: str, instead: str) -> str:
    assert part in text
    return text.replace(part, instead, 1)


BAD: dict[str, tuple[dict[str, str | bytes], list[str], str]] = {
    "no such prototxt": ({}, ["--prototxt", "none.prototxt"], "none.prototxt: no such"),
    "no such weights": ({}, ["--caffemodel", "none.caffemodel"], "none.caffemodel: no such"),
    "no model's name": ({}, ["cafe-alex"], "unknown model 'cafe-alex'; nearest: imagenet-caffe-alex"),
    "weights are a web page": ({"w": b"<!DOCTYPE html><html>"}, ["--caffemodel", "w"], "web page"),
    "weights are text": ({"w": PROTOTXT}, ["--caffemodel", "w"], "w"),
    "prototxt and weights swapped": ({}, ["--prototxt", FILES[3], "--caffemodel", FILES[1]], "swapped"),
    "weights of nothing": ({"w": b""}, ["--caffemodel", "w"], "empty"),
    "a huge length": ({"w": b"\xa2\x06\xff\xff\xff\xff\x7f1234"}, ["--caffemodel", "w"], "w, byte"),
    "syntax": ({"p": without(PROTOTXT, "layer {", "layer {{")}, ["--prototxt", "p"], "line"),
    "an unclosed brace": ({"p": PROTOTXT + "layer {"}, ["--prototxt", "p"], "line"),
    "unknown types": ({"p": PROTOTXT.replace('"ReLU"', '"Relu"')}, ["--prototxt", "p"], "(Relu); nearest: ReLU"),
    "a dangling bottom": ({"p": without(PROTOTXT, 'bottom: "pool1"', 'bottom: "pol1"')}, ["--prototxt", "p"], "'pol1'"),
    "too small an input": ({}, ["--input-size", "11x11"], "does not fit in an input of 1"),
    "another input size": ({}, ["--input-size", "163x163"], "weights that do not fit"),
    "a zero size": ({"p": PROTOTXT.replace("dim: 115", "dim: 0")}, ["--prototxt", "p"], "must be at least 1"),
    "a negative pad": ({"p": without(PROTOTXT, "pad: 2", "pad: -2")}, ["--prototxt", "p"], "-2"),
    "a mean of the wrong size": ({"m.npy": b""}, ["--mean", "m.npy"], "m.npy"),
    "a folder to write to": ({}, ["--out", "."], "is a folder"),
    "a folder that is not there": ({}, ["--out", "none/net.mat"], "does not exist"),
    "a format that cannot hold it": (
        {},
        ["--prototxt", str(LSTM / "deploy.prototxt"), "--caffemodel", str(LSTM / "weights.caffemodel"),
         "--format", "simplenn"],
        "cannot be written as SimpleNN",
    ),
    "labels that are no text": ({"l": b"\xff\xfe\x00\x81"}, ["--labels", "l"], "l: "),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(BAD))
def test_bad_input_is_one_clear_sentence(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    files, arguments, message = BAD[name]
    monkeypatch.chdir(tmp_path)
    for file, content in files.items():
        Path(file).write_bytes(content.encode() if isinstance(content, str) else content)
    if name == "a mean of the wrong size":
        np.save("m.npy", np.zeros((3, 50, 50), np.float32))
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    given = [*FILES, "--out", "net.mat", *arguments] if name != "a model's name" else arguments
    assert run_command(main, given) == 2
    err = capsys.readouterr().err
    assert message in err
    assert "Traceback" not in err
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("cut", [number / 50 for number in range(50)])
def test_weights_cut_anywhere(cut: float, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = (ALEXNET / "weights.caffemodel").read_bytes()
    (tmp_path / "cut.caffemodel").write_bytes(whole[: int(cut * len(whole))])
    target = tmp_path / "net.mat"
    given = ["--prototxt", FILES[1], "--caffemodel", str(tmp_path / "cut.caffemodel"), "--out", str(target)]
    assert run_command(main, given) == 2
    assert "cut.caffemodel" in capsys.readouterr().err
    assert not target.exists()


# -- Caffe's files in other commands ---------------------------------------------------------------


@pytest.mark.process
def test_commands_take_caffes_files(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The numbers are Caffe's own, as its conformance case has them."""
    pair = f"{ALEXNET / 'deploy.prototxt'},{ALEXNET / 'weights.caffemodel'}"
    given = np.load(ALEXNET / "io.npz")
    inputs = {name.removeprefix("in__"): given[name] for name in given.files if name.startswith("in__")}
    expected = matnet.convert_caffe(*pair.split(","))
    assert show.main([pair]) == 0
    assert f"{len(expected.layers)}" in capsys.readouterr().out
    np.savez(tmp_path / "in.npz", **{f"in__{name}": value for name, value in inputs.items()})
    assert run.main([pair, str(tmp_path / "in.npz"), str(tmp_path / "out.npz")]) == 0
    found = np.load(tmp_path / "out.npz")
    for name in found.files:
        np.testing.assert_allclose(found[name], given[name], rtol=1e-4, atol=1e-6)
    assert "B, G, R" in capsys.readouterr().err
    assert "R, G, B" in repr(expected)
    as_in_caffe = matnet.convert_caffe(*pair.split(","), color_format="rgb")
    matnet.save(as_in_caffe, tmp_path / "bgr.mat", format="dagnn")
    assert diff.main([pair, str(tmp_path / "bgr.mat"), "--no-meta"]) == 0
    assert_line(capsys.readouterr().err, "bgr.mat", "R, G, B")
    matnet.save(expected, tmp_path / "net.mat", format="dagnn")
    assert diff.main([pair, str(tmp_path / "net.mat"), "--no-meta"]) == 0
    np.savez(tmp_path / "rgb.npz", **{f"in__{name}": value[:, ::-1] for name, value in inputs.items()})
    assert run.main([str(tmp_path / "net.mat"), str(tmp_path / "rgb.npz"), str(tmp_path / "out.npz")]) == 0


WRONG_FILES = {
    "no.prototxt": "no.prototxt: no such",
    "a.caffemodel,b.caffemodel": "expected one prototxt, one caffemodel, or one of each",
    "a.prototxt,b.mat": "no such file",
}


@pytest.mark.parametrize("given", WRONG_FILES)
def test_wrong_files_are_told(given: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(show.main, [given]) == 2
    assert WRONG_FILES[given] in capsys.readouterr().err


# -- options that would have no effect ---------------------------------------------------------------


@pytest.mark.parametrize("form", [["--to-caffe", "back"], ["--out", "net.mat"]], ids=["caffe", "mat"])
def test_outputs_are_refused_for_forms_that_hold_the_whole_network(
    form: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_command(main, [*FILES, *form, "--outputs", "fc6"]) == 2
    assert_line(capsys.readouterr().err, "--outputs", "--to-onnx", "--to-torch")
    assert not list(tmp_path.iterdir())


@pytest.mark.process
def test_a_network_that_is_not_transposed_is_named_wherever_images_go_in(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """Conversion, preparation of images and exports; each network once."""

    def warnings() -> list[str]:
        found = [record.getMessage() for record in caplog.records if "rows and columns" in record.getMessage()]
        caplog.clear()
        return found

    assert main([*FILES, "--no-transpose", "--out", str(tmp_path / "net.mat")]) == 0
    assert len(warnings()) == 1
    net = matnet.load(tmp_path / "net.mat")
    for _ in range(2):
        assert "rows and columns" in doubts(net, Preprocessing.of(net))[0]
    assert len(warnings()) == 1
    assert main([str(tmp_path / "net.mat"), "--to-onnx", str(tmp_path / "net.onnx")]) == 0
    assert len(warnings()) == 1
    np.savez(tmp_path / "x.npz", input=np.zeros((1, 3, 115, 115), np.float32))
    assert run.main([str(tmp_path / name) for name in ("net.mat", "x.npz", "y.npz")]) == 0
    assert len(warnings()) == 1
    capsys.readouterr()
    assert main([str(tmp_path / "net.mat"), "--to-caffe", str(tmp_path / "back")]) == 0
    assert_line(capsys.readouterr().out, "height first", "net.mat")
    assert main([*FILES, "--out", str(tmp_path / "usual.mat")]) == 0
    assert not warnings()


def test_a_full_size_that_the_input_does_not_fit_into_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(main, [*FILES, "--full-image-size", "200x60"]) == 2
    assert_line(capsys.readouterr().err, "--full-image-size", "200x60", "115x115")


def test_ignored_properties_are_no_part_of_stock_matconvnet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net = Network(source=Source(tmp_path / "first.mat", "dagnn"))
    net.add(Layer("r", ReLU(), ["data"], ["x"], extra={"block": {"extraProperty": np.ones((1, 1))}}))
    matnet.save(net, tmp_path / "first.mat", format="dagnn")
    size = ["--input-size", "3x5x7"]
    assert main([str(tmp_path / "first.mat"), str(tmp_path / "second.mat"), "--lenient"]) == 0
    out = capsys.readouterr().out
    assert_line(out, "MatConvNet cannot run it", "'r'", "'extraProperty'")
    assert "runs in stock" not in out
    assert main([str(tmp_path / "first.mat"), "--lenient", "--to-caffe", str(tmp_path / "back"), *size]) == 0
    assert capsys.readouterr().out.count("'extraProperty'") == 1


def test_a_graph_is_refused_as_simplenn_before_anything_is_promised(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    net = Network()
    for name in ("a", "b"):
        net.add(Layer(name, ReLU(), ["data"], [f"{name}_out"]))
    matnet.save(net, tmp_path / "graph.mat", format="dagnn")
    command = [str(tmp_path / "graph.mat"), str(tmp_path / "chain.mat"), "--format", "simplenn"]
    assert run_command(main, command) == 2
    found = capsys.readouterr()
    assert "stock" not in found.out
    assert_line(found.err, "SimpleNN", "--format dagnn")
