"""Salient Object Subitizing in the published layout: imgIdx.mat, and the images in the folder img."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from matnet.datasets.image_list import ImageList
from matnet.datasets.scan import digest, is_there, mat_variables, repeated
from matnet.errors import DataError, listing

INDEX = "imgIdx.mat"
"""Fields of the struct array `imgIdx`: image `name`, `label` (0 to 3 objects, 4 for more), `istest` (0 or 1)."""
FOLDER = "img"
MOST = 4


def has_subitizing(folder: Path) -> bool:
    """Whether a folder holds the index."""
    return (folder / INDEX).is_file()


def load_subitizing(folder: str | os.PathLike[str]) -> ImageList:
    """The images with `istest` in imgIdx.mat, sorted by name; labels are 0 to 4.

    Images lie in `img`, or beside the index. Raises DataError for an index without these fields, labels above 4, names
    that lead out of the folder or are repeated, an index without test images, and missing images (all are listed).
    """
    root = Path(folder)
    file = root / INDEX
    entries = sorted(_test_entries(file))
    if not entries:
        raise DataError(f"{file}: no image has `istest` 1; expected the index of Salient Object Subitizing")
    names = [name for name, _ in entries]
    base = root / FOLDER if (root / FOLDER).is_dir() else root
    paths = tuple(base / name for name in names)
    if twice := repeated(names):
        raise DataError(listing(f"{file}: repeated images ({len(twice)}):", twice))
    missing = [path.name for path in paths if not is_there(path)]
    if missing:
        raise DataError(listing(f"{base}: {len(missing)} of {len(paths):,} images are missing:", missing))
    labels = np.array([label for _, label in entries], np.int64)
    sha256 = digest(base, paths, map(str, labels.tolist()))
    return ImageList(paths, labels, None, root, "Salient Object Subitizing test", sha256)


def _test_entries(file: Path) -> list[tuple[str, int]]:
    """Names and labels of the test images."""
    found = mat_variables(file, "imgIdx").get("imgIdx")
    records = [found] if isinstance(found, dict) else found
    if not isinstance(records, list) or not all(isinstance(record, Mapping) for record in records):
        raise DataError(f"{file}: has no struct array `imgIdx` with fields name, label and istest")
    entries, faults = [], []
    for number, record in enumerate(records, start=1):
        name, label, test = record.get("name"), _whole(record.get("label")), _whole(record.get("istest"))
        if not isinstance(name, str) or not name or {"/", "\\"} & set(name) or name in (".", ".."):
            faults.append(f"image {number}: its name is {name!r}")
        elif label is None or not 0 <= label <= MOST:
            faults.append(f"{name}: its label is not an integer from 0 to {MOST}")
        elif test not in (0, 1):
            faults.append(f"{name}: its istest is neither 0 nor 1")
        elif test:
            entries.append((name, label))
    if faults:
        raise DataError(listing(f"{file}: unusable images of the index ({len(faults)}):", faults))
    return entries


def _whole(value: Any) -> int | None:
    """The integer in a 1 x 1 matrix; None for anything else."""
    if not isinstance(value, np.ndarray) or value.size != 1 or value.dtype.kind not in "biuf":
        return None
    number = float(value.item())
    return int(number) if number.is_integer() else None
