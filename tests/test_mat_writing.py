"""Writing MAT files: round trips, the same bytes every time, scipy and h5py as outside readers, and refusals."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np
import pytest
import scipy.io
import scipy.sparse

import matnet
from matnet.errors import FileFormatError, MatnetError
from matnet.formats.mat import read_mat, write_mat
from matnet.formats.mat.values import Cell, CharArray, Opaque, StructArray, empty, equal, row
from tests import mat_bytes as by_hand
from tests.conftest import DATA

RANDOM = np.random.default_rng(3)
LONG = "n" * 63

VALUES: dict[str, Any] = {
    "zeta": RANDOM.standard_normal((3, 5, 4, 6)).astype(np.float32),
    "fortran": np.asfortranarray(RANDOM.standard_normal((7, 11))),
    "strided": RANDOM.standard_normal((9, 8, 7))[::2, ::-1, 1:],
    "trailing_ones": np.ones((3, 2, 1, 1), np.float32),
    "large": RANDOM.standard_normal((13, 17, 8)),
    "scalar": np.array([[2.5]], np.float32),
    "mask": RANDOM.integers(0, 2, (2, 3, 5)).astype(bool),
    **{f"integer_{name}": np.array([[1, 2, 100]], name) for name in ("i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8")},
    "limits": np.array([[-(2**63), 2**63 - 1]]),
    "complex_double": np.array([[1 + 2j], [3 - 4j]]),
    "complex_single": np.array([[1 + 2j, 3 - 4j, 0]], np.complex64),
    "special": np.array([[np.nan, np.inf, -np.inf, -0.0]]),
    "no_rows": np.zeros((0, 3), np.float32),
    "no_flags": np.zeros((2, 0), bool),
    "text": "h\u00e9llo \U0001f600",
    "half_a_pair": "a\ud83d",
    "no_text": "",
    "row_of_no_text": CharArray((), (1, 0)),
    "rows": CharArray(("abc", "d\u00e9f"), (2, 3)),
    "pages": CharArray(("ab", "cd", "ef", "gh", "ij", "kl"), (3, 2, 2)),
    "cell": Cell([empty(), "x", Cell([row([1])]), {"q": "r"}, Cell((), (0, 3)), row([1, 2])], (2, 3)),
    "net": {
        "block": {},
        "layers": StructArray([{"x": row([1]), "y": "a"}, {"x": "t", "y": Cell()}], (2, 1)),
        "none": StructArray((), (1, 0), ["u", "v"]),
        "bare": StructArray([{}, {}, {}], (1, 3), []),
    },
    "sparse": scipy.sparse.csc_matrix(np.array([[0, 1.5, 0], [2, 0, 0]])),
    "sparse_mask": scipy.sparse.csc_matrix(np.array([[False, True], [True, False], [False, False]])),
    "sparse_zeros": scipy.sparse.csc_matrix((3, 4)),
    "sparse_complex": scipy.sparse.csc_matrix(np.array([[0, 1j]])),
    LONG: {LONG: row([1])},
}

FORMS = [("5", False), ("5", True), ("7.3", False), ("7.3", True)]
form = pytest.mark.parametrize(("version", "compress"), FORMS, ids=["v5", "v7", "v73", "v73 deflated"])


@pytest.mark.process
@form
def test_round_trip(tmp_path: Path, version: str, compress: bool) -> None:
    path = tmp_path / "x.mat"
    assert write_mat(path, VALUES, version, compress) == []
    found = read_mat(path)
    assert (found.version, found.compressed) == (version, compress)
    assert list(found) == (list(VALUES) if version == "5" else sorted(VALUES))
    for name, value in VALUES.items():
        assert type(found[name]) is type(value), name
        assert equal(found[name], value), name
    assert found["net"]["layers"].fields == ("x", "y")
    assert found["net"]["none"].fields == ("u", "v")
    assert np.signbit(found["special"][0, 3])


@pytest.mark.process
@form
@pytest.mark.parametrize("name", ["sn_file_net", "dag_file_v7"])
def test_round_trip_of_a_net(tmp_path: Path, name: str, version: str, compress: bool) -> None:
    path = tmp_path / "x.mat"
    net = read_mat(DATA / f"matconvnet/{name}/model.mat")
    write_mat(path, net, version, compress)
    assert equal(dict(read_mat(path)), dict(net))


@pytest.mark.process
@form
def test_the_same_variables_give_the_same_bytes(
    tmp_path: Path, version: str, compress: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [tmp_path / "a.mat", tmp_path / "b.mat"]
    for hour, path in enumerate(paths):
        monkeypatch.setattr("time.time", lambda hour=hour: 1e9 + 3600 * hour)
        write_mat(path, VALUES, version, compress)
    first, second = (hashlib.md5(path.read_bytes()).hexdigest() for path in paths)
    assert first == second


@pytest.mark.parametrize("compress", [False, True], ids=["v5", "v7"])
def test_scipy_reads_version_5(tmp_path: Path, compress: bool) -> None:
    path = tmp_path / "x.mat"
    # scipy takes 16-bit text for UTF-8.
    unreadable = {"text", "half_a_pair", "rows"}
    write_mat(path, {name: value for name, value in VALUES.items() if name not in unreadable}, "5", compress)
    # With mat_dtype, without which logical arrays become numbers, scipy drops imaginary parts.
    imaginary = [name for name in VALUES if "complex" in name]
    real = [name for name in VALUES if name not in imaginary]
    found = scipy.io.loadmat(path, variable_names=real, struct_as_record=False, mat_dtype=True)
    found.update(scipy.io.loadmat(path, variable_names=imaginary))
    for name, value in VALUES.items():
        if isinstance(value, np.ndarray):
            np.testing.assert_array_equal(np.asarray(found[name]), value, strict=True)
        elif scipy.sparse.issparse(value) and name not in unreadable:
            np.testing.assert_array_equal(found[name].toarray(), value.toarray())
    cell, net = found["cell"], found["net"][0, 0]
    assert cell.shape == (2, 3) and cell[1, 0].tolist() == ["x"] and cell[1, 1][0, 0].q.tolist() == ["r"]
    assert cell[0, 2].shape == (0, 3)
    assert net._fieldnames == ["block", "layers", "none", "bare"]
    assert net.layers.shape == (2, 1) and net.layers[1, 0].x.tolist() == ["t"]
    assert net.none.shape == (1, 0) and net.bare.shape == (1, 3)
    assert getattr(found[LONG][0, 0], LONG) == 1


@pytest.mark.process
def test_version_73_is_what_matlab_expects(tmp_path: Path) -> None:
    """The attributes, types and reversed dimensions of MATLAB's own v7.3 files, seen with plain h5py."""
    path = tmp_path / "x.mat"
    write_mat(path, VALUES, "7.3")
    head = path.read_bytes()[:520]
    assert head.startswith(b"MATLAB 7.3 MAT-file") and head[124:128] == b"\x00\x02IM"
    # Version 0 of the superblock, as HDF5 1.8 and thus every MATLAB reads it.
    assert head[512:] == b"\x89HDF\r\n\x1a\n" and path.read_bytes()[520] == 0
    with h5py.File(path) as file:

        def attributes(name: str) -> dict[str, Any]:
            return {key: value for key, value in file[name].attrs.items() if key != "MATLAB_fields"}

        assert file["zeta"].shape == (6, 4, 5, 3)
        np.testing.assert_array_equal(file["zeta"][()].T, VALUES["zeta"], strict=True)
        assert attributes("zeta") == {"MATLAB_class": b"single"}
        assert attributes("mask") == {"MATLAB_class": b"logical", "MATLAB_int_decode": 1}
        assert file["mask"].dtype == np.uint8
        assert attributes("no_rows") == {"MATLAB_class": b"single", "MATLAB_empty": 1}
        np.testing.assert_array_equal(file["no_rows"][()], np.array([0, 3], np.uint64), strict=True)
        assert attributes("rows") == {"MATLAB_class": b"char", "MATLAB_int_decode": 2}
        np.testing.assert_array_equal(file["rows"][:, 1], np.array([0x64, 0xE9, 0x66], np.uint16), strict=True)
        assert attributes("cell") == {"MATLAB_class": b"cell"} and file["cell"].shape == (3, 2)
        assert file[file["cell"][0, 1]][()].tolist() == [[ord("x")]]
        assert attributes("net") == {"MATLAB_class": b"struct"}
        assert [b"".join(name) for name in file["net"].attrs["MATLAB_fields"]] == [
            b"block",
            b"layers",
            b"none",
            b"bare",
        ]
        assert attributes("net/block") == {"MATLAB_class": b"struct", "MATLAB_empty": 1}
        assert file["net/block"][()].tolist() == [1, 1]
        # The one mark of a struct array: fields of references without a class.
        assert attributes("net/layers") == {"MATLAB_class": b"struct"} and attributes("net/layers/x") == {}
        assert file["complex_double"].dtype.names == ("real", "imag")
        assert attributes("sparse") == {"MATLAB_class": b"double", "MATLAB_sparse": 2}
        assert file["sparse/jc"][()].tolist() == [0, 1, 2, 2]
        assert attributes("#refs#/a") == {"MATLAB_class": b"canonical empty", "MATLAB_empty": 1}
        # As long as the text and terminated like C strings: MATLAB compares them byte by byte.
        kind = h5py.h5a.open(file["zeta"].id, b"MATLAB_class").get_type()
        assert (kind.get_size(), kind.get_strpad()) == (6, h5py.h5t.STR_NULLTERM)


@pytest.mark.process
def test_opaque_values_are_dropped_and_told(tmp_path: Path) -> None:
    handle = Opaque("function_handle", "function_handle")
    layers = Cell([{"name": "a"}, {"name": "b", "handle": handle}])
    params = StructArray([{"value": handle}, {"value": Cell([row([1]), handle])}])
    for version in ("5", "7.3"):
        path = tmp_path / f"{version}.mat"
        dropped = write_mat(path, {"layers": layers, "params": params}, version)
        assert dropped == ["layers{2}.handle", "params(1).value", "params(2).value{2}"]
        found = read_mat(path)
        assert equal(found["layers"][1]["handle"], empty())
        assert equal(found["params"][1]["value"], Cell([row([1]), empty()]))


def nested(levels: int) -> Any:
    value: Any = row([1])
    for _ in range(levels):
        value = Cell([value])
    return value


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("none", {"x": {"a": None}}, r"x\.a is a Python NoneType"),
    ("number", {"layers": Cell([{}, {"pad": 1}])}, r"layers\{2\}\.pad is a Python int"),
    ("bool", {"x": True}, "x is a Python bool"),
    ("numpy scalar", {"x": np.float64(1)}, "x is a Python float64"),
    ("list", {"x": {"size": [1, 2]}}, r"x\.size is a Python list"),
    (
        "one dimension",
        {"x": StructArray([{"a": np.ones(3)}, {"a": empty()}])},
        r"x\(1\)\.a is an array of shape \(3,\)",
    ),
    ("half precision", {"x": np.ones((1, 2), np.float16)}, "x is an array of float16"),
    ("objects", {"x": np.array([[None]])}, "x is an array of object"),
    ("cell shape", {"x": Cell([row([1])], (2, 3))}, r"x has shape \(2, 3\) but 1 elements"),
    ("struct fields", {"x": StructArray([{"a": empty()}, {"b": empty()}])}, r"x\(2\) has fields \['b'\]"),
    ("char rows", {"x": CharArray(("ab", "c"), (2, 2))}, r"x has 2 rows of widths \[1, 2\]"),
    ("sparse single", {"x": scipy.sparse.csc_matrix((2, 2), dtype=np.float32)}, "x is a sparse matrix of float32"),
    ("variable name", {"a/b": row([1])}, "variable name 'a/b' is not a MATLAB identifier"),
    ("long name", {"x": {"n" * 64: row([1])}}, "x has a field whose name 'n{64}' is not a MATLAB identifier"),
    ("nesting", {"x": nested(100)}, "is nested more than 100 levels deep"),
]


@pytest.mark.parametrize(("variables", "message"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_what_no_mat_file_can_hold_is_refused(tmp_path: Path, variables: dict[str, Any], message: str) -> None:
    for version in ("5", "7.3"):
        with pytest.raises(MatnetError, match=message):
            write_mat(tmp_path / "x.mat", variables, version)
    assert os.listdir(tmp_path) == []


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(MatnetError, match=r"x\.mat: not written(.|\n)*a is a Python int(.|\n)*b\.c is a Python set"):
        write_mat(tmp_path / "x.mat", {"a": 1, "b": {"c": set()}})


def test_a_structure_that_holds_itself_is_refused(tmp_path: Path) -> None:
    endless: dict[str, Any] = {}
    endless["again"] = endless
    with pytest.raises(MatnetError, match="nested more than 100 levels"):
        write_mat(tmp_path / "x.mat", {"x": endless})


def test_a_variable_beyond_version_5_is_refused_before_it_is_written(tmp_path: Path) -> None:
    """2^31-1 bytes: 128 bytes less than 2^29 singles still fit, with their headers; the arrays take no memory."""
    path = tmp_path / "x.mat"
    path.write_bytes(b"the older file")
    large = np.broadcast_to(np.float32(1), (2**15, 2**14))
    half = np.broadcast_to(np.float32(1), (2**14, 2**14))
    for variables in ({"small": row([1]), "weights": large}, {"weights": {"a": half, "b": half}}):
        with pytest.raises(
            FileFormatError, match=r"x\.mat: not written(.|\n)*version 7\.3(.|\n)*weights: 2,147,48\d,\d{3} bytes"
        ):
            write_mat(path, variables)
    assert path.read_bytes() == b"the older file"
    assert os.listdir(tmp_path) == ["x.mat"]


def test_an_unknown_version_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MatnetError, match="MAT version '4'"):
        write_mat(tmp_path / "x.mat", {"x": row([1])}, "4")


@pytest.mark.parametrize("version", ["5", "7.3"])
def test_an_interrupted_write_leaves_the_older_file(
    tmp_path: Path, version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.mat"
    write_mat(path, {"x": row([1])}, version)

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("os.replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_mat(path, {"x": row([2])}, version)
    assert equal(read_mat(path)["x"], row([1]))
    assert os.listdir(tmp_path) == ["x.mat"]


@pytest.mark.process
@form
@pytest.mark.parametrize("order", ["C", "F"])
def test_a_large_array_is_not_copied_whole(tmp_path: Path, version: str, compress: bool, order: Any) -> None:
    path = tmp_path / "x.mat"
    weights = np.zeros((64, 64, 32, 64), np.float32, order=order)
    tracemalloc.start()
    try:
        write_mat(path, {"weights": weights}, version, compress)
        assert tracemalloc.get_traced_memory()[1] < weights.nbytes / 2
    finally:
        tracemalloc.stop()
    np.testing.assert_array_equal(read_mat(path)["weights"], weights, strict=True)


@pytest.mark.parametrize("version", ["5", "7.3"])
def test_a_file_is_written_over_while_its_arrays_are_in_use(tmp_path: Path, version: str) -> None:
    path = tmp_path / "x.mat"
    write_mat(path, {"net": {"weights": VALUES["zeta"]}}, version)
    net = read_mat(path)["net"]
    write_mat(path, {"net": {"added": row([1]), "weights": net["weights"]}}, version)
    np.testing.assert_array_equal(net["weights"], VALUES["zeta"], strict=True)
    np.testing.assert_array_equal(read_mat(path)["net"]["weights"], VALUES["zeta"], strict=True)


FULL_DISK = """
import resource, sys
import numpy as np
from matnet.command_line import run_command
from matnet.formats.mat import write_mat

resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
variables = {"weights": np.ones((300, 400))}
sys.exit(run_command(lambda _: len(write_mat(sys.argv[1], variables, sys.argv[2]))))
"""


@pytest.mark.process
@pytest.mark.parametrize("version", ["5", "7.3"])
def test_a_full_disk(tmp_path: Path, version: str) -> None:
    """The largest size of a file stands in for it; no half file is left."""
    command = [sys.executable, "-c", FULL_DISK, str(tmp_path / "x.mat"), version]
    result = subprocess.run(command, capture_output=True, text=True, cwd=DATA.parent.parent)
    assert result.returncode == 2 and "Traceback" not in result.stderr, result.stderr
    assert os.listdir(tmp_path) == []


@pytest.mark.process
def test_hdf5_on_a_disk_that_fills_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One clean error, no half file, and the process goes on: later files are written as ever."""
    from matnet.formats.mat import v73_write

    class Full(v73_write.Sink):
        room = 20_000

        def write(self, content: Any) -> int:
            self.room -= len(content)
            if self.room < 0 and self.failure is None:
                self.failure = OSError(28, "No space left on device")
            return super().write(content)

    variables = {"a": np.ones((100, 100)), "b": Cell([np.ones((50, 50)), "text"])}
    write_mat(tmp_path / "good.mat", variables, version="7.3")
    with monkeypatch.context() as patched:
        patched.setattr(v73_write, "Sink", Full)
        with pytest.raises(FileFormatError, match=r"full\.mat.*No space left"):
            write_mat(tmp_path / "full.mat", variables, version="7.3")
    write_mat(tmp_path / "again.mat", variables, version="7.3")
    assert sorted(os.listdir(tmp_path)) == ["again.mat", "good.mat"]
    assert (tmp_path / "again.mat").read_bytes() == (tmp_path / "good.mat").read_bytes()


@pytest.mark.parametrize("version", ["5", "7.3"])
@pytest.mark.parametrize("kind", ["complex", "sparse", "text", "narrow"])
def test_values_that_grow_in_memory_have_a_budget(
    kind: str, version: Literal["5", "7.3"], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Numbers in two parts, text, and doubles that are stored as uint8, which writers other than this one do."""
    from matnet.formats.mat import limits

    path, value = tmp_path / "wide.mat", np.ones((60, 50)) + 1j
    values = {"complex": value, "sparse": scipy.sparse.csc_matrix(value), "text": CharArray(("x" * 600,) * 2, (2, 600))}
    if kind != "narrow":
        write_mat(path, {"wide": values[kind]}, version=version)
    elif version == "5":
        stored = by_hand.element(by_hand.UINT8, bytes(3000))
        path.write_bytes(by_hand.mat_file(by_hand.matrix(by_hand.CLASS_DOUBLE, (60, 50), "wide", stored)))
    else:
        write_mat(path, {"wide": np.zeros((60, 50), np.uint8)}, version=version)
        with h5py.File(path, "r+") as file:
            file["wide"].attrs["MATLAB_class"] = np.bytes_("double")
    assert read_mat(path)["wide"].shape in ((60, 50), (2, 600))
    monkeypatch.setattr(limits, "MAX_WIDE", 1000)
    monkeypatch.setattr(limits, "WIDE_PER_BYTE", 0)
    with pytest.raises(FileFormatError, match=r"wide.*in total"):
        read_mat(path)


@pytest.mark.process
@pytest.mark.parametrize("version", ["5", "7.3"])
def test_sparse_weights_are_made_full_within_a_budget(version: Literal["5", "7.3"], tmp_path: Path) -> None:
    """Of two files of a kilobyte one asks for 8 GB, the other for 20 matrices of 32 MB."""
    weights = np.zeros((9, 4))
    weights[[1, 5], [2, 3]] = 2.5, -1.5

    def network(name: str, *matrices: Any) -> Path:
        path = tmp_path / name
        layers = [{"type": "conv", "name": f"c{at}", "weights": Cell([value])} for at, value in enumerate(matrices)]
        write_mat(path, {"layers": Cell(layers)}, version=version)
        return path

    small = matnet.load(network("small.mat", scipy.sparse.csc_matrix(weights)))
    (param,) = small.params.values()
    np.testing.assert_array_equal(param.value.reshape(9, 4), weights)
    with pytest.raises(MatnetError, match="1048576x1024"):
        matnet.load(network("large.mat", scipy.sparse.csc_matrix((2**20, 2**10))))
    with pytest.raises(MatnetError, match="2000x2000"):
        matnet.load(network("many.mat", *[scipy.sparse.csc_matrix((2000, 2000))] * 20))
