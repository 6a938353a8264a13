"""Oxford's 102 flowers in the published layout: imagelabels.mat, setid.mat, and the folder jpg."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from matnet.datasets.image_list import ImageList
from matnet.datasets.scan import digest, is_there, mat_variables, repeated
from matnet.errors import DataError, listing

LABELS, PARTS = "imagelabels.mat", "setid.mat"
PART = "valid"
"""The variable of setid.mat with the 1,020 images on which oxford102-caffenet was measured."""


def has_flowers(folder: Path) -> bool:
    """Whether a folder holds both files."""
    return (folder / LABELS).is_file() and (folder / PARTS).is_file()


def load_flowers(folder: str | os.PathLike[str]) -> ImageList:
    """The images jpg/image_00001.jpg, ... in `valid` of setid.mat; labels are those of imagelabels.mat minus 1.

    Raises DataError for files without these variables, image numbers out of range, and missing images (all are listed).
    """
    root = Path(folder)
    labels, numbers = _row(root / LABELS, "labels"), np.sort(_row(root / PARTS, PART))
    wrong = [str(number) for number in numbers.tolist() if not 1 <= number <= len(labels)]
    wrong += [f"{place}: its label is {labels[place - 1]}" for place in (np.flatnonzero(labels < 1) + 1).tolist()]
    wrong += [f"{number}: it is listed more than once" for number in repeated(map(str, numbers.tolist()))]
    if wrong:
        what = f"image numbers that are repeated, or without a label in {LABELS}"
        raise DataError(listing(f"{root / PARTS}: {what} ({len(wrong)}):", wrong))
    paths = tuple(root / "jpg" / f"image_{number:05d}.jpg" for number in numbers.tolist())
    missing = [path.name for path in paths if not is_there(path)]
    if missing:
        raise DataError(listing(f"{root / 'jpg'}: {len(missing)} of {len(paths):,} images are missing:", missing))
    chosen = labels[numbers - 1] - 1
    sha256 = digest(root, paths, map(str, chosen.tolist()))
    return ImageList(paths, chosen, None, root, f"Oxford 102 flowers {PART}", sha256)


def _row(file: Path, name: str) -> np.ndarray:
    """A variable of integers."""
    value = mat_variables(file, name).get(name)
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "iuf" or not value.size:
        value = np.array([np.nan])
    if not (abs(value) < 1e9).all() or (value % 1).any():
        raise DataError(f"{file}: has no variable `{name}` of integers; expected Oxford's {LABELS} and {PARTS}")
    return value.ravel().astype(np.int64)
