"""MAT files that are something else, cut, damaged, or promise too much: a FileFormatError that names the place."""

from __future__ import annotations

import random
import re
import struct
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from matnet.errors import FileFormatError
from matnet.formats.mat import read_mat, write_mat
from matnet.formats.mat.values import Cell, row
from tests import mat_bytes as by_hand
from tests.conftest import DATA
from tests.mat_bytes import damaged

MODELS = DATA / "matconvnet"
PLAIN, PACKED, HDF5 = (MODELS / name / "model.mat" for name in ("dag_file_net", "dag_file_v7", "dag_file_v73"))


def expect(path: Path, message: str) -> None:
    """The message, and no more memory on the way to it than a small file deserves."""
    tracemalloc.start()
    try:
        with pytest.raises(FileFormatError, match=message) as caught:
            read_mat(path)
        assert tracemalloc.get_traced_memory()[1] < 2**25
    finally:
        tracemalloc.stop()
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("name", ["deploy.prototxt", "net.caffemodel"])
def test_a_caffe_file_is_sent_where_it_belongs(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"layer { name: 'data' }")
    with pytest.raises(FileFormatError, match=r"use matnet\.convert_caffe for Caffe files"):
        read_mat(tmp_path / name)


FOREIGN: list[tuple[str, bytes, str]] = [
    ("empty", b"", "is empty"),
    ("web page", b"\n<!DOCTYPE html><html><body>Not Found</body></html>", "is a web page.*download it again"),
    ("text", b"layer { name: 'data' }\n" * 20, "byte 0: found b\"layer { name: .*expected 'MATLAB 5.0 MAT-file'"),
    ("zeros", bytes(1000), "byte 0: found"),
    ("version 4", struct.pack("<5i", 0, 1, 1, 0, 2) + b"x\0" + bytes(8), "version 4.*save it .*-v7"),
    ("version 4, big endian", struct.pack(">5i", 1000, 1, 1, 0, 2) + b"x\0" + bytes(8), "version 4"),
    ("zip", b"PK\x03\x04" + bytes(200), "zip archive"),
    ("gzip", b"\x1f\x8b" + bytes(200), "packed archive.*unpack it"),
    ("bare HDF5", b"\x89HDF\r\n\x1a\n" + bytes(200), "HDF5 file without MATLAB's header"),
    ("Git LFS", b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", "Git LFS pointer"),
    ("short header", b"MATLAB 5.0 MAT-file, Platform", "is truncated after 29 bytes"),
    ("other version", b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x03IM", "byte 124: found .*x03IM"),
    ("no HDF5", b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + bytes(600), "byte 512: found .*HDF5 signature"),
]


@pytest.mark.parametrize(("content", "message"), [case[1:] for case in FOREIGN], ids=[case[0] for case in FOREIGN])
def test_other_files(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "x.mat"
    path.write_bytes(content)
    expect(path, message)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    expect(tmp_path / "x.mat", "no such MAT file")
    expect(tmp_path, "is a folder")


@pytest.mark.process
@pytest.mark.parametrize("source", [PLAIN, PACKED, HDF5], ids=["v5", "v7", "v73"])
def test_cut_anywhere(tmp_path: Path, source: Path) -> None:
    """50 cuts; a v5 file that ends between two variables is whole as a container, and has fewer of them."""
    content = source.read_bytes()
    names = list(read_mat(source))
    path = tmp_path / "x.mat"
    for size in sorted(
        {*np.linspace(0, len(content) - 1, 40).astype(int), 1, 100, 127, 128, 129, 135, 136, 300, 512, 600}
    ):
        path.write_bytes(content[:size])
        try:
            found = list(read_mat(path))
        except FileFormatError as error:
            assert re.match(rf"{path}: .*(empty|cut|truncated)", str(error)), error
        else:
            assert size == 128 and found == [] and source != HDF5, (size, found, names)


def test_cut_between_two_variables(tmp_path: Path) -> None:
    path = tmp_path / "x.mat"
    path.write_bytes(by_hand.mat_file(by_hand.double(1, "a"), by_hand.double(2, "b"))[: -len(by_hand.double(2, "b"))])
    assert list(read_mat(path)) == ["a"]


@pytest.mark.process
@pytest.mark.parametrize("source", [PLAIN, PACKED, MODELS / "sn_file_scipy/model.mat"], ids=["v5", "v7", "scipy"])
def test_changed_bytes(tmp_path: Path, source: Path) -> None:
    content = source.read_bytes()
    chance = random.Random(5)
    path = tmp_path / "x.mat"
    refused = 0
    for _ in range(300):
        path.write_bytes(damaged(content, chance))
        try:
            read_mat(path)
        except FileFormatError as error:
            assert str(path) in str(error)
            refused += 1
    # Most of the bytes of an uncompressed file are weights, in which any change is as good as another.
    assert refused >= 100


CHANGE_HDF5 = """
import random, sys
from pathlib import Path
from matnet.errors import FileFormatError
from matnet.formats.mat import read_mat
from tests.mat_bytes import damaged

content, path, refused = Path(sys.argv[1]).read_bytes(), Path(sys.argv[2]), 0
chance = random.Random(7)
for _ in range(200):
    path.write_bytes(damaged(content, chance))
    try:
        read_mat(path)
    except FileFormatError:
        refused += 1
print(refused)
"""


@pytest.mark.process
def test_changed_bytes_of_hdf5(tmp_path: Path) -> None:
    """In a process of its own: the HDF5 library is written in C, and nothing else would tell how it died."""
    command = [sys.executable, "-c", CHANGE_HDF5, str(MODELS / "sn_file_v73/model.mat"), str(tmp_path / "x.mat")]
    result = subprocess.run(command, capture_output=True, text=True, cwd=DATA.parent.parent)
    assert result.returncode == 0, result.stderr
    assert int(result.stdout) >= 50


def test_a_name_longer_than_hdf5_has_room_for(tmp_path: Path) -> None:
    """The heap of field names claims too many bytes: HDF5 would copy them all, far beyond its buffer."""
    path = tmp_path / "x.mat"
    write_mat(path, {"net": {"layers": row([1]), "meta": row([2])}}, "7.3")
    content = bytearray(path.read_bytes())
    heap = content.index(b"GCOL")
    content[heap + 24 : heap + 32] = struct.pack("<Q", 2**40)
    path.write_bytes(content)
    expect(path, "MATLAB_fields")


def promise_of_an_array(size: int) -> bytes:
    """A variable whose header promises `size` doubles in a row."""
    return by_hand.matrix(6, (1, size), "x", struct.pack("<II", by_hand.DOUBLE, min(8 * size, 2**32 - 8)))


NUMBERS = by_hand.numbers
WIDTH_0, WIDTH_32 = (by_hand.small(by_hand.INT32, struct.pack("<i", width)) for width in (0, 32))
NO_NAMES = by_hand.element(by_hand.INT8, b"")

PROMISES: list[tuple[str, bytes, str]] = [
    ("element", struct.pack("<II", 14, 2**31) + bytes(40), "byte 128: found an element of 2,147,483,648 bytes"),
    ("array", promise_of_an_array(2**28), "found an element of 2,147,483,648 bytes, expected at most the 0 left"),
    ("numbers", by_hand.matrix(6, (2**15, 2**15), "x", NUMBERS(9, 1)), "found 1 numbers, expected 1,073,741,824"),
    ("cells", by_hand.matrix(1, (2**15, 2**15), "x", by_hand.double(1)), "expected 1,073,741,824 values"),
    ("structs without fields", by_hand.matrix(2, (2**15, 2**15), "x", WIDTH_32, NO_NAMES), "values, expected at most"),
    ("dimensions", by_hand.matrix(6, (2**31 - 1, 2**31 - 1, 0), "x"), "found array dimensions"),
    ("negative", by_hand.matrix(6, (-1, -1), "x", NUMBERS(9, 1)), "found array dimensions"),
    ("small element", by_hand.matrix(6, (1, 1), "x", struct.pack("<II", 5 << 16 | 2, 0)), "a small element of 5 bytes"),
    ("text", by_hand.matrix(4, (1, 2**30), "x", NUMBERS(4, 65)), "found 1 characters, expected 1,073,741,824"),
    ("text of a column", by_hand.matrix(4, (2**18, 1), "x", by_hand.element(2, bytes(2**18))), "262,144 more values"),
    ("not text", by_hand.matrix(4, (1, 2), "x", by_hand.element(16, b"\xff\xfe")), "text that is not Unicode"),
    ("sparse columns", by_hand.matrix(5, (2, 2**30), "x", *[NUMBERS(5, 0)] * 3), "found column starts"),
    (
        "sparse rows",
        by_hand.matrix(5, (2, 1), "x", NUMBERS(5, 9), NUMBERS(5, 0, 1), NUMBERS(9, 1)),
        "row indices from 9 to 9",
    ),
    ("field names", by_hand.matrix(2, (1, 1), "x", WIDTH_0, by_hand.element(1, b"ab")), "field names"),
    (
        "equal field names",
        by_hand.struct_matrix((1, 1), "x", ("a", "a"), by_hand.double(1), by_hand.double(2)),
        "occurs twice",
    ),
    ("long name", by_hand.double(1, "x" * 1025), "found 1,025 bytes, expected an array name of at most 1024"),
    ("long dimensions", by_hand.matrix(6, (1,) * 33, "x", by_hand.double(1)), "found 132 bytes, expected array dim"),
    ("nameless fields", by_hand.struct_matrix((0, 0), "x", ("",) * 200_000, width=1), "200,000 more values, expected"),
    ("class", by_hand.matrix(99, (1, 1), "x"), "an array of class 99"),
    ("double in an int8", by_hand.matrix(8, (1, 1), "x", NUMBERS(9, 300.5)), "numbers that fit class int8"),
    (
        "element type",
        struct.pack("<II", 99, 8) + bytes(8),
        "byte 128: found an element of type 99, expected a variable",
    ),
    ("not compressed", by_hand.element(15, b"not a zlib stream"), "cannot be inflated"),
    ("compressed numbers", by_hand.compressed(NUMBERS(9, 1)), "a compressed element of type 9"),
    (
        "longer inside",
        by_hand.compressed(by_hand.double(1, "x") + bytes(8)),
        "found an unfinished stream of 73 bytes, expected the 72 ",
    ),
    ("shorter inside", by_hand.compressed(by_hand.double(1, "x")[:-8]), "found 64 bytes, expected the 72 "),
    ("inflates to 1 GiB", by_hand.compressed(struct.pack("<II", 14, 2**30)), "inflates to 1,073,741,832 bytes"),
]


@pytest.mark.parametrize(("variable", "message"), [case[1:] for case in PROMISES], ids=[case[0] for case in PROMISES])
def test_promises_of_version_5(tmp_path: Path, variable: bytes, message: str) -> None:
    path = tmp_path / "x.mat"
    path.write_bytes(by_hand.mat_file(variable))
    expect(path, message)


@pytest.mark.process
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "compressed"])
def test_deep_nesting(tmp_path: Path, packed: bool) -> None:
    path = tmp_path / "x.mat"
    value = by_hand.double(1)
    for _ in range(300):
        value = by_hand.matrix(1, (1, 1), "", value)
    value = by_hand.matrix(1, (1, 1), "x", value)
    path.write_bytes(by_hand.mat_file(by_hand.compressed(value) if packed else value))
    expect(path, "nested 101 deep, expected at most 100")


def cell_of(file: h5py.File, name: str, *items: h5py.Dataset | h5py.Group) -> h5py.Dataset:
    dataset = file.create_dataset(name, (len(items), 1), h5py.ref_dtype)
    dataset.attrs["MATLAB_class"] = np.bytes_("cell")
    for i, item in enumerate(items):
        dataset[i, 0] = item.ref
    return dataset


def cycle(file: h5py.File) -> None:
    cell = cell_of(file, "x", file)
    cell[0, 0] = cell.ref


def unwritten(file: h5py.File) -> None:
    file.create_dataset("x", (2**20, 2**20), np.float32)


def unwritten_chunks(file: h5py.File) -> None:
    file.create_dataset("x", (2**12, 2**12), np.uint8, chunks=(1, 1))


def giant_chunk(file: h5py.File) -> None:
    file.create_dataset("x", (4, 4), np.uint8, chunks=(2**15, 2**14), maxshape=(None, None))


def other_file(file: h5py.File) -> None:
    file["x"] = h5py.ExternalLink("/etc/passwd", "x")


def external_data(file: h5py.File) -> None:
    file.create_dataset("x", (4, 4), np.uint8, external="/etc/passwd")


def dimensions(file: h5py.File) -> None:
    item = file.create_dataset("x", data=np.array([2**40, 2**40], np.uint64))
    item.attrs["MATLAB_class"] = np.bytes_("struct")
    item.attrs["MATLAB_empty"] = np.uint8(1)


def fields_of_two_shapes(file: h5py.File) -> None:
    group = file.create_group("x")
    group.attrs["MATLAB_class"] = np.bytes_("struct")
    for name, count in (("a", 2), ("b", 3)):
        group.create_dataset(name, (count, 1), h5py.ref_dtype)


def text_of_objects(file: h5py.File) -> None:
    file["x"] = ["a", "b"]


HDF5_PROMISES: list[tuple[Callable[[h5py.File], None], str]] = [
    (cycle, "nested 101 deep"),
    (unwritten, "declares .*1048576, 1048576"),
    (unwritten_chunks, "16,777,216 chunks"),
    (giant_chunk, r"1 chunks of \[32768, 16384\]"),
    (other_file, "soft or external link"),
    (external_data, "stored in another file"),
    (dimensions, "dimensions .*1099511627776"),
    (fields_of_two_shapes, "struct array fields of shapes"),
    (text_of_objects, "/x: found data of type object"),
]


@pytest.mark.process
@pytest.mark.parametrize(("build", "message"), HDF5_PROMISES, ids=[case[0].__name__ for case in HDF5_PROMISES])
def test_promises_of_version_73(tmp_path: Path, build: Callable[[h5py.File], None], message: str) -> None:
    path = tmp_path / "x.mat"
    write_mat(path, {"start": Cell([row([1])])}, "7.3")
    with h5py.File(path, "r+") as file:
        build(file)
    expect(path, message)


@pytest.mark.process
def test_references_to_the_same_values_again_and_again(tmp_path: Path) -> None:
    """Ten levels of cells, each of which holds the one below ten times: 10^10 values in a few kilobytes."""
    path = tmp_path / "x.mat"
    write_mat(path, {"start": Cell([row([1])])}, "7.3")
    with h5py.File(path, "r+") as file:
        below = file.create_dataset("level0", data=np.ones((1, 1)))
        for level in range(1, 11):
            below = cell_of(file, f"level{level}", *[below] * 10)
    with pytest.raises(FileFormatError, match=r"10,001 .*references"):
        read_mat(path)


@pytest.mark.parametrize("library", ["libdeflate", "zlib"])
def test_inflated_by_either_library(library: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same values, in one buffer; and the same refusals of streams that are cut, damaged or too long."""
    import zlib

    from scipy.io import loadmat, savemat

    if library == "zlib":
        monkeypatch.setitem(sys.modules, "deflate", None)
    values = np.random.default_rng(2).standard_normal((40, 30, 20)).astype(np.float32)
    savemat(tmp_path / "x.mat", {"x": values}, do_compression=True)
    found = read_mat(tmp_path / "x.mat")["x"]
    np.testing.assert_array_equal(found, loadmat(tmp_path / "x.mat")["x"])
    assert not found.flags.owndata  # a view of what was inflated
    content = (tmp_path / "x.mat").read_bytes()
    stream = zlib.decompress(content[136:])
    for spoilt in (content[136:-6], content[136:400] + b"\0" * 64 + content[464:], zlib.compress(stream + b"more")):
        tag = content[128:132] + len(spoilt).to_bytes(4, "little")
        (tmp_path / "spoilt.mat").write_bytes(content[:128] + tag + spoilt)
        with pytest.raises(FileFormatError, match=r"spoilt\.mat"):
            read_mat(tmp_path / "spoilt.mat")
