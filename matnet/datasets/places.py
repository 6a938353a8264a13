"""Places205 in the published layout: val_places205.csv of trainvalsplit_places205, and the folder of images."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from matnet.datasets.image_list import ImageList
from matnet.datasets.scan import is_there, text_lines
from matnet.errors import DataError

LIST = "val_places205.csv"
"""Lines such as `a/abbey/gsun_0003586c3eedd97457b2d729ebfe18b5.jpg 0`, with labels of categoryIndex_places205.csv."""
CLASSES, IMAGES = 205, 20_500
LIST_FOLDERS = ("", "trainvalsplit_places205")
IMAGE_FOLDERS = ("", "images256", "data/vision/torralba/deeplearning/images256", "imagesPlaces205_resize")
"""The possible folders of the lists and the images; the third is that of the image archive."""


def places_list(path: Path) -> Path | None:
    """The list itself, or the list in a folder; None if there is none."""
    if path.name == LIST:
        return path
    return next((file for name in LIST_FOLDERS if (file := path / name / LIST).is_file()), None)


def load_places205(path: str | os.PathLike[str], root: str | os.PathLike[str] | None = None) -> ImageList:
    """The 20,500 validation images, with labels from 0 to 204.

    path: the list, or the folder that holds it or trainvalsplit_places205. root: the folder of the images; by default
    the list's folder, its parent, or one of IMAGE_FOLDERS in these. Raises DataError if there is no list, for labels
    above 204, and as `ImageList.from_list` does.
    """
    file = places_list(Path(path))
    if file is None:
        raise DataError(f"{path}: found no {LIST}; expected this list of Places205, or trainvalsplit_places205")
    images = ImageList.from_list(file, root if root is not None else _image_folder(file))
    highest = int(images.labels.max())
    if highest >= CLASSES:
        raise DataError(f"{file}: has label {highest}; labels of Places205 are 0 to {CLASSES - 1}")
    notes = () if len(images) == IMAGES else (f"{len(images):,} images; Places205 val has {IMAGES:,}",)
    return replace(images, name="Places205 val", notes=(*images.notes, *notes))


def _image_folder(file: Path) -> Path:
    """The folder in which the first image of the list exists; by default the list's folder."""
    first = text_lines(file)[0][1].split()[0]
    places = [above / name for above in (file.parent, file.parent.parent) for name in IMAGE_FOLDERS]
    return next((place for place in places if is_there(place / first)), file.parent)
