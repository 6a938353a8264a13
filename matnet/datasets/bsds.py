"""BSDS500's boundaries: images, and the edges that several annotators drew in each."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from matnet.datasets.base import DataSet
from matnet.datasets.scan import digest_lines, entries, mat_variables, require_size
from matnet.errors import DataError, listing

COUNTS = {"train": 200, "val": 100, "test": 200}
_PLACES = ("", "data", "BSDS500/data", "BSR/BSDS500/data")
"""The possible parents of `images` and `groundTruth`, as far as the archive's own layout."""


@dataclass(frozen=True)
class EdgeSet(DataSet):
    """Images and their boundary files, sorted by name."""

    per_image: ClassVar[tuple[str, ...]] = ("images", "truths")
    lacking: ClassVar[str] = "without boundaries"
    images: tuple[Path, ...]
    truths: tuple[Path, ...]
    name: str
    root: Path
    list_sha256: str
    notes: tuple[str, ...] = ()

    def boundaries(self, index: int) -> list[np.ndarray]:
        """The boundaries by each annotator of an image, H x W bool. Raises DataError for another kind of file."""
        return read_boundaries(self.truths[index])

    def _unannotated(self, index: int) -> str:
        drawn = self.boundaries(index)
        require_size(self.images[index], drawn[0].shape, self.truths[index])
        return "" if any(boundary.any() for boundary in drawn) else self.images[index].name


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
    cells = mat_variables(path, "groundTruth").get("groundTruth")
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
