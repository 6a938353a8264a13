"""The labels of a flat folder of ImageNet's images: from the development kit, Caffe's lists, or Kaggle's."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from matnet.datasets.scan import text_lines
from matnet.datasets.synsets import DEVKIT_LISTS, SORTED_LISTS, lists_in, read_synsets, search_folders
from matnet.errors import DataError, listing

LABEL_FILES = (
    "LOC_val_solution.csv",
    "*validation_ground_truth*.txt",
    "*validation_synset_labels*.txt",
    "val.txt",
    "labels.txt",
)
"""Files with labels, as Kaggle, the development kit, TensorFlow's scripts and Caffe call them; the first counts."""

_WNID_NAME = re.compile(r"n\d{8}_")
_ALONE = re.compile(r"n\d{8}|\d{1,4}")
_PAIR = re.compile(r"(?P<name>.+?)[\s,;]+(?P<label>n\d{8}|\d{1,9})(?:[\s,;].*)?")
_NUMBER = re.compile(r"_(\d{8})$")


@dataclass(frozen=True)
class Labelled:
    """Images with their WordNet ids, all classes (sorted), notes on where this was read, and unreadable folders."""

    paths: tuple[Path, ...]
    wnids: tuple[str, ...]
    classes: tuple[str, ...]
    notes: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = ()


def labelled_files(
    home: Path,
    names: Sequence[str],
    root: Path,
    labels: str | os.PathLike[str] | None = None,
    synsets: str | os.PathLike[str] | None = None,
) -> Labelled:
    """The images `names` in `home` with what a file of labels says about them.

    The file is `labels`, or lies in and around that folder; without `labels`, in and around `home` and `root`.
    Raises DataError if there is none, where it lacks the classes that it counts in, or does not fit the images.
    """
    if labels is None and all(_WNID_NAME.match(name) for name in names):
        wnids = tuple(name[:9] for name in names)
        classes = tuple(sorted(set(wnids)))
        return Labelled(tuple(home / name for name in names), wnids, classes, ("labels from the images' names",))
    given = Path(labels) if labels is not None else None
    near = search_folders(home, root)
    if given is None or given.is_dir():
        file = _first(near if given is None else search_folders(given), given or home)
    else:
        file = given
    lines = [text for _, text in text_lines(file, "list of labels")]
    lists = ClassLists(near, file, Path(synsets) if synsets is not None else None)
    if all(_ALONE.fullmatch(line) for line in lines):
        return _by_number(home, names, file, lines, lists)
    return _by_name(home, names, file, lines, lists)


def _first(places: Sequence[Path], start: Path) -> Path:
    """The first file of labels in the first of `places` that has one; DataError if there is none."""
    found = next(lists_in(places, LABEL_FILES), None)
    if found is None:
        raise DataError(
            f"{start}: no labels for its images: none of {', '.join(LABEL_FILES)} is in it, beside it, or in a "
            "development kit there; put one there, or say where it is"
        )
    return found


@dataclass(frozen=True)
class ClassLists:
    """Where the classes are found that a file's numbers count in: a list that was given, or those around it."""

    places: Sequence[Path]
    file: Path
    given: Path | None = None

    def devkit(self) -> tuple[tuple[str, ...], Path]:
        """The classes in the development kit's order, and where that is stated."""
        source = self.given or self._found(DEVKIT_LISTS)
        if source is None:
            raise self._missing("the development kit's numbers", DEVKIT_LISTS)
        wnids = read_synsets(source)
        if len(wnids) > 1 and wnids == tuple(sorted(wnids)):
            raise DataError(
                f"{source}: is sorted by WordNet id, but {self.file.name} counts as the development kit does; "
                f"give one of {', '.join(DEVKIT_LISTS)}"
            )
        return wnids, source

    def by_wnid(self) -> tuple[tuple[str, ...], Path]:
        """The classes in the order of Caffe's lists: as a list states them, else sorted."""
        source = self.given or self._found(SORTED_LISTS) or self._found(DEVKIT_LISTS)
        if source is None:
            raise self._missing("numbers", SORTED_LISTS)
        wnids = read_synsets(source)
        as_stated = source.name in SORTED_LISTS or (source == self.given and source.suffix.lower() != ".mat")
        return (wnids if as_stated else tuple(sorted(wnids))), source

    def _found(self, names: Sequence[str]) -> Path | None:
        return next(lists_in([self.file.parent, *self.places], names), None)

    def _missing(self, what: str, names: Sequence[str]) -> DataError:
        return DataError(
            f"{self.file}: gives {what} for classes, and nothing beside it says which WordNet ids they are; "
            f"put {' or '.join(names)} there"
        )


def _by_number(home: Path, names: Sequence[str], file: Path, lines: Sequence[str], lists: ClassLists) -> Labelled:
    """One label a line, for the images by the number in their names, or in sorted order (ILSVRC's ground truth)."""
    numbers = _image_numbers(home, names, file, len(lines))
    wnids, source = (None, file) if all(line.startswith("n") for line in lines) else lists.devkit()
    notes = [f"labels from {file}" + (f", classes from {source}" if source != file else "")]
    excluded = _blacklist(file)
    kept = [(name, number) for name, number in zip(names, numbers, strict=True) if number not in excluded]
    if len(kept) < len(names):
        notes.append(f"{len(names) - len(kept):,} images on the development kit's blacklist are left out")
    if wnids is None:
        found = [lines[number - 1] for _, number in kept]
        classes = tuple(sorted(set(lines)))
    else:
        found = _looked_up(file, [(name, lines[number - 1]) for name, number in kept], wnids, first=1)
        classes = tuple(sorted(wnids))
    return Labelled(tuple(home / name for name, _ in kept), tuple(found), classes, tuple(notes))


def _image_numbers(home: Path, names: Sequence[str], file: Path, lines: int) -> list[int]:
    """The line that each image's label stands in, counted from 1."""
    matches = [_NUMBER.search(os.path.splitext(name)[0]) for name in names]
    if all(matches):
        numbers = [int(match[1]) for match in matches if match]
        beyond = [name for name, number in zip(names, numbers, strict=True) if not 1 <= number <= lines]
        if beyond:
            raise DataError(listing(f"{file}: has {lines:,} labels, and none for {len(beyond)} image(s):", beyond))
        return numbers
    if len(names) != lines:
        raise DataError(
            f"{home}: {len(names):,} images for the {lines:,} labels of {file}; they must be as many, or have their "
            "number in their names (ILSVRC2012_val_00000001.JPEG)"
        )
    return list(range(1, lines + 1))


def _blacklist(file: Path) -> frozenset[int]:
    """The images that the kit of 2014 leaves out, as MatConvNet does; counted from 1."""
    numbers: set[int] = set()
    for path in sorted(file.parent.glob("*validation_blacklist*")):
        lines = text_lines(path, "list of images to leave out", "of one number")
        wrong = [f"line {number}: {text[:80]}" for number, text in lines if not _is_number(text)]
        if wrong:
            raise DataError(listing(f"{path}: {len(wrong)} line(s) are no number:", wrong))
        numbers.update(int(text) for _, text in lines)
    return frozenset(numbers)


def _by_name(home: Path, names: Sequence[str], file: Path, lines: Sequence[str], lists: ClassLists) -> Labelled:
    """Lines `name label`; labels are WordNet ids, or numbers from 0 in Caffe's order of the classes."""
    stated = _stated(file, lines)
    present = {os.path.splitext(name)[0]: name for name in names}
    missing = [stem for stem in stated if stem not in present]
    if missing:
        way_out = "get them, or give a list of those that are there"
        report = f"{file}: {len(missing):,} of its {len(stated):,} images are not in {home}; {way_out}:"
        raise DataError(listing(report, missing))
    chosen = [(present[stem], label) for stem, label in stated.items()]
    notes = [f"labels from {file}"]
    if len(chosen) < len(names):
        notes.append(f"{len(names) - len(chosen):,} images in the folder are not in the list")
    if all(label.startswith("n") for label in stated.values()):
        found = [label for _, label in chosen]
        classes = tuple(sorted(set(found)))
    else:
        wnids, source = lists.by_wnid()
        notes[0] += f", classes from {source}"
        found = _looked_up(file, chosen, wnids, first=0)
        classes = tuple(sorted(wnids))
    return Labelled(tuple(home / name for name, _ in chosen), tuple(found), classes, tuple(notes))


def _stated(file: Path, lines: Sequence[str]) -> Mapping[str, str]:
    """Image name, without folders and ending, -> label; Kaggle's heading is passed over."""
    content = lines[1:] if lines[0].lower().startswith("imageid,") else lines
    matches = [_PAIR.fullmatch(line) for line in content]
    wrong = [line[:80] for line, match in zip(content, matches, strict=True) if match is None]
    if wrong:
        raise DataError(listing(f"{file}: {len(wrong)} line(s) are not 'image label':", wrong))
    stated: dict[str, str] = {}
    twice: list[str] = []
    for match in matches:
        assert match is not None
        stem = os.path.splitext(match["name"].replace("\\", "/").rpartition("/")[2].strip("\"'"))[0]
        if stated.setdefault(stem, match["label"]) != match["label"]:
            twice.append(f"{stem}: {stated[stem]} and {match['label']}")
    if twice:
        raise DataError(listing(f"{file}: {len(twice)} image(s) have two labels:", twice))
    return stated


def _is_number(text: str) -> bool:
    return text.isdecimal() and len(text) < 10


def _looked_up(file: Path, labels: Sequence[tuple[str, str]], wnids: Sequence[str], first: int) -> list[str]:
    """The WordNet ids of labels that count in `wnids` from `first`; DataError names those out of range."""
    last = first + len(wnids) - 1
    wrong = [f"{name}: {label}" for name, label in labels if not (_is_number(label) and first <= int(label) <= last)]
    if wrong:
        count = "labels count from 1" if first else "labels count from 0"
        raise DataError(listing(f"{file}: {len(wrong)} label(s) are not {first} to {last} ({count}):", wrong))
    return [wnids[int(label) - first] for _, label in labels]
