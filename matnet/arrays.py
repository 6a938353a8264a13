"""Array files (.npz, .mat) of `matnet.run`: reading, writing and the mapping of variable names."""

from __future__ import annotations

import logging
import os
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from matnet.errors import DataError, FileFormatError
from matnet.files import atomic_path, existing_file
from matnet.kinds import NPY, NPZ, kind_of

log = logging.getLogger(__name__)

LAYOUTS = ("nchw", "hwcn")
SUFFIXES = (".npz", ".mat")
MOST_STRUCTS = 4  # nesting depth of structs searched for arrays
SHOWN = 8


def encoded(name: str) -> str:
    """A variable's name in an array file, with `/` replaced by `__`."""
    return name.replace("/", "__")


def default_layout(path: str | os.PathLike[str]) -> str:
    """H x W x C x N for .mat files, N x C x H x W for .npz."""
    return "hwcn" if Path(path).suffix.lower() == ".mat" else "nchw"


def check_suffix(path: str | os.PathLike[str]) -> Path:
    """`path` as a Path. Raises DataError unless it ends in .npz or .mat."""
    target = Path(path)
    if target.suffix.lower() not in SUFFIXES:
        raise DataError(f"{target}: expected an array file that ends in .npz or .mat; rename it or choose another")
    return target


def read_arrays(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """All numeric arrays of a .npz or .mat file, or `images.data` of a MatConvNet image database (imdb).

    Raises DataError or FileFormatError for other or damaged files, and for a .mat file with arrays only in structs.
    """
    target = check_suffix(existing_file(path, "array file"))
    if target.suffix.lower() == ".mat":
        from matnet.formats.mat import read_mat

        file = read_mat(target)
        return {name: value for name, value in file.items() if isinstance(value, np.ndarray)} or _inside(file, target)
    from matnet.formats.mat.limits import most_bytes

    try:
        stored = np.load(target, allow_pickle=False)
        if isinstance(stored, np.ndarray):
            raise DataError(f"{target}: is {NPY}, which holds one unnamed array; write it with numpy.savez")
        with stored:
            size = sum(member.file_size for member in stored.zip.infolist())
            if size > most_bytes(target.stat().st_size):
                raise DataError(f"{target}: unpacks to {size:,} bytes, which is too much for a file of this size")
            return {name: np.asarray(stored[name]) for name in stored.files}
    except DataError:
        raise
    except Exception as error:  # NumPy and zipfile raise many types for damaged or encrypted files
        why = str(error).partition("\n")[0].partition(". ")[0][:200]  # without its quotes and advice
        raise DataError(f"{target}: is not a readable .npz file ({why}); write it with numpy.savez") from None


def _inside(file: Mapping[str, Any], path: Path) -> dict[str, np.ndarray]:
    """The images of an image database (imdb), for a file that holds arrays only in structs."""
    nested = dict(_nested("", file, 0))
    images = {name: value for name, value in nested.items() if f".{name}".endswith(".images.data")}
    if len(images) == 1:
        name, value = next(iter(images.items()))
        size = "x".join(map(str, value.shape))
        log.info("%s: is an image database; using %s (%s) as the input", path, name, size)
        return images
    if not nested:
        return {}
    held = [f"{name} ({'x'.join(map(str, value.shape))})" for name, value in nested.items()][:SHOWN]
    raise DataError(
        f"{path}: holds arrays only in structs: {', '.join(held)}; expected a variable in__NAME; in MATLAB: "
        f"in__NAME = {next(iter(nested))}; save('input.mat', 'in__NAME')"
    )


def _nested(place: str, value: Any, depth: int) -> Iterator[tuple[str, np.ndarray]]:
    if isinstance(value, np.ndarray) and value.dtype.kind in "fiub":
        yield place, value
    elif isinstance(value, Mapping) and depth < MOST_STRUCTS:
        for name, item in value.items():
            yield from _nested(f"{place}.{name}" if place else name, item, depth + 1)


def input_arrays(
    arrays: Mapping[str, np.ndarray], inputs: Mapping[str, Sequence[str]], others: Sequence[str], source: Any
) -> dict[str, np.ndarray]:
    """Map arrays of a file to network inputs, by the names `in__NAME` (or plain names if no array has the prefix).

    inputs: required inputs with all their accepted names; a single input takes the only array, whatever its name.
    others: optional inputs, such as labels. Further arrays are ignored. Raises DataError if no array matches an input.
    """
    marked = {name[4:]: value for name, value in arrays.items() if name.startswith("in__")}
    candidates = marked or {name: value for name, value in arrays.items() if not name.startswith("out__")}
    found = {}
    for name, known in {**inputs, **{name: [name] for name in others}}.items():
        called = dict.fromkeys(key for alias in known for key in (encoded(alias), alias))
        keys = [key for key in called if key in candidates]
        plain = [key for key in called if marked and keys and key in arrays]
        if len(keys) + len(plain) > 1:
            twins = " and ".join([*(f"in__{key}" if marked else key for key in keys), *plain])
            raise DataError(f"{source}: {twins} all match input {name!r}; keep one of them")
        if keys:
            found[name] = candidates[keys[0]]
    single = next(iter(inputs), None)
    if single is not None and len(inputs) == 1 and single not in found and len(candidates) - len(found) == 1:
        found[single] = next(value for name, value in candidates.items() if name not in map(encoded, found))
    for name, value in found.items():
        if value.dtype.kind not in "fiubc":
            raise DataError(f"{source}: the array for input {name!r} has type {value.dtype}; expected numbers")
    if inputs and not found:
        held = _some(list(arrays)) or "nothing"
        wanted = ", ".join(f"in__{encoded(names[-1])}" for names in inputs.values())
        raise DataError(f"{source}: holds {held}; expected {wanted}")
    return found


def to_nchw(array: np.ndarray, layout: str, rank: int | None) -> np.ndarray:
    """An input array as N x C x H x W: transposed from `hwcn`, or padded to 4-D if it has the blob's own rank."""
    if layout == "hwcn":
        from matnet.layout import hwcn_to_nchw

        return hwcn_to_nchw(array) if array.ndim <= 4 else array
    if rank is not None and array.ndim == rank < 4:
        return array.reshape(array.shape + (1,) * (4 - array.ndim))
    return array


def from_nchw(array: np.ndarray, layout: str, rank: int | None) -> np.ndarray:
    """An activation in the layout of the output file: H x W x C x N, or N x C x H x W reduced to the Caffe blob's rank.

    Surplus axes are merged into the last one. They have size 1 unless the blob comes from a Flatten without a layer.
    """
    if layout == "hwcn":
        return np.asfortranarray(array.transpose(2, 3, 1, 0))
    if rank is None or rank >= array.ndim:
        return array
    return array.reshape((*array.shape[: rank - 1], -1) if rank else ())


def held_names(path: str | os.PathLike[str]) -> list[str]:
    """The names of arrays and attributes in a .npz, .mat or HDF5 file; empty for other files."""
    try:
        if kind_of(path) == NPZ:
            with zipfile.ZipFile(path) as archive:
                return [name.removesuffix(".npy") for name in archive.namelist()]
        if Path(path).suffix.lower() == ".mat":
            from matnet.formats.mat import read_mat

            return list(read_mat(path))
        import h5py

        with h5py.File(path) as file:
            return [*file, *file.attrs]
    except (OSError, FileFormatError, zipfile.BadZipFile):
        return []


def refuse_to_replace(path: str | os.PathLike[str], ours: Callable[[list[str]], bool]) -> None:
    """Raise FileFormatError if `path` exists and `ours` does not recognise its array names as those of this command."""
    target = Path(path)
    if not target.is_file() or not target.stat().st_size:
        return
    names = held_names(target)
    if names and ours(names):
        return
    held = f"holds {_some(names)}" if names else "cannot be read"
    raise FileFormatError(
        f"{target}: exists and was not written by this command; use another name or remove it first (it {held})"
    )


def _some(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{', '.join(name[:80] for name in names[:SHOWN])}{more}"


def refuse_to_replace_other_arrays(path: str | os.PathLike[str]) -> None:
    """Raise FileFormatError if `write_arrays` would overwrite a file that it did not write."""
    refuse_to_replace(path, lambda names: all(name.startswith("out__") for name in names))


def write_arrays(path: str | os.PathLike[str], arrays: Mapping[str, np.ndarray]) -> None:
    """Write each array as `out__NAME`, atomically."""
    target = check_suffix(path)
    named = {f"out__{encoded(name)}": value for name, value in arrays.items()}
    if len(named) < len(arrays):
        raise FileFormatError(f"{target}: two variables have one name with `/` replaced by `__`; write one of them")
    if target.suffix.lower() == ".mat":
        from matnet.formats.mat import write_mat
        from matnet.formats.names import identifiers

        fitted = identifiers(named)
        write_mat(target, {fitted[name]: np.atleast_2d(value) for name, value in named.items()})
        return
    with atomic_path(target) as temporary, temporary.open("wb") as file:  # a device is not seekable
        np.savez(file, **named)  # type: ignore[arg-type]
