"""Every option that a command accepts is obeyed or refused by name; an empty argument is no model and no folder."""

from __future__ import annotations

import hashlib
import importlib
import shutil
from pathlib import Path

import numpy as np
import pytest

import matnet
from matnet import diff, run
from matnet.command_line import run_command
from matnet.reproduction.expected import expected_rows
from matnet.zoo import cards
from matnet.zoo.model_info import import_info
from tests.helpers import assert_line
from tests.hostile_server import Behaviour, serving
from tests.tiny_models import colours

DIGITS = Path(matnet.__file__).parent / "models" / "digits-lenet"
PHOTO = str(DIGITS / "test" / "7" / "0007.png")
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


@pytest.mark.parametrize("second", ["in__input", "data", "input"])
def test_two_arrays_for_one_input(second: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """digits-lenet's input is `input` in the file and `data` in Caffe."""
    x = np.zeros((1, 1, 8, 8), np.float32)
    np.savez(tmp_path / "in.npz", **{"in__data": x, second: x + 1})
    names = matnet.load("digits-lenet").names_of_input("input")
    assert {"data", "input"} <= set(names)
    assert run_command(run.main, ["digits-lenet", str(tmp_path / "in.npz"), str(tmp_path / "out.npz")]) == 2
    assert_line(capsys.readouterr().err, "in.npz", "data", "input")


@pytest.mark.process
def test_scores_of_another_number_than_the_classes(capsys: pytest.CaptureFixture[str]) -> None:
    """digits-lenet names 10 classes; its layer ip1 has 64 outputs."""
    for verb in ("predict", "eval", "doctor"):
        images = [TEST] if verb == "doctor" else IMAGES[verb]
        assert status_of(verb, "digits-lenet", *images, "--scores", "ip1") == 2
        assert_line(capsys.readouterr().err, "10 class names", "'ip1'", "64", "--scores")


@pytest.mark.process
@pytest.mark.parametrize("to", [["--to-onnx", "o"], ["--to-caffe", "o"], []])
@pytest.mark.parametrize("given", ["--from", "--mirror", "--caffemodel"])
def test_where_a_known_model_comes_from_holds_for_every_form(
    given: str, to: list[str], home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """A model whose weights nobody publishes under an address that answers; they lie in a folder, or on a mirror."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MATNET_OFFLINE", raising=False)
    cards.cards_in.cache_clear()
    weights = (DIGITS / "digits-lenet.caffemodel").read_bytes()
    sha1 = hashlib.sha1(weights).hexdigest()
    folder = tmp_path / "made" / "tiny"
    folder.mkdir(parents=True)
    (folder / "readme.md").write_text(f"---\nname: Tiny\ncaffemodel: t.caffemodel\nsha1: {sha1}\n---\n\n# Tiny\n")
    (folder / "deploy.prototxt").write_bytes((DIGITS / "deploy.prototxt").read_bytes())
    import_info(folder)
    (tmp_path / "carried").mkdir()
    (tmp_path / "carried" / "t.caffemodel").write_bytes(weights)
    with serving(Behaviour(content=weights)) as url:
        value = {"--from": "carried", "--mirror": url, "--caffemodel": "carried/t.caffemodel"}[given]
        assert status_of("convert", "tiny", given, value, *to) == 0, capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} > {"carried", "made"}


def test_layers_of_a_definition_are_not_chosen_in_a_known_models_mat_file(capsys: pytest.CaptureFixture[str]) -> None:
    for option in (["--phase", "TRAIN"], ["--stage", "x"]):
        assert status_of("show", "digits-lenet", *option) == 2
        assert_line(capsys.readouterr().err, option[0], "Caffe")


@pytest.mark.parametrize("to", ["--to-onnx", "--to-torch"])
def test_the_line_about_an_export_names_what_the_file_holds(
    to: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if to == "--to-torch":
        pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    assert status_of("convert", "digits-lenet", to, "out", "--outputs", "conv1") == 0
    said = capsys.readouterr().out
    net = matnet.load("digits-lenet")
    count = net["conv1"].filters.size + net["conv1"].biases.size
    assert_line(said, "out", f"{count:,} numbers", f"outputs: {net.resolve('conv1')};")


def test_labels_that_are_numbers_are_not_moved_by_the_names_of_classes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = sorted((DIGITS / "test").glob("*/*.png"))[::40]
    (tmp_path / "val.txt").write_text("".join(f"{path} {path.parent.name}\n" for path in images))
    (tmp_path / "names.txt").write_text("".join(f"class {9 - number}\n" for number in range(10)))
    given = ["digits-lenet", "--data", str(tmp_path / "val.txt")]
    assert status_of("eval", *given) in (0, 1)
    assert "--classes" not in capsys.readouterr().err
    assert status_of("eval", *given, "--classes", str(tmp_path / "names.txt")) in (0, 1)
    assert_line(capsys.readouterr().err, "labels are numbers", "--classes")


def test_labels_of_classes_are_not_those_of_another_output(tmp_path: Path) -> None:
    """ip1 has 64 outputs, digits-lenet 10 classes."""
    pytest.importorskip("torch")
    from matnet.torch import save_torch

    net = matnet.load("digits-lenet")
    for outputs, written in ((["ip1"], False), (["prob"], True), (["ip1", "prob"], True)):
        folder = tmp_path / "-".join(outputs)
        save_torch(net, folder, outputs)
        assert (folder / "labels.txt").exists() == written
        assert ("print(classes[best])" in (folder / "README.md").read_text()) == (outputs == ["prob"])


def test_a_data_set_that_no_row_is_measured_on_is_a_note(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sets = ["--imagenet", "--voc", "--lfw"]
    given = [text for option in sets for text in (option, str(tmp_path))]
    given += ["--data", f"cifar10={tmp_path}", "--limit", "5"]
    assert status_of("reproduce", "--models", "digits-lenet", *given) == 0
    err = capsys.readouterr().err
    for option in (*sets, "--data cifar10="):
        assert_line(err, option, "no row")


def test_a_foreign_folder_in_the_place_of_unfinished_features(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "f.npz.part").mkdir()
    (tmp_path / "f.npz.part" / "thesis.txt").touch()
    for more in ([], ["--no-resume"]):
        given = [PHOTO, "--layer", "ip1", "--out", str(tmp_path / "f.npz")]
        assert status_of("features", "digits-lenet", *given, *more) == 2
        err = capsys.readouterr().err
        assert_line(err, "f.npz.part", "thesis.txt")
        assert "--no-resume" not in err
        assert (tmp_path / "f.npz.part" / "thesis.txt").exists()


def test_a_kit_with_objects_alone_is_no_folder_of_classes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("JPEGImages", "Annotations"):
        (tmp_path / "VOCdevkit" / "VOC2007" / name).mkdir(parents=True)
    shutil.copy(DIGITS / "digits-lenet.mat", tmp_path / "net.mat")
    assert status_of("eval", str(tmp_path / "net.mat"), "--data", str(tmp_path / "VOCdevkit")) == 2
    assert_line(capsys.readouterr().err, "VOC2007", "ImageSets", "Main")


def test_a_published_file_under_another_name_is_known_by_its_checksum(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(DIGITS / "digits-lenet.mat", tmp_path / "net.mat")
    (row,) = expected_rows([str(tmp_path / "net.mat")])
    assert (row.card.name, row.file) == ("digits-lenet", tmp_path / "net.mat")
    (tmp_path / "own.mat").write_bytes(b"x")
    assert status_of("reproduce", "--models", str(tmp_path / "own.mat")) == 2
    assert_line(capsys.readouterr().err, "own.mat", "eval")


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
        ("predict", ["digits-lenet", PHOTO, "--mean="]),
        ("run", ["digits-lenet", PHOTO, "o.npz", "--outputs="]),
        ("show", ["digits-lenet", "--import="]),
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
