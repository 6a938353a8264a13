"""The data sets of the tables, from the user's folders; each is loaded once, whole or limited."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from matnet.errors import MatnetError
from matnet.reproduction.expected import NAMED, OWN, Expected

if TYPE_CHECKING:
    from matnet.datasets.base import DataSet


@dataclass
class DataSets:
    """The folders given by options, and the data sets read so far. sbd: SBD's folder. pairs: LFW's list.

    limit: the most images or pairs of each data set; None: all. proposals: boxes for VOC 2007's test images. named:
    the paths of other data sets by name, as in NAMED.
    """

    imagenet: Path | None = None
    voc: Path | None = None
    sbd: Path | None = None
    lfw: Path | None = None
    pairs: Path | None = None
    limit: int | None = None
    proposals: Path | None = None
    named: Mapping[str, Path] = field(default_factory=dict)
    _read: dict[str, DataSet | Exception | None] = field(default_factory=dict)

    def faults(self, rows: Iterable[Expected]) -> list[str]:
        """Read the given data sets of all rows before anything runs. Returns their errors."""
        found = []
        for row in rows:
            try:
                self.of(row)
            except (MatnetError, OSError) as error:
                found.append(str(error))
        return list(dict.fromkeys(found))

    def of(self, row: Expected) -> DataSet | None:
        """The row's data set; None if no folder was given for it. Raises what reading it raised."""
        name = row.card.name if row.data == OWN else row.data
        if name not in self._read:
            self._read[name] = self._load(row)
        found = self._read[name]
        if isinstance(found, Exception):
            raise found
        return found

    def is_part(self, row: Expected) -> bool:
        """Whether `limit` shortened the row's data set."""
        return self.limit is not None and (data := self.of(row)) is not None and any(
            note.startswith("only ") for note in data.notes
        )

    def _load(self, row: Expected) -> DataSet | Exception | None:
        """The data set, whole or limited, and checked, or the exception raised by reading it."""
        try:
            found = self._found(row)
            if found is not None and self.limit is not None:
                found = found.head(self.limit)
            return None if found is None else found.check()
        except (MatnetError, OSError) as error:
            return error

    def _found(self, row: Expected) -> DataSet | None:
        from matnet.datasets import ImageList, load_imagenet, load_lfw, load_voc, load_voc_objects

        if row.data == OWN:
            assert row.card.test_images is not None
            return ImageList.load(row.card.test_images)
        if row.data == "lfw":
            return load_lfw(self.lfw, self.pairs) if self.lfw else None
        if row.data == "imagenet":
            return load_imagenet(self.imagenet) if self.imagenet else None
        if row.data in NAMED:
            place = self.named.get(row.data)
            return None if place is None else _named(row.data, place)
        if self.voc is None:
            return None
        if row.data == "voc07-test":
            return load_voc_objects(self.voc, "2007", "test", self.proposals)
        year, split = ("2012", "val") if row.data == "voc12-val" else (None, row.data)
        return load_voc(self.voc, year, split, self.sbd)


def _named(name: str, place: Path) -> DataSet:
    """A data set of NAMED. Raises what its loader raises."""
    from matnet.datasets import load_bsds, load_context, load_images, load_retrieval

    loaders: dict[str, Callable[[Path], DataSet]] = {}
    loaders |= {"cifar10": load_retrieval, "context": load_context, "bsds500": load_bsds}
    return loaders.get(name, load_images)(place)
