"""Pixels and normalizations that the tests of images share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

RGB = np.random.default_rng(3).integers(0, 256, (5, 7, 3), dtype=np.uint8)
PHOTO = np.random.default_rng(4).integers(0, 256, (256, 341, 3), dtype=np.uint8)
SIXTEEN = np.arange(16.0).reshape(4, 4)
EIGHT = np.array([[10.0, 20, 40, 80, 160, 200, 220, 250]])
COLOR = np.array([[123.68, 116.779, 103.939]])


def saved(image: Image.Image, path: Path, **options: object) -> Path:
    image.save(path, **options)
    return path


def meta(**fields: object) -> dict[str, object]:
    return {"normalization": {"imageSize": np.array([[24.0, 20, 3]]), **fields}}
