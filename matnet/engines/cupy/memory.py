"""Memory planned before anything runs: buffers, and when each is in use, become offsets in one piece of memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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


def plan_memory(buffers: Mapping[str, Buffer]) -> Arena:
    """Offsets at which no two buffers overlap that are in use at the same step; the best of three ways to place them.

    Largest first, in order of time, and from both ends by turns, which for a chain of layers is as small as can
    be: the largest sum of two neighbours.
    """
    padded = {name: buffer._replace(size=_aligned(buffer.size)) for name, buffer in buffers.items()}
    by_size = sorted(padded, key=lambda name: (-padded[name].size, padded[name].first, name))
    by_time = sorted(padded, key=lambda name: (padded[name].first, -padded[name].size, name))
    arenas = [_placed(padded, order, _lowest) for order in (by_size, by_time)]
    arenas.append(_from_both_ends(padded, by_time))
    return min(arenas, key=lambda arena: arena.size)


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


Chooser = Callable[[int, Sequence[tuple[int, int]]], int]


def _placed(buffers: Mapping[str, Buffer], order: Sequence[str], choose: Chooser) -> Arena:
    """Each buffer in turn where `choose` says, given its size and the (begin, end) of all that are in its way."""
    offsets: dict[str, int] = {}
    for name in order:
        taken = sorted(
            (offsets[other], offsets[other] + buffers[other].size)
            for other in offsets
            if buffers[other].meets(buffers[name])
        )
        offsets[name] = choose(buffers[name].size, taken)
    size = max((offsets[name] + buffers[name].size for name in offsets), default=0)
    return Arena(offsets, size)


def _lowest(size: int, taken: Sequence[tuple[int, int]]) -> int:
    """The lowest gap that is large enough."""
    place = 0
    for begin, end in taken:
        if begin - place >= size:
            break
        place = max(place, end)
    return place


def _from_both_ends(buffers: Mapping[str, Buffer], order: Sequence[str]) -> Arena:
    """By turns at the lowest and the highest place below the most bytes that are in use at one step.

    Where one does not fit there, it goes to the lowest place, above that mark.
    """
    steps = {buffer.first for buffer in buffers.values()}
    room = max((sum(b.size for b in buffers.values() if b.first <= step <= b.last) for step in steps), default=0)
    from_above = False

    def choose(size: int, taken: Sequence[tuple[int, int]]) -> int:
        nonlocal from_above
        from_above = not from_above
        return _highest(size, taken, room) if from_above else _lowest(size, taken)

    return _placed(buffers, order, choose)


def _highest(size: int, taken: Sequence[tuple[int, int]], room: int) -> int:
    """The highest gap below `room` that is large enough; the lowest anywhere where there is none."""
    end = room
    for begin, stop in sorted(taken, key=lambda span: -span[1]):
        if end - stop >= size:
            break
        end = min(end, begin)
    return end - size if end >= size else _lowest(size, taken)
