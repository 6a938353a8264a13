"""The attributes of every data set."""

from __future__ import annotations

from typing import Protocol


class DataSet(Protocol):
    """A data set. list_sha256: hash of the list of images, independent of the folder's location.

    notes: decisions that the user should know. unreadable: the errors of unreadable folders.
    """

    def __len__(self) -> int:
        """The number of images, or of pairs."""

    def head(self, count: int) -> DataSet:
        """The first `count` images; the data set itself if it has no more."""

    @property
    def name(self) -> str: ...

    @property
    def list_sha256(self) -> str: ...

    @property
    def notes(self) -> tuple[str, ...]: ...

    @property
    def unreadable(self) -> tuple[str, ...]: ...
