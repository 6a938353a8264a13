"""Segmentation at every image's own size, over a set in VOC's layout; the figures are counted by hand below."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import matnet
from matnet.command_line import run_command
from matnet.datasets import SegmentationSet, load_voc
from matnet.datasets.voc import VOC_CLASSES
from matnet.errors import DataError, NetworkError
from matnet.eval import main
from matnet.evaluation import evaluate, evaluate_segmentation
from matnet.evaluation.label_images import voc_palette, write_label_image
from matnet.evaluation.tasks.segmentation import class_order
from matnet.images import Preprocessing
from matnet.network import Network
from tests.helpers import assert_line
from tests.small_sets import EXPECTED, LEVELS, PICTURES, voc2011
from tests.tiny_models import blocks, gray_classifier, gray_segmenter


@pytest.fixture
def data(tmp_path: Path) -> SegmentationSet:
    return load_voc(voc2011(tmp_path), split="rv-voc11")


@pytest.fixture
def net() -> Network:
    return gray_segmenter(LEVELS, VOC_CLASSES)


@pytest.mark.process
@pytest.mark.parametrize("backend", ["numpy", "onnx"])
def test_figures_over_images_of_different_sizes(net: Network, data: SegmentationSet, backend: str) -> None:
    seen: list[int] = []
    found = evaluate(net, data, Preprocessing.of(net, "meta"), backend=backend, progress=seen.append)
    np.testing.assert_allclose([getattr(found, name) for name in EXPECTED], list(EXPECTED.values()))
    np.testing.assert_allclose(found.class_iou["aeroplane"], 100 * 512 / 1280)
    assert (found.images, found.status, found.dataset, found.batch_size) == (2, "ok", "RV-VOC11", 1)
    assert found.preprocessing == "own size, RGB, minus mean (10, 10, 10)"
    assert found.list_sha256 == data.list_sha256
    assert seen == [1, 1]


def test_a_convolutional_network_is_compiled_once_for_all_sizes(net: Network, data: SegmentationSet) -> None:
    engine = net.compile(["upscore"], backend="onnx")
    for size in [(32, 48), (33, 16), (47, 31)]:
        assert engine(np.zeros((1, 3, *size), np.float32))["upscore"].shape == (1, 21, *size)
    assert len(engine._programs) == 1


@pytest.mark.process
def test_labels_are_saved_as_voc_has_them(net: Network, data: SegmentationSet, tmp_path: Path) -> None:
    evaluate(net, data, Preprocessing.of(net, "meta"), save=tmp_path / "out" / "labels")
    with Image.open(tmp_path / "out" / "labels" / "2011_000001.png") as image:
        assert image.mode == "P"
        np.testing.assert_array_equal(np.asarray(image), blocks([[0, 1, 15]], ([32], [16, 16, 16])))
        palette = image.getpalette()
    assert palette is not None
    # VOC's aeroplane is maroon, its person (15 = 8 + 4 + 2 + 1) a lighter rose
    assert [palette[3 * k : 3 * k + 3] for k in (0, 1, 15)] == [[0, 0, 0], [128, 0, 0], [192, 128, 128]]
    assert sorted(path.name for path in (tmp_path / "out" / "labels").iterdir()) == [f"{name}.png" for name in PICTURES]


def test_palette_of_void() -> None:
    np.testing.assert_array_equal(voc_palette()[255], [224, 224, 192])


def test_images_that_cannot_be_used_are_left_out(net: Network, data: SegmentationSet) -> None:
    """What is left is the second image: 256 of 512 pixels right."""
    data.images[0].write_bytes(b"no JPEG")
    found = evaluate(net, data, Preprocessing.of(net, "meta"))
    assert (found.images, found.status) == (1, "unreadable images")
    assert "2011_000001.jpg" in found.unreadable[0]
    np.testing.assert_allclose(found.pixel_accuracy, 50)


def test_the_older_name_of_evaluate_is_deprecated_and_evaluates(net: Network, data: SegmentationSet) -> None:
    preprocessing = Preprocessing.of(net, "meta")
    with pytest.warns(DeprecationWarning, match="evaluation.evaluate"):
        found = evaluate_segmentation(net, data, preprocessing)
    assert found.pixel_accuracy == evaluate(net, data, preprocessing).pixel_accuracy


def test_labels_of_another_size_are_told(net: Network, data: SegmentationSet) -> None:
    write_label_image(data.labels[1], np.zeros((33, 17), np.uint8))
    found = evaluate(net, data, Preprocessing.of(net, "meta"))
    assert "33x16, but its labels are 33x17" in found.unreadable[0]


def test_without_one_image_that_can_be_used_there_are_no_figures(net: Network, data: SegmentationSet) -> None:
    for image in data.images:
        image.unlink()
    with pytest.raises(DataError, match=r"none of its 2 images.*2011_000001\.jpg"):
        evaluate(net, data, Preprocessing.of(net, "meta"))


def test_scores_must_be_a_map_of_the_images_size(net: Network, data: SegmentationSet) -> None:
    with pytest.raises(NetworkError, match=r"'score'.*(21x16x24.*32x48|21x17x8.*33x16)"):
        evaluate(net, data, Preprocessing.of(net, "meta"), scores="score")


@pytest.mark.process
def test_a_classifier_is_no_segmenter(data: SegmentationSet) -> None:
    net = gray_classifier(names=None)
    with pytest.raises(NetworkError, match=r"6x25x41.*32x48|6x26x9.*33x16"):
        evaluate(net, data, Preprocessing.of(net, "meta"))


ORDERS: dict[str, tuple[list[str], list[str], Any]] = {
    "alike": (["background", "cat"], ["background", "cat"], None),
    "unnamed": ([], ["background", "cat"], None),
    "another order, other case": (["Cat", "dog", "Background"], ["background", "cat", "dog"], [1, 2, 0]),
}


@pytest.mark.parametrize(("given", "wanted", "expected"), ORDERS.values(), ids=ORDERS)
def test_classes_are_matched_by_name(given: list[str], wanted: list[str], expected: Any) -> None:
    found = class_order(given, wanted)
    np.testing.assert_array_equal(np.array(found, dtype=object), np.array(expected, dtype=object))


def test_other_classes_are_refused() -> None:
    with pytest.raises(DataError, match=r"(?s)only the data set has: cat.*only the network has: cow"):
        class_order(["background", "cow"], ["background", "cat"])


def test_classes_in_another_order_give_the_same_figures(data: SegmentationSet) -> None:
    turned = [*VOC_CLASSES[1:], VOC_CLASSES[0]]
    net = gray_segmenter({(k - 1) % 21: level for k, level in LEVELS.items()}, turned)
    found = evaluate(net, data, Preprocessing.of(net, "meta"))
    np.testing.assert_allclose(found.mean_iou, EXPECTED["mean_iou"])


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The network as a file of a name that no card knows."""
    monkeypatch.setenv("MATNET_HOME", str(tmp_path / "home"))
    path = tmp_path / "own-fcn.mat"
    matnet.save(gray_segmenter(LEVELS, VOC_CLASSES), path)
    return path


@pytest.mark.process
def test_the_data_tell_the_task(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = voc2011(tmp_path) / "VOC2011"
    arguments = ["--model", str(model), "--data", str(folder), "--split", "rv-voc11", "--quiet", "--backend", "numpy"]
    arguments += ["--save", str(tmp_path / "labels"), "--json", str(tmp_path / "out.json")]
    assert run_command(main, arguments) == 0
    found = json.loads((tmp_path / "out.json").read_text())
    np.testing.assert_allclose([found[name] for name in EXPECTED], list(EXPECTED.values()))
    assert len(list((tmp_path / "labels").iterdir())) == 2
    printed = capsys.readouterr().out
    assert re.search(r"\| own-fcn +\| +6\.67 +\| +57\.14 +\| +7\.14 +\| +51\.43 ", printed)
    assert re.search(r"\| aeroplane +\| +40\.00 \|", printed)
    assert_line(printed, "2 images", "RV-VOC11", "RGB", "(10, 10, 10)", "numpy", "cpu", "fp32")


@pytest.mark.process
def test_the_card_tells_the_task(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An FCN of the zoo by name: VOC's lists are looked for, not class folders."""
    arguments = ["--model", "pascal-fcn8s-dag", "--random-weights", "--data", str(tmp_path)]
    assert run_command(main, arguments) == 2
    assert "JPEGImages, SegmentationClass" in capsys.readouterr().err


REFUSED: dict[str, tuple[list[str], str]] = {
    "no data": (["--model", "pascal-fcn8s-dag"], "pascal-fcn8s-dag: no data for segmentation"),
    "of a classification": (["--model", "caffe-alex", "--split", "val", "--save", "x"], "--split, --save: not for"),
    "of a segmentation": (
        ["--model", "pascal-fcn8s-dag", "--data", ".", "--protocol", "caffe", "--ten-crop"],
        "--protocol, --ten-crop: not for segmentation",
    ),
    "faces have no pixels": (["--model", "vgg-face", "--data", ".", "--save", "x"], "--save: not for faces"),
}


@pytest.mark.parametrize(("arguments", "message"), REFUSED.values(), ids=REFUSED)
def test_options_that_do_not_go_together(
    capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert run_command(main, arguments) == 2
    assert message in capsys.readouterr().err
