"""Pillow's Image.resize, without copying the decoded image, bit-identical in all releases."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from matnet.errors import DataError
from matnet.images.crop import Box, Size
from matnet.images.resize import as_uint8

if TYPE_CHECKING:
    from PIL.Image import Image

METHODS = {"nearest": "NEAREST", "box": "BOX", "bilinear": "BILINEAR", "bicubic": "BICUBIC", "lanczos3": "LANCZOS"}
"""MATLAB interpolation name -> Pillow's name."""

_LARGEST_EXACT = 1 << 24  # Pillow's boxes have single precision


def from_array(image: np.ndarray) -> Image:
    """An H x W x 1 or H x W x 3 array as a Pillow image; floats are rounded to 0..255."""
    from PIL import Image

    pixels = as_uint8(image)
    return Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else np.ascontiguousarray(pixels))


def pillow_crop(image: Image, size: Size, box: Box, method: str = "bilinear") -> np.ndarray:
    """`box` of the image resized to `size`, H x W x C uint8; computes no more than needed."""
    from PIL import Image

    if method not in METHODS:
        raise DataError(f"resampler pillow: interpolation is '{method}'; expected {', '.join(METHODS)}")
    kernel = Image.Resampling[METHODS[method]]
    if (image.height, image.width) == size:
        return _cut(image, box)
    if kernel == Image.Resampling.NEAREST:
        return _cut(image.resize((size[1], size[0]), kernel), box)
    left, right, columns = _part(image.width, size[1], box.left, box.width)
    top, bottom, rows = _part(image.height, size[0], box.top, box.height)
    whole, part = (image.height, image.width), (bottom - top, right - left)
    if _rows_first(whole, size):
        low = image.resize((image.width, rows), kernel, box=(0, top, image.width, bottom))
        resized = low.resize((columns, rows), kernel, box=(left, 0, right, rows))
    elif _rows_first(whole, (rows, columns)) or _rows_first(part, (rows, columns)):
        # Pillow might resize the rows of this part first, so run the two passes separately.
        narrow = image.resize((columns, image.height), kernel, box=(left, 0, right, image.height))
        resized = narrow.resize((columns, rows), kernel, box=(0, top, columns, bottom))
    else:
        resized = image.resize((columns, rows), kernel, box=(left, top, right, bottom))
    first = Box(0 if rows < size[0] else box.top, 0 if columns < size[1] else box.left, box.height, box.width)
    return _cut(resized, first)


def _rows_first(size: tuple[float, float], target: Size) -> bool:
    """Whether Pillow resizes rows first (rule since release 13; earlier releases always resize columns first)."""
    fewer_rows, fewer_columns = size[0] - target[0], size[1] - target[1]
    return fewer_rows > 0 and fewer_rows > 2 * fewer_columns


def _part(length: int, size: int, start: int, count: int) -> tuple[float, float, int]:
    """The part of an axis that yields the wanted pixels, and how many pixels it yields.

    Resampling a part is bit-identical to cropping the whole only if Pillow's arithmetic is exact, as for power-of-two
    sizes. Otherwise the part is the whole axis.
    """
    if size & (size - 1) == 0 and length * size < _LARGEST_EXACT:
        return start * length / size, (start + count) * length / size, count
    return 0, length, size


def _cut(image: Image, box: Box) -> np.ndarray:
    """A box of an image as an H x W x C array."""
    if (image.height, image.width) != (box.height, box.width):
        image = image.crop((box.left, box.top, box.left + box.width, box.top + box.height))
    return np.atleast_3d(np.asarray(image))
