"""The choice of a runtime that nobody asked for: found beside the first batches, kept, stated, and used again.

What is chosen is decided by programs and a runtime of known speed; a clock that stands still but for them makes the
seconds of a search exact.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import matnet
from matnet import EngineError, Network
from matnet import eval as eval_command
from matnet.engines import EngineOptions, compile_network
from matnet.engines.cpu.program import Compiler
from matnet.engines.cpu.runtimes import RUNTIMES, OnnxRuntime, RuntimeSettings, available
from matnet.engines.cpu.tuning import beside, choices
from matnet.engines.cpu.tuning.beside import Beside
from matnet.engines.cpu.tuning.variants import Variant, variant_of
from matnet.evaluation.config import EvaluationConfig
from matnet.evaluation.counters import counter_for
from matnet.evaluation.resume import SUFFIX
from matnet.evaluation.tally import Tally, described
from matnet.files import models_folder
from matnet.ops.activation import ReLU
from tests.helpers import chain, values

pytestmark = pytest.mark.skipif(not available(), reason="onnxruntime is not installed")
NET = chain((ReLU(), []))
X = (4, 3, 5, 7)
ORT, WINOGRAD, OTHER = Variant(), Variant(winograd=True), Variant("openvino")
DIGITS = models_folder() / "digits-lenet"
FACTOR = np.float32(1 + 2**-10)  # of what the runtime `swift` computes, so that results tell who computed them
SMALLEST = ["--quiet", "--batch-size", "16"]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MATNET_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


# -- the search by itself ---------------------------------------------------------------------------


class Machine(Compiler):
    """Variants of known seconds to compile and to run, and of a known result; `now` counts their seconds alone."""

    def __init__(self, table: Mapping[Variant, tuple[float, float, float]]) -> None:
        super().__init__(NET, NET.outputs, RuntimeSettings(threads=2))
        self.table, self.now, self.asked = table, 0.0, list[Variant]()

    def program(self, variant: Variant, inputs: Any, open_sizes: bool = True) -> Any:
        self.asked.append(variant)
        if variant not in self.table:
            raise EngineError("not in the table")
        self.now += self.table[variant][0]
        return Known(self, variant)


class Known:
    callers = 1

    def __init__(self, machine: Machine, variant: Variant) -> None:
        self.machine, self.variant = machine, variant

    def __call__(self, inputs: Any, wanted: Any) -> dict[str, np.ndarray]:
        _, seconds, result = self.machine.table[self.variant]
        self.machine.now += seconds
        return {"a": np.full(X, result, np.float32)}


def search(table: Mapping[Variant, tuple[float, float, float]], calls: int | None, most: int = 500) -> Beside:
    """A search to its end, at most so many calls long."""
    machine = Machine(table)

    def run(program: Any, given: Any, wanted: Any) -> tuple[float, dict[str, np.ndarray]]:
        before = machine.now
        results = program(given, wanted)
        return machine.now - before, results

    fixed: Any = Known(machine, ORT)
    found = Beside(machine, fixed, {"x": X}, list(RUNTIMES), calls, table[ORT][0], clock=lambda: machine.now, run=run)
    for _ in range(most):
        if found.over:
            break
        results = found({"x": values(*X)})
        assert (results["a"] == table[ORT][2]).all()
    return found


@pytest.fixture(autouse=True)
def _imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beside, "IMPORT", 0.0)


@pytest.mark.parametrize(
    ("table", "winner"),
    [
        ({ORT: (1, 1.0, 5), OTHER: (4, 0.5, 5)}, OTHER),
        ({ORT: (1, 1.0, 5), OTHER: (4, 0.97, 5)}, OTHER),
        ({ORT: (1, 1.0, 5), OTHER: (4, 0.995, 5)}, ORT),  # no more than a rounding of clocks
        ({ORT: (1, 1.0, 5), OTHER: (4, 2.0, 5)}, ORT),
        ({ORT: (1, 1.0, 5), OTHER: (4, 0.1, 6)}, ORT),  # fast, and wrong
        ({ORT: (1, 1.0, 5), WINOGRAD: (4, 0.5, 5.001)}, WINOGRAD),
        ({ORT: (1, 1.0, 5), OTHER: (4, 0.5, 5), Variant("openvino", True): (8, 0.4, 5)}, Variant("openvino", True)),
        ({ORT: (1, 1.0, 5), OTHER: (4, 0.5, 5), Variant("openvino", True): (8, 0.6, 5)}, OTHER),
        ({ORT: (1, 1.0, 5), Variant(division="threads"): (1, 0.5, 5)}, Variant(division="threads")),
    ],
)
def test_the_fastest_is_found_and_results_come_from_the_fixed_program(
    table: Mapping[Variant, Any], winner: Variant
) -> None:
    found = search(table, calls=100_000)
    assert (found.over, found.complete, found.best.variant) == (True, True, winner)


@pytest.mark.parametrize("calls", [3, 20, 100, 200, 1000, 20_000, None])
@pytest.mark.parametrize("compiling", [0.01, 0.3, 1.0])
@pytest.mark.parametrize("seconds", [0.01, 0.2, 2.0])
def test_a_search_stays_within_its_budget(calls: int | None, compiling: float, seconds: float) -> None:
    """2 % of the expected run, or 3 s where that is more, but never more than a tenth of it."""
    others = (OTHER, Variant("openvino", True), Variant("openvino", division="threads"), WINOGRAD)
    factors = {OTHER: 4.0, Variant("openvino", True): 8.0, WINOGRAD: 8.0}
    table = {ORT: (compiling, seconds, 5)}
    table |= {variant: (compiling * factors.get(variant, 4.0), seconds * 0.9, 5) for variant in others}
    found = search(table, calls, most=calls or 500)
    run = (calls or 200) * seconds
    assert found.spent <= max(0.02 * run, min(3, 0.1 * run)) + 1e-9


def test_a_run_that_is_too_short_for_a_search_tries_nothing() -> None:
    found = search({ORT: (0.3, 0.01, 5), OTHER: (0.1, 0.001, 5)}, calls=200)
    assert (found.over, found.complete, found.best.variant, found.spent) == (True, False, ORT, 0)


def test_a_program_that_cannot_run_is_left_out() -> None:
    class Broken(Known):
        def __call__(self, inputs: Any, wanted: Any) -> dict[str, np.ndarray]:
            raise EngineError("out of order")

    machine = Machine({ORT: (1, 1.0, 5)})
    found = Beside(machine, Known(machine, ORT), {"x": X}, list(RUNTIMES), 10_000, 1.0)  # type: ignore[arg-type]
    machine.program = lambda variant, inputs, open_sizes=True: Broken(machine, variant)  # type: ignore
    while not found.over:
        assert (found({"x": values(*X)})["a"] == 5).all()
    assert found.best.variant == ORT


# -- how a way is named -----------------------------------------------------------------------------


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("winograd", [False, True])
@pytest.mark.parametrize("division", ["", "threads", "images"])
def test_a_way_is_named_by_its_text(runtime: str, winograd: bool, division: str) -> None:
    variant = Variant(runtime, winograd, division)
    assert variant_of(variant.text) == variant


@pytest.mark.parametrize(
    "text", ["tensorrt", "openvino+", "openvino+fast", "openvino+threads+winograd", "openvino+winograd+threads+x"]
)
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(EngineError):
        NET.compile(backend="onnx", runtime=text)


def test_a_way_can_be_asked_for() -> None:
    engine = NET.compile(backend="onnx", runtime="onnxruntime+threads")
    x = values(*X)
    np.testing.assert_array_equal(engine(x)["a"], np.maximum(x, 0))
    assert engine.variants == ["ONNX Runtime, a part of the batch per thread"]


# -- engines ----------------------------------------------------------------------------------------


@pytest.fixture
def swift(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A runtime ten times as fast as all others; the list holds the runtimes that a search has timed."""

    class Swift(OnnxRuntime):
        name, title, divisions = "swift", "Swift", ()

        def __call__(self, given: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
            return {name: value * FACTOR for name, value in super().__call__(given).items()}

    timed: list[str] = []

    def run(program: Any, given: Any, wanted: Any) -> tuple[float, dict[str, np.ndarray]]:
        timed.append(program.variant.runtime)
        return 0.1 if program.variant.runtime == "swift" else 1.0, program(given, wanted)

    monkeypatch.setattr(beside, "timed_results", run)
    monkeypatch.setattr(beside, "SHARE", 1e9)
    monkeypatch.setattr("matnet.engines.cpu.tuning.contest.AGREEMENT", 1e-2)
    monkeypatch.setattr("matnet.engines.cpu.runtimes.available", lambda name="onnxruntime": name != "openvino")
    yield timed
    del RUNTIMES["swift"]


def test_an_engine_goes_on_in_the_fastest_way_and_remembers_it(swift: list[str], home: Path) -> None:
    engine, x = NET.compile(backend="auto"), values(*X)
    expected, other = np.maximum(x, 0), np.maximum(x, 0) * FACTOR
    while engine.searching:
        assert engine.way == "onnxruntime"
        np.testing.assert_array_equal(engine(x)["a"], expected)
    assert engine.way == "swift"
    np.testing.assert_array_equal(engine(x)["a"], other)
    assert engine.runtimes == ["onnxruntime", "swift"]
    (record,) = (home / "runtimes").iterdir()
    assert json.loads(record.read_text())["complete"] is True

    swift.clear()
    again = NET.compile(backend="auto")
    np.testing.assert_array_equal(again(x)["a"], other)
    assert (again.way, again.searching, swift) == ("swift", False, [])
    assert again.runtimes == ["swift"]


def test_other_sizes_take_no_part_in_a_search(swift: list[str]) -> None:
    engine = NET.compile(backend="auto")
    engine(values(*X))
    swift.clear()
    x = values(3, 3, 6, 2)
    np.testing.assert_array_equal(engine(x)["a"], np.maximum(x, 0))
    assert (swift, engine.searching) == ([], True)


@pytest.mark.parametrize(
    "options", [{"backend": "onnx"}, {"backend": "auto", "runtime": "onnxruntime"}, {"backend": "numpy"}]
)
def test_who_names_an_engine_gets_that_engine(options: dict[str, str], swift: list[str]) -> None:
    engine, x = NET.compile(**options), values(*X)  # type: ignore[arg-type]
    for _ in range(20):
        np.testing.assert_array_equal(engine(x)["a"], np.maximum(x, 0))
    assert (swift, engine.searching) == ([], False)


def test_a_single_answer_never_changes_its_way(swift: list[str]) -> None:
    net, x = chain((ReLU(), [])), values(*X)
    for _ in range(20):
        np.testing.assert_array_equal(net(x, backend="auto"), np.maximum(x, 0))
    engine = compile_network(net, options=EngineOptions("auto"))  # as run, diff and doctor do
    assert (swift, engine.searching) == ([], False)


def test_a_search_that_was_cut_short_goes_on_in_a_later_run(swift: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """What was timed already is not timed again, and the search of all is complete at last."""
    x, kept = values(*X), list[choices.TunedChoice]()

    def remember(key: str, choice: choices.TunedChoice, seconds: Mapping[str, float]) -> None:
        kept.append(choice)
        choices.remember(key, choice, seconds)

    monkeypatch.setattr("matnet.engines.cpu.engine.remember", remember)
    monkeypatch.setattr(Beside, "budget", property(lambda self: -1e9 if self.best is not self.fixed else 1e9))
    for complete in (False, True):
        engine = NET.compile(backend="auto")
        while engine.searching:
            engine(x)
        assert (engine.way, kept[-1].complete) == ("swift", complete)
        swift.clear()
    assert kept[1].tried >= kept[0].tried >= {Variant("swift"), ORT}
    assert swift == []


# -- commands ---------------------------------------------------------------------------------------


def evaluated(capsys: pytest.CaptureFixture[str], *options: str, status: int = 0) -> dict[str, Any]:
    assert eval_command.main([*SMALLEST, *options, "--json"]) == status
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


@pytest.mark.process
def test_eval_states_which_images_each_way_computed(swift: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    row = evaluated(capsys)
    first, _, rest = row["runtime"].partition("), ")
    images = int(first.removeprefix("onnxruntime (images 1 to "))
    assert rest == f"swift ({images + 1} to 355)"
    assert images % 16 == 0
    assert (row["images"], row["top1_error"]) == (355, 100 * 10 / 355)
    assert set(row["versions"]) >= {"onnxruntime", "swift"}
    again = evaluated(capsys)
    assert (again["runtime"], again["top1_error"]) == ("swift", row["top1_error"])


@pytest.mark.process
def test_eval_prints_the_way(swift: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert eval_command.main(SMALLEST) == 0
    assert "onnxruntime (images 1 to" in capsys.readouterr().out
    assert eval_command.main([*SMALLEST, "--runtime", "onnxruntime"]) == 0
    assert "onnx (onnxruntime) on cpu" in capsys.readouterr().out


@pytest.mark.process
def test_a_resumed_run_goes_on_in_the_way_of_its_first_part(
    swift: list[str], home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    whole = evaluated(capsys)
    for record in (home / "runtimes").iterdir():
        record.unlink()
    target = str(tmp_path / "row.json")

    def stop(tally: Tally) -> None:
        if tally.images >= 300:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(eval_command, "progress", lambda *_: nullcontext(stop))
        assert eval_command.main([*SMALLEST, "--json", target]) == 130
    for record in (home / "runtimes").iterdir():
        record.unlink()
    state = json.loads(Path(target + SUFFIX).read_text())["tally"]
    assert state["chosen"] == "swift"
    swift.clear()
    assert eval_command.main([*SMALLEST, "--json", target, "--resume"]) == 0
    row = json.loads(Path(target).read_text())
    assert swift == []
    assert (row["runtime"], row["top1_error"]) == (whole["runtime"], whole["top1_error"])


@pytest.mark.process
def test_workers_and_published_tables_keep_the_default(swift: list[str]) -> None:
    from matnet.datasets import ImageList
    from matnet.evaluation.flow import planned, run
    from matnet.images import Preprocessing

    net = matnet.load(DIGITS / "digits-lenet.mat")
    data = ImageList.load(DIGITS / "test").head(200)
    config, task = planned(net, data, Preprocessing.of(net), engine=EngineOptions("auto", batch_size=16))
    assert run(net, config, task).runtime == "onnxruntime"  # as `matnet reproduce` calls it
    with counter_for(net, config, task) as counter:  # as a worker of Dask counts
        (tally, *_) = counter.tallies([range(16)])
    assert (tally.ways, tally.chosen, swift) == ({"onnxruntime": ((0, 16),)}, "", [])
    chosen = EvaluationConfig(config.preprocessing, config.scores, EngineOptions("auto", runtime="swift"))
    with counter_for(net, chosen, task) as counter:
        (tally, *_) = counter.tallies([range(16, 20)])
    assert tally.ways == {"swift": ((16, 20),)}


@pytest.mark.process
@pytest.mark.parametrize("stop", [20, 200])
def test_features_are_the_same_to_the_last_digit_after_an_interruption(
    stop: int, swift: list[str], home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import matnet.answers.extraction as extraction

    def fresh() -> Network:  # without engines that know their way
        return matnet.load(DIGITS / "digits-lenet.mat")

    keywords: dict[str, Any] = {"layers": ["ip1"], "batch_size": 16}
    whole = np.load(fresh().features(DIGITS / "test", out=tmp_path / "whole.npz", **keywords))
    for record in (home / "runtimes").iterdir():
        record.unlink()
    usual, done = extraction.batches, 0

    def interrupted(*arguments: Any) -> Iterator[Any]:
        nonlocal done
        for batch in usual(*arguments):
            yield batch
            done += len(batch.numbers)
            if done >= stop:
                raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(extraction, "batches", interrupted)
        fresh().features(DIGITS / "test", out=tmp_path / "parts.npz", **keywords)
    for record in (home / "runtimes").glob("*"):
        record.unlink()
    parts = np.load(fresh().features(DIGITS / "test", out=tmp_path / "parts.npz", **keywords))
    about = {name: json.loads(str(file["about"])) for name, file in (("whole", whole), ("parts", parts))}
    assert "swift (" in about["parts"]["runtime"]
    if stop == 200:  # after the choice
        assert about["parts"]["runtime"] == about["whole"]["runtime"]
        np.testing.assert_array_equal(parts["ip1"], whole["ip1"])


@pytest.mark.process
def test_predict_states_its_way(swift: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    from matnet.predict import main

    folder = str(DIGITS / "test")
    assert main([str(DIGITS / "digits-lenet.mat"), folder, "--quiet", "--json", "--batch-size", "16"]) == 0
    assert json.loads(capsys.readouterr().out)["runtime"].startswith("onnxruntime (images 1 to ")
    one = str(next((DIGITS / "test").rglob("*.png")))
    swift.clear()
    assert main([str(DIGITS / "digits-lenet.mat"), one, "--quiet", "--json"]) == 0
    assert (json.loads(capsys.readouterr().out)["runtime"], swift) == ("onnxruntime", [])


def test_ways_in_words() -> None:
    assert described({}) == ""
    assert described({"openvino": ((0, 9), (12, 20))}) == "openvino"
