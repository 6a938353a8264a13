"""Every option that a command accepts is obeyed or refused by name; an empty argument is no model and no folder."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest

import matnet
from matnet import diff, run
from matnet.errors import run_command
from tests.helpers import assert_line
from tests.tiny_models import colours

PHOTO = str(Path(matnet.__file__).parent / "models" / "digits-lenet" / "test" / "7" / "0007.png")
TEST = str(Path(PHOTO).parents[1])


def status_of(verb: str, *arguments: str) -> int:
    command = importlib.import_module("matnet.doctor.__main__" if verb == "doctor" else f"matnet.{verb}")
    return run_command(command.main, [str(argument) for argument in arguments])


IMAGES = {
    "predict": [PHOTO],
    "features": [PHOTO, "--layer", "ip1", "--out", "f.npz"],
    "eval": ["--data", TEST, "--limit", "3"],
    "doctor": [],
    "run": [PHOTO, "o.npz"],
    "show": [],
}


@pytest.mark.parametrize("verb", IMAGES)
def test_a_size_for_an_input_that_does_not_exist(
    verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert status_of(verb, "digits-lenet", *IMAGES[verb], "--input-size", "foo=9x9") == 2
    assert_line(capsys.readouterr().err, "'foo'", "input")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("option", [["--mean", "5"], ["--ten-crop"], ["--color", "bgr"], ["--exif"]])
def test_arrays_are_not_prepared(option: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(tmp_path / "in.npz", in__data=np.zeros((1, 1, 8, 8), np.float32))
    arguments = ["digits-lenet", str(tmp_path / "in.npz"), str(tmp_path / "out.npz")]
    assert run_command(run.main, [*arguments, *option]) == 2
    assert_line(capsys.readouterr().err, option[0], "in.npz", "arrays")
    assert run_command(run.main, arguments) == 0


def test_two_arrays_for_one_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """digits-lenet's input is `input` in the file and `data` in Caffe."""
    x = np.zeros((1, 1, 8, 8), np.float32)
    np.savez(tmp_path / "in.npz", in__data=x, in__input=x + 1)
    names = matnet.load("digits-lenet").names_of_input("input")
    assert {"data", "input"} <= set(names)
    assert run_command(run.main, ["digits-lenet", str(tmp_path / "in.npz"), str(tmp_path / "out.npz")]) == 2
    assert_line(capsys.readouterr().err, "in.npz", "data", "input")


def test_scores_of_another_number_than_the_classes(capsys: pytest.CaptureFixture[str]) -> None:
    """digits-lenet names 10 classes; its layer ip1 has 64 outputs."""
    for verb in ("predict", "eval"):
        assert status_of(verb, "digits-lenet", *IMAGES[verb], "--scores", "ip1") == 2
        assert_line(capsys.readouterr().err, "10 classes", "64")


@pytest.mark.parametrize("verb", ["run", "show", "convert"])
def test_a_negative_seed(
    verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert status_of(verb, "digits-lenet", *IMAGES.get(verb, []), "--random-weights", "--seed", "-3") == 2
    assert_line(capsys.readouterr().err, "seed", "-3")


@pytest.mark.parametrize(
    ("verb", "arguments"),
    [
        ("predict", ["", PHOTO]),
        ("predict", ["digits-lenet", ""]),
        ("show", [""]),
        ("convert", ["a.mat", "--to-caffe", ""]),
    ],
)
def test_an_empty_argument(
    verb: str, arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An unset variable of a shell must not mean the current folder."""
    matnet.save(matnet.load("digits-lenet"), tmp_path / "a.mat")
    monkeypatch.chdir(tmp_path)
    assert status_of(verb, *arguments) == 2
    assert_line(capsys.readouterr().err, "empty")


def test_two_files_that_take_other_channel_orders_differ(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same Caffe filters, turned for R, G, B images in one file and as they are in the other: other answers."""
    for name, flipped in (("a.mat", []), ("b.mat", ["input"])):
        net = colours()
        filters = np.arange(9, dtype=np.float32).reshape(1, 1, 3, 3)
        net.params["f"].value = np.tile(filters[:, :, ::-1] if flipped else filters, (2, 2, 1, 1))
        net.meta["caffe"] = {"flipped": flipped}
        matnet.save(net, tmp_path / name)
    assert run_command(diff.main, [str(tmp_path / "a.mat"), str(tmp_path / "b.mat"), "--no-meta"]) == 1
    assert_line(capsys.readouterr().out, "f", "6")
