"""Detection on small sets in the layout of VOC: figures by hand, Faster R-CNN and SSD, and what is refused.

Rules of matching and average precision: the development kit of PASCAL VOC (VOCevaldet, VOCap). Suppression and movement
of boxes: Girshick, Fast R-CNN, and Ren et al., Faster R-CNN, with their published test code.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest

import matnet
from matnet import eval as eval_command
from matnet.command_line import run_command
from matnet.datasets import DetectionSet, load_voc_objects
from matnet.datasets.objects import OBJECT_CLASSES
from matnet.datasets.proposals import read_proposals
from matnet.errors import DataError, NetworkError
from matnet.evaluation import evaluate
from matnet.evaluation.detectors import DetectionLimits, Detector, best, detector_of, listed, moved_boxes
from matnet.evaluation.runner import Runner
from matnet.evaluation.tasks.detection import order_of
from matnet.formats.mat import write_mat
from matnet.formats.mat.values import Cell
from matnet.images import Preprocessing
from matnet.metrics import NEITHER, RIGHT, WRONG, AveragePrecision, matched_detections
from matnet.network import Network
from matnet.ops.convolution import Conv
from tests.helpers import assert_line
from tests.small_sets import BOXES, MEAN_AP, OBJECTS, PROPOSALS, annotation, voc2007
from tests.tiny_models import colour_detector, gray_classifier


def loaded(root: Path, **options: Any) -> DetectionSet:
    home = voc2007(root)
    return load_voc_objects(home, proposals=home / PROPOSALS, **options)


@pytest.mark.process
def test_figures_by_hand_through_the_command(tmp_path: Path) -> None:
    home = voc2007(tmp_path)
    matnet.save(colour_detector(), tmp_path / "own.mat")
    arguments = [str(tmp_path / "own.mat"), "--task", "detection", "--voc", str(home), "--year", "2007"]
    arguments += ["--split", "test", "--proposals", str(home / PROPOSALS), "--json", str(tmp_path / "a.json")]
    assert run_command(eval_command.main, [*arguments, "--backend", "numpy", "--quiet"]) == 0
    row = json.loads((tmp_path / "a.json").read_text())
    assert (row["status"], row["images"], row["dataset"]) == ("ok", 2, "VOC 2007 test")
    assert row["mean_ap"] == row["mean_ap_11point"] == pytest.approx(MEAN_AP["mean_ap_11point"], abs=1e-9)
    assert row["mean_ap_area"] == pytest.approx(MEAN_AP["mean_ap_area"], abs=1e-9)
    assert row["class_ap"] == pytest.approx({"aeroplane": 100, "bicycle": 100 * 3 / 11})
    assert (row["class_objects"]["bicycle"], row["detections"]) == (2, 4)
    assert any(note.startswith("classes without objects (18)") for note in row["notes"])


@pytest.mark.parametrize("option", [["--input-size", "99x99"], ["--resize", "pillow"]])
def test_sizes_that_cannot_act_are_refused(
    option: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = voc2007(tmp_path)
    matnet.save(colour_detector(), tmp_path / "own.mat")
    given = [str(tmp_path / "own.mat"), "--task", "detection", "--data", str(home)]
    assert run_command(eval_command.main, [*given, "--proposals", str(home / PROPOSALS), *option]) == 2
    assert_line(capsys.readouterr().err, option[0], "own.mat")


@pytest.mark.process
def test_from_2010_on_the_mean_is_that_of_areas(tmp_path: Path) -> None:
    home = voc2007(tmp_path)
    (home / "VOC2007").rename(home / "VOC2010")
    row = evaluate(
        colour_detector(), load_voc_objects(home, proposals=home / PROPOSALS), Preprocessing.of(colour_detector())
    )
    assert row.mean_ap == row.mean_ap_area == pytest.approx(MEAN_AP["mean_ap_area"])


@pytest.mark.process
def test_a_network_in_another_order_of_classes_gives_the_same(tmp_path: Path) -> None:
    net = colour_detector()
    names = [*net.meta["classes"]["name"]]
    given = names[1:]  # without the background, whose place the file states
    names[1], names[2] = names[2], names[1]
    data, prepared = loaded(tmp_path), Preprocessing.of(net)
    row = evaluate(net, data, prepared, classes=given)
    assert (row.status, row.mean_ap) == ("ok", pytest.approx(MEAN_AP["mean_ap_11point"]))
    other = evaluate(net, data, prepared, classes=names)
    assert other.class_ap["bicycle"] < 100  # red boxes are taken for bicycles
    del net.meta["classes"]
    unnamed = evaluate(net, data, prepared)
    assert unnamed.status == "doubtful" and unnamed.mean_ap == pytest.approx(MEAN_AP["mean_ap_11point"])
    with pytest.raises(DataError, match="only the data set has: bus"):
        evaluate(net, data, prepared, classes=[name for name in names if name != "bus"])


@pytest.mark.process
def test_faster_rcnn_proposes_boxes_itself(tmp_path: Path) -> None:
    """An object of 8 x 8 pixels in 24 x 36, enlarged 25 times, is the cell (200, 200) to (399, 399).

    Divided by 25 and moved by nothing as Faster R-CNN does, pixels 8 to 16.96 from 0: 64 of 9.96 squared. Its
    neighbours, which the interpolation colours a little, score less.
    """
    home = voc2007(tmp_path) / "VOC2007"
    pixels = np.zeros((24, 36, 3), np.uint8)
    pixels[8:16, 8:16, 0] = 200
    from PIL import Image

    Image.fromarray(pixels).save(home / "JPEGImages" / "000001.jpg", format="PNG")
    (home / "Annotations" / "000001.xml").write_text(annotation(24, 36, [("aeroplane", (9, 9, 16, 16), False)]))
    (home / "ImageSets" / "Main" / "one.txt").write_text("000001\n")
    net = colour_detector(proposes=True)
    found = detector_of(net)
    assert (found.boxes, found.proposes, found.sizes, found.offsets) == ("proposals", True, "im_info", "bbox_pred")
    row = evaluate(net, load_voc_objects(home, split="one"), Preprocessing.of(net))
    assert (row.mean_ap, row.class_objects["aeroplane"]) == (100, 1)


@pytest.mark.process
def test_an_image_without_a_proposed_box_has_no_detections(tmp_path: Path) -> None:
    """Sides below 8 pixels are dropped: 200 of 600 are 8 of 24 pixels in the one image, and 2 of 6 in the other."""
    from PIL import Image

    home = voc2007(tmp_path) / "VOC2007"
    for name, side, kind in (("000001", 24, "aeroplane"), ("000002", 6, "bicycle")):
        pixels = np.zeros((side, side * 3 // 2, 3), np.uint8)
        pixels[side // 3 : 2 * side // 3, side // 3 : 2 * side // 3, 0] = 200
        Image.fromarray(pixels).save(home / "JPEGImages" / f"{name}.jpg", format="PNG")
        box = (side // 3 + 1, side // 3 + 1, 2 * side // 3, 2 * side // 3)
        text = annotation(side, side * 3 // 2, [(kind, box, False)])
        (home / "Annotations" / f"{name}.xml").write_text(text)
    net = colour_detector(proposes=True, smallest=8)
    net.source.notes.append("images: resized to 256x256 (squashed), centre 227x227")  # as a conversion states it
    for backend in ("numpy", "onnx"):
        row = evaluate(net, load_voc_objects(home), Preprocessing.of(net), backend=backend)
        assert "600" in row.preprocessing and "own size" not in row.preprocessing
        assert not any("227x227" in note for note in row.notes)
        assert (row.status, row.images, row.class_ap) == ("ok", 2, {"aeroplane": 100, "bicycle": 0})
        assert_line(row.notes, "proposes no box (1)", "000002.jpg")


@pytest.mark.parametrize("first", [0, 1])
def test_boxes_are_fed_as_the_network_counts(first: int) -> None:
    """MatConvNet: (box - 1) * factor + 1, image 1; Caffe: (box - 1) * factor, image 0."""
    detector = Detector("data", "cls_prob", "bbox_pred", "rois", first=first)
    fed = detector.inputs(np.zeros((1, 3, 40, 60), np.float32), 2.5, np.array([[3, 5, 11, 17]], np.float32))
    np.testing.assert_array_equal(fed["rois"][:, :, 0, 0], [[first, 5 + first, 10 + first, 25 + first, 40 + first]])


def test_who_adds_one_to_boxes_counts_from_zero() -> None:
    net = colour_detector()
    assert (detector_of(net).first, detector_of(net).feeds) == (1, ("data", "rois"))


@pytest.mark.process
def test_an_image_is_enlarged_to_600_unless_it_gets_longer_than_1000(tmp_path: Path) -> None:
    """Fast R-CNN: 600 / 30; for 20 x 40 the longer side would be 1200, so 1000 / 40."""
    from PIL import Image

    prepared = Preprocessing.of(colour_detector())
    for resize in ("imresize", "opencv"):
        way = Preprocessing(**{**vars(prepared), "resize": resize})
        for size, factor, expected in (((30, 40), 20, (600, 800)), ((20, 40), 25, (500, 1000))):
            Image.new("RGB", size[::-1], (7, 70, 140)).save(tmp_path / "a.png")
            image, found, original = way.within(tmp_path / "a.png", 600, 1000)
            assert (image.shape, found, original) == ((1, 3, *expected), factor, size)
            np.testing.assert_allclose(image[0, :, 250, 250], [7, 70, 140], rtol=1e-6)


def test_movement_of_boxes_by_hand() -> None:
    """Width 8, height 4: dx = 0.5 moves by 4, dh = log 2 doubles the height around the centre; then cut at edges."""
    offsets = np.zeros((1, 8), np.float32)
    offsets[0, 4:] = 0.5, 0, 0, np.log(2)
    found = moved_boxes(np.array([[10.0, 3, 18, 7]]), offsets, 2, (9, 30), plus=0)
    np.testing.assert_allclose(found, [[[10, 3, 18, 7], [14, 1, 22, 8]]], rtol=1e-6)
    shared = moved_boxes(np.array([[10.0, 3, 18, 7]]), offsets, 3, (20, 30), plus=1)
    np.testing.assert_allclose(shared[0, 1:], [[14.5, 0.5, 23.5, 10.5]] * 2, rtol=1e-6)  # background and object
    with pytest.raises(NetworkError, match="12 offsets for each box; expected 4 for each of 2 classes"):
        moved_boxes(np.zeros((1, 4)), np.zeros((1, 12), np.float32), 2, (9, 30), plus=0)


def test_the_best_of_an_image_remain() -> None:
    scores = np.array([[0, 0.9], [0, 0.8], [0, 0.7], [0, 0.05]], np.float32)
    boxes = np.array([[0, 0, 9, 9], [5, 0, 14, 9], [20, 0, 29, 9], [40, 0, 49, 9]], np.float64)
    found = best(scores, np.repeat(boxes[:, None], 2, axis=1), 0, DetectionLimits())
    np.testing.assert_array_equal(found.boxes, boxes[[0, 2]] + 1)  # 50 of 150 overlap; 0.05 is not above 0.05
    only = best(scores, np.repeat(boxes[:, None], 2, axis=1), 0, DetectionLimits(most=1))
    np.testing.assert_array_equal(only.scores, np.float32([0.9]))


def test_rows_of_ssd_are_relative_to_the_image() -> None:
    rows = np.array([[0, 3, 0.9, 0.1, 0.25, 0.5, 1.0], [0, -1, -1, -1, -1, -1, -1]], np.float32)
    found = listed(rows.reshape(1, 1, 2, 7), (40, 60))
    np.testing.assert_allclose(found.boxes, [[6, 10, 30, 40]], rtol=1e-6)
    assert (found.classes.tolist(), found.finite) == ([3], True)
    # COCO's corners count from 0 and lie between pixels: the first pixel that the box covers is one further in VOC's.
    np.testing.assert_allclose(listed(rows.reshape(1, 1, 2, 7), (40, 60), first=0).boxes, [[7, 11, 30, 40]], rtol=1e-6)


@pytest.mark.parametrize("number", [1e20, 3e7, 2.5, -3])
def test_a_row_of_a_class_that_is_none_is_refused(number: float) -> None:
    rows = np.array([[0, 3, 0.9, 0.1, 0.2, 0.5, 1.0], [0, number, 0.9, 0.1, 0.2, 0.5, 1.0]], np.float32)
    with pytest.raises(NetworkError, match=re.escape(f"class {number:g};")):
        listed(rows.reshape(1, 1, 2, 7), (40, 60))


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_a_row_of_a_class_that_is_not_finite_is_said(number: float) -> None:
    rows = np.array([[0, 3, 0.9, 0.1, 0.2, 0.5, 1.0], [0, number, 0.9, 0.1, 0.2, 0.5, 1.0]], np.float32)
    found = listed(rows.reshape(1, 1, 2, 7), (40, 60))
    assert (found.classes.tolist(), found.finite) == ([3], False)


def of_coco() -> Network:
    """A detector of 80 classes and a background that are not named, as one trained on COCO."""
    net = colour_detector()
    del net.meta["classes"]
    for name, count in (("cls", 81), ("box", 324)):
        net.params[f"{name}_f"].value = np.zeros((1, 1, 3, count), np.float32)
        net.params[f"{name}_b"].value = np.zeros((count, 1), np.float32)
        net.layers[name].op = Conv(size=(1, 1, 3, count))
    return net


def test_a_detector_of_other_classes_is_refused_before_an_image_is_computed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Runner, "count", None)
    data, prepared = loaded(tmp_path), Preprocessing.of(colour_detector())
    with pytest.raises(DataError, match=r"'cls_prob' scores 81 classes; expected 21"):
        evaluate(of_coco(), data, prepared)


def test_the_background_is_the_one_that_the_layer_states(tmp_path: Path) -> None:
    """SSD's num_classes and background_label_id."""
    net, data = colour_detector(), loaded(tmp_path)
    layer = Detector("data", "rows", lists=True, classes=(21, 20))
    assert order_of(net, layer, data, (), 21) == (*range(20), -1)
    assert order_of(net, layer, data, OBJECT_CLASSES, 21) == (*range(20), -1)
    with pytest.raises(DataError, match=r"background as class 0, but 'rows' as class 20"):
        order_of(net, layer, data, ("background", *OBJECT_CLASSES), 21)
    with pytest.raises(DataError, match=r"'rows' scores 81 classes; expected 21"):
        order_of(net, replace(layer, classes=(81, 0)), data, (), 81)


def test_a_network_without_boxes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NetworkError, match="not a detector"):
        evaluate(gray_classifier(), loaded(tmp_path), Preprocessing.of(gray_classifier()))
    home = voc2007(tmp_path / "other")
    with pytest.raises(DataError, match=r"boxes as input 'rois'; .* proposals=FILE"):
        evaluate(colour_detector(), load_voc_objects(home), Preprocessing.of(colour_detector()))


# --- matching and average precision ---


def test_matching_by_hand() -> None:
    """Corners are pixels: boxes of 10 pixels side by side share a column where the corners are equal."""
    objects = np.array([[1, 1, 10, 10], [11, 1, 20, 10], [31, 1, 40, 10]], np.float32)
    difficult = np.array([False, False, True])
    boxes = np.array(
        [[1, 1, 10, 10], [1, 1, 10, 10], [11, 1, 15, 10], [16, 1, 20, 9], [31, 1, 40, 10], [31, 1, 40, 10]], np.float32
    )
    found = matched_detections(boxes, objects, difficult)
    assert found.tolist() == [RIGHT, WRONG, RIGHT, WRONG, NEITHER, NEITHER]  # the fourth overlaps by 45 of 100
    assert matched_detections(boxes, objects[:0], difficult[:0]).tolist() == [WRONG] * 6


def by_the_development_kit(right: np.ndarray, objects: int) -> tuple[float, float]:
    """VOCevaldet's sampling and VOCap's area, point by point."""
    tp, fp = np.cumsum(right), np.cumsum(~right)
    recall, precision = tp / objects, tp / (tp + fp)
    eleven = 0.0
    for k in range(11):
        t = k * 0.1 if k <= 5 else 1 - (10 - k) * 0.1
        reached = precision[recall >= t]
        eleven += (reached.max() if len(reached) else 0) / 11
    mrec, mpre = [0.0, *recall, 1.0], [0.0, *precision, 0.0]
    for k in range(len(mpre) - 2, -1, -1):
        mpre[k] = max(mpre[k], mpre[k + 1])
    area = sum((mrec[k] - mrec[k - 1]) * mpre[k] for k in range(1, len(mrec)) if mrec[k] != mrec[k - 1])
    return 100 * eleven, 100 * area


@pytest.mark.parametrize("seed", range(6))
def test_average_precision_is_the_development_kits(seed: int) -> None:
    generator = np.random.default_rng(seed)
    right = generator.random(int(generator.integers(1, 60))) < 0.4
    objects = int(right.sum() + generator.integers(1, 9))
    found = AveragePrecision.of(right, objects)
    np.testing.assert_allclose((found.eleven_points, found.area), by_the_development_kit(right, objects), atol=1e-10)


def test_average_precision_at_its_ends() -> None:
    nothing = AveragePrecision.of(np.zeros(0, bool), 3)
    assert (nothing.eleven_points, nothing.area) == (0, 0)
    assert np.isnan(AveragePrecision.of(np.zeros(2, bool), 0).area)


# --- what is read, and what is refused ---


def test_objects_and_proposals_as_they_are_in_the_files(tmp_path: Path) -> None:
    data = loaded(tmp_path)
    assert [path.name for path in data.images] == ["000001.jpg", "000002.jpg"]
    first = data.objects[0]
    np.testing.assert_array_equal(first.boxes, [(11, 6, 20, 15), (31, 6, 36, 15)])
    assert [OBJECT_CLASSES[k] for k in first.classes] == ["aeroplane", "bicycle"]
    assert (first.size, first.difficult.tolist()) == ((30, 40), [False, True])
    assert data.proposals is not None
    np.testing.assert_array_equal(data.proposals[1], BOXES["000002"])


@pytest.mark.parametrize("version", ["5", "7.3"])
def test_proposals_without_names_are_in_the_lists_order(version: Any, tmp_path: Path) -> None:
    """Fast R-CNN reads `boxes` alone; both versions of the file give the same list."""
    home = voc2007(tmp_path)
    cells = read_proposals(home / PROPOSALS)
    rows = Cell([box[:, [1, 0, 3, 2]].astype(np.uint16) for box in cells.boxes], shape=(2, 1))
    write_mat(tmp_path / "a.mat", {"boxes": rows}, version=version)
    data = load_voc_objects(home, proposals=tmp_path / "a.mat")
    assert data.proposals is not None
    np.testing.assert_array_equal(data.proposals[0], BOXES["000001"])
    assert data.list_sha256 != load_voc_objects(home).list_sha256


def other_set(home: Path) -> None:
    voc2007(home.parent / "x", {"000005": BOXES["000001"], "000002": BOXES["000002"]})
    (home.parent / "x" / "VOCdevkit" / PROPOSALS).replace(home / PROPOSALS)


def with_boxes(boxes: dict[str, Any]) -> Callable[[Path], None]:
    def change(home: Path) -> None:
        voc2007(home.parent / "x", boxes)
        (home.parent / "x" / "VOCdevkit" / PROPOSALS).replace(home / PROPOSALS)

    return change


def annotated(objects: Any, text: str | None = None) -> Callable[[Path], None]:
    def change(home: Path) -> None:
        (home / "VOC2007" / "Annotations" / "000002.xml").write_text(text or annotation(40, 30, objects))

    return change


def listed_name(home: Path) -> None:
    (home / "VOC2007" / "ImageSets" / "Main" / "test.txt").write_text("000001\n000002\n000009\n")


def wrong_count(home: Path) -> None:
    write_mat(home / PROPOSALS, {"boxes": Cell([np.ones((3, 4))])})


def entities_in_utf16(home: Path) -> None:
    """Where the bytes of no ASCII word appear."""
    path = next(home.rglob("000002.xml"))
    path.write_bytes("<?xml version='1.0' encoding='UTF-16'?><!DOCTYPE a [<!ENTITY b 'c'>]><a/>".encode("utf-16"))


def no_cell(home: Path) -> None:
    write_mat(home / PROPOSALS, {"boxes": np.ones((3, 4))})


def five_columns(home: Path) -> None:
    write_mat(home / PROPOSALS, {"boxes": Cell([np.ones((3, 5)), np.ones((3, 4))])})


BAD: dict[str, tuple[Callable[[Path], None], str]] = {
    "another set": (other_set, r"no proposals for 1 of 2 images.*:\n.*000001"),
    "outside": (
        with_boxes({**BOXES, "000002": ((3, 5, 31, 14), (1, 1, 2, 2))}),
        r"\(1\):\n.*000002: 1 of 2 boxes exceed 30 x 40: 3 5 31 14",
    ),
    "empty": (with_boxes({**BOXES, "000001": ()}), r"000001: no proposals"),
    "count": (wrong_count, r"proposals for 1 images without names, but the list has 2"),
    "no cell": (no_cell, r"no cell array `boxes`"),
    "columns": (five_columns, r"not R x 4 numbers \(1\):\n.*image 1: 3 x 5"),
    "missing image": (listed_name, r"missing \(2\):\n.*000009.jpg\n.*000009.xml"),
    "unknown class": (annotated([("zebra", (1, 1, 5, 5), False)]), r"000002.xml: has an object of class 'zebra'"),
    "no area": (annotated([("dog", (9, 1, 5, 5), False)]), r"000002.xml: has a dog at 9 1 5 5"),
    "no number": (annotated([("dog", ("x", 1, 5, 5), False)]), r"000002.xml: bndbox/xmin is 'x'"),
    "no xml": (annotated(None, "<annotation>"), r"000002.xml: not an XML annotation"),
    "entities": (annotated(None, "<!DOCTYPE a [<!ENTITY b 'c'>]><annotation/>"), r"declares a document type"),
    "entities in UTF-16": (entities_in_utf16, r"declares a document type"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_input_is_named_before_anything_runs(kind: str, tmp_path: Path) -> None:
    change, expected = BAD[kind]
    home = voc2007(tmp_path)
    change(home)
    with pytest.raises(DataError, match=expected):
        load_voc_objects(home, proposals=home / PROPOSALS)


def test_annotations_without_objects_are_counted(tmp_path: Path) -> None:
    home = voc2007(tmp_path)
    annotated([])(home)
    assert_line(load_voc_objects(home).check().notes, "without objects that count (1): 000002")
    annotated([("dog", (9, 1, 35, 5), False)])(home)
    assert_line(load_voc_objects(home).notes, "exceed the image (1)", "000002")


def test_notes_about_a_set_are_said_before_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    home = voc2007(tmp_path)
    annotated([("dog", (9, 1, 35, 5), False)])(home)
    matnet.save(colour_detector(), tmp_path / "own.mat")
    monkeypatch.setattr(eval_command, "run", Mock(side_effect=DataError("the run")))
    given = [str(tmp_path / "own.mat"), "--task", "detection", "--data", str(home)]
    assert run_command(eval_command.main, [*given, "--proposals", str(home / PROPOSALS)]) == 2
    said = capsys.readouterr().err
    assert said.index("exceed the image (1): 000002") < said.index("the run")


@pytest.mark.process
def test_an_image_of_another_size_than_its_annotation_is_named(tmp_path: Path) -> None:
    home = voc2007(tmp_path)
    text = annotation(41, 30, OBJECTS["000002"][1])
    annotated(None, text)(home)
    row = evaluate(
        colour_detector(), load_voc_objects(home, proposals=home / PROPOSALS), Preprocessing.of(colour_detector())
    )
    assert row.status == "unreadable images" and "000002.jpg: the image is 40x30" in row.unreadable[0]
