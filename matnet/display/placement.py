"""Layered graph drawing, horizontal placement: the x of every box and bend, given the order within each rank.

Consecutive elements form strands, drawn as straight lines: the trunk of a residual network, the branch of an inception
module, a wire through many ranks. Each strand is pulled to the mean of its neighbouring strands; within a rank,
neighbours keep their order and minimum distance.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from matnet.display.layered import BEND_GAP, BOX_GAP, Layers, RankElement

ATTRACTING, SETTLING = 30, 30  # passes that attract and separate strands, then passes that only separate


def across(layers: Layers) -> list[float]:
    """The centre x of every element in pixels, with the minimum distances within each rank."""
    elements = layers.elements
    strands = _strands(layers)
    strand_of = {index: number for number, members in enumerate(strands) for index in members}
    weights = [float(len(strands[strand_of[index]])) for index in range(len(elements))]
    neighbours = _neighbours(elements, strand_of, len(strands))
    middles = [0.0] * len(strands)
    centres = [0.0] * len(elements)
    for turn in range(ATTRACTING + SETTLING):
        if turn < ATTRACTING:
            middles = [
                sum(middles[other] for other in around) / len(around) if around else middle
                for around, middle in zip(neighbours, middles, strict=True)
            ]
        for rank in layers.ranks:
            wanted = [middles[strand_of[index]] for index in rank]
            found = spaced(wanted, _gaps(elements, rank), [weights[index] for index in rank])
            for index, centre in zip(rank, found, strict=True):
                centres[index] = centre
        middles = [
            _pushed(middle, [centres[index] for index in members])
            for middle, members in zip(middles, strands, strict=True)
        ]
    return centres


def _pushed(middle: float, centres: Sequence[float]) -> float:
    """The new middle of a strand: `middle` moved to each side as far as any member was pushed."""
    return middle + max(0.0, max(centres) - middle) + min(0.0, min(centres) - middle)


def _gaps(elements: Sequence[RankElement], rank: Sequence[int]) -> list[float]:
    """The distances between the centres of neighbours in a rank."""
    gaps = []
    for left, right in itertools.pairwise(elements[index] for index in rank):
        room = BEND_GAP if "bend" in (left.kind, right.kind) else BOX_GAP
        gaps.append((left.width + right.width) / 2 + room)
    return gaps


def spaced(
    wanted: Sequence[float],
    gaps: Sequence[float],
    weights: Sequence[float] | None = None,
    low: float = -math.inf,
    high: float = math.inf,
) -> list[float]:
    """The ascending numbers in `low`..`high` with at least `gaps`, nearest to `wanted` in weighted least squares.

    Isotonic regression by pooling adjacent violators, on the numbers less their offsets.

    >>> spaced([0.0, 0.0, 10.0], [4, 4])
    [-2.0, 2.0, 10.0]
    >>> spaced([0.0, 0.0, 10.0], [4, 4], [3, 1, 1])
    [-1.0, 3.0, 10.0]
    """
    offsets = [0.0, *itertools.accumulate(gaps)]
    pools: list[tuple[float, float, int]] = []  # mean of (wanted - offset), weight, members; means must ascend
    for target, offset, weight in zip(wanted, offsets, weights or itertools.repeat(1.0), strict=False):
        mean, count = target - offset, 1
        while pools and pools[-1][0] >= mean:
            other, more, members = pools.pop()
            mean = (mean * weight + other * more) / (weight + more)
            weight, count = weight + more, count + members
        pools.append((mean, weight, count))
    means = [mean for mean, _, count in pools for _ in range(count)]
    return [min(max(mean, low), high - offsets[-1]) + offset for mean, offset in zip(means, offsets, strict=False)]


# -- strands ----------------------------------------------------------------------------------------


def _strands(layers: Layers) -> list[list[int]]:
    """Elements grouped into strands: paths of links that are the first choice of both ends."""
    elements = layers.elements
    follower: dict[int, int] = {}
    for upper, element in enumerate(elements):
        lower = _choice(elements, element, element.below)
        if lower is None or elements[lower].kind == "turn":
            continue
        if _choice(elements, elements[lower], elements[lower].above) == upper:
            follower[upper] = lower
    for rank, following in itertools.pairwise(layers.ranks):
        _drop_crossing(rank, following, follower)
    followed = set(follower.values())
    strands = []
    for first in range(len(elements)):
        if first not in followed:
            strand = [first]
            while strand[-1] in follower:
                strand.append(follower[strand[-1]])
            strands.append(strand)
    return strands


def _choice(elements: Sequence[RankElement], element: RankElement, neighbours: Sequence[int]) -> int | None:
    """The neighbour on a straight line with `element`: the only one, or of two the only one of its kind."""
    if len(neighbours) > 2:
        return None
    alike = [index for index in neighbours if (elements[index].kind == "bend") == (element.kind == "bend")]
    found = neighbours if len(neighbours) == 1 else alike
    return found[0] if len(found) == 1 else None


def _drop_crossing(rank: Sequence[int], following: Sequence[int], follower: dict[int, int]) -> None:
    """Ends the right one of two crossing strands, since crossing strands cannot both be straight."""
    place = {index: position for position, index in enumerate(following)}
    last = -1
    for index in rank:
        if index in follower:
            if place[follower[index]] > last:
                last = place[follower[index]]
            else:
                del follower[index]


def _neighbours(elements: Sequence[RankElement], strand_of: dict[int, int], count: int) -> list[list[int]]:
    """For every strand, the strands linked to it in the same column, once per link."""
    found: list[list[int]] = [[] for _ in range(count)]
    for upper, element in enumerate(elements):
        for lower in element.below:
            ends = strand_of[upper], strand_of[lower]
            if ends[0] != ends[1] and elements[lower].kind != "turn":
                found[ends[0]].append(ends[1])
                found[ends[1]].append(ends[0])
    return found
