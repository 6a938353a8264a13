"""Which data set a folder holds, from what lies in it."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from matnet.datasets.image_list import ImageList
from matnet.datasets.imagenet import images_folder, load_imagenet
from matnet.datasets.lfw import FACE_FOLDERS, PAIR_FILES, PairSet, load_lfw
from matnet.datasets.matching import WNID
from matnet.datasets.scan import entries
from matnet.datasets.voc import SegmentationSet, has_voc, load_voc
from matnet.errors import DataError, nearest

KINDS = ("images", "imagenet", "voc", "lfw")
"""Kinds of data sets: labelled images of any classes; ImageNet; segmentations of PASCAL VOC; pairs of faces."""

_ILSVRC = re.compile(r"ILSVRC201\d_(val|test|train)_\d{8}\.")


def load(
    path: str | os.PathLike[str], kind: str | None = None, **options: Any
) -> ImageList | SegmentationSet | PairSet:
    """A data set of one of KINDS; where the kind is left out, a note says which was found, and by what.

    options: of load_imagenet (split, labels, synsets), load_voc (year, split, sbd), load_lfw (pairs) or
    ImageList.load (root). Raises DataError for an unknown kind, and for whatever those refuse.
    """
    target = Path(path)
    if kind is not None and kind not in KINDS:
        raise DataError(f"no kind of data set is called '{kind}'{nearest(kind, KINDS)}; known: {', '.join(KINDS)}")
    reason = ""
    if kind is None:
        kind, reason = guess(target)
    found: ImageList | SegmentationSet | PairSet
    if kind == "voc":
        found = load_voc(target, **options)
    elif kind == "lfw":
        found = load_lfw(target.parent, target) if target.is_file() else load_lfw(target, **options)
    elif kind == "imagenet":
        found = load_imagenet(target.parent, labels=target) if target.is_file() else load_imagenet(target, **options)
    else:
        found = ImageList.load(target, **options)
    return replace(found, notes=(*found.notes, f"read as {kind}: {reason}")) if reason else found


def guess(path: Path) -> tuple[str, str]:
    """The kind of data set that `path` seems to hold, and what tells it."""
    if not path.is_dir():
        return ("lfw", "it is a list of pairs") if path.name in PAIR_FILES else ("images", "it is a list of images")
    if has_voc(path):
        return "voc", "it holds JPEGImages and SegmentationClass"
    if any((path / name).is_file() for name in PAIR_FILES) or _face_folders(path):
        return "lfw", "it holds pairs of faces"
    images, folders = entries(images_folder(path, "val"))
    if any(WNID.match(name) for name in folders):
        return "imagenet", "its folders are named by WordNet ids"
    if images and all(WNID.match(name) or _ILSVRC.match(name) for name in images):
        return "imagenet", "its images are named as ImageNet's"
    return "images", "nothing tells of another kind"


def _face_folders(path: Path) -> bool:
    return path.name in FACE_FOLDERS or any((path / name).is_dir() for name in FACE_FOLDERS)
