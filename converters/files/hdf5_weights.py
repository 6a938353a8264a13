"""Read the weights of a .caffemodel.h5: datasets `/data/<layer name>/<blob index>`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from matnet.converters.graph.netdef import Blob, CaffeWeights
from matnet.errors import FileFormatError, listing

DEEPEST = 20
"""The deepest nesting of groups, which are the slashes in a layer's name."""
_MAGIC = b"\x89HDF\r\n\x1a\n"
def is_hdf5(path: str | os.PathLike[str]) -> bool:
    """Whether the file has HDF5's signature, independent of its name."""
    with open(path, "rb") as file:
        return file.read(len(_MAGIC)) == _MAGIC


def read_hdf5_weights(path: Path) -> CaffeWeights:
    """The layers of a .caffemodel.h5, sorted by name; a shared blob is None except in its owner.

    A layer name with slashes is a path of groups. Only data inside the file is read, of at most the size that a file
    of this length can hold (`formats.mat.limits`). Raises FileFormatError for a damaged file, for links, external and
    virtual storage, for a file without `/data`, and lists every dataset that is not an array of numbers.
    """
    import h5py

    from matnet.formats.mat.hdf5 import file_errors

    with file_errors(path), h5py.File(path, "r") as file:
        found = _Collected(path.stat().st_size)
        if "data" not in found.names(file.id):
            raise FileFormatError(f"{path}: this HDF5 file has no group /data, where Caffe stores weights; "
                                  "expected a .caffemodel.h5")
        found.collect(h5py.h5o.open(file.id, b"data"), "")
    if found.problems:
        raise FileFormatError(listing(f"{path}: {len(found.problems)} datasets cannot be weights:", found.problems))
    layers = {name: tuple(blobs.get(index) for index in range(max(blobs, default=-1) + 1))
              for name, blobs in found.layers.items()}
    if not layers:
        raise FileFormatError(f"{path}: the group /data holds no layers; expected a .caffemodel.h5")
    return CaffeWeights(str(path), layers, dict.fromkeys(layers, ""))


class _Collected:
    """The results of walking the groups of a file of `size` bytes: layer name -> blobs, and problems."""

    def __init__(self, size: int) -> None:
        from matnet.formats.mat.hdf5 import StoredData
        from matnet.formats.mat.limits import Limits

        self.limits = Limits(size)
        self.stored = StoredData(self.limits, size)
        self.layers: dict[str, dict[int, Blob]] = {}
        self.problems: list[str] = []

    def names(self, group: Any) -> list[str]:
        from matnet.formats.mat.hdf5 import link_names

        names = link_names(group)
        if not self.limits.allow_values(len(names)):
            raise ValueError("it holds more groups and datasets than a file of its size can hold")
        return names

    def collect(self, group: Any, path: str, depth: int = 0) -> None:
        """Collect the layers in a group; a group without subgroups is a layer, with or without datasets."""
        from h5py import h5g, h5o

        if not isinstance(group, h5g.GroupID):
            raise ValueError(f"/data{path and '/'}{path} is not a group")
        if depth > DEEPEST:
            raise ValueError(f"its groups are nested more than {DEEPEST} deep")
        items = {name: h5o.open(group, name.encode()) for name in self.names(group)}
        if path and not any(isinstance(item, h5g.GroupID) for item in items.values()):
            self.layers.setdefault(path, {})
        for name, item in items.items():
            if isinstance(item, h5g.GroupID):
                self.collect(item, f"{path}/{name}".lstrip("/"), depth + 1)
            else:
                self.take(path, name, item)

    def take(self, layer: str, index: str, item: Any) -> None:
        """Read one dataset, or record why it is not a blob."""
        from h5py import h5d

        problem = _problem(index, item) if isinstance(item, h5d.DatasetID) else "is neither a group nor a dataset"
        if problem:
            self.problems.append(f"/data/{layer}/{index}: {problem}")
            return
        array = np.array(self.stored.read(item), np.float32, order="C")
        array.flags.writeable = False
        self.layers.setdefault(layer, {})[int(index)] = Blob(array.shape, False, array)


def _problem(index: str, dataset: Any) -> str:
    if not (index.isascii() and index.isdigit() and len(index) <= 3):
        return f"its name is {index!r}, expected the number of a blob"
    if dataset.dtype.kind != "f":
        return f"holds {dataset.dtype}, expected floats"
    return f"its shape {dataset.shape} has a size of 0" if 0 in dataset.shape else ""
