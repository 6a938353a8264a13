"""HDF5 as MATLAB uses it: attributes, file order, and data sets that are checked before they are read."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from h5py import h5a, h5d, h5l, h5o, h5s

from matnet.errors import FileFormatError, MatnetError
from matnet.formats.mat.limits import MAX_AXES, Limits

HELPER_GROUPS = ("#refs#", "#subsystem#")

# What h5py raises for a damaged file, depending on where HDF5, h5py or numpy stumbles.
_ERRORS = (
    OSError,
    RuntimeError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    MemoryError,
    OverflowError,
    struct.error,
)

_LAYOUTS = (h5d.COMPACT, h5d.CONTIGUOUS, h5d.CHUNKED)

# A chunk takes at least this much in the file's index; on millions of missing ones HDF5 would spend minutes.
_CHUNK_ENTRY = 24
_FREE_CHUNKS = 2**16

_MAX_ATTRIBUTE = 2**20


@contextmanager
def file_errors(path: Path) -> Iterator[None]:
    """Turn whatever h5py raises for a damaged file into a FileFormatError that names `path`."""
    try:
        yield
    except MatnetError:
        raise
    except _ERRORS as error:
        reason = str(error) or type(error).__name__
        raise FileFormatError(
            f"{path}: HDF5 cannot read it ({reason}); the file is cut or damaged, fetch or copy it again"
        ) from error


def attribute(item: Any, name: str) -> Any:
    """An attribute's value: str for text, a number for one element, else an array; None if it is absent."""
    if not h5a.exists(item, name.encode()):
        return None
    found = h5a.open(item, name.encode())
    if found.dtype.hasobject:
        # Variable-length data of a damaged file can crash HDF5 (see hdf5_fields); MATLAB has none here.
        raise ValueError(f"attribute {name} is of a type that MATLAB does not write")
    if prod(found.shape) * found.dtype.itemsize > _MAX_ATTRIBUTE:
        raise ValueError(f"attribute {name} promises {prod(found.shape):,} elements")
    content = np.empty(found.shape, found.dtype)
    found.read(content)
    value = content.item() if content.size == 1 else content
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def file_order(group: Any) -> list[str]:
    """The names in a group in the order in which their objects lie; HDF5 itself lists them by alphabet.

    Raises ValueError for a link that leads out of the file or by name: MATLAB writes none, and following
    them would read other files.
    """
    addresses = {}
    for name in group:
        if group.links.get_info(name).type != h5l.TYPE_HARD:
            raise ValueError(f"{name!r} is a link to another place, which MATLAB does not write")
        addresses[name.decode()] = h5o.get_info(group, name).addr
    return sorted(addresses, key=addresses.__getitem__)


class StoredData:
    """The arrays of one file; `compressed` tells whether any that was read is filtered (deflated)."""

    def __init__(self, limits: Limits, file_size: int) -> None:
        self._limits = limits
        self._free_chunks = max(_FREE_CHUNKS, file_size // _CHUNK_ENTRY)
        self.compressed = False

    def read(self, dataset: Any) -> np.ndarray:
        """A whole data set in HDF5's shape and this machine's byte order.

        Raises ValueError, before anything is allocated, for a size, a chunking or a place of storage that no
        MATLAB file of this size has.
        """
        shape, dtype = dataset.shape, dataset.dtype
        count = prod(shape)
        if dtype.hasobject and h5py.check_ref_dtype(dtype) is not h5py.Reference:
            raise ValueError(f"a data set of type {dtype}, which MATLAB does not write")
        if len(shape) > MAX_AXES or not self._limits.allow_bytes(count * dtype.itemsize):
            raise ValueError(
                f"a data set promises {list(shape)} values of {dtype}, beyond what such a file holds"
            )
        self._check_storage(dataset.get_create_plist(), shape, dtype)
        stored = np.empty(shape, dtype.newbyteorder("="))
        if count:
            dataset.read(h5s.ALL, h5s.ALL, stored)
        return stored

    def _check_storage(self, creation: Any, shape: tuple[int, ...], dtype: np.dtype) -> None:
        layout = creation.get_layout()
        if layout not in _LAYOUTS or creation.get_external_count():
            raise ValueError("a data set lies in another file, which MATLAB does not write")
        self.compressed = self.compressed or creation.get_nfilters() > 0
        if layout == h5d.CHUNKED:
            chunk = creation.get_chunk()
            chunks = prod(-(-size // step) for size, step in zip(shape, chunk, strict=True))
            if chunks > self._free_chunks or prod(chunk) * dtype.itemsize > self._limits.max_bytes:
                raise ValueError(f"a data set of {list(shape)} values in {chunks:,} chunks of {list(chunk)}")
