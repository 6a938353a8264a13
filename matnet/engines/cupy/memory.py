"""Static placement of buffers in one arena, by their lifetimes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

ALIGNMENT = 256  # bytes, as cudaMalloc and the widest loads of tensor cores


class Buffer(NamedTuple):
    """A buffer of `size` bytes, in use from step `first` to step `last` (inclusive)."""

    size: int
    first: int
    last: int

    def meets(self, other: Buffer) -> bool:
        """Whether both are in use at some step."""
        return self.first <= other.last and other.first <= self.last


@dataclass(frozen=True)
class Arena:
    """The offset of each buffer, and the total size in bytes."""

    offsets: Mapping[str, int]
    size: int


def place_buffers(buffers: Mapping[str, Buffer]) -> Arena:
    """Place buffers so that buffers in use at the same step do not overlap.

    In order of time, buffers alternately get the lowest and the highest free offset below the peak memory of any step;
    a buffer that does not fit there gets the lowest free offset above. This is optimal for a chain of layers (the
    largest sum of two neighbours), and for the six networks of the benchmark.
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
    """The lowest sufficient gap between the occupied ranges (begin, end)."""
    place = 0
    for begin, end in taken:
        if begin - place >= size:
            break
        place = max(place, end)
    return place


def _highest(size: int, taken: Sequence[tuple[int, int]], room: int) -> int:
    """The highest sufficient gap below `room`, or else the lowest one anywhere."""
    end = room
    for begin, stop in sorted(taken, key=lambda span: -span[1]):
        if end - stop >= size:
            break
        end = min(end, begin)
    return end - size if end >= size else _lowest(size, taken)
