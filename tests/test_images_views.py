"""Ten crops of an image, images at their own size, and which protocol a published figure was measured by."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from matnet.errors import DataError
from matnet.images import Measured, Preprocessing, card_meta, protocol_for
from tests.image_inputs import PHOTO

GRAY = np.arange(4 * 5, dtype=np.uint8).reshape(4, 5, 1)  # rows 0..4, 5..9, 10..14, 15..19
WHOLE = {"channels": 1, "crop_fraction": (2 / 4, 3 / 5), "keep_aspect": False, "interpolation": "bilinear"}


@pytest.mark.parametrize("resize", ["vl_imreadjpeg", "imresize", "pillow", "opencv", "opencv-float"])
def test_ten_crops_in_their_order(resize: str) -> None:
    """Worked out by hand: 2 x 3 crops of 4 x 5 pixels, as many as that; corners row by row, then the centre."""
    prepared = Preprocessing((2, 3), crops=10, resize=resize, **WHOLE)
    found = prepared.apply(GRAY)
    assert (prepared.views, prepared.shape, found.shape, found.dtype) == (10, (10, 1, 2, 3), (10, 1, 2, 3), np.float32)
    upright = [
        [[0, 1, 2], [5, 6, 7]],
        [[2, 3, 4], [7, 8, 9]],
        [[10, 11, 12], [15, 16, 17]],
        [[12, 13, 14], [17, 18, 19]],
        [[6, 7, 8], [11, 12, 13]],
    ]
    mirrored = [[row[::-1] for row in crop] for crop in upright]
    np.testing.assert_array_equal(found[:, 0], [*upright, *mirrored])


def test_the_mean_image_is_not_mirrored() -> None:
    """As in pycaffe and cnn_imagenet_get_batch: pixels are mirrored, then one mean is subtracted from all views."""
    mean = np.array([[[100.0], [200], [300]], [[400], [500], [600]]])
    found = Preprocessing((2, 3), crops=10, mean=mean, resize="imresize", **WHOLE).apply(GRAY)
    np.testing.assert_array_equal(found[0, 0], [[0 - 100, 1 - 200, 2 - 300], [5 - 400, 6 - 500, 7 - 600]])
    np.testing.assert_array_equal(found[5, 0], [[2 - 100, 1 - 200, 0 - 300], [7 - 400, 6 - 500, 5 - 600]])


def test_corners_are_those_of_the_whole_image_where_the_aspect_is_kept() -> None:
    """256 x 341: the right corners begin at column 341 - 224, the centre at floor(117 / 2)."""
    prepared = Preprocessing((224, 224), crops=10, crop_fraction=(0.875, 0.875), color="bgr", scale=2)
    found = prepared.apply(PHOTO)
    corners = [(0, 0), (0, 117), (32, 0), (32, 117), (16, 58)]
    for place, (top, left) in enumerate(corners):
        crop = PHOTO[top : top + 224, left : left + 224, ::-1].transpose(2, 0, 1) * np.float32(2)
        np.testing.assert_array_equal(found[place], crop)
        np.testing.assert_array_equal(found[place + 5], crop[:, :, ::-1])


@pytest.mark.parametrize("resize", ["vl_imreadjpeg", "imresize", "pillow", "opencv"])
def test_the_fifth_view_is_what_one_crop_gives(resize: str) -> None:
    fields: dict[str, Any] = {
        "resize": resize,
        "interpolation": "bilinear",
        "crop_fraction": (0.8, 0.75),
        "mean": (7, 8, 9),
    }
    one = Preprocessing((40, 30), **fields).apply(PHOTO[:90, :70])
    ten = Preprocessing((40, 30), **fields, crops=10).apply(PHOTO[:90, :70])
    np.testing.assert_array_equal(ten[4], one)
    assert len({view.tobytes() for view in ten}) == 10


def test_views_are_written_into_a_batch(tmp_path: Path) -> None:
    Image.fromarray(GRAY[:, :, 0]).save(tmp_path / "a.png")
    prepared = Preprocessing((2, 3), crops=10, resize="imresize", **WHOLE)
    batch = np.full((2 * prepared.views, 1, 2, 3), -1, np.float32)
    prepared.load(tmp_path / "a.png", out=batch.reshape(2, *prepared.shape)[1])
    np.testing.assert_array_equal(batch[:10], -1)
    np.testing.assert_array_equal(batch[10:], prepared.apply(GRAY))


def test_one_crop_is_one_view() -> None:
    prepared = Preprocessing((2, 3), resize="imresize", **WHOLE)
    assert (prepared.views, prepared.shape, prepared.apply(GRAY).shape) == (1, (1, 2, 3), (1, 2, 3))
    assert "centre crop" in prepared.describe()
    assert "ten crops" in Preprocessing((2, 3), crops=10, resize="imresize", **WHOLE).describe()
    assert "ten crops" in Preprocessing((2, 3), crops=10).describe()
    with pytest.raises(DataError, match="crops is 5; expected 1"):
        Preprocessing((2, 3), crops=5)


# --- images at their own size ---


@pytest.mark.parametrize(("color", "order"), [("rgb", [0, 1, 2]), ("bgr", [2, 1, 0])])
def test_own_size(color: str, order: list[int], tmp_path: Path) -> None:
    """(pixels - mean) * scale, channels in the network's order, nothing resized."""
    pixels = PHOTO[:7, :11]
    Image.fromarray(pixels).save(tmp_path / "a.png")
    prepared = Preprocessing((500, 500), mean=(10.5, 20, 30), color=color, scale=2, resize="imresize")
    found = prepared.native(tmp_path / "a.png")
    expected = (pixels.astype(np.float64) - [10.5, 20, 30])[:, :, order].transpose(2, 0, 1)[np.newaxis] * 2
    assert (found.shape, found.dtype, found.flags.c_contiguous) == ((1, 3, 7, 11), np.float32, True)
    np.testing.assert_array_equal(found, expected)


def test_own_size_with_a_mean_image(tmp_path: Path) -> None:
    Image.fromarray(PHOTO[:7, :11]).save(tmp_path / "a.png")
    mean = np.random.default_rng(1).uniform(90, 130, (7, 11, 3)).astype(np.float32)
    fitting = Preprocessing((7, 11), mean=mean).native(tmp_path / "a.png")
    np.testing.assert_array_equal(fitting[0], (PHOTO[:7, :11] - mean).transpose(2, 0, 1))
    with pytest.raises(DataError, match=r"a.png: the image is 7x11, but the mean is an image of 5x6.*mean=\(R, G, B\)"):
        Preprocessing((5, 6), mean=np.ones((5, 6, 3))).native(tmp_path / "a.png")


# --- protocols by card ---

PAGE_2016 = "MatConvNet's page of pretrained models, May 2016"


@pytest.mark.parametrize(
    ("source", "how", "expected"),
    [
        (PAGE_2016, "one centre crop", Measured("published-2016")),
        ("MatConvNet's page of pretrained models, September 2016", "", Measured("published")),
        (PAGE_2016, "images at their own size, argmax", Measured("meta", native=True)),
        ("readme of the model in BVLC Caffe", "one centre crop", Measured("caffe")),
        ("readme of the gist", "ten crops", Measured("caffe", crops=10)),
        ("the authors' readme", "10 crops", Measured("caffe", crops=10)),
        ("readme of the model", "the FCN-8s inside, argmax", Measured("meta", native=True)),
        ("readme of the gist", "dense, shorter side 384", None),
        ("Caffe's wiki", "dense, several scales", None),
    ],
)
def test_how_a_figure_was_measured(source: str, how: str, expected: Measured | None) -> None:
    """Expected: MatConvNet's page of May 2016 stands between beta19 and beta20, that of September after beta21."""
    assert protocol_for(source, how) == expected


def test_a_card_stands_in_for_meta() -> None:
    fields = {
        "image_size": [24, 20],
        "mean": [1, 2, 3],
        "interpolation": "bilinear",
        "keep_aspect": False,
        "border": [8, 12],
    }
    found = Preprocessing.from_meta(card_meta(fields), "legacy")
    assert (found.image_size, found.interpolation, found.keep_aspect) == ((24, 20), "bilinear", False)
    assert found.crop_fraction == pytest.approx((24 / 32, 20 / 32))
    np.testing.assert_array_equal(found.mean, [1, 2, 3])


def test_a_card_that_names_a_mean_file() -> None:
    fields = {"image_size": [24, 20], "mean": "imagenet_mean.binaryproto"}
    assert Preprocessing.from_meta(card_meta(fields), channels=3).mean is None
    image = np.random.default_rng(5).uniform(90, 130, (24, 20, 3)).astype(np.float32)
    np.testing.assert_array_equal(Preprocessing.from_meta(card_meta(fields, image)).mean, image)
