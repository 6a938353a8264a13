"""`--input-size`, in every command: HxW, CxHxW or NAME=AxBx... of any number of axes."""

from __future__ import annotations

import argparse
import importlib
import json
from pathlib import Path

import numpy as np
import pytest

import matnet
from matnet import run, show
from matnet.arguments import add_input_size, given_sizes, joined_sizes, parse_size
from matnet.command_line import run_command
from matnet.conversion_arguments import parser as convert_parser
from matnet.errors import MatnetError
from matnet.image_arguments import add_preprocessing, preprocessing_from
from matnet.meta.given import given_input_shapes, require_sizes
from tests.conftest import DATA

MODELS = DATA / "matconvnet"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("20x30", (None, (20, 30))),
        ("4X20x30", (None, (4, 20, 30))),
        ("data=2x4x20x30", ("data", (2, 4, 20, 30))),
        ("rois=128x5", ("rois", (128, 5))),
        ("indicator=80", ("indicator", (80,))),
        ("clip=2x3x16x20x30", ("clip", (2, 3, 16, 20, 30))),
        ("a=b=7x9", ("a=b", (7, 9))),
    ],
)
def test_sizes_are_parsed(text: str, expected: tuple[str | None, tuple[int, ...]]) -> None:
    assert parse_size(text) == expected


@pytest.mark.parametrize("text", ["", "x", "20", "20x", "0x30", "20x-3", "data=", "data=0", "2.5x3"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        parse_size(text)


def given(*arguments: str) -> object:
    command = argparse.ArgumentParser()
    add_input_size(command)
    command.add_argument("model")
    return given_sizes(command.parse_intermixed_args(joined_sizes(arguments)))


def test_sizes_reach_the_command() -> None:
    assert given("m") is None
    assert given("--input-size", "20x30", "m") == (20, 30)
    assert given("--input-size", "20", "30", "m") == (20, 30), "as in show before 0.2"
    assert given("m", "--input-size=x=3x4", "--input-size", "y=7x5") == {"x": (3, 4), "y": (7, 5)}


@pytest.mark.parametrize("second", ["x=7x9", "7x9"])
def test_two_sizes_of_one_input_are_refused(second: str) -> None:
    with pytest.raises(MatnetError, match="7x9"):
        given("--input-size", second, "--input-size", second.replace("7", "8"), "m")


def test_show_takes_channels_and_names(capsys: pytest.CaptureFixture[str]) -> None:
    model = str(MODELS / "dag_crop" / "model.mat")
    show.main([model, "--json", "--input-size", "x=4x20x30", "--input-size", "ref=2x7x9"])
    variables = json.loads(capsys.readouterr().out)["variables"]
    shapes = {variable["name"]: variable["shape"] for variable in variables}
    assert (shapes["x"], shapes["ref"]) == ([1, 4, 20, 30], [1, 2, 7, 9])


def test_what_is_unknown_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    run_command(show.main, [str(MODELS / "dag_crop" / "model.mat")])
    reason = capsys.readouterr().out.split("? = ")[1]
    assert "--input-size x=CxHxW --input-size ref=CxHxW" in reason
    with pytest.raises(MatnetError, match=r"'ref': .channels, height, width."):
        require_sizes(matnet.load(MODELS / "dag_crop" / "model.mat"), ["ref"], {})


def test_an_unknown_input_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    model = str(MODELS / "dag_crop" / "model.mat")
    assert run_command(show.main, [model, "--input-size", "re=2x7x9"]) == 2
    assert {"'re'", "ref"} <= set(capsys.readouterr().err.replace(",", " ").replace(";", " ").split())


def test_boxes_have_a_usual_size() -> None:
    net = matnet.load(MODELS / "dag_roipooling_max" / "model.mat")
    assert net.default_input_shapes(3) == {"rois": (3, 5, 1, 1)}
    given = given_input_shapes(net, {"x": (12, 20, 30), "rois": (128, 5)})
    assert given == {"x": (1, 12, 20, 30), "rois": (128, 5, 1, 1)}


@pytest.mark.process
def test_run_refuses_arrays_of_another_size(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, target = tmp_path / "in.npz", tmp_path / "out.npz"
    np.savez(source, in__input=np.zeros((2, 1, 8, 8), np.float32))
    digits = "digits-lenet"
    assert run_command(run.main, [digits, str(source), str(target), "--input-size", "8x8"]) == 0
    target.unlink()
    assert run_command(run.main, [digits, str(source), str(target), "--input-size", "10x9"]) == 2
    assert "1x10x9" in capsys.readouterr().err
    assert not target.exists()


def test_preprocessing_takes_the_images_size() -> None:
    command = argparse.ArgumentParser()
    add_preprocessing(command)
    net = matnet.load("digits-lenet")
    (image,) = net.data_inputs()
    for text in ("12x10", f"{image}=12x10", f"{image}=1x12x10"):
        assert preprocessing_from(net, command.parse_args(["--input-size", text])).image_size == (12, 10)


def test_a_conversion_takes_them_by_input() -> None:
    options = convert_parser().parse_args(["--input-size", "data=3x20x30", "--input-size", "im_info=1x3"])
    assert given_sizes(options) == {"data": (3, 20, 30), "im_info": (1, 3)}


FILTERS = (
    "layer { name: 'f' type: 'Convolution' bottom: 'data' top: 'c' convolution_param { num_output: 3 kernel_size: 1 } }"
)


@pytest.mark.parametrize(("type", "kernel", "free"), [
    ("Convolution", 3, True), ("Convolution", 1, False), ("Deconvolution", 4, False),
])  # fmt: skip
def test_one_pixel_for_larger_filters_is_any_size(type: str, kernel: int, free: bool, tmp_path: Path) -> None:
    """OpenPose's pose_deploy.prototxt: `input_dim: 1 # This value will be defined at runtime`, for height and width.

    DCGAN's generator deconvolves a vector of 1 x 1 with filters of 4 x 4.
    """
    file = tmp_path / "net.prototxt"
    head = "input: 'data' input_dim: 1 input_dim: 3 input_dim: 1 input_dim: 1 "
    filters = FILTERS.replace("kernel_size: 1", f"kernel_size: {kernel} pad: 1").replace("Convolution", type)
    file.write_text(head + filters)
    net = matnet.convert_caffe(file, placeholders=True)
    assert net.input_shapes == ({} if free else {"data": (1, 3, 1, 1)})
    assert any("'data' is 1x1" in note for note in net.source.notes) is free
    assert matnet.convert_caffe(file, placeholders=True, input_size=(1, 1)).input_shapes == {"data": (1, 3, 1, 1)}


@pytest.mark.parametrize("names", ["caffe", "upstream"])
def test_an_image_whose_name_is_changed_is_an_image(names: str, tmp_path: Path) -> None:
    """MatConvNet's importer writes `_` for `-`: filters are reversed and preprocessing is stated all the same."""
    file = tmp_path / "net.prototxt"
    head = "input: 'my-data' input_dim: 1 input_dim: 3 input_dim: 8 input_dim: 9 "
    file.write_text(head + FILTERS.replace("data", "my-data"))
    net = matnet.convert_caffe(file, placeholders=True, names=names)
    assert list(net.meta["caffe"]["flipped"]) == net.inputs == ["my-data" if names == "caffe" else "my_data"]
    np.testing.assert_array_equal(net.meta["normalization"]["imageSize"], [[8, 9, 3]])


JOINED = "layer {{ name: 'l' type: '{}' bottom: 'c' bottom: 'other' top: 'y' }}"
POOLED = "layer { name: 'l' type: 'Pooling' bottom: 'other' top: 'y' pooling_param { kernel_size: 2 } }"
ALONE = "layer { name: 'l' type: 'TanH' bottom: 'other' top: 'y' }"
RECURRENT = """layer { name: 'k' type: 'Input' top: 'cont' input_param { shape { dim: 5 dim: 9 } } }
    layer { name: 's' type: 'ReLU' bottom: 'other' top: 's' }
    layer { name: 'l' type: 'RNN' bottom: 's' bottom: 'cont' top: 'y' recurrent_param { num_output: 4 } }"""


@pytest.mark.parametrize(
    "inputs",
    ["input: 'data' input: 'other'", "layer { type: 'HDF5Data' top: 'data' } layer { type: 'HDF5Data' top: 'other' }"],
)
@pytest.mark.parametrize(
    ("readers", "size", "expected"),
    [
        (JOINED.format("Eltwise"), (3, 20, 30), (1, 3, 20, 30)),
        (JOINED.format("Concat"), (5, 20, 30), (1, 5, 20, 30)),
        (POOLED, (5, 9, 7), (1, 5, 9, 7)),
        (ALONE, (5, 9, 7), (1, 5, 9, 7)),
        (ALONE, (9, 7), (9, 7, 1, 1)),
        (ALONE, (9,), (9, 1, 1, 1)),
        (ALONE, (2, 5, 9, 7), (2, 5, 9, 7)),
        (RECURRENT, (5, 9, 7), (5, 9, 7, 1)),
    ],
    ids=str,
)
def test_three_numbers_are_an_image_unless_a_layer_reads_sequences(
    inputs: str, readers: str, size: tuple[int, ...], expected: tuple[int, ...], tmp_path: Path
) -> None:
    """`other`, of which the file says nothing: its numbers are C x H x W, or all of its axes."""
    path = tmp_path / "net.prototxt"
    path.write_text(f"{inputs} {FILTERS} {readers}")
    net = matnet.convert_caffe(path, placeholders=True, input_size={"data": (3, 20, 30), "other": size})
    assert net.input_shapes["other"] == expected


@pytest.mark.parametrize("size", [(3, 20, 30), (2, 3, 20, 30)])
def test_a_size_without_a_name_is_also_that_of_what_is_added_to_the_image(
    size: tuple[int, ...], tmp_path: Path
) -> None:
    path = tmp_path / "net.prototxt"
    path.write_text(
        "input: 'data' input: 'other' layer { name: 'l' type: 'Eltwise' bottom: 'data' bottom: 'other' top: 'y' }"
    )
    net = matnet.convert_caffe(path, input_size=size)
    assert set(net.input_shapes.values()) == {(1, 3, 20, 30)[: 4 - len(size)] + size}


@pytest.mark.parametrize("verb", ["doctor", "eval", "features", "predict", "run", "show"])
def test_a_size_reaches_the_conversion_of_caffes_files(
    verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The form of some layers, and how images are prepared, depend on it: so all commands must hand it over."""
    text = 'name: "n"\nlayer { name: "conv1" type: "Convolution" bottom: "data" top: "c" }\n'
    (tmp_path / "net.prototxt").write_text(text)
    (tmp_path / "photo.png").write_bytes(b"")
    seen = {}

    def load(source: str, **options: object) -> None:
        seen.update(options)
        raise MatnetError("enough")

    monkeypatch.setattr("matnet.arguments.load", load)
    monkeypatch.chdir(tmp_path)
    rest = {
        "eval": ["--data", "."], "features": ["photo.png", "--layer", "conv1", "--out", "o.npz"], "show": [],
        "predict": ["photo.png"], "run": ["photo.png", "o.npz"], "doctor": [],
    }  # fmt: skip
    command = importlib.import_module("matnet.doctor.__main__" if verb == "doctor" else f"matnet.{verb}")
    assert run_command(command.main, ["net.prototxt", *rest[verb], "--input-size", "32x48"]) == 2
    assert "enough" in capsys.readouterr().err
    assert seen["input_size"] == (32, 48)
