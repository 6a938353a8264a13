"""What a MAT file may ask for: nesting, values and bytes, counted before anything is built or allocated."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

# Real networks nest about 10 levels; Python's own stack allows several hundred.
MAX_DEPTH = 100

# A value takes at least 8 bytes before compression, and names, the bulk of all values, deflate to a tenth.
FREE_VALUES = 100_000
MAX_VALUES = 4_000_000
_BYTES_PER_VALUE = 4

# References of HDF5 may lead to the same object again and again, so that a few kilobytes could stand for billions
# of values. MATLAB writes every element of its own.
MAX_REPEATS = 10_000

# Files up to this size are read into memory, larger ones mapped.
MAPPED_FROM = 4 * 2**20

# numpy 1 cannot have more axes than this; MATLAB networks have four.
MAX_AXES = 32

# Trained weights deflate to about nine tenths; what grows a hundredfold beyond this size is no network.
FREE_BYTES = 256 * 2**20
MAX_EXPANSION = 100

ceiling: int | None = None
"""Bytes to which any file may be inflated, however large it is; None: as its size allows. A server sets it."""

# Arrays that are stored narrower than their class (uint8 for double), or in two parts, are built beside the file.
MAX_WIDE = 512 * 2**20


def is_shape(dims: Sequence[int]) -> bool:
    """Whether `dims` can be the shape of a MATLAB array: 2 to 32 axes, at most 2^48 elements.

    The axes of an empty array are bounded too, so that no product of some of them overflows.
    """
    if not 2 <= len(dims) <= MAX_AXES or min(dims) < 0:
        return False
    return prod(max(1, dim) for dim in dims) < (2**48 if all(dims) else 2**31)


class Limits:
    """The allowance of one file of `file_size` bytes; what is allowed is also used up."""

    def __init__(self, file_size: int) -> None:
        self._values = self.max_values = min(MAX_VALUES, max(FREE_VALUES, file_size // _BYTES_PER_VALUE))
        self._bytes = most_bytes(file_size)
        self._wide = max(MAX_WIDE, 8 * file_size)

    def allow_values(self, count: int) -> bool:
        """Whether `count` more values (cell elements, struct fields, struct array elements) may be built."""
        self._values -= count
        return self._values >= 0

    def allow_wide(self, count: int) -> bool:
        """Whether `count` more bytes may be taken for numbers that are wider in memory than in the file."""
        self._wide -= count
        return self._wide >= 0

    def allow_bytes(self, count: int, stored: int) -> bool:
        """Whether `count` more bytes may be made of `stored` bytes of the file."""
        self._bytes -= count
        return self._bytes >= 0 and count <= most_bytes(stored)


def most_bytes(stored: int) -> int:
    """The most that `stored` bytes of a file may be inflated to."""
    most = max(FREE_BYTES, MAX_EXPANSION * stored)
    return most if ceiling is None else min(most, ceiling)
