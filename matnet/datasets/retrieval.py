"""A database of images and query images: CIFAR-10 in the usual layouts."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

import numpy as np

from matnet.datasets.base import DataSet
from matnet.datasets.image_list import ImageList
from matnet.datasets.scan import digest_lines, is_there, text_lines
from matnet.errors import DataError, listing

BATCHES = ("cifar-10-batches-bin", "")
"""The possible folders of CIFAR-10's binary files."""
RECORD = 1 + 3 * 32 * 32
"""Bytes per image in them: its label, and the red, green and blue planes of 32 x 32 pixels."""
PARTS = {"database": "train", "queries": "test"}
COUNTS = {"database": 50_000, "queries": 10_000}


@dataclass(frozen=True, eq=False)
class RetrievalSet(DataSet):
    """A database of labelled images, and labelled query images.

    paths: the file of each image, first the database, then the queries. places: the index of the image in a file of
    many images, -1 for an image file. labels: the label of each image; images with the query's label are relevant.
    database: the number of images in the database.
    """

    per_image: ClassVar[tuple[str, ...]] = ("paths", "places", "labels")
    paths: tuple[Path, ...]
    places: np.ndarray = field(compare=False)
    labels: np.ndarray = field(compare=False)
    database: int
    name: str
    root: Path
    list_sha256: str
    notes: tuple[str, ...] = ()

    def source(self, index: int) -> Path | np.ndarray:
        """An image: its file, or its pixels H x W x 3. Raises DataError if they cannot be read."""
        place = int(self.places[index])
        if place < 0:
            return self.paths[index]
        try:
            record = np.fromfile(self.paths[index], np.uint8, RECORD, offset=place * RECORD)
        except OSError as error:
            raise DataError(f"{self.paths[index]}: cannot be read ({error.strerror})") from None
        if len(record) != RECORD:
            raise DataError(f"{self.paths[index]}: truncated before image {place}; download it again")
        return record[1:].reshape(3, 32, 32).transpose(1, 2, 0)

    def head(self, count: int) -> RetrievalSet:
        """The whole database and the first `count` queries; its hash is made from the whole list's hash and `count`."""
        stop = self.database + count
        if stop >= len(self):
            return self
        note = f"only the first {count} of {len(self) - self.database} queries"
        sha256 = hashlib.sha256(f"{self.list_sha256} first {count}".encode()).hexdigest()
        return replace(self._some(0, stop), list_sha256=sha256, notes=(*self.notes, note))


def load_retrieval(folder: str | os.PathLike[str]) -> RetrievalSet:
    """CIFAR-10 for retrieval: the 50,000 training images are the database, the 10,000 test images the queries.

    folder: CIFAR-10's binary version (`data_batch_1.bin` to `data_batch_5.bin`, `test_batch.bin`, or the parent
    folder); the lists of caffe-cvprw15 (`train-file-list.txt`, `train-label.txt` and the same of `test`), with paths
    relative to the folder; or `train` and `test` with one folder per class. Raises DataError for anything else, for
    missing images, and for query labels that do not occur in the database.
    """
    root = Path(folder)
    binary = next((root / name for name in BATCHES if (root / name / "test_batch.bin").is_file()), None)
    if binary is not None:
        parts = [_from_batches(sorted(binary.glob("data_batch_[1-5].bin"))), _from_batches([binary / "test_batch.bin"])]
    elif (root / "train-file-list.txt").is_file():
        parts = [_from_lists(root, part) for part in PARTS.values()]
    elif all((root / part).is_dir() for part in PARTS.values()):
        parts = _from_folders(root)
    else:
        raise DataError(
            f"{root}: expected CIFAR-10's data_batch_1.bin and test_batch.bin, or train-file-list.txt, or the folders "
            "train and test"
        )
    paths = [path for part in parts for path in part[0]]
    labels, places = (np.concatenate([part[k] for part in parts]).astype(np.int64) for k in (1, 2))
    lost = np.setdiff1d(parts[1][1], parts[0][1])
    if len(lost):
        count = int(np.isin(parts[1][1], lost).sum())
        named = [f"label {label}" for label in lost.tolist()]
        raise DataError(listing(f"{root}: queries with labels that no database image has ({count}):", named))
    lines = (f"{path.name} {place} {label}" for path, place, label in zip(paths, places, labels, strict=True))
    notes = [
        f"{len(part[0]):,} images as {what}; CIFAR-10 has {COUNTS[what]:,}"
        for what, part in zip(PARTS, parts, strict=True)
        if len(part[0]) != COUNTS[what]
    ]
    return RetrievalSet(
        tuple(paths), places, labels, len(parts[0][0]), "CIFAR-10 retrieval", root, digest_lines(lines), tuple(notes)
    )


Part = tuple[Sequence[Path], np.ndarray, np.ndarray]
"""The images of a part: files, labels, and indices in the files."""


def _from_batches(files: Sequence[Path]) -> Part:
    paths: list[Path] = []
    labels, places = [], []
    for file in files:
        content = np.fromfile(file, np.uint8)
        if not len(content) or len(content) % RECORD:
            raise DataError(f"{file}: {len(content):,} bytes, not a multiple of {RECORD} (an image); download it again")
        labels.append(content[::RECORD].astype(np.int64))
        places.append(np.arange(len(labels[-1])))
        paths += [file] * len(labels[-1])
        if labels[-1].max() > 9:
            raise DataError(f"{file}: has label {labels[-1].max()}; labels of CIFAR-10 are 0 to 9")
    if not paths:
        raise DataError("CIFAR-10: data_batch_1.bin to data_batch_5.bin are missing beside test_batch.bin")
    return paths, np.concatenate(labels), np.concatenate(places)


def _from_lists(root: Path, part: str) -> Part:
    files, numbers = root / f"{part}-file-list.txt", root / f"{part}-label.txt"
    paths = [root / text for _, text in text_lines(files, "list of images", "of one path")]
    lines = text_lines(numbers, "list of labels", "of one number")
    wrong = [f"line {number}: {text[:40]}" for number, text in lines if not text.isdecimal() or len(text) > 9]
    if wrong:
        raise DataError(listing(f"{numbers}: lines that are not a label ({len(wrong)}):", wrong))
    if len(lines) != len(paths):
        raise DataError(f"{numbers}: has {len(lines):,} labels, but {files.name} has {len(paths):,} images")
    missing = [str(path) for path in paths if not is_there(path)]
    if missing:
        raise DataError(listing(f"{files}: {len(missing)} of {len(paths)} images are missing:", missing))
    return paths, np.array([int(text) for _, text in lines]), np.full(len(paths), -1)


def _from_folders(root: Path) -> list[Part]:
    found = [ImageList.from_folder(root / part) for part in PARTS.values()]
    if found[0].class_names != found[1].class_names:
        differing = sorted(set(found[0].class_names or ()) ^ set(found[1].class_names or ()))
        raise DataError(listing(f"{root}: train and test have different classes:", differing))
    return [(images.paths, images.labels, np.full(len(images), -1)) for images in found]
