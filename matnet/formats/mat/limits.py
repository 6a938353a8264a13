"""Limits on nesting, values and bytes of a MAT file, checked before allocation."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

# Real networks nest about 10 levels; Python's own stack allows several hundred.
MAX_DEPTH = 100

# A value takes at least 8 bytes uncompressed. Names, the majority of values, compress to about a tenth.
FREE_VALUES = 100_000
MAX_VALUES = 4_000_000
_BYTES_PER_VALUE = 4

# HDF5 references may repeat the same object, so a few kilobytes could declare billions of values. MATLAB writes every
# element separately.
MAX_REPEATS = 10_000

# Files up to this size are read into memory; larger files are mapped.
MAPPED_FROM = 4 * 2**20

# The maximum in numpy 1; MATLAB networks use four.
MAX_AXES = 32

# Trained weights compress to about nine tenths; a file that expands a hundredfold beyond this size is not a network.
FREE_BYTES = 256 * 2**20
MAX_EXPANSION = 100

ceiling: int | None = None
"""Maximum inflated size in bytes for any file; None: limited by file size only. Set by servers."""

# Memory for arrays stored in a narrower type than their class (uint8 for double), or in two parts.
MAX_WIDE = 512 * 2**20


def is_shape(dims: Sequence[int]) -> bool:
    """Whether `dims` can be the shape of a MATLAB array: 2 to 32 axes, at most 2^48 elements.

    The axes of an empty array are bounded too, so that no product of some of them overflows.
    """
    if not 2 <= len(dims) <= MAX_AXES or min(dims) < 0:
        return False
    return prod(max(1, dim) for dim in dims) < (2**48 if all(dims) else 2**31)


class Limits:
    """The remaining allowance of a file of `file_size` bytes; every allowed request reduces it."""

    def __init__(self, file_size: int) -> None:
        self._values = self.max_values = min(MAX_VALUES, max(FREE_VALUES, file_size // _BYTES_PER_VALUE))
        self._bytes = most_bytes(file_size)
        self._wide = max(MAX_WIDE, 8 * file_size)

    def allow_values(self, count: int) -> bool:
        """Whether `count` more values (cell elements, struct fields, struct array elements) may be built."""
        self._values -= count
        return self._values >= 0

    def allow_wide(self, count: int) -> bool:
        """Whether `count` more bytes may be allocated for numbers wider in memory than in the file."""
        self._wide -= count
        return self._wide >= 0

    def allow_bytes(self, count: int, stored: int) -> bool:
        """Whether `stored` bytes of the file may expand to `count` more bytes."""
        self._bytes -= count
        return self._bytes >= 0 and count <= most_bytes(stored)


def most_bytes(stored: int) -> int:
    """The maximum size to which `stored` bytes of a file may be inflated."""
    most = max(FREE_BYTES, MAX_EXPANSION * stored)
    return most if ceiling is None else min(most, ceiling)
