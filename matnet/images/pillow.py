"""Pillow's Image.resize, straight from the image that its decoder filled, and the same bits in every release."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from matnet.errors import DataError
from matnet.images.crop import Box, Size
from matnet.images.resize import as_uint8

if TYPE_CHECKING:
    from PIL.Image import Image

METHODS = {"nearest": "NEAREST", "box": "BOX", "bilinear": "BILINEAR", "bicubic": "BICUBIC", "lanczos3": "LANCZOS"}
"""MATLAB's names of interpolations -> Pillow's."""

_LARGEST_EXACT = 1 << 24  # Pillow takes boxes as single precision


def from_array(image: np.ndarray) -> Image:
    """An H x W x 1 or H x W x 3 array as an image of Pillow's; floats are rounded to 0..255."""
    from PIL import Image

    pixels = as_uint8(image)
    return Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else np.ascontiguousarray(pixels))


def pillow_crop(image: Image, size: Size, box: Box, method: str = "bilinear") -> np.ndarray:
    """`box` of what the image resized to `size` is, H x W x C uint8; no more of it is computed than has to be."""
    from PIL import Image

    if method not in METHODS:
        raise DataError(f"Pillow has no interpolation '{method}'; known: {', '.join(METHODS)}")
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
        # For the part alone Pillow might take the rows first, so both passes are done one by one.
        narrow = image.resize((columns, image.height), kernel, box=(left, 0, right, image.height))
        resized = narrow.resize((columns, rows), kernel, box=(0, top, columns, bottom))
    else:
        resized = image.resize((columns, rows), kernel, box=(left, top, right, bottom))
    first = Box(0 if rows < size[0] else box.top, 0 if columns < size[1] else box.left, box.height, box.width)
    return _cut(resized, first)


def _rows_first(size: tuple[float, float], target: Size) -> bool:
    """Pillow's rule since release 13 for height, width -> height, width; earlier ones always begin with the columns."""
    fewer_rows, fewer_columns = size[0] - target[0], size[1] - target[1]
    return fewer_rows > 0 and fewer_rows > 2 * fewer_columns


def _part(length: int, size: int, start: int, count: int) -> tuple[float, float, int]:
    """The part of an axis that gives the wanted pixels, and how many pixels it gives.

    Resampling a part gives the same bits as cutting the whole where all that Pillow computes with is exact: its
    sizes over a power of two. Elsewhere it is the whole axis.
    """
    if size & (size - 1) == 0 and length * size < _LARGEST_EXACT:
        return start * length / size, (start + count) * length / size, count
    return 0, length, size


def _cut(image: Image, box: Box) -> np.ndarray:
    """A box of an image as an H x W x C array."""
    if (image.height, image.width) != (box.height, box.width):
        image = image.crop((box.left, box.top, box.left + box.width, box.top + box.height))
    return np.atleast_3d(np.asarray(image))
