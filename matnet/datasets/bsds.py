"""BSDS500's boundaries: images, and the edges that several annotators drew in each."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from matnet.datasets.scan import digest_lines, entries, first_few, image_size
from matnet.errors import DataError, FileFormatError, listing

COUNTS = {"train": 200, "val": 100, "test": 200}
_PLACES = ("", "data", "BSDS500/data", "BSR/BSDS500/data")
"""The possible parents of `images` and `groundTruth`, as far as the archive's own layout."""


@dataclass(frozen=True)
class EdgeSet:
    """Images and their boundary files, sorted by name."""

    images: tuple[Path, ...]
    truths: tuple[Path, ...]
    name: str
    root: Path
    list_sha256: str
    notes: tuple[str, ...] = ()
    unreadable: ClassVar[tuple[str, ...]] = ()  # a folder that cannot be read is an error

    def __len__(self) -> int:
        return len(self.images)

    def boundaries(self, index: int) -> list[np.ndarray]:
        """The boundaries by each annotator of an image, H x W bool. Raises DataError for another kind of file."""
        return read_boundaries(self.truths[index])

    def check(self) -> EdgeSet:
        """Read all boundaries and image sizes. Raises DataError that lists unusable ones.

        Returns the data set, with a note on images without boundaries.
        """
        faults, empty = [], []
        for index, path in enumerate(self.images):
            try:
                drawn = self.boundaries(index)
                shape = drawn[0].shape
                if not any(boundary.any() for boundary in drawn):
                    empty.append(path.name)
                size = image_size(path)[::-1]
            except DataError as error:
                faults.append(str(error))
                continue
            if shape != size:
                faults.append(f"{self.truths[index]}: {shape[0]}x{shape[1]}, but its image is {size[0]}x{size[1]}")
        if faults:
            raise DataError(listing(f"{self.root}: unusable images of {self.name} ({len(faults)}):", faults))
        if empty and len(empty) == len(self):
            raise DataError(f"{self.root}: none of the {len(self):,} images of {self.name} has a boundary")
        note = f"images without boundaries ({len(empty)}): {first_few(empty)}"
        return replace(self, notes=(*self.notes, note)) if empty else self

    def head(self, count: int) -> EdgeSet:
        """The first `count` images; its hash is made from the whole list's hash and `count`."""
        if count >= len(self):
            return self
        sha256 = hashlib.sha256(f"{self.list_sha256} first {count}".encode()).hexdigest()
        notes = (*self.notes, f"only the first {count} of {len(self)} images")
        return replace(self, images=self.images[:count], truths=self.truths[:count], list_sha256=sha256, notes=notes)

    def part(self, first: int, stop: int) -> EdgeSet:
        """Some of the images, with absolute paths."""
        images, truths = (tuple(p.absolute() for p in paths[first:stop]) for paths in (self.images, self.truths))
        return replace(self, images=images, truths=truths)


def load_bsds(folder: str | os.PathLike[str], split: str = "test") -> EdgeSet:
    """BSDS500: `images/SPLIT/NAME.jpg` and `groundTruth/SPLIT/NAME.mat`, in `data` or in the archive's layout (BSR).

    Raises DataError if there are no such folders, and for images without boundaries or boundaries without images.
    """
    root = Path(folder)
    home = next((root / place for place in _PLACES if (root / place / "groundTruth" / split).is_dir()), None)
    if home is None:
        raise DataError(f"{root}: found no groundTruth/{split} in it or in its data, BSDS500/data or BSR/BSDS500/data")
    names = [name for name in entries(home / "images" / split)[0] if name.endswith(".jpg")]
    missing = [name for name in names if not (home / "groundTruth" / split / f"{Path(name).stem}.mat").is_file()]
    if missing or not names:
        raise DataError(listing(f"{home}: {len(missing)} of {len(names)} images have no boundaries:", missing))
    known = {Path(name).stem for name in names}
    unused = sorted(file.name for file in (home / "groundTruth" / split).glob("*.mat") if file.stem not in known)
    if unused:
        raise DataError(listing(f"{home}: boundary files without an image ({len(unused)}):", unused))
    images = tuple(home / "images" / split / name for name in names)
    truths = tuple(home / "groundTruth" / split / f"{Path(name).stem}.mat" for name in names)
    expected = COUNTS.get(split)
    notes = (f"{len(names)} images; BSDS500 has {expected}",) if expected not in (None, len(names)) else ()
    return EdgeSet(images, truths, f"BSDS500 {split}", home, digest_lines(names), notes)


def read_boundaries(path: str | os.PathLike[str]) -> list[np.ndarray]:
    """The field `Boundaries` of each cell of `groundTruth`, H x W bool. Raises DataError for anything else."""
    from matnet.formats.mat import read_mat

    try:
        cells = read_mat(path, ["groundTruth"]).get("groundTruth")
    except FileFormatError as error:
        raise DataError(str(error)) from None
    drawn = [_drawn(cell) for cell in cells] if isinstance(cells, list) else []
    found = [array for array in drawn if array is not None]
    if not found or len(found) < len(drawn) or len({array.shape for array in found}) > 1:
        raise DataError(f"{path}: expected a cell array `groundTruth` with boundaries of one size")
    return found


def _drawn(cell: Any) -> np.ndarray | None:
    records: Sequence[Any] = cell if isinstance(cell, list) and len(cell) == 1 else [cell]
    array = records[0].get("Boundaries") if isinstance(records[0], dict) else None
    if not isinstance(array, np.ndarray) or array.ndim != 2 or not array.size or not np.isin(array, (0, 1)).all():
        return None
    return array.astype(bool)
