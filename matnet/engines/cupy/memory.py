"""The place of each buffer in one piece of memory, from when it is in use, before anything runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

ALIGNMENT = 256  # bytes; what cudaMalloc gives, and what tensor cores' widest loads want


class Buffer(NamedTuple):
    """So many bytes, in use from step `first` to step `last`, both included."""

    size: int
    first: int
    last: int

    def meets(self, other: Buffer) -> bool:
        """Whether both are in use at some step."""
        return self.first <= other.last and other.first <= self.last


@dataclass(frozen=True)
class Arena:
    """Where each buffer begins, and how many bytes all of them take."""

    offsets: Mapping[str, int]
    size: int


def place_buffers(buffers: Mapping[str, Buffer]) -> Arena:
    """Offsets at which no two buffers overlap that are in use at the same step.

    In order of time, by turns at the lowest and the highest place below the most bytes that are in use at one step;
    a buffer that does not fit there goes to the lowest place, above that mark. For a chain of layers that is as
    small as can be, the largest sum of two neighbours, and so it is for the six networks of the benchmark.
    """
    padded = {name: buffer._replace(size=_aligned(buffer.size)) for name, buffer in buffers.items()}
    steps = {buffer.first for buffer in padded.values()}
    room = max((sum(b.size for b in padded.values() if b.first <= step <= b.last) for step in steps), default=0)
    offsets: dict[str, int] = {}
    from_above = False
    for name in sorted(padded, key=lambda name: (padded[name].first, -padded[name].size, name)):
        buffer = padded[name]
        taken = sorted(
            (offsets[other], offsets[other] + padded[other].size) for other in offsets if padded[other].meets(buffer)
        )
        offsets[name] = _highest(buffer.size, taken, room) if from_above else _lowest(buffer.size, taken)
        from_above = not from_above
    return Arena(offsets, max((offsets[name] + padded[name].size for name in offsets), default=0))


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def _lowest(size: int, taken: Sequence[tuple[int, int]]) -> int:
    """The lowest gap that is large enough, between the (begin, end) of what is in the way."""
    place = 0
    for begin, end in taken:
        if begin - place >= size:
            break
        place = max(place, end)
    return place


def _highest(size: int, taken: Sequence[tuple[int, int]], room: int) -> int:
    """The highest gap below `room` that is large enough; the lowest anywhere where there is none."""
    end = room
    for begin, stop in sorted(taken, key=lambda span: -span[1]):
        if end - stop >= size:
            break
        end = min(end, begin)
    return end - size if end >= size else _lowest(size, taken)
