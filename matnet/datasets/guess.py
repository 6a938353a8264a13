"""Detect the kind of data set in a folder from its contents."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from matnet.datasets.coco import is_coco, load_coco_objects
from matnet.datasets.flowers import has_flowers, load_flowers
from matnet.datasets.image_list import LIST_NAMES, ImageList
from matnet.datasets.imagenet import images_folder, load_imagenet
from matnet.datasets.lfw import FACE_FOLDERS, PAIR_FILES, PairSet, load_lfw
from matnet.datasets.matching import WNID
from matnet.datasets.objects import OBJECTS, DetectionSet, load_voc_objects
from matnet.datasets.places import load_places205, places_list
from matnet.datasets.scan import entries, text_lines
from matnet.datasets.subitizing import has_subitizing, load_subitizing
from matnet.datasets.synsets import SORTED_LISTS, lists_in, search_folders
from matnet.datasets.voc import SegmentationSet, has_voc, load_voc
from matnet.errors import DataError, in_words, nearest, program

Found = ImageList | SegmentationSet | DetectionSet | PairSet
"""The types of data set in a folder or list."""

KINDS = ("images", "imagenet", "voc", "voc-objects", "coco-objects", "lfw")
"""Kinds of data sets: labelled images; ImageNet; PASCAL VOC's segmentations, or only its objects; COCO's objects;
pairs of faces."""

TASK_OF_KIND = {"voc": "segmentation", "voc-objects": "detection", "coco-objects": "detection", "lfw": "faces"}
"""The task of `matnet eval` for a kind of data set other than labelled images."""

_ILSVRC = re.compile(r"ILSVRC201\d_(val|test|train)_\d{8}\.")

_LOADERS: dict[str, Callable[..., Found]] = {
    "images": ImageList.load,
    "imagenet": load_imagenet,
    "voc": load_voc,
    "voc-objects": load_voc_objects,
    "coco-objects": load_coco_objects,
    "lfw": load_lfw,
    "flowers": load_flowers,
    "places205": load_places205,
    "subitizing": load_subitizing,
}


def load(path: str | os.PathLike[str], kind: str | None = None, **options: Any) -> Found:
    """A data set of one of KINDS; for a detected kind other than `images`, a note gives the kind and the evidence.

    options: of load_imagenet (split, labels, synsets), load_voc (year, split, sbd), load_voc_objects (year, split,
    proposals), load_coco_objects (split, proposals), load_lfw (pairs) or ImageList.load (root); None for a default.
    root: the folder of the images if `path` is a list file. Raises DataError for an unknown kind, a root without a list
    file, and as the loader does.
    """
    target = Path(path)
    if kind is not None and kind not in KINDS:
        raise DataError(f"unknown kind of data set '{kind}'{nearest(kind, KINDS)}; known: {', '.join(KINDS)}")
    reason = ""
    if kind is None:
        kind, reason = guess(target)
    options = {name: value for name, value in options.items() if value is not None}
    if "root" in options and not target.exists():
        raise DataError(f"{path}: no such list of images; check the name and the folder")
    if "root" in options and (kind == "coco-objects" or not target.is_file()):
        root = in_words("root=", "--root")
        raise DataError(f"{path}: not a list file, so {root} has no effect; leave it out")
    # A list of pairs or labels stands for the folder that holds it.
    listed = {"lfw": "pairs", "imagenet": "labels"}.get(kind)
    if listed and target.is_file():
        options[listed] = target
        target = Path(options.pop("root", None) or target.parent)
    found = _LOADERS[kind](target, **options)
    said = () if kind == "images" or not reason else (f"read as {kind}: {reason}",)
    return replace(found, notes=(*found.notes, *said))


def load_images(path: str | os.PathLike[str], root: str | os.PathLike[str] | None = None) -> ImageList:
    """Labelled images, from ImageNet in one of its layouts or any other. Raises DataError for other data sets."""
    kind, reason = guess(Path(path))
    task = TASK_OF_KIND.get(kind)
    if task is not None:
        raise DataError(
            f"{path}: {reason}, so it is a data set for {task} without image labels; give labelled images, "
            f"or evaluate it with `{program('eval')} --task {task}`"
        )
    found = load(path, root=root)
    assert isinstance(found, ImageList)
    return found


def guess(path: Path) -> tuple[str, str]:
    """The detected kind of data set at `path`, and the evidence."""
    if not path.is_dir():
        return _guess_list(path)
    if has_voc(path):
        return "voc", "it holds JPEGImages and SegmentationClass"
    if has_voc(path, OBJECTS):
        return "voc-objects", "it holds JPEGImages and Annotations"
    if is_coco(path):
        return "coco-objects", "it holds COCO annotations (instances_*.json)"
    if has_flowers(path):
        return "flowers", "it holds imagelabels.mat and setid.mat"
    if places_list(path):
        return "places205", "it holds val_places205.csv"
    if has_subitizing(path):
        return "subitizing", "it holds imgIdx.mat"
    if any((path / name).is_file() for name in PAIR_FILES) or _face_folders(path):
        return "lfw", "it holds pairs of faces"
    images, folders = entries(images_folder(path, "val"))
    if any(WNID.match(name) for name in folders):
        return "imagenet", "its folders are named by WordNet ids"
    own_list = any((path / name).is_file() for name in LIST_NAMES)
    if images and all((WNID.match(name) and not own_list) or _ILSVRC.match(name) for name in images):
        return "imagenet", "its images are named as ImageNet's"
    return "images", "nothing indicates another kind"


def _guess_list(path: Path) -> tuple[str, str]:
    """A list's kind. It is ImageNet only if the list of classes for Caffe's class numbers lies beside it."""
    if path.name in PAIR_FILES:
        return "lfw", "it is a list of pairs"
    if path.is_file() and places_list(path):
        return "places205", "it is val_places205.csv"
    if path.is_file() and is_coco(path):
        return "coco-objects", "it is a COCO annotation file"
    listed = path.is_file() and _ILSVRC.search(text_lines(path)[0][1])
    if listed and any(lists_in(search_folders(path.parent), SORTED_LISTS)):
        return "imagenet", "it lists images named as ImageNet's, and a list of classes lies beside it"
    return "images", "it is a list of images"


def _face_folders(path: Path) -> bool:
    return path.name in FACE_FOLDERS or any((path / name).is_dir() for name in FACE_FOLDERS)
