"""Find the dynamic axes of a network's variables, by shape inference for other inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matnet.errors import MatnetError
from matnet.network import Network
from matnet.shapes import Shape

BATCH_FACTOR = 7
# Other input sizes to try, as (factor, term) of height and width. The first rule keeps ratios (pixel shuffles, branches
# of several resolutions), the second keeps remainders. Both are large enough to change maps of coarse resolution.
OTHER_SIZES = (((16, 0), (24, 0)), ((1, 1024), (1, 2048)))

Axes = tuple[int | None, ...]  # a shape; None: unknown size


@dataclass(frozen=True)
class DynamicAxes:
    """The dynamic axes of an exported model: the batch, and the height and width of its inputs."""

    batch: bool = True
    size: bool = True


def _other(shape: Shape, dynamic: DynamicAxes, rule: tuple[tuple[int, int], tuple[int, int]]) -> Shape:
    """Another shape of the same input along dynamic axes; a vector (1x1 pixels) stays a vector."""
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
    """Every variable's shape with None for axes that depend on dynamic axes of the inputs.

    None if the network does not run on inputs of another size. Raises ShapeError if it does not run on `inputs`.
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
