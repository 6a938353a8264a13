"""What is evaluated on: lists of labelled images, from class folders or list files, checked beforehand."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from matnet.errors import DataError, FileFormatError, listing, nearest
from matnet.files import existing_file

IMAGE_SUFFIXES = frozenset(
    [
        ".bmp",
        ".gif",
        ".jpe",
        ".jpeg",
        ".jpg",
        ".pbm",
        ".pgm",
        ".png",
        ".pnm",
        ".ppm",
        ".tif",
        ".tiff",
        ".webp",
    ]
)
LIST_NAMES = ("labels.txt", "val.txt", "list.txt", "labels.csv")
"""List files that are looked for in a flat folder of images."""

LARGEST_LIST = 1 << 28
"""Bytes; anything larger is not a list of images (ImageNet's 1.3 million lines take 50 MiB)."""

_LONGEST_LINE = 4096
_WNID = re.compile(r"n\d{8}(?!\d)")
_QUOTED = r"\"[^\"]+\"|'[^']+'"
_END = r"\s*(?:#.*)?"
_PATH_LABEL = re.compile(rf"(?P<path>{_QUOTED}|.+?)[\s,;]+(?P<label>[+-]?\d{{1,9}}){_END}")
_LABEL_PATH = re.compile(rf"(?P<label>[+-]?\d{{1,9}})[\s,;]+(?P<path>{_QUOTED}|.+?){_END}")


@dataclass(frozen=True)
class ImageList:
    """Images and their labels, in a fixed order.

    paths: the files. labels: int64, 0-based, one per path. class_names: what label k is called, or None where
    the list has only numbers. root: the folder that paths were found under. list_sha256: of the list itself
    (relative paths, and class names or labels), the same wherever the folder lies. notes: decisions worth
    telling.
    """

    paths: tuple[Path, ...]
    labels: np.ndarray = field(compare=False)
    class_names: tuple[str, ...] | None
    root: Path
    name: str
    list_sha256: str
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.paths)

    @classmethod
    def load(cls, path: str | os.PathLike[str], root: str | os.PathLike[str] | None = None) -> ImageList:
        """A folder of class folders, a flat folder with one of LIST_NAMES in it, or a list file itself.

        Raises DataError where `path` is none of these, and for whatever `from_folder` and `from_list` refuse.
        """
        target = Path(path)
        if not target.is_dir():
            return cls.from_list(target, root)
        lists = [target / name for name in LIST_NAMES if (target / name).is_file()]
        if any(_class_folders(target)):
            found = cls.from_folder(target)
            ignored = [f"{file.name} is not used: the class folders give the labels" for file in lists]
            return replace(found, notes=(*found.notes, *ignored))
        if not lists:
            raise DataError(
                f"{target}: no images with labels; expected one folder per class, or a list file "
                f"({', '.join(LIST_NAMES)}) of lines 'path label'"
            )
        return replace(cls.from_list(lists[0], root or target), name=target.resolve().name)

    @classmethod
    def from_folder(cls, path: str | os.PathLike[str]) -> ImageList:
        """A folder with one folder per class, sorted by name; images may lie deeper inside them.

        Raises DataError where there is no class folder, or where some hold no image (all are named).
        """
        root = Path(path)
        folders = sorted(_class_folders(root), key=lambda folder: folder.name)
        if not folders:
            raise DataError(f"{root}: no class folders; expected one folder of images per class")
        members = [sorted(_images_below(folder)) for folder in folders]
        empty = [folder.name for folder, files in zip(folders, members, strict=True) if not files]
        if empty:
            raise DataError(
                listing(f"{root}: {len(empty)} class folder(s) hold no image; fill or remove:", empty)
            )
        names = tuple(folder.name for folder in folders)
        labels = np.repeat(np.arange(len(names)), [len(files) for files in members])
        paths = tuple(file for files in members for file in files)
        written = (names[label] for label in labels)
        return cls(paths, labels, names, root, root.resolve().name, _digest(root, paths, written))

    @classmethod
    def from_list(cls, path: str | os.PathLike[str], root: str | os.PathLike[str] | None = None) -> ImageList:
        """A text file of lines `path label` (Caffe's order) or `label path`; labels are whole numbers from 0.

        Paths may hold spaces or be quoted, and are relative to `root`, or else to the list's folder. Blank
        lines, comments (#), a byte order mark and Windows line ends are passed over. Raises DataError that
        lists every line that is neither, every missing file, and every path that has two labels.
        """
        file = Path(path)
        base = Path(root) if root is not None else file.parent
        entries = _entries(file, _lines(file), base)
        paths = tuple(base / name for name, _ in entries)
        labels = np.array([label for _, label in entries], dtype=np.int64)
        _check_entries(file, base, paths, labels)
        digest = _digest(base, paths, (str(label) for label in labels))
        return cls(paths, labels, None, base, file.stem, digest)

    def align(self, classes: Sequence[str], descriptions: Sequence[str] = ()) -> ImageList:
        """The same images with labels that count in a network's `classes` (and their longer `descriptions`).

        Class folders are matched by name: exactly; by WordNet id (`n01440764_tench`); or by any synonym,
        whatever the case and whether words are joined by spaces, underscores or hyphens. Folders are taken
        by position only if no name matches and they are numbers or as many as the classes; a note says so.
        Lists are taken as they are. Raises DataError for folders without a class (all are named), ambiguous
        names, labels out of range.
        """
        if self.class_names is None:
            self._check_range(len(classes))
            return replace(self, class_names=tuple(classes)) if classes else self
        position, notes = _matched(self.class_names, classes, descriptions)
        labels = np.asarray(position, dtype=np.int64)[self.labels]
        unchanged = position == list(range(len(position)))
        names = tuple(classes) or (self.class_names if unchanged else None)
        aligned = replace(self, labels=labels, class_names=names, notes=(*self.notes, *notes))
        aligned._check_range(len(classes))
        return aligned

    def head(self, count: int) -> ImageList:
        """The first `count` images; the hash is made from the whole list's and `count`."""
        if count >= len(self):
            return self
        note = f"only the first {count} of {len(self)} images"
        digest = hashlib.sha256(f"{self.list_sha256} first {count}".encode()).hexdigest()
        notes = (*self.notes, note)
        return replace(
            self, paths=self.paths[:count], labels=self.labels[:count], list_sha256=digest, notes=notes
        )

    def _check_range(self, classes: int) -> None:
        low, high = int(self.labels.min()), int(self.labels.max())
        if classes and high >= classes:
            hint = "; they seem to count from 1: subtract 1" if low >= 1 and high == classes else ""
            raise DataError(
                f"{self.root}: labels run from {low} to {high}, the network's from 0 to {classes - 1}{hint}"
            )


def _class_folders(root: Path) -> Iterator[Path]:
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; give the folder that holds the class folders")
    return (entry for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def _images_below(folder: Path) -> Iterator[Path]:
    """Every image file in a folder and the folders inside it; hidden ones are passed over."""
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            if Path(name).suffix.lower() in IMAGE_SUFFIXES and not name.startswith("."):
                yield Path(parent, name)


def _lines(file: Path) -> list[tuple[int, str]]:
    """Line numbers and texts of a list file, without blank lines and comments."""
    try:
        size = existing_file(file, "list of images").stat().st_size
        if size > LARGEST_LIST:
            raise DataError(
                f"{file}: has {size:,} bytes, too many for a list of images; expected lines 'path label'"
            )
        text = file.read_text(encoding="utf-8-sig")
    except FileFormatError as error:
        raise DataError(str(error)) from None
    except UnicodeDecodeError:
        raise DataError(f"{file}: is not a text file; expected lines 'path label'") from None
    numbered = ((number, line.strip()) for number, line in enumerate(text.splitlines(), start=1))
    lines = [(number, line) for number, line in numbered if line and not line.startswith("#")]
    if not lines:
        raise DataError(f"{file}: lists no image; expected lines 'path label'")
    return lines


def _entries(file: Path, lines: list[tuple[int, str]], base: Path) -> list[tuple[str, int]]:
    """Paths and labels, in the order that fits every line; where both do, the one whose first file exists."""
    readings = [[_read(pattern, line) for _, line in lines] for pattern in (_PATH_LABEL, _LABEL_PATH)]
    whole = [matches for matches in readings if all(matches)]
    if not whole:
        best = max(readings, key=lambda matches: sum(map(bool, matches)))
        wrong = [
            f"line {number}: {line[:80]}"
            for (number, line), match in zip(lines, best, strict=True)
            if not match
        ]
        raise DataError(listing(f"{file}: {len(wrong)} line(s) are not 'path label' or 'label path':", wrong))
    entries = [[_entry(match) for match in matches if match] for matches in whole]
    return next((entry for entry in entries if (base / entry[0][0]).is_file()), entries[0])


def _read(pattern: re.Pattern[str], line: str) -> re.Match[str] | None:
    return pattern.fullmatch(line) if len(line) <= _LONGEST_LINE else None


def _entry(match: re.Match[str]) -> tuple[str, int]:
    name = match["path"].strip().strip("\"'")
    return name.replace("\\", "/") if "/" not in name else name, int(match["label"])


def _check_entries(file: Path, base: Path, paths: tuple[Path, ...], labels: np.ndarray) -> None:
    negative = [f"{path}: {label}" for path, label in zip(paths, labels, strict=True) if label < 0]
    if negative:
        raise DataError(
            listing(f"{file}: {len(negative)} label(s) are negative; labels count from 0:", negative)
        )
    missing = [str(path) for path in paths if not path.is_file()]
    if missing:
        way_out = f"paths are taken relative to {base}; is that the right folder?"
        raise DataError(
            listing(f"{file}: {len(missing)} of {len(paths)} images are missing; {way_out}", missing)
        )
    first: dict[Path, int] = {}
    pairs = zip(paths, labels.tolist(), strict=True)
    clashes = [
        f"{path}: {first[path]} and {label}"
        for path, label in pairs
        if first.setdefault(path, label) != label
    ]
    if clashes:
        raise DataError(listing(f"{file}: {len(clashes)} image(s) are listed with two labels:", clashes))


def _digest(root: Path, paths: Iterable[Path], labels: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for path, label in zip(paths, labels, strict=True):
        relative = path.relative_to(root) if path.is_relative_to(root) else path
        digest.update(f"{relative.as_posix()} {label}\n".encode())
    return digest.hexdigest()


def _matched(
    folders: Sequence[str], classes: Sequence[str], descriptions: Sequence[str]
) -> tuple[list[int], list[str]]:
    """The class of each folder, and notes on how it was found."""
    found = _by_name(folders, classes, descriptions)
    if not any(found):
        return _by_position(folders, classes)
    problems = [
        f"{folder}: no such class{nearest(folder, [*classes, *descriptions])}"
        if not matches
        else f"{folder}: could be any of classes {', '.join(f'{k} ({classes[k]})' for k in sorted(matches))}"
        for folder, matches in zip(folders, found, strict=True)
        if len(matches) != 1
    ]
    position = [min(matches, default=-1) for matches in found]
    for k in sorted({k for k in position if k >= 0 and position.count(k) > 1}):
        same = [folder for folder, place in zip(folders, position, strict=True) if place == k]
        problems.append(f"{', '.join(same)}: all are class {k} ({classes[k]})")
    if problems:
        raise DataError(
            listing(f"{len(problems)} class folder(s) do not fit the network's classes:", problems)
        )
    return position, []


def _by_name(folders: Sequence[str], classes: Sequence[str], descriptions: Sequence[str]) -> list[set[int]]:
    """The classes that each folder's name fits, by the strictest rule that fits any."""
    tables: list[dict[str, set[int]]] = [{}, {}, {}]
    for k, name in enumerate(classes):
        text = [name, descriptions[k]] if k < len(descriptions) else [name]
        for table, keys in zip(tables, ([name], _wnids(text), _synonyms(text)), strict=True):
            for key in keys:
                table.setdefault(key, set()).add(k)
    exact, wnid, synonym = tables
    found = []
    for folder in folders:
        by_id = set().union(*(wnid.get(key, set()) for key in _wnids([folder])))
        found.append(exact.get(folder) or by_id or synonym.get(_plain(folder)) or set())
    return found


def _wnids(texts: Sequence[str]) -> set[str]:
    """The WordNet ids that the texts begin with: `n01440764_tench`, `n01440764 tench, Tinca tinca`."""
    return {match.group() for match in map(_WNID.match, texts) if match}


def _synonyms(texts: Sequence[str]) -> set[str]:
    """Each text whole, and each of its comma-separated terms, without a leading WordNet id."""
    terms: set[str] = set()
    for text in texts:
        words = _plain(_WNID.sub("", text, count=1) if _WNID.match(text) else text)
        terms.update([words, *(term.strip() for term in words.split(","))])
    return terms - {""}


def _plain(text: str) -> str:
    return " ".join(re.split(r"[\s_-]+", text)).strip().casefold()


def _by_position(folders: Sequence[str], classes: Sequence[str]) -> tuple[list[int], list[str]]:
    """Classes by number, where the folders are numbers; else in sorted order, where there are as many."""
    if all(folder.isascii() and folder.isdigit() for folder in folders):
        numbers = [int(folder[-9:]) for folder in folders]
        first = 1 if classes and min(numbers) >= 1 and max(numbers) == len(classes) else 0
        note = f"class folders are taken as class numbers, counted from {first}"
        return [number - first for number in numbers], [note]
    if classes and len(folders) != len(classes):
        raise DataError(
            f"none of the {len(folders)} class folders ({', '.join(folders[:3])}, ...) is one of the "
            f"network's {len(classes)} classes ({', '.join(classes[:3])}, ...); rename them or give a list"
        )
    reason = "their names match no class" if classes else "the network names no classes"
    return list(range(len(folders))), [
        f"class folders are taken as classes in sorted order, because {reason}"
    ]
