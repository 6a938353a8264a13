"""Files mapped read-only into memory."""

from __future__ import annotations

import ctypes
import mmap
import os
import sys
import weakref
from typing import Any

import numpy as np

from matnet.errors import FileFormatError


def map_file(path: str | os.PathLike[str]) -> memoryview:
    """Map a non-empty file read-only into memory. Raises FileFormatError.

    The mapping lives as long as the view or arrays made from it. No file descriptor stays open, except on Windows.
    """
    try:
        with open(path, "rb") as file:
            found = os.fstat(file.fileno())
            held = _mapping(file.fileno(), found.st_size)
    except (OSError, ValueError) as error:
        raise FileFormatError(f"{path}: cannot be read: {error}") from error
    view = memoryview(held).cast("B").toreadonly()
    start = np.frombuffer(view, np.uint8).ctypes.data
    _mapped[start] = start + len(view), (found.st_dev, found.st_ino)
    weakref.finalize(held, _mapped.pop, start, None).atexit = False
    return view


def in_memory(array: np.ndarray) -> np.ndarray:
    """A read-only copy if the array lies in a mapped file, otherwise the array itself."""
    first = array.ctypes.data
    if not any(start <= first < end for start, (end, _) in tuple(_mapped.items())):
        return array
    copy = np.array(array, order="K", copy=True, subok=False)
    copy.flags.writeable = False
    return copy


def is_mapped(found: os.stat_result) -> bool:
    """Whether this process maps the file, under any of its names."""
    return (found.st_dev, found.st_ino) in [file for _, file in tuple(_mapped.values())]


_mapped: dict[int, tuple[int, tuple[int, int]]] = {}
"""Start address of a mapped file -> its end address (exclusive); its device and number."""


def _mapping(descriptor: int, size: int) -> Any:
    """A buffer object of the file's bytes that unmaps them when it is deleted.

    Not `mmap.mmap` where it would keep a duplicate of the descriptor (before Python 3.13).
    """
    if sys.version_info >= (3, 13):
        return mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ, trackfd=os.name != "posix")
    if os.name != "posix":
        return mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)
    system = ctypes.CDLL(None, use_errno=True)
    system.mmap.restype = ctypes.c_void_p
    system.mmap.argtypes = (
        ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long
    )  # fmt: skip
    system.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
    address = system.mmap(None, size, mmap.PROT_READ, mmap.MAP_SHARED, descriptor, 0)
    if address in (None, ctypes.c_void_p(-1).value):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    held = (ctypes.c_ubyte * size).from_address(address)
    weakref.finalize(held, system.munmap, address, size).atexit = False  # at exit, other threads may still read it
    return held
