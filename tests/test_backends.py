"""Every backend against MatConvNet's and Caffe's own numbers, and against numpy where neither has any.

Agreement of the onnx backend is 1e-4 of the greatest value: it reorders sums, folds layers and takes other roots.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import matnet
from matnet import EngineError, Layer, Network, NetworkError, ShapeError, UnsupportedLayersError
from matnet.engines import choose_backend, compile_network
from matnet.engines.cpu.engine import PROGRAMS, OnnxEngine
from matnet.engines.cpu.listing import plan_lines
from matnet.engines.cpu.runtimes import available
from matnet.ops import extensions as ext
from matnet.ops.activation import ReLU
from matnet.ops.base import Array, Op, Unknown
from matnet.ops.combine import Sum
from matnet.ops.convolution import Conv
from matnet.ops.normalization import BatchNorm
from matnet.run import main as run_main
from matnet.show import main as show_main
from tests.conftest import DATA, assert_close, conformance_cases
from tests.helpers import assert_line, chain, full, values

TOLERANCE = 1e-4
X = (2, 6, 7, 11)
installed = pytest.mark.skipif(not available(), reason="onnxruntime is not installed")
MATCONVNET = [f"matconvnet/{name}" for name in conformance_cases("matconvnet")]
MATCONVNET += [f"metrics/{name}" for name in conformance_cases("metrics")]


@pytest.mark.process
@installed
@pytest.mark.parametrize("which", ["--all", "outputs"])
@pytest.mark.parametrize("case", MATCONVNET)
def test_matconvnet_cases(case: str, which: str, tmp_path: Path) -> None:
    """All variables, which leaves nothing to fold, and the outputs alone, which leaves everything."""
    folder, out = DATA / case, tmp_path / "out.npz"
    arguments = [str(folder / "model.mat"), str(folder / "io.npz"), str(out), "--layout", "hwcn", "--backend", "onnx"]
    assert run_main([*arguments, *([which] if which == "--all" else [])]) == 0
    with np.load(out) as found, np.load(folder / "io.npz") as reference:
        names = [name for name in reference.files if name.startswith("out__") and name in found.files]
        assert names
        for name in names:
            assert_close(full(found[name]), full(reference[name]), TOLERANCE, name)


@installed
@pytest.mark.parametrize("case", conformance_cases("caffe"))
def test_caffe_cases(case: str) -> None:
    folder = DATA / "caffe" / case
    files = folder / "deploy.prototxt", folder / "weights.caffemodel"
    net = matnet.convert_caffe(*files, color_format="rgb")  # the channels stay in Caffe's order
    with np.load(folder / "io.npz") as io:
        inputs = {name[4:]: full(io[name]) for name in io.files if name.startswith("in__")}
        expected = {name[5:]: io[name] for name in io.files if name.startswith("out__")}
    wanted = [name for name in expected if name in net.variables or name in net.aliases]
    for names in (wanted, wanted[-1:]):  # all blobs, which leaves nothing to fold, and the last one alone
        found = net.forward(inputs, names, backend="onnx")
        for name in names:
            assert_close(found[name], full(expected[name]), TOLERANCE, name)


CONV = Conv(pad=(1, 2, 0, 3)), [values(3, 5, 6, 8), values(8, 1)]
NORM = BatchNorm(), [values(8, 1), values(8, 1, seed=4), np.stack([values(8), 1 + values(8) ** 2], axis=1)]
WHOLE = Conv(), [values(8, 10, 8, 5), values(5, 1)]  # covers the map that CONV makes of X


def assert_agrees(engine: Any, net: Network, *inputs: np.ndarray) -> None:
    for x in inputs:
        reference = net.forward(x, list(engine.wanted))
        for name, value in engine(x).items():
            assert_close(value, reference[name], TOLERANCE, f"{name} for {x.shape}")


@installed
def test_one_program_serves_all_sizes_of_a_convolutional_network() -> None:
    net = chain(CONV, NORM, (ReLU(), []))
    engine = net.compile(backend="onnx")
    assert_agrees(engine, net, values(*X), values(1, 6, 7, 11), values(3, 6, 20, 9), values(2, 6, 2, 40))
    assert len(engine._programs) == 1
    assert list(engine.planned.layers) == ["a", "c"]


@installed
def test_a_fully_connected_network_has_a_program_for_its_size_and_one_for_all_others() -> None:
    net = chain(CONV, NORM, WHOLE)
    engine = net.compile(backend="onnx")
    assert_agrees(engine, net, values(*X), values(5, 6, 7, 11), values(1, 6, 9, 13), values(2, 6, 8, 14))
    assert len(engine._programs) == 2  # a product for X's size, a convolution for all others


@pytest.mark.process
@installed
def test_programs_are_forgotten_when_there_are_many() -> None:
    net = chain(CONV, (ext.CaffePooling(poolSize=(3, 3), stride=(2, 2)), []))  # written for one size at a time
    engine = net.compile(backend="onnx")
    assert_agrees(engine, net, *(values(1, 6, 7 + more, 11) for more in range(PROGRAMS + 2)), values(*X))
    assert len(engine._programs) == PROGRAMS


@installed
@pytest.mark.parametrize("outputs", [["b"], ["a", "c"], ["x", "a"], ["x"], ["a", "b", "c", "d"]])
def test_any_variable_may_be_wanted(outputs: list[str]) -> None:
    net = chain(CONV, NORM, (ReLU(), []), (ReLU(leak=0.1), []))
    assert_agrees(net.compile(outputs, backend="onnx"), net, values(*X))


@dataclass(frozen=True, kw_only=True)
class Cubed(Op):
    """A user's own layer, which no ONNX exporter knows."""

    def forward(self, xp: Any, inputs: Sequence[Array], params: Any) -> list[Array]:
        return [inputs[0] ** 3]


@installed
def test_a_layer_without_exporter_runs_in_numpy() -> None:
    net = chain(CONV, (Cubed(), []), NORM, (ReLU(), []))
    net.add(Layer("e", Sum(), ["a", "d"], ["e"]))
    engine = net.compile(backend="onnx")
    assert_agrees(engine, net, values(*X), values(3, 6, 9, 12))
    (program,) = engine._programs.values()
    assert [(s.kind, [layer.name for layer in s.layers]) for s in program.segments] == [
        ("onnx", ["a"]),
        ("numpy", ["b"]),
        ("onnx", ["c", "d", "e"]),
    ]
    lines = plan_lines(engine, {"x": X})
    for facts in (
        ("1", "ONNX Runtime", ": a"), ("2", "numpy", ": b"), ("b: ", "ONNX"),
        ("3", "ONNX Runtime", "3 layers", "c to e"), ("NCHW",), ("x any", "6"),
    ):  # fmt: skip
        assert_line(lines, *facts)


@installed
def test_the_plan_tells_what_was_merged() -> None:
    engine = chain(CONV, NORM, WHOLE).compile(backend="onnx")
    lines = plan_lines(engine, {"x": X})
    for facts in (("ONNX Runtime", "2 layers", "a to c"), ("c: ", "product"), ("merged", ": b"), ("any", "6 x 7 x 11")):
        assert_line(lines, *facts)
    alone = chain(CONV, NORM, WHOLE).compile(backend="onnx")  # the program above would serve one image, too
    told = plan_lines(alone, {"x": (1, 6, 7, 11)})
    assert_line(told, "c: ", "product", "convolution")
    assert_line(told, "x", "1 x 6 x 7 x 11")


@installed
def test_what_follows_a_result_of_unknown_size_runs_in_numpy() -> None:
    """Filter keeps the images whose selector is not 0: here 2 of 3."""
    net = Network()
    net.add(Layer("a", ext.Filter(), ["x", "selector"], ["kept"]))
    net.add(Layer("b", ReLU(), ["kept"], ["y"]))
    inputs = {"x": values(3, 6, 7, 11), "selector": np.array([1, 0, 1], np.float32).reshape(3, 1, 1, 1)}
    found = net.forward(inputs, backend="onnx")["y"]
    np.testing.assert_array_equal(found, np.maximum(inputs["x"][[0, 2]], 0))


@installed
def test_the_users_network_and_input_stay_as_they_are() -> None:
    net, x = chain(CONV, NORM, (ReLU(), [])), values(*X)
    kept, params = x.copy(), {name: param.value.copy() for name, param in net.params.items()}
    net.forward(x, backend="onnx")
    np.testing.assert_array_equal(x, kept)
    assert list(net.layers) == ["a", "b", "c"]
    for name, value in params.items():
        np.testing.assert_array_equal(net.params[name].value, value)


@installed
def test_results_do_not_change_with_the_next_call() -> None:
    engine = chain(CONV, (ReLU(), [])).compile(backend="onnx", threads=1, optimize=False)
    first = engine(values(*X))["b"]
    kept = first.copy()
    engine(values(*X, seed=9))
    np.testing.assert_array_equal(first, kept)


@installed
def test_show_prints_the_plan(capsys: pytest.CaptureFixture[str]) -> None:
    model = DATA / "matconvnet" / "sn_alexnet" / "model.mat"
    assert show_main([str(model), "--plan"]) == 0
    told = capsys.readouterr().out.partition("\nplan\n")[2]
    assert told.startswith("  segment 1, ONNX Runtime: ")
    with pytest.raises(matnet.MatnetError, match="cannot be combined with --format csv"):
        show_main([str(model), "--plan", "--format", "csv"])


def test_auto_takes_onnx_runtime_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    net = chain(CONV)
    assert net.compile(backend="auto").backend == choose_backend()
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert net.compile(backend="auto").backend == "numpy"


def test_without_onnx_runtime_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(EngineError, match=r"runtime 'onnxruntime' needs onnxruntime .*pip install onnxruntime"):
        chain(CONV).compile(backend="onnx")


def test_without_openvino_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(EngineError, match=r"runtime 'openvino' needs openvino .*pip install openvino"):
        chain(CONV).compile(backend="onnx", runtime="openvino")


@installed
def test_one_installed_runtime_is_what_auto_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("matnet.engines.cpu.runtimes.available", lambda runtime="onnxruntime": runtime == "onnxruntime")
    net = chain(CONV)
    engine = net.compile(backend="onnx", runtime="auto")
    assert_agrees(engine, net, values(*X))
    assert engine.runtimes == ["onnxruntime"]


@pytest.mark.process
@pytest.mark.skipif(not available("openvino"), reason="openvino is not installed")
@pytest.mark.parametrize("case", ["sn_alexnet", "dag_googlenet", "dag_fcn8s", "sn_spnorm", "dag_affinegrid"])
def test_openvino_against_numpy(case: str) -> None:
    net = matnet.load(DATA / "matconvnet" / case / "model.mat").for_inference()
    shapes = {"sn_alexnet": {"input": (2, 3, 83, 83)}, "dag_googlenet": {"data": (2, 3, 64, 64)}}
    shapes |= {"dag_fcn8s": {"input": (1, 3, 33, 41)}, "sn_spnorm": {"input": (2, 3, 8, 9)}}
    shapes |= {"dag_affinegrid": {"a": (2, 6, 1, 1), "x": (2, 3, 8, 9)}}
    inputs = {name: values(*shape) for name, shape in shapes[case].items()}
    engine = net.compile(backend="onnx", runtime="openvino")
    for _ in range(2):
        for name, value in engine(inputs).items():
            assert_close(value, net.forward(inputs)[name], TOLERANCE, name)
    assert engine.runtimes == ["openvino"]
    assert net.compile(backend="onnx", runtime="auto")(inputs).keys() == engine(inputs).keys()


@pytest.mark.parametrize("backend", ["auto", "numpy", pytest.param("onnx", marks=installed)])
def test_faults_are_told_alike_by_every_backend(backend: str) -> None:
    engine = chain(CONV, WHOLE).compile(backend=backend)
    with pytest.raises(ShapeError, match=r"layer 'b' \(dagnn.Conv\).*does not fit"):
        engine(values(1, 6, 3, 5))
    with pytest.raises(ShapeError, match="expected 4"):
        engine(values(6, 7, 11))
    with pytest.raises(NetworkError, match="has no input 'y'"):
        engine({"y": values(*X)})
    untrained = chain(CONV, (BatchNorm(), [values(8, 1), values(8, 1), np.zeros((8, 2), np.float32)]))
    with pytest.raises(NetworkError, match=r"'b' \(dagnn.BatchNorm\).*sigma is 0"):
        untrained.forward(values(*X), backend=backend)
    unknown = Network()
    unknown.add(Layer("a", Unknown(kind="mylab.Mystery"), ["x"], ["y"]))
    with pytest.raises(UnsupportedLayersError, match=r"'a' of type 'mylab\.Mystery'"):
        unknown.compile(["y"], backend=backend)


@pytest.mark.parametrize(
    ("backend", "options", "told"),
    [
        ("onxx", {}, "unknown backend 'onxx'; nearest: onnx"),
        ("numpy", {"threads": 2}, "backend 'numpy' does not support option threads"),
        ("onnx", {"runtime": "openvin"}, "unknown runtime 'openvin'; nearest: openvino"),
        pytest.param("onnx", {"threads": 0}, "threads is 0; expected an integer >= 1", marks=installed),
    ],
)
def test_bad_options(backend: str, options: dict[str, Any], told: str) -> None:
    with pytest.raises(EngineError, match=told):
        compile_network(chain(CONV), backend=backend, **options)


@installed
def test_numpy_and_onnx_work_side_by_side() -> None:
    net, x = chain(CONV, NORM), values(*X)
    engines = [net.compile(backend=name) for name in ("numpy", "onnx", "numpy", "onnx")]
    results = [engine(x)["b"] for engine in engines]
    for result in results[1:]:
        assert_close(result, results[0], TOLERANCE, "b")
    assert isinstance(engines[1], OnnxEngine)
