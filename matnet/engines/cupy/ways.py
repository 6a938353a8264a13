"""Ways to compute a convolution with cuDNN; the engine times them and uses the fastest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from matnet.engines.cupy.graphs import BIAS, FILTERS, OTHER, X, Y
from matnet.engines.cupy.lower import without_fusing
from matnet.engines.cupy.steps import ITEM_BYTES, ConvGraph, strides_of
from matnet.engines.cupy.views import Array, address

FEW_GROUPS = 4  # maximum number of groups to try separately, and as one dense convolution
ALIGNMENT = 16  # bytes, assumed by cuDNN for every tensor


@dataclass(frozen=True)
class Part:
    """One graph of a way, which reads channels of x from `x` on, and applies filters from `filters` on."""

    graph: ConvGraph
    x: int = 0
    filters: int = 0

    def addresses(self, reads: Sequence[Array], weights: Sequence[Array], y: Array) -> dict[int, int]:
        """The buffers by uid. weights: filters and optional bias."""
        found = {
            X: _moved(reads[0], self.x),
            FILTERS: _moved(weights[0], self.filters * (weights[0].size // len(weights[0]))),
            Y: _moved(y, self.filters),
        }
        if self.graph.bias:
            found[BIAS] = _moved(weights[1], self.filters)
        if self.graph.residual is not None:
            found[OTHER] = _moved(reads[1], self.filters)
        return found


def _moved(array: Array, numbers: int) -> int:
    return address(array) + numbers * int(array.dtype.itemsize)


@dataclass(frozen=True)
class Way:
    """Graphs that together compute a convolution, and the layout of its filters (a function of `weights`)."""

    parts: tuple[Part, ...]
    weights: str = "filters_and_bias"

    @property
    def channels(self) -> int:
        """Channels of x as read by the graphs."""
        return self.parts[0].graph.x[1]


def ways_of(graph: ConvGraph) -> dict[str, Way]:
    """The ways by name, the most likely first.

    An image with a spare channel may be read with this channel set to zero. A few groups may be computed separately, or
    as one convolution with filters that are zero outside their group.
    """
    if graph.transposed:
        return {"as it is": Way((Part(without_fusing(graph)[0]),))}
    depth, room = graph.x[1], graph.x_strides[3]
    if room == depth + 1:
        _, _, h, w = graph.filters
        packed = replace(graph, x_strides=strides_of(graph.x))
        wider = replace(graph, x=(graph.x[0], room, *graph.x[2:]), filters=(graph.filters[0], room, h, w))
        found = {"as it is": Way((Part(packed),)), "with a channel of zeros": Way((Part(wider),), "with_channel")}
        return found if graph.precision == "fp32" else dict(reversed(found.items()))
    found = {"as it is": Way((Part(graph),))}
    if 1 < graph.groups <= FEW_GROUPS:
        found.update(_by_groups(graph))
        dense = replace(graph, filters=(graph.filters[0], depth, *graph.filters[2:]))
        found["with filters of zeros between groups"] = Way((Part(dense),), "block_diagonal")
    return found


def _by_groups(graph: ConvGraph) -> dict[str, Way]:
    """Each group separately, if all are aligned."""
    groups, item = graph.groups, ITEM_BYTES["float16" if graph.precision == "fp16" else "float32"]
    depth, count = graph.filters[1], graph.filters[0] // groups
    if depth * item % ALIGNMENT or count * item % ALIGNMENT:
        return {}
    one = replace(
        graph,
        x=(graph.x[0], depth, *graph.x[2:]),
        filters=(count, *graph.filters[1:]),
        y=(graph.y[0], count, *graph.y[2:]),
    )
    return {"group by group": Way(tuple(Part(one, group * depth, group * count) for group in range(groups)))}
