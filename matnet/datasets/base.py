"""What every data set states, whatever its task."""

from __future__ import annotations

from typing import Protocol


class DataSet(Protocol):
    """A data set by name. list_sha256: of the list of its images, the same wherever the folder lies. notes: decisions
    that the user should know. unreadable: folders that could not be read, each with its reason.
    """

    def __len__(self) -> int:
        """The number of images, or of pairs."""

    def head(self, count: int) -> DataSet:
        """A part of so many; the set itself where it has no more."""

    @property
    def name(self) -> str: ...

    @property
    def list_sha256(self) -> str: ...

    @property
    def notes(self) -> tuple[str, ...]: ...

    @property
    def unreadable(self) -> tuple[str, ...]: ...
