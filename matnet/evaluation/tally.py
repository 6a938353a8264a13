"""What an evaluation has counted so far, and the images that are left: adds up the same in any order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from matnet.errors import DataError

Ranges = tuple[tuple[int, int], ...]
"""Sorted, disjoint ranges of image numbers: first, and one past the last."""


class Counts(Protocol):
    """What a task counts: integers, or values per image, so that parts add up to the same in any order.

    images: how many were counted. not_finite: how many of them had scores that are NaN or infinite.
    """

    @property
    def images(self) -> int: ...

    @property
    def not_finite(self) -> int: ...

    def plus(self, other: Any) -> Any:
        """Both together, as a new value."""

    def record(self) -> dict[str, Any]:
        """The counts as plain JSON values."""


@dataclass(frozen=True)
class Tally:
    """The counts over the images in `done`, those that could not be read, and the time that it took.

    A tally is replaced, never changed, so that an interruption always finds a complete one. Seconds are those of the
    whole run, and of the engine alone. ways: which images each way to run the network computed (`Engine.way`). chosen:
    the way for all further images, once one was chosen beside the first batches of the run.
    """

    counts: Any  # Counts
    unreadable: tuple[tuple[int, str], ...] = ()
    done: Ranges = ()
    seconds: float = 0.0
    network_seconds: float = 0.0
    ways: Mapping[str, Ranges] = field(default_factory=dict)
    chosen: str = ""

    @property
    def images(self) -> int:
        """How many images are done, unreadable ones included."""
        return sum(stop - start for start, stop in self.done)

    @property
    def faults(self) -> list[str]:
        """Why images could not be read, in the list's order."""
        return [text for _, text in self.unreadable]

    def plus(self, other: Tally) -> Tally:
        """Both together; DataError if an image would count twice."""
        return Tally(
            counts=self.counts.plus(other.counts),
            unreadable=tuple(sorted((*self.unreadable, *other.unreadable))),
            done=joined((*self.done, *other.done)),
            seconds=self.seconds + other.seconds,
            network_seconds=self.network_seconds + other.network_seconds,
            ways=merged(self.ways, other.ways),
            chosen=other.chosen or self.chosen,
        )

    def with_seconds(self, seconds: float) -> Tally:
        """The same counts, after so many seconds."""
        return replace(self, seconds=seconds)

    def record(self) -> dict[str, Any]:
        """The tally as plain JSON values."""
        return {
            "counts": self.counts.record(),
            "unreadable": self.unreadable,
            "done": self.done,
            "seconds": self.seconds,
            "network_seconds": self.network_seconds,
            "ways": dict(self.ways),
            "chosen": self.chosen,
        }

    @classmethod
    def of_record(cls, record: Any, counts: Callable[[Any], Any]) -> Tally:
        """A tally from what `record` gave, its counts read by `counts`; KeyError, TypeError, ValueError or DataError
        for anything else.
        """
        tally = cls(
            counts=counts(record["counts"]),
            unreadable=tuple((int(index), str(text)) for index, text in record["unreadable"]),
            done=_ranges(record["done"]),
            seconds=_seconds(record["seconds"]),
            network_seconds=_seconds(record["network_seconds"]),
            ways=ways_of_record(record.get("ways", {})),
            chosen=str(record.get("chosen", "")),
        )
        if tally.counts.images + len(tally.unreadable) != tally.images:
            raise ValueError("its counts do not add up")
        return tally


def merged(ways: Mapping[str, Ranges], others: Mapping[str, Ranges]) -> dict[str, Ranges]:
    """Which images each way computed, of both together."""
    return {way: joined((*ways.get(way, ()), *others.get(way, ()))) for way in {**ways, **others}}


def ways_of_record(record: Mapping[str, Any]) -> dict[str, Ranges]:
    """The ranges of each way, as JSON keeps them; ValueError or TypeError for anything else."""
    return {str(way): _ranges(ranges) for way, ranges in record.items()}


def _ranges(record: Any) -> Ranges:
    ranges = [(int(start), int(stop)) for start, stop in record]
    if any(not 0 <= start < stop for start, stop in ranges):
        raise ValueError("a range of images has no image in it")
    return joined(ranges)


def _seconds(record: Any) -> float:
    found = float(record)
    if not 0 <= found < float("inf"):
        raise ValueError(f"{found} are no seconds")
    return found


def described(ways: Mapping[str, Ranges]) -> str:
    """Which images each way computed, in words, counted from 1; one way alone is its name.

    >>> described({"onnxruntime": ((0, 96),), "openvino": ((96, 500), (532, 600))})
    'onnxruntime (images 1 to 96), openvino (97 to 500, 533 to 600)'
    """
    if len(ways) < 2:
        return next(iter(ways), "")
    spans = {way: ", ".join(f"{start + 1} to {stop}" for start, stop in ranges) for way, ranges in ways.items()}
    first, *others = sorted(ways, key=lambda way: ways[way])
    return ", ".join([f"{first} (images {spans[first]})", *(f"{way} ({spans[way]})" for way in others)])


def joined(ranges: Iterable[tuple[int, int]]) -> Ranges:
    """Ranges sorted, those that touch made one; DataError if two overlap.

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
