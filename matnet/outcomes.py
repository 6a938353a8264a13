"""The status of a result, and the exit status of a command."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum


class Status(str, Enum):
    """The status of a result, as written to JSON and tables."""

    OK = "ok"
    DOUBTFUL = "doubtful"
    NOT_FINITE = "not finite"
    UNREADABLE_IMAGES = "unreadable images"
    RANDOM_WEIGHTS = "random weights"
    ABSENT = "absent"
    FAILED = "failed"

    def __str__(self) -> str:
        return self.value


class ExitStatus(IntEnum):
    """The exit status of a command. After a signal: 128 plus the signal number, as in a shell."""

    DONE = 0
    CHECK_FAILED = 1
    MENDABLE = 2
    INTERRUPTED = 130
    TERMINATED = 143


MENDED_BY_THE_USER = frozenset((Status.NOT_FINITE, Status.UNREADABLE_IMAGES, Status.FAILED))
"""Result statuses that lead to ExitStatus.MENDABLE."""


@dataclass(frozen=True)
class Outcome:
    """A status and its reason. count: number of unreadable images."""

    status: Status = Status.OK
    reason: str = ""
    count: int = 0

    def __str__(self) -> str:
        count = f" ({self.count})" if self.count else ""
        return f"{self.status}{count}: {self.reason}" if self.reason else f"{self.status}{count}"

    @property
    def exit_status(self) -> ExitStatus:
        """The exit status of a command with this single result."""
        return ExitStatus.MENDABLE if self.status in MENDED_BY_THE_USER else ExitStatus.DONE
