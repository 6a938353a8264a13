"""MAT files, read and written: against scipy and h5py, against bytes put together by hand, and round trips."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import scipy.io
import scipy.sparse

from matnet.errors import FileFormatError
from matnet.formats.mat import read_mat, write_mat
from matnet.formats.mat.values import Cell, CharArray, Opaque, StructArray, empty, equal, row
from tests import mat_bytes as by_hand
from tests.conftest import DATA

FILES = sorted(DATA.glob("**/*.mat"))
ALL_HDF5 = [path for path in FILES if path.read_bytes().startswith(b"MATLAB 7.3")]
HDF5_FILES = [path for path in ALL_HDF5 if path.parts[-3] != "hostile"]  # those are refused: test_hostile.py
V5_FILES = [path for path in FILES if path not in ALL_HDF5]


def case_name(path: Path) -> str:
    return str(path.relative_to(DATA))


def assert_as_scipy(found: Any, expected: Any) -> None:
    """The same as scipy.io.loadmat(struct_as_record=False, mat_dtype=True) gives."""
    if isinstance(found, str):
        assert expected.tolist() == ([found] if found else [])
    elif isinstance(found, np.ndarray):
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected, strict=True)
    elif isinstance(found, dict):
        (only,) = expected.flat
        assert expected.shape == (1, 1)
        assert list(found) == only._fieldnames
        for name, value in found.items():
            assert_as_scipy(value, getattr(only, name))
    elif not isinstance(found, Opaque):  # of which scipy shows the inside
        assert isinstance(found, (Cell, StructArray))
        assert found.shape == expected.shape
        for value, other in zip(found, expected.ravel(order="F"), strict=True):
            assert_as_scipy(value, np.array([[other]]) if isinstance(found, StructArray) else other)


@pytest.mark.parametrize("path", V5_FILES, ids=case_name)
def test_version_5_as_scipy_reads_it(path: Path) -> None:
    expected = scipy.io.loadmat(path, struct_as_record=False, mat_dtype=True)
    found = read_mat(path)
    assert found.version == "5"
    assert list(found) == [name for name in expected if not name.startswith("__")]
    for name, value in found.items():
        assert_as_scipy(value, expected[name])


def plain_h5py(file: h5py.File, item: Any) -> Any:
    """A value by the rules of MAT v7.3, for what the conformance files hold."""
    kind = item.attrs.get("MATLAB_class", b"").decode()
    if isinstance(item, h5py.Group):
        if all("MATLAB_class" in field.attrs for field in item.values()):
            return {name: plain_h5py(file, field) for name, field in item.items()}
        columns = {name: field[()] for name, field in item.items()}
        shape = next(iter(columns.values())).shape
        places = range(int(np.prod(shape)))
        items = ({name: plain_h5py(file, file[refs.flat[i]]) for name, refs in columns.items()} for i in places)
        return StructArray(items, shape[::-1])
    data = item[()]
    if item.attrs.get("MATLAB_empty"):
        shape = tuple(int(dim) for dim in data)
        empties = {"char": "", "cell": Cell((), shape), "struct": {}, "canonical empty": empty()}
        return empties[kind] if kind in empties else np.zeros(shape, kind)
    if kind == "char":
        assert data.shape[1] == 1
        return "".join(map(chr, data[:, 0]))
    if kind == "cell":
        return Cell((plain_h5py(file, file[ref]) for ref in data.flat), data.shape[::-1])
    return data.T.astype(bool) if kind == "logical" else data.T


@pytest.mark.process
@pytest.mark.parametrize("path", HDF5_FILES, ids=case_name)
def test_version_73_as_h5py_reads_it(path: Path) -> None:
    found = read_mat(path)
    assert found.version == "7.3"
    assert found.compressed
    with h5py.File(path) as file:
        names = [name for name in file if not name.startswith("#")]
        assert sorted(found) == sorted(names)
        for name in names:
            assert equal(found[name], plain_h5py(file, file[name])), name


@pytest.mark.process
@pytest.mark.parametrize("kind", ["sn", "dag"])
def test_versions_7_and_73_of_a_conformance_net_are_equal(kind: str) -> None:
    first, second = (read_mat(DATA / f"matconvnet/{kind}_file_{version}/model.mat") for version in ("v7", "v73"))
    assert equal(dict(first), dict(second))
    if kind == "dag":
        # MATLAB_fields keeps the order in which MATLAB shows the fields.
        assert first["layers"].fields == second["layers"].fields
        assert [list(layer["block"]) for layer in first["layers"]] == [
            list(layer["block"]) for layer in second["layers"]
        ]


# Name, bytes, value: hand-worked from the layout of MAT v5 elements.
ELEMENTS: list[tuple[str, bytes, Any]] = [
    ("double", by_hand.double(2.5, "x"), np.array([[2.5]])),
    (
        "column-major",
        by_hand.matrix(6, (2, 3), "x", by_hand.numbers(by_hand.DOUBLE, 1, 2, 3, 4, 5, 6)),
        np.array([[1.0, 3, 5], [2, 4, 6]]),
    ),
    ("small element", by_hand.matrix(6, (1, 3), "x", by_hand.small(2, b"\1\2\xff")), np.array([[1.0, 2, 255]])),
    ("narrow int16", by_hand.matrix(6, (1, 2), "x", by_hand.numbers(3, -5, 300)), np.array([[-5.0, 300]])),
    ("narrow single", by_hand.matrix(7, (1, 1), "x", by_hand.small(1, b"\xfe")), np.array([[-2]], np.float32)),
    ("int64", by_hand.matrix(14, (1, 1), "x", by_hand.numbers(12, -(2**62) - 1)), np.array([[-(2**62) - 1]])),
    (
        "logical",
        by_hand.matrix(9, (1, 3), "x", by_hand.small(2, b"\0\1\2"), flags=0x0200),
        np.array([[False, True, True]]),
    ),
    (
        "complex",
        by_hand.matrix(6, (1, 2), "x", by_hand.numbers(9, 1, 2), by_hand.small(1, b"\3\xfc"), flags=0x0800),
        np.array([[1 + 3j, 2 - 4j]]),
    ),
    (
        "trailing ones",
        by_hand.matrix(7, (1, 2, 1, 1), "x", by_hand.numbers(7, 1, 2)),
        np.array([[[[1]], [[2]]]], np.float32),
    ),
    ("empty", by_hand.matrix(7, (0, 3), "x", by_hand.element(7, b"")), np.zeros((0, 3), np.float32)),
    ("empty without data", by_hand.matrix(6, (0, 0), "x"), empty()),
    ("char utf-16", by_hand.matrix(4, (1, 2), "x", by_hand.numbers(4, 0x41, 0xE9)), "A\u00e9"),
    ("char utf-8", by_hand.matrix(4, (1, 2), "x", by_hand.element(16, "A\u00e9".encode())), "A\u00e9"),
    (
        "char utf-8 beyond 16 bits",
        by_hand.matrix(4, (1, 2), "x", by_hand.element(16, "\U0001f600".encode())),
        "\U0001f600",
    ),
    ("char utf-16 type", by_hand.matrix(4, (1, 2), "x", by_hand.element(17, b"a\0b\0")), "ab"),
    ("char utf-32", by_hand.matrix(4, (1, 1), "x", by_hand.element(18, b"\x0a\xf6\x01\0")), "\U0001f60a"),
    ("char latin-1", by_hand.matrix(4, (1, 1), "x", by_hand.small(2, b"\xe9")), "\u00e9"),
    ("char rows", by_hand.matrix(4, (2, 3), "x", by_hand.element(2, b"adbecf")), CharArray(("abc", "def"), (2, 3))),
    (
        "char pages",
        by_hand.matrix(4, (2, 1, 2), "x", by_hand.element(2, b"abcd")),
        CharArray(("a", "b", "c", "d"), (2, 1, 2)),
    ),
    ("char 0x0", by_hand.matrix(4, (0, 0), "x", by_hand.element(4, b"")), ""),
    ("char 1x0", by_hand.matrix(4, (1, 0), "x", by_hand.element(4, b"")), CharArray((), (1, 0))),
    (
        "cell with an unset element",
        by_hand.matrix(1, (2, 1), "x", by_hand.element(14, b""), by_hand.double(1)),
        Cell([empty(), np.array([[1.0]])], (2, 1)),
    ),
    ("empty cell", by_hand.matrix(1, (0, 3), "x"), Cell((), (0, 3))),
    (
        "struct with short field names",
        by_hand.struct_matrix((1, 1), "x", ("ab", "c"), by_hand.double(1), by_hand.double(2), width=3),
        {"ab": np.array([[1.0]]), "c": np.array([[2.0]])},
    ),
    (
        "struct array",
        by_hand.struct_matrix((1, 2), "x", ("a", "b"), *(by_hand.double(i) for i in range(4))),
        StructArray([{"a": row([0]), "b": row([1])}, {"a": row([2]), "b": row([3])}], (1, 2)),
    ),
    ("struct without fields", by_hand.struct_matrix((1, 1), "x", ()), {}),
    ("structs without fields", by_hand.struct_matrix((2, 1), "x", ()), StructArray([{}, {}], (2, 1))),
    ("no structs", by_hand.struct_matrix((0, 1), "x", ("a",)), StructArray((), (0, 1), ["a"])),
    (
        "object",
        by_hand.matrix(
            3, (1, 1), "x", by_hand.element(1, b"inline"), by_hand.small(5, b"\x20\0\0\0"), by_hand.element(1, b"")
        ),
        Opaque("object", "inline"),
    ),
    (
        "function handle",
        by_hand.matrix(16, (1, 1), "x", by_hand.double(0)),
        Opaque("function_handle", "function_handle"),
    ),
    (
        "object of the new system",
        by_hand.element(
            14,
            by_hand.numbers(6, 17, 0)
            + by_hand.small(1, b"x")
            + by_hand.small(1, b"MCOS")
            + by_hand.element(1, b"dagnn.DagNN")
            + by_hand.matrix(13, (1, 1), "", by_hand.numbers(6, 0xDD000000)),
        ),
        Opaque("opaque", "dagnn.DagNN"),
    ),
    (
        "sparse",
        by_hand.matrix(
            5,
            (3, 2),
            "x",
            by_hand.numbers(5, 0, 2, 1, 0),
            by_hand.numbers(5, 0, 2, 3),
            by_hand.numbers(9, 1, 2, 3, 0),
            room=4,
        ),
        scipy.sparse.csc_matrix(np.array([[1.0, 0], [0, 3], [2, 0]])),
    ),
    (
        "sparse logical",
        by_hand.matrix(
            5, (2, 1), "x", by_hand.numbers(5, 1), by_hand.numbers(5, 0, 1), by_hand.small(2, b"\1"), flags=0x0200
        ),
        scipy.sparse.csc_matrix(np.array([[False], [True]])),
    ),
    (
        "sparse complex",
        by_hand.matrix(
            5,
            (1, 2),
            "x",
            by_hand.numbers(5, 0),
            by_hand.numbers(5, 0, 0, 1),
            by_hand.numbers(9, 1),
            by_hand.numbers(9, 2),
            flags=0x0800,
        ),
        scipy.sparse.csc_matrix(np.array([[0, 1 + 2j]])),
    ),
]


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "compressed"])
@pytest.mark.parametrize(("content", "expected"), [case[1:] for case in ELEMENTS], ids=[case[0] for case in ELEMENTS])
def test_elements_by_hand(tmp_path: Path, content: bytes, expected: Any, packed: bool) -> None:
    path = tmp_path / "x.mat"
    # The compressed variable before it leaves the second at an odd offset.
    odd = by_hand.compressed(by_hand.double(7, "odd"))
    path.write_bytes(by_hand.mat_file(odd, by_hand.compressed(content) if packed else content))
    found = read_mat(path)
    assert list(found) == ["odd", "x"]
    assert found.compressed
    assert type(found["x"]) is type(expected)
    assert equal(found["x"], expected), found["x"]
    if isinstance(expected, np.ndarray):
        assert found["x"].dtype == expected.dtype and found["x"].flags.f_contiguous


def test_big_endian(tmp_path: Path) -> None:
    path = tmp_path / "x.mat"
    order = ">"
    array = by_hand.matrix(7, (1, 2), "x", by_hand.numbers(7, 1.5, -2, order=order), order=order)
    narrow = by_hand.matrix(6, (1, 2), "y", by_hand.small(3, b"\x01\x02\xff\xfe", order), order=order)
    text = by_hand.matrix(4, (1, 2), "z", by_hand.small(4, b"\0a\0b", order), order=order)
    path.write_bytes(by_hand.mat_file(array, narrow, by_hand.compressed(text, order), order=order))
    found = read_mat(path)
    assert found["x"].dtype == np.dtype(np.float32)
    np.testing.assert_array_equal(found["x"], [[1.5, -2]])
    np.testing.assert_array_equal(found["y"], [[258, -2]])
    assert found["z"] == "ab"


def test_the_store_of_matlabs_objects_is_no_variable(tmp_path: Path) -> None:
    path = tmp_path / "x.mat"
    store = by_hand.matrix(9, (1, 3), "", by_hand.small(2, b"\1\2\3"))
    path.write_bytes(by_hand.mat_file(by_hand.double(1, "x"), by_hand.compressed(store), store))
    assert list(read_mat(path)) == ["x"]


def test_large_arrays_are_views_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "x.mat"
    weights = np.arange(2 * 3 * 5 * 7, dtype=np.float32).reshape(2, 3, 5, 7)
    write_mat(path, {"net": {"weights": Cell([weights])}})
    found = read_mat(path)["net"]["weights"][0]
    np.testing.assert_array_equal(found, weights, strict=True)
    assert found.flags.f_contiguous and not found.flags.owndata and not found.flags.writeable
    # The values stand in the file, aligned to 8 bytes, so that any later program can map them too.
    assert path.read_bytes().index(weights.tobytes(order="F")) % 8 == 0


@pytest.mark.parametrize("version", ["5", "7.3"])
def test_only_the_wanted_variables_are_read(tmp_path: Path, version: str) -> None:
    path = tmp_path / "x.mat"
    write_mat(path, {"layers": row([1]), "state": row([2]), "meta": row([3])}, version)
    assert list(read_mat(path, names={"meta", "layers", "absent"})) == ["layers", "meta"]


def test_unwanted_compressed_variables_are_not_inflated(tmp_path: Path) -> None:
    path = tmp_path / "x.mat"
    state = by_hand.matrix(6, (1, 2000), "state", by_hand.numbers(9, *range(2000)))
    damaged = bytearray(by_hand.compressed(state))
    damaged[-1] ^= 1  # the check sum
    path.write_bytes(by_hand.mat_file(bytes(damaged), by_hand.double(1, "x")))
    assert list(read_mat(path, names=["x"])) == ["x"]
    with pytest.raises(FileFormatError, match=r"byte 136.*inflated"):
        read_mat(path)


@pytest.mark.process
@pytest.mark.parametrize("path", ["dncnn3/DnCNN3", "lapsrn_x2/LapSRN_x2", "charscnn_legacy/charscnn"])
def test_files_of_matlab_itself(real_data: Path, path: str) -> None:
    file = real_data / "matconvnet" / f"{path}.mat"
    found = read_mat(file)
    if found.version == "7.3":
        with h5py.File(file) as content:
            assert equal(found["net"], plain_h5py(content, content["net"]))
        return
    expected = scipy.io.loadmat(file, struct_as_record=False, mat_dtype=True)
    for name, value in found.items():
        assert_as_scipy(value, expected[name])


def hdf5_file(path: Path, version: str = "earliest") -> h5py.File:
    """An empty MAT v7.3 file, its header by hand."""
    h5py.File(path, "w", userblock_size=512, libver=version).close()
    with path.open("rb+") as file:
        file.write(b"MATLAB 7.3 MAT-file, by hand".ljust(116) + bytes(8) + b"\x00\x02IM")
    return h5py.File(path, "r+", libver=version)


def data(group: h5py.Group, name: str, values: Any, kind: str | None, **attributes: Any) -> h5py.Dataset:
    """A data set with MATLAB's attributes; `kind` None leaves the class out."""
    item = group.create_dataset(name, data=values)
    if kind is not None:
        item.attrs["MATLAB_class"] = np.bytes_(kind)
    for attribute, value in attributes.items():
        item.attrs[f"MATLAB_{attribute}"] = value
    return item


def references(group: h5py.Group, name: str, shape: tuple[int, ...], *items: Any) -> h5py.Dataset:
    """A data set of references in HDF5's shape; None leaves an element unset."""
    content = group.create_dataset(name, shape, h5py.ref_dtype)
    for place, item in zip(np.ndindex(shape), items, strict=True):
        if item is not None:
            content[place] = item.ref
    return content


@pytest.mark.process
def test_version_73_by_hand(tmp_path: Path) -> None:
    """What no conformance file holds, by MATLAB's conventions for HDF5."""
    path = tmp_path / "x.mat"
    with hdf5_file(path) as file:
        data(file, "zeta", np.arange(6, dtype=np.int16).reshape(3, 2), "int16")
        parts = np.array([[(1.0, 2.0)], [(3.0, -4.0)]], [("real", "f8"), ("imag", "f8")])
        data(file, "complex", parts, "double")
        data(file, "rows", np.array([[97, 98], [99, 100], [101, 102]], np.uint16), "char", int_decode=np.int32(2))
        data(file, "column_of_text", np.array([1, 0], np.uint64), "char", empty=np.uint8(1))
        data(file, "no_structs", np.array([0, 3], np.uint64), "struct", empty=np.uint8(1))
        data(file, "handle", np.zeros((1, 1), np.uint32), "function_handle", object_decode=np.int32(1))
        data(file, "live", np.zeros((1, 6), np.uint32), "dagnn.DagNN", object_decode=np.int32(3))
        file.create_group("#refs#")
        one = data(file["#refs#"], "b", np.ones((1, 1)), "double")
        unset = data(file["#refs#"], "a", np.zeros(2, np.uint64), "canonical empty", empty=np.uint8(1))
        references(file, "cell", (2, 1), one, None).attrs["MATLAB_class"] = np.bytes_("cell")
        structs = file.create_group("structs")
        structs.attrs["MATLAB_class"] = np.bytes_("struct")
        references(structs, "b", (1, 2), one, unset)
        references(structs, "a", (1, 2), unset, one)
        sparse = file.create_group("sparse")
        sparse.attrs["MATLAB_class"] = np.bytes_("double")
        sparse.attrs["MATLAB_sparse"] = np.uint64(3)
        data(sparse, "data", np.array([5.0, 6.0]), None)
        data(sparse, "ir", np.array([2, 0], np.uint64), None)
        data(sparse, "jc", np.array([0, 1, 2], np.uint64), None)
    found = read_mat(path)
    expected = {
        "zeta": np.array([[0, 2, 4], [1, 3, 5]], np.int16),
        "complex": np.array([[1 + 2j, 3 - 4j]]),
        "rows": CharArray(("ace", "bdf"), (2, 3)),
        "column_of_text": CharArray((), (1, 0)),
        "no_structs": StructArray((), (0, 3)),
        "handle": Opaque("function_handle", "function_handle"),
        "live": Opaque("opaque", "dagnn.DagNN"),
        "cell": Cell([np.ones((1, 1)), empty()], (1, 2)),
        "structs": StructArray([{"b": np.ones((1, 1)), "a": empty()}, {"b": empty(), "a": np.ones((1, 1))}], (2, 1)),
        "sparse": scipy.sparse.csc_matrix(np.array([[0.0, 6], [0, 0], [5, 0]])),
    }
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert equal(found[name], value), name
    assert not found.compressed


@pytest.mark.process
@pytest.mark.parametrize("version", ["earliest", "v108", "latest"])
@pytest.mark.parametrize("count", [2, 5, 300])
def test_fields_keep_their_order(tmp_path: Path, version: str, count: int) -> None:
    """MATLAB_fields in the object headers of both versions of HDF5's format, of one heap and of several."""
    path = tmp_path / "x.mat"
    names = [f"field_{chr(ord('z') - i % 26)}{i}" for i in range(count)]
    fields = np.empty(count, object)
    fields[:] = [np.frombuffer(name.encode(), "S1") for name in names]
    with hdf5_file(path, version) as file:
        group = file.create_group("x")
        group.attrs["MATLAB_class"] = np.bytes_("struct")
        group.attrs.create("MATLAB_fields", fields, dtype=h5py.vlen_dtype("S1"))
        group.attrs["H5PATH"] = np.bytes_("/x")
        for i, name in enumerate(sorted(names)):
            data(group, name, np.full((1, 1), i), "double")
    assert list(read_mat(path)["x"]) == names
