"""The labels of a flat folder of ImageNet images, from the development kit, Caffe's lists, or Kaggle's."""

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
"""Label files of Kaggle, the development kit, TensorFlow's scripts and Caffe; the first one found is used."""

_WNID_NAME = re.compile(r"n\d{8}_")
_ALONE = re.compile(r"n\d{8}|\d{1,4}")
_PAIR = re.compile(r"(?P<name>.+?)[\s,;]+(?P<label>n\d{8}|\d{1,9})(?:[\s,;].*)?")
_NUMBER = re.compile(r"_(\d{8})$")


@dataclass(frozen=True)
class Labelled:
    """Images, their WordNet ids, the sorted classes, notes on the sources, and unreadable folders."""

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
    """The images `names` in `home` with their labels from a label file.

    The file is `labels`, or lies in or near the folder `labels`; without `labels`, in or near `home` and `root`. Raises
    DataError if there is none, if the list of classes for its numbers is missing, or if it does not fit the images.
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
    lines = [text for _, text in text_lines(file, "label file")]
    lists = ClassLists(near, file, Path(synsets) if synsets is not None else None)
    if all(_ALONE.fullmatch(line) for line in lines):
        return _by_number(home, names, file, lines, lists)
    return _by_name(home, names, file, lines, lists)


def _first(places: Sequence[Path], start: Path) -> Path:
    """The first label file in the first of `places` that has one. Raises DataError if there is none."""
    found = next(lists_in(places, LABEL_FILES), None)
    if found is None:
        raise DataError(
            f"{start}: no labels for its images: found none of {', '.join(LABEL_FILES)} in it, beside it, or in a "
            "development kit there; put one there, or give its path"
        )
    return found


@dataclass(frozen=True)
class ClassLists:
    """Finds the list of classes for the class numbers in a file: the given list, or one near the file."""

    places: Sequence[Path]
    file: Path
    given: Path | None = None

    def devkit(self) -> tuple[tuple[str, ...], Path]:
        """The classes in the development kit's order, and their source."""
        source = self.given or self._found(DEVKIT_LISTS)
        if source is None:
            raise self._missing("the development kit's numbers", DEVKIT_LISTS)
        wnids = read_synsets(source)
        if len(wnids) > 1 and wnids == tuple(sorted(wnids)):
            raise DataError(
                f"{source}: sorted by WordNet id, but {self.file.name} uses the development kit's numbers; "
                f"give one of {', '.join(DEVKIT_LISTS)}"
            )
        return wnids, source

    def by_wnid(self) -> tuple[tuple[str, ...], Path]:
        """The classes in Caffe's order: that of a list, else sorted by WordNet id."""
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
            f"{self.file}: labels are {what}, but no list of their WordNet ids was found; put {' or '.join(names)} "
            "beside it"
        )


def _by_number(home: Path, names: Sequence[str], file: Path, lines: Sequence[str], lists: ClassLists) -> Labelled:
    """One label per line, for images by the number in their names, or in sorted order (ILSVRC's ground truth)."""
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
    """The 1-based line number of each image's label."""
    matches = [_NUMBER.search(os.path.splitext(name)[0]) for name in names]
    if all(matches):
        numbers = [int(match[1]) for match in matches if match]
        beyond = [name for name, number in zip(names, numbers, strict=True) if not 1 <= number <= lines]
        if beyond:
            raise DataError(listing(f"{file}: has only {lines:,} labels; images without one ({len(beyond)}):", beyond))
        return numbers
    if len(names) != lines:
        raise DataError(
            f"{home}: {len(names):,} images, but {file} has {lines:,} labels; expected as many images as labels, or "
            "image names with numbers (ILSVRC2012_val_00000001.JPEG)"
        )
    return list(range(1, lines + 1))


def _blacklist(file: Path) -> frozenset[int]:
    """The 1-based numbers of the images that the 2014 development kit and MatConvNet leave out."""
    numbers: set[int] = set()
    for path in sorted(file.parent.glob("*validation_blacklist*")):
        lines = text_lines(path, "list of images to leave out", "of one number")
        wrong = [f"line {number}: {text[:80]}" for number, text in lines if not _is_number(text)]
        if wrong:
            raise DataError(listing(f"{path}: lines that are not a number ({len(wrong)}):", wrong))
        numbers.update(int(text) for _, text in lines)
    return frozenset(numbers)


def _by_name(home: Path, names: Sequence[str], file: Path, lines: Sequence[str], lists: ClassLists) -> Labelled:
    """Lines `name label`; labels are WordNet ids, or numbers from 0 in Caffe's class order."""
    stated = _stated(file, lines)
    present = {os.path.splitext(name)[0]: name for name in names}
    missing = [stem for stem in stated if stem not in present]
    if missing:
        way_out = "get them, or give a list of the existing ones"
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
    """Image name, without folders and extension, -> label; Kaggle's header line is skipped."""
    content = lines[1:] if lines[0].lower().startswith("imageid,") else lines
    matches = [_PAIR.fullmatch(line) for line in content]
    wrong = [line[:80] for line, match in zip(content, matches, strict=True) if match is None]
    if wrong:
        raise DataError(listing(f"{file}: lines that are not 'image label' ({len(wrong)}):", wrong))
    stated: dict[str, str] = {}
    twice: list[str] = []
    for match in matches:
        assert match is not None
        stem = os.path.splitext(match["name"].replace("\\", "/").rpartition("/")[2].strip("\"'"))[0]
        if stated.setdefault(stem, match["label"]) != match["label"]:
            twice.append(f"{stem}: {stated[stem]} and {match['label']}")
    if twice:
        raise DataError(listing(f"{file}: images with two labels ({len(twice)}):", twice))
    return stated


def _is_number(text: str) -> bool:
    return text.isdecimal() and len(text) < 10


def _looked_up(file: Path, labels: Sequence[tuple[str, str]], wnids: Sequence[str], first: int) -> list[str]:
    """The WordNet ids of labels that are indices of `wnids`, from `first`. Raises DataError for labels out of range."""
    last = first + len(wnids) - 1
    wrong = [f"{name}: {label}" for name, label in labels if not (_is_number(label) and first <= int(label) <= last)]
    if wrong:
        raise DataError(listing(f"{file}: labels that are not {first} to {last} ({len(wrong)}):", wrong))
    return [wnids[int(label) - first] for _, label in labels]
