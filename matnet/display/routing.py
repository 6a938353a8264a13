"""Layered graph drawing, vertical placement: ranks stacked into columns, and the paths of wires around boxes."""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import dataclass

from matnet.display.layered import RANK_GAP, DrawnBox, Layers, Link, Wire, layered
from matnet.display.placement import across, spaced

STUB = 16.0  # straight length of a wire below a rank, beside its label, before it bends
GUTTER = 64.0  # between columns; the wire to the next column runs up its middle
LANE = 18.0  # distance of that wire's horizontal parts above and below the boxes
CORNER = 8.0
PORTS_WITHIN, PORT_GAP = 0.8, 14.0  # fraction of a box's width where wires arrive, and their distance


@dataclass(frozen=True)
class Place:
    """The upper left corner and size of a box, in pixels."""

    left: float
    top: float
    width: float
    height: float

    @property
    def bottom(self) -> float:
        """The y of the lower edge."""
        return self.top + self.height


@dataclass(frozen=True)
class Route:
    """A piece of a wire as SVG path data; `ends`: whether it arrives at a box."""

    wire: int
    path: str
    ends: bool


@dataclass(frozen=True)
class Layout:
    """Places in the order of the boxes, routes, the start point of each wire, and the size of the drawing."""

    places: tuple[Place, ...]
    routes: tuple[Route, ...]
    starts: tuple[tuple[float, float], ...]
    width: float
    height: float


def draw(boxes: Sequence[DrawnBox], wires: Sequence[Wire]) -> Layout:
    """A layered drawing from top to bottom, wrapped into columns if it is long; no two boxes overlap."""
    layers = layered(boxes, wires)
    geometry = _Geometry(layers, across(layers))
    places = tuple(geometry.place(index) for index in range(len(boxes)))
    routes = tuple(geometry.route(link) for link in layers.links)
    starts = tuple(geometry.start(number, wire.source) for number, wire in enumerate(wires))
    return Layout(places, routes, starts, geometry.width, geometry.height)


class _Geometry:
    """Ranks stacked into columns, columns side by side, and the routes of links between them."""

    def __init__(self, layers: Layers, centres: Sequence[float]) -> None:
        self.elements = layers.elements
        self.turns = set(layers.column_starts[1:])  # ranks with only the wire from the previous column
        self.column = [bisect.bisect_right(layers.column_starts, rank) - 1 for rank in range(len(layers.ranks))]
        self.tops, self.bottoms = self._stack(layers)
        self.floors = [0.0] * (len(layers.column_starts) if layers.ranks else 0)
        for bottom, column in zip(self.bottoms, self.column, strict=True):
            self.floors[column] = max(self.floors[column], bottom)
        self.centres, self.gutters = self._side_by_side(layers, centres)
        self.ports = _ports(layers, self.centres)
        self.width = self.gutters[-1] - GUTTER / 2 if self.gutters else 0.0
        self.height = max([*self.floors, *(floor + LANE for floor in self.floors[:-1])], default=0.0)

    def _stack(self, layers: Layers) -> tuple[list[float], list[float]]:
        """Top and bottom of every rank; columns start at the top, below the lane if there are several."""
        ceiling = LANE if self.turns else 0.0
        tops: list[float] = []
        bottoms: list[float] = []
        for number, rank in enumerate(layers.ranks):
            tops.append(ceiling if number == 0 or number in self.turns else bottoms[-1] + RANK_GAP)
            bottoms.append(tops[-1] + max((self.elements[index].height for index in rank), default=0.0))
        return tops, bottoms

    def _side_by_side(self, layers: Layers, centres: Sequence[float]) -> tuple[list[float], list[float]]:
        """The centres with every column shifted to its place, and the x of the gutter right of each column."""
        shifted, gutters, x = list(centres), [], 0.0
        columns: list[list[int]] = [[] for _ in self.floors]
        for rank, column in zip(layers.ranks, self.column, strict=True):
            columns[column] += rank
        for inside in columns:
            left = min(centres[index] - self.elements[index].width / 2 for index in inside)
            right = max(centres[index] + self.elements[index].width / 2 for index in inside)
            for index in inside:
                shifted[index] = centres[index] + x - left
            x += right - left + GUTTER
            gutters.append(x - GUTTER / 2)
        return shifted, gutters

    def place(self, index: int) -> Place:
        """The place of a box."""
        element = self.elements[index]
        return Place(self.centres[index] - element.width / 2, self.tops[element.rank], element.width, element.height)

    def start(self, wire: int, index: int) -> tuple[float, float]:
        """The point where a wire leaves an element: the bottom of a box, or of a bend's rank."""
        element = self.elements[index]
        if element.kind != "box":
            return self.centres[index], self.bottoms[element.rank]
        return self.ports.below[wire, index], self.tops[element.rank] + element.height

    def route(self, link: Link) -> Route:
        """A link as a path that bends only between the ranks, clear of boxes and labels."""
        upper, lower = self.elements[link.upper], self.elements[link.lower]
        x0, y0 = self.start(link.wire, link.upper)
        x1 = self.centres[link.lower] if lower.kind != "box" else self.ports.above[link.wire, link.lower]
        y1 = self.tops[lower.rank]
        if lower.rank in self.turns:
            path = self._around(x0, x1, y1, self.column[upper.rank])
        elif abs(x0 - x1) < 0.5:
            path = f"V{_n(y1)}"
        else:
            bend = self.bottoms[upper.rank] + (STUB if self.bottoms[upper.rank] > self.tops[upper.rank] else 0.0)
            middle = (bend + y1) / 2
            path = f"V{_n(bend)}C{_n(x0)} {_n(middle)} {_n(x1)} {_n(middle)} {_n(x1)} {_n(y1)}"
        if lower.kind != "box" and self.bottoms[lower.rank] > y1:
            path += f"V{_n(self.bottoms[lower.rank])}"
        return Route(link.wire, f"M{_n(x0)} {_n(y0)}{path}", lower.kind == "box")

    def _around(self, x0: float, x1: float, y1: float, column: int) -> str:
        """A path to the next column: below this column's boxes, up the gutter, above the next column's boxes, down."""
        low, high, gutter, r = self.floors[column] + LANE, y1 - LANE, self.gutters[column], CORNER
        return (
            f"V{_n(low - r)}q0 {_n(r)} {_n(r)} {_n(r)}H{_n(gutter - r)}q{_n(r)} 0 {_n(r)} {_n(-r)}"
            f"V{_n(high + r)}q0 {_n(-r)} {_n(r)} {_n(-r)}H{_n(x1 - r)}q{_n(r)} 0 {_n(r)} {_n(r)}V{_n(y1)}"
        )


@dataclass(frozen=True)
class _Ports:
    """The x where a wire meets a box, by wire and element, on the upper and the lower side."""

    above: dict[tuple[int, int], float]
    below: dict[tuple[int, int], float]


def _ports(layers: Layers, centres: Sequence[float]) -> _Ports:
    """Arriving wires are as straight as possible; leaving wires are spread to leave room for their labels."""
    arriving: dict[int, dict[int, float]] = {}
    leaving: dict[int, dict[int, list[float]]] = {}
    for link in layers.links:
        if layers.elements[link.lower].kind == "box":
            arriving.setdefault(link.lower, {})[link.wire] = centres[link.upper]
        if layers.elements[link.upper].kind == "box":
            leaving.setdefault(link.upper, {}).setdefault(link.wire, []).append(centres[link.lower])
    ports = _Ports({}, {})
    for index, ends in arriving.items():
        ordered = sorted(ends, key=ends.__getitem__)
        wanted = [ends[wire] for wire in ordered]
        if len(ends) == 1 and abs(wanted[0] - centres[index]) > PORT_GAP:
            wanted = [centres[index]]  # a single wire arrives at the middle, unless a small shift makes it straight
        room = layers.elements[index].width * PORTS_WITHIN
        gaps = [min(PORT_GAP, room / len(ends))] * (len(ends) - 1)
        found = spaced(wanted, gaps, low=centres[index] - room / 2, high=centres[index] + room / 2)
        ports.above.update(((wire, index), x) for wire, x in zip(ordered, found, strict=True))
    for index, branches in leaving.items():
        ordered = sorted(branches, key=lambda wire: sum(branches[wire]) / len(branches[wire]))
        step = layers.elements[index].width / len(ordered)
        first = centres[index] - step * (len(ordered) - 1) / 2
        ports.below.update(((wire, index), first + step * place) for place, wire in enumerate(ordered))
    return ports


def _n(value: float) -> str:
    """A coordinate with one decimal at most."""
    return f"{value:.1f}".removesuffix(".0")
