"""The shapes of variables for translations, which rely on the channels only; the input size may be arbitrary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matnet.errors import MatnetError, ShapeError
from matnet.meta.given import InputSize, given_input_shapes, require_sizes
from matnet.network import Network
from matnet.shapes import Shape

# Tried in turn if the network does not state a size; the generated module does not depend on it.
USUAL_SIZES: tuple[InputSize | None, ...] = (None, (224, 224), (227, 227), (299, 299), (64, 64), (32, 32), (512, 512))


def known_shapes(
    net: Network, wanted: Sequence[str], size: InputSize | None, given: Mapping[str, Shape] | None
) -> tuple[list[str], dict[str, Shape]]:
    """The inputs that `wanted` needs, and the shapes of all variables for one image.

    Raises NetworkError if an input shape is unknown and no trial size fits, ShapeError if the network does not support
    the given shapes.
    """
    layers = net.upto(wanted)
    written = {name for layer in layers for name in layer.outputs}
    needed = list(dict.fromkeys(name for layer in layers for name in layer.inputs if name not in written))
    fault: MatnetError | None = None
    shapes: dict[str, Shape] = dict(given or {})
    for trial in (size,) if size else USUAL_SIZES:
        shapes = {**given_input_shapes(net, trial, 1), **(given or {})}
        if any(name not in shapes for name in needed):
            continue
        try:
            return needed, net.infer_shapes({name: shapes[name] for name in needed}, wanted)
        except ShapeError as error:
            fault = fault or error
    if fault is not None:
        raise fault
    require_sizes(net, needed, shapes)
    return needed, net.infer_shapes({name: shapes[name] for name in needed}, wanted)
