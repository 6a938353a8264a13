"""Files of features: .npz, .npy, .h5 and .mat, written slab by slab from arrays that need not fit in memory."""

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
"""The arrays that every file of features holds beside those of the layers."""
SLAB = 1 << 23
"""Bytes that are copied at a time."""
NAMES = 4096
"""Names of images that are written at a time."""
CHUNK = 1 << 20
"""Bytes of a chunk of HDF5."""


@dataclass
class Features:
    """What a file of features holds.

    arrays: by the name of the layer the .npy file of its values, a row per image. images: their names, by row.
    unreadable: the rows of images that could not be read, which are NaN. about: where the values come from.
    """

    arrays: Mapping[str, Path]
    images: Sequence[str]
    unreadable: Sequence[int] = ()
    about: Mapping[str, Any] = field(default_factory=dict)


def kind_for(target: Path, layers: int) -> str:
    """The kind of file that the name asks for; DataError for a name that asks for none."""
    kind = KINDS.get(target.suffix.lower())
    if kind is None:
        raise DataError(f"{target}: features are written as {', '.join(KINDS)}; give a name that ends so")
    if kind == NPY and layers != 1:
        raise DataError(f"{target}: an .npy file holds one array, and {layers} layers are asked for; take .npz or .h5")
    return kind


def names_beside(target: Path) -> Path:
    """The list of images that belongs to a .npy file, which itself can hold the array alone."""
    return target.with_suffix(".images.txt")


def refuse_to_replace_others(target: Path, unfinished: bool) -> None:
    """FileFormatError where a file exists at `target`, or beside it, that is not of features.

    unfinished: whether a run for this target has left its state behind. The other half of a .npy file may then be its.
    """
    if is_special(target):
        return
    if target.suffix.lower() != ".npy":
        refuse_to_replace(target, OWN.issubset)
        return
    names = names_beside(target)
    if unfinished or (not target.exists() and not names.exists()):
        return
    if not target.exists():
        raise FileFormatError(f"{names}: would be replaced by the images' names; move it, or choose another name")
    try:
        rows = _Rows(target).shape[:1]
        listed = names.read_bytes().count(b"\n")
    except (OSError, ValueError, KeyError):
        rows, listed = (), -1
    if rows != (listed,):
        raise FileFormatError(
            f"{target}: exists, and no {names.name} with a line per row says that it holds features; it stays as it "
            "is: give another name, or remove it first"
        )


def write_features(target: Path, features: Features) -> None:
    """Write a file, whole or not at all, in memory that does not depend on its size.

    .npz: an array per layer, `images`, `unreadable` and `about` (JSON). .npy: the array, moved here from where it was;
    the images stand in `names_beside`. .h5: the same as .npz. .mat: v7.3; vectors are N x C, maps
    H x W x C x N, `images` a char matrix with a row per image, `unreadable` counts from 1.
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
    return archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True)  # of 1980: the same bytes each time


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
    """N x C in MATLAB, whose axes are those of HDF5 in reverse."""
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
    """A char matrix with a row per line, filled up with spaces; MATLAB's axes are those of HDF5 in reverse."""

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
    """An HDF5 file in the making, and a function that raises where the disk refused what was written."""
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
    """A name without the lone surrogates that stand for bytes that are no text."""
    return name.encode("utf-8", "replace").decode("utf-8")


class _Rows:
    """The rows of an .npy file, which are read part by part: pages of a map would count as this process's memory."""

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
    """Each layer, the name of its array in a file, which is that of nothing else, and its values."""
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
