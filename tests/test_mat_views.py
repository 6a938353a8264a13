"""Arrays of MAT v7.3 files that are views of the mapped file: which may be, and that a false place is no harm.

The values are those that HDF5 itself reads.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from matnet.errors import FileFormatError
from matnet.formats.mat import hdf5, read_mat, v73_read, write_mat
from matnet.mapped import in_memory
from tests.helpers import values

SHAPE = (7, 3, 5, 11)
A = values(*SHAPE)


@pytest.fixture(autouse=True)
def _small_arrays_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(v73_read, "MAPPED_FROM", 0)
    monkeypatch.setattr(hdf5, "VIEWED_FROM", 1)


def is_view(array: np.ndarray) -> bool:
    return in_memory(array) is not array


def stored(path: Path, make: Callable[[h5py.File], Any]) -> Path:
    """A v7.3 file as MATLAB lays it out, with a data set `a` that `make` adds."""
    write_mat(path, {"other": np.ones((2, 3))}, version="7.3")
    with h5py.File(path, "a") as file:
        make(file)
        file["a"].attrs["MATLAB_class"] = np.bytes_("double" if file["a"].dtype.itemsize == 8 else "single")
    return path


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.uint8, np.int16, np.uint64])
def test_numbers_in_one_piece_are_views(kind: type, tmp_path: Path) -> None:
    array: np.ndarray = (100 * A).astype(kind)
    write_mat(tmp_path / "a.mat", {"a": array}, version="7.3")
    found = read_mat(tmp_path / "a.mat")["a"]
    assert (is_view(found), found.dtype, found.flags.writeable) == (True, array.dtype, False)
    np.testing.assert_array_equal(found, array)
    again = read_mat(tmp_path / "a.mat", mmap=False)["a"]
    assert not is_view(again)
    np.testing.assert_array_equal(again, array)


CASES: dict[str, Callable[[h5py.File], Any]] = {
    "deflated": lambda file: file.create_dataset("a", data=A.T, compression="gzip"),
    "in chunks": lambda file: file.create_dataset("a", data=A.T, chunks=(11, 5, 1, 7)),
    "big-endian": lambda file: file.create_dataset("a", data=A.T.astype(">f4")),
    "never written": lambda file: file.create_dataset("a", SHAPE[::-1], np.float32, fillvalue=3),
    "of half the precision": lambda file: _of_few_bits(file),
    "with a check sum": lambda file: file.create_dataset("a", data=A.T, fletcher32=True),
}


def _of_few_bits(file: h5py.File) -> None:
    """Integers of 16 bits in 4 bytes, from bit 8 on: HDF5 shifts them when it reads."""
    kind = h5py.h5t.STD_I32LE.copy()
    kind.set_precision(16)
    kind.set_offset(8)
    space = h5py.h5s.create_simple(SHAPE[::-1])
    data = h5py.h5d.create(file.id, b"a", kind, space)
    data.write(h5py.h5s.ALL, h5py.h5s.ALL, (100 * A.T).astype(np.int32).copy())


@pytest.mark.parametrize("case", CASES)
def test_other_storage_is_read(case: str, tmp_path: Path) -> None:
    path = stored(tmp_path / "a.mat", CASES[case])
    with h5py.File(path) as file:
        expected = file["a"][()].T
    found = read_mat(path)["a"]
    assert not is_view(found)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("beyond", [True, False])
def test_a_false_place_reads_nothing_outside_the_file(beyond: bool, tmp_path: Path) -> None:
    """The stored address, relative to the 512 bytes of MATLAB's header, made to lead behind or near the file's end."""
    path = tmp_path / "a.mat"
    write_mat(path, {"a": A}, version="7.3")
    with h5py.File(path) as file:
        address = file["a"].id.get_offset() - file.userblock_size
    content = path.read_bytes()
    before = address.to_bytes(8, "little") + A.nbytes.to_bytes(8, "little")
    assert content.count(before) == 1
    false = len(content) + 4096 if beyond else len(content) - 512 - A.nbytes // 2 // 8 * 8
    path.write_bytes(content.replace(before, false.to_bytes(8, "little") + before[8:]))
    with pytest.raises(FileFormatError, match="truncated or damaged"):
        read_mat(path)


def test_a_place_within_the_file_gives_the_bytes_there(tmp_path: Path) -> None:
    """What HDF5 itself would read: both are the file's own bytes."""
    path = tmp_path / "a.mat"
    write_mat(path, {"a": A}, version="7.3")
    with h5py.File(path) as file:
        address = file["a"].id.get_offset() - file.userblock_size
    before = address.to_bytes(8, "little") + A.nbytes.to_bytes(8, "little")
    path.write_bytes(path.read_bytes().replace(before, (address - 64).to_bytes(8, "little") + before[8:]))
    found, expected = (read_mat(path, mmap=mmap)["a"] for mmap in (True, False))
    assert (is_view(found), is_view(expected)) == (True, False)
    np.testing.assert_array_equal(found.view(np.uint32), expected.view(np.uint32))
