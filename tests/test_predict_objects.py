"""`matnet predict` on detectors: boxes as a table, JSON and CSV, and drawn on the images."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import matnet
from matnet import predict
from matnet.answers.detect import drawn_files
from matnet.answers.pictures import Picture
from matnet.command_line import run_command
from matnet.datasets import load_voc_objects
from matnet.errors import DataError, NetworkError
from matnet.evaluation.flow import planned
from matnet.images import Preprocessing
from matnet.network import Layer, Network, Source
from matnet.ops.convolution import Conv
from matnet.ops.extensions.constant import Parameter
from matnet.ops.extensions.detection import DetectionOutput
from matnet.params import Param
from tests.helpers import assert_line
from tests.small_sets import voc2007
from tests.tiny_models import colour_detector, gray_classifier

BOX = [8, 8, 18, 18]
"""An object of 8 x 8 pixels, enlarged 25 times, is the cell from 200 to 399. Each time that Faster R-CNN moves a box,
by nothing here, its far corner is the near one and the size, 399 - 200 + 1: so 400; 400 / 25 = 16; and 8 + 16 - 8 + 1
= 17 from 0, whose far edge is 18."""


@pytest.fixture
def photos(tmp_path: Path) -> list[str]:
    """A detector that proposes boxes; a red object at 8 to 16, which colours cells beside its own; and none."""
    matnet.save(colour_detector(proposes=True), tmp_path / "own.mat")
    pixels = np.zeros((24, 36, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "empty.png")
    pixels[8:16, 8:16, 0] = 200
    Image.fromarray(pixels).save(tmp_path / "red.png")
    return [str(tmp_path / name) for name in ("own.mat", "red.png", "empty.png")]


@pytest.mark.process
def test_boxes_as_json_and_drawn(photos: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--backend", "numpy", "--top", "1", "--json", "--draw", str(tmp_path / "drawn")]
    assert run_command(predict.main, [*photos, *options]) == 0
    red, empty = json.loads(capsys.readouterr().out)["images"]
    (found,) = red["detections"]
    assert (found["class"], found["index"], empty["detections"]) == ("aeroplane", 1, [])
    assert found["score"] > 0.9
    np.testing.assert_allclose(found["box"], BOX, rtol=1e-5)
    drawn = Image.open(tmp_path / "drawn" / "red.png").convert("RGB")
    assert drawn.size == (36, 24)
    # Edges 8 and 18: the frame's corners are pixels 8 and 17, in the second colour.
    assert drawn.getpixel((8, 17)) == drawn.getpixel((17, 17)) == (0x3C, 0xB4, 0x4B)
    assert drawn.getpixel((12, 15)) == (200, 0, 0) and drawn.getpixel((30, 20)) == (0, 0, 0)
    assert Image.open(tmp_path / "drawn" / "empty.png").getextrema() == ((0, 0),) * 3


@pytest.mark.process
def test_boxes_as_table_and_csv(photos: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(predict.main, [*photos, "--top", "1", "--backend", "numpy"]) == 0
    shown = capsys.readouterr().out
    assert_line(shown, "red.png", "aeroplane", "8.0", "18.0")
    assert_line(shown, "empty.png", "(nothing)")
    assert run_command(predict.main, [*photos, "--backend", "numpy", "--top", "1", "--csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [(Path(row["image"]).name, row["class"]) for row in rows] == [("red.png", "aeroplane"), ("empty.png", "")]
    np.testing.assert_allclose([float(rows[0][edge]) for edge in ("left", "top", "right", "bottom")], BOX, rtol=1e-5)


def test_the_least_score_decides(photos: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(predict.main, [*photos[:2], "--backend", "numpy", "--json", "--least-score", "1"]) == 0
    assert json.loads(capsys.readouterr().out)["images"][0]["detections"] == []


@pytest.mark.process
def test_an_image_that_cannot_be_read_is_named(
    photos: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken.png").write_text("no image")
    assert run_command(predict.main, [*photos, str(tmp_path / "broken.png"), "--backend", "numpy", "--json"]) == 2
    told = capsys.readouterr()
    assert "broken.png" in json.loads(told.out)["images"][2]["error"] and "broken.png" in told.err


@pytest.mark.parametrize("options", [["--batch-size", "4"], ["--ten-crop"]])
def test_options_without_effect_are_refused(
    options: list[str], photos: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(predict.main, [*photos, *options]) == 2
    assert options[0] in capsys.readouterr().err


def test_two_images_of_one_name_are_not_drawn_into_one_file(
    photos: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "other").mkdir()
    Image.new("RGB", (36, 24)).save(tmp_path / "other" / "red.jpg")
    assert run_command(predict.main, [*photos, str(tmp_path / "other"), "--draw", str(tmp_path / "drawn")]) == 2
    assert "red: two images have this name" in capsys.readouterr().err
    assert not (tmp_path / "drawn").exists()


def test_an_image_is_not_drawn_over(photos: list[str], tmp_path: Path) -> None:
    before = Path(photos[1]).read_bytes()
    assert run_command(predict.main, [*photos, "--draw", str(tmp_path)]) == 2
    assert Path(photos[1]).read_bytes() == before


def test_a_network_that_takes_boxes_is_refused(
    photos: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    matnet.save(colour_detector(), tmp_path / "fast.mat")
    assert run_command(predict.main, [str(tmp_path / "fast.mat"), photos[1]]) == 2
    assert_line(capsys.readouterr().err, "fast.mat", "rois", "--proposals")


def test_a_classifier_draws_no_boxes(photos: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    matnet.save(gray_classifier(), tmp_path / "gray.mat")
    assert run_command(predict.main, [str(tmp_path / "gray.mat"), photos[1], "--draw", str(tmp_path / "d")]) == 2
    assert_line(capsys.readouterr().err, "--draw", "only for detectors")


@pytest.mark.process
def test_damaged_weights_end_with_status_2(photos: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Also where every score and box in the list is finite: nothing reaches the class whose bias is NaN here."""
    net = matnet.load(photos[0])
    filters = np.array(net.params["box_f"].value)
    filters[0, 0, 1, 83] = np.nan  # moves of the last class, by a colour that is 0 in both images
    net.params["box_f"].value = filters
    matnet.save(net, photos[0])
    assert run_command(predict.main, [*photos, "--backend", "numpy", "--csv"]) == 2
    assert_line(capsys.readouterr().err, "box_f: 1 of")


# --- the number of names ---


def listing_detector(background: int = 0, size: float = 0.0) -> Network:
    """An SSD of three classes and one prior box, the middle of the image; class 2 scores 0.9 in every image, and the
    exponent of its box's width is `size`.
    """
    normalization = {"imageSize": np.array([[4.0, 4.0, 3.0]]), "averageImage": np.zeros((1, 1, 3), np.float32)}
    net = Network({"normalization": normalization}, Source(format="dagnn"))
    priors = np.array([[0.25, 0.25, 0.75, 0.75], [1, 1, 1, 1]], np.float32).reshape(1, 2, 4, 1)
    biases = {"moves": [0, 0, size, 0], "scores": [0.05, 0.05, 0.9]}
    for name, values in biases.items():
        bias = np.array(values, np.float32)
        net.params[f"{name}_f"] = Param(np.zeros((4, 4, 3, len(values)), np.float32))
        net.params[f"{name}_b"] = Param(bias.reshape(-1, 1))
        conv = Conv(size=(4, 4, 3, len(values)))
        net.add(Layer(name, conv, ["data"], [name], [f"{name}_f", f"{name}_b"]))
    net.params["boxes"] = Param(np.ascontiguousarray(priors.transpose(2, 3, 1, 0)))
    net.add(Layer("priors", Parameter(), [], ["priors"], ["boxes"]))
    op = DetectionOutput(numClasses=3, backgroundLabel=background, codeType="center_size", confidenceThreshold=0.2)
    net.add(Layer("out", op, ["moves", "scores", "priors"], ["found"]))
    return net


def predicted(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, Any]]:
    """The detections in the first image."""
    assert run_command(predict.main, [*arguments, "--backend", "numpy", "--json"]) == 0
    return json.loads(capsys.readouterr().out)["images"][0]["detections"]  # type: ignore[no-any-return]


@pytest.fixture
def ssd(photos: list[str], tmp_path: Path) -> list[str]:
    matnet.save(listing_detector(), tmp_path / "ssd.mat")
    return [str(tmp_path / "ssd.mat"), photos[1]]


def names_file(tmp_path: Path, *names: str) -> list[str]:
    (tmp_path / "names.txt").write_text("\n".join(names))
    return ["--classes", str(tmp_path / "names.txt")]


def test_names_that_are_not_as_many_as_the_scores_are_refused(
    photos: list[str], ssd: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """On the command line and in the file, before an image is read or a folder is made."""
    drawn = ["--draw", str(tmp_path / "drawn")]
    for given, count in ((photos[:2], 21), (ssd, 3)):
        assert run_command(predict.main, [*given, "--classes", "ilsvrc12", *drawn]) == 2
        assert_line(capsys.readouterr().err, "1000 class", f"scores {count}", "--classes")
    net = matnet.load(photos[0])
    net.classes = ["background", "cat", "dog"]
    matnet.save(net, tmp_path / "other.mat")
    assert run_command(predict.main, [str(tmp_path / "other.mat"), photos[1], *drawn]) == 2
    assert_line(capsys.readouterr().err, "other.mat", "3 class", "'cls_prob' scores 21")
    assert not (tmp_path / "drawn").exists()


@pytest.mark.process
def test_names_without_the_background_count_where_its_place_is_known(
    photos: list[str], ssd: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    objects = [f"object {k}" for k in range(1, 21)]
    (found,) = predicted(capsys, *photos[:2], *names_file(tmp_path, *objects), "--top", "1")
    assert (found["class"], found["index"]) == ("object 1", 1), "the file names class 0 background"
    (found,) = predicted(capsys, *ssd, *names_file(tmp_path, "cat", "dog"))
    assert (found["class"], found["index"]) == ("dog", 2)
    matnet.save(listing_detector(background=1), ssd[0])
    assert predicted(capsys, *ssd, *names_file(tmp_path, "cat", "dog"))[0]["class"] == "dog"
    assert run_command(predict.main, [*ssd, *names_file(tmp_path, "background", "cat", "dog")]) == 2
    assert_line(capsys.readouterr().err, "background", "class 0", "class 1")


@pytest.mark.process
def test_names_without_the_background_are_refused_where_its_place_is_not_known(
    photos: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    net = matnet.load(photos[0])
    del net.meta["classes"]
    matnet.save(net, photos[0])
    objects = [f"object {k}" for k in range(1, 21)]
    assert run_command(predict.main, [*photos[:2], *names_file(tmp_path, *objects)]) == 2
    assert_line(capsys.readouterr().err, "20 class", "scores 21", "background")
    named = names_file(tmp_path, "background", *objects)
    assert predicted(capsys, *photos[:2], *named, "--top", "1")[0]["class"] == "object 1"


@pytest.mark.process
@pytest.mark.parametrize("names", [(), ("none", *"abcdefghijklmnopqrst")])
def test_a_background_that_nothing_states_is_class_0_and_said(
    names: tuple[str, ...], photos: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Fast R-CNN's code (lib/fast_rcnn/test.py) skips class 0."""
    net = matnet.load(photos[0])
    del net.meta["classes"]
    matnet.save(net, photos[0])
    given = names_file(tmp_path, *names) if names else []
    assert run_command(predict.main, [*photos[:2], *given, "--backend", "numpy", "--json", "--least-score", "0"]) == 0
    told = capsys.readouterr()
    assert 0 not in {found["index"] for found in json.loads(told.out)["images"][0]["detections"]}
    assert_line(told.err, "own.mat", "background", "class 0 (none)" if names else "class 0")


@pytest.mark.parametrize(("first", "box"), [(1, [8, 5, 27, 18]), (0, [9, 6, 27, 18])])
def test_corners_of_a_list_count_as_in_the_annotations(
    first: int, box: list[int], ssd: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """A quarter to three quarters of 36 x 24 pixels: SSD's io.cpp divides VOC's corners, from 1, and COCO's, from 0."""
    net = matnet.load(ssd[0])
    net.layers["out"].op = replace(net.layers["out"].op, firstPixel=first)
    matnet.save(net, ssd[0])
    np.testing.assert_allclose(predicted(capsys, *ssd)[0]["box"], box, rtol=1e-6)


@pytest.mark.parametrize("asked", [{}, {"keep_aspect": True}, {"crop_fraction": (0.5, 0.5)}, {"protocol": "published"}])
def test_a_list_of_detections_is_of_the_whole_image(asked: dict[str, Any]) -> None:
    """Red left of the centre, which crops would lose, gives class 1 its score: 4 of 16 pixels of 200 / 800."""
    net = listing_detector()
    filters = np.zeros((4, 4, 3, 3), np.float32)
    filters[:, :, 0, 1] = 1 / 800
    net.params["scores_f"].value = filters
    image = np.zeros((8, 64, 3), np.uint8)
    image[:, :16, 0] = 200
    how = {"resize": "imresize", "interpolation": "box"} | asked
    np.testing.assert_array_equal(net.prepare(image, **how)[0, 0], [[200, 0, 0, 0]] * 4)
    (found,) = net.detect([image], least=0.5, **how)
    assert found.classes == (1, 2)
    np.testing.assert_allclose(found.scores, (1.05, 0.9), atol=1e-3)
    np.testing.assert_allclose(found.boxes, [[15, 1, 48, 6]] * 2)


def test_a_list_of_detections_takes_no_mean_image_of_a_crop() -> None:
    """The mean image was cropped as the images would be, and does not fit whole ones."""
    net = listing_detector()
    mean = np.zeros((4, 4, 3), np.float32)
    with pytest.raises(DataError, match=r"mean image.*mean=\(R, G, B\)"):
        net.detect([np.zeros((8, 64, 3), np.uint8)], mean=mean, keep_aspect=True)


def test_drawings_may_go_through_a_link_that_leads_nowhere_yet(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("to come")
    assert drawn_files(tmp_path / "link", [Picture("a.png", b"")]) == [tmp_path / "link" / "a.png"]


def test_an_evaluation_of_lists_resizes_whole_images(tmp_path: Path) -> None:
    net, count = listing_detector(), 21
    net.params["scores_f"].value = np.zeros((4, 4, 3, count), np.float32)
    net.params["scores_b"].value = np.zeros((count, 1), np.float32)
    net.layers["scores"].op = Conv(size=(4, 4, 3, count))
    net.layers["out"].op = replace(net.layers["out"].op, numClasses=count)
    stated = replace(Preprocessing.of(net), keep_aspect=True)
    config, _ = planned(net, load_voc_objects(voc2007(tmp_path)), stated)
    assert not config.preprocessing.keep_aspect


# --- what is not finite, or far too large ---


@pytest.mark.parametrize("param", ["scores_b", "moves_b"])
def test_weights_that_are_not_finite_end_with_status_2(
    param: str, ssd: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """A detection layer takes a NaN score for a low one."""
    net = matnet.load(ssd[0])
    net.params[param].value = np.full_like(net.params[param].value, np.nan)
    matnet.save(net, ssd[0])
    assert run_command(predict.main, [*ssd, "--backend", "numpy"]) == 2
    told = capsys.readouterr()
    assert "not finite" in told.err and "cannot be read" not in told.out


@pytest.mark.process
def test_results_that_are_not_finite_are_no_unreadable_image(
    photos: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    net = matnet.load(photos[0])
    net.params["cls_b"].value = np.full_like(net.params["cls_b"].value, np.nan)
    matnet.save(net, photos[0])
    assert run_command(predict.main, [*photos[:2], "--backend", "numpy", "--json"]) == 2
    told = capsys.readouterr()
    record = json.loads(told.out)
    assert (record["unreadable"], record["not_finite"]) == (0, 1)
    assert "NaN" in record["images"][0]["error"] and "NaN" in told.err
    assert run_command(predict.main, [*photos[:2], "--backend", "numpy"]) == 2
    assert_line(capsys.readouterr().out, "red.png", "(not finite)")


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("backend", ["numpy", "onnx"])
def test_finite_weights_whose_scores_are_no_numbers_are_not_nothing(
    backend: str, ssd: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """2 x 200 x 3e38 is more than float32 holds, and a detection layer drops what it compares with NaN."""
    net = matnet.load(ssd[0])
    filters = np.zeros((4, 4, 3, 3), np.float32)
    filters[0, :2, 0], filters[0, 2:, 0] = 3e38, -3e38
    net.params["scores_f"].value = filters
    matnet.save(net, ssd[0])
    Image.new("RGB", (36, 24), (200, 200, 200)).save(ssd[1])
    assert run_command(predict.main, [*ssd, "--backend", backend]) == 2
    assert_line(capsys.readouterr().out, "red.png", "(not finite)")


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_huge_boxes_are_drawn_as_far_as_the_image(
    ssd: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """exp(80) times half of the image's width; exp(90) is no number of float32."""
    matnet.save(listing_detector(size=80), ssd[0])
    options = ["--backend", "numpy", "--draw", str(tmp_path / "drawn")]
    options += names_file(tmp_path, "background", "cat", "dog")
    assert run_command(predict.main, [*ssd, *options]) == 0
    told = capsys.readouterr()
    assert "not finite" not in told.err
    assert Image.open(tmp_path / "drawn" / "red.png").size == (36, 24)
    matnet.save(listing_detector(size=90), ssd[0])
    assert run_command(predict.main, [*ssd, *options]) == 2
    assert_line(capsys.readouterr().out, "red.png", "(not finite)")


# --- options ---


@pytest.mark.process
def test_a_file_that_matnet_did_not_draw_is_not_drawn_over(
    photos: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also beside the image that is read; what was drawn before is drawn again."""
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.open(photos[1]).save(folder / "box.jpg")
    Image.new("RGB", (5, 5)).save(folder / "box.png")
    before = (folder / "box.png").read_bytes()
    given = [photos[0], str(folder / "box.jpg"), "--backend", "numpy", "--draw"]
    assert run_command(predict.main, [*given, str(folder)]) == 2
    assert_line(capsys.readouterr().err, str(folder / "box.png"), "--draw")
    assert (folder / "box.png").read_bytes() == before
    for _ in range(2):
        assert run_command(predict.main, [*given, str(tmp_path / "drawn")]) == 0


@pytest.mark.parametrize("score", ["nan", "-3", "2", "-0.1", "inf", "a"])
def test_a_least_score_is_within_0_and_1(score: str, photos: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        run_command(predict.main, [*photos, f"--least-score={score}"])
    assert_line(capsys.readouterr().err, "--least-score", score, "0 to 1")


def test_a_file_is_no_folder_to_draw_into(photos: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(predict.main, [*photos, "--draw", photos[2]]) == 2
    assert_line(capsys.readouterr().err, photos[2], "no folder", "--draw FOLDER")


@pytest.mark.process
def test_a_least_score_below_the_limit_of_evaluation_is_obeyed(
    photos: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Where nothing is, the logits are 5, 0, 0 and -20: bicycle has exp(-5) / (1 + 2 exp(-5)), 0.00665."""
    found = predicted(capsys, *photos[:2], "--least-score", "0.006")
    assert {"bicycle", "aeroplane"} <= {item["class"] for item in found}
    assert "bicycle" not in {item["class"] for item in predicted(capsys, *photos[:2], "--least-score", "0.007")}


@pytest.mark.parametrize("options", [["--input-size", "99x99"], ["--resize", "pillow"], ["--resize", "vl_imreadjpeg"]])
def test_sizes_that_cannot_act_are_refused(
    options: list[str], photos: list[str], ssd: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(predict.main, [*photos, *options]) == 2
    assert_line(capsys.readouterr().err, options[0])
    if options[0] == "--resize":
        predicted(capsys, *ssd, *options)


def test_a_file_without_a_size_takes_one(photos: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    net = matnet.load(photos[0])
    del net.meta["normalization"]["imageSize"]
    matnet.save(net, photos[0])
    assert predicted(capsys, *photos[:2], "--input-size", "99x99")


def test_a_variable_that_is_no_score_is_refused_by_name(
    photos: list[str], ssd: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    for given, name in ((photos[:2], "bbox_pred"), (photos[:2], "rois"), (ssd, "moves")):
        assert run_command(predict.main, [*given, "--scores", name, "--backend", "numpy"]) == 2
        assert_line(capsys.readouterr().err, given[0], name, "--scores")


# --- in Python ---


@pytest.mark.process
@pytest.mark.parametrize("kind", ["path", "pixels", "list"])
def test_detections_in_python(kind: str, photos: list[str]) -> None:
    pixels = np.asarray(Image.open(photos[1]))
    images = {"path": photos[1], "pixels": pixels, "list": [photos[1], photos[2]]}[kind]
    red, *others = matnet.load(photos[0]).detect(images, top=1, backend="numpy")
    assert (red.names, red.classes) == (("aeroplane",), (1,))
    assert red.boxes is not None
    np.testing.assert_allclose(red.boxes, [BOX], rtol=1e-5)
    assert red.record()["detections"][0]["class"] == "aeroplane"
    assert [other.names for other in others] == [()] * (kind == "list")


def test_detections_of_a_list_in_python(ssd: list[str]) -> None:
    """The prior is the middle half of the image of 36 x 24; annotations that SSD learns count from 1."""
    pixels = np.asarray(Image.open(ssd[1]))
    for image in (ssd[1], pixels, pixels.astype(np.float32)):
        (found,) = matnet.load(ssd[0]).detect(image, classes=["background", "cat", "dog"], backend="numpy")
        assert found.names == ("dog",)
        assert found.boxes is not None
        np.testing.assert_allclose(found.boxes, [[8, 5, 27, 18]], rtol=1e-6)


def test_a_detector_that_is_asked_to_classify_names_the_way(photos: list[str], ssd: list[str]) -> None:
    for path in (photos[0], ssd[0]):
        with pytest.raises(NetworkError, match=r"is a detector.*net\.detect\("):
            matnet.load(path).classify(photos[1])


def test_a_detector_without_names_numbers_its_classes_and_says_so(
    ssd: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(predict.main, [*ssd, "--backend", "numpy"]) == 0
    assert_line(capsys.readouterr().err, "no class names", "--classes")


@pytest.mark.parametrize("names", [["background", "cat", "dog"], ["cat", "dog"]])
def test_a_list_of_detections_takes_names(names: list[str], ssd: list[str], tmp_path: Path) -> None:
    net = matnet.load(ssd[0])
    net.classes = names
    net.save(tmp_path / "named.mat")
    assert matnet.load(tmp_path / "named.mat").detect(ssd[1], backend="numpy")[0].names == ("dog",)
    with pytest.raises(DataError, match="'found' has 3 or 2"):
        net.classes = ["cat"]


def test_what_detections_in_python_refuse(photos: list[str], tmp_path: Path) -> None:
    net = matnet.load(photos[0])
    for given, fact in (
        ({"least": float("nan")}, "least"),
        ({"least": 2}, "least"),
        ({"top": 0}, "top"),
        ({"batch_size": 2}, "batch_size"),
        ({"colour": "rgb"}, "colour"),
        ({"classes": ["cat", "dog"]}, "2 class names"),
    ):
        with pytest.raises(DataError, match=fact):
            net.detect(photos[1], **given)
    (tmp_path / "broken.png").write_text("no image")
    with pytest.raises(DataError, match=r"broken\.png"):
        net.detect(tmp_path / "broken.png")
    with pytest.raises(NetworkError, match="not a detector"):
        gray_classifier().detect(photos[1])
