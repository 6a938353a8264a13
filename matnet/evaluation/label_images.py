"""Segmentations as image files: one byte (the class) per pixel, with PASCAL VOC's palette."""

from __future__ import annotations

import os

import numpy as np

from matnet.errors import ShapeError
from matnet.files import atomic_write


def voc_palette() -> np.ndarray:
    """The 256 colours of PASCAL VOC's label images, 256 x 3 uint8; class 1 is (128, 0, 0).

    The bits of a class number, from the lowest, go to red, green and blue in turn, filling each from its highest bit
    (VOCdevkit, VOClabelcolormap).
    """
    classes = np.arange(256)
    colours = np.zeros((256, 3), np.uint8)
    for turn in range(8):
        for channel in range(3):
            colours[:, channel] |= ((classes >> (3 * turn + channel) & 1) << (7 - turn)).astype(np.uint8)
    return colours


def write_label_image(path: str | os.PathLike[str], labels: np.ndarray) -> None:
    """Write H x W classes 0..255 as a PNG with VOC's palette; pixel values are classes."""
    from PIL import Image

    if labels.ndim != 2 or labels.size == 0 or labels.min() < 0 or labels.max() > 255:
        raise ShapeError(f"{path}: labels of shape {labels.shape}; expected H x W values from 0 to 255")
    image = Image.fromarray(np.ascontiguousarray(labels, dtype=np.uint8))
    image.putpalette(voc_palette().tobytes())
    with atomic_write(path) as file:
        image.save(file, format="PNG")
