"""Reading the weights of a .caffemodel.h5: datasets `/data/<layer name>/<blob index>`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from matnet.converters.graph.netdef import Blob, CaffeWeights
from matnet.errors import FileFormatError, listing

_MAGIC = b"\x89HDF\r\n\x1a\n"
_DEFLATE = 1100
"""More than any HDF5 filter can compress: a dataset that claims more than this is not believed."""


def is_hdf5(path: str | os.PathLike[str]) -> bool:
    """Whether the file begins as HDF5 does, whatever it is called."""
    with open(path, "rb") as file:
        return file.read(len(_MAGIC)) == _MAGIC


def read_hdf5_weights(path: Path) -> CaffeWeights:
    """The layers of a .caffemodel.h5, in the order of their names; a blob stored with its owner only is None.

    A layer name with slashes is a path of groups. Raises FileFormatError for a damaged file, a file without
    `/data`, and lists every dataset that is no array of numbers.
    """
    import h5py

    try:
        with h5py.File(path, "r") as file:
            data = file.get("data")
            if not isinstance(data, h5py.Group):
                raise FileFormatError(f"{path}: has no group /data, where Caffe keeps weights; it is an HDF5 "
                                      "file, but no .caffemodel.h5")
            layers, problems = _collect(data, h5py)
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        raise FileFormatError(f"{path}: cannot be read as HDF5 ({error}); fetch it again") from None
    if problems:
        raise FileFormatError(listing(f"{path}: {len(problems)} datasets cannot be weights", problems))
    if not layers:
        raise FileFormatError(f"{path}: the group /data holds no layer; it is no .caffemodel.h5")
    return CaffeWeights(str(path), layers, dict.fromkeys(layers, ""), hdf5=True)


def _collect(data: Any, h5py: Any) -> tuple[dict[str, tuple[Blob | None, ...]], list[str]]:
    """Layer name -> blobs; a group without groups in it is a layer, with or without datasets."""
    found: dict[str, dict[int, Blob]] = {}
    problems: list[str] = []

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Group):
            if not any(isinstance(child, h5py.Group) for child in item.values()):
                found.setdefault(name, {})
            return
        layer, _, index = name.rpartition("/")
        problem = _problem(index, item) if isinstance(item, h5py.Dataset) else "is neither group nor dataset"
        if problem:
            problems.append(f"/data/{name}: {problem}")
        else:
            array = np.array(item[()], np.float32, order="C")
            array.flags.writeable = False
            found.setdefault(layer, {})[int(index)] = Blob(array.shape, False, array)

    data.visititems(visit)
    return {name: tuple(blobs.get(index) for index in range(max(blobs, default=-1) + 1))
            for name, blobs in found.items()}, problems


def _problem(index: str, dataset: Any) -> str:
    if not (index.isascii() and index.isdigit() and len(index) <= 3):
        return f"is called {index!r}, expected the number of a blob"
    if dataset.dtype.kind != "f":
        return f"holds {dataset.dtype}, expected floats"
    if 0 in (dataset.shape or ()):
        return f"has the shape {dataset.shape}, with a size of 0"
    if dataset.shape is None or dataset.nbytes > _DEFLATE * (dataset.id.get_storage_size() + 8):
        return f"claims {dataset.nbytes} bytes, but {dataset.id.get_storage_size()} are stored"
    return ""
