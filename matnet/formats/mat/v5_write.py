"""Writer for MAT v5 and v7: little-endian, deterministic, streamed array by array.

Numbers are stored in the type of their class on 8-byte boundaries, so that they can be mapped. The size of every
variable is computed from its shape before the file is opened.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from matnet.errors import FileFormatError, listing
from matnet.files import atomic_write
from matnet.formats.mat import chars
from matnet.formats.mat import v5_elements as v5
from matnet.formats.mat.classes import class_name
from matnet.formats.mat.header import header_bytes
from matnet.formats.mat.slabs import slabs
from matnet.formats.mat.sparse import canonical
from matnet.formats.mat.values import Cell, CharArray, Opaque, Shape, StructArray, empty

# Element sizes are 32-bit numbers, and MATLAB reads them as signed.
MAX_BYTES = 2**31 - 1

# Trained weights hardly compress at any level; a low level is several times faster.
_LEVEL = 3
# MATLAB's default width for field names; longer names widen it.
_MIN_NAME_FIELD = 32


def write_v5(path: Path, variables: Mapping[str, Any], compress: bool) -> None:
    """Write validated variables. compress: write each as a zlib stream (MATLAB's v7).

    Raises FileFormatError, before writing, for variables of more than 2^31-1 bytes.
    """
    matrices = {name: _matrix(value, name) for name, value in variables.items()}
    sizes = {name: matrix.size for name, matrix in matrices.items()}
    too_large = [f"{name}: {size:,} bytes" for name, size in sizes.items() if size > MAX_BYTES]
    if too_large:
        limit = f"a variable of a version 5 file takes at most {MAX_BYTES:,} bytes"
        raise FileFormatError(listing(f"{path}: not written; {limit}, use version 7.3:", too_large))
    with atomic_write(path) as file:
        file.write(header_bytes("5"))
        for matrix in matrices.values():
            if compress:
                _write_compressed(file, matrix)
            else:
                file.writelines(matrix.pieces())


def _write_compressed(file: BinaryIO, matrix: _Matrix) -> None:
    tag_at = file.tell()
    file.write(bytes(v5.TAG_SIZE))
    stream = zlib.compressobj(_LEVEL)
    for piece in matrix.pieces():
        file.write(stream.compress(piece))
    file.write(stream.flush())
    end = file.tell()
    file.seek(tag_at)
    file.write(struct.pack("<II", v5.COMPRESSED, end - tag_at - v5.TAG_SIZE))
    file.seek(end)


@dataclass(frozen=True, eq=False)
class _Payload:
    """One numeric element, written in Fortran order and little-endian without copying the whole array."""

    kind: int
    array: np.ndarray

    @property
    def size(self) -> int:
        """The size of the element in bytes, with tag and padding."""
        count = self.array.nbytes
        return v5.TAG_SIZE if 0 < count <= v5.SMALL_SIZE else v5.TAG_SIZE + -(-count // 8) * 8

    def pieces(self) -> Iterator[Any]:
        count = self.array.nbytes
        if 0 < count <= v5.SMALL_SIZE:
            numbers = b"".join(map(bytes, self._parts()))
            yield struct.pack("<HH", self.kind, count) + numbers.ljust(v5.SMALL_SIZE, b"\0")
        else:
            yield struct.pack("<II", self.kind, count)
            yield from self._parts()
            yield bytes(-count % 8)

    def _parts(self) -> Iterator[np.ndarray]:
        """The numbers in file order, in slabs: views if the array has this order, otherwise copies."""
        stored = self.array.T
        if stored.flags.c_contiguous:
            stored = stored.reshape(-1)
        little_endian = stored.dtype.newbyteorder("<")
        return (np.ascontiguousarray(stored[part], little_endian) for part in slabs(stored))


@dataclass(frozen=True, eq=False)
class _Matrix:
    """One array element: its parts in order. `size` excludes its own tag."""

    parts: tuple[_Payload | _Matrix, ...]

    @cached_property
    def size(self) -> int:
        return sum(part.size + (v5.TAG_SIZE if isinstance(part, _Matrix) else 0) for part in self.parts)

    def pieces(self) -> Iterator[Any]:
        yield struct.pack("<II", v5.MATRIX, self.size)
        for part in self.parts:
            yield from part.pieces()


def _matrix(value: Any, name: str = "") -> _Matrix:
    """The matrix element of a value; nested values have no name."""
    if isinstance(value, np.ndarray):
        return _numeric(value, name)
    if isinstance(value, (str, CharArray)):
        units, shape = chars.to_units(value)
        return _assemble(v5.CHAR, shape, name, [_Payload(v5.UINT16, units)])
    if isinstance(value, dict):
        return _structs([value], (1, 1), list(value), name)
    if isinstance(value, StructArray):
        return _structs(value, value.shape, value.fields, name)
    if isinstance(value, Cell):
        return _assemble(v5.CELL, value.shape, name, [_matrix(item) for item in value])
    if isinstance(value, Opaque):
        return _numeric(empty(), name)
    return _sparse(value, name)


def _assemble(
    kind: int, shape: Shape, name: str, body: Iterable[_Payload | _Matrix], flags: int = 0, allocated: int = 0
) -> _Matrix:
    """A matrix of class `kind`. allocated: the capacity of a sparse matrix."""
    head = (
        _Payload(v5.UINT32, np.array([kind | flags, allocated], np.uint32)),
        _Payload(v5.INT32, np.array(shape, np.int64).astype(np.int32)),
        _text(name),
    )
    return _Matrix((*head, *body))


def _text(text: str) -> _Payload:
    return _Payload(v5.INT8, np.frombuffer(text.encode("ascii"), np.int8))


def _payloads(array: np.ndarray) -> tuple[list[_Payload], int]:
    """The payloads of an array's numbers, and its flags."""
    if array.dtype.kind == "b":
        return [_Payload(v5.STORAGE_NUMBER[np.dtype(np.uint8)], array.view(np.uint8))], v5.LOGICAL_FLAG
    if array.dtype.kind == "c":
        parts = (array.real, array.imag)
        return [_Payload(v5.STORAGE_NUMBER[_native(part)], part) for part in parts], v5.COMPLEX_FLAG
    return [_Payload(v5.STORAGE_NUMBER[_native(array)], array)], 0


def _native(array: np.ndarray) -> np.dtype:
    native: np.dtype = array.dtype.newbyteorder("=")
    return native


def _numeric(array: np.ndarray, name: str) -> _Matrix:
    body, flags = _payloads(array)
    kind = v5.UINT8 if flags == v5.LOGICAL_FLAG else v5.CLASS_NUMBER[class_name(array.dtype) or ""]
    return _assemble(kind, array.shape, name, body, flags)


def _structs(items: Iterable[dict[str, Any]], shape: Shape, fields: Iterable[str], name: str) -> _Matrix:
    fields = list(fields)
    width = max([_MIN_NAME_FIELD, *(len(field) + 1 for field in fields)])
    names = "".join(field.ljust(width, "\0") for field in fields)
    head = [_Payload(v5.INT32, np.array([width], np.int32)), _text(names)]
    values = [_matrix(item[field]) for item in items for field in fields]
    return _assemble(v5.STRUCT, shape, name, [*head, *values])


def _sparse(matrix: Any, name: str) -> _Matrix:
    columns = canonical(matrix)
    indices = [_Payload(v5.INT32, part.astype(np.int32)) for part in (columns.indices, columns.indptr)]
    values, flags = _payloads(columns.data)
    # MATLAB allocates at least one value.
    return _assemble(v5.SPARSE, columns.shape, name, [*indices, *values], flags, max(1, columns.nnz))
