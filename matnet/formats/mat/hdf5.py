"""HDF5 as MATLAB and Caffe use it: attributes, links, and data sets that are checked before they are read."""

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

# What h5py raises for a damaged file, depending on where HDF5, h5py or numpy stumbles.
_ERRORS = (
    OSError,
    RuntimeError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    OverflowError,
    struct.error,
)

VIEWED_FROM = 2**16
"""Bytes from which an array may be a view of the mapped file; smaller ones are read as fast."""

_LAYOUTS = (h5d.COMPACT, h5d.CONTIGUOUS, h5d.CHUNKED)

# A chunk takes at least this much in the file's index; on millions of missing ones HDF5 would spend minutes.
_CHUNK_ENTRY = 24
_FREE_CHUNKS = 2**16

# Attributes are read as one of these, whatever their own length and integer type; longer text is cut.
_TEXT_BUFFER = np.dtype("S256")
_NUMBER_BUFFER = np.dtype(np.int64)
_TEXT = h5t.C_S1.copy()
_TEXT.set_size(_TEXT_BUFFER.itemsize)


class Elsewhere(ValueError):
    """Content that lies outside the file, which no program that writes networks asks for."""


@contextmanager
def file_errors(path: Path) -> Iterator[None]:
    """Turn whatever h5py raises for a damaged file into a FileFormatError that names `path`."""
    try:
        yield
    except MatnetError:
        raise
    except Elsewhere as error:
        raise FileFormatError(f"{path}: {error}; nothing outside the file is read, take a file that is whole") from None
    except _ERRORS as error:
        raise FileFormatError(
            f"{path}: HDF5 cannot read it ({_reason(error)}); the file is cut or damaged, fetch or copy it again"
        ) from error


_OF_LIBRARY = re.compile(r"[A-Z][\w']+ .*\(.*\)|[A-Z][a-z']+ .*(?:object|identifier|id|file)\b|'?\"?(?:Unable|Can't)")
"""How the HDF5 library words its errors; those that are raised here begin with a small letter or an article."""
_CUT = re.compile(r"eof = (\d+), sblock->base_addr = (\d+), stored_eof = (\d+)")


def _reason(error: Exception) -> str:
    """Why a file cannot be read, in plain words."""
    text = str(error)
    cut = _CUT.search(text)
    if cut is not None:
        found, before, stored = map(int, cut.groups())
        return f"it has {found + before} of {stored} bytes" if found + before < stored else "it is cut"
    return text if text and not _OF_LIBRARY.match(text) else "its structure is damaged"


def text_attribute(item: Any, name: bytes) -> str | None:
    """A string attribute; None if it is absent."""
    if not h5a.exists(item, name):
        return None
    found = h5a.open(item, name)
    kind = found.get_type()
    if kind.get_class() != h5t.STRING or kind.is_variable_str():
        # Variable-length data of a damaged file can crash HDF5 (see hdf5_fields); MATLAB writes none here.
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
        raise ValueError(f"an attribute of {prod(shape)} values")
    content = np.empty(shape, dtype)
    found.read(content, mtype=kind)
    return content.item()


def link_names(group: Any) -> list[str]:
    """The names in a group, by alphabet as HDF5 keeps them.

    Raises Elsewhere for a link that leads out of the file or by name: neither MATLAB nor Caffe writes one, and
    following it could read other files.
    """
    names = []
    for name in group:
        if group.links.get_info(name).type != h5l.TYPE_HARD:
            raise Elsewhere(f"{name.decode(errors='replace')!r} is a link to another place or file")
        names.append(name.decode())
    return names


class StoredData:
    """The arrays of one file; `compressed` says whether any that was read is filtered (deflated).

    mapped: the file's bytes, of which large arrays may be read-only views; None: every array is read into memory.
    """

    def __init__(self, limits: Limits, file_size: int, mapped: memoryview | None = None) -> None:
        self._limits, self._mapped = limits, mapped
        self._free_chunks = max(_FREE_CHUNKS, file_size // _CHUNK_ENTRY)
        self.compressed = False

    def read(self, dataset: Any) -> np.ndarray:
        """A whole data set in HDF5's shape and this machine's byte order.

        Raises ValueError, before anything is allocated, for a size, a chunking or (Elsewhere) a place of storage
        that no MATLAB file of this size has.
        """
        shape, dtype = dataset.shape, dataset.dtype
        size = prod(shape) * dtype.itemsize
        if dtype.hasobject and h5py.check_ref_dtype(dtype) is not h5py.Reference:
            raise ValueError(f"a data set of type {dtype}, which such files do not have")
        # Counting the bytes that a data set takes in the file means walking its index; few are so large.
        stored_size = dataset.get_storage_size() if size > FREE_BYTES else size
        if len(shape) > MAX_AXES or not self._limits.allow_bytes(size, stored_size):
            raise ValueError(f"a data set promises {list(shape)} values of {dtype}, beyond what such a file holds")
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
        """The values of a data set where they lie in the file; None where they must be read.

        The place is the file's own statement, which may be false: it counts only for plain numbers of this machine's
        form, in one piece without a filter, whose bytes are all stored and within the file. HDF5 states a place also
        for values that are not stored.
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
            raise Elsewhere("a data set lies in another file (external or virtual storage)")
        self.compressed = self.compressed or creation.get_nfilters() > 0
        if layout == h5d.CHUNKED:
            chunk = creation.get_chunk()
            chunks = prod(-(-size // step) for size, step in zip(shape, chunk, strict=True))
            # HDF5 takes memory for a whole chunk, however little of it lies in the data set.
            if chunks > self._free_chunks or prod(chunk) * itemsize > max(FREE_BYTES, size):
                raise ValueError(f"a data set of {list(shape)} values in {chunks:,} chunks of {list(chunk)}")
