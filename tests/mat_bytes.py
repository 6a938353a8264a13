"""MAT v5 files put together by hand, byte by byte, from the published format: nothing of the package is used."""

from __future__ import annotations

import random
import struct
import zlib
from math import prod

INT8, UINT8, INT16, UINT16, INT32, UINT32, SINGLE, DOUBLE, INT64, UINT64 = 1, 2, 3, 4, 5, 6, 7, 9, 12, 13
MATRIX, COMPRESSED, UTF8, UTF16, UTF32 = 14, 15, 16, 17, 18

CELL, STRUCT, OBJECT, CHAR, SPARSE, CLASS_DOUBLE, CLASS_SINGLE, CLASS_UINT8 = 1, 2, 3, 4, 5, 6, 7, 9
CLASS_INT64, FUNCTION, OPAQUE = 14, 16, 17
LOGICAL, COMPLEX = 0x0200, 0x0800

LETTERS = {
    INT8: "b", UINT8: "B", INT16: "h", UINT16: "H", INT32: "i", UINT32: "I", SINGLE: "f", DOUBLE: "d",
    INT64: "q", UINT64: "Q",
}  # fmt: skip


def element(kind: int, data: bytes, order: str = "<", padded: bool = True) -> bytes:
    """A tag of 8 bytes, the data, and padding to 8 bytes."""
    return struct.pack(f"{order}II", kind, len(data)) + data + bytes(-len(data) % 8 if padded else 0)


def small(kind: int, data: bytes, order: str = "<") -> bytes:
    """The short form for up to 4 bytes of data: the size in the upper half of the first word."""
    return struct.pack(f"{order}I", len(data) << 16 | kind) + data.ljust(4, b"\0")


def numbers(kind: int, *values: float, order: str = "<") -> bytes:
    return element(kind, struct.pack(f"{order}{len(values)}{LETTERS[kind]}", *values), order)


def matrix(
    kind: int, shape: tuple[int, ...], name: str, *parts: bytes, flags: int = 0, order: str = "<", room: int = 0
) -> bytes:
    """An array: flags, dimensions, name, and the parts that its class asks for."""
    head = numbers(UINT32, kind | flags, room, order=order) + numbers(INT32, *shape, order=order)
    return element(MATRIX, head + element(INT8, name.encode(), order) + b"".join(parts), order)


def struct_matrix(shape: tuple[int, ...], name: str, fields: tuple[str, ...], *values: bytes, width: int = 32) -> bytes:
    assert len(values) == prod(shape) * len(fields)
    names = b"".join(field.encode().ljust(width, b"\0") for field in fields)
    return matrix(STRUCT, shape, name, small(INT32, struct.pack("<i", width)), element(INT8, names), *values)


def compressed(content: bytes, order: str = "<") -> bytes:
    return element(COMPRESSED, zlib.compress(content), order, padded=False)


def mat_file(*variables: bytes, order: str = "<") -> bytes:
    """A header of 128 bytes, then the variables."""
    version = struct.pack(f"{order}HH", 0x0100, 0x4D49)
    return b"MATLAB 5.0 MAT-file, by hand".ljust(116) + bytes(8) + version + b"".join(variables)


def double(value: float, name: str = "") -> bytes:
    """A 1 x 1 double."""
    return matrix(CLASS_DOUBLE, (1, 1), name, numbers(DOUBLE, value))


def damaged(content: bytes, chance: random.Random) -> bytes:
    """A few bytes changed, anywhere behind the header."""
    changed = bytearray(content)
    for _ in range(chance.choice((1, 1, 2, 4, 16))):
        place = chance.randrange(128, len(changed))
        changed[place] = chance.choice((0, 1, 127, 128, 255, changed[place] ^ 1 << chance.randrange(8)))
    return bytes(changed)
