"""The two orders of ImageNet's 1000 classes: sorted by WordNet id (Caffe), and the development kit's."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from matnet.datasets.ilsvrc2012 import in_devkit_order, synsets
from matnet.datasets.scan import mat_variables, repeated, text_lines
from matnet.errors import DataError, listing, nearest

CLASSES = 1000
"""The number of classes in ILSVRC-2012: the development kit's synsets(1:1000)."""

SORTED_LISTS = ("synsets.txt", "synset_words.txt", "LOC_synset_mapping.txt")
"""Caffe's and Kaggle's lists of all classes, sorted by WordNet id."""

DEVKIT_LISTS = ("meta_clsloc.mat", "meta.mat", "map_clsloc.txt", "vgg_synset_words.txt")
"""Lists of all classes in the development kit's order: its own, and that of the VGG networks."""

ORDERS = {"ilsvrc12-sorted": SORTED_LISTS, "ilsvrc12-devkit": DEVKIT_LISTS}
"""Name of an order in model cards (`labels: {order: ...}`) -> the lists in this order."""

_LINE = re.compile(r"(?P<wnid>n\d{8})(?:[\s,]+(?P<rest>.*))?")
_NUMBERED = re.compile(r"(?P<number>\d{1,4})\s+\S+")
_ID_FIELD = re.compile(r"ILSVRC\d*\w*_ID")


def class_order(
    order: str, source: str | os.PathLike[str] | None = None, count: int | None = CLASSES
) -> tuple[str, ...]:
    """The WordNet ids of ImageNet's classes in one of ORDERS.

    source: a list, or a folder of the data set; lists in it, beside it or in its development kit, and for the sorted
    order also 1000 class folders, take precedence over the table in matnet. count: the expected number of classes;
    None for any. Networks with class names are aligned by these names, not by this order. Raises DataError for an
    unknown order, and for a list with another order or another number of classes.
    """
    if order not in ORDERS:
        raise DataError(f"unknown class order '{order}'{nearest(order, ORDERS)}; known: {', '.join(ORDERS)}")
    wnids, where = _stated(order, Path(source), count) if source is not None else (None, Path())
    if wnids is None:
        return tuple(synset.wnid for synset in (synsets() if order == "ilsvrc12-sorted" else in_devkit_order()))
    if order == "ilsvrc12-sorted":
        wnids = tuple(sorted(wnids))
    elif wnids == tuple(sorted(wnids)):
        raise DataError(
            f"{where}: sorted by WordNet id, which is not the development kit's order; give the kit's own list"
        )
    if count is not None and len(wnids) != count:
        raise DataError(f"{where}: lists {len(wnids)} classes, expected {count}; give a list of all classes")
    return wnids


def _stated(order: str, path: Path, count: int | None) -> tuple[tuple[str, ...] | None, Path]:
    """The classes listed in the data set, and where; None if it has no list."""
    names = [ORDERS[order], *([DEVKIT_LISTS] if order == "ilsvrc12-sorted" else [])]
    files = [path] if path.is_file() else [file for kind in names for file in lists_in(search_folders(path), kind)]
    if files:
        return read_synsets(files[0]), files[0]
    if order == "ilsvrc12-sorted":
        for place in (path / "train", path / "val", path):
            found = tuple(wnid_folders(place))
            if len(found) == count:
                return found, place
    return None, path


def wnid_folders(folder: Path) -> Iterator[str]:
    """The WordNet ids that are names of folders in `folder`."""
    if folder.is_dir():
        with os.scandir(folder) as found:
            yield from (entry.name[:9] for entry in found if _LINE.match(entry.name) and entry.is_dir())


def search_folders(*places: Path) -> list[Path]:
    """The folders to search for lists: each place, its parent, and the folders in which lists are published."""
    found: dict[Path, None] = {}
    for place in (folder for start in places for folder in (start, start.parent)):
        kits = sorted(kit for kit in place.glob("*devkit*") if kit.is_dir()) if place.is_dir() else []
        inside = [place / "data", place / "ilsvrc12", place / "data" / "ilsvrc12", place / "caffe_ilsvrc12"]
        for folder in (place, *kits, *(kit / "data" for kit in kits), *inside):
            found[folder] = None
    return [folder for folder in found if folder.is_dir()]


def lists_in(folders: Iterable[Path], names: Iterable[str]) -> Iterator[Path]:
    """The files in `folders` that match one of `names` (patterns), in the order of the folders."""
    patterns = list(names)
    for folder in folders:
        for name in patterns:
            yield from sorted(folder.glob(name))


def read_synsets(path: Path) -> tuple[str, ...]:
    """The WordNet ids in a list, in its order: a text list with one id per line, or the kit's meta.mat.

    Numbers in a second column (map_clsloc.txt) decide the order. Raises DataError that lists every line without a
    WordNet id and every repeated id.
    """
    wnids = _from_mat(path) if path.suffix.lower() == ".mat" else _from_text(path)
    if twice := repeated(wnids):
        raise DataError(listing(f"{path}: repeated WordNet ids ({len(twice)}):", twice))
    return wnids


def _from_text(path: Path) -> tuple[str, ...]:
    lines = text_lines(path, "list of classes", "'n01440764 words'")
    matches = [(number, text, _LINE.fullmatch(text)) for number, text in lines]
    wrong = [f"line {number}: {text[:80]}" for number, text, match in matches if match is None]
    if wrong:
        raise DataError(listing(f"{path}: lines that do not start with a WordNet id ({len(wrong)}):", wrong))
    wnids = [match["wnid"] for _, _, match in matches if match]
    numbers = [_NUMBERED.fullmatch(match["rest"] or "") for _, _, match in matches if match]
    if all(numbers):
        places = [int(number["number"]) for number in numbers if number]
        if sorted(places) != list(range(1, len(places) + 1)):
            raise DataError(f"{path}: its class numbers are not 1 to {len(places)}, each once; download it again")
        wnids = [wnid for _, wnid in sorted(zip(places, wnids, strict=True))]
    return tuple(wnids)


def _from_mat(path: Path) -> tuple[str, ...]:
    """The entries 1 to 1000 of the variable `synsets`, which are the classes."""
    synsets = mat_variables(path, "synsets").get("synsets")
    records = synsets if isinstance(synsets, list) else [synsets]
    if not records or not all(isinstance(record, Mapping) and "WNID" in record for record in records):
        raise DataError(f"{path}: has no variable `synsets` with a field WNID; is it the development kit's meta.mat?")
    numbered = [(_number(record, place), record["WNID"]) for place, record in enumerate(records, start=1)]
    chosen = sorted((number, wnid) for number, wnid in numbered if isinstance(wnid, str) and number <= CLASSES)
    wrong = [f"{number}: {wnid}" for number, wnid in chosen if not _LINE.fullmatch(wnid)]
    if wrong or [number for number, _ in chosen] != list(range(1, len(chosen) + 1)):
        raise DataError(listing(f"{path}: its classes are not WordNet ids numbered from 1:", wrong))
    return tuple(wnid for _, wnid in chosen)


def _number(record: Mapping[str, Any], place: int) -> int:
    """A synset's number: its field ILSVRC2012_ID, or that of another year; else its position."""
    import numpy as np

    field = next((name for name in record if _ID_FIELD.fullmatch(name)), None)
    value = np.asarray(record[field]).ravel() if field else np.array([place])
    if value.size != 1 or value.dtype.kind not in "biuf":
        return place
    return int(value[0]) if np.isfinite(value[0]) else 0  # no class has it
