"""The counts of an evaluation so far, and the images left; sums do not depend on the order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from matnet.errors import DataError

Ranges = tuple[tuple[int, int], ...]
"""Sorted, disjoint, half-open ranges of image numbers."""


class Counts(Protocol):
    """The counts of a task: integers, or values per image, so that sums do not depend on the order.

    images: how many were counted. not_finite: how many of them had NaN or infinite scores.
    """

    @property
    def images(self) -> int: ...

    @property
    def not_finite(self) -> int: ...

    def plus(self, other: Any) -> Any:
        """The sum, as a new object."""

    def record(self) -> dict[str, Any]:
        """The counts as plain JSON values."""


@dataclass(frozen=True)
class Tally:
    """The counts over the images in `done`, the unreadable images, and the time.

    A tally is immutable, so that an interrupted run always has a complete one. seconds: of the whole run;
    network_seconds: of the engine. ways: `Engine.way` -> images computed that way. chosen: the way for all later
    images, once the engine has chosen it.
    """

    counts: Counts
    unreadable: tuple[tuple[int, str], ...] = ()
    done: Ranges = ()
    seconds: float = 0.0
    network_seconds: float = 0.0
    ways: Mapping[str, Ranges] = field(default_factory=dict)
    chosen: str = ""

    @property
    def images(self) -> int:
        """The number of images done, including unreadable ones."""
        return sum(stop - start for start, stop in self.done)

    @property
    def faults(self) -> list[str]:
        """The errors of unreadable images, in the list's order."""
        return [text for _, text in self.unreadable]

    def plus(self, other: Tally) -> Tally:
        """The sum. Raises DataError if an image would count twice."""
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
        """The same tally with another number of seconds."""
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
        """The tally of a `record`; `counts` reads its counts.

        Raises KeyError, TypeError, ValueError or DataError for anything else.
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
    """The union of the images that each way computed."""
    return {way: joined((*ways.get(way, ()), *others.get(way, ()))) for way in {**ways, **others}}


def ways_of_record(record: Mapping[str, Any]) -> dict[str, Ranges]:
    """The ranges of each way from JSON. Raises ValueError or TypeError for anything else."""
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
    """The images that each way computed, as text, counted from 1; a single way is just its name.

    >>> described({"onnxruntime": ((0, 96),), "openvino": ((96, 500), (532, 600))})
    'onnxruntime (images 1 to 96), openvino (97 to 500, 533 to 600)'
    """
    if len(ways) < 2:
        return next(iter(ways), "")
    spans = {way: ", ".join(f"{start + 1} to {stop}" for start, stop in ranges) for way, ranges in ways.items()}
    first, *others = sorted(ways, key=lambda way: ways[way])
    return ", ".join([f"{first} (images {spans[first]})", *(f"{way} ({spans[way]})" for way in others)])


def joined(ranges: Iterable[tuple[int, int]]) -> Ranges:
    """Sorted ranges, with adjacent ones merged. Raises DataError if two overlap.

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
    """The batches of the images that are not `done`; a batch never crosses a multiple of batch_size.

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
