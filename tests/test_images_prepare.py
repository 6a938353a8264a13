"""Preprocessing of an image: resized, cropped, colours in order, mean subtracted, scaled."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from matnet.errors import DataError
from matnet.images import Preprocessing
from tests.image_inputs import RGB, SIXTEEN, saved


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"image_size": (0, 5)}, "image_size is"),
        ({"image_size": (100000, 100000)}, "at most"),
        ({"channels": 4}, "takes 4 channels"),
        ({"mean": np.ones((5, 6, 3))}, "mean has shape"),
        ({"color": "grb"}, "color is 'grb'; expected one of 'rgb', 'bgr'"),
        ({"resize": "opencl"}, "resize is 'opencl'; expected one of 'vl_imreadjpeg', 'imresize', 'pillow', 'opencv'"),
        ({"resize": "pillow", "crop_fraction": (1.1, 1.1)}, "crop_fraction"),
        ({"interpolation": "cubik"}, "nearest: cubic"),
        ({"mean": "mean.binaryproto"}, "mean is 'mean.binaryproto'; expected numbers"),
        ({"image_size": 8}, r"image_size is 8; expected \(height, width\)"),
        ({"image_size": "8x8"}, r"image_size is '8x8'; expected \(height, width\)"),
        ({"std": [1, "x", 2]}, "std is .*expected numbers"),
    ],
)
def test_what_does_not_go_together(fields: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        Preprocessing(**{"image_size": (24, 20), **fields})  # type: ignore[arg-type]


@pytest.mark.parametrize("resize", ["vl_imreadjpeg", "imresize", "pillow", "opencv", "opencv-float"])
def test_an_image_of_the_right_size_is_not_touched(resize: str) -> None:
    prepared = Preprocessing((5, 7), resize=resize, interpolation="bilinear", color="bgr", scale=0.5)
    before = RGB.copy()
    np.testing.assert_array_equal(prepared.apply(RGB), RGB.transpose(2, 0, 1)[::-1] * np.float32(0.5))
    fractions = RGB + np.float32(0.25)
    np.testing.assert_array_equal(prepared.apply(fractions), fractions.transpose(2, 0, 1)[::-1] * np.float32(0.5))
    np.testing.assert_array_equal(RGB, before)


def test_mean_stays_rgb_when_the_network_takes_bgr() -> None:
    prepared = Preprocessing((1, 1), mean=(1, 2, 3), color="bgr", scale=2)
    found = prepared.apply(np.array([[[10, 20, 30]]], np.float32))
    np.testing.assert_array_equal(found.ravel(), [2 * (30 - 3), 2 * (20 - 2), 2 * (10 - 1)])


def test_squashed_with_pillow_then_cropped() -> None:
    """SqueezeNet scored in Caffe: 256x256 by Pillow's bilinear, centre crop at 14, BGR minus means."""
    prepared = Preprocessing(
        (227, 227),
        mean=(123, 117, 104),
        color="bgr",
        resize="pillow",
        interpolation="bilinear",
        keep_aspect=False,
        crop_fraction=(227 / 256, 227 / 256),
    )
    image = np.random.default_rng(6).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    resized = np.asarray(Image.fromarray(image).resize((256, 256), Image.Resampling.BILINEAR), np.float32)
    expected = (resized - np.float32([123, 117, 104]))[14:241, 14:241, ::-1].transpose(2, 0, 1)
    np.testing.assert_array_equal(prepared.apply(image), expected)


def test_load_writes_into_a_batch_and_names_the_file(tmp_path: Path) -> None:
    batch = np.zeros((2, 1, 4, 4), np.float32)
    file = saved(Image.fromarray(SIXTEEN.astype(np.uint8)), tmp_path / "a.png")
    Preprocessing((4, 4), channels=1).load(file, out=batch[1])
    np.testing.assert_array_equal(batch, np.stack([np.zeros((1, 4, 4)), SIXTEEN[np.newaxis]]))
    stripe = saved(Image.new("RGB", (1, 20000)), tmp_path / "stripe.png")
    with pytest.raises(DataError, match=r"stripe.png.*20000x1"):
        Preprocessing((256, 256), resize="imresize").load(stripe)
