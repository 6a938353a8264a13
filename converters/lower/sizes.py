"""Sizes while a network is built: whole numbers, or None if the file does not state an input's size."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from matnet.errors import ShapeError
from matnet.ops.base import Channels, Op
from matnet.shapes import Shape

Sizes = tuple["int | None", ...]

class SizeNeededError(ShapeError):
    """A layer's form depends on a size that is not known; whoever calls adds how the inputs' sizes are given."""


LARGEST = (1 << 31) - 1
"""Values of the largest blob in Caffe, which counts them in an int."""

UNKNOWN: Sizes = (None, None, None, None)
PROBES = ((2, 12, 1009, 1013), (3, 24, 2003, 2011))
"""Two sets of sizes to try in place of unknown ones; they differ in every axis."""


def known(sizes: Sizes) -> bool:
    """Whether every size is a number."""
    return None not in sizes


def text(sizes: Sizes) -> str:
    """Sizes for messages: `1x3x?x?`."""
    return "x".join("?" if size is None else str(size) for size in sizes) or "()"


def padded(shape: Sizes) -> Sizes:
    """Caffe's shape of any rank as the four sizes of an activation; ShapeError beyond four axes.

    >>> padded((2, 10)), padded(())
    ((2, 10, 1, 1), (1, 1, 1, 1))
    """
    if len(shape) > 4:
        raise ShapeError(
            f"reads a blob of {len(shape)} axes ({text(shape)}); expected at most N x C x H x W, as only Reshape, "
            "Flatten, Permute, Transpose and functions of one value take more"
        )
    return shape + (1,) * (4 - len(shape))


def merged(sizes: Sizes, rank: int) -> Sizes:
    """The four sizes of an activation as a blob of `rank` axes whose last axis runs over all that remain.

    >>> merged((2, 6, 13, 17), 2), merged((2, 6, None, 17), 2), merged((2, 5, 1, 1), 4)
    ((2, 1326), (2, None), (2, 5, 1, 1))
    """
    if rank == 0:
        return ()
    rest = sizes[rank - 1 :]
    last = prod(size for size in rest if size is not None) if known(rest) else None
    return (*sizes[: rank - 1], last)


def output_sizes(op: Op, inputs: Sequence[Sizes], params: Sequence[Shape], outputs: int) -> list[Sizes]:
    """The op's output sizes; where inputs are not all known, those that two different guesses agree on.

    Raises ShapeError if known sizes do not fit. `outputs` is how many there are.
    """
    if all(known(sizes) for sizes in inputs):
        return list(op.output_shapes([numbers(sizes) for sizes in inputs], params))
    try:
        one, two = (op.output_shapes([_filled(sizes, probe) for sizes in inputs], params) for probe in PROBES)
    except ShapeError:  # the guesses do not fit, as where the layer states its output's size
        return [_kept_channels(op, inputs)] * outputs
    return [
        tuple(size if size == other else None for size, other in zip(shape, again, strict=True))
        for shape, again in zip(one, two, strict=True)
    ]


def _kept_channels(op: Op, inputs: Sequence[Sizes]) -> Sizes:
    """The number of images and channels where an op keeps them, nothing else."""
    if op.channels is Channels.UNKNOWN or (len(inputs) > 1 and inputs[0][1] == 1):  # one channel may become many
        return UNKNOWN
    return (inputs[0][0] if op.images_independent else None, inputs[0][1], None, None)


def numbers(sizes: Sizes) -> Shape:
    """Sizes that are all known."""
    return tuple(size for size in sizes if size is not None)


def _filled(sizes: Sizes, probe: Shape) -> Shape:
    return tuple(guess if size is None else size for size, guess in zip(sizes, probe, strict=True))
