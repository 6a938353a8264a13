"""Proposed boxes (selective search) in the .mat files of R-CNN and Fast R-CNN."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from matnet.datasets.scan import mat_variables, repeated
from matnet.errors import DataError, listing


@dataclass(frozen=True, eq=False)
class Proposals:
    """The proposed boxes of a data set.

    names: the image names; None if the file has none. boxes: for each image R x 4 float32: xmin, ymin, xmax, ymax in
    1-based pixels, inclusive. sha256: hash of names and boxes, independent of the file's version.
    """

    path: Path
    names: tuple[str, ...] | None
    boxes: tuple[np.ndarray, ...]
    sha256: str

    def for_images(self, names: Sequence[str], sizes: Sequence[tuple[int, int]]) -> tuple[np.ndarray, ...]:
        """The boxes of the images `names`. sizes: their heights and widths.

        Without names in the file, its images must be those of the list, in its order. Raises DataError that lists the
        images if the file belongs to another data set, or boxes are missing or exceed their image.
        """
        found = self._in_order(names)
        faults = [f"{name}: no proposals" for name, boxes in zip(names, found, strict=True) if not len(boxes)]
        for name, boxes, (height, width) in zip(names, found, sizes, strict=True):
            outside = ~inside(boxes, height, width)
            if outside.any():
                first = " ".join(f"{value:g}" for value in boxes[outside][0])
                faults.append(f"{name}: {outside.sum()} of {len(boxes)} boxes exceed {width} x {height}: {first}")
        if faults:
            raise DataError(listing(f"{self.path}: images with unusable proposals ({len(faults)}):", faults))
        return found

    def _in_order(self, names: Sequence[str]) -> tuple[np.ndarray, ...]:
        if self.names is None:
            if len(self.boxes) != len(names):
                raise DataError(
                    f"{self.path}: has proposals for {len(self.boxes):,} images without names, but the list has "
                    f"{len(names):,} images; give the proposals of this data set"
                )
            return self.boxes
        places = {name: place for place, name in enumerate(self.names)}
        missing = [name for name in names if name not in places]
        if missing:
            raise DataError(
                listing(
                    f"{self.path}: no proposals for {len(missing)} of {len(names):,} images; give this data set's:",
                    missing,
                )
            )
        return tuple(self.boxes[places[name]] for name in names)


def inside(boxes: np.ndarray, height: int, width: int) -> np.ndarray:
    """Whether each box lies in the image and has an area."""
    low, high = boxes[:, :2], boxes[:, 2:]
    corners = [low >= 1, low <= high, high <= np.array([width, height])]
    return np.asarray(np.concatenate(corners, axis=1).all(axis=1))


def read_proposals(path: str | os.PathLike[str]) -> Proposals:
    """The cell array `boxes` of a MAT file (R x 4 per image), and the image names in `images`, if present.

    Rows are 1-based ymin, xmin, ymax, xmax, as selective search writes and R-CNN and Fast R-CNN read them
    (imdb_from_voc, pascal_voc.py). Raises DataError for anything else.
    """
    variables = mat_variables(path, "boxes", "images")
    cells = variables.get("boxes")
    if not isinstance(cells, list) or not cells:
        raise DataError(f"{path}: has no cell array `boxes`; expected the proposals of R-CNN or Fast R-CNN")
    names = _names(path, variables.get("images"), len(cells))
    wrong = [f"image {k}: {_shape(cell)}" for k, cell in enumerate(cells, start=1) if not _is_boxes(cell)]
    if wrong:
        raise DataError(listing(f"{path}: boxes that are not R x 4 numbers ({len(wrong)}):", wrong))
    boxes = tuple(np.asarray(cell, np.float32).reshape(-1, 4)[:, [1, 0, 3, 2]] for cell in cells)
    digest = hashlib.sha256("\n".join(names or ()).encode("utf-8", "surrogateescape"))
    for box in boxes:
        digest.update(np.ascontiguousarray(box).data if len(box) else b"-")
    return Proposals(Path(path), names, boxes, digest.hexdigest())


def _names(path: str | os.PathLike[str], value: object, count: int) -> tuple[str, ...] | None:
    """The image names without extension, if the file has them."""
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise DataError(f"{path}: `images` is not a cell array of names")
    if len(value) != count:
        raise DataError(f"{path}: `images` has {len(value):,} names, but `boxes` has {count:,} cells")
    names = tuple(os.path.splitext(name)[0] if name.endswith((".jpg", ".png")) else name for name in value)
    if twice := repeated(names):
        raise DataError(listing(f"{path}: repeated images ({len(twice)}):", twice))
    return names


def _is_boxes(cell: object) -> bool:
    if not isinstance(cell, np.ndarray) or cell.dtype.kind not in "iuf":
        return False
    return cell.size == 0 or (cell.ndim == 2 and cell.shape[1] == 4)


def _shape(cell: object) -> str:
    return " x ".join(map(str, cell.shape)) if isinstance(cell, np.ndarray) else type(cell).__name__
