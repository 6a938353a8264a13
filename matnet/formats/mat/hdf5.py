"""Safe reading of HDF5 files from MATLAB and Caffe: attributes, links and data sets."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from h5py import h5a, h5d, h5l, h5s, h5t

from matnet.errors import FileFormatError, MatnetError
from matnet.formats.mat.limits import FREE_BYTES, MAX_AXES, Limits
from matnet.formats.mat.values import Shape

HELPER_GROUPS = ("#refs#", "#subsystem#")

# Exceptions of h5py for damaged files; the type depends on where HDF5, h5py or numpy fails.
_ERRORS = (OSError, RuntimeError, LookupError, ValueError, TypeError, AttributeError, OverflowError, struct.error)

VIEWED_FROM = 2**16
"""Minimum size in bytes for an array to be a view of the mapped file; smaller ones are read just as fast."""

_LAYOUTS = (h5d.COMPACT, h5d.CONTIGUOUS, h5d.CHUNKED)

# Minimum size of a chunk's entry in the file's index. HDF5 takes minutes for millions of missing chunks.
_CHUNK_ENTRY = 24
_FREE_CHUNKS = 2**16

# Attributes are read into one of these types, whatever their length or integer type; longer text is truncated.
_TEXT_BUFFER = np.dtype("S256")
_NUMBER_BUFFER = np.dtype(np.int64)
_TEXT = h5t.C_S1.copy()
_TEXT.set_size(_TEXT_BUFFER.itemsize)


class Elsewhere(ValueError):
    """A reference to content outside the file; no program that writes networks creates one."""


@contextmanager
def file_errors(path: Path) -> Iterator[None]:
    """Turn any exception of h5py for a damaged file into a FileFormatError that names `path`."""
    try:
        yield
    except MatnetError:
        raise
    except Elsewhere as error:
        raise FileFormatError(f"{path}: {error}; matnet does not read other files, use a self-contained file") from None
    except _ERRORS as error:
        raise FileFormatError(
            f"{path}: HDF5 cannot read it ({_reason(error)}); the file is truncated or damaged, fetch or copy it again"
        ) from error


_OF_LIBRARY = re.compile(r"[A-Z][\w']+ .*\(.*\)|[A-Z][a-z']+ .*(?:object|identifier|id|file)\b|'?\"?(?:Unable|Can't)")
"""Matches error messages of the HDF5 library, as opposed to those raised here."""
_CUT = re.compile(r"eof = (\d+), sblock->base_addr = (\d+), stored_eof = (\d+)")


def _reason(error: Exception) -> str:
    """A readable reason why a file cannot be read."""
    text = str(error)
    cut = _CUT.search(text)
    if cut is not None:
        found, before, stored = map(int, cut.groups())
        return f"it has {found + before} of {stored} bytes" if found + before < stored else "it is truncated"
    return text if text and not _OF_LIBRARY.match(text) else "its structure is damaged"


def text_attribute(item: Any, name: bytes) -> str | None:
    """A string attribute; None if it is absent."""
    if not h5a.exists(item, name):
        return None
    found = h5a.open(item, name)
    kind = found.get_type()
    if kind.get_class() != h5t.STRING or kind.is_variable_str():
        # Variable-length data in a damaged file can crash HDF5 (see hdf5_fields). MATLAB does not write any here.
        raise ValueError(f"attribute {name.decode()} is not a string of fixed length")
    content: bytes = _single(found, _TEXT, _TEXT_BUFFER)
    return content.decode("utf-8", "replace")


def number_attribute(item: Any, name: bytes) -> int | None:
    """An integer attribute; None if it is absent."""
    if not h5a.exists(item, name):
        return None
    found = h5a.open(item, name)
    if found.get_type().get_class() != h5t.INTEGER:
        raise ValueError(f"attribute {name.decode()} is not an integer")
    return int(_single(found, h5t.NATIVE_INT64, _NUMBER_BUFFER))


def _single(found: Any, kind: Any, dtype: np.dtype) -> Any:
    shape = found.shape
    if prod(shape) != 1:
        raise ValueError(f"an attribute has {prod(shape)} values; expected one")
    content = np.empty(shape, dtype)
    found.read(content, mtype=kind)
    return content.item()


def link_names(group: Any) -> list[str]:
    """The names in a group, in HDF5's alphabetical order.

    Raises Elsewhere for soft and external links: neither MATLAB nor Caffe writes them, and following them could read
    other files.
    """
    names = []
    for name in group:
        if group.links.get_info(name).type != h5l.TYPE_HARD:
            raise Elsewhere(f"{name.decode(errors='replace')!r} is a soft or external link")
        names.append(name.decode())
    return names


class StoredData:
    """Reads the arrays of one file. `compressed`: whether any array read so far was compressed.

    mapped: the file's bytes, so that large arrays can be read-only views; None: read every array into memory.
    """

    def __init__(self, limits: Limits, file_size: int, mapped: memoryview | None = None) -> None:
        self._limits, self._mapped = limits, mapped
        self._free_chunks = max(_FREE_CHUNKS, file_size // _CHUNK_ENTRY)
        self.compressed = False

    def read(self, dataset: Any) -> np.ndarray:
        """A whole data set in HDF5's shape and native byte order.

        Raises ValueError, before allocating anything, for a size or chunking that no MATLAB file of this size has, and
        Elsewhere for external storage.
        """
        shape, dtype = dataset.shape, dataset.dtype
        size = prod(shape) * dtype.itemsize
        if dtype.hasobject and h5py.check_ref_dtype(dtype) is not h5py.Reference:
            raise ValueError(f"a data set has unexpected type {dtype}")
        # The storage size requires a walk through the data set's index, so get it only for large ones.
        stored_size = dataset.get_storage_size() if size > FREE_BYTES else size
        if len(shape) > MAX_AXES or not self._limits.allow_bytes(size, stored_size):
            raise ValueError(f"a data set declares {list(shape)} values of {dtype}, too many for a file of this size")
        creation = dataset.get_create_plist()
        self._check_storage(creation, shape, size, dtype.itemsize)
        view = self._view(dataset, creation, size)
        if view is not None:
            return view
        stored = np.empty(shape, dtype.newbyteorder("="))
        if size:
            dataset.read(h5s.ALL, h5s.ALL, stored)
        return stored

    def _view(self, dataset: Any, creation: Any, size: int) -> np.ndarray | None:
        """A view of a data set's values in the mapped file; None if they must be read.

        The offset comes from the file and may be wrong. It is used only for plain native numbers, contiguous and
        unfiltered, with all bytes stored and inside the file. (HDF5 also gives an offset for values that are not
        stored.)
        """
        kind = dataset.dtype
        if self._mapped is None or size < VIEWED_FROM or kind.kind not in "uif" or not kind.isnative:
            return None
        if creation.get_layout() != h5d.CONTIGUOUS or creation.get_nfilters() or creation.get_external_count():
            return None
        if not dataset.get_type().equal(h5t.py_create(kind)) or dataset.get_storage_size() != size:
            return None
        offset = dataset.get_offset()
        if offset is None or offset < 0 or offset % kind.itemsize or offset + size > len(self._mapped):
            return None
        view: np.ndarray = np.frombuffer(self._mapped, kind, size // kind.itemsize, offset).reshape(dataset.shape)
        return view

    def _check_storage(self, creation: Any, shape: Shape, size: int, itemsize: int) -> None:
        layout = creation.get_layout()
        if layout not in _LAYOUTS or creation.get_external_count():
            raise Elsewhere("a data set is stored in another file (external or virtual storage)")
        self.compressed = self.compressed or creation.get_nfilters() > 0
        if layout == h5d.CHUNKED:
            chunk = creation.get_chunk()
            chunks = prod(-(-size // step) for size, step in zip(shape, chunk, strict=True))
            # HDF5 allocates whole chunks, even for data sets smaller than a chunk.
            if chunks > self._free_chunks or prod(chunk) * itemsize > max(FREE_BYTES, size):
                raise ValueError(f"a data set of {list(shape)} values has {chunks:,} chunks of {list(chunk)}")
