"""Sizes of whole images, and the boxes that are cut from them."""

from __future__ import annotations

import pytest

from matnet.errors import ShapeError
from matnet.images.crop import Box, centre_box, five_boxes, scale_factors, scaled_size


@pytest.mark.parametrize(
    ("image", "target", "keep_aspect", "expected"),
    [
        ((375, 500), (256, 256), True, (256, 342)),
        ((500, 375), (256, 256), True, (342, 256)),
        ((375, 500), (256, 256), False, (256, 256)),
        ((100, 999), (256, 256), True, (256, 2558)),
    ],
)
def test_whole_image_sizes(
    image: tuple[int, int], target: tuple[int, int], keep_aspect: bool, expected: object
) -> None:
    """Expected: ceil(factor * length) as in cnn_imagenet_get_batch; the short side comes out whole."""
    assert scaled_size(image, scale_factors(image, target, keep_aspect)) == expected


def test_short_sides_never_exceed_the_target() -> None:
    sides = [scaled_size((side, side), scale_factors((side, side), (256, 256))) for side in range(100, 1000)]
    assert set(sides) == {(256, 256)}


def test_centre_box_rounds_its_offset_down_and_must_fit() -> None:
    assert centre_box((256, 341), (227, 224)) == Box(14, 58, 227, 224)
    with pytest.raises(ShapeError, match=r"227x227.*200x300"):
        centre_box((200, 300), (227, 227))


def test_five_boxes() -> None:
    """Top left, top right, bottom left, bottom right, centre, in pycaffe's order; 1.5 rounds down."""
    expected = [Box(0, 0, 3, 2), Box(0, 4, 3, 2), Box(3, 0, 3, 2), Box(3, 4, 3, 2), Box(1, 2, 3, 2)]
    assert five_boxes((6, 6), (3, 2)) == expected
