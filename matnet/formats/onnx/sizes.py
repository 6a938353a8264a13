"""Which axes of a network's variables may change from call to call, found by inferring shapes for other inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matnet.errors import MatnetError
from matnet.network import Network
from matnet.shapes import Shape

BATCH_FACTOR = 7
# Other inputs to try, as factors and terms of height and width: ratios survive the first (pixel shuffles, branches of
# several resolutions), remainders the second. Both are large, so that a map with pixels far apart changes its size too.
OTHER_SIZES = (((16, 0), (24, 0)), ((1, 1024), (1, 2048)))

Axes = tuple[int | None, ...]  # a shape in which None is an axis of unknown length


@dataclass(frozen=True)
class DynamicAxes:
    """What an exported model leaves open: the batch, and the height and width of its inputs."""

    batch: bool = True
    size: bool = True


def _other(shape: Shape, dynamic: DynamicAxes, rule: tuple[tuple[int, int], tuple[int, int]]) -> Shape:
    """Another shape of the same input, as far as it is free; a single pixel, a vector, stays one."""
    n, c, h, w = shape
    if dynamic.batch:
        n *= BATCH_FACTOR
    if dynamic.size and (h, w) != (1, 1):
        (h_factor, h_term), (w_factor, w_term) = rule
        h, w = h * h_factor + h_term, w * w_factor + w_term
    return n, c, h, w


def variable_axes(
    net: Network, inputs: Mapping[str, Shape], wanted: Sequence[str], dynamic: DynamicAxes
) -> dict[str, Axes] | None:
    """Every variable's shape with None for the axes that follow the free ones of the inputs.

    None where the network does not run on inputs of another size. Raises ShapeError where it does not run
    on `inputs` themselves.
    """
    shapes = net.infer_shapes(inputs, wanted)
    for rule in OTHER_SIZES:
        try:
            others = net.infer_shapes({name: _other(s, dynamic, rule) for name, s in inputs.items()}, wanted)
        except MatnetError:
            continue
        return {
            name: tuple(a if a == b else None for a, b in zip(shape, others[name], strict=True))
            for name, shape in shapes.items()
        }
    return None
