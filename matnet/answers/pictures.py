"""Images as arguments: paths, folders, bytes, open files, Pillow images, arrays, and lists of these."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from matnet.datasets.scan import images_below
from matnet.errors import DataError
from matnet.images.decode import name_of


class Picture(NamedTuple):
    """One image, perhaps not read yet: its name and its source."""

    name: str
    source: Any


def pictures_of(images: Any) -> tuple[list[Picture], bool]:
    """Every image in `images`, and whether `images` is a list or a folder (even with a single image).

    A folder yields all image files in it and its subfolders, sorted. An array N x H x W x C, or of paths, counts as a
    list. Raises DataError for a folder without images and for an empty list.
    """
    images = _plain(images)
    several = _is_list(images) or _is_folder(images)
    found = list(_each(images))
    if not found:
        raise DataError("no image is given; expected a path, a folder, an array, or a list of them")
    counted = [
        Picture(f"image {number}", picture.source) if isinstance(picture.source, np.ndarray) else picture
        for number, picture in enumerate(found)
    ]
    return counted, several


def _each(images: Any) -> Iterator[Picture]:
    images = _plain(images)
    if isinstance(images, str) and not images:
        raise DataError("the path of an image is empty; expected a path, a folder, an array, or a list of them")
    if _is_folder(images):
        # Text, in the order of paths: a Path takes five times the memory.
        files = sorted(map(str, images_below(Path(images))), key=lambda file: file.replace(os.sep, "\0"))
        if not files:
            raise DataError(f"{os.fspath(images)}: holds no image files (.jpg, .png, ...); check the folder")
        yield from (Picture(file, file) for file in files)
    elif _is_list(images):
        for image in images:
            yield from _each(image)
    else:
        yield Picture(name_of(images), images)


def _plain(images: Any) -> Any:
    """A tensor of another library as an array; anything else as it is."""
    known = isinstance(images, (np.ndarray, str, bytes)) or hasattr(images, "convert")
    if known or not hasattr(images, "__array__"):
        return images
    try:
        return np.asarray(images)
    except (TypeError, RuntimeError) as error:  # a tensor on a GPU, or one that needs its gradient
        raise DataError(f"the image is a {type(images).__name__} that cannot be read: {error}") from None


def _is_folder(images: Any) -> bool:
    return isinstance(images, (str, os.PathLike)) and images != "" and Path(images).is_dir()


def _is_list(images: Any) -> bool:
    if isinstance(images, np.ndarray):
        return (images.ndim > 0 and images.dtype.kind in "OU") or (images.ndim == 4 and images.shape[3] in (1, 3))
    if isinstance(images, (str, os.PathLike, bytes, bytearray, memoryview)) or hasattr(images, "read"):
        return False
    return isinstance(images, Iterable) and not hasattr(images, "convert")
