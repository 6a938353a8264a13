"""`matnet predict` on detectors: boxes as a table, JSON and CSV, and drawn on the images."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import matnet
from matnet import predict
from matnet.errors import run_command
from tests.helpers import assert_line
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
    assert_line(capsys.readouterr().err, "--draw", "no detector")


def test_damaged_weights_end_with_status_2(photos: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Also where every score and box in the list is finite: nothing reaches the class whose bias is NaN here."""
    net = matnet.load(photos[0])
    filters = np.array(net.params["box_f"].value)
    filters[0, 0, 1, 83] = np.nan  # moves of the last class, by a colour that is 0 in both images
    net.params["box_f"].value = filters
    matnet.save(net, photos[0])
    assert run_command(predict.main, [*photos, "--backend", "numpy", "--csv"]) == 2
    assert_line(capsys.readouterr().err, "box_f: 1 of")
