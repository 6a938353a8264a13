"""Input sizes given by the user, by name or for the image, as shapes N x C x H x W."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from matnet.errors import NetworkError, in_words, nearest
from matnet.meta.inputs import InputFacts, image_input, input_channels
from matnet.shapes import Shape

if TYPE_CHECKING:
    from matnet.network import Network

InputSize = Sequence[int] | Mapping[str, Sequence[int]]


def given_input_shapes(net: Network, size: InputSize | None, batch: int = 1) -> dict[str, Shape]:
    """The shapes of the data inputs, from the network or from `size`; N = `batch`.

    size: (height, width) for every input of more than one pixel; C H W or N C H W for the image, with the same height
    and width for the other inputs; or a mapping from input names (see `Network.names_of_input`) to the last axes of
    their shapes. Inputs of unknown size are omitted. Raises NetworkError for sizes that match no input.
    """
    if isinstance(size, Mapping):
        return with_given_sizes(net, net.default_input_shapes(batch), size, batch)
    whole = None if size is None else tuple(size)
    if whole is not None and (len(whole) not in (2, 3, 4) or min(whole) < 1):
        raise NetworkError(f"{net.source}: size {_text(whole)}: expected HxW, CxHxW or NxCxHxW of at least 1")
    shapes = net.default_input_shapes(batch, None if whole is None else (whole[-2], whole[-1]))
    image = image_input(net)
    if whole is not None and len(whole) > 2 and image is not None:
        shapes = with_given_sizes(net, shapes, {image: whole}, batch)
    return shapes


def with_given_sizes(
    net: Network, known: Mapping[str, Shape], sizes: Mapping[str, Sequence[int]], batch: int
) -> dict[str, Shape]:
    """`known` with the last axes of the inputs in `sizes` replaced; NetworkError for a size that does not fit."""
    shapes = dict(known)
    for name, given in sizes.items():
        variable = input_called(net, name)
        shapes[variable] = _with_sizes(net, variable, shapes.get(variable), tuple(given), batch)
    return shapes


def require_sizes(net: Network, needed: Collection[str], shapes: Mapping[str, Shape]) -> None:
    """Raises NetworkError if shapes are missing: which inputs, what is unknown, and how to pass it."""
    if all(name in shapes for name in needed):
        return
    facts = InputFacts(net)
    missing = {name: facts.channels(name) is not None for name in needed if name not in shapes}
    unknown = [
        f"the {'height and width' if channels else 'channels, height and width'} of input {name!r}"
        for name, channels in missing.items()
    ]
    forms = {name: "HxW" if channels else "CxHxW" for name, channels in missing.items()}
    options = " ".join(f"--input-size {name}={form}" for name, form in forms.items())
    numbers = {"HxW": "(height, width)", "CxHxW": "(channels, height, width)"}
    python = ", ".join(f"{name!r}: {numbers[form]}" for name, form in forms.items())
    raise NetworkError(
        f"{net.source}: the file does not specify {' and '.join(unknown)}; "
        f"pass {in_words(f'the size as {{{python}}}', options)}"
    )


def input_called(net: Network, name: str) -> str:
    """The input for a name, alias or Caffe blob; NetworkError with similar names if there is none."""
    found = next((variable for variable in net.inputs if name in net.names_of_input(variable)), None)
    if found is None:
        hint = f"{nearest(name, net.inputs)}; inputs: {', '.join(net.inputs)}"
        raise NetworkError(f"{net.source}: size for {name!r}, which is not an input{hint}")
    return found


def _with_sizes(net: Network, name: str, known: Shape | None, sizes: tuple[int, ...], batch: int) -> Shape:
    """`known` with its last axes replaced; a Caffe blob of lower rank has fewer than four axes."""
    box = known is not None and known[2:] == (1, 1) and len(sizes) <= 2 and name != image_input(net)
    rank = net.blob_ranks.get(name, 2 if box else 4)
    if not 1 <= len(sizes) <= rank or min(sizes) < 1:
        raise NetworkError(f"{net.source}: size {name}={_text(sizes)} does not fit an input with {rank} axes")
    if known is None:
        channels = input_channels(net, name)
        if channels is None and len(sizes) < min(rank, 3):
            raise NetworkError(f"{net.source}: the channels of input {name!r} are unknown; pass {name}=CxHxW")
        known = (batch, channels or 1, 1, 1)
    axes = (*known[: rank - len(sizes)], *sizes)
    return axes[0], *(*axes[1:], 1, 1, 1)[:3]  # type: ignore[return-value]


def _text(sizes: Sequence[int]) -> str:
    return "x".join(map(str, sizes))
