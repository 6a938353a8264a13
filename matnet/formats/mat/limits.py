"""What a MAT file may ask for: nesting, values and bytes, counted before anything is built or allocated."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

# Real networks nest about 10 levels; Python's own stack allows several hundred.
MAX_DEPTH = 100

# One list entry per value: a cell of zero-byte elements must not turn a small file into gigabytes of objects.
MAX_VALUES = 4_000_000

# numpy 1 cannot have more axes than this; MATLAB networks have four.
MAX_AXES = 32

# Trained weights deflate to about nine tenths; what grows a hundredfold beyond this size is no network.
FREE_BYTES = 256 * 2**20
MAX_EXPANSION = 100


def is_shape(dims: Sequence[int]) -> bool:
    """Whether `dims` can be the shape of a MATLAB array: 2 to 32 axes, at most 2^48 elements.

    The axes of an empty array are bounded too, so that no product of some of them overflows.
    """
    if not 2 <= len(dims) <= MAX_AXES or min(dims) < 0:
        return False
    return prod(max(1, dim) for dim in dims) < (2**48 if all(dims) else 2**31)


class Limits:
    """The allowance of one file of `file_size` bytes; every question also uses it up."""

    def __init__(self, file_size: int) -> None:
        self._values = MAX_VALUES
        self._bytes = self.max_bytes = max(FREE_BYTES, MAX_EXPANSION * file_size)

    def allow_values(self, count: int) -> bool:
        """Whether `count` more values (cell elements, struct fields, struct array elements) may be built."""
        self._values -= count
        return self._values >= 0

    def allow_bytes(self, count: int) -> bool:
        """Whether `count` more bytes may be inflated from, or read out of, the file."""
        self._bytes -= count
        return self._bytes >= 0
