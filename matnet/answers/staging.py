"""The folder that holds finished rows of features beside the target file, so that an interrupted run can resume."""

from __future__ import annotations

import json
import logging
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from matnet.errors import DataError, FileFormatError, in_words
from matnet.evaluation.tally import Ranges, joined, ways_of_record
from matnet.files import atomic_write
from matnet.records import read_record, write_record

log = logging.getLogger(__name__)
SUFFIX, KEY, WAYS = ".part", "key.json", "ways.json"
SHOWN = 4
_OWN = re.compile(r"\d+\.npy|done|\.?(key|ways)\.json.*")
TO_DO, DONE, UNREADABLE = 0, 1, 2
"""The state of an image, one byte each; a resumed run tries unreadable images again."""


@dataclass
class Staging:
    """A folder with an .npy file per layer, with a row per image, and a file with a state byte per image.

    A row is written before its state, so the folder is valid whenever the run is killed.
    """

    folder: Path
    shapes: Mapping[str, tuple[int, ...]]
    images: int

    @staticmethod
    def at(target: Path) -> Path:
        """The folder for a target file."""
        return target.with_name(target.name + SUFFIX)

    @classmethod
    def open(
        cls, target: Path, key: Mapping[str, str], shapes: Mapping[str, tuple[int, ...]], images: int, resume: bool
    ) -> tuple[Staging, int]:
        """The folder for `target`, and how many images an earlier run has finished in it.

        shapes: of a row, by layer. key: all that decides the values. With `resume` an unfinished run goes on; DataError
        where it is of another key. Without, or where it is damaged, it is removed. FileFormatError if the disk is
        too small or refuses.
        """
        staging = cls(cls.at(target), shapes, images)
        known = None
        if staging.folder.is_dir() and all(_OWN.fullmatch(file.name) for file in staging.folder.iterdir()):
            known = read_record(staging.folder / KEY, dict) if resume else None
            if known is None or (known == dict(key) and staging._damaged()) or not staging._begun():
                shutil.rmtree(staging.folder)
        if staging.folder.exists():
            staging._refuse_foreign(target)
            staging._refuse_others(known or {}, key)
        else:
            staging._create(target, key)
        return staging, int((staging.states() == DONE).sum())

    def _refuse_foreign(self, target: Path) -> None:
        """Raises FileFormatError if the existing path was not made by a Staging."""
        found = sorted(file.name for file in self.folder.iterdir()) if self.folder.is_dir() else ["no folder"]
        foreign = [name for name in found if not _OWN.fullmatch(name)]
        if foreign:
            raise FileFormatError(
                f"{self.folder}: needed as the temporary folder of {target.name}, but it exists and holds something "
                f"else ({', '.join(foreign[:SHOWN])}); move it, or write to another file"
            )

    def path(self, layer: str) -> Path:
        return self.folder / f"{list(self.shapes).index(layer)}.npy"

    def states(self) -> np.ndarray:
        return np.fromfile(self.folder / "done", np.uint8)

    @property
    def started(self) -> int:
        """When the run began, in nanoseconds since 1970."""
        return (self.folder / KEY).stat().st_mtime_ns

    def forget(self, rows: Sequence[int]) -> int:
        """Have these rows computed again; returns their number."""
        states = self.states()
        states[rows] = TO_DO
        (self.folder / "done").write_bytes(states.tobytes())
        return len(rows)

    def ways(self) -> tuple[dict[str, Ranges], str]:
        """What `keep_ways` saved for the finished rows; empty if it saved nothing."""
        found = read_record(self.folder / WAYS, lambda record: (ways_of_record(record["ways"]), str(record["chosen"])))
        ways, chosen = found or ({}, "")
        done = self.states() == DONE  # rows that a killed run did not write may be computed in another way now
        numbers = {way: [row for span in ranges for row in range(*span) if done[row]] for way, ranges in ways.items()}
        return {way: joined((row, row + 1) for row in rows) for way, rows in numbers.items() if rows}, chosen

    def keep_ways(self, ways: Mapping[str, Ranges], chosen: str) -> None:
        """Save which rows each way to run the network computed, and the way chosen for the rest."""
        write_record(self.folder / WAYS, {"ways": dict(ways), "chosen": chosen})

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def _begun(self) -> bool:
        """Whether a row is finished, which another run must not lose."""
        done = self.folder / "done"
        return done.is_file() and bool((self.states() == DONE).any())

    def _damaged(self) -> bool:
        """Whether the state of this very run is not whole, which a warning says."""
        arrays = [self.path(layer) for layer in self.shapes]
        done = self.folder / "done"
        if done.is_file() and len(self.states()) == self.images and all(array.is_file() for array in arrays):
            return False
        log.warning("%s: is damaged; the features are computed from the start", self.folder)
        return True

    def _refuse_others(self, known: Mapping[str, Any], key: Mapping[str, str]) -> None:
        differing = [name for name in {**known, **key} if known.get(name) != key.get(name)]
        if differing:
            raise DataError(
                f"{self.folder}: holds an unfinished run with another {', another '.join(differing)}; "
                f"{in_words('resume=False', '--no-resume')} removes it and starts again"
            )

    def _create(self, target: Path, key: Mapping[str, str]) -> None:
        size = sum(self.images * 4 * int(np.prod(shape)) for shape in self.shapes.values())
        needed = size if target.suffix.lower() == ".npy" else 2 * size  # the file in addition to its parts
        try:
            free = shutil.disk_usage(target.absolute().parent).free
            if needed > free:
                raise FileFormatError(
                    f"{target}: writing needs {needed / 1e6:,.2f} MB, but only {free / 1e6:,.2f} MB are free; "
                    "use a larger disk or fewer layers, or pool them"
                )
            self.folder.mkdir()
            for layer, shape in self.shapes.items():
                with self.path(layer).open("wb") as file:
                    header = {"descr": "<f4", "fortran_order": False, "shape": (self.images, *shape)}
                    np.lib.format.write_array_header_1_0(file, header)
                    file.truncate(file.tell() + self.images * 4 * int(np.prod(shape)))
            (self.folder / "done").write_bytes(bytes(self.images))
            with atomic_write(self.folder / KEY) as file:  # written last: the folder is valid only with it
                file.write(json.dumps(dict(key)).encode())
        except OSError as error:
            raise FileFormatError(f"{self.folder}: cannot be written: {error.strerror or error}") from error


class Writer:
    """Writes rows to the files of a Staging, for one process; a context manager."""

    def __init__(self, staging: Staging) -> None:
        self._staging = staging
        self._open = ExitStack()
        self._files: dict[str, tuple[BinaryIO, int]] = {}

    def __enter__(self) -> Writer:
        for layer in self._staging.shapes:
            file = self._open.enter_context(self._staging.path(layer).open("r+b"))
            size = file.seek(0, 2)
            self._files[layer] = file, size - self._staging.images * self._row(layer)
        self._done = self._open.enter_context((self._staging.folder / "done").open("r+b", buffering=0))
        return self

    def __exit__(self, *error: Any) -> None:
        self._open.close()

    def put(self, rows: Sequence[int], values: Mapping[str, np.ndarray], unreadable: Iterable[int]) -> None:
        """Write the values of the images in `rows`, in their order, and NaN for unreadable images."""
        bad = list(unreadable)
        try:
            for layer, shape in self._staging.shapes.items():
                if rows:
                    self._write(layer, rows, np.ascontiguousarray(values[layer], "<f4"))
                self._write(layer, bad, np.full((len(bad), *shape), np.nan, "<f4"))
                self._files[layer][0].flush()
            for numbers, state in ((rows, DONE), (bad, UNREADABLE)):
                for start, stop in _runs(numbers):
                    self._done.seek(numbers[start])
                    self._done.write(bytes([state]) * (stop - start))
        except OSError as error:
            raise FileFormatError(f"{self._staging.folder}: cannot be written: {error.strerror or error}") from error

    def _row(self, layer: str) -> int:
        return 4 * int(np.prod(self._staging.shapes[layer]))

    def _write(self, layer: str, rows: Sequence[int], values: np.ndarray) -> None:
        file, start = self._files[layer]
        for first, stop in _runs(rows):
            file.seek(start + rows[first] * self._row(layer))
            file.write(values[first:stop].data)


def _runs(numbers: Sequence[int]) -> list[tuple[int, int]]:
    """Where runs of consecutive numbers begin and end.

    >>> _runs([4, 5, 6, 9, 8])
    [(0, 3), (3, 4), (4, 5)]
    """
    breaks = [place for place in range(1, len(numbers)) if numbers[place] != numbers[place - 1] + 1]
    bounds = [0, *breaks, len(numbers)] if numbers else []
    return list(pairwise(bounds))
