"""Limits on nesting, values and bytes of a MAT file, checked before allocation."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

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

# Memory for arrays stored in a narrower type than their class (uint8 for double), or in two parts, and for text. This
# limit, or eight times the file size, is enough for integer images and settings. Decoding takes up to 16 bytes for a
# byte of text.
MAX_WIDE = 512 * 2**20
WIDE_PER_BYTE = 8
MOST_WIDE = f"at most {MAX_WIDE:,} bytes of such arrays in total"
MOST_TEXT = f"at most {MAX_WIDE // 16:,} in total"


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
        self._wide = max(MAX_WIDE, WIDE_PER_BYTE * file_size)

    def allow_values(self, count: int) -> bool:
        """Whether `count` more values (cell elements, struct fields, struct array elements) may be built."""
        self._values -= count
        return self._values >= 0

    def allow_wider(self, count: int, stored: np.dtype, dtype: np.dtype, parts: int = 1) -> bool:
        """Whether `count` numbers of type `stored` may be converted to `dtype`; parts: 2 for complex numbers."""
        if stored.itemsize < dtype.itemsize or parts > 1:
            self._wide -= count * dtype.itemsize * parts * (parts + 1 if parts > 1 else 1)
        return self._wide >= 0

    def allow_text(self, size: int) -> bool:
        """Whether `size` more bytes of the file may be decoded as text."""
        self._wide -= 16 * size
        return self._wide >= 0

    def allow_bytes(self, count: int, stored: int) -> bool:
        """Whether `stored` bytes of the file may expand to `count` more bytes."""
        self._bytes -= count
        return self._bytes >= 0 and count <= most_bytes(stored)


def most_bytes(stored: int) -> int:
    """The maximum size to which `stored` bytes of a file may be inflated."""
    most = max(FREE_BYTES, MAX_EXPANSION * stored)
    return most if ceiling is None else min(most, ceiling)
