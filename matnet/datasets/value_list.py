"""Images with a number each, such as a year or an age: a list with lines `path value`."""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np

from matnet.datasets.base import DataSet
from matnet.datasets.scan import checked_images, digest, text_lines
from matnet.errors import DataError, in_words, listing

WITHIN = 5.0
"""The default of the largest error of a correct estimate."""
_LONGEST_LINE = 4096
_LINE = re.compile(r"(?P<path>\"[^\"]+\"|'[^']+'|.+?)[\s,;]+(?P<value>[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)")


@dataclass(frozen=True)
class ValueList(DataSet):
    """Images and their values, in the order of the list.

    values: float64, one per path. within: the largest error of a correct estimate. list_sha256: hash of the lines
    `path value`, independent of the folder's location.
    """

    per_image: ClassVar[tuple[str, ...]] = ("paths", "values")
    paths: tuple[Path, ...]
    values: np.ndarray = field(compare=False)
    root: Path
    name: str
    list_sha256: str
    within: float = WITHIN
    notes: tuple[str, ...] = ()


def load_values(
    path: str | os.PathLike[str], root: str | os.PathLike[str] | None = None, within: float | None = None
) -> ValueList:
    """A list with lines `path value`, separated by spaces, a comma or a semicolon.

    Paths may contain spaces or be quoted, and are relative to `root`, by default the list's folder. within: the largest
    error of a correct estimate, in the unit of the values. Raises DataError that lists invalid lines, missing images,
    and images with two values.
    """
    file = Path(path)
    if file.is_dir():
        data = in_words("path", "--data")
        raise DataError(f"{path}: this is a folder; give {data} a list file with lines 'path value'")
    base = Path(root) if root is not None else file.parent
    found = [(number, text, _matched(text)) for number, text in text_lines(file, expected="'path value'")]
    wrong = [f"line {number}: {text[:80]}" for number, text, entry in found if entry is None]
    if wrong:
        raise DataError(listing(f"{file}: lines that are not 'path value' ({len(wrong)}):", wrong))
    entries = [entry for _, _, entry in found if entry is not None]
    paths = tuple(base / name for name, _ in entries)
    values = np.array([value for _, value in entries], np.float64)
    sha256 = digest(base, paths, map(repr, values.tolist()))
    notes = checked_images(file, base, paths, values.tolist(), "values")
    return ValueList(paths, values, base, file.stem, sha256, WITHIN if within is None else within, notes)


def _matched(text: str) -> tuple[str, float] | None:
    match = _LINE.fullmatch(text) if len(text) <= _LONGEST_LINE else None
    if match is None or not math.isfinite(value := float(match["value"])):
        return None
    path = match["path"]
    quoted = len(path) > 2 and path[0] == path[-1] and path[0] in "\"'"
    return path[1:-1] if quoted else path, value
