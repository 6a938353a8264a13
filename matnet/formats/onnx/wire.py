"""Protocol buffers, written: messages as lists of chunks, so that weights go to a file without a second copy."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence

import numpy as np

LITTLE_ENDIAN = {"f": "<f4", "i": "<i8"}  # the kinds of array that a model holds


def raw_data(array: np.ndarray) -> memoryview:
    """The array's elements, row-major and little-endian; a copy only where it does not lie so already."""
    return np.ascontiguousarray(array, dtype=LITTLE_ENDIAN[array.dtype.kind]).reshape(-1).view(np.uint8).data


def raw_size(array: np.ndarray) -> int:
    """How many bytes `raw_data` gives."""
    return array.size * np.dtype(LITTLE_ENDIAN[array.dtype.kind]).itemsize


def varint(value: int) -> bytes:
    """Seven bits a byte, lowest first; a negative number counts as its 64-bit complement.

    >>> varint(300).hex(), len(varint(-1))
    ('ac02', 10)
    """
    value &= (1 << 64) - 1
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)


class Message:
    """One message under construction: fields are appended by number; arrays stay arrays until they are written."""

    def __init__(self) -> None:
        self.parts: list[bytes | np.ndarray] = []
        self.size = 0

    def _append(self, part: bytes | np.ndarray, size: int) -> None:
        self.parts.append(part)
        self.size += size

    def _tag(self, number: int, kind: int) -> None:
        tag = varint(number << 3 | kind)
        self._append(tag, len(tag))

    def integer(self, number: int, value: int) -> Message:
        """An int or enum field."""
        self._tag(number, 0)
        coded = varint(value)
        self._append(coded, len(coded))
        return self

    def single(self, number: int, value: float) -> Message:
        """A float field."""
        self._tag(number, 5)
        self._append(struct.pack("<f", value), 4)
        return self

    def text(self, number: int, value: str) -> Message:
        """A string field."""
        coded = value.encode()
        self._tag(number, 2)
        self._append(varint(len(coded)) + coded, len(varint(len(coded))) + len(coded))
        return self

    def integers(self, number: int, values: Sequence[int]) -> Message:
        """A packed field of ints."""
        packed = b"".join(varint(value) for value in values)
        self._tag(number, 2)
        self._append(varint(len(packed)) + packed, len(varint(len(packed))) + len(packed))
        return self

    def singles(self, number: int, values: Sequence[float]) -> Message:
        """A packed field of floats."""
        packed = struct.pack(f"<{len(values)}f", *values)
        self._tag(number, 2)
        self._append(varint(len(packed)) + packed, len(varint(len(packed))) + len(packed))
        return self

    def array(self, number: int, value: np.ndarray) -> Message:
        """A bytes field with the elements of an array (see `raw_data`)."""
        self._tag(number, 2)
        size = raw_size(value)
        self._append(varint(size), len(varint(size)))
        self._append(value, size)
        return self

    def message(self, number: int, value: Message) -> Message:
        """A nested message, which must be complete."""
        self._tag(number, 2)
        self._append(varint(value.size), len(varint(value.size)))
        self.parts += value.parts
        self.size += value.size
        return self

    def chunks(self) -> Iterator[bytes | memoryview]:
        """The message's bytes, piece by piece."""
        for part in self.parts:
            yield part if isinstance(part, bytes) else raw_data(part)
