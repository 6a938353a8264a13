"""Engines that `net(x)` keeps: when they serve again, when they are dropped, and that no edit goes unnoticed.

The expected values are computed by hand: a scale per channel and an offset, y = f * x + b.
"""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import matnet
from matnet import Layer, NetworkError, Param
from matnet.engines import EngineOptions, kept
from matnet.engines.cpu.runtimes import available
from matnet.ops.activation import ReLU
from matnet.ops.combine import Scale

X = np.random.default_rng(5).standard_normal((2, 3, 4, 5)).astype(np.float32)
FACTOR = np.array([2, 3, 4], np.float32)
BACKENDS = ["numpy", pytest.param("onnx", marks=pytest.mark.skipif(not available(), reason="needs onnxruntime"))]


@pytest.fixture
def net() -> matnet.Network:
    """y = f * x + b, then z = max(y, 0)."""
    found = matnet.Network()
    found.params["f"] = Param(FACTOR.reshape(1, 1, 3, 1).copy())
    found.params["b"] = Param(np.ones((1, 1, 3, 1), np.float32))
    found.add(Layer("scale", Scale(hasBias=True), ["x"], ["y"], ["f", "b"]))
    found.add(Layer("relu", ReLU(), ["y"], ["z"]))
    return found


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What was compiled so far: outputs and options."""
    made: list[tuple[Any, ...]] = []
    original = kept.compile_network

    def counted(net: matnet.Network, outputs: Any, options: EngineOptions) -> Any:
        made.append((outputs, options))
        return original(net, outputs, options)

    monkeypatch.setattr(kept, "compile_network", counted)
    return made


def expected(factor: np.ndarray = FACTOR, offset: float = 1) -> np.ndarray:
    return factor.reshape(1, 3, 1, 1) * X + np.float32(offset)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_same_call_compiles_once(net: matnet.Network, compiled: list[Any], backend: str) -> None:
    for _ in range(3):
        np.testing.assert_allclose(net(X, backend=backend), np.maximum(expected(), 0), rtol=1e-6)
        np.testing.assert_allclose(net.forward(X, "y", backend)["y"], expected(), rtol=1e-6)
        net.forward(X, ["y"], options=EngineOptions(backend))
    assert compiled == [(None, EngineOptions(backend)), (("y",), EngineOptions(backend))]


CHANGES: dict[str, tuple[Callable[[matnet.Network], Any], np.ndarray]] = {
    "a value is assigned": (
        lambda net: setattr(net.params["f"], "value", 2 * net.params["f"].value), expected(2 * FACTOR)
    ),
    "a param is replaced": (
        lambda net: net.params.update(b=Param(np.zeros((1, 1, 3, 1), np.float32))), expected(offset=0)
    ),
    "params change places": (lambda net: net.layers["scale"].params.reverse(), X + FACTOR.reshape(1, 3, 1, 1)),
    "an op is replaced": (lambda net: setattr(net.layers["relu"], "op", ReLU(leak=0.5)), expected()),
    "a layer is replaced": (
        lambda net: net.layers.update(scale=replace(net.layers["scale"], op=Scale(hasBias=False), params=["f"])),
        expected(offset=0),
    ),
    "a layer is removed": (lambda net: net.layers.pop("relu"), expected()),
    "a layer is added": (lambda net: net.add(Layer("more", ReLU(), ["y"], ["more"])), expected()),
    "a list is replaced": (lambda net: setattr(net.layers["relu"], "inputs", ["x"]), expected()),
    "layers are replaced": (
        lambda net: setattr(net, "layers", {name: layer for name, layer in net.layers.items() if name == "scale"}),
        expected(),
    ),
    "params are deleted and set again": (
        lambda net: (net.params.pop("f"), net.params.__setitem__("f", Param(-FACTOR.reshape(1, 1, 3, 1)))),
        expected(-FACTOR),
    ),
    "a list is edited": (lambda net: net.layers["relu"].inputs.__setitem__(0, "x"), expected()),
    "variables are renamed": (lambda net: net.rename({"y": "u", "z": "y"}), np.maximum(expected(), 0)),
    "an alias is added": (lambda net: net.aliases.update(a="y"), expected()),
}  # fmt: skip


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_seen_at_the_next_call(net: matnet.Network, compiled: list[Any], change: str, backend: str) -> None:
    net(X, "y", backend=backend)
    act, wanted = CHANGES[change]
    act(net)
    np.testing.assert_allclose(net(X, "y", backend=backend), wanted, rtol=1e-5, atol=1e-6)
    assert len(compiled) == 2


@pytest.mark.parametrize("way", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net)), matnet.Network.copy])
@pytest.mark.parametrize("change", CHANGES)
def test_a_change_of_a_copy_is_seen_as_well(
    net: matnet.Network, change: str, way: Callable[[matnet.Network], matnet.Network]
) -> None:
    net(X)
    twin = way(net)
    twin(X, "y")
    act, wanted = CHANGES[change]
    act(twin)
    np.testing.assert_allclose(twin(X, "y"), wanted, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(net(X, "y"), expected(), rtol=1e-5, atol=1e-6)


def test_an_edit_of_a_plain_container_is_seen(net: matnet.Network) -> None:
    """As unpickling an older file makes them: attributes that were set behind the class."""
    vars(net)["layers"] = dict(net.layers)
    net(X, "y")
    del net.layers["relu"]
    assert list(net.forward(X)) == ["y"]


def test_a_network_that_was_not_edited_is_not_compared(net: matnet.Network, monkeypatch: pytest.MonkeyPatch) -> None:
    net(X)

    def compared(*_: Any) -> bool:
        raise AssertionError("compared")

    monkeypatch.setattr(kept.Snapshot, "is_that_of", compared)
    net(X)


def test_few_engines_are_kept(net: matnet.Network, compiled: list[Any]) -> None:
    options = [EngineOptions(batch_size=number) for number in range(1, kept.MOST + 2)]
    for one in [*options, options[-1], options[1], options[0]]:
        net(X, options=one)
    assert [given.batch_size for _, given in compiled] == [*range(1, kept.MOST + 2), 1]


EDITS: dict[str, Callable[[matnet.Network], Any]] = {
    "all": lambda net: net.params["f"].value.__setitem__(..., 0),
    "a view": lambda net: net.params["f"].value[0, 0].__setitem__(1, 7),
    "in place": lambda net: net.params["b"].value.__iadd__(1),
    "out=": lambda net: np.multiply(net.params["b"].value, 2, out=net.params["b"].value),
    "fill": lambda net: net.params["b"].value.fill(0),
    "put": lambda net: net.params["b"].value.put([0], [5]),
    "sort": lambda net: net.params["f"].value.sort(axis=2),
    "of a copy, which shares the arrays": lambda net: net.copy().params["f"].value.__setitem__(0, 5),
    "of a layer": lambda net: net["scale"].filters.__setitem__(0, 5),
}


@pytest.mark.parametrize("run", [False, True], ids=["before the first run", "after it"])
@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_in_place_names_the_assignment(net: matnet.Network, edit: str, run: bool) -> None:
    if run:
        net(X)
    with pytest.raises(NetworkError, match=r"net\.params\['[fb]'\]\.value = "):
        EDITS[edit](net)
    np.testing.assert_allclose(net(X, "y"), expected(), rtol=1e-6)


VIEWS: dict[str, Callable[[np.ndarray], Any]] = {
    "a view": lambda value: value[:],
    "a view of a view": lambda value: value[0].reshape(-1),
    "a transposed view": lambda value: value.T,
    "a plain array": lambda value: np.asarray(value),
    "a view of another class": lambda value: value.view(np.ndarray)[...],
    "bytes": lambda value: value.view(np.uint8),
    "a buffer": lambda value: np.frombuffer(memoryview(value).cast("B"), np.float32),
    "the array behind it": lambda value: value.base,
}


@pytest.mark.parametrize("view", VIEWS)
def test_views_that_were_taken_before_the_first_run_refuse_edits(net: matnet.Network, view: str) -> None:
    """numpy words the error where the view is of no class of ours."""
    before = VIEWS[view](net.params["f"].value)
    net(X)
    with pytest.raises((NetworkError, ValueError), match="read-only"):
        before[...] = 3
    with pytest.raises(ValueError, match="WRITEABLE"):
        net.params["f"].value.flags.writeable = True
    np.testing.assert_allclose(net(X, "y"), expected(), rtol=1e-6)


def frozen(array: np.ndarray) -> np.ndarray:
    array.flags.writeable = False
    return array


def kept_elsewhere(how: str, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """An array for a param, with the numbers of FACTOR, and another array of its memory that can be edited."""
    whole = np.repeat(FACTOR[None], 2, axis=0)
    if how == "the array itself":
        return whole[0], whole[0]
    if how == "a part of another array":
        return whole[0], whole
    if how == "a view of a view":
        return whole[:1].reshape(3), whole
    if how == "an array that was made read-only after a view was taken":
        before = whole[0]
        return frozen(whole)[0], before
    if how == "a read-only view":
        return frozen(whole[0]), whole
    if how == "a buffer":
        buffer = bytearray(FACTOR.tobytes())
        return frozen(np.frombuffer(buffer, np.float32)), np.frombuffer(buffer, np.float32)
    FACTOR.tofile(folder / "factors")
    array = np.memmap(folder / "factors", np.float32, "c" if how == "a private map" else "r+")
    return frozen(array[:]), array


@pytest.mark.parametrize(
    "how",
    [
        "the array itself", "a part of another array", "a view of a view",
        "an array that was made read-only after a view was taken", "a read-only view", "a buffer", "a private map",
        "a shared map",
    ],
)  # fmt: skip
@pytest.mark.parametrize("run", [False, True], ids=["edited before the first run", "edited after it"])
def test_a_param_keeps_the_numbers_that_were_assigned(net: matnet.Network, how: str, run: bool, tmp_path: Path) -> None:
    """What the caller does to the array later reaches neither the param nor a kept engine, which always agree."""
    given, other = kept_elsewhere(how, tmp_path)
    net.params["f"].value = given.reshape(1, 1, 3, 1)
    if run:
        net(X, "y")
    other[...] = 0
    np.testing.assert_array_equal(net.params["f"].value.ravel(), FACTOR)
    np.testing.assert_allclose(net(X, "y"), expected(), rtol=1e-6)


@pytest.mark.process
@pytest.mark.parametrize("version", ["5", "7.3"])
@pytest.mark.parametrize("view", VIEWS)
def test_arrays_of_a_file_refuse_edits(net: matnet.Network, version: str, view: str, tmp_path: Path) -> None:
    """Mapped, and read by HDF5; the file stays as it is."""
    path = matnet.save(net, tmp_path / "net.mat", version=version)
    content = path.read_bytes()
    loaded = matnet.load(path)
    before = VIEWS[view](loaded.params["f"].value)
    loaded(X)
    with pytest.raises((NetworkError, ValueError, TypeError), match=r"read-only|does not support"):
        before[...] = 3
    np.testing.assert_allclose(loaded(X, "y"), expected(), rtol=1e-6)
    assert path.read_bytes() == content


@pytest.mark.parametrize("way", [copy.copy, copy.deepcopy, lambda param: pickle.loads(pickle.dumps(param))])
def test_copies_of_a_param_refuse_edits(net: matnet.Network, way: Callable[[Param], Param]) -> None:
    net.params["f"] = twin = way(net.params["f"])
    for array in (twin.value, twin.value.base):
        with pytest.raises((NetworkError, ValueError), match="read-only"):
            array[...] = 0


def test_constant_memory_is_not_copied() -> None:
    """Of a file mapped for reading, of bytes, and of another param."""
    array = np.frombuffer(FACTOR.tobytes(), np.float32)
    param = Param(array)
    assert np.shares_memory(param.value, array)
    assert np.shares_memory(Param(param.value[1:]).value, array)


def test_copies_and_results_of_arithmetic_may_be_edited(net: matnet.Network) -> None:
    net(X)
    value = net.params["f"].value
    for made in (value.copy(), value + 1, np.array(value), value.astype(np.float64), copy.deepcopy(value)):
        made[...] = 0
    for plain in (value.copy(), value + 1, value.sum(axis=2), copy.deepcopy(value), pickle.loads(pickle.dumps(value))):
        assert type(plain) is np.ndarray
    np.testing.assert_array_equal(value.ravel(), FACTOR)
    assert repr(value) == repr(np.asarray(value))


@pytest.mark.parametrize(
    "twin", [matnet.Network.copy, copy.copy, copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))],
    ids=["copy()", "copy.copy", "copy.deepcopy", "pickle"],
)  # fmt: skip
def test_engines_are_neither_copied_nor_pickled(
    net: matnet.Network, compiled: list[Any], twin: Callable[[matnet.Network], matnet.Network]
) -> None:
    net(X)
    other = twin(net)
    assert "_kept" not in vars(other)
    np.testing.assert_array_equal(other(X), net(X))
    assert len(compiled) == 2


def test_a_network_that_has_run_saves_as_before(net: matnet.Network, tmp_path: Path) -> None:
    before, after = tmp_path / "before.mat", tmp_path / "after.mat"
    matnet.save(net, before)
    net(X)
    matnet.save(net, after)
    assert before.read_bytes() == after.read_bytes()


@pytest.mark.parametrize("backend", BACKENDS)
def test_threads_share_one_engine(net: matnet.Network, compiled: list[Any], backend: str) -> None:
    batches = [np.ascontiguousarray(X[: 1 + number % 2, :, : 1 + number % 4]) for number in range(64)]
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda x: net(x, "y", backend=backend), batches))
    for x, found in zip(batches, results, strict=True):
        np.testing.assert_allclose(found, FACTOR.reshape(1, 3, 1, 1) * x + 1, rtol=1e-6)
    assert len(compiled) == 1
