"""The crops of vl_imreadjpeg, of older MatConvNet releases and of Caffe."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from matnet.errors import ShapeError

Size = tuple[int, int]
"""Height, width."""


class Box(NamedTuple):
    """A rectangle of pixels: 0-based top left corner and size."""

    top: int
    left: int
    height: int
    width: int

    def cut(self, image: np.ndarray) -> np.ndarray:
        """The H x W x C image inside the box, as a view."""
        return image[self.top : self.top + self.height, self.left : self.left + self.width]


def covered_size(image_size: Size, fraction: tuple[float, float]) -> Size:
    """The size of a whole resized image, so that a crop of `image_size` keeps `fraction` of it.

    >>> covered_size((227, 227), (227 / 256, 227 / 256))
    (256, 256)
    """
    return round(image_size[0] / fraction[0]), round(image_size[1] / fraction[1])


def imreadjpeg_box(
    image: Size, output: Size, fraction: tuple[float, float] = (1.0, 1.0), keep_aspect: bool = True
) -> Box:
    """The central region that vl_imreadjpeg resamples to `output` at test time.

    The region is the largest with the output's aspect ratio that fits in the image, or the whole image if keep_aspect
    is false, times `fraction` (height, width; the option CropSize). Upstream has a single fraction. If the two differ,
    the region is what remains after a resize to output / fraction and a crop of `output`.

    >>> imreadjpeg_box((375, 500), (224, 224), (0.875, 0.875))
    Box(top=23, left=86, height=328, width=328)
    """
    height, width = image
    # Same order of operations as upstream: 500 x 0.875 is 437.4999..., which rounds to 437, not 438.
    anisotropy = 1.0 if keep_aspect else (width / height) / (output[1] / output[0])
    crop_width = output[1] * math.sqrt(anisotropy)
    crop_height = output[0] / math.sqrt(anisotropy)
    fit_width, fit_height = width / crop_width, height / crop_height
    if keep_aspect:
        reach = min(fit_width * fraction[1], fit_height * fraction[0])
        crop_width, crop_height = crop_width * reach, crop_height * reach
    else:
        fit = min(fit_width, fit_height)
        crop_width, crop_height = crop_width * (fit * fraction[1]), crop_height * (fit * fraction[0])
    return centre_box(image, (_whole(crop_height, height), _whole(crop_width, width)))


def _whole(length: float, limit: int) -> int:
    """Rounded half away from zero, at least one pixel, at most the image."""
    return max(1, min(math.floor(length + 0.5), limit))


def centre_box(image: Size, size: Size) -> Box:
    """The central box of `size`, at offset floor((image - size) / 2); ShapeError if the image is smaller.

    >>> centre_box((256, 341), (227, 227))
    Box(top=14, left=57, height=227, width=227)
    """
    top, left = image[0] - size[0], image[1] - size[1]
    if top < 0 or left < 0:
        raise ShapeError(
            f"a crop of {size[0]}x{size[1]} does not fit in an image of {image[0]}x{image[1]}; "
            "resize to a larger size or use a smaller crop"
        )
    return Box(top // 2, left // 2, *size)


def scale_factors(image: Size, target: Size, keep_aspect: bool = True) -> tuple[float, float]:
    """The scale of height and width with which the image covers `target` (cnn_imagenet_get_batch).

    With keep_aspect, both scales are the larger of the two ratios.
    """
    rows, columns = target[0] / image[0], target[1] / image[1]
    return (max(rows, columns),) * 2 if keep_aspect else (rows, columns)


def scaled_size(image: Size, factors: tuple[float, float]) -> Size:
    """The size after scaling: ceil(factor * length) on each axis (MATLAB's imresize with a scale).

    >>> scaled_size((375, 500), scale_factors((375, 500), (256, 256)))
    (256, 342)
    """
    return math.ceil(image[0] * factors[0]), math.ceil(image[1] * factors[1])


def five_boxes(image: Size, size: Size) -> list[Box]:
    """The boxes of `size` in the four corners and in the centre; ShapeError if the image is smaller.

    The order is top left, top right, bottom left, bottom right, centre (pycaffe's oversample).
    """
    centre = centre_box(image, size)
    bottom, right = image[0] - size[0], image[1] - size[1]
    return [*(Box(top, left, *size) for top in (0, bottom) for left in (0, right)), centre]
