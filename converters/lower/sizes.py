"""Sizes while a network is built: integers, or None if an input size is unknown."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from matnet.errors import ShapeError
from matnet.ops.base import Channels, Op
from matnet.shapes import Shape

Sizes = tuple["int | None", ...]

class SizeNeededError(ShapeError):
    """A layer's form depends on an unknown size; the caller adds how to give the input sizes."""


LARGEST = (1 << 31) - 1
"""The most values of a blob in Caffe, which counts them in an int."""

UNKNOWN: Sizes = (None, None, None, None)
PROBES = ((2, 12, 1009, 1013), (3, 24, 2003, 2011))
"""Two guesses for unknown sizes, which differ in every axis."""


def known(sizes: Sizes) -> bool:
    """Whether all sizes are known."""
    return None not in sizes


def text(sizes: Sizes) -> str:
    """Sizes for messages: `1x3x?x?`."""
    return "x".join("?" if size is None else str(size) for size in sizes) or "()"


def padded(shape: Sizes) -> Sizes:
    """Caffe's shape of any rank as the four sizes of an activation. Raises ShapeError beyond four axes.

    >>> padded((2, 10)), padded(())
    ((2, 10, 1, 1), (1, 1, 1, 1))
    """
    if len(shape) > 4:
        raise ShapeError(
            f"reads a blob with {len(shape)} axes ({text(shape)}); expected at most N x C x H x W, because only "
            "Reshape, Flatten, Permute, Transpose and elementwise functions support more"
        )
    return shape + (1,) * (4 - len(shape))


def merged(sizes: Sizes, rank: int) -> Sizes:
    """The four sizes of an activation as a blob of `rank` axes, with all remaining axes merged into the last.

    >>> merged((2, 6, 13, 17), 2), merged((2, 6, None, 17), 2), merged((2, 5, 1, 1), 4)
    ((2, 1326), (2, None), (2, 5, 1, 1))
    """
    if rank == 0:
        return ()
    rest = sizes[rank - 1 :]
    last = prod(size for size in rest if size is not None) if known(rest) else None
    return (*sizes[: rank - 1], last)


def output_sizes(op: Op, inputs: Sequence[Sizes], params: Sequence[Shape], outputs: int) -> list[Sizes]:
    """The op's output sizes; with unknown inputs, the sizes on which two different guesses agree.

    Raises ShapeError if known sizes do not fit. outputs: their number.
    """
    if all(known(sizes) for sizes in inputs):
        return list(op.output_shapes([numbers(sizes) for sizes in inputs], params))
    try:
        one, two = (op.output_shapes([_filled(sizes, probe) for sizes in inputs], params) for probe in PROBES)
    except ShapeError:  # the guesses do not fit, for example if the layer states its output size
        return [_kept_channels(op, inputs)] * outputs
    return [
        tuple(size if size == other else None for size, other in zip(shape, again, strict=True))
        for shape, again in zip(one, two, strict=True)
    ]


def _kept_channels(op: Op, inputs: Sequence[Sizes]) -> Sizes:
    """Only the numbers of images and channels, if an op keeps them."""
    if op.channels is Channels.UNKNOWN or (len(inputs) > 1 and inputs[0][1] == 1):  # one channel may be broadcast
        return UNKNOWN
    return (inputs[0][0] if op.images_independent else None, inputs[0][1], None, None)


def numbers(sizes: Sizes) -> Shape:
    """Sizes as numbers; all must be known."""
    return tuple(size for size in sizes if size is not None)


def _filled(sizes: Sizes, probe: Shape) -> Shape:
    return tuple(guess if size is None else size for size, guess in zip(sizes, probe, strict=True))
