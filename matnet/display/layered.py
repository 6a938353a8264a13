"""Layered graph drawing, combinatorial part: ranks, column breaks, bends of long wires, order within a rank.

After Sugiyama, Tagawa and Toda (1981): longest-path ranks, one bend per rank that a wire passes, barycentre sweeps to
reduce crossings. A wire is one variable. Its readers share bends, so it is drawn once and branches.
"""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

RANK_GAP = 42.0  # between the bottom of one rank and the top of the next; holds a line of text
BOX_GAP, BEND_GAP = 26.0, 14.0  # between neighbours in a rank
BEND_WIDTH = 4.0
WRAP_FROM = 800.0  # drawings of less height have one column
WIDTH_TO_HEIGHT = 1.5  # target for drawings wrapped into columns
SWEEPS = 12


@dataclass(frozen=True)
class DrawnBox:
    """A node to draw, in pixels."""

    width: float
    height: float


@dataclass(frozen=True)
class Wire:
    """A connection from one box to one or more others, by index into the boxes."""

    source: int
    targets: tuple[int, ...]


@dataclass
class RankElement:
    """An element of a rank: a box, the bend of a wire through the rank, or the turn of a wire into a new column."""

    rank: int
    width: float
    height: float
    kind: str = "box"  # box, bend or turn
    above: list[int] = field(default_factory=list)  # neighbours in the adjacent ranks, by element index
    below: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Link:
    """A piece of a wire between two elements in adjacent ranks."""

    wire: int
    upper: int
    lower: int


@dataclass
class Layers:
    """Elements (boxes first, in their order), their order in every rank, links, and the first rank of each column."""

    elements: list[RankElement]
    ranks: list[list[int]]
    links: list[Link]
    column_starts: list[int]


def layered(boxes: Sequence[DrawnBox], wires: Sequence[Wire]) -> Layers:
    """Boxes and wires in ranks; the wires must be acyclic."""
    ranks = _tightened(_longest_paths(len(boxes), wires), wires)
    breaks = _column_breaks(boxes, wires, ranks)
    # The wire that crosses a break gets its own rank at the top of the new column and branches from there.
    moved = [rank + bisect.bisect_left(breaks, rank) for rank in ranks]
    starts = [boundary + 1 + index for index, boundary in enumerate(breaks)]
    elements = [RankElement(rank, box.width, box.height) for box, rank in zip(boxes, moved, strict=True)]
    links = _links(elements, wires, set(starts))
    by_rank: list[list[int]] = [[] for _ in range(1 + max((element.rank for element in elements), default=-1))]
    for index in _depth_first(elements):
        by_rank[elements[index].rank].append(index)
    return Layers(elements, _fewest_crossings(elements, by_rank), links, [0, *starts])


# -- ranks ------------------------------------------------------------------------------------------


def _longest_paths(count: int, wires: Sequence[Wire]) -> list[int]:
    """Ranks with each box one rank below the lowest box that it reads."""
    readers: list[list[int]] = [[] for _ in range(count)]
    waiting = [0] * count
    for wire in wires:
        for target in wire.targets:
            readers[wire.source].append(target)
            waiting[target] += 1
    ranks = [0] * count
    ready = [box for box in range(count) if not waiting[box]]
    for box in ready:
        for target in readers[box]:
            ranks[target] = max(ranks[target], ranks[box] + 1)
            waiting[target] -= 1
            if not waiting[target]:
                ready.append(target)
    return ranks


def _tightened(ranks: list[int], wires: Sequence[Wire]) -> list[int]:
    """Ranks with inputs and boxes of a single reader moved down to that reader; no wire becomes longer."""
    readers: dict[int, set[int]] = {}
    sources: dict[int, set[int]] = {}
    for wire in wires:
        readers.setdefault(wire.source, set()).update(wire.targets)
        for target in wire.targets:
            sources.setdefault(target, set()).add(wire.source)
    order = sorted(range(len(ranks)), key=ranks.__getitem__)
    private = [False] * len(ranks)
    for box in order:
        private[box] = all(private[above] and len(readers[above]) == 1 for above in sources.get(box, ()))
    tight = list(ranks)
    for box in reversed(order):
        if private[box] and box in readers:
            tight[box] = min(tight[reader] for reader in readers[box]) - 1
    return tight


def _column_breaks(boxes: Sequence[DrawnBox], wires: Sequence[Wire], ranks: Sequence[int]) -> list[int]:
    """Ranks followed by a new column; only a single wire may cross a break."""
    count = 1 + max(ranks, default=-1)
    heights, widths = [0.0] * count, [0.0] * count
    for box, rank in zip(boxes, ranks, strict=True):
        heights[rank] = max(heights[rank], box.height)
        widths[rank] += box.width + BOX_GAP
    crossing = [0] * (count + 1)
    for wire in wires:
        for boundary in range(ranks[wire.source], max((ranks[target] for target in wire.targets), default=0)):
            crossing[boundary] += 1
            widths[boundary] += BEND_GAP
    bottoms, bottom = [], 0.0
    for height in heights:
        bottom += height + RANK_GAP
        bottoms.append(bottom)
    if bottom < WRAP_FROM:
        return []
    columns = round(math.sqrt(WIDTH_TO_HEIGHT * bottom / max(widths)))
    allowed = [boundary for boundary in range(1, count - 2) if crossing[boundary] == 1]
    found = set()
    for column in range(1, columns):
        wanted = bottom * column / columns
        place = bisect.bisect_left(allowed, wanted, key=bottoms.__getitem__)
        nearest = min(allowed[max(place - 1, 0) : place + 1], key=lambda at: abs(bottoms[at] - wanted), default=None)
        if nearest is not None and abs(bottoms[nearest] - wanted) < 0.3 * bottom / columns:
            found.add(nearest)
    return sorted(found)


# -- bends and order --------------------------------------------------------------------------------


def _links(elements: list[RankElement], wires: Sequence[Wire], turns: set[int]) -> list[Link]:
    """The links of all wires; appends one bend per passed rank to `elements` (a turn in the ranks `turns`)."""
    links = []
    for index, wire in enumerate(wires):
        upper = wire.source
        by_rank: dict[int, list[int]] = {}
        for target in dict.fromkeys(wire.targets):
            by_rank.setdefault(elements[target].rank, []).append(target)
        for rank in range(elements[wire.source].rank + 1, max(by_rank, default=0) + 1):
            links += [Link(index, upper, target) for target in by_rank.get(rank, ())]
            if rank < max(by_rank):
                elements.append(RankElement(rank, BEND_WIDTH, 0.0, "turn" if rank in turns else "bend"))
                links.append(Link(index, upper, len(elements) - 1))
                upper = len(elements) - 1
    for link in links:
        elements[link.upper].below.append(link.lower)
        elements[link.lower].above.append(link.upper)
    return links


def _depth_first(elements: Sequence[RankElement]) -> list[int]:
    """All elements in depth-first order: an initial order with few crossings."""
    order: dict[int, None] = {}
    roots = [index for index, element in enumerate(elements) if not element.above]
    stack = roots[::-1]
    while stack:
        index = stack.pop()
        if index not in order:
            order[index] = None
            stack.extend(reversed(elements[index].below))
    return list(order)


def _fewest_crossings(elements: Sequence[RankElement], ranks: list[list[int]]) -> list[list[int]]:
    """The order with the fewest crossings found by alternating barycentre sweeps down and up."""
    best, fewest = [list(rank) for rank in ranks], _crossings(elements, ranks)
    for sweep in range(SWEEPS):
        if not fewest:
            break
        down = sweep % 2 == 0
        for rank in ranks if down else ranks[::-1]:
            _sort_by_neighbours(elements, ranks, rank, down)
        found = _crossings(elements, ranks)
        if found < fewest:
            best, fewest = [list(rank) for rank in ranks], found
    return best


def _sort_by_neighbours(elements: Sequence[RankElement], ranks: list[list[int]], rank: list[int], down: bool) -> None:
    if not rank:
        return
    beside = elements[rank[0]].rank + (-1 if down else 1)
    if not 0 <= beside < len(ranks):
        return
    place = {index: position for position, index in enumerate(ranks[beside])}
    keys = {}
    for position, index in enumerate(rank):
        neighbours = elements[index].above if down else elements[index].below
        keys[index] = sum(place[n] for n in neighbours) / len(neighbours) if neighbours else float(position)
    rank.sort(key=keys.__getitem__)


def _crossings(elements: Sequence[RankElement], ranks: Sequence[Sequence[int]]) -> int:
    """The number of crossing pairs: inversions of the lower ends, with links sorted by their upper ends."""
    total = 0
    for upper, lower in itertools.pairwise(ranks):
        place = {index: position for position, index in enumerate(lower)}
        ends = [place[below] for index in upper for below in sorted(elements[index].below, key=place.__getitem__)]
        passed: list[int] = []
        for end in ends:
            total += len(passed) - bisect.bisect_right(passed, end)
            bisect.insort(passed, end)
    return total
