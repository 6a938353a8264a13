"""Runtimes of the CPU engine, the ways to run a network on them, and how `auto` chooses and remembers.

The numpy engine is the reference for results; what is chosen is decided here by programs of known speed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import numpy as np
import pytest

import matnet
from matnet import EngineError, Layer, Network
from matnet.engines.cpu.division import DIVISIONS, Division
from matnet.engines.cpu.engine import OnnxEngine
from matnet.engines.cpu.program import Compiler, Program
from matnet.engines.cpu.runtimes import (
    RUNTIMES,
    OnnxRuntime,
    Runtime,
    RuntimeSettings,
    available,
    candidates,
    runtime_version,
    tries_out,
)
from matnet.engines.cpu.tuning import choices, contest
from matnet.engines.cpu.tuning.variants import Variant, variant_from
from matnet.formats.onnx import OnnxModel
from matnet.formats.onnx.winograd import WinogradWay
from matnet.ops import extensions as ext
from matnet.ops.activation import ReLU
from matnet.ops.combine import Concat
from matnet.ops.convolution import Conv
from matnet.ops.normalization import LRN
from matnet.ops.pooling import Pooling
from tests.conftest import DATA, assert_close
from tests.helpers import chain, values

TOLERANCE = 1e-4  # of the greatest value
X = (5, 6, 7, 11)  # five images do not divide into equal parts
pytestmark = pytest.mark.skipif(not available(), reason="onnxruntime is not installed")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MATNET_HOME", str(tmp_path))
    monkeypatch.setattr(contest, "LEAST_SECONDS", 0.0)


CONV = Conv(pad=(1, 2, 0, 3)), [values(3, 3, 6, 8), values(8, 1)]
SMALL = chain(CONV, (ReLU(), []), (LRN(param=(5, 1, 0.1, 0.75)), []), (Pooling(poolSize=(2, 3)), []))
WHOLE = chain(CONV, (ReLU(), []), (Conv(), [values(8, 12, 8, 5), values(5, 1)]))


def compiled(net: Network, variant: Variant, shape: tuple[int, ...] = X, threads: int = 2, callers: int = 1) -> Program:
    settings = RuntimeSettings(threads, callers=callers)
    return Compiler(net, net.outputs, settings).program(variant, {"x": shape}, open_sizes=False)


@pytest.mark.process
@pytest.mark.parametrize("net", [SMALL, WHOLE], ids=["convolutional", "fully connected"])
@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("winograd", [False, True])
@pytest.mark.parametrize("division", ["", "threads", "images"])
def test_every_variant_computes_the_same(
    net: Network, runtime: str, winograd: bool, division: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not available(runtime):
        pytest.skip(f"{runtime} is not installed")
    for where in ("convolution", "export"):
        monkeypatch.setattr(f"matnet.formats.onnx.{where}.winograd_way", _three_by_three)
    program, x = compiled(net, Variant(runtime, winograd, division)), values(*X)
    for _ in range(2):
        found = program({"x": x}, net.outputs)
    for name, expected in net.forward(x).items():
        assert_close(found[name], expected, TOLERANCE, name)
    if division:
        assert program.axes["x"][0] is None


@pytest.mark.process
@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("division", DIVISIONS)
@pytest.mark.parametrize(("threads", "callers"), [(2, 2), (4, 2)])
def test_callers_at_a_time_get_their_own_results(runtime: str, division: str, threads: int, callers: int) -> None:
    if not available(runtime):
        pytest.skip(f"{runtime} is not installed")
    program = compiled(SMALL, Variant(runtime, division=division), threads=threads, callers=callers)
    batches = [values(*X, seed=seed) for seed in range(6)]
    with ThreadPoolExecutor(callers) as pool:
        results = list(pool.map(lambda x: program({"x": x}, SMALL.outputs), batches))
    for x, found in zip(batches, results, strict=True):
        assert_close(found["d"], SMALL.forward(x)["d"], TOLERANCE, "d")


@pytest.mark.parametrize(
    ("threads", "callers", "kind", "streams", "images"),
    [
        (4, 1, "", 1, 10),  # one call at a time, on four threads
        (4, 1, "threads", 4, 3),
        (4, 1, "images", 4, 1),
        (4, 2, "", 2, 10),  # two calls at a time, each on two threads
        (4, 2, "threads", 4, 5),
        (4, 2, "images", 4, 1),
        (4, 4, "threads", 4, 10),  # one thread has nobody to share a batch with
        (4, 4, "images", 4, 1),
        (2, 4, "threads", 4, 10),  # more callers than threads
    ],
)
def test_threads_are_shared_by_callers_and_then_by_parts(
    threads: int, callers: int, kind: str, streams: int, images: int
) -> None:
    """streams: how many threads call the model at a time; images: of a batch of ten, in one call of the model."""
    division = Division(RuntimeSettings(threads, callers=callers), kind)
    assert (division.streams, division.images(10)) == (streams, images)


def _three_by_three(op: Conv, filters: np.ndarray, axes: Any, images: int) -> WinogradWay | None:
    """One way for whole batches, the other for parts, so that both run in every runtime."""
    way = WinogradWay("tiles", 4) if images == X[0] else WinogradWay("products", 5)
    return way if filters.shape[:2] == (3, 3) else None


@pytest.mark.parametrize(
    "layers",
    [
        [Layer("b", ext.BatchStatNorm(), ["a"], ["b"])],
        [Layer("b", Concat(dim=4), ["a", "a"], ["b"])],
        [Layer("b", ext.Reduction(axis=0), ["a"], ["b"])],
    ],
    ids=["statistics of the batch", "images one after the other", "one value for all images"],
)
def test_a_batch_whose_images_depend_on_each_other_stays_whole(layers: list[Layer]) -> None:
    net = chain((ReLU(), []))
    for layer in layers:
        net.add(layer)
    with pytest.raises(EngineError, match="the batch cannot be divided"):
        compiled(net, Variant(division="threads"))


def test_winograd_needs_a_layer_for_which_it_pays() -> None:
    with pytest.raises(EngineError, match="no convolution is likely to be faster"):
        compiled(SMALL, Variant(winograd=True))


@pytest.mark.process
@pytest.mark.parametrize("runtime", ["openvino"])
@pytest.mark.parametrize("case", ["sn_alexnet", "dag_googlenet", "dag_fcn8s"])
def test_other_runtimes_on_whole_networks(runtime: str, case: str) -> None:
    if not available(runtime):
        pytest.skip(f"{runtime} is not installed")
    net = matnet.load(DATA / "matconvnet" / case / "model.mat").for_inference()
    name, shape = {
        "sn_alexnet": ("input", (2, 3, 83, 83)),
        "dag_googlenet": ("data", (2, 3, 64, 64)),
        "dag_fcn8s": ("input", (1, 3, 33, 41)),
    }[case]
    inputs = {name: values(*shape)}
    output = net.outputs[-1]
    engine = net.compile([output], backend="onnx", runtime=runtime)
    for _ in range(2):
        assert_close(engine(inputs)[output], net.forward(inputs, [output])[output], 2 * TOLERANCE, output)
    assert engine.runtimes == [runtime]


def test_a_removed_runtime_is_an_error_that_names_the_others() -> None:
    with pytest.raises(EngineError, match=r"'opencv' was removed.*onnxruntime, openvino"):
        SMALL.compile(backend="onnx", runtime="opencv")


@pytest.fixture
def static() -> Iterator[type[Runtime]]:
    """A user's runtime, which takes models of fixed sizes alone and computes with ONNX Runtime."""

    class Static(OnnxRuntime):
        name, title, shapes = "static", "Static", "static"

        def __init__(self, model: OnnxModel, settings: RuntimeSettings, streams: int = 1) -> None:
            assert all(isinstance(length, int) for axes in model.inputs.values() for length in axes)
            super().__init__(model, settings, streams)

    yield Static
    del RUNTIMES["static"]


@pytest.mark.process
def test_a_runtime_registers_by_subclassing(static: type[Runtime]) -> None:
    engine = SMALL.compile(backend="onnx", runtime="static")
    assert isinstance(engine, OnnxEngine)
    for batch in (1, 3, 2):
        x = values(batch, *X[1:])
        assert_close(engine(x)["d"], SMALL.forward(x)["d"], TOLERANCE, "d")
    assert engine.runtimes == ["static"]
    assert candidates("auto:static,openvino") == ["openvino", "static"]
    with pytest.raises(EngineError, match="'static' is already registered"):
        type("Second", (Runtime,), {"name": "static"})


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_runtime_knows_its_version(runtime: str) -> None:
    if not available(runtime):
        pytest.skip(f"{runtime} is not installed")
    assert runtime_version(runtime)[0].isdigit()


class Tried:
    """A program of known speed and result."""

    def __init__(self, variant: Variant, seconds: float, result: float) -> None:
        self.variant, self.seconds, self._result = variant, seconds, result

    def __call__(self, inputs: Mapping[str, np.ndarray], wanted: Sequence[str]) -> dict[str, np.ndarray]:
        return {name: np.full((2, 3, 4, 5), self._result, np.float32) for name in wanted}


class Named:
    """A program of which nothing but its name is known."""

    variant = Variant()

    def __init__(self, name: str) -> None:
        self.name = name


class Trials(Compiler):
    """Compiles to programs of known milliseconds and results, by variant; what is not in the table is refused."""

    def __init__(self, table: dict[Variant, tuple[float, float]]) -> None:
        super().__init__(SMALL, ["d"], RuntimeSettings(threads=2))
        self.table, self.asked = table, list[Variant]()

    def program(self, variant: Variant, inputs: Any, open_sizes: bool = True) -> Any:
        self.asked.append(variant)
        if variant not in self.table:
            raise EngineError("not in the table")
        milliseconds, result = self.table[variant]
        return Tried(variant, milliseconds / 1000, result)


ORT, WINOGRAD, OPENVINO = Variant(), Variant(winograd=True), Variant("openvino")


@pytest.mark.parametrize(
    ("table", "batch", "winner"),
    [
        ({ORT: (8, 1), OPENVINO: (2, 1)}, 1, OPENVINO),
        ({ORT: (2, 1), OPENVINO: (8, 1)}, 1, ORT),
        ({ORT: (8, 1), OPENVINO: (2, 2)}, 1, ORT),  # fast, and wrong
        ({ORT: (8, 1), WINOGRAD: (4, 1.0001), OPENVINO: (16, 1)}, 1, WINOGRAD),
        ({ORT: (8, 1), Variant(division="threads"): (2, 1)}, 1, ORT),  # one image is not divided
        ({ORT: (8, 1), Variant(division="threads"): (2, 1)}, 4, Variant(division="threads")),
        ({ORT: (16, 1), WINOGRAD: (8, 1), Variant("onnxruntime", True, "images"): (2, 1)}, 4, None),
        ({ORT: (16, 1), Variant(division="threads"): (8, 1), Variant("onnxruntime", True, "threads"): (2, 1)}, 4, None),
        ({OPENVINO: (2, 1)}, 1, OPENVINO),  # ONNX Runtime cannot compile it
        ({ORT: (8, 1), OPENVINO: (4, 1), Variant("openvino", division="threads"): (1, 1)}, 4, None),
        ({ORT: (8, 1), OPENVINO: (4, 1), Variant("openvino", winograd=True): (1, 1)}, 1, None),
        ({ORT: (8, 1), WINOGRAD: (4, 1), OPENVINO: (16, 1), Variant("openvino", winograd=True): (1, 1)}, 1, None),
        ({ORT: (8, 1), WINOGRAD: (4, 1), Variant("openvino", winograd=True): (16, 1), OPENVINO: (1, 1)}, 1, None),
    ],
)
def test_the_fastest_that_is_right_wins(
    table: dict[Variant, Any], batch: int, winner: Variant | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contest, "timed", lambda program, values, wanted: program.seconds)
    program, seconds = contest.fastest(Trials(table), {"x": (batch, 6, 7, 11)}, list(RUNTIMES))
    assert program.variant == (winner or list(table)[-1])
    assert all(str(variant) in map(str, table) for variant in seconds)


@pytest.mark.parametrize(
    ("before", "after", "faster"),
    [
        ([8, 8, 8], [4, 4, 4], True),  # clear at once
        ([8, 8, 8], [16, 16, 16], False),
        ([10] * 9, [9] * 4 + [30] + [9] * 4, True),  # one turn was disturbed
        ([10] * 9, [30] + [9] * 3 + [11] * 5, False),  # faster in its fastest turns alone
        ([10, 40] * 5, [9, 36] * 5, True),  # the machine is slow in every other turn
    ],
)
def test_the_median_turn_decides(
    before: list[float], after: list[float], faster: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = {"old": iter(before), "new": iter(after)}
    monkeypatch.setattr(contest, "timed", lambda program, values, wanted: float(next(left[program.name])))
    monkeypatch.setattr(contest, "LEAST_SECONDS", 0.0)
    assert contest.beats(Named("new"), Named("old"), {}, [], {}) is faster  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("threads", "callers", "batch", "divisions"),
    [
        (2, 1, 4, {"", "threads", "images"}),
        (2, 1, 1, {""}),
        (1, 1, 4, {""}),
        (2, 2, 4, {"", "images"}),  # the batch of a caller has one thread
        (4, 2, 4, {"", "threads", "images"}),
    ],
)
def test_only_divisions_that_differ_are_tried(threads: int, callers: int, batch: int, divisions: set[str]) -> None:
    undivided = Division(RuntimeSettings(threads, callers=callers))
    tried = [challenge(ORT) for challenge in contest.challenges(["onnxruntime"], batch, undivided)]
    assert {variant.division for variant in tried if variant is not None} == divisions


def test_a_contest_runs_as_many_at_a_time_as_there_are_callers(monkeypatch: pytest.MonkeyPatch) -> None:
    both = Barrier(2, timeout=30)

    class Waiting(Named):
        callers = 2

        def __call__(self, inputs: Any, wanted: Any) -> None:
            both.wait()

    assert contest.timed(Waiting("waiting"), {}, []) >= 0  # type: ignore[arg-type]


def test_none_that_can_run_it_is_an_error() -> None:
    with pytest.raises(EngineError, match="onnxruntime, openvino"):
        contest.fastest(Trials({}), {"x": X}, ["onnxruntime", "openvino"])


def counted(monkeypatch: pytest.MonkeyPatch, winner: Variant = ORT) -> list[tuple[int, ...]]:
    """The input sizes of all contests from now on, which `winner` wins."""
    held: list[tuple[int, ...]] = []

    def fastest(compiler: Compiler, inputs: Mapping[str, Any], runtimes: list[str]) -> tuple[Program, dict[str, float]]:
        held.append(inputs["x"])
        return compiler.program(winner, inputs, open_sizes=False), {str(winner): 0.5}

    monkeypatch.setattr("matnet.engines.cpu.engine.fastest", fastest)
    return held


def auto(net: Network = SMALL, **options: Any) -> OnnxEngine:
    engine = net.compile(backend="onnx", runtime="auto", **options)
    assert isinstance(engine, OnnxEngine)
    return engine


@pytest.mark.process
def test_a_choice_is_made_once_per_network_sizes_and_threads(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    held = counted(monkeypatch, Variant(division="threads"))
    for _ in range(2):
        engine = auto()
        for _ in range(2):
            assert_close(engine(values(*X))["d"], SMALL.forward(values(*X))["d"], TOLERANCE, "d")
        assert engine.variants == ["ONNX Runtime, a part of the batch per thread"]
    assert held == [X]
    auto(threads=1)(values(*X))
    auto()(values(9, 6, 7, 11))
    auto(chain(CONV, (ReLU(leak=0.1), [])))(values(*X))
    assert held == [X, X, (9, 6, 7, 11), X]
    (first, *others) = sorted((tmp_path / "runtimes").iterdir())
    assert len(others) == 3
    record = json.loads(first.read_text())
    assert record["variant"] == {"runtime": "onnxruntime", "winograd": False, "division": "threads"}
    assert record["seconds"] == {"ONNX Runtime, a part of the batch per thread": 0.5}


@pytest.mark.process
def test_the_rest_of_a_batch_and_other_sizes_are_not_tried_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    held = counted(monkeypatch)
    engine = auto()
    for shape in (X, (2, 6, 7, 11), (5, 6, 9, 8), (1, 6, 7, 11), (8, 6, 7, 11)):
        assert_close(engine(values(*shape))["d"], SMALL.forward(values(*shape))["d"], TOLERANCE, "d")
    assert held == [X, (1, 6, 7, 11), (8, 6, 7, 11)]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b"{}",
        b'{"variant": 3}',
        b'{"variant": {"runtime": "gone", "winograd": false, "division": ""}}',
        b'{"variant": {"runtime": "onnxruntime", "winograd": 1, "division": ""}}',
        b'{"variant": {"runtime": "onnxruntime", "winograd": false, "division": "halves"}}',
        b'{"variant": {"runtime": "onnxruntime", "winograd": true, "division": ""}}',  # cannot be compiled
    ],
)
def test_a_broken_record_is_made_anew(content: bytes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    held = counted(monkeypatch)
    auto()(values(*X))
    (place,) = (tmp_path / "runtimes").iterdir()
    good = place.read_bytes()
    place.write_bytes(content)
    assert auto()(values(*X)).keys() == {"d"}
    assert held == [X, X]
    assert place.read_bytes() == good


def test_a_cache_that_cannot_be_written_is_done_without(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    held = counted(monkeypatch)
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("MATNET_HOME", str(tmp_path / "file"))  # a folder cannot be made in a file
    for _ in range(2):
        assert auto()(values(*X)).keys() == {"d"}
    assert held == [X, X]


def test_other_versions_are_another_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    compiler = Compiler(SMALL, ["d"], RuntimeSettings(2))
    before = choices.identity(compiler, {"x": X}, ["onnxruntime"])
    assert choices.identity(compiler, {"x": X}, ["onnxruntime"]) == before
    monkeypatch.setattr(choices, "runtime_version", lambda name: "0.1")
    assert choices.identity(compiler, {"x": X}, ["onnxruntime"]) != before
    monkeypatch.undo()
    monkeypatch.setattr(choices, "processor", lambda: "another")
    assert choices.identity(compiler, {"x": X}, ["onnxruntime"]) != before


def test_a_runtime_that_is_gone_is_not_remembered(tmp_path: Path) -> None:
    choices.remember("key", choices.TunedChoice(OPENVINO), {})
    assert choices.remembered("key", ["onnxruntime", "openvino"]) == choices.TunedChoice(OPENVINO)
    assert choices.remembered("key", ["onnxruntime"]) is None
    assert variant_from({"runtime": "openvino", "winograd": False, "division": ""}) == OPENVINO


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("openvino", ["openvino"]),
        ("auto:openvino", ["openvino"]),
        ("auto:openvino,onnxruntime", ["onnxruntime", "openvino"]),
    ],
)
def test_a_name_stands_for_runtimes(name: str, meant: list[str]) -> None:
    assert candidates(name) == meant
    assert tries_out(name) == name.startswith("auto")


@pytest.mark.parametrize("name", ["onnx", "auto:", "auto:onnxruntime,onnx", "onnxruntime,openvino", "autos"])
def test_a_name_that_stands_for_none(name: str) -> None:
    with pytest.raises(EngineError, match=r"unknown runtime '.*; expected auto, onnxruntime, openvino"):
        candidates(name)


def test_a_runtime_that_is_named_and_missing_is_not_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RUNTIMES["openvino"], "package", "no_such_package")
    with pytest.raises(EngineError, match="'openvino' needs"):
        SMALL.compile(backend="onnx", runtime="auto:onnxruntime,openvino")
    assert SMALL.compile(backend="onnx", runtime="auto").way == "onnxruntime"


def test_auto_among_some_runtimes_tries_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[list[str]] = []

    def fastest(compiler: Compiler, inputs: Mapping[str, Any], runtimes: list[str]) -> tuple[Program, dict[str, float]]:
        tried.append(runtimes)
        return compiler.program(ORT, inputs, open_sizes=False), {}

    monkeypatch.setattr("matnet.engines.cpu.engine.fastest", fastest)
    SMALL.compile(backend="onnx", runtime="auto:onnxruntime")(values(*X))
    assert tried == [["onnxruntime"]]


@pytest.mark.process
def test_auto_tries_what_is_installed_for_real() -> None:
    engine = auto()
    assert_close(engine(values(*X))["d"], SMALL.forward(values(*X))["d"], TOLERANCE, "d")
    assert set(engine.runtimes) <= set(RUNTIMES)
