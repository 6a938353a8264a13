"""Writer for MAT v7.3: HDF5 with MATLAB's attributes, deterministic.

The file is readable by HDF5 1.8 and has no time stamps. Elements of cells and struct arrays are numbered in depth-first
order.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import h5py
import numpy as np
from h5py import h5a, h5s, h5t

from matnet.errors import FileFormatError
from matnet.files import atomic_path
from matnet.formats.mat import chars
from matnet.formats.mat.classes import class_name
from matnet.formats.mat.header import USER_BLOCK, header_bytes
from matnet.formats.mat.slabs import slabs
from matnet.formats.mat.sparse import canonical
from matnet.formats.mat.values import Cell, CharArray, Opaque, Shape, StructArray, empty

_LEVEL = 3
# Minimum size in bytes of arrays to compress.
_MIN_COMPRESSED = 4096
_CHUNK_BYTES = 2**20

# Values of attribute MATLAB_int_decode for classes stored as integers.
_INT_DECODE = {"logical": 1, "char": 2}
_FIELD_NAME = h5py.vlen_dtype(np.dtype("S1"))


def write_v73(path: Path, variables: Mapping[str, Any], compress: bool) -> None:
    """Write validated variables. compress: compress arrays of 4 KiB and more.

    Raises FileFormatError if HDF5 cannot write, such as on a full disk.
    """
    with atomic_path(path) as temporary, temporary.open("rb+") as target:
        sink = Sink(target)
        try:
            with h5py.File(sink, "w", libver=("earliest", "v108"), userblock_size=USER_BLOCK) as file:
                writer = _Writer(file, compress)
                for name, value in variables.items():
                    writer.put(file, name, value)
                    sink.check()
            sink.check()
            target.seek(0)
            target.write(header_bytes("7.3"))
            target.flush()
        except (OSError, RuntimeError) as error:
            reason = sink.failure or error
            raise FileFormatError(f"{path}: not written ({reason}); is the disk full?") from error


class Sink:
    """A file object for HDF5 that never raises.

    After a failed write, such as on a full disk, HDF5 leaves objects that crash the process when they are freed. So
    this class records the first failure for `check`, and drops all later writes.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.failure: OSError | None = None

    def check(self) -> None:
        """Raise the first failure, if there was one."""
        if self.failure is not None:
            raise self.failure

    def write(self, content: Any) -> int:
        if self.failure is None:
            try:
                return self._file.write(content)
            except OSError as error:
                self.failure = error
        return len(content)

    def read(self, size: int = -1) -> bytes:
        return self._file.read(size) if self.failure is None else b""

    def readinto(self, buffer: Any) -> int:
        found = 0
        if self.failure is None:
            found = self._file.readinto(buffer)  # type: ignore[attr-defined]
        return found

    def truncate(self, size: int) -> int:
        if self.failure is None:
            try:
                return self._file.truncate(size)
            except OSError as error:
                self.failure = error
        return size

    def flush(self) -> None:
        if self.failure is None:
            try:
                self._file.flush()
            except OSError as error:
                self.failure = error

    def seek(self, offset: int, whence: int = 0) -> int:
        if self.failure is not None:
            return offset
        try:
            return self._file.seek(offset, whence)
        except OSError as error:  # flushes the buffer
            self.failure = error
            return offset

    def tell(self) -> int:
        return self._file.tell() if self.failure is None else 0


class _Writer:
    """Writes values to one file; creates `#refs#` for the first cell or struct array."""

    def __init__(self, file: h5py.File, compress: bool) -> None:
        self._file = file
        self._compress = compress
        self._references: h5py.Group | None = None
        self._count = 0

    def put(self, group: h5py.Group, name: str, value: Any) -> Any:
        """Write `value` as `name` in `group`; returns the new object."""
        if isinstance(value, np.ndarray):
            return self._array(group, name, value)
        if isinstance(value, (str, CharArray)):
            units, shape = chars.to_units(value)
            return self._array(group, name, units.reshape(shape, order="F"), "char")
        if isinstance(value, dict):
            return self._struct(group, name, value)
        if isinstance(value, StructArray):
            return self._struct_array(group, name, value)
        if isinstance(value, Cell):
            return self._cell(group, name, value)
        if isinstance(value, Opaque):
            return self._array(group, name, empty())
        return self._sparse(group, name, value)

    def _array(self, group: h5py.Group, name: str, array: np.ndarray, kind: str | None = None) -> h5py.Dataset:
        kind = kind or class_name(array.dtype)
        dataset = self._data(group, name, array) if array.size else self._empty(group, name, array.shape)
        _set_class(dataset, kind or "")
        if kind in _INT_DECODE:
            _set_number(dataset, "MATLAB_int_decode", np.int32(_INT_DECODE[kind]))
        return dataset

    def _data(self, group: h5py.Group, name: str, array: np.ndarray) -> h5py.Dataset:
        """Write the array's transpose, which has the same byte order in memory."""
        stored = _storable(array).T
        options: dict[str, Any] = {}
        if self._compress and stored.nbytes >= _MIN_COMPRESSED:
            options = {"chunks": _chunk(stored), "compression": "gzip", "compression_opts": _LEVEL}
        dataset = group.create_dataset(name, stored.shape, stored.dtype, track_times=False, **options)
        # Write whole chunks, because HDF5 would compress a chunk again for each part.
        for part in slabs(stored, multiple=dataset.chunks[0] if dataset.chunks else 1):
            dataset[part] = np.ascontiguousarray(stored[part])
        return dataset

    def _empty(self, group: h5py.Group, name: str, shape: Shape) -> h5py.Dataset:
        """An empty value: MATLAB stores its dimensions in place of data."""
        dataset = group.create_dataset(name, data=np.array(shape, np.uint64), track_times=False)
        _set_number(dataset, "MATLAB_empty", np.uint8(1))
        return dataset

    def _struct(self, group: h5py.Group, name: str, value: dict[str, Any]) -> Any:
        if not value:
            return self._without_elements(group, name, (1, 1), ())
        struct = self._struct_group(group, name, tuple(value))
        for field, content in value.items():
            self.put(struct, field, content)
        return struct

    def _struct_group(self, group: h5py.Group, name: str, fields: tuple[str, ...]) -> h5py.Group:
        struct = group.create_group(name)
        _set_class(struct, "struct")
        _set_fields(struct, fields)
        return struct

    def _without_elements(self, group: h5py.Group, name: str, shape: Shape, fields: tuple[str, ...]) -> h5py.Dataset:
        """A struct array without elements or fields: its dimensions and field names."""
        dataset = self._empty(group, name, shape)
        _set_class(dataset, "struct")
        if fields:
            _set_fields(dataset, fields)
        return dataset

    def _struct_array(self, group: h5py.Group, name: str, value: StructArray) -> Any:
        if not value or not value.fields:
            return self._without_elements(group, name, value.shape, value.fields)
        if len(value) == 1:
            return self._struct(group, name, {field: value[0][field] for field in value.fields})
        struct = self._struct_group(group, name, value.fields)
        for field in value.fields:
            self._reference_data(struct, field, [item[field] for item in value], value.shape)
        return struct

    def _cell(self, group: h5py.Group, name: str, value: Cell) -> h5py.Dataset:
        if value:
            dataset = self._reference_data(group, name, value, value.shape)
        else:
            dataset = self._empty(group, name, value.shape)
        _set_class(dataset, "cell")
        return dataset

    def _reference_data(self, group: h5py.Group, name: str, items: list[Any], shape: Shape) -> h5py.Dataset:
        """Write the items into `#refs#`, and references to them as `name`."""
        references = np.empty(len(items), h5py.ref_dtype)
        references[:] = [self._refer(item) for item in items]
        return group.create_dataset(name, data=references.reshape(shape[::-1]), track_times=False)

    def _refer(self, value: Any) -> h5py.Reference:
        if self._references is None:
            self._references = self._file.create_group("#refs#")
            # MATLAB writes this placeholder for elements that were never set.
            unset = self._empty(self._references, "a", (0, 0))
            _set_class(unset, "canonical empty")
        self._count += 1
        return self.put(self._references, f"b{self._count:07d}", value).ref

    def _sparse(self, group: h5py.Group, name: str, value: Any) -> h5py.Group:
        columns = canonical(value)
        matrix = group.create_group(name)
        _set_class(matrix, class_name(columns.dtype) or "")
        _set_number(matrix, "MATLAB_sparse", np.uint64(columns.shape[0]))
        if columns.dtype == bool:
            _set_number(matrix, "MATLAB_int_decode", np.int32(_INT_DECODE["logical"]))
        parts = {"jc": columns.indptr.astype(np.uint64)}
        if columns.nnz:
            parts = {"data": _storable(columns.data), "ir": columns.indices.astype(np.uint64), **parts}
        for part, numbers in parts.items():
            matrix.create_dataset(part, data=numbers, track_times=False)
        return matrix


def _storable(array: np.ndarray) -> np.ndarray:
    """The array in its storage type: bool as uint8, complex as {real, imag}, little-endian."""
    if array.dtype.kind == "b":
        return array.view(np.uint8)
    little = array.dtype.newbyteorder("<")
    array = array.astype(little, copy=False)
    if array.dtype.kind != "c":
        return array
    part = np.dtype(f"<f{array.itemsize // 2}")
    return array.view(np.dtype([("real", part), ("imag", part)]))


def _chunk(stored: np.ndarray) -> tuple[int, ...]:
    """A chunk shape of about 1 MiB: whole trailing axes, and a part of the next one."""
    sizes = []
    room = max(1, _CHUNK_BYTES // stored.itemsize)
    for size in reversed(stored.shape):
        sizes.append(max(1, min(size, room)))
        room //= sizes[-1]
    return tuple(reversed(sizes))


def _set_class(item: Any, text: str) -> None:
    """Write the attribute MATLAB_class, of exactly the length of the text, as MATLAB does."""
    content = np.array(text.encode("ascii"))
    kind = h5t.C_S1.copy()
    kind.set_size(content.itemsize)
    h5a.create(item.id, b"MATLAB_class", kind, h5s.create(h5s.SCALAR)).write(content, mtype=kind)


def _set_number(item: Any, name: str, number: np.generic) -> None:
    content = np.asarray(number)
    h5a.create(item.id, name.encode(), h5t.py_create(content.dtype), h5s.create(h5s.SCALAR)).write(content)


def _set_fields(item: Any, fields: tuple[str, ...]) -> None:
    """Write the field names in order, each as an array of characters."""
    names = np.empty(len(fields), object)
    names[:] = [np.frombuffer(field.encode("ascii"), "S1") for field in fields]
    item.attrs.create("MATLAB_fields", names, dtype=_FIELD_NAME)
