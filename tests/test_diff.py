"""matnet.diff: what differs between two networks; the cases are edits of digits-lenet, so the answers are known."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import matnet
from matnet.comparison import AT_ONCE, compare, largest_difference
from matnet.diff import main, parser
from matnet.network import Layer, Network
from matnet.ops.activation import ReLU
from matnet.ops.combine import Concat
from matnet.zoo import find_model
from tests.conftest import DATA
from tests.helpers import assert_line


@pytest.fixture
def a() -> Network:
    return matnet.load(find_model("digits-lenet"))


@pytest.fixture
def b() -> Network:
    net = matnet.load(find_model("digits-lenet"))
    net.params = {name: replace(param, value=param.value.copy()) for name, param in net.params.items()}
    return net


def first_param(net: Network) -> str:
    return next(iter(net.params))


def change(net: Network, name: str, place: tuple[int, ...], number: float) -> None:
    edited = net.params[name].value.copy()
    edited[place] = number
    net.params[name].value = edited


@pytest.mark.process
def test_a_network_is_the_same_as_itself(a: Network, b: Network) -> None:
    comparison = compare(a, b)
    assert comparison.same()
    assert [param.name for param in comparison.params] == list(a.params)


def test_a_changed_number_is_found(a: Network, b: Network) -> None:
    name = first_param(b)
    change(b, name, (1, 2, 0, 3), b.params[name].value[1, 2, 0, 3] + 0.5)
    comparison = compare(a, b)
    assert not comparison.same()
    assert not comparison.same(tolerance=0.4)
    assert comparison.same(tolerance=0.6)
    changed = {param.name: param.largest for param in comparison.params if param.largest}
    assert changed == {name: pytest.approx(0.5, abs=1e-6)}


def add_layer(net: Network) -> None:
    net.layers["extra"] = replace(net.layers["prob"], name="extra")


def other_stride(net: Network) -> None:
    net.layers["pool1"].op = replace(net.layers["pool1"].op, stride=(3, 3))  # type: ignore[call-arg]


def other_type(net: Network) -> None:
    net.layers["relu1"].op = net.layers["prob"].op


def other_inputs(net: Network) -> None:
    net.layers["pool1"].inputs = ["input"]


def other_size(net: Network) -> None:
    name = first_param(net)
    net.params[name].value = net.params[name].value[:2]


def fewer_params(net: Network) -> None:
    del net.params[first_param(net)]


def other_order(net: Network) -> None:
    net.layers = dict(reversed(net.layers.items()))


STRUCTURE: list[tuple[Callable[[Network], None], str]] = [
    (add_layer, "layer 'extra' is only in the second"),
    (other_stride, "layer 'pool1': stride is (2, 2) in the first, (3, 3) in the second"),
    (other_type, "layer 'relu1': is dagnn.ReLU in the first, dagnn.SoftMax in the second"),
    (other_inputs, "in the first, input in the second"),
    (fewer_params, "is only in the first"),
    (other_order, "the layers are in a different order"),
]


@pytest.mark.parametrize("edit, told", STRUCTURE, ids=lambda value: getattr(value, "__name__", ""))
def test_structure(edit: Callable[[Network], None], told: str, a: Network, b: Network) -> None:
    edit(b)
    found = compare(a, b).structure
    assert any(told in line for line in found), found
    assert not compare(a, b).same(tolerance=np.inf)


@pytest.mark.parametrize("format", ["dagnn", "simplenn"])
def test_other_names_for_the_same_things_are_told_once(format: str, a: Network, b: Network) -> None:
    """SimpleNN names neither variables nor params, so other names are no difference; one number is changed besides."""
    a.source, b.source = replace(a.source, format=format), replace(b.source, format="dagnn")
    b.rename({name: f"other_{name}" for name in b.variables})
    b.params = {f"{name}_": param for name, param in b.params.items()}
    for layer in b.layers.values():
        layer.params = [f"{name}_" for name in layer.params]
    change(b, f"{first_param(a)}_", (0, 1, 0, 2), np.nan)
    found = compare(a, b)
    named, none = (found.derived, found.structure) if format == "simplenn" else (found.structure, found.derived)
    assert [line.split(":")[0] for line in named] == [
        f"{len(a.variables)} variables have different names",
        f"{len(a.params)} params have different names",
    ]
    assert not none
    largest = {param.name: param.largest for param in found.params}
    assert largest == {**dict.fromkeys(a.params, 0), first_param(a): np.inf}
    assert b.layers["conv1"].inputs == ["other_input"], "the network itself keeps its names"


@pytest.mark.parametrize("format", ["simplenn", "dagnn"])
def test_a_caffe_pair_and_its_own_conversion_are_the_same(
    format: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pair = [str(DATA / "caffe/net_nin" / name) for name in ("deploy.prototxt", "weights.caffemodel")]
    matnet.load(*pair).save(tmp_path / "net.mat", format=format)
    assert main([*pair, str(tmp_path / "net.mat")]) == 0
    assert ("SimpleNN" in capsys.readouterr().out) == (format == "simplenn")


@pytest.mark.process
def test_params_of_simplenn_files_have_no_names_of_their_own(a: Network, tmp_path: Path) -> None:
    """MatConvNet's SimpleNN keeps `weights` of a layer by position; names are made on reading, or kept in meta."""
    named = a.copy()
    for name in list(named.params):
        named.params[f"my_{name}"] = named.params.pop(name)
    for layer in named.layers.values():
        layer.params = [f"my_{name}" for name in layer.params]
    matnet.save(a, tmp_path / "a.mat", format="simplenn")
    matnet.save(named, tmp_path / "named.mat", format="simplenn")
    first, second = (matnet.load(tmp_path / name) for name in ("a.mat", "named.mat"))
    assert set(first.params).isdisjoint(second.params)
    assert compare(first, second).structure == ()
    assert [param.largest for param in compare(first, second).params] == [0.0] * len(a.params)


def test_inputs_that_change_places_are_no_renaming() -> None:
    nets = [Network(), Network()]
    for net, order in zip(nets, (["x", "y"], ["y", "x"]), strict=True):
        net.add(Layer("first", ReLU(), ["data"], ["x"]))
        net.add(Layer("second", ReLU(leak=0.5), ["data"], ["y"]))
        net.add(Layer("both", Concat(dim=3), order, ["z"]))
    (line,) = compare(*nets).structure
    assert_line(line, "'both'", "x, y", "first", "y, x", "second")


def test_a_param_of_another_size_has_no_difference_and_never_counts_as_the_same(a: Network, b: Network) -> None:
    other_size(b)
    assert compare(a, b).params[0].largest is None
    assert not compare(a, b).same(tolerance=np.inf)


def test_meta_is_told_by_its_path(a: Network, b: Network) -> None:
    b.meta = {**b.meta, "note": "new", "normalization": {**b.meta["normalization"], "interpolation": "bicubic"}}
    changed, added = compare(a, b).meta
    assert_line(changed, "meta.normalization.interpolation", "'bilinear'", "first", "'bicubic'", "second")
    assert_line(added, "meta.note", "second")
    assert compare(a, b).same(with_meta=False)


@pytest.mark.parametrize(
    "first, second, largest",
    [
        ([1.0, np.nan, np.inf], [1.0, np.nan, np.inf], 0.0),
        ([1.0, np.nan], [1.0, 2.0], np.inf),
        ([np.inf], [-np.inf], np.inf),
        ([], [], 0.0),
        ([-3.0, 4.0], [-5.0, 4.5], 2.0),
    ],
)
def test_largest_difference(first: list[float], second: list[float], largest: float) -> None:
    assert largest_difference(np.array(first, np.float32), np.array(second, np.float32)) == largest


@pytest.mark.process
def test_large_arrays_are_compared_to_the_last_number() -> None:
    zeros = np.broadcast_to(np.float32(0), (3, AT_ONCE // 2))
    ones = zeros.copy()
    ones[2, -1] = 7
    assert largest_difference(zeros, ones) == 7


@pytest.mark.process
def test_the_command(b: Network, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = first_param(b)
    change(b, name, (0, 0, 0, 0), b.params[name].value[0, 0, 0, 0] + 1)
    matnet.save(b, tmp_path / "b.mat")
    assert main(["digits-lenet", str(tmp_path / "b.mat"), "--json"]) == 1
    record = json.loads(capsys.readouterr().out)
    assert not record["same"]
    assert [param["name"] for param in record["params"] if param["largest_difference"]] == [name]
    assert main(["digits-lenet", str(tmp_path / "b.mat")]) == 1
    assert name in capsys.readouterr().out
    assert main(["digits-lenet", "digits-lenet"]) == 0
    assert capsys.readouterr().out.endswith("params are the same\nthe same\n")


@pytest.mark.parametrize("tolerance", ["-1", "nan", "inf", "little"])
def test_tolerances_that_are_none(tolerance: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        parser().parse_args(["a.mat", "b.mat", f"--tolerance={tolerance}"])
    assert left.value.code == 2
    assert tolerance in capsys.readouterr().err
