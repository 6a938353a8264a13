"""ImageNet (ILSVRC-2012) in its usual layouts; labels are WordNet ids, never positions."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from matnet.datasets.image_list import ImageList
from matnet.datasets.imagenet_labels import Labelled, labelled_files
from matnet.datasets.matching import WNID
from matnet.datasets.scan import digest_lines, entries, fault, first_few
from matnet.errors import DataError, listing

COUNTS = {"val": 50_000, "train": 1_281_167, "test": 100_000}
"""The number of images in each part of ILSVRC-2012."""

_PLACES = ("images/{}", "ILSVRC/Data/CLS-LOC/{}", "Data/CLS-LOC/{}", "ILSVRC2012_img_{}", "{}", "images", ".")
"""The possible folders of a part's images: MatConvNet, Kaggle, the tar files' names, class folders."""


def load_imagenet(
    folder: str | os.PathLike[str],
    split: str = "val",
    labels: str | os.PathLike[str] | None = None,
    synsets: str | os.PathLike[str] | None = None,
) -> ImageList:
    """The images of a part of ImageNet, sorted by name; class_names are the sorted WordNet ids.

    folder: class folders named by WordNet ids; or a flat folder of images with, in it or near it, the development
    kit, Caffe's val.txt and synsets.txt, or Kaggle's LOC_val_solution.csv; or its parent (MatConvNet's images/val and
    *devkit*; Kaggle's ILSVRC/Data/CLS-LOC). labels: the label file, or a folder to look for it. synsets: the list of
    classes for the numbers in it. The list and its hash are the same in every layout. Raises DataError that lists
    everything missing, unlabelled or out of range.
    """
    root = Path(folder)
    home = images_folder(root, split)
    names, folders = entries(home)
    classes = [name for name in folders if WNID.match(name)]
    if classes:
        found = _from_class_folders(home, classes)
    elif names:
        found = labelled_files(home, names, root, labels, synsets)
    else:
        raise DataError(f"{home}: found no images and no class folders named by WordNet ids (n01440764)")
    notes = list(found.notes)
    others = [name for name in folders if name not in classes]
    if classes and others:
        notes.append(f"folders without a WordNet id, which are left out ({len(others)}): {first_few(others)}")
    expected = COUNTS.get(split)
    if expected is not None and len(found.paths) != expected:
        notes.append(f"{len(found.paths):,} of the {expected:,} images of ILSVRC-2012 {split}")
    return _image_list(root, split, found, notes)


def images_folder(root: Path, split: str) -> Path:
    """The folder that holds the images, or the class folders, of a part."""
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; give the folder of the images, or its parent")
    if not split.isidentifier():
        raise DataError(f"unknown part of ImageNet '{split}'; known: {', '.join(COUNTS)}")
    return next(place for place in (root / form.format(split) for form in _PLACES) if place.is_dir())


def _from_class_folders(home: Path, folders: Sequence[str]) -> Labelled:
    """Every image of each class folder. Raises DataError that lists empty folders and repeated ids."""
    paths: list[Path] = []
    wnids: list[str] = []
    empty: list[str] = []
    unreadable: list[str] = []
    for name in folders:
        inside = home / name
        try:
            images, deeper = entries(inside)
            # Kaggle's tiny variants have an extra level, n01440764/images.
            if not images and deeper == ["images"]:
                inside = inside / "images"
                images, _ = entries(inside)
        except OSError as error:
            unreadable.append(fault(error))
            continue
        if not images:
            empty.append(name)
        paths += [inside / image for image in images]
        wnids += [name[:9]] * len(images)
    ids = [name[:9] for name in folders]
    faults = [f"{name}: no images" for name in empty]
    faults += [f"{name}: another folder has the same WordNet id" for name in folders if ids.count(name[:9]) > 1]
    if faults:
        raise DataError(listing(f"{home}: unusable class folders ({len(faults)}):", faults))
    if not paths:
        raise DataError(listing(f"{home}: no image could be read:", unreadable))
    notes = ("labels from the class folders",)
    return Labelled(tuple(paths), tuple(wnids), tuple(sorted(ids)), notes, tuple(unreadable))


def _image_list(root: Path, split: str, found: Labelled, notes: Sequence[str]) -> ImageList:
    """Images sorted by file name, so that the first images mix classes, and every layout gives the same list."""
    order = sorted(range(len(found.paths)), key=lambda k: (found.paths[k].name, found.wnids[k]))
    rank = {wnid: k for k, wnid in enumerate(found.classes)}
    paths = tuple(found.paths[k] for k in order)
    wnids = [found.wnids[k] for k in order]
    return ImageList(
        paths,
        np.array([rank[wnid] for wnid in wnids], dtype=np.int64),
        found.classes,
        root,
        f"ILSVRC-2012 {split}",
        digest_lines(f"{path.name} {wnid}" for path, wnid in zip(paths, wnids, strict=True)),
        tuple(notes),
        found.unreadable,
    )
