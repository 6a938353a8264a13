"""Writer for the wire format of protocol buffers: numbers, fields and messages.

A message is a list of chunks, so that weights are written to a file without a copy.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence

import numpy as np

LITTLE_ENDIAN = {"f": "<f4", "i": "<i8"}  # array kind -> type in the file


def raw_data(array: np.ndarray) -> memoryview:
    """The array's elements, row-major and little-endian; copied only if necessary."""
    return np.ascontiguousarray(array, dtype=LITTLE_ENDIAN[array.dtype.kind]).reshape(-1).view(np.uint8).data


def raw_size(array: np.ndarray) -> int:
    """The number of bytes of `raw_data`."""
    return array.size * np.dtype(LITTLE_ENDIAN[array.dtype.kind]).itemsize


def varint(value: int) -> bytes:
    """Encode seven bits per byte, lowest first; negative numbers as 64-bit two's complement.

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


def delimited(number: int, length: int) -> bytes:
    """The key and length prefix of a field with `length` bytes."""
    return varint(number << 3 | 2) + varint(length)


class WireMessage:
    """A message under construction. Fields are appended by number; arrays are encoded when written."""

    def __init__(self) -> None:
        self.parts: list[bytes | np.ndarray] = []
        self.size = 0

    def _append(self, part: bytes | np.ndarray, size: int) -> None:
        self.parts.append(part)
        self.size += size

    def _tag(self, number: int, kind: int) -> None:
        tag = varint(number << 3 | kind)
        self._append(tag, len(tag))

    def _head(self, number: int, length: int) -> None:
        head = delimited(number, length)
        self._append(head, len(head))

    def _bytes(self, number: int, value: bytes) -> WireMessage:
        self._head(number, len(value))
        self._append(value, len(value))
        return self

    def integer(self, number: int, value: int) -> WireMessage:
        """An int or enum field."""
        self._tag(number, 0)
        coded = varint(value)
        self._append(coded, len(coded))
        return self

    def single(self, number: int, value: float) -> WireMessage:
        """A float field."""
        self._tag(number, 5)
        self._append(struct.pack("<f", value), 4)
        return self

    def text(self, number: int, value: str) -> WireMessage:
        """A string field."""
        return self._bytes(number, value.encode())

    def integers(self, number: int, values: Sequence[int]) -> WireMessage:
        """A packed field of ints."""
        return self._bytes(number, b"".join(varint(value) for value in values))

    def singles(self, number: int, values: Sequence[float]) -> WireMessage:
        """A packed field of floats."""
        return self._bytes(number, struct.pack(f"<{len(values)}f", *values))

    def array(self, number: int, value: np.ndarray) -> WireMessage:
        """A bytes field with the elements of an array (see `raw_data`)."""
        self._head(number, raw_size(value))
        self._append(value, raw_size(value))
        return self

    def message(self, number: int, value: WireMessage) -> WireMessage:
        """A nested message, which must be complete."""
        self._head(number, value.size)
        self.parts += value.parts
        self.size += value.size
        return self

    def chunks(self) -> Iterator[bytes | memoryview]:
        """The message's bytes, in chunks."""
        for part in self.parts:
            yield part if isinstance(part, bytes) else raw_data(part)
