"""Reader for MAT v7.3: MATLAB's conventions on top of HDF5.

HDF5 stores a MATLAB array with reversed dimensions, so the transpose of the stored array has MATLAB's shape and Fortran
order, without a copy. Cells and struct arrays are data sets of references. A network has thousands of small objects, so
this module uses h5py's low-level interface, which is about ten times faster for them.
"""

from __future__ import annotations

from collections.abc import Collection
from math import prod
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from h5py import h5a, h5d, h5g, h5i, h5o, h5r

from matnet.errors import FileFormatError
from matnet.formats.mat import chars
from matnet.formats.mat.classes import NUMERIC, as_class, as_complex, as_logical, class_name
from matnet.formats.mat.hdf5 import HELPER_GROUPS, StoredData, file_errors, link_names, number_attribute, text_attribute
from matnet.formats.mat.hdf5_fields import FieldNames
from matnet.formats.mat.limits import MAPPED_FROM, MAX_DEPTH, MAX_REPEATS, MOST_TEXT, MOST_WIDE, Limits, is_shape
from matnet.formats.mat.sparse import sparse_matrix, sparse_problem
from matnet.formats.mat.values import Cell, CharArray, Opaque, Shape, StructArray, empty
from matnet.mapped import map_file


def read_v73(path: Path, names: Collection[str] | None, mmap: bool = True) -> tuple[dict[str, Any], bool]:
    """The variables of a MAT v7.3 file in alphabetical order (all, or those in `names`), and whether any is compressed.

    With `mmap`, large contiguous arrays of a file above MAPPED_FROM bytes are views of the mapped file. Raises
    FileFormatError for a truncated or damaged file, or one that declares more than it holds.
    """
    with file_errors(path), h5py.File(path, "r") as file:
        reader = _Reader(file, path, mmap)
        variables = {
            name: reader.value(h5o.open(file.id, name.encode()), depth=1)
            for name in link_names(file.id)
            if name not in HELPER_GROUPS and (names is None or name in names)
        }
        return variables, reader.data.compressed


class _Reader:
    """Reads the objects of one file. `depth`: nesting level of an object, from 1."""

    def __init__(self, file: h5py.File, path: Path, mmap: bool) -> None:
        self._file = file.id
        self._path = path
        content = map_file(path)
        self._limits = Limits(len(content))
        self._seen: set[int] = set()
        self._repeats = 0
        self._declared = FieldNames(content, file.userblock_size)
        mapped = content if mmap and len(content) > MAPPED_FROM else None
        self.data = StoredData(self._limits, len(content), mapped)

    def _damage(self, item: Any, found: str, expected: str) -> FileFormatError:
        name = (h5i.get_name(item) or b"an unnamed object").decode("utf-8", "replace")
        return FileFormatError(
            f"{self._path}: {name}: found {found}, expected {expected}; "
            f"the file is truncated or damaged, fetch or copy it again"
        )

    def value(self, item: Any, depth: int) -> Any:
        """The value of an HDF5 object."""
        if depth > MAX_DEPTH:
            raise self._damage(item, f"values nested {depth} deep", f"at most {MAX_DEPTH} levels")
        kind = text_attribute(item, b"MATLAB_class")
        if kind == "canonical empty":
            # MATLAB's shared object for all elements that were never set.
            return empty()
        self._see(item)
        decode = number_attribute(item, b"MATLAB_object_decode")
        if kind == "function_handle" or decode is not None:
            return _opaque(str(kind), decode)
        if isinstance(item, h5g.GroupID):
            return self._group(item, kind, depth)
        if isinstance(item, h5d.DatasetID):
            return self._dataset(item, kind, depth)
        raise self._damage(item, "a named data type", "a data set or a group")

    def _see(self, item: Any) -> None:
        """Limit repeated references to objects, so that the work is bounded by the size of the file."""
        address = h5o.get_info(item).addr
        self._repeats += address in self._seen
        self._seen.add(address)
        if self._repeats > MAX_REPEATS:
            raise self._damage(item, f"{self._repeats:,} repeated references", "separate elements")

    def _group(self, group: Any, kind: str | None, depth: int) -> Any:
        rows = number_attribute(group, b"MATLAB_sparse")
        if rows is not None:
            return self._sparse(group, kind, rows)
        if kind not in (None, "struct"):
            return Opaque("object", kind)
        fields = {name: h5o.open(group, name.encode()) for name in self._fields(group)}
        self._count(group, len(fields))
        if any(_is_struct_array_field(item) for item in fields.values()):
            return self._struct_array(group, fields, depth)
        return {name: self.value(item, depth + 1) for name, item in fields.items()}

    def _fields(self, group: Any) -> list[str]:
        declared, present = self._names(group), link_names(group)
        missing = set(declared) - set(present)
        if missing:
            raise self._damage(group, f"no field {min(missing)!r}", "all fields in MATLAB_fields")
        return [*declared, *(name for name in present if name not in declared)]

    def _names(self, item: Any) -> list[str]:
        """The field names that a struct declares, in order; MATLAB omits them for a single field."""
        if not h5a.exists(item, b"MATLAB_fields"):
            return []
        names = self._declared.of(h5o.get_info(item).addr)
        if len(set(names)) < len(names):
            raise self._damage(item, "a field name that occurs twice", "different field names")
        return names

    def _struct_array(self, group: Any, fields: dict[str, Any], depth: int) -> StructArray:
        columns = {}
        shapes = set()
        for name, item in fields.items():
            columns[name], shape = self._references(item)
            shapes.add(shape)
        if len(shapes) != 1:
            raise self._damage(group, f"struct array fields of shapes {sorted(shapes)}", "one shape")
        shape = shapes.pop()
        count = prod(shape)
        items = [{name: self._target(refs[i], depth) for name, refs in columns.items()} for i in range(count)]
        return StructArray(items, shape, fields)

    def _references(self, dataset: Any) -> tuple[list[Any], Shape]:
        """The references of a cell or of one field of a struct array (column-major), and MATLAB's shape."""
        if not _holds_references(dataset):
            raise self._damage(dataset, "other data", "references to the elements of a cell or struct array")
        self._count(dataset, prod(dataset.shape))
        stored = self.data.read(dataset)
        return stored.ravel().tolist(), _matlab(stored).shape

    def _target(self, reference: Any, depth: int) -> Any:
        """The value of a reference; a null reference is an element that was never set."""
        return self.value(h5r.dereference(reference, self._file), depth + 1) if reference else empty()

    def _count(self, item: Any, count: int) -> None:
        if not self._limits.allow_values(count):
            expected = f"at most {self._limits.max_values:,} in a file of this size"
            raise self._damage(item, f"{count:,} more values", expected)

    def _dataset(self, dataset: Any, kind: str | None, depth: int) -> Any:
        if number_attribute(dataset, b"MATLAB_empty"):
            return self._empty(dataset, kind)
        if kind == "cell" or (kind is None and _holds_references(dataset)):
            references, shape = self._references(dataset)
            return Cell([self._target(reference, depth) for reference in references], shape)
        if kind == "char":
            return self._text(dataset)
        if kind is None:
            kind = class_name(dataset.dtype)
        if kind == "logical":
            return _matlab(as_logical(self._real(dataset)))
        if kind in NUMERIC:
            return _matlab(self._numbers(dataset, NUMERIC[kind]))
        if kind is None or kind == "struct":
            raise self._damage(dataset, f"data of type {dataset.dtype} and class {kind}", "a MATLAB array")
        return Opaque("object", kind)

    def _empty(self, dataset: Any, kind: str | None) -> Any:
        """An empty value; its data set holds only its dimensions."""
        shape: Shape = tuple(int(dim) for dim in self._real(dataset).ravel())
        count = prod(shape)
        if not is_shape(shape) or (count and kind != "struct"):
            raise self._damage(dataset, f"dimensions {list(shape)} of an empty {kind}", "one of them 0")
        if kind == "char":
            return chars.to_text(np.zeros(0, np.uint16), shape)
        if kind == "cell":
            return Cell((), shape)
        if kind == "struct":
            # Struct arrays without fields are stored this way too, with any number of elements.
            fields = self._names(dataset)
            self._count(dataset, count * (1 + len(fields)))
            items = [{name: empty() for name in fields} for _ in range(count)]
            return items[0] if count == 1 else StructArray(items, shape, fields)
        if kind == "logical":
            return np.zeros(shape, bool)
        if kind in NUMERIC:
            return np.zeros(shape, NUMERIC[kind])
        return Opaque("object", str(kind))

    def _real(self, dataset: Any) -> np.ndarray:
        stored = self.data.read(dataset)
        if stored.dtype.kind not in "buif":
            raise self._damage(dataset, f"data of type {stored.dtype}", "real numbers")
        return stored

    def _numbers(self, dataset: Any, dtype: np.dtype) -> np.ndarray:
        """The real or complex numbers of a data set in the type of their class and HDF5's shape."""
        stored = self.data.read(dataset)
        if stored.dtype.names == ("real", "imag"):
            self._widen(dataset, stored["real"], dtype, 2)
            real, imaginary = as_class(stored["real"], dtype), as_class(stored["imag"], dtype)
            values = None if real is None or imaginary is None else as_complex(real, imaginary)
        else:
            self._widen(dataset, stored, dtype)
            values = as_class(stored, dtype) if stored.dtype.kind in "buif" else None
        if values is None:
            raise self._damage(dataset, f"data of type {stored.dtype}", f"numbers of class {dtype}")
        return values

    def _widen(self, dataset: Any, stored: np.ndarray, dtype: np.dtype, parts: int = 1) -> None:
        """Check, before allocation, the memory of numbers stored in a narrower type than their class."""
        if not self._limits.allow_wider(stored.size, stored.dtype, dtype, parts):
            raise self._damage(dataset, f"{stored.size:,} {stored.dtype} numbers of class {dtype}", MOST_WIDE)

    def _text(self, dataset: Any) -> str | CharArray:
        size = prod(dataset.shape) * dataset.dtype.itemsize
        if not self._limits.allow_text(size):
            raise self._damage(dataset, f"text of {size:,} bytes", MOST_TEXT)
        stored = self._real(dataset)
        units = as_class(stored, np.dtype(np.uint16))
        if units is None:
            raise self._damage(dataset, f"characters of type {stored.dtype}", "UTF-16 code units")
        shape = _matlab(stored).shape
        self._count(dataset, chars.row_count(shape))
        return chars.to_text(units.ravel(), shape)

    def _sparse(self, group: Any, kind: str | None, rows: int) -> Any:
        parts = {name: h5o.open(group, name.encode()) for name in link_names(group)}
        if "jc" not in parts or not all(isinstance(part, h5d.DatasetID) for part in parts.values()):
            raise self._damage(group, f"a sparse matrix of {sorted(parts)}", "data sets data, ir and jc")
        starts = self._real(parts["jc"]).ravel()
        # A zero matrix has neither indices nor values.
        indices = self._real(parts["ir"]).ravel() if "ir" in parts else np.zeros(0, np.uint64)
        double = NUMERIC["double"]
        data = self._numbers(parts["data"], double).ravel() if "data" in parts else np.zeros(0)
        shape = (rows, starts.size - 1)
        problem = sparse_problem(indices, starts, data.size, shape)
        if problem:
            raise self._damage(group, problem, "a sparse matrix")
        return sparse_matrix(as_logical(data) if kind == "logical" else data, indices, starts, shape, self._limits)


def _opaque(class_name: str, decode: Any) -> Opaque:
    """A function handle (MATLAB_object_decode 1), an object of an old-style class (2) or of MCOS (3)."""
    if class_name == "function_handle":
        return Opaque("function_handle", class_name)
    return Opaque("opaque" if decode == 3 else "object", class_name)


def _holds_references(dataset: Any) -> bool:
    return h5py.check_ref_dtype(dataset.dtype) is h5py.Reference


def _is_struct_array_field(item: Any) -> bool:
    """Whether a field is a data set of references without a class, which marks a struct array."""
    return isinstance(item, h5d.DatasetID) and not h5a.exists(item, b"MATLAB_class") and _holds_references(item)


def _matlab(stored: np.ndarray) -> np.ndarray:
    """An HDF5 array in MATLAB's shape; an array of rank 1, which MATLAB does not write, becomes a column."""
    return stored.T if stored.ndim > 1 else stored.reshape(-1, 1)
