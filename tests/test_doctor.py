"""The doctor names what was turned wrong on purpose: preprocessing, labels, weights, meta.

The network is digits-lenet, whose right preprocessing (8 x 8 gray, minus 73) and error (2.82 % of its 355 test images)
stand in its card.
"""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import matnet
from matnet import eval as eval_command
from matnet.arguments import ENGINE
from matnet.command_line import run_command
from matnet.converters.transposition import swap_rows_and_columns
from matnet.datasets import ImageList, load_images
from matnet.doctor import __main__ as doctor
from matnet.doctor.advice import advised_doctor
from matnet.doctor.checks import check_network
from matnet.doctor.findings import PROBLEM
from matnet.doctor.label_changes import label_changes
from matnet.doctor.permanent import mended, write_preprocessing
from matnet.doctor.search import LABELS, UNDECIDED, WORSE
from matnet.evaluation.classes import align
from matnet.evaluation.command import embedded_data, embedded_model
from matnet.formats.mat.values import Cell
from matnet.image_arguments import parsed
from matnet.images import Preprocessing
from matnet.network import Layer, Network
from matnet.ops.base import Unknown
from matnet.ops.normalization import BatchNorm
from matnet.ops.training import Loss
from matnet.params import Param
from tests.doctor_runs import every, search
from tests.helpers import assert_line
from tests.tiny_models import gray_classifier

MODEL, DIGITS = Path(embedded_model()), Path(embedded_data())
REORDERED = np.array([3, 7, 1, 9, 0, 2, 8, 4, 6, 5])


# --- digits-lenet, turned wrong ---


@pytest.fixture(scope="module")
def digits() -> ImageList:
    return align(matnet.load(MODEL), load_images(DIGITS), 10, None, None)


@pytest.mark.process
@pytest.mark.parametrize(
    ("change", "knob"),
    [
        ({"scale": 1 / 255}, "scale"),
        ({"mean": None}, "mean"),
        ({"mean": (160,)}, "mean"),
        ({"crop_fraction": (0.6, 0.6), "resize": "vl_imreadjpeg"}, "crop"),
    ],
)
def test_a_wrong_preprocessing_is_named(change: dict[str, Any], knob: str, digits: ImageList) -> None:
    net = matnet.load(MODEL)
    found = search(net, digits, replace(Preprocessing.of(net), **change))
    assert found.best is not None and found.best.knob == knob
    assert found.best.error < 4 < found.best.base_error


@pytest.mark.process
def test_transposed_images_are_named(digits: ImageList) -> None:
    net = matnet.load(MODEL)
    prepared = Preprocessing.of(net)
    swap_rows_and_columns(net)
    found = search(net, digits, prepared)
    assert found.best is not None and found.best.knob == "transposed"
    np.testing.assert_allclose(found.best.error, 2.82, atol=0.01)  # the error of the card, on all images


@pytest.mark.process
def test_labels_in_another_order_are_named(digits: ImageList) -> None:
    net = matnet.load(MODEL)
    found = search(net, replace(digits, labels=REORDERED[digits.labels]), Preprocessing.of(net))
    assert found.best is not None and found.best.knob == "labels" and found.by_chance
    np.testing.assert_allclose(found.best.error, 2.82, atol=0.01)
    # Label REORDERED[k] is the digit k, which is output k.
    assert all(f"{label} is output {k}" in found.best.what for k, label in enumerate(REORDERED) if label != k)


@pytest.mark.process
def test_wrong_labels_and_a_wrong_scale_are_found_together(digits: ImageList) -> None:
    """Neither change helps alone; together they give the error of the images as they are."""
    net = matnet.load(MODEL)
    places = np.flatnonzero(digits.labels < 9)
    some = replace(digits, paths=tuple(digits.paths[k] for k in places), labels=digits.labels[places] + 1)
    found = search(net, some, replace(Preprocessing.of(net), scale=1 / 255), ("scale", "mean", LABELS))
    assert found.best is not None and found.by_chance
    assert found.best.knob == "scale and labels" and found.best.error < 4
    assert "255 times" in found.best.what and "subtract 1" in found.best.what


@pytest.mark.process
def test_nothing_is_found_where_nothing_is_wrong(digits: ImageList) -> None:
    net = matnet.load(MODEL)
    found = search(net, digits, Preprocessing.of(net))
    assert found.best is None and not found.by_chance
    assert {trial.verdict for trial in found.trials if trial.knob == "channel order"} == set()  # gray
    np.testing.assert_allclose(found.base.error, 2.82, atol=0.01)
    assert next(trial for trial in found.trials if trial.what == "no mean").verdict == WORSE


@pytest.mark.process
def test_few_images_are_not_decidable_and_a_number_is_named(digits: ImageList) -> None:
    net = matnet.load(MODEL)
    few = every(60, digits)
    found = search(net, few, replace(Preprocessing.of(net), mean=None))
    assert found.best is None
    undecided = [trial for trial in found.trials if trial.verdict == UNDECIDED]
    assert any(trial.knob == "mean" for trial in undecided)
    assert all(trial.needed is not None and trial.needed > len(few) for trial in undecided)


# --- what makes it permanent ---


def test_a_written_preprocessing_is_read_again(tmp_path: Path) -> None:
    net = matnet.load(MODEL)
    mean = np.random.default_rng(2).uniform(90, 120, (5, 8, 3)).astype(np.float32)
    wanted = Preprocessing(
        (5, 8), 3, mean, scale=0.25, color="bgr", resize="imresize", interpolation="nearest", keep_aspect=False,
        crop_fraction=(0.5, 0.8), std=np.array([3, 4, 5], np.float32),
    )  # fmt: skip
    write_preprocessing(net, wanted)
    net.meta.pop("inputs", None)
    found = Preprocessing.from_meta(net.meta)
    for name in ("image_size", "scale", "color", "resize", "interpolation", "keep_aspect", "input_range"):
        assert getattr(found, name) == getattr(wanted, name), name
    np.testing.assert_allclose(found.crop_fraction, wanted.crop_fraction)
    np.testing.assert_array_equal(found.mean, wanted.mean)
    np.testing.assert_array_equal(found.std, wanted.std)


@pytest.mark.process
def test_the_mended_network_is_right(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command finds the scale, writes the network, and finds nothing more in what it wrote."""
    net = matnet.load(MODEL)
    write_preprocessing(net, replace(Preprocessing.of(net), scale=1 / 255))
    wrong, fixed, out = tmp_path / "wrong.mat", tmp_path / "fixed.mat", tmp_path / "found.json"
    matnet.save(net, wrong)
    given = [str(wrong), str(DIGITS), "--write", str(fixed), "--json", str(out)]
    assert run_command(doctor.main, given) == 1
    record = json.loads(out.read_text())
    assert record["search"]["best"]["knob"] == "scale" and "--scale" in record["search"]["best"]["remedy"]
    assert "255 times" in capsys.readouterr().out
    np.testing.assert_allclose(Preprocessing.of(matnet.load(fixed)).scale, 1, rtol=1e-6)
    assert run_command(doctor.main, [str(fixed), str(DIGITS)]) == 0
    assert wrong.read_bytes() != fixed.read_bytes()


def test_labels_that_are_wrong_are_not_written_into_a_network(digits: ImageList) -> None:
    net = matnet.load(MODEL)
    shifted = label_changes([], np.array([1, 2, 3]), 10, [])[0]
    with pytest.raises(matnet.MatnetError, match="correct the labels"):
        mended(net, Preprocessing.of(net), None, shifted)


# --- file, graph, meta ---


def findings(tmp_path: Path, capsys: pytest.CaptureFixture[str], change: Callable[[Network], None]) -> list[str]:
    net = matnet.load(MODEL)
    change(net)
    matnet.save(net, tmp_path / "own.mat")
    status = run_command(doctor.main, [str(tmp_path / "own.mat"), "--json"])
    found = json.loads(capsys.readouterr().out)["findings"]
    problems = [f"{item['part']}: {item['what']}" for item in found if item["level"] == PROBLEM]
    assert status == (1 if problems else 0)
    return problems


def with_nan(net: Network) -> None:
    value = net.params["conv2f"].value.copy()
    value[0, 1, 2, 3] = np.nan
    net.params["conv2f"].value = value


def with_equal_filters(net: Network) -> None:
    net.params["conv2f"].value = np.full_like(net.params["conv2f"].value, 0.5)


def with_a_batch_norm_that_was_never_trained(net: Network) -> None:
    """As Caffe's BatchNorm with a factor of 0: means 0, sigma sqrt(eps)."""
    net.params |= {
        "bn_g": Param(np.ones((10, 1), np.float32)),
        "bn_b": Param(np.zeros((10, 1), np.float32)),
        "bn_m": Param(np.tile(np.array([0, 1e-5**0.5], np.float32), (10, 1))),
    }
    last = net.layers.pop("prob")
    net.add(Layer("bn", BatchNorm(), last.inputs, ["normalized"], ["bn_g", "bn_b", "bn_m"]))
    net.add(Layer("prob", last.op, ["normalized"], last.outputs))


def with_a_mean_of_nan(net: Network) -> None:
    net.meta["normalization"]["averageImage"] = np.full((1, 1), np.nan)


def with_other_classes(net: Network) -> None:
    """As files of others may hold; `net.classes` itself refuses them."""
    net.meta["classes"] = {"name": Cell([f"class {k}" for k in range(7)])}


def with_two_sizes(net: Network) -> None:
    write_preprocessing(net, replace(Preprocessing.of(net), image_size=(24, 24)))


def with_another_size(net: Network) -> None:
    write_preprocessing(net, replace(Preprocessing.of(net), image_size=(24, 24)))
    net.meta.pop("inputs", None)
    net.input_shapes.clear()


@pytest.mark.process
@pytest.mark.parametrize(
    ("change", "facts"),
    [
        (lambda net: None, []),
        (with_nan, ["file", "conv2f", "1 of 4,608"]),
        (with_equal_filters, ["file", "conv2f", "0.5"]),
        (with_a_batch_norm_that_was_never_trained, ["file", "'bn'", "0.00316"]),
        (with_a_mean_of_nan, ["meta", "averageImage", "NaN"]),
        (with_other_classes, ["meta", "7 class names", "10 outputs"]),
        (with_two_sizes, ["meta", "24x24", "8x8", "contradict"]),
        (with_another_size, ["meta", "24x24", "fully connected", "8x8"]),
    ],
)
def test_what_is_wrong_without_images(
    change: Callable[[Network], None], facts: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    problems = findings(tmp_path, capsys, change)
    if not facts:
        assert problems == []
    else:
        assert any(all(fact in text for fact in facts) for text in problems), problems


@pytest.mark.parametrize(
    ("mean", "facts"),
    [((104, 117, 123), ["bluer", "--mean 123 117 104"]), ((0.5, 0.45, 0.4), ["0..1", "--input-range 0 1"]),
     ((123, 117, 104), [])],
)  # fmt: skip
def test_a_mean_that_photographs_do_not_have(mean: tuple[float, ...], facts: list[str]) -> None:
    net = gray_classifier()
    found = check_network(net, Preprocessing.of(net, mean=mean))
    said = [f"{item.what} {item.remedy}" for item in found if item.level == PROBLEM]
    assert bool(said) == bool(facts) and all(fact in " ".join(said) for fact in facts)


def test_missing_and_unused_weights() -> None:
    net = matnet.load(MODEL)
    net.params["left"] = net.params.pop("conv2f")
    found = check_network(net)
    assert any("conv2f" in item.what and item.level == PROBLEM for item in found)
    assert any("left" in item.what and item.level != PROBLEM for item in found)


def test_layers_that_only_training_needs_and_types_that_nobody_knows() -> None:
    net = matnet.load(MODEL)
    net.add(Layer("own", Unknown(kind="mylab.Own"), [net.outputs[0]], ["mine"]))
    net.add(Layer("error", Loss(loss="classerror"), ["mine", "label"], ["top1err"]))
    found = check_network(net)
    assert any("mylab.Own" in item.what and item.level == PROBLEM and item.part == "graph" for item in found)
    assert any("error" in item.what and "training" in item.what for item in found)


@pytest.mark.process
def test_an_unreadable_image_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(DIGITS, tmp_path / "data")
    broken = next((tmp_path / "data" / "4").glob("*.png"))
    broken.write_bytes(b"")
    given = [str(MODEL), str(tmp_path / "data"), "--try", "mean", "--limit", "355"]
    assert run_command(doctor.main, given) == 2
    assert str(broken) in capsys.readouterr().err


@pytest.mark.parametrize("content", [b"", b"<!DOCTYPE html><html><body>404</body></html>", "half"])
def test_a_file_that_is_not_whole(content: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "digits-lenet.mat"
    whole = MODEL.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] if content == "half" else content)
    assert run_command(doctor.main, [str(path), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)["findings"]
    assert any(item["level"] == PROBLEM and item["part"] == "file" and str(path) in item["what"] for item in found)


def test_a_file_of_another_program_is_the_users_to_mend(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    matnet.load(MODEL).to_onnx(tmp_path / "net.onnx")
    assert run_command(doctor.main, [str(tmp_path / "net.onnx")]) == 2
    assert_line(capsys.readouterr().err, "net.onnx", "ONNX")


# --- input that cannot be used ---


def test_a_folder_without_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    assert run_command(doctor.main, [str(MODEL), str(tmp_path / "empty")]) == 2
    assert str(tmp_path / "empty") in capsys.readouterr().err


@pytest.mark.process
def test_labels_that_fit_no_class(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("cat", "dog"):
        shutil.copytree(DIGITS / "3", tmp_path / "data" / name)
    assert run_command(doctor.main, [str(MODEL), str(tmp_path / "data")]) == 2
    assert "cat" in capsys.readouterr().err


def test_a_folder_given_as_list_of_labels_is_refused_in_the_words_of_the_command(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for images in ([str(DIGITS)], []):
        assert run_command(doctor.main, [str(MODEL), *images, "--labels", str(DIGITS)]) == 2
        said = capsys.readouterr().err
        assert "--labels" in said and "IMAGES" in said and "--root" not in said


def test_a_network_without_outputs_per_class(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(doctor.main, [str(MODEL), str(DIGITS), "--scores", "conv1"]) == 2
    assert "'conv1'" in capsys.readouterr().err


@pytest.mark.process
def test_a_list_that_counts_from_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Labels 1 to 10 for ten outputs: taken as counted from 1, said, and no change is better."""
    lines = [f"{path.relative_to(DIGITS)} {int(path.parent.name) + 1}" for path in sorted(DIGITS.glob("*/*.png"))]
    (tmp_path / "list.txt").write_text("\n".join(lines))
    given = [str(MODEL), str(DIGITS), "--labels", str(tmp_path / "list.txt"), "--json", "--limit", "100"]
    assert run_command(doctor.main, given) == 1
    found = json.loads(capsys.readouterr().out)
    assert any(item["part"] == "labels" and "subtract 1" in item["remedy"] for item in found["findings"])
    assert found["search"]["best"] is None and found["search"]["base"]["error"] < 5


@pytest.mark.process
def test_the_line_that_eval_prints_finds_the_cause(capsys: pytest.CaptureFixture[str]) -> None:
    given = ["--model", str(MODEL), "--data", str(DIGITS), "--quiet", "--scale", "0.003", "--mean", "73"]
    run_command(eval_command.main, given)
    line = capsys.readouterr().err.split("matnet.doctor ")[1].splitlines()[0]
    assert run_command(doctor.main, [*shlex.split(line), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["search"]["best"]["knob"] == "scale"


GIVEN = {
    "--input-size": "32x30", "--channels": "3", "--mean": "73,60.5,50", "--std": "1,2,3", "--scale": "0.0039215686274",
    "--input-range": "0,1", "--color": "bgr", "--resize": "pillow", "--protocol": "caffe", "--max-pixels": "9999",
    "--scores": "prob", "--classes": "its classes.txt", "--root": "my images", "--net": "net", "--phase": "TRAIN",
    "--level": "1", "--stage": "a b", "--backend": "onnx", "--device": "cpu", "--precision": "fp32", "--threads": "1",
    "--runtime": "auto", "--exif": None, "--lenient": None, "--import": "own layers.py",
}  # fmt: skip
NOT_KEPT = {"--json", "--ten-crop", "-h", "--debug", "--image-size", "--limit"}
"""Options of both commands that say nothing about what is loaded, that the doctor refuses with images, that are another
spelling, or that mean something else: the first N images, and N images at random."""


def test_the_line_that_eval_prints_keeps_every_option_of_both() -> None:
    """Parsed again from a shell's line, by the doctor's own parser, each has the value that it had."""
    kinds = [
        {option for action in parser()._actions for option in action.option_strings[:1]}
        for parser in (eval_command.parser, doctor.parser)
    ]
    assert set(GIVEN) == (kinds[0] & kinds[1]) - NOT_KEPT
    argv = [part for pair in GIVEN.items() for part in pair if part is not None]
    given = parsed(eval_command.parser(), ["net a.mat", "--data", "a list.txt", *argv, "--input-size", "rois=5x4"])
    line = advised_doctor(given, given.named, given.data).split("doctor ", 1)[1]
    found = parsed(doctor.parser(), shlex.split(line))
    assert (found.model, found.images) == ("net a.mat", "a list.txt")
    for name in given.stated:
        if name != "data":
            assert getattr(found, name) == getattr(given, name), name
    alone = parsed(doctor.parser(), shlex.split(advised_doctor(given, given.named, None).split("doctor ", 1)[1]))
    assert alone.images is None and alone.stage == given.stage and alone.mean == given.mean
    assert not {*doctor.ONLY_WITH_IMAGES, *ENGINE} & set(alone.stated)


def test_what_is_not_tried_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        run_command(doctor.main, [str(MODEL), str(DIGITS), "--try", "colour"])
    assert stopped.value.code == 2 and "channel order, mean" in capsys.readouterr().err
