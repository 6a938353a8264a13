"""SIFT Flow, NYUDv2 and PASCAL-Context in their published layouts, in small; figures counted by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import matnet
from matnet import eval as eval_command
from matnet.command_line import run_command
from matnet.datasets import load_context, load_nyud, load_segmentations, load_sift_flow
from matnet.datasets.segmentations import CONTEXT_CLASSES, NYUD_CLASSES, SIFT_FLOW
from matnet.datasets.voc import VOID
from matnet.errors import DataError, NetworkError
from matnet.evaluation import evaluate
from matnet.evaluation.tasks.segmentation import read_hha
from matnet.formats.mat import write_mat
from matnet.images import Preprocessing
from matnet.network import Layer
from matnet.ops.activation import Sigmoid
from matnet.zoo import find_card
from tests.small_sets import SIFT_FLOW_FIGURES, context, nyud, sift_flow
from tests.tiny_models import gray_segmenter, of_color_and_hha

SEMANTIC_LEVELS = {27: 200, 31: 100, 5: 0}


def test_sift_flow_by_hand(tmp_path: Path) -> None:
    """Trees are given but true nowhere, and 30 classes are neither: only sky and building count in means."""
    net = gray_segmenter(SEMANTIC_LEVELS, SIFT_FLOW["semantic"])
    row = evaluate(net, load_segmentations(sift_flow(tmp_path)), Preprocessing.of(net))
    for name, expected in SIFT_FLOW_FIGURES.items():
        assert getattr(row, name) == pytest.approx(expected), name
    assert (row.pixels, row.dataset) == (5 * 64, "SIFT Flow test")


def test_a_network_of_two_outputs_is_scored_by_the_one_of_the_labels(tmp_path: Path) -> None:
    """Grays 200, 100, 0 are sky, horizontal, vertical; of six blocks one has no label, and all others agree."""
    net = gray_segmenter({0: 200, 1: 100, 2: 0}, SIFT_FLOW["geometric"])
    net.rename({"upscore": "score_geo"})
    net.add(Layer("other", Sigmoid(), ["big"], ["score_other"]))
    assert net.outputs[-1] == "score_other"
    row = evaluate(net, load_sift_flow(sift_flow(tmp_path), labels="geometric"), Preprocessing.of(net))
    assert (row.mean_iou, row.pixels) == (100, 5 * 64)


@pytest.mark.parametrize("given", ["color", "hha"])
def test_nyud_by_hand(given: str, tmp_path: Path) -> None:
    """HHA shows the floor as the wall: of 128 pixels 64 are right; wall 64 of 128 given, floor none."""
    net = gray_segmenter({0: 0, 1: 100, 2: 200}, NYUD_CLASSES)
    row = evaluate(net, load_segmentations(nyud(tmp_path), kind=given), Preprocessing.of(net))
    expected = {"color": (100 * 2 / 40, 100), "hha": (100 * 0.5 / 40, 50)}[given]
    assert (row.mean_iou, row.pixel_accuracy) == pytest.approx(expected)


@pytest.mark.parametrize(("weights", "given"), [((2, 1), "color"), ((1, 2), "hha")])
def test_a_network_of_color_and_hha_gets_both(weights: tuple[float, float], given: str, tmp_path: Path) -> None:
    """Where they disagree, on the floor, the one with the greater weight decides; figures as of that one alone."""
    net = of_color_and_hha(*weights)
    row = evaluate(net, load_nyud(nyud(tmp_path)), Preprocessing.of(net))
    expected = {"color": (100 * 2 / 40, 100), "hha": (100 * 0.5 / 40, 50)}[given]
    assert (row.mean_iou, row.pixel_accuracy) == pytest.approx(expected)


def test_hha_keeps_its_channels_in_the_order_of_the_file(tmp_path: Path) -> None:
    """Means: FCN's data layer for NYUDv2 (nyud_layers.py), 132.431, 94.076, 118.477."""
    Image.new("RGB", (5, 3), (10, 20, 30)).save(tmp_path / "a.png")
    found = read_hha(tmp_path / "a.png", Preprocessing.of(gray_segmenter({0: 0}, NYUD_CLASSES)))
    assert (found.shape, found.dtype) == ((1, 3, 3, 5), np.float32)
    np.testing.assert_allclose(found[0, :, 2, 4], [10 - 132.431, 20 - 94.076, 30 - 118.477], rtol=1e-6)


def no_hha(root: Path) -> None:
    (root / "data" / "hha" / "img_5001.png").unlink()


def other_hha(root: Path) -> None:
    Image.new("RGB", (25, 8)).save(root / "data" / "hha" / "img_5001.png")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (no_hha, r"second input .*missing \(1\):\n.*img_5001.png"),
        (other_hha, r"the second input \(1\):\n.*hha.img_5001.png: 25 x 8, but its image is 24"),
    ],
)
def test_hha_that_cannot_be_used_is_named(change: Callable[[Path], None], expected: str, tmp_path: Path) -> None:
    """And a network of one input does not need it."""
    root, net = nyud(tmp_path), of_color_and_hha(1, 2)
    change(root)
    with pytest.raises(DataError, match=expected):
        evaluate(net, load_nyud(root), Preprocessing.of(net))
    alone = gray_segmenter({0: 0, 1: 100, 2: 200}, NYUD_CLASSES)
    assert evaluate(alone, load_nyud(root).check(), Preprocessing.of(alone)).pixel_accuracy == 100


def test_inputs_that_the_set_does_not_have_are_refused(tmp_path: Path) -> None:
    root, net = nyud(tmp_path), of_color_and_hha(1, 2)
    with pytest.raises(NetworkError, match="needs the inputs color, hha; evaluation feeds one image"):
        evaluate(net, load_nyud(root, images="hha"), Preprocessing.of(net))
    net.rename({"hha": "depth"})
    with pytest.raises(NetworkError, match="needs the inputs color, depth; evaluation feeds one image"):
        evaluate(net, load_nyud(root), Preprocessing.of(net))


def test_context_counts_the_59_classes_and_background(tmp_path: Path) -> None:
    sky, table = CONTEXT_CLASSES.index("sky"), CONTEXT_CLASSES.index("diningtable")
    data = load_segmentations(context(tmp_path))
    assert (data.name, len(data.class_names)) == ("PASCAL-Context val", 60)
    np.testing.assert_array_equal(np.unique(data.truth(0)), sorted((0, sky, table)))
    net = gray_segmenter({sky: 200, 0: 0, table: 100}, CONTEXT_CLASSES)
    row = evaluate(net, data, Preprocessing.of(net))
    assert (row.mean_iou, row.pixel_accuracy) == pytest.approx((100 * 3 / 60, 100))


def test_the_cards_name_the_classes_in_the_order_of_the_sets() -> None:
    assert tuple(find_card("nyud-fcn32s-color").labels["names"]) == NYUD_CLASSES
    assert tuple(find_card("siftflow-fcn8s").labels["names"]) == SIFT_FLOW["semantic"]
    assert tuple(find_card("pascalcontext-fcn8s").labels["names"]) == CONTEXT_CLASSES


@pytest.mark.process
def test_the_command_takes_the_kind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    matnet.save(gray_segmenter({0: 200, 1: 100, 2: 0}, SIFT_FLOW["geometric"]), tmp_path / "own.mat")
    arguments = [str(tmp_path / "own.mat"), "--task", "segmentation", "--data", str(sift_flow(tmp_path / "data"))]
    assert run_command(eval_command.main, [*arguments, "--kind", "geometric", "--quiet"]) == 0
    assert "100.00" in capsys.readouterr().out
    assert run_command(eval_command.main, [*arguments, "--kind", "sideways", "--quiet"]) == 2
    assert "unknown kind of SIFT Flow labels 'sideways'" in capsys.readouterr().err


def unknown_number(root: Path) -> None:
    file = next(root.rglob("SemanticLabels/*/*.mat"))
    write_mat(file, {"S": np.full((16, 24), 34.0)})


def no_variable(root: Path) -> None:
    write_mat(next(root.rglob("SemanticLabels/*/*.mat")), {"T": np.ones((16, 24))})


def other_size(root: Path) -> None:
    write_mat(next(root.rglob("SemanticLabels/*/*.mat")), {"S": np.ones((16, 25))})


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (unknown_number, r"images of SIFT Flow test \(1\):\n.*coast_1.mat: pixel values 34; expected 0"),
        (no_variable, r"coast_1.mat: has no matrix `S`"),
        (other_size, r"coast_1.mat: 25 x 16, but its image is 24 x 16"),
    ],
)
def test_labels_that_cannot_be_used_are_named(change: Callable[[Path], None], expected: str, tmp_path: Path) -> None:
    root = sift_flow(tmp_path)
    change(root)
    with pytest.raises(DataError, match=expected):
        load_sift_flow(root).check()


@pytest.mark.parametrize(
    ("layout", "load", "list_file", "line", "expected"),
    [
        (sift_flow, load_sift_flow, "test.txt", "coast_2", r"missing \(2\):\n.*coast_2.jpg"),
        (nyud, load_nyud, "test.txt", "5002", r"missing \(2\):\n.*img_5002.png"),
        (
            context,
            load_context,
            "../VOCdevkit/VOC2010/ImageSets/Main/val.txt",
            "2008_000002",
            r"missing \(2\):\n.*2008_000002.jpg",
        ),
    ],
)
def test_missing_images_are_listed(
    layout: Callable[[Path], Path],
    load: Callable[[Path], object],
    list_file: str,
    line: str,
    expected: str,
    tmp_path: Path,
) -> None:
    root = layout(tmp_path)
    with (root / list_file).open("a") as file:
        file.write(f"{line}\n")
    with pytest.raises(DataError, match=expected):
        load(root)


def test_context_without_its_classes_or_images_is_refused(tmp_path: Path) -> None:
    root = context(tmp_path)
    (root / "labels.txt").write_text("1: accordion\n2: sky\n")
    with pytest.raises(DataError, match="58 of the 59 classes are missing"):
        load_context(root)
    (root / "labels.txt").write_text("accordion\n")
    with pytest.raises(DataError, match="are not 'number: name'"):
        load_context(root)


def test_void_is_no_class(tmp_path: Path) -> None:
    assert VOID not in np.unique(load_context(context(tmp_path)).truth(0))
    assert VOID in np.unique(load_nyud(nyud(tmp_path / "n")).truth(0))
