"""Place names beside the points of a plot, without covering each other or a point."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import cos, hypot, pi, sin
from typing import Any, NamedTuple

MARK = 5.0  # margin in pixels around points and between names
DISTANCES = (9, 16, 26, 38, 52, 68, 86, 106, 130)  # pixels from a point to the start of its name
DIRECTIONS = 16
LEADER = 14.0  # a name farther away gets a line to its point
ASTRAY = 40.0  # the cost, in covered pixels, if another point is nearer to a name than its own


Place = tuple[float, float]


class LabelBox(NamedTuple):
    """A rectangle on the canvas, in pixels."""

    left: float
    bottom: float
    right: float
    top: float

    def overlap(self, other: LabelBox) -> float:
        """The area of the intersection."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.top, other.top) - max(self.bottom, other.bottom)
        return width * height if width > 0 and height > 0 else 0.0


def place_labels(axes: Any, points: Sequence[tuple[float, float, str]], size: float = 8.0) -> None:
    """Write the name of each point (x, y, name) near it, the most crowded points first. Set the limits before."""
    drawn = axes.figure
    drawn.draw_without_rendering()
    renderer = drawn.canvas.get_renderer()
    frame = LabelBox(*axes.get_window_extent(renderer).extents)
    centres: list[Place] = [tuple(axes.transData.transform((x, y))) for x, y, _ in points]
    taken = [LabelBox(x - MARK, y - MARK, x + MARK, y + MARK) for x, y in centres]
    legend = axes.get_legend()
    if legend is not None:
        taken.append(LabelBox(*legend.get_window_extent(renderer).extents))
    for index in sorted(range(len(points)), key=lambda place: -_crowd(centres, place)):
        text = axes.text(0, 0, points[index][2], fontsize=size, va="center", ha="center", zorder=4)
        extent = text.get_window_extent(renderer)
        others = [centre for place, centre in enumerate(centres) if place != index]
        box, astray = best_place(centres[index], (extent.width, extent.height), frame, taken, others)
        taken.append(box)
        middle = (box.left + box.right) / 2, (box.bottom + box.top) / 2
        text.set_position(axes.transData.inverted().transform(middle))
        if astray or distance(centres[index], box) > LEADER:
            _leader(axes, centres[index], box)


def best_place(
    centre: Place, size: Place, frame: LabelBox, taken: Sequence[LabelBox], others: Sequence[Place] = ()
) -> tuple[LabelBox, bool]:
    """The nearest box of `size` to a point that lies in the frame and covers nothing, or the least.

    Boxes at least as near to one of `others` come last; the second value is whether such a box was chosen.
    """
    best, least, astray = None, float("inf"), False
    for box in _candidates(centre, size):
        inside = box.left >= frame.left and box.right <= frame.right
        if not inside or box.bottom < frame.bottom or box.top > frame.top:
            continue
        own = distance(centre, box)
        nearer = sum(distance(other, box) <= own for other in others)
        cost = sum(box.overlap(other) for other in taken) + ASTRAY * nearer
        if cost < least:
            best, least, astray = box, cost, nearer > 0
        if not cost:
            break
    return (best, astray) if best is not None else (next(_candidates(centre, size)), False)


def distance(point: Place, box: LabelBox) -> float:
    """The distance from a point to a box; 0 inside."""
    near = _nearest(point, box)
    return hypot(near[0] - point[0], near[1] - point[1])


def _nearest(point: Place, box: LabelBox) -> Place:
    return min(max(point[0], box.left), box.right), min(max(point[1], box.bottom), box.top)


def _candidates(centre: Place, size: Place) -> Iterator[LabelBox]:
    width, height = size
    for gap in DISTANCES:
        for turn in range(DIRECTIONS):
            angle = 2 * pi * turn / DIRECTIONS
            x = centre[0] + cos(angle) * (gap + width / 2)
            y = centre[1] + sin(angle) * (gap + height / 2)
            yield LabelBox(x - width / 2, y - height / 2, x + width / 2, y + height / 2)


def _crowd(centres: Sequence[Place], index: int) -> int:
    """How many other points are near this one."""
    x, y = centres[index]
    return sum(hypot(x - a, y - b) < 100 for a, b in centres) - 1


def _leader(axes: Any, centre: Place, box: LabelBox) -> None:
    """A thin line from a name to its point."""
    ends = axes.transData.inverted().transform([centre, _nearest(centre, box)])
    axes.plot(ends[:, 0], ends[:, 1], color="#b4b4b4", linewidth=0.6, zorder=1)
