"""What an evaluation has counted so far, and which images it has left: adds up the same in any order."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from matnet.errors import DataError
from matnet.metrics import TopK

Ranges = tuple[tuple[int, int], ...]
"""Sorted, disjoint ranges of image numbers: first, and one past the last."""


@dataclass(frozen=True)
class Tally:
    """Errors over the images in `done`, those that could not be read, and the time that it took.

    A tally is replaced, never changed: whatever interrupts a run finds a whole one. Its counts are integers,
    so that the order in which parts are added does not matter. Seconds are those of the whole, and of the
    engine alone.
    """

    errors: TopK = field(default_factory=TopK)
    unreadable: tuple[tuple[int, str], ...] = ()
    done: Ranges = ()
    seconds: float = 0.0
    network_seconds: float = 0.0

    @property
    def images(self) -> int:
        """How many images are done, unreadable ones included."""
        return sum(stop - start for start, stop in self.done)

    @property
    def faults(self) -> list[str]:
        """What could not be read, in the list's order."""
        return [text for _, text in self.unreadable]

    def plus(self, other: Tally) -> Tally:
        """Both together; DataError where an image would count twice."""
        errors = TopK(self.errors.ks)
        errors.merge(self.errors)
        errors.merge(other.errors)
        return Tally(
            errors=errors,
            unreadable=tuple(sorted((*self.unreadable, *other.unreadable))),
            done=joined((*self.done, *other.done)),
            seconds=self.seconds + other.seconds,
            network_seconds=self.network_seconds + other.network_seconds,
        )

    def taking(self, seconds: float) -> Tally:
        """The same counts, after so many seconds."""
        return replace(self, seconds=seconds)

    def record(self) -> dict[str, Any]:
        """As plain JSON values, from which `of_record` makes it again."""
        errors = {"ks": self.errors.ks, "images": self.errors.images, "void": self.errors.void}
        errors["wrong"] = [self.errors.wrong.get(k, 0) for k in self.errors.ks]
        return {
            "errors": errors,
            "unreadable": self.unreadable,
            "done": self.done,
            "seconds": self.seconds,
            "network_seconds": self.network_seconds,
        }

    @classmethod
    def of_record(cls, record: Any) -> Tally:
        """A tally from what `record` gave; KeyError, TypeError or ValueError for anything else."""
        found = record["errors"]
        ks = tuple(int(k) for k in found["ks"])
        wrong = dict(zip(ks, (int(count) for count in found["wrong"]), strict=True))
        tally = cls(
            errors=TopK(ks, int(found["images"]), int(found["void"]), wrong),
            unreadable=tuple((int(index), str(text)) for index, text in record["unreadable"]),
            done=joined((int(start), int(stop)) for start, stop in record["done"]),
            seconds=float(record["seconds"]),
            network_seconds=float(record["network_seconds"]),
        )
        if tally.errors.images + len(tally.unreadable) != tally.images:
            raise ValueError("its counts do not add up")
        return tally


def joined(ranges: Iterable[tuple[int, int]]) -> Ranges:
    """Ranges sorted, those that touch made one; DataError where two overlap.

    >>> joined([(8, 12), (0, 4), (4, 8), (20, 24)])
    ((0, 12), (20, 24))
    """
    found: list[tuple[int, int]] = []
    for start, stop in sorted(ranges):
        if found and start < found[-1][1]:
            raise DataError(f"images {start} to {min(stop, found[-1][1]) - 1} were counted twice")
        if found and start == found[-1][1]:
            found[-1] = (found[-1][0], stop)
        else:
            found.append((start, stop))
    return tuple(found)


def batches_left(count: int, batch_size: int, done: Ranges = ()) -> list[range]:
    """The batches of `count` images that are not `done`; the k-th starts at k * batch_size, whatever is done.

    >>> batches_left(10, 4, ((0, 4), (6, 7)))
    [range(4, 6), range(7, 8), range(8, 10)]
    """
    gaps, at = [], 0
    for start, stop in (*done, (count, count)):
        gaps.append(range(at, min(start, count)))
        at = stop
    pieces = []
    for gap in gaps:
        first = gap.start
        while first < gap.stop:
            behind = min(gap.stop, (first // batch_size + 1) * batch_size)
            pieces.append(range(first, behind))
            first = behind
    return pieces
