"""Verification of pairs: ROC curve, LFW's folds, and a network's descriptors. Expected figures are worked by hand."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

import matnet
from matnet.command_line import run_command
from matnet.datasets import load_lfw
from matnet.errors import DataError, MatnetError, NetworkError, ShapeError
from matnet.eval import main
from matnet.evaluation import evaluate
from matnet.evaluation.tasks.verification import descriptor_distance, descriptor_variable
from matnet.images import Preprocessing
from matnet.metrics import FoldAccuracy, RocCurve, best_threshold
from matnet.zoo import random_network
from tests.helpers import assert_line
from tests.small_sets import faces
from tests.tiny_models import angle_describer, simple

T, F = True, False

# distances, same -> false accepts and true accepts behind the point that accepts nothing; AUC, equal error rate
CURVES: dict[str, tuple[list[float], list[bool], list[float], list[float], float, float]] = {
    # of 3 x 3 pairs of a same and a different one, 8 are in the right order
    "one out of order": (
        [1, 2, 3, 4, 5, 6],
        [T, T, F, T, F, F],
        [0, 0, 1 / 3, 1 / 3, 2 / 3, 1],
        [1 / 3, 2 / 3, 2 / 3, 1, 1, 1],
        800 / 9,
        100 / 3,
    ),
    # a tie counts half: (2 + 1.5) / 4; the line from (0, 1/2) to (1/2, 1) meets false accepts = false rejects at 1/4
    "a tie in the middle": ([2, 1, 3, 2], [T, T, F, F], [0, 0.5, 1], [0.5, 1, 1], 87.5, 25),
    "all equal": ([7, 7, 7], [T, F, F], [1], [1], 50, 50),
    "perfect": ([0.5, 0.25, 3], [T, T, F], [0, 0, 1], [0.5, 1, 1], 100, 0),
    "all wrong": ([2, 1], [T, F], [1, 1], [0, 1], 0, 100),
}


@pytest.mark.parametrize("case", CURVES.values(), ids=CURVES)
def test_roc_curve(case: tuple[list[float], list[bool], list[float], list[float], float, float]) -> None:
    distances, same, false_accepts, true_accepts, auc, eer = case
    curve = RocCurve.of(np.array(distances), np.array(same))
    np.testing.assert_array_equal(curve.thresholds[1:], sorted(set(distances)))
    assert curve.thresholds[0] < min(distances)
    np.testing.assert_allclose(curve.false_accepts, [0, *false_accepts])
    np.testing.assert_allclose(curve.true_accepts, [0, *true_accepts])
    np.testing.assert_allclose(curve.auc, auc)
    np.testing.assert_allclose(curve.equal_error_rate, eer, atol=1e-12)


def test_corners_leave_the_curve_as_it_is() -> None:
    """Of four points on the two straight parts of a perfect curve, the ends and the bend stay."""
    corners = RocCurve.of(np.arange(5.0), np.array([T, T, T, F, F])).corners()
    np.testing.assert_array_equal(corners.false_accepts, [0, 0, 1])
    np.testing.assert_array_equal(corners.true_accepts, [0, 1, 1])
    np.testing.assert_array_equal(corners.thresholds[1:], [2, 4])
    np.testing.assert_allclose(corners.auc, 100)


# distances and kinds of the other folds -> the threshold
THRESHOLDS: dict[str, tuple[list[float], list[bool], float]] = {
    "between the two nearest": ([0.25, 0.5, 0.75, 2], [T, T, F, F], 0.625),
    "of two equally good ones the lower": ([1, 2, 3, 4], [T, F, T, F], 1.5),
    "accept all": ([3, 1], [T, T], 3),
    "accept none": ([3, 1], [F, F], np.nextafter(1, 0)),
    "equal distances are not told apart": ([1, 1, 1, 5], [T, T, F, F], 3),
}


@pytest.mark.parametrize(("distances", "same", "expected"), THRESHOLDS.values(), ids=THRESHOLDS)
def test_best_threshold(distances: list[float], same: list[bool], expected: float) -> None:
    assert best_threshold(np.array(distances), np.array(same)) == expected


def test_accuracy_over_folds() -> None:
    """Fold 3 is judged by 0.5, half way between 0.2 and 0.8: 3 of 4 right. Fold 8 by 0.425: both right.

    Mean 87.5; deviation of 75 and 100 with divisor 1 is 25 / sqrt 2, over the root of 2 folds 12.5.
    """
    distances = np.array([0.3, 0.2, 0.4, 0.6, 0.8, 0.45])
    same = np.array([T, T, T, F, F, F])
    fold = np.array([3, 8, 3, 3, 8, 3])
    result = FoldAccuracy.of(distances, same, fold)
    np.testing.assert_allclose(result.accuracies, [75, 100])
    np.testing.assert_allclose(result.thresholds, [0.5, 0.425])
    np.testing.assert_allclose([result.mean, result.standard_error], [87.5, 12.5])


REFUSED: dict[str, tuple[object, type[MatnetError], str]] = {
    "one kind": (lambda: RocCurve.of(np.arange(3.0), np.ones(3)), DataError, "3 same and 0 different pairs"),
    "lengths": (lambda: RocCurve.of(np.arange(3.0), np.ones(2)), ShapeError, r"shape \(3,\), pairs \(2,\)"),
    "none": (lambda: RocCurve.of(np.zeros(0), np.zeros(0)), ShapeError, "N >= 1"),
    "not finite": (lambda: best_threshold(np.array([1, np.nan, np.inf]), np.ones(3)), DataError, "2 of 3 distances"),
    "one fold": (lambda: FoldAccuracy.of(np.arange(3.0), np.ones(3), np.ones(3)), DataError, "at least 2"),
    "folds": (lambda: FoldAccuracy.of(np.arange(3.0), np.ones(3), np.arange(2)), DataError, "pairs: 3, folds: 2"),
}


@pytest.mark.parametrize(("call", "error", "message"), REFUSED.values(), ids=REFUSED)
def test_arrays_that_do_not_fit(call: object, error: type[MatnetError], message: str) -> None:
    with pytest.raises(error, match=message):
        call()  # type: ignore[operator]


# -- a network over pairs ---------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["numpy", "onnx"])
def test_pairs_of_faces_by_the_distance_of_descriptors(tmp_path: Path, backend: str) -> None:
    """Fold 0 is judged by (0.765 + 1.414) / 2: both right. Fold 1 by (0 + 1.414) / 2: the same pair is missed.

    Accuracies 100 and 50: mean 75, standard error 35.36 / sqrt 2 = 25. All same pairs are nearer than the others.
    """
    net = angle_describer()
    seen: list[int] = []
    pairs = load_lfw(faces(tmp_path))
    found = evaluate(net, pairs, Preprocessing.of(net, "meta"), backend=backend, batch_size=2, progress=seen.append)
    np.testing.assert_allclose(found.fold_accuracies, [100, 50])
    far, near = 2**0.5, 2 * np.sin(np.pi / 8)
    np.testing.assert_allclose(found.fold_thresholds, [(near + far) / 2, far / 2], atol=0.01)  # JPEG
    np.testing.assert_allclose([found.accuracy, found.standard_error], [75, 25])
    np.testing.assert_allclose([found.auc, found.equal_error_rate], [100, 0], atol=1e-9)
    assert (found.pairs, found.images, found.scores, found.status) == (4, 6, descriptor_variable(net), "ok")
    assert sum(seen) == 6
    assert found.roc["false_accepts"][0] == 0 and found.roc["true_accepts"][-1] == 1


@pytest.mark.process
def test_pairs_of_one_fold_have_a_curve_and_no_accuracy(tmp_path: Path) -> None:
    """As in pairsDevTest.txt: two pairs of one person, two of two persons, which are all farther apart."""
    root = faces(tmp_path, "2\nAnn\t1\t2\nCid\t1\t2\nAnn\t1\tBob\t1\nAnn\t2\tEve\t1\n")
    (root / "pairs.txt").rename(root / "pairsDevTest.txt")
    matnet.save(angle_describer(), tmp_path / "own.mat")
    command = [str(tmp_path / "own.mat"), "--task", "faces", "--data", str(root), "--pairs", "pairsDevTest"]
    assert run_command(main, [*command, "--backend", "numpy", "--json", str(tmp_path / "a.json")]) == 0
    row = json.loads((tmp_path / "a.json").read_text())
    assert (row["accuracy"], row["fold_accuracies"], row["pairs"]) == (None, [], 4)
    np.testing.assert_allclose([row["auc"], row["equal_error_rate"]], [100, 0], atol=1e-9)
    assert_line(row["notes"], "no accuracy", "one fold")


def test_pairs_with_a_lost_image_are_left_out(tmp_path: Path) -> None:
    """Without Eve fold 1 has one pair, which is missed."""
    net, pairs = angle_describer(), load_lfw(faces(tmp_path))
    (tmp_path / "lfw" / "Eve" / "Eve_0001.jpg").write_bytes(b"no JPEG")
    found = evaluate(net, pairs, Preprocessing.of(net, "meta"))
    assert (found.pairs, found.images, found.status) == (3, 5, "unreadable images")
    assert "Eve_0001.jpg" in found.unreadable[0]
    assert found.fold_accuracies[1] == 0


def test_descriptors_of_ten_views_are_averaged(tmp_path: Path) -> None:
    """Flat faces look alike wherever they are cut."""
    net, pairs = angle_describer(), load_lfw(faces(tmp_path))
    found = evaluate(net, pairs, Preprocessing.of(net, "meta", crops=10, crop_fraction=(0.5, 0.5)))
    np.testing.assert_allclose(found.accuracy, 75)


def test_distances_are_between_descriptors_of_unit_length() -> None:
    descriptors = np.array([[3, 4], [6, 8], [-4, 3], [0, 0], [np.inf, 1]], np.float32)
    distances = [descriptor_distance(descriptors[0], descriptors[k]) for k in (1, 2)]
    np.testing.assert_allclose(distances, [0, 2**0.5], atol=1e-12)
    assert np.isnan(descriptor_distance(descriptors[0], descriptors[4]))
    with pytest.raises(NetworkError, match="all zero"):
        descriptor_distance(descriptors[0], descriptors[3])


@pytest.mark.process
def test_vgg_face_is_described_under_its_last_layer() -> None:
    """The ReLU of fc7, 4096 numbers: what the page of MatConvNet calls for, the last layer being removed."""
    net = random_network("vgg-face")
    variable = descriptor_variable(net)
    (reader,) = [layer for layer in net.layers.values() if variable in layer.inputs]
    assert reader.name == "fc8"
    assert net.infer_shapes({"data": (1, 3, 224, 224)}, [variable])[variable] == (1, 4096, 1, 1)
    (writer,) = [layer for layer in net.layers.values() if variable in layer.outputs]
    assert (writer.name, writer.type_name) == ("relu7", "dagnn.ReLU")


def test_a_network_without_products_describes_nothing() -> None:
    net = simple([{"type": "relu", "name": "relu"}], 8, 0.0)
    with pytest.raises(NetworkError, match="no convolution or inner product"):
        descriptor_variable(net)
    assert descriptor_variable(net, "relu") == "relu"


def test_pairs_none_of_which_can_be_read(tmp_path: Path) -> None:
    net, pairs = angle_describer(), load_lfw(faces(tmp_path))
    for image in pairs.images:
        image.unlink()
    with pytest.raises(DataError, match="none of its 6 images"):
        evaluate(net, pairs, Preprocessing.of(net, "meta"))


@pytest.mark.process
def test_the_command_judges_pairs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MATNET_HOME", str(tmp_path / "home"))
    matnet.save(angle_describer(), tmp_path / "own-face.mat")
    data = str(faces(tmp_path / "data"))
    assert run_command(main, ["--model", str(tmp_path / "own-face.mat"), "--data", data, "--backend", "numpy"]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"\| own-face +\| +75\.00 +\| +25\.00 +\| +0\.00 +\| +100\.00 ", printed)
    assert "6 images of LFW pairs" in printed
    assert "central 59.09%" in printed  # 1.3 / 2.2


def test_part_of_the_pairs_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--model", "vgg-face", "--random-weights", "--data", str(faces(tmp_path)), "--limit", "2"]
    assert run_command(main, arguments) == 2
    assert "--limit: not for faces" in capsys.readouterr().err
