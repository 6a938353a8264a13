"""Reader for MAT v5 and v7.

An uncompressed array stored in the type of its class is a read-only view of the mapped file, so a network of any size
opens in milliseconds. A compressed variable is inflated once; its arrays are views of that buffer.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from matnet.formats.mat import chars
from matnet.formats.mat import header as mat_header
from matnet.formats.mat import v5_elements as v5
from matnet.formats.mat.classes import as_class, as_complex, as_logical
from matnet.formats.mat.header import ByteOrder
from matnet.formats.mat.limits import MAPPED_FROM, MAX_DEPTH, MOST_TEXT, MOST_WIDE, Limits, is_shape
from matnet.formats.mat.sparse import sparse_matrix, sparse_problem
from matnet.formats.mat.v5_elements import Element, Elements
from matnet.formats.mat.v5_inflate import inflate, inflate_start
from matnet.formats.mat.values import Cell, CharArray, Opaque, Shape, StructArray, empty
from matnet.mapped import map_file


def read_v5(path: Path, order: ByteOrder, names: Collection[str] | None, mmap: bool) -> tuple[dict[str, Any], bool]:
    """The variables of a MAT v5 or v7 file in file order (all, or those in `names`), and whether any is compressed.

    Raises FileFormatError, with the offset, for a truncated or damaged file, or one that declares more than it holds.
    """
    # Mapping a small file gains nothing and takes a file descriptor.
    content = map_file(path) if mmap and path.stat().st_size > MAPPED_FROM else memoryview(path.read_bytes())
    elements = Elements(content, order, path, Limits(len(content)))
    variables: dict[str, Any] = {}
    compressed = False
    for element in _top_level(elements):
        compressed = compressed or element.kind == v5.COMPRESSED
        source, matrix = elements, element
        if element.kind == v5.COMPRESSED:
            if names is not None and _packed_name(elements, element) not in names:
                continue
            source = inflate(elements, element)
            matrix = source.element(0, len(source.buffer))
        reader = _Reader(source)
        header = reader.header(matrix)
        # A variable without a name is MATLAB's internal storage for objects.
        if header.name and (names is None or header.name in names):
            variables[header.name] = reader.value(header, depth=1)
    return variables, compressed


def _top_level(elements: Elements) -> Iterator[Element]:
    offset, end = mat_header.SIZE, len(elements.buffer)
    while offset < end:
        element = elements.element(offset, end)
        if element.kind not in (v5.MATRIX, v5.COMPRESSED):
            expected = f"a variable (type {v5.MATRIX}, or {v5.COMPRESSED} for a compressed one)"
            raise elements.damage(offset, f"an element of type {element.kind}", expected)
        yield element
        offset = element.next


def _packed_name(elements: Elements, packed: Element) -> str:
    """The name of a compressed variable, inflating only its start."""
    source = inflate_start(elements, packed)
    end = len(source.buffer)
    return _Reader(source).header(Element(v5.MATRIX, v5.TAG_SIZE, end - v5.TAG_SIZE, end)).name


class _Header(NamedTuple):
    """The header of a matrix; its payload lies from `body` to `end`."""

    kind: int
    flags: int
    shape: Shape
    name: str
    body: int
    end: int


class _Reader:
    """Reads the matrices of one buffer."""

    def __init__(self, elements: Elements) -> None:
        self._elements = elements

    def header(self, matrix: Element) -> _Header:
        """The header of a matrix: class, flags, shape, name."""
        elements = self._elements
        end = matrix.start + matrix.size
        if matrix.kind != v5.MATRIX:
            raise elements.damage(matrix.start, f"an element of type {matrix.kind}", f"type {v5.MATRIX}")
        element = elements.element(matrix.start, end)
        flags = elements.integers(element, (v5.UINT32,), "array flags")
        if len(flags) != 2:
            raise elements.damage(element.start, f"{len(flags)} words of array flags", "2")
        kind = flags[0] & 0xFF
        shape: Shape = ()
        if kind != v5.OPAQUE:
            element = elements.element(element.next, end)
            shape = tuple(elements.integers(element, (v5.INT32,), "array dimensions"))
            if not is_shape(shape):
                raise elements.damage(element.start, f"array dimensions {list(shape)}", "the size of an array")
        name, body = elements.name(element.next, end, "an array name")
        return _Header(kind, flags[0], shape, name, body, end)

    def value(self, header: _Header, depth: int) -> Any:
        """The value of the matrix with this header, at nesting level `depth`."""
        if header.kind in v5.CLASS_TYPE:
            return self._numeric(header)
        if header.kind == v5.CHAR:
            return self._text(header)
        if header.kind == v5.CELL:
            return self._cell(header, depth)
        if header.kind == v5.STRUCT:
            return self._struct(header, depth)
        if header.kind == v5.SPARSE:
            return self._sparse(header)
        if header.kind in (v5.OBJECT, v5.FUNCTION, v5.OPAQUE):
            return self._opaque(header)
        raise self._elements.damage(header.body, f"an array of class {header.kind}", "a MATLAB class (1-17)")

    def _numeric(self, header: _Header) -> np.ndarray:
        count = prod(header.shape)
        dtype = v5.CLASS_TYPE[header.kind]
        real, offset = self._stored(header.body, header.end, count)
        self._widen(real, dtype, 2 if header.flags & v5.COMPLEX_FLAG else 1, header.body)
        if header.flags & v5.LOGICAL_FLAG:
            return as_logical(real).reshape(header.shape, order="F")
        values = self._as_class(real, dtype, header.body)
        if header.flags & v5.COMPLEX_FLAG:
            imaginary, _ = self._stored(offset, header.end, count)
            values = as_complex(values, self._as_class(imaginary, dtype, offset))
        return values.reshape(header.shape, order="F")

    def _widen(self, stored: np.ndarray, dtype: np.dtype, parts: int, offset: int) -> None:
        """Check, before allocation, the memory of numbers stored in a narrower type than their class."""
        if not self._elements.limits.allow_wider(stored.size, stored.dtype, dtype, parts):
            raise self._elements.damage(offset, f"{stored.size:,} {stored.dtype} numbers of class {dtype}", MOST_WIDE)

    def _stored(self, offset: int, end: int, count: int) -> tuple[np.ndarray, int]:
        """The `count` numbers stored at `offset`, and the offset of the next element."""
        if count == 0 and offset == end:
            return np.zeros(0, np.uint8), end
        element = self._elements.element(offset, end)
        numbers = self._elements.numbers(element)
        if numbers.size != count:
            raise self._elements.damage(offset, f"{numbers.size:,} numbers", f"{count:,}, the array's size")
        return numbers, element.next

    def _as_class(self, stored: np.ndarray, dtype: np.dtype, offset: int) -> np.ndarray:
        values = as_class(stored, dtype)
        if values is None:
            raise self._elements.damage(offset, f"{stored.dtype} numbers", f"numbers that fit class {dtype}")
        return values

    def _text(self, header: _Header) -> str | CharArray:
        elements = self._elements
        count = prod(header.shape)
        if count == 0:
            return chars.to_text(np.zeros(0, np.uint16), header.shape)
        element = elements.element(header.body, header.end)
        if not elements.limits.allow_text(element.size):
            raise elements.damage(element.start, f"text of {element.size:,} bytes", MOST_TEXT)
        shape = header.shape
        if len(shape) == 2 and shape[0] == 1 and (row := self._row(element, count)) is not None:
            return row
        try:
            units = _units(elements, element)
        except UnicodeDecodeError as error:
            raise elements.damage(element.start, f"text that is not Unicode ({error})", "UTF-8") from error
        if element.kind in (v5.UTF8, v5.UTF32) and units.size and len(shape) == 2 and shape[0] == 1:
            # Depending on the writer, the length of such a row counts bytes, code points or code units.
            shape = (1, units.size)
        elif units.size != count:
            raise elements.damage(element.start, f"{units.size:,} characters", f"{count:,}, the array's size")
        self._count(chars.row_count(shape), element.start)
        return chars.to_text(units, shape)

    def _row(self, element: Element, count: int) -> str | None:
        """Fast path for a row of 8-bit or 16-bit characters, for files with thousands of class names.

        None if it is stored differently, or does not have `count` characters.
        """
        if element.kind in (v5.UINT16, v5.UTF16) and element.size == 2 * count:
            codec = "utf-16-be" if self._elements.order == ">" else "utf-16-le"
        elif element.kind == v5.UTF8 and element.size == count:
            codec = "ascii"
        else:
            return None
        try:
            text = self._elements.content(element).decode(codec, "strict" if codec == "ascii" else "surrogatepass")
        except UnicodeDecodeError:
            return None
        self._count(1, element.start)
        return text

    def _cell(self, header: _Header, depth: int) -> Cell:
        items, _ = self._items(header.body, header.end, prod(header.shape), depth)
        return Cell(items, header.shape)

    def _items(self, offset: int, end: int, count: int, depth: int) -> tuple[list[Any], int]:
        """The `count` nested matrices from `offset` on, and the offset of the next element."""
        elements = self._elements
        if depth >= MAX_DEPTH:
            raise elements.damage(offset, f"values nested {depth + 1} deep", f"at most {MAX_DEPTH} levels")
        if count * v5.TAG_SIZE > end - offset:
            raise elements.damage(offset, f"{end - offset:,} bytes", f"{count:,} values of 8 or more bytes")
        self._count(count, offset)
        items = []
        for _ in range(count):
            element = elements.element(offset, end)
            offset = element.next
            # A cell or field that was never set has no payload.
            unset = element.kind == v5.MATRIX and element.size == 0
            items.append(empty() if unset else self.value(self.header(element), depth + 1))
        return items, offset

    def _count(self, count: int, offset: int) -> None:
        limits = self._elements.limits
        if not limits.allow_values(count):
            expected = f"at most {limits.max_values:,} in a file of this size"
            raise self._elements.damage(offset, f"{count:,} more values", expected)

    def _struct(self, header: _Header, depth: int) -> dict[str, Any] | StructArray:
        fields, offset = self._fields(header)
        count = prod(header.shape)
        self._count(count, offset)
        values, _ = self._items(offset, header.end, count * len(fields), depth)
        width = len(fields)
        rows = (values[width * i : width * (i + 1)] for i in range(count))
        structs = [dict(zip(fields, row, strict=True)) for row in rows]
        return structs[0] if count == 1 else StructArray(structs, header.shape, fields)

    def _fields(self, header: _Header) -> tuple[list[str], int]:
        """The field names of a struct, and the offset of its first value."""
        elements = self._elements
        element = elements.element(header.body, header.end)
        lengths = elements.integers(element, (v5.INT32,), "the length of field names")
        block = elements.element(element.next, header.end)
        length = lengths[0] if len(lengths) == 1 else 0
        if block.size and (length < 1 or block.size % length):
            raise elements.damage(block.start, f"{block.size} bytes of field names", f"names of {lengths}")
        starts = range(0, block.size, length) if block.size else range(0)
        self._count(len(starts), block.start)
        content = elements.content(block)
        fields = [content[start : start + length].split(b"\0")[0].decode("latin-1") for start in starts]
        if len(set(fields)) < len(fields):
            raise elements.damage(block.start, "a field name that occurs twice", "different field names")
        return fields, block.next

    def _sparse(self, header: _Header) -> Any:
        elements = self._elements
        columns = []
        offset = header.body
        for _ in range(4 if header.flags & v5.COMPLEX_FLAG else 3):
            element = elements.element(offset, header.end)
            columns.append(elements.numbers(element))
            offset = element.next
        rows, starts, data, *imaginary = columns
        problem = sparse_problem(rows, starts, min(part.size for part in (data, *imaginary)), header.shape)
        if problem:
            raise elements.damage(header.body, problem, "a sparse matrix")
        if header.flags & v5.LOGICAL_FLAG:
            return sparse_matrix(as_logical(data), rows, starts, header.shape, elements.limits)
        self._widen(data, np.dtype(np.float64), 1 + len(imaginary), header.body)
        values = data.astype(np.float64)
        if imaginary:
            values = as_complex(values, imaginary[0].astype(np.float64))
        return sparse_matrix(values, rows, starts, header.shape, elements.limits)

    def _opaque(self, header: _Header) -> Opaque:
        if header.kind == v5.FUNCTION:
            return Opaque("function_handle", "function_handle")
        if header.kind == v5.OBJECT:
            return Opaque("object", self._elements.name(header.body, header.end, "a class name")[0])
        # First the object system (MCOS or java), then the class.
        _, offset = self._elements.name(header.body, header.end, "an object system")
        return Opaque("opaque", self._elements.name(offset, header.end, "a class name")[0])


def _units(elements: Elements, element: Element) -> np.ndarray:
    """The UTF-16 code units of a char payload in any encoding."""
    big = elements.order == ">"
    if element.kind == v5.UTF8:
        return chars.encode(elements.content(element).decode("utf-8", "surrogatepass"))
    if element.kind == v5.UTF32:
        return chars.encode(elements.content(element).decode("utf-32-be" if big else "utf-32-le", "surrogatepass"))
    kind = v5.UINT16 if element.kind == v5.UTF16 else element.kind
    if kind not in (1, 2, 3, v5.UINT16):
        raise elements.damage(element.start, f"text of type {element.kind}", "8-bit, 16-bit or Unicode text")
    numbers = elements.numbers(element._replace(kind=kind))
    return numbers.astype(np.uint8 if numbers.dtype.itemsize == 1 else np.uint16)
