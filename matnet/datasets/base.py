"""What all data sets share: the hash of their list, notes, their first images, parts for workers, and a check."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from matnet.datasets.scan import first_few
from matnet.errors import DataError, listing

Same = TypeVar("Same", bound="DataSet")


@dataclass(frozen=True, eq=False)
class DataSet:
    """A data set in a fixed order. list_sha256: hash of the list of images, independent of the folder's location.

    notes: decisions that the user should know. unreadable: the errors of unreadable folders. per_image: the fields with
    one item per image. lacking: how notes call images without annotations.
    """

    per_image: ClassVar[tuple[str, ...]]
    lacking: ClassVar[str] = ""

    if TYPE_CHECKING:  # fields of the subclasses

        @property
        def name(self) -> str: ...

        @property
        def root(self) -> Path: ...

        @property
        def list_sha256(self) -> str: ...

        @property
        def notes(self) -> tuple[str, ...]: ...

        @property
        def unreadable(self) -> tuple[str, ...]: ...
    else:
        unreadable = ()  # a folder that cannot be read is an error

    def __len__(self) -> int:
        """The number of images, or of pairs."""
        return len(getattr(self, self.per_image[0]))

    def head(self: Same, count: int) -> Same:
        """The first `count` images; its hash is made from the whole list's hash and `count`."""
        if count >= len(self):
            return self
        sha256 = hashlib.sha256(f"{self.list_sha256} first {count}".encode()).hexdigest()
        notes = (*self.notes, f"only the first {count} of {len(self)} images")
        changes: dict[str, Any] = {"list_sha256": sha256, "notes": notes}
        return replace(self._some(0, count), **changes)

    def part(self: Same, first: int, stop: int) -> Same:
        """Some of the images, with absolute paths, for a worker."""
        some = self._some(first, stop)
        return replace(some, **{name: _absolute(getattr(some, name)) for name in self.per_image})

    def _some(self: Same, first: int, stop: int) -> Same:
        items = {name: getattr(self, name) for name in self.per_image}
        some = {name: None if values is None else values[first:stop] for name, values in items.items()}
        return replace(self, **some)

    def check(self: Same) -> Same:
        """Read all annotations and the sizes of their images. Raises DataError that lists unusable images.

        Returns the data set, with a note on images without annotations. Takes a few milliseconds per image, and finds
        errors before a network runs for hours.
        """
        faults, empty = [], []
        for index in range(len(self)):
            try:
                empty.append(self._unannotated(index))
            except DataError as error:
                faults.append(str(error))
        if faults:
            raise DataError(listing(f"{self.root}: unusable images of {self.name} ({len(faults)}):", faults))
        empty = [name for name in empty if name]
        if len(empty) == len(self):
            raise DataError(f"{self.root}: images of {self.name} {self.lacking}: all {len(self):,}")
        more = [f"images {self.lacking} ({len(empty)}): {first_few(empty)}"] if empty else []
        changes: dict[str, Any] = {"notes": (*self.notes, *more)}
        return replace(self, **changes)

    def _unannotated(self, index: int) -> str:
        """The name of an image without annotations; "" for others. Raises DataError if it is unusable."""
        return ""


def _absolute(values: Any) -> Any:
    """A tuple with absolute paths; other values as they are."""
    if not isinstance(values, tuple):
        return values
    return tuple(value.absolute() if isinstance(value, Path) else value for value in values)
