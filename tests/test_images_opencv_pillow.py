"""Resizing as OpenCV and as Pillow do it, bit by bit."""

from __future__ import annotations

import numpy as np
import PIL
import pytest
from PIL import Image

from matnet.errors import DataError
from matnet.images.crop import Box
from matnet.images.opencv import opencv_crop, opencv_resize_float
from matnet.images.pillow import from_array, pillow_crop
from tests.image_inputs import PHOTO, RGB

OPENCV_IMAGE = np.array(
    [
        [139, 74, 229, 241, 169, 65, 6],
        [160, 149, 106, 38, 175, 188, 205],
        [175, 229, 98, 249, 10, 148, 95],
        [86, 147, 198, 66, 39, 106, 213],
        [171, 45, 167, 57, 69, 81, 55],
    ],
    dtype=np.uint8,
)[..., np.newaxis]


def opencv_resize(image: np.ndarray, size: tuple[int, int], method: str = "bilinear") -> np.ndarray:
    return opencv_crop(image, size, Box(0, 0, *size), method)


def pillow_resize(image: np.ndarray, size: tuple[int, int], method: str = "bilinear") -> np.ndarray:
    return pillow_crop(from_array(image), size, Box(0, 0, *size), method)


@pytest.mark.parametrize(
    ("source", "size", "expected"),
    [
        (OPENCV_IMAGE, (3, 4), [[128, 186, 171, 85], [195, 117, 40, 115], [119, 163, 59, 101]]),
        (
            OPENCV_IMAGE[:3, :4],
            (5, 6),
            [
                [139, 106, 100, 203, 235, 241],
                [147, 126, 116, 167, 170, 160],
                [160, 155, 142, 113, 72, 38],
                [169, 183, 181, 117, 133, 164],
                [175, 202, 207, 120, 173, 249],
            ],
        ),
    ],
    ids=["smaller", "larger"],
)
def test_opencv_bytes(source: np.ndarray, size: tuple[int, int], expected: list[list[int]]) -> None:
    """Expected: cv2.resize(..., INTER_LINEAR) of OpenCV 4.10."""
    np.testing.assert_array_equal(opencv_resize(source, size)[:, :, 0], expected)
    np.testing.assert_array_equal(opencv_resize(source.astype(np.float32), size)[:, :, 0], expected)


def test_opencv_floats() -> None:
    """Expected: cv2.resize of the float32 image, OpenCV 4.10 (first and second row)."""
    found = opencv_resize_float(OPENCV_IMAGE[:3, :4].astype(np.float32), (5, 6))[:2, :, 0]
    expected = [
        [139.0, 106.5, 99.83333587646484, 203.16665649414062, 235.0, 241.0],
        [147.39999389648438, 125.69999694824219, 116.63333129882812, 167.16665649414062, 169.8, 159.8],
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_pillow_takes_height_before_width() -> None:
    """Half the size: the bilinear kernel is (1 3 3 1) / 8, cut off at the borders and divided by 7."""
    line = np.array([[[8], [16], [40], [64]]], dtype=np.uint8)
    expected = [[round((3 * 8 + 3 * 16 + 40) / 7), round((16 + 3 * 40 + 3 * 64) / 7)]]
    assert pillow_resize(line, (1, 2))[:, :, 0].tolist() == expected
    assert pillow_resize(RGB, (3, 4)).shape == (3, 4, 3)


@pytest.mark.parametrize("method", ["bilinear", "bicubic", "box", "lanczos3", "nearest"])
@pytest.mark.parametrize("image", [(375, 500), (500, 375), (90, 40), (256, 300), (40, 256), (256, 256)])
@pytest.mark.parametrize("size", [(256, 256), (64, 100), (101, 128)])
def test_a_part_of_what_pillow_resizes(image: tuple[int, int], size: tuple[int, int], method: str) -> None:
    """Expected: Pillow, one axis a call, in the order of release 13, then cut."""
    pixels = np.random.default_rng(8).integers(0, 256, (*image, 3), dtype=np.uint8)
    kernel = Image.Resampling.LANCZOS if method == "lanczos3" else Image.Resampling[method.upper()]
    fewer_rows, fewer_columns = image[0] - size[0], image[1] - size[1]
    rows_first = fewer_rows > max(0, 2 * fewer_columns)
    between = (image[1], size[0]) if rows_first else (size[1], image[0])
    whole = Image.fromarray(pixels).resize(between, kernel).resize((size[1], size[0]), kernel)
    if int(PIL.__version__.partition(".")[0]) >= 13:
        np.testing.assert_array_equal(whole, Image.fromarray(pixels).resize((size[1], size[0]), kernel))
    box = Box(size[0] // 9, size[1] // 7, size[0] // 2, size[1] - size[1] // 7)
    found = pillow_crop(Image.fromarray(pixels), size, box, method)
    np.testing.assert_array_equal(found, box.cut(np.asarray(whole)))


@pytest.mark.process
@pytest.mark.parametrize("size", [(256, 256), (40, 90), (61, 33)])
def test_opencv_itself(size: tuple[int, int]) -> None:
    """Expected: cv2.resize of whatever release is installed; and a part of it, where only that is wanted."""
    cv2 = pytest.importorskip("cv2", reason="OpenCV, with which this compares, is not installed")
    pixels = PHOTO[:77, :95]
    whole = cv2.resize(pixels, (size[1], size[0]), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_array_equal(opencv_resize(pixels, size), whole)
    box = Box(5, 2, size[0] - 9, size[1] - 3)
    np.testing.assert_array_equal(opencv_crop(pixels, size, box), box.cut(whole))


@pytest.mark.parametrize(("resizer", "method"), [(opencv_resize, "bicubic"), (pillow_resize, "lanczos2")])
def test_interpolations_that_a_resampler_lacks(resizer: object, method: str) -> None:
    with pytest.raises(DataError, match=method):
        resizer(RGB, (3, 4), method)  # type: ignore[operator]
