"""The elements of a MAT v5 stream: type numbers, and bounds-checked access to tags and payloads."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from matnet.errors import FileFormatError
from matnet.formats.mat.classes import NUMERIC
from matnet.formats.mat.header import ByteOrder
from matnet.formats.mat.limits import MAX_AXES, Limits

# Element types.
INT8, UINT16, INT32, UINT32 = 1, 4, 5, 6
MATRIX, COMPRESSED, UTF8, UTF16, UTF32 = 14, 15, 16, 17, 18
STORAGE = {
    **{number: np.dtype(name) for number, name in enumerate(("i1", "u1", "i2", "u2", "i4", "u4", "f4"), start=1)},
    **{9: np.dtype("f8"), 12: np.dtype("i8"), 13: np.dtype("u8")},
}
STORAGE_NUMBER = {dtype: number for number, dtype in STORAGE.items()}

# Array classes and flags.
CELL, STRUCT, OBJECT, CHAR, SPARSE, DOUBLE, UINT8, FUNCTION, OPAQUE = 1, 2, 3, 4, 5, 6, 9, 16, 17
CLASS_NUMBER = {name: number for number, name in enumerate(NUMERIC, start=6)}
CLASS_TYPE = {number: NUMERIC[name] for name, number in CLASS_NUMBER.items()}
LOGICAL_FLAG, COMPLEX_FLAG = 0x0200, 0x0800

# Maximum sizes of header elements (the longest are dimensions) and of names, in bytes.
_MAX_HEADER = 4 * MAX_AXES
_MAX_NAME = 1024

TAG_SIZE = 8
SMALL_SIZE = 4


class Element(NamedTuple):
    """One element: its type, the offset and size of its payload, and the offset of the next element."""

    kind: int
    start: int
    size: int
    next: int


class Elements:
    """The elements of one buffer: a mapped file, or a variable inflated from it.

    Every reading method raises FileFormatError if the data does not match a tag or the caller's expectation.
    """

    def __init__(self, buffer: memoryview, order: ByteOrder, path: Path, limits: Limits, part: str = "") -> None:
        self.buffer = buffer
        self.order = order
        self.path = path
        self.limits = limits
        self._part = part
        self._headers = {UINT32: "I", INT32: "i"}
        self._words = struct.Struct(f"{order}II")
        self._storage = {kind: dtype.newbyteorder(order) for kind, dtype in STORAGE.items()}

    def damage(self, offset: int, found: str, expected: str) -> FileFormatError:
        """The error for damaged data at `offset`, to be raised by the caller."""
        return FileFormatError(
            f"{self.path}: byte {offset:,}{self._part}: found {found}, expected {expected}; "
            f"the file is truncated or damaged, fetch or copy it again"
        )

    def element(self, offset: int, end: int) -> Element:
        """The element with its tag at `offset`; it must end before `end`."""
        if offset + TAG_SIZE > end:
            raise self.damage(offset, f"{max(0, end - offset)} bytes", f"an element tag of {TAG_SIZE} bytes")
        kind, size = self._words.unpack_from(self.buffer, offset)
        if kind >> 16:
            kind, size = kind & 0xFFFF, kind >> 16
            if size > SMALL_SIZE:
                raise self.damage(offset, f"a small element of {size} bytes", f"at most {SMALL_SIZE}")
            return Element(kind, offset + SMALL_SIZE, size, offset + TAG_SIZE)
        start = offset + TAG_SIZE
        if start + size > end:
            raise self.damage(offset, f"an element of {size:,} bytes", f"at most the {end - start:,} left")
        # All but compressed elements are padded to 8 bytes; the last padding may be missing.
        padded = size if kind == COMPRESSED else -(-size // 8) * 8
        return Element(kind, start, size, min(start + padded, end))

    def numbers(self, element: Element) -> np.ndarray:
        """An element's stored numbers: a read-only view of the buffer, in the file's type and byte order."""
        dtype = self._storage.get(element.kind)
        if dtype is None:
            raise self.damage(element.start, f"an element of type {element.kind}", "a numeric type")
        count, rest = divmod(element.size, dtype.itemsize)
        if rest:
            raise self.damage(element.start, f"{element.size} bytes", f"a multiple of {dtype.itemsize}")
        return np.frombuffer(self.buffer, dtype, count, element.start)

    def content(self, element: Element) -> bytes:
        """A copy of an element's bytes, for names and text."""
        return bytes(self.buffer[element.start : element.start + element.size])

    def integers(self, element: Element, kinds: Sequence[int], what: str) -> list[int]:
        """The numbers of a short header element of one of the types `kinds`."""
        if element.kind not in kinds:
            raise self.damage(element.start, f"an element of type {element.kind}", f"{what} (type {kinds[0]})")
        if element.size > _MAX_HEADER:
            raise self.damage(element.start, f"{element.size:,} bytes", f"{what} of at most {_MAX_HEADER}")
        form = self._headers.get(element.kind)
        if form is None or element.size % 4:
            return [int(number) for number in self.numbers(element)]
        return list(struct.unpack_from(f"{self.order}{element.size // 4}{form}", self.buffer, element.start))

    def name(self, offset: int, end: int, what: str) -> tuple[str, int]:
        """The name or class name at `offset`, and the offset of the next element."""
        element = self.element(offset, end)
        if element.kind not in (INT8, 2, UTF8):
            raise self.damage(offset, f"an element of type {element.kind}", f"{what} (type {INT8})")
        if element.size > _MAX_NAME:
            raise self.damage(offset, f"{element.size:,} bytes", f"{what} of at most {_MAX_NAME}")
        return self.content(element).rstrip(b"\0").decode("latin-1"), element.next
