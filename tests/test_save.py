"""Saving: nothing that MatConvNet knows changes, the bytes are always the same, an accident leaves no half file."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import matnet
from matnet.errors import FileFormatError, NetworkError
from matnet.formats.mat import read_mat, write_mat
from matnet.formats.mat.values import Cell, StructArray, equal
from matnet.network import Layer, Network
from matnet.ops import register
from matnet.ops.base import REGISTRY, Op
from matnet.params import Param
from tests.conftest import DATA, conformance_cases
from tests.helpers import assert_line

CASES = [f"matconvnet/{name}" for name in conformance_cases("matconvnet")]
SAVED = [*((case, "5") for case in CASES), *((case, "7.3") for case in CASES[::3])]
LEGACY = ("filters", "biases", "weights", "class")


def fields_of(path: Path) -> dict[str, Any]:
    file = read_mat(path)
    return file["net"] if "net" in file else dict(file)


def as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (Cell, StructArray)) else [value]


def fitted(a: Any, b: Any) -> bool:
    """Equal, and arrays equal up to trailing singletons, which MATLAB does not see."""
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray) and a.ndim != b.ndim:
        ndim = max(a.ndim, b.ndim)
        a, b = (x.reshape(x.shape + (1,) * (ndim - x.ndim), order="F") for x in (a, b))
    return equal(a, b)


def assert_kept(before: dict[str, Any], after: dict[str, Any], where: str, skip: tuple[str, ...] = ()) -> None:
    for name, value in before.items():
        if name in skip:
            continue
        assert name in after, f"{where}.{name} is gone"
        if isinstance(value, (str, list)) and not len(value) and not len(after[name]):
            continue
        assert fitted(value, after[name]), f"{where}.{name}: {value!r} became {after[name]!r}"


@pytest.mark.process
@pytest.mark.parametrize(("case", "version"), SAVED)
def test_no_field_that_upstream_knows_changes(case: str, version: str, tmp_path: Path) -> None:
    source, target = DATA / case / "model.mat", tmp_path / "saved.mat"
    matnet.save(matnet.load(source), target, version=version)
    before, after = fields_of(source), fields_of(target)
    old_layers, new_layers = as_list(before["layers"]), as_list(after["layers"])
    assert len(old_layers) == len(new_layers)
    simple = isinstance(before["layers"], Cell)
    original = matnet.load(source)
    for index, (old, new) in enumerate(zip(old_layers, new_layers, strict=True), 1):
        where = f"layers{{{index}}}"
        if simple:
            assert_kept(old, new, where, LEGACY)
            continue
        block = old["block"] if isinstance(old["block"], dict) else {}
        assert_kept(block, new["block"], f"{where}.block")
        assert old["type"] == new["type"]
    reread = matnet.load(target)
    assert list(reread.layers) == list(original.layers)
    assert reread.variables == original.variables
    for name, param in original.params.items():
        assert fitted(param.value, reread.params[name].value), name
    assert_kept(original.meta, reread.meta, "meta")


@pytest.mark.process
@pytest.mark.parametrize("version", ["5", "7.3"])
@pytest.mark.parametrize("case", ["sn_alexnet", "dag_importer"])
def test_same_network_same_bytes(case: str, version: str, tmp_path: Path) -> None:
    source = DATA / "matconvnet" / case / "model.mat"
    digests = set()
    for attempt in range(2):
        target = tmp_path / f"{attempt}.mat"
        matnet.save(matnet.load(source), target, version=version)
        digests.add(hashlib.md5(target.read_bytes()).hexdigest())
    again = tmp_path / "again.mat"
    matnet.save(matnet.load(target), again, version=version)
    digests.add(hashlib.md5(again.read_bytes()).hexdigest())
    assert len(digests) == 1


@pytest.mark.process
def test_names_become_identifiers_and_come_back(tmp_path: Path) -> None:
    source = DATA / "matconvnet/dag_importer/model.mat"
    net = matnet.load(source)
    assert any("/" in name for name in net.variables)
    target = tmp_path / "saved.mat"
    matnet.save(net, target)
    written = fields_of(target)
    names = [struct["name"] for kind in ("layers", "params", "vars") for struct in as_list(written[kind])]
    assert all(name.isidentifier() and name.isascii() and len(name) <= 63 for name in names)
    assert matnet.load(target).variables == net.variables
    assert "matnet" not in matnet.load(target).meta


@pytest.mark.process
@pytest.mark.parametrize("case", ["sn_alexnet", "sn_bnorm", "sn_pdist", "sn_conv_nobias", "sn_legacy_beta10"])
def test_simplenn_as_dagnn_and_back(case: str, tmp_path: Path) -> None:
    """The same numbers whichever of the two formats a chain is kept in."""
    net = matnet.load(DATA / "matconvnet" / case / "model.mat")
    with np.load(DATA / "matconvnet" / case / "io.npz") as stored:
        x = stored["in__x"].transpose(3, 2, 0, 1)
    expected = net(x)
    dag, chain = tmp_path / "dag.mat", tmp_path / "chain.mat"
    matnet.save(net, dag, format="dagnn")
    assert isinstance(read_mat(dag)["layers"], (StructArray, dict))
    np.testing.assert_array_equal(matnet.load(dag)(x), expected)
    matnet.save(matnet.load(dag), chain, format="simplenn")
    assert isinstance(read_mat(chain)["layers"], Cell)
    np.testing.assert_array_equal(matnet.load(chain)(x), expected)


def test_a_graph_is_no_simplenn(tmp_path: Path) -> None:
    net = matnet.load(DATA / "matconvnet/dag_sum2/model.mat")
    with pytest.raises(NetworkError, match=r"(?s)cannot be written as SimpleNN.*dagnn\.Sum"):
        matnet.save(net, tmp_path / "out.mat", format="simplenn")
    assert not list(tmp_path.iterdir())


@pytest.mark.process
@pytest.mark.parametrize("version", ["5", "7.3"])
def test_a_network_without_weights_is_one_of_empty_params(version: str, tmp_path: Path) -> None:
    """As import-caffe.py writes a prototxt alone, and as DagNN.initParams takes it up."""
    net = matnet.load(DATA / "matconvnet" / "dag_googlenet" / "model.mat")
    names = [name for layer in net.layers.values() for name in layer.params]
    net.params.clear()
    path = matnet.save(net, tmp_path / "empty.mat", format="dagnn", version=version)
    params = fields_of(path)["params"]
    assert {param["name"]: param["value"].size for param in params} == dict.fromkeys(names, 0)
    again = matnet.load(path)
    assert (list(again.layers), again.params) == (list(net.layers), {})
    with pytest.raises(NetworkError, match=rf"'{names[0]}'.*missing"):
        again.check()


def test_what_only_matlab_can_restore_is_left_out_by_name(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    from matnet.formats.mat.values import Opaque

    net = matnet.load(DATA / "matconvnet/sn_relu/model.mat")
    net.meta["trainer"] = Opaque("function_handle", "@train")
    matnet.save(net, tmp_path / "out.mat")
    assert "meta.trainer" in caplog.text
    assert matnet.load(tmp_path / "out.mat").meta["trainer"].size == 0


@pytest.mark.process
def test_more_than_2_gib_needs_version_73(tmp_path: Path) -> None:
    net = matnet.load(DATA / "matconvnet/dag_single_layer/model.mat")
    name = next(iter(net.params))
    net.params[name] = Param(np.broadcast_to(np.float32(0), (1, 1, 1 << 15, (1 << 14) + 1)))
    with pytest.raises(FileFormatError, match=r"7\.3"):
        matnet.save(net, tmp_path / "big.mat")
    assert not list(tmp_path.iterdir())


@pytest.mark.process
def test_an_interrupted_save_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "net.mat"
    net = matnet.load(DATA / "matconvnet/sn_alexnet/model.mat")
    matnet.save(net, target)
    before = target.read_bytes()

    def broken(*paths: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", broken)
    with pytest.raises(OSError, match="disk full"):
        matnet.save(net, target)
    assert target.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["net.mat"]


def test_a_file_may_be_saved_onto_itself(tmp_path: Path) -> None:
    target = tmp_path / "net.mat"
    target.write_bytes((DATA / "matconvnet/sn_dncnn/model.mat").read_bytes())
    net = matnet.load(target)
    matnet.save(net, target)
    values = {name: np.array(param.value) for name, param in net.params.items()}
    for name, param in matnet.load(target).params.items():
        np.testing.assert_array_equal(param.value, values[name])


def test_a_users_own_layer_in_a_few_lines(tmp_path: Path) -> None:
    from dataclasses import dataclass

    @register("mylab.Double", simplenn="double")
    @dataclass(frozen=True, kw_only=True)
    class Double(Op):
        times: float = 2.0

        def forward(self, xp, inputs, params):  # type: ignore[no-untyped-def]
            return [xp.float32(self.times) * inputs[0]]

    try:
        with pytest.raises(NetworkError, match="already registered by Double"):
            register("mylab.Double")(Double)
        net = Network()
        net.source.format = "simplenn"
        net.add(Layer("d", Double(), ["input"], ["layer1"]))
        matnet.save(net, tmp_path / "own.mat", format="simplenn")
        loaded = matnet.load(tmp_path / "own.mat")
        np.testing.assert_array_equal(loaded(np.full((1, 2, 3, 4), 1.5)), np.full((1, 2, 3, 4), 3.0))
    finally:
        REGISTRY.remove(Double)


def test_auto_writes_simplenn_only_where_vl_simplenn_can_run_it(tmp_path: Path) -> None:
    """Scale is in DagNN but not among the types that vl_simplenn evaluates (its `switch` over `l.type`)."""
    from matnet.ops.activation import ReLU
    from matnet.ops.combine import Scale

    for op, params, expected in ((ReLU(), [], Cell), (Scale(hasBias=False), ["m"], dict)):
        net = Network()
        net.source.format = "caffe"
        net.add(Layer("only", op, ["data"], ["out"], params))
        net.params = {name: Param(np.ones((1, 1, 3), np.float32)) for name in params}
        matnet.save(net, tmp_path / "net.mat")
        assert isinstance(read_mat(tmp_path / "net.mat")["layers"], expected)


def test_a_second_input_of_a_third_party_layer_stays(tmp_path: Path) -> None:
    """FFDNet's `SubP` and `concat`: the noise map is an input of its own, and the file stays a SimpleNN."""
    layers = Cell([{"type": "SubP", "scale": np.array([[0.5]])}, {"type": "concat"}])
    write_mat(tmp_path / "ffd.mat", {"layers": layers, "meta": {}})
    net = matnet.load(tmp_path / "ffd.mat")
    assert net.inputs == ["input", "input2"]
    image, level = np.zeros((2, 1, 6, 8), np.float32), np.full((1, 1, 1, 1), 5, np.float32)
    expected = net({"input": image, "input2": level})
    assert expected.shape == (2, 5, 3, 4)
    np.testing.assert_array_equal(expected[:, 4], np.full((2, 3, 4), 5))
    matnet.save(net, tmp_path / "again.mat")
    again = matnet.load(tmp_path / "again.mat")
    assert again.source.format == "simplenn"
    np.testing.assert_array_equal(again({"input": image, "input2": level}), expected)


@pytest.mark.parametrize("format", ["simplenn", "dagnn"])
def test_a_network_without_weights_is_not_written_without_a_word(
    format: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    net = matnet.load(Path(matnet.__file__).parent / "models" / "digits-lenet" / "deploy.prototxt")
    net.save(tmp_path / "net.mat", format=format)
    assert_line(caplog.text, "net.mat", "without", "conv1")
