"""Labelled images in a fixed order, from class folders or list files, and their alignment with a network's classes."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

import numpy as np

from matnet.datasets.base import DataSet
from matnet.datasets.matching import from_one, matched
from matnet.datasets.scan import checked_images, class_folders, digest, images_below, is_there, text_lines
from matnet.errors import DataError, listing

LIST_NAMES = ("labels.txt", "val.txt", "list.txt", "labels.csv")
"""The list files looked for in a flat folder of images."""

_LONGEST_LINE = 4096
_QUOTED = r"\"[^\"]+\"|'[^']+'"
_END = r"\s*(?:#.*)?"
_LABEL = r"(?P<label>[+-]?\d{1,9}|n\d{8})"
_PATH_LABEL = re.compile(rf"(?P<path>{_QUOTED}|.+?)[\s,;]+{_LABEL}{_END}")
_LABEL_PATH = re.compile(rf"{_LABEL}[\s,;]+(?P<path>{_QUOTED}|.+?){_END}")


@dataclass(frozen=True)
class ImageList(DataSet):
    """Images and their labels, in a fixed order.

    paths: the files. labels: int64, 0-based, one per path. class_names: the name of label k, or None if the list has
    only numbers. root: the folder of the paths. list_sha256: hash of the list (relative paths, and class names or
    labels), independent of the folder's location. notes: decisions that the user should know. unreadable: the errors
    of unreadable folders. aligned: whether labels are indices of a network's classes. doubt: why that order may be
    wrong, or "".
    """

    per_image: ClassVar[tuple[str, ...]] = ("paths", "labels")
    paths: tuple[Path, ...]
    labels: np.ndarray = field(compare=False)
    class_names: tuple[str, ...] | None
    root: Path
    name: str
    list_sha256: str
    notes: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = ()
    aligned: bool = False
    doubt: str = ""

    @classmethod
    def load(cls, path: str | os.PathLike[str], root: str | os.PathLike[str] | None = None) -> ImageList:
        """Load a folder of class folders, a flat folder that holds one of LIST_NAMES, or a list file.

        Raises DataError for anything else, and as `from_folder` and `from_list` do.
        """
        target = Path(path)
        if not target.is_dir():
            return cls.from_list(target, root)
        lists = [target / name for name in LIST_NAMES if (target / name).is_file()]
        if any(class_folders(target)):
            found = cls.from_folder(target)
            ignored = [f"{file.name} is not used: the class folders give the labels" for file in lists]
            return replace(found, notes=(*found.notes, *ignored))
        if not lists:
            raise DataError(
                f"{target}: no labelled images; expected one folder per class, or a list file "
                f"({', '.join(LIST_NAMES)}) with lines 'path label'"
            )
        listed = cls.from_list(lists[0], root or target)
        return replace(listed, name=target.resolve().name, notes=(f"labels from {lists[0].name}", *listed.notes))

    @classmethod
    def from_folder(cls, path: str | os.PathLike[str]) -> ImageList:
        """A folder with one folder per class, sorted by name; images may lie in subfolders of these.

        Raises DataError if there is no class folder, or if any has no images (all are listed).
        """
        root = Path(path)
        folders = sorted(class_folders(root), key=lambda folder: folder.name)
        if not folders:
            raise DataError(f"{root}: no class folders; expected one folder of images per class")
        unreadable: list[str] = []
        members, empty = [], []
        for folder in folders:
            known = len(unreadable)
            members.append(sorted(images_below(folder, unreadable)))
            if not members[-1] and len(unreadable) == known:
                empty.append(folder.name)
        if empty:
            raise DataError(listing(f"{root}: class folders without images ({len(empty)}); remove them:", empty))
        if not any(members):
            raise DataError(listing(f"{root}: no image could be read:", unreadable))
        names = tuple(folder.name for folder in folders)
        labels = np.repeat(np.arange(len(names)), [len(files) for files in members])
        paths = tuple(file for files in members for file in files)
        written = (names[label] for label in labels)
        sha256 = digest(root, paths, written)
        return cls(paths, labels, names, root, root.resolve().name, sha256, unreadable=tuple(unreadable))

    @classmethod
    def from_list(cls, path: str | os.PathLike[str], root: str | os.PathLike[str] | None = None) -> ImageList:
        """A text file with lines `path label` (Caffe's order) or `label path`.

        Labels are integers from 0, or all are WordNet ids. Paths may contain spaces or be quoted, and are relative to
        `root`, by default the list's folder. Blank lines, comments (#), a byte order mark and Windows line ends are
        ignored. A note counts repeated images. Raises DataError that lists every other line, every missing file, and
        every image with two labels.
        """
        file = Path(path)
        base = Path(root) if root is not None else file.parent
        entries = _entries(file, text_lines(file), base)
        paths = tuple(base / name for name, _ in entries)
        written = [label for _, label in entries]
        names = _wordnet_ids(file, written)
        place = {name: index for index, name in enumerate(names or ())}
        labels = np.array([place[label] if names else int(label) for label in written], dtype=np.int64)
        _refuse_negative(file, paths, labels)
        notes = checked_images(file, base, paths, written, "labels")
        return cls(paths, labels, names, base, file.stem, digest(base, paths, written), notes)

    def align(self, classes: Sequence[str], descriptions: Sequence[str] = (), outputs: int | None = None) -> ImageList:
        """The same images with labels as indices of a network's `classes` (and their longer `descriptions`).

        outputs: the number of classes, if the network has no class names. Class folders are matched by name: exactly,
        by WordNet id (`n01440764_tench`), or by any synonym, ignoring case and whether spaces, underscores or hyphens
        join words. Positions are used only if no name matches, and the folders are numbers or as many as the classes;
        then a note is added, and `doubt` is set unless they are numbers. The labels of lists are not changed. Raises
        DataError for folders without a class (all are listed), ambiguous names, and labels out of range.
        """
        count = len(classes) or outputs
        if self.class_names is None:
            self._check_range(count)
            names = tuple(classes) or None
            doubt = "" if classes else from_one(self.labels.tolist())
            return replace(self, class_names=names, aligned=bool(count), doubt=doubt)
        position, notes, doubt = matched(self.class_names, classes, descriptions, outputs)
        labels = np.asarray(position, dtype=np.int64)[self.labels]
        unchanged = position == list(range(len(position)))
        names = tuple(classes) or (self.class_names if unchanged else None)
        found = replace(self, labels=labels, class_names=names, notes=(*self.notes, *notes))
        found._check_range(count)
        return replace(found, aligned=bool(count), doubt=doubt)

    def part(self, first: int, stop: int) -> ImageList:
        return replace(super().part(first, stop), class_names=None)

    def _check_range(self, classes: int | None) -> None:
        low, high = int(self.labels.min()), int(self.labels.max())
        if classes and high >= classes:
            hint = "; they seem to be 1-based: subtract 1" if low >= 1 and high == classes else ""
            raise DataError(
                f"{self.root}: labels run from {low} to {high}, but the network's from 0 to {classes - 1}{hint}"
            )


def _wordnet_ids(file: Path, labels: Sequence[str]) -> tuple[str, ...] | None:
    """The sorted WordNet ids of the labels; None if labels are numbers. Raises DataError for a mixture."""
    ids = [label.startswith("n") for label in labels]
    if any(ids) and not all(ids):
        raise DataError(f"{file}: labels are a mixture of WordNet ids and numbers; expected only one kind")
    return tuple(sorted(set(labels))) if all(ids) else None


def _entries(file: Path, lines: list[tuple[int, str]], base: Path) -> list[tuple[str, str]]:
    """Paths and labels, by the column order that fits every line; if both fit, the one whose first file exists."""
    readings = [[_read(pattern, line) for _, line in lines] for pattern in (_PATH_LABEL, _LABEL_PATH)]
    whole = [matches for matches in readings if all(matches)]
    if not whole:
        best = max(readings, key=lambda matches: sum(map(bool, matches)))
        wrong = [f"line {number}: {line[:80]}" for (number, line), match in zip(lines, best, strict=True) if not match]
        raise DataError(listing(f"{file}: lines that are not 'path label' or 'label path' ({len(wrong)}):", wrong))
    entries = [[_entry(match) for match in matches if match] for matches in whole]
    return next((entry for entry in entries if is_there(base / entry[0][0])), entries[0])


def _read(pattern: re.Pattern[str], line: str) -> re.Match[str] | None:
    return pattern.fullmatch(line) if len(line) <= _LONGEST_LINE else None


def _entry(match: re.Match[str]) -> tuple[str, str]:
    name = match["path"].strip().strip("\"'")
    label = match["label"]
    return name.replace("\\", "/") if "/" not in name else name, label if label.startswith("n") else str(int(label))


def _refuse_negative(file: Path, paths: tuple[Path, ...], labels: np.ndarray) -> None:
    negative = [f"{path}: {label}" for path, label in zip(paths, labels, strict=True) if label < 0]
    if negative:
        raise DataError(listing(f"{file}: negative labels ({len(negative)}); labels start at 0:", negative))
