"""Labeled Faces in the Wild: pairs of faces of the same or different people, in ten folds."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

import numpy as np

from matnet.datasets.base import DataSet
from matnet.datasets.scan import digest_lines, entries, text_lines
from matnet.errors import DataError, listing

PAIR_FILES = ("pairs.txt", "pairsDevTest.txt", "pairsDevTrain.txt")
"""LFW's lists of pairs; results are reported on the first one, which has ten folds."""

COUNTS = {"pairs": 6000, "pairsDevTest": 1000, "pairsDevTrain": 2200}

FACE_FOLDERS = ("lfw", "lfw-funneled", "lfw_funneled", "lfw-deepfunneled", "lfw_deepfunneled", "lfw_aligned", "lfw2")
"""The archives' folders of images, each with one folder per person."""


@dataclass(frozen=True)
class PairSet(DataSet):
    """Pairs of face images, in the list's order.

    pairs: two files each. same: whether both show the same person. fold: the fold of each pair, from 0. list_sha256:
    hash of the pairs (image names without folder and extension). notes: decisions that the user should know.
    """

    per_image: ClassVar[tuple[str, ...]] = ("pairs", "same", "fold")
    pairs: tuple[tuple[Path, Path], ...]
    same: np.ndarray = field(compare=False)
    fold: np.ndarray = field(compare=False)
    name: str
    root: Path
    list_sha256: str
    notes: tuple[str, ...] = ()

    @property
    def images(self) -> tuple[Path, ...]:
        """The sorted, unique images of all pairs."""
        return tuple(sorted({image for pair in self.pairs for image in pair}))

    def head(self, count: int) -> PairSet:
        """`count` pairs spread evenly over the list, so that every fold keeps some."""
        if count >= len(self):
            return self
        kept = np.unique(np.linspace(0, len(self) - 1, count).round().astype(int))
        return replace(
            self,
            pairs=tuple(self.pairs[place] for place in kept),
            same=self.same[kept],
            fold=self.fold[kept],
            list_sha256=hashlib.sha256(f"{self.list_sha256} every {count}".encode()).hexdigest(),
            notes=(*self.notes, f"only {len(kept)} of {len(self)} pairs"),
        )


def load_lfw(folder: str | os.PathLike[str], pairs: str | os.PathLike[str] | None = None) -> PairSet:
    """The pairs of LFW; checks that all images exist.

    folder: one of FACE_FOLDERS, or its parent. pairs: the list, or its name; by default the first of PAIR_FILES in or
    beside the folder. Raises DataError that lists every invalid line and every missing image.
    """
    root = Path(folder)
    home = _face_folder(root)
    file = _pair_file(root, home, pairs)
    listed = _read_pairs(file)
    known = _images_of(home, {name for pair in listed for name, _ in pair.faces})
    missing = sorted({_stem(face) for pair in listed for face in pair.faces} - known.keys())
    if missing:
        report = f"{home}: images of {file.name} that are missing ({len(missing)}):"
        raise DataError(listing(report, missing))
    notes = [f"pairs from {file}", f"images from {home}"]
    expected = COUNTS.get(file.stem)
    if expected is not None and len(listed) != expected:
        notes.append(f"{len(listed):,} pairs; LFW's {file.name} has {expected:,}")
    paths = [tuple(known[_stem(face)] for face in pair.faces) for pair in listed]
    lines = (f"{' '.join(map(_stem, pair.faces))} {int(pair.same)} {pair.fold}" for pair in listed)
    return PairSet(
        tuple((first, second) for first, second in paths),
        np.array([pair.same for pair in listed], dtype=bool),
        np.array([pair.fold for pair in listed], dtype=np.int64),
        f"LFW {file.stem}",
        home,
        digest_lines(lines),
        tuple(notes),
    )


@dataclass(frozen=True)
class _Pair:
    """A line of the list: two faces, each a person's name and a number."""

    faces: tuple[tuple[str, int], tuple[str, int]]
    same: bool
    fold: int


def _stem(face: tuple[str, int]) -> str:
    return f"{face[0]}_{face[1]:04d}"


def _face_folder(root: Path) -> Path:
    """The folder of people's folders at or below `root`. Raises DataError if there are several."""
    _, folders = entries(root)
    found = [name for name in folders if name in FACE_FOLDERS]
    if len(found) > 1:
        raise DataError(f"{root}: holds {', '.join(found)}; give the one to evaluate")
    if not found:
        return root
    home = root / found[0]
    # Some archives contain a folder with their own name.
    return home / found[0] if (home / found[0]).is_dir() else home


def _pair_file(root: Path, home: Path, pairs: str | os.PathLike[str] | None) -> Path:
    places = list(dict.fromkeys((root, home, root.parent, home.parent)))
    if pairs is not None and (Path(pairs).is_file() or len(Path(pairs).parts) > 1):
        return Path(pairs)
    names = PAIR_FILES if pairs is None else (str(pairs), f"{pairs}.txt")
    found = next((place / name for name in names for place in places if (place / name).is_file()), None)
    if found is None:
        raise DataError(
            f"{root}: no {' or '.join(names)} in it or beside it; download it from LFW's page, apart from the images"
        )
    return found


def _images_of(home: Path, people: set[str]) -> Mapping[str, Path]:
    """Name_0001 -> file, for the people in the pairs; people without a folder have no entries."""
    _, folders = entries(home)
    found: dict[str, Path] = {}
    for person in sorted(people.intersection(folders)):
        images, _ = entries(home / person)
        found.update((os.path.splitext(name)[0], home / person / name) for name in images)
    return found


def _read_pairs(file: Path) -> list[_Pair]:
    """The pairs of a list: `name i j` for the same person, `name i other j` for different people.

    The header line is `10 300` (folds, and pairs of each kind per fold) or `500` (one fold). In each fold, the pairs of
    the same person come first.
    """
    (_, heading), *lines = text_lines(file, "list of pairs", "'name i j' or 'name i other j'")
    sizes = heading.split()
    if len(sizes) not in (1, 2) or not all(size.isdecimal() and len(size) < 7 for size in sizes) or int(sizes[-1]) < 1:
        raise DataError(f"{file}: the first line is {heading[:60]!r}; expected folds and pairs per fold, like '10 300'")
    each = int(sizes[-1])
    read = [(number, _faces(text.split("\t") if "\t" in text else text.split())) for number, text in lines]
    wrong = [f"line {number}: {text[:80]}" for (number, text), (_, faces) in zip(lines, read, strict=True) if not faces]
    if wrong:
        raise DataError(listing(f"{file}: lines that are not 'name i j' or 'name i other j' ({len(wrong)}):", wrong))
    folds = int(sizes[0]) if len(sizes) == 2 else 1
    if len(read) != folds * 2 * each:
        raise DataError(
            f"{file}: has {len(read):,} pairs, but its first line says {folds} x 2 x {each}; download it again"
        )
    pairs = [_Pair(faces, faces[0][0] == faces[1][0], k // (2 * each)) for k, (_, faces) in enumerate(read) if faces]
    same = [pair.same for pair in pairs]
    if same != ([True] * each + [False] * each) * folds:
        raise DataError(
            f"{file}: expected {each} pairs of the same person and then {each} of different people in each fold; "
            "download it again"
        )
    return pairs


def _faces(words: Sequence[str]) -> tuple[tuple[str, int], tuple[str, int]] | None:
    """The two faces in the words of a line; None if the line is invalid."""
    words = [word.strip() for word in words]
    numbers = words[1:3] if len(words) == 3 else words[1::2]
    safe = all(name and "/" not in name and "\\" not in name and name not in (".", "..") for name in words)
    if len(words) not in (3, 4) or not safe or not all(text.isdecimal() and len(text) < 7 for text in numbers):
        return None
    other = words[0] if len(words) == 3 else words[2]
    return (words[0], int(numbers[0])), (other, int(numbers[1]))
