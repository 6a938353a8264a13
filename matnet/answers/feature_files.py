"""Feature files: .npz, .npy, .h5 and .mat, written in slabs from arrays larger than memory."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from matnet.arrays import encoded, refuse_to_replace
from matnet.errors import DataError, FileFormatError, MatnetError
from matnet.files import atomic_path, atomic_write, is_special
from matnet.kinds import HDF5, MAT, NPY, NPZ

KINDS = {".npz": NPZ, ".npy": NPY, ".h5": HDF5, ".hdf5": HDF5, ".mat": MAT}
OWN = frozenset({"images", "unreadable", "about"})
"""The arrays that every feature file holds besides those of the layers."""
SLAB = 1 << 23
"""Bytes copied at a time."""
NAMES = 4096
"""Image names written at a time."""
CHUNK = 1 << 20
"""Bytes per HDF5 chunk."""


@dataclass
class Features:
    """The contents of a feature file.

    arrays: layer name -> .npy file of its values, a row per image. images: image names by row. unreadable: the rows
    of unreadable images, which are NaN. about: where the values come from.
    """

    arrays: Mapping[str, Path]
    images: Sequence[str]
    unreadable: Sequence[int] = ()
    about: Mapping[str, Any] = field(default_factory=dict)


def kind_for(target: Path, layers: int) -> str:
    """The format for the file's extension. Raises DataError for an unknown extension."""
    kind = KINDS.get(target.suffix.lower())
    if kind is None:
        raise DataError(f"{target}: unknown extension for features; expected one of {', '.join(KINDS)}")
    if kind == NPY and layers != 1:
        raise DataError(f"{target}: an .npy file holds one array, but {layers} layers are requested; use .npz or .h5")
    return kind


def names_beside(target: Path) -> Path:
    """The file of image names beside a .npy file, which can hold only the array."""
    return target.with_suffix(".images.txt")


def refuse_to_replace_others(target: Path, unfinished: bool) -> None:
    """Raises FileFormatError if a file at `target`, or its file of image names, exists and is not a feature file.

    unfinished: whether an interrupted run for this target left its state; one half of a .npy pair may then be its own.
    """
    special = is_special(target)
    if target.suffix.lower() != ".npy":
        if not special:
            refuse_to_replace(target, OWN.issubset)
        return
    names = names_beside(target)
    if unfinished or (not target.exists() and not names.exists()):
        return
    if special or not target.exists():
        if names.exists():
            raise FileFormatError(f"{names}: the image names would replace this file; move it, or choose another name")
        return
    try:
        rows = _Rows(target).shape[:1]
        listed = names.read_bytes().count(b"\n")
    except (OSError, ValueError, KeyError):
        rows, listed = (), -1
    if rows != (listed,):
        raise FileFormatError(
            f"{target}: exists, but is not known to hold features: there is no {names.name} with a line per row; "
            "give another name, or remove the file first"
        )


def write_features(target: Path, features: Features) -> None:
    """Write a feature file, whole or not at all; the memory used does not depend on its size.

    .npz: an array per layer, `images`, `unreadable` and `about` (JSON). .npy: the array file is moved to `target`, the
    image names go to `names_beside`. .h5: the same as .npz. .mat: v7.3; vectors are N x C, maps H x W x C x N,
    `images` is a char matrix with a row per image, `unreadable` counts from 1.
    """
    _WRITERS[kind_for(target, len(features.arrays))](target, features)


def _write_npy(target: Path, features: Features) -> None:
    (array,) = features.arrays.values()
    with atomic_write(names_beside(target)) as file:
        for name in features.images:
            file.write(f"{name}\n".encode("utf-8", "surrogateescape"))
    with atomic_path(target) as temporary:
        shutil.move(array, temporary)  # copies where the target is a link to another disk


# -- npz --------------------------------------------------------------------------------------------


def _write_npz(target: Path, features: Features) -> None:
    with atomic_path(target) as temporary, zipfile.ZipFile(temporary, "w", allowZip64=True) as archive:
        for _, name, path in _named(features):
            with path.open("rb") as source, _member(archive, name) as member:
                shutil.copyfileobj(source, member, SLAB)
        with _member(archive, "images") as member:
            _write_names(member, features.images)
        for name, value in (("unreadable", np.array(features.unreadable, np.int64)), ("about", _about(features))):
            with _member(archive, name) as member:
                np.lib.format.write_array(member, np.asarray(value), allow_pickle=False)


def _member(archive: zipfile.ZipFile, name: str) -> Any:
    return archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True)  # always dated 1980


def _write_names(member: Any, names: Sequence[str]) -> None:
    width = max(map(len, names), default=1) or 1
    dtype = np.dtype(f"<U{width}")
    header = {"descr": dtype.str, "fortran_order": False, "shape": (len(names),)}
    np.lib.format.write_array_header_1_0(member, header)
    for start in range(0, len(names), NAMES):
        member.write(np.array(names[start : start + NAMES], dtype).tobytes())


def _about(features: Features) -> str:
    return json.dumps(dict(features.about), sort_keys=True)


# -- HDF5 -------------------------------------------------------------------------------------------


def _write_hdf5(target: Path, features: Features) -> None:
    import h5py

    with _hdf5(target) as (file, check):
        for layer, name, path in _named(features):
            array = _Rows(path)
            rows = array.of_bytes(CHUNK)
            dataset = file.create_dataset(name, array.shape, array.dtype, chunks=(rows, *array.shape[1:]))
            dataset.attrs["layer"] = layer
            for span, slab in array.slabs(rows):
                dataset[span] = slab
                check()
        text = h5py.string_dtype("utf-8")
        images = file.create_dataset("images", (len(features.images),), text)
        for start in range(0, len(features.images), NAMES):
            part = [_printable(name) for name in features.images[start : start + NAMES]]
            images[start : start + len(part)] = part
        file["unreadable"] = np.array(features.unreadable, np.int64)
        file.attrs["about"] = _about(features)


def _write_mat(target: Path, features: Features) -> None:
    from matnet.formats.names import identifiers

    fitted = identifiers(["images", "unreadable", "about", *(name for _, name, _ in _named(features))])
    with _hdf5(target, matlab=True) as (file, check):
        for _, name, path in _named(features):
            array = _Rows(path)
            (_mat_vectors if len(array.shape) == 2 else _mat_maps)(file, fitted[name], array, check)
        _mat_text(file, "images", features.images)
        _mat_text(file, "about", [_about(features)])
        numbers = np.array(features.unreadable, np.float64).reshape(-1, 1) + 1
        dataset = file.create_dataset("unreadable", data=numbers if numbers.size else np.array([0, 0], np.uint64))
        dataset.attrs["MATLAB_class"] = np.bytes_("double")
        if not numbers.size:
            dataset.attrs["MATLAB_empty"] = np.uint8(1)


def _mat_vectors(file: Any, name: str, array: _Rows, check: Callable[[], None]) -> None:
    """N x C in MATLAB; MATLAB reverses the axes of HDF5."""
    images, channels = array.shape
    rows = min(images, 256)
    chunks = max(1, min(channels, CHUNK // (array.dtype.itemsize * rows))), rows
    dataset = file.create_dataset(name, (channels, images), array.dtype, chunks=chunks)
    dataset.attrs["MATLAB_class"] = np.bytes_("single")
    for span, slab in array.slabs(rows):
        dataset[:, span] = slab.T
        check()


def _mat_maps(file: Any, name: str, array: _Rows, check: Callable[[], None]) -> None:
    """H x W x C x N in MATLAB."""
    images, channels, height, width = array.shape
    rows = array.of_bytes(CHUNK)
    dataset = file.create_dataset(
        name, (images, channels, width, height), array.dtype, chunks=(rows, channels, width, height)
    )
    dataset.attrs["MATLAB_class"] = np.bytes_("single")
    for span, slab in array.slabs(rows):
        dataset[span] = slab.transpose(0, 1, 3, 2)
        check()


def _mat_text(file: Any, name: str, lines: Sequence[str]) -> None:
    """A char matrix with a row per line, padded with spaces; MATLAB reverses the axes of HDF5."""

    def units(line: str) -> np.ndarray:
        return np.frombuffer(_printable(line).encode("utf-16-le"), np.uint16)

    width = max((len(units(line)) for line in lines), default=1) or 1
    dataset = file.create_dataset(name, (width, len(lines)), np.uint16, chunks=(width, min(len(lines), 256)))
    dataset.attrs["MATLAB_class"] = np.bytes_("char")
    dataset.attrs["MATLAB_int_decode"] = np.int32(2)
    for start in range(0, len(lines), NAMES):
        part = lines[start : start + NAMES]
        block = np.full((width, len(part)), ord(" "), np.uint16)
        for column, line in enumerate(part):
            found = units(line)
            block[: len(found), column] = found
        dataset[:, start : start + len(part)] = block


@contextmanager
def _hdf5(target: Path, matlab: bool = False) -> Iterator[tuple[Any, Callable[[], None]]]:
    """An HDF5 file open for writing, and a function that raises if a write to the disk failed."""
    import h5py

    from matnet.formats.mat.header import USER_BLOCK, header_bytes
    from matnet.formats.mat.v73_write import Sink

    options: dict[str, Any] = {"userblock_size": USER_BLOCK, "libver": ("earliest", "v108")} if matlab else {}
    with atomic_path(target) as temporary, temporary.open("rb+") as raw:
        sink = Sink(raw)
        try:
            with h5py.File(sink, "w", **options) as file:
                yield file, sink.check
            sink.check()
            if matlab:
                raw.seek(0)
                raw.write(header_bytes("7.3"))
        except (OSError, RuntimeError) as error:
            if isinstance(error, MatnetError):
                raise
            raise FileFormatError(f"{target}: not written ({sink.failure or error}); is the disk full?") from error


def _printable(name: str) -> str:
    """A name with `?` in place of undecodable bytes (lone surrogates)."""
    return name.encode("utf-8", "replace").decode("utf-8")


class _Rows:
    """The rows of an .npy file, read in slabs: pages of a memory map would count as this process's memory."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with path.open("rb") as file:
            self.shape, self.dtype = self._header(file)

    @staticmethod
    def _header(file: Any) -> tuple[tuple[int, ...], np.dtype]:
        read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        shape, _, dtype = read[np.lib.format.read_magic(file)](file)
        return shape, dtype

    def of_bytes(self, size: int) -> int:
        """How many rows make about `size` bytes: at least one, at most all."""
        one = max(1, self.dtype.itemsize * int(np.prod(self.shape[1:])))
        return max(1, min(self.shape[0], size // one))

    def slabs(self, multiple: int) -> Iterator[tuple[slice, np.ndarray]]:
        """All rows in parts of about SLAB bytes, each of a multiple of `multiple` rows."""
        step = max(1, self.of_bytes(SLAB) // multiple) * multiple
        with self._path.open("rb") as file:
            self._header(file)
            for start in range(0, self.shape[0], step):
                rows = min(step, self.shape[0] - start)
                values = np.fromfile(file, self.dtype, rows * int(np.prod(self.shape[1:])))
                yield slice(start, start + rows), values.reshape(rows, *self.shape[1:])


def _named(features: Features) -> Iterator[tuple[str, str, Path]]:
    """Each layer, a unique name for its array in the file, and its .npy file."""
    taken = set(OWN)
    for layer, path in features.arrays.items():
        name = encoded(layer)
        while name in taken:
            name += "_"
        taken.add(name)
        yield layer, name, path


_WRITERS: dict[str, Callable[[Path, Features], None]] = {
    NPZ: _write_npz,
    NPY: _write_npy,
    HDF5: _write_hdf5,
    MAT: _write_mat,
}
