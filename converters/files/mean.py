"""Read mean files: .binaryproto, .npy and .mat, all as C x H x W float32 in Caffe's channel order."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from matnet.converters.files.blobs import read_blob
from matnet.converters.files.wire import open_wire
from matnet.errors import FileFormatError, ShapeError
from matnet.files import existing_file
from matnet.mapped import map_file


def read_mean(path: str | os.PathLike[str], load_mat: Callable[[str], Mapping[str, Any]] | None = None) -> np.ndarray:
    """A mean file as C x H x W float32 in Caffe's channel order (BGR), 0-255.

    .binaryproto (a BlobProto of 1 x C x H x W or C x H x W); .npy (the same, or C values, returned as C x 1 x 1); .mat,
    read by `load_mat` (VGG's mean.mat: the variable `mean_img`, H x W x 3, RGB). Files with other extensions are read
    as binaryproto. Raises FileFormatError.
    """
    file = existing_file(path, "mean file")
    ending = file.suffix.lower()
    if ending == ".mat":
        mean = _from_mat(file, load_mat)
    elif ending == ".npy":
        mean = _from_npy(file)
    else:
        mean = _from_binaryproto(file)
    if not np.isfinite(mean).all():
        raise FileFormatError(f"{file}: the mean holds NaN or infinite values")
    return np.ascontiguousarray(mean, np.float32)


def _from_binaryproto(file: Path) -> np.ndarray:
    wire = open_wire(file, "mean file (binaryproto)")
    try:
        blob = read_blob(wire, 0, len(wire.data))
    except ShapeError as error:
        raise FileFormatError(f"{file}: the mean cannot be used: {error}") from None
    return _channels_first(file, blob.data)


_NPY_HEADER = re.compile(r"\{'descr': '([<>|=]?(?:f[248]|[iu][1248]))', 'fortran_order': (True|False), "
                         r"'shape': \(([0-9L, ]{0,60})\), \}\s*", re.ASCII)

_LONGEST_HEADER = 4096


def _from_npy(file: Path) -> np.ndarray:
    """The array of a .npy file; own parser, because numpy evaluates the header as Python and fails in many ways."""
    data = map_file(file)
    start = bytes(data[:_LONGEST_HEADER])
    header_at = {b"\x01": 10, b"\x02": 12, b"\x03": 12}.get(start[6:7])
    if not start.startswith(b"\x93NUMPY") or header_at is None:
        raise FileFormatError(f"{file}: expected a NumPy array (.npy), but it does not have its signature")
    begin = header_at + int.from_bytes(start[8:header_at], "little")
    header = start[header_at:begin].decode("latin-1")
    match = _NPY_HEADER.fullmatch(header)
    if not match:
        raise FileFormatError(f"{file}: the NumPy header {header[:80]!r} does not describe an array of numbers")
    dtype, shape = np.dtype(match[1]), tuple(int(size) for size in re.findall(r"\d+", match[3]))
    if prod(shape) * dtype.itemsize != len(data) - begin:
        raise FileFormatError(f"{file}: a NumPy array of shape {shape} and type {dtype} does not fit the "
                              f"{len(data) - begin} bytes after its header")
    array = np.array(np.frombuffer(data, dtype, offset=begin)).reshape(shape, order="F" if match[2] == "True" else "C")
    return _channels_first(file, array.reshape(-1, 1, 1) if array.ndim == 1 else array)


def _channels_first(file: Path, array: np.ndarray) -> np.ndarray:
    """An array with leading axes of size 1 and at most 4 channels as C x H x W."""
    shape = array.shape
    while array.ndim > 3 and array.shape[0] == 1:
        array = array[0]
    if array.ndim != 3 or not 1 <= array.shape[0] <= 4 or array.size == 0:
        raise FileFormatError(f"{file}: the mean has the shape {'x'.join(map(str, shape))}, expected "
                              "channels x height x width (BGR)")
    return array


def _from_mat(file: Path, load_mat: Callable[[str], Mapping[str, Any]] | None) -> np.ndarray:
    if load_mat is None:
        raise FileFormatError(f"{file}: a .mat mean file needs the argument load_mat")
    array = np.asarray(load_mat(str(file)).get("mean_img"))
    if array.dtype.kind not in "fiu" or array.ndim != 3 or array.shape[2] not in (1, 3):
        raise FileFormatError(f"{file}: no variable mean_img of height x width x 3 numbers (RGB)")
    return array.transpose(2, 0, 1)[::-1]
