"""What commands answer to mistakes that beginners make: the file, option or value that mends each one is named."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

import matnet
from matnet import convert, diff, features, predict
from matnet import eval as evaluation
from matnet.command_line import run_command
from matnet.conversion_arguments import conversion_options
from matnet.datasets import load_images
from matnet.doctor.meta_checks import meta_findings
from matnet.errors import DataError, nearest_names
from matnet.image_arguments import parsed, preprocessing_from
from matnet.images import Preprocessing
from matnet.meta.normalization import read_normalization
from matnet.reproduction.command import main as reproduction
from tests.conftest import DATA
from tests.tiny_models import colours

CAFFE = DATA / "caffe/net_alexnet"


def answer(capsys: pytest.CaptureFixture[str], main: Callable[[list[str]], int], *given: object) -> tuple[int, str]:
    status = run_command(main, list(map(str, given)))  # type: ignore[arg-type]
    captured = capsys.readouterr()
    return status, captured.out + captured.err


@pytest.fixture
def model(tmp_path: Path) -> Path:
    colours().save(tmp_path / "net.mat")
    return tmp_path / "net.mat"


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    Image.new("RGB", (2, 2), (200, 50, 100)).save(tmp_path / "a.png")
    return tmp_path / "a.png"


@pytest.mark.process
@pytest.mark.parametrize("flipped", [False, True])
def test_a_bluish_mean_file_is_named_with_its_colour_in_the_order_of_the_file(
    flipped: bool, model: Path, photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    planes = np.full((3, 2, 2), 1, np.float32) * np.array([125.5, 123, 113.5], np.float32)[:, None, None]
    np.save(tmp_path / "mean.npy", planes)
    net = matnet.load(model)
    if flipped:
        net.meta["caffe"] = {"flipped": net.inputs[0]}
        net.save(model)
    _, said = answer(capsys, predict.main, model, photo, "--mean", tmp_path / "mean.npy", "--input-size", "2x2")
    assert "mean.npy" in said and "--mean 125.5 123 113.5" in said
    assert ("--color-format rgb" in said) == ("--color bgr" in said) == flipped


def test_a_missing_safetensors_is_named_with_what_installs_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", sys.modules.get("torch") or ModuleType("torch"))
    for name in ("safetensors", "safetensors.torch"):
        monkeypatch.setitem(sys.modules, name, None)
    status, said = answer(capsys, convert.main, "digits-lenet", "--to-torch", tmp_path / "out")
    assert status == 2 and "safetensors" in said and "pip install 'matnet[torch]'" in said
    assert list(tmp_path.iterdir()) == []


COLOURS = ["--mean 10,20,30", "--mean 10 20 30", "--mean-values 10,20,30", "--mean-values 10 20 30",
           "--mean=10,20,30", "--mean-values '10, 20, 30'", "--mean 10, 20, 30",
           "--mean-values (10,20,30)"]  # fmt: skip


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("verb", ["predict", "convert"])
def test_a_mean_colour_has_one_spelling_everywhere(
    verb: str, colour: str, model: Path, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if verb == "predict":
        given = parsed(predict.parser(), [*shlex.split(colour), str(model), str(photo)])
        options = preprocessing_from(matnet.load(model), given)
        np.testing.assert_array_equal(options.mean, [10, 20, 30])
    else:
        found: dict[str, object] = {}
        monkeypatch.setattr("matnet.convert.convert", lambda given: found.update(conversion_options(given)))
        files = [CAFFE / "deploy.prototxt", CAFFE / "weights.caffemodel", tmp_path / "out.mat"]
        assert convert.main([*map(str, files), *shlex.split(colour)]) == 0
        assert found == {"mean_values": [10, 20, 30]}


@pytest.mark.parametrize("name", ["my photos", "a folder of photos"])
def test_a_name_with_blanks_that_was_not_quoted(
    name: str, model: Path, photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    Path(name).mkdir()
    shutil.copy(photo, Path(name, "1.png"))
    status, said = answer(capsys, predict.main, model, *name.split())
    assert status == 2 and f'"{name}"' in said and "quote it" in said


def test_a_whole_network_with_a_prototxt_to_write_names_to_caffe(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, said = answer(capsys, convert.main, model, tmp_path / "out.prototxt")
    assert status == 2 and f"--to-caffe {tmp_path / 'out'}" in said and list(tmp_path.glob("out*")) == []
    there = CAFFE / "deploy.prototxt"
    status, said = answer(capsys, convert.main, model, there)
    assert status == 2 and "--to-caffe" in said and str(there) in said


def test_a_size_that_nothing_states_is_not_blamed_on_meta() -> None:
    with pytest.raises(DataError) as missing:
        read_normalization({}, mean=np.float32([1, 2, 3]))
    assert "image_size" in str(missing.value) and "meta.normalization" not in str(missing.value)
    with pytest.raises(DataError, match=r"meta\.normalization"):
        read_normalization({"normalization": {"averageImage": np.float32([1, 2, 3])}})


def test_eval_of_a_model_and_images_names_the_option_for_images(
    model: Path, photo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, said = answer(capsys, evaluation.main, model, photo)
    assert status == 2 and str(photo) in said and "--data" in said


@pytest.mark.process
def test_diff_says_when_only_meta_differs(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net = matnet.load(model)
    net.meta["note"] = "other"
    net.save(tmp_path / "meta.mat")
    status, said = answer(capsys, diff.main, model, tmp_path / "meta.mat")
    assert status == 1 and "--no-meta" in said
    next(iter(net.params.values())).value = next(iter(net.params.values())).value + 1
    net.save(tmp_path / "params.mat")
    status, said = answer(capsys, diff.main, model, tmp_path / "params.mat")
    assert status == 1 and "--no-meta" not in said and said.splitlines()[-1].endswith("params, meta")


def test_a_file_of_another_kind_to_write_is_not_taken_for_weights(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("own.h5", "own.caffemodel", "own.prototxt"):
        status, said = answer(capsys, convert.main, model, tmp_path / name)
        assert status == 2 and name in said and "another name" in said
        assert not (tmp_path / name).exists()


def test_names_that_begin_alike_are_near_where_no_whole_name_is() -> None:
    """Layers of Caffe's networks have names of several parts."""
    known = ["conv1", "fire9/squeeze1x1", "fire9/concat", "fire9/squeeze1x1"]
    assert nearest_names("fier9", known) == ["fire9/squeeze1x1"]
    assert nearest_names("conv11", known) == ["conv1"]
    assert nearest_names("prob", known) == []


def test_a_mean_of_two_numbers_is_answered_with_the_numbers_that_it_takes(
    model: Path, photo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, said = answer(capsys, predict.main, model, "--mean", "123", "117", photo)
    assert status == 2 and "--mean 123 117" in said and "R G B" in said


@pytest.mark.parametrize("verb", ["features", "onnx"])
def test_an_unknown_layer_is_answered_with_the_command_that_lists_them(
    verb: str, model: Path, photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given: dict[str, tuple[Any, ...]] = {
        "features": (features.main, model, photo, "--layer", "fc9", "--out", tmp_path / "o.npz"),
        "onnx": (convert.main, model, "--to-onnx", tmp_path / "o.onnx", "--outputs", "fc9"),
    }
    status, said = answer(capsys, *given[verb])
    assert status == 2 and "'fc9'" in said and "show MODEL" in said


def test_in_python_the_attributes_that_list_layers_are_named() -> None:
    with pytest.raises(matnet.NetworkError, match=r"net\.variables"):
        colours().resolve("fc9")


def test_a_missing_folder_of_voc_is_answered_with_the_year_that_was_asked_for(tmp_path: Path) -> None:
    from matnet.datasets.voc import voc_home

    with pytest.raises(DataError, match="VOC2007"):
        voc_home(tmp_path / "none", "2007")


def test_features_refuses_a_foreign_file_before_it_lists_what_that_holds(
    model: Path, photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "o.npz"
    np.savez(target, **{f"mine{number}": np.zeros(2) for number in range(9)})
    before = target.read_bytes()
    layer = matnet.load(model).outputs[0]
    status, said = answer(capsys, features.main, model, photo, "--layer", layer, "--input-size", "2x2", "--out", target)
    assert status == 2 and said.index("another name") < said.index("mine0") and target.read_bytes() == before


@pytest.mark.parametrize("main", [features.main, diff.main, predict.main, convert.main, evaluation.main, reproduction])
def test_a_usage_error_fits_on_a_few_lines(main: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        run_command(main, ["--no-such-option"])
    assert stopped.value.code == 2 and len(capsys.readouterr().err.splitlines()) <= 5


def test_an_onnx_name_without_the_option_is_answered_with_the_option(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "net.onnx"
    status, said = answer(capsys, convert.main, model, target)
    assert status == 2 and f"--to-onnx {target}" in said and not target.exists()


def test_an_export_is_reported_without_pythons_brackets(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, said = answer(capsys, convert.main, model, "--to-onnx", tmp_path / "net.onnx")
    assert status == 0 and "<Network" not in said and "net.onnx" in said and " nodes" in said


def test_the_labels_of_a_pytorch_folder_have_ids_and_names() -> None:
    from matnet.torch.package import label_lines

    net = colours()
    net.classes = ["n01440764", "n01443537", "n01484850"]
    assert label_lines(net)[0] == "n01440764 tench, Tinca tinca"  # synset_words.txt of Caffe, line 1
    net.classes = ["red", "green", "blue"]
    assert label_lines(net) == ["red", "green", "blue"]


@pytest.mark.parametrize("shape", [(1, 3), (1, 3, 1, 1), (1, 3, 2, 2)])
def test_the_example_of_a_pytorch_folder_prints_a_class(
    shape: tuple[int, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from matnet.torch.package import example

    scores = np.zeros(shape)
    scores[:, 1] = 1
    parts = {"torch": ("from_numpy", lambda value: value), "preprocess": ("prepare", lambda path: path)}
    for name, (attribute, value) in {**parts, "model": ("load", lambda: lambda image: scores)}.items():
        stub = ModuleType(name)
        setattr(stub, attribute, value)
        monkeypatch.setitem(sys.modules, name, stub)
    (tmp_path / "labels.txt").write_text("red\ngreen\nblue\n")
    monkeypatch.chdir(tmp_path)
    exec(example(True, True), {})
    assert capsys.readouterr().out == "green\n"


def test_the_doctor_names_both_the_order_and_the_mean_of_a_converted_network_with_a_bluish_mean() -> None:
    net = colours()
    prepared = Preprocessing.of(net, image_size=(2, 2), mean=(113.5, 123, 125.5))
    remedies = []
    for caffe in ({}, {"flipped": net.inputs[0]}, {"flipped": []}):
        net.meta["caffe"] = caffe
        remedies += [item.remedy for item in meta_findings(net, prepared, net.outputs[0]) if "bluer" in item.what]
    assert len(remedies) == 3 and all("--mean 125.5 123 113.5" in text for text in remedies)
    assert ["--color-format rgb" in text for text in remedies] == [False, True, False]
    assert ["--color-format bgr" in text for text in remedies] == [False, False, True]
    assert all("--color bgr --mean 125.5" in text for text in remedies[1:])
    assert all(text.startswith("--mean 125.5 123 113.5") for text in remedies), "the mean alone may be reversed"


@pytest.mark.parametrize("mean, blue", [("104,117,123", True), ("123,117,104", False), ("73", False)])
def test_a_bluish_mean_is_doubted_by_the_conversion_that_keeps_it(
    mean: str, blue: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    status, said = answer(capsys, convert.main, CAFFE / "deploy.prototxt", "--mean-values", mean)
    assert status == 0 and ("--mean 123 117 104" in said) == blue


def test_an_option_is_not_abbreviated_and_its_nearest_names_are_given(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--color rgb` of predict is the default for Caffe files; `--color-format rgb` of convert is not."""
    with pytest.raises(SystemExit):
        answer(capsys, convert.main, model, "--color", "rgb")
    assert "--color-format" in capsys.readouterr().err.split("nearest")[1]
    with pytest.raises(SystemExit):
        answer(capsys, convert.main, model, "--classes=ilsvrc12")
    assert "--class-names" in capsys.readouterr().err.split("nearest")[1]


def test_a_list_that_does_not_exist_is_named_as_missing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"lables\.txt: no such"):
        load_images(tmp_path / "lables.txt", root=tmp_path)


def test_three_names_for_diff_are_answered_with_the_form_of_a_pair(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, said = answer(capsys, diff.main, CAFFE / "deploy.prototxt", "none.caffemodel", model)
    assert status == 2 and "none.caffemodel: no such file" in said and "NET.prototxt,WEIGHTS.caffemodel" in said
    pair = CAFFE / "deploy.prototxt", CAFFE / "weights.caffemodel"
    assert answer(capsys, diff.main, *pair, model)[0] == 1
