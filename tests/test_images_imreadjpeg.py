"""vl_imreadjpeg: which part of an image it takes, and how it resamples it."""

from __future__ import annotations

import numpy as np
import pytest

from matnet.images import imresize
from matnet.images.crop import Box, imreadjpeg_box
from matnet.images.resize import imreadjpeg_resample
from tests.image_inputs import EIGHT, PHOTO


@pytest.mark.parametrize(
    ("image", "net", "keep_aspect", "expected"),
    [
        ((256, 341), 224, True, Box(16, 58, 224, 224)),
        ((256, 341), 227, True, Box(14, 57, 227, 227)),
        ((256, 341), 227, False, Box(14, 19, 227, 302)),
        ((375, 500), 224, True, Box(23, 86, 328, 328)),
        ((375, 500), 224, False, Box(23, 31, 328, 437)),
        ((500, 333), 224, True, Box(104, 21, 291, 291)),
    ],
)
def test_imreadjpeg_crops(image: tuple[int, int], net: int, keep_aspect: bool, expected: Box) -> None:
    """Expected: upstream's arithmetic in double precision; 437 is 437.4999999999999 rounded."""
    assert imreadjpeg_box(image, (net, net), (net / 256, net / 256), keep_aspect) == expected


def test_unequal_crop_fractions_keep_what_a_resize_and_a_crop_keep() -> None:
    """100x200 of an image resized to cover 132x232: the larger factor f counts, so 100/f by 200/f."""
    factor = max(132 / 256, 232 / 341)
    box = imreadjpeg_box((256, 341), (100, 200), (100 / 132, 200 / 232))
    assert (box.height, box.width) == (round(100 / factor), round(200 / factor))
    squashed = imreadjpeg_box((256, 341), (100, 200), (100 / 132, 200 / 232), keep_aspect=False)
    assert (squashed.height, squashed.width) == (round(256 * 100 / 132), round(341 * 200 / 232))


def test_imreadjpeg_repeats_the_border() -> None:
    """Expected: upstream's resampler on the 8 samples; only the first and last differ from imresize."""
    found = imreadjpeg_resample(EIGHT[:, :, np.newaxis], Box(0, 0, 1, 8), (1, 4))
    np.testing.assert_array_equal(found.ravel(), np.float32([13.515625, 62.34375, 176.71875, 236.484375]))


def test_imreadjpeg_reads_outside_the_crop() -> None:
    """A crop's samples equal those of the whole line: the crop's border is not the image's."""
    whole = imreadjpeg_resample(EIGHT[:, :, np.newaxis], Box(0, 0, 1, 8), (1, 4))
    crop = imreadjpeg_resample(EIGHT[:, :, np.newaxis], Box(0, 2, 1, 4), (1, 2))
    np.testing.assert_array_equal(crop, whole[:, 1:3])


def test_imreadjpeg_does_not_stop_at_a_zero_weight() -> None:
    """Shrinking by 3 puts taps exactly at the kernel's zeros; a straight line still gives its own centres."""
    line = np.arange(60.0)[np.newaxis, :, np.newaxis]
    found = imreadjpeg_resample(line, Box(0, 15, 1, 30), (1, 10))
    np.testing.assert_allclose(found.ravel(), 15 + 3 * np.arange(10) + 1, rtol=1e-5)


def test_imreadjpeg_is_imresize_away_from_the_border() -> None:
    found = imreadjpeg_resample(PHOTO, Box(0, 0, 256, 341), (150, 190))
    expected = imresize(PHOTO.astype(np.float64), (150, 190))
    np.testing.assert_allclose(found[6:-6, 6:-6], expected[6:-6, 6:-6], rtol=0, atol=2e-3)
