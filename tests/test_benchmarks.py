"""The benchmark: what is timed, in which turns, what is made of the times, and what people do to it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from matnet.benchmarks import __main__ as command
from matnet.benchmarks import measure, models, targets
from matnet.benchmarks.contenders import Contender
from matnet.benchmarks.peers import MODULES, PEERS, Subject
from matnet.benchmarks.rows import EngineRow, Report, best_peer, ratio, ratio_at_fastest, read_reports
from matnet.benchmarks.table import markdown, summary
from matnet.benchmarks.timing import Spread, TimeLimits, by_turns
from matnet.command_line import run_command
from matnet.errors import MatnetError
from matnet.files import models_folder

LENET = str(models_folder() / "digits-lenet" / "digits-lenet.mat")


class Clock:
    """Time that passes only when something says that it took some."""

    def __init__(self) -> None:
        self.now = 0.0
        self.calls: list[str] = []

    def __call__(self) -> float:
        return self.now

    def action(self, name: str, seconds: float, fails_at: int = 0) -> Any:
        def act() -> None:
            self.calls.append(name)
            self.now += seconds
            if fails_at and self.calls.count(name) == fails_at:
                raise ValueError(f"{name} gave up")

        return act


# -- timing -------------------------------------------------------------------------------------------


def test_engines_take_turns_after_an_untimed_round() -> None:
    clock = Clock()
    actions = {"a": clock.action("a", 0.25), "b": clock.action("b", 0.5)}
    seconds, errors = by_turns(actions, TimeLimits(rounds=2), clock, lambda pause: None)
    assert clock.calls == ["a", "b"] * 3
    assert (seconds, errors) == ({"a": [0.25, 0.25], "b": [0.5, 0.5]}, {})


def test_a_fast_engine_runs_until_its_turn_is_over() -> None:
    """A turn is 0.1 s: three calls of 0.04 s, after one call to warm up."""
    clock = Clock()
    seconds, _ = by_turns({"a": clock.action("a", 0.04)}, TimeLimits(rounds=1), clock, lambda pause: None)
    assert len(clock.calls) == 1 + 3
    np.testing.assert_allclose(seconds["a"], [0.04])


def test_rounds_end_with_the_seconds_but_not_before_the_third() -> None:
    clock = Clock()
    seconds, _ = by_turns({"a": clock.action("a", 10)}, TimeLimits(rounds=9, seconds=1), clock, lambda pause: None)
    assert seconds == {"a": [10, 10, 10]}


def test_an_engine_that_fails_leaves_the_others_their_turns() -> None:
    clock = Clock()
    actions = {"a": clock.action("a", 1, fails_at=2), "b": clock.action("b", 1)}
    seconds, errors = by_turns(actions, TimeLimits(rounds=2), clock, lambda pause: None)
    assert clock.calls == ["a", "b", "a", "b", "b"]
    assert seconds == {"b": [1, 1]}
    assert str(errors["a"]) == "a gave up"


@pytest.mark.parametrize(("times", "expected"), [
    ([5.0], Spread(5, 0, 5, 5)),
    ([3.0, 1.0, 2.0, 5.0, 4.0], Spread(3, 2, 1, 5)),
    ([1.0, 2.0, 3.0, 6.0], Spread(2.5, 2.0, 1, 6)),  # quartiles 1.75 and 3.75
])  # fmt: skip
def test_spread(times: list[float], expected: Spread) -> None:
    assert Spread.of(times) == expected


# -- rows ---------------------------------------------------------------------------------------------


def row(engine: str, seconds: float | None, model: str = "alexnet", batch: int = 16, **more: Any) -> EngineRow:
    times = [] if seconds is None else [seconds]
    status = "ok" if times else "failed: its reason"
    return EngineRow(model, "random", batch, engine, status=status, seconds=times, operations=8_000_000_000, **more)


ROWS = [row("matnet", 2.0), row("matnet-auto", 1.0), row("onnxruntime", 4.0), row("openvino", 1.5), row("torch", None)]


def test_the_best_peer_is_the_fastest_that_is_not_ours() -> None:
    peer = best_peer([*ROWS, row("other", 0.1, batch=1), row("other", 0.1, precision="tf32")], ROWS[0])
    assert peer is ROWS[3]
    assert [ratio(own, peer) for own in ROWS[:2]] == [0.75, 1.5]
    assert best_peer(ROWS[:2], ROWS[0]) is None
    assert ratio(ROWS[4], peer) is None


def test_the_ratio_at_the_fastest_turns() -> None:
    """Ours 1, 8, 9 s; peers 2, 3, 4 and 1.5, 90, 90: the first is best at the median, the second at the fastest."""
    rows = [row("matnet", 1.0), row("torch", 1.0), row("openvino", 1.0)]
    for own, seconds in zip(rows, ([1.0, 8.0, 9.0], [2.0, 3.0, 4.0], [1.5, 90.0, 90.0]), strict=True):
        own.seconds = seconds
    assert ratio(rows[0], best_peer(rows, rows[0])) == 3 / 8
    assert ratio_at_fastest(rows, rows[0]) == 1.5
    assert ratio_at_fastest(rows[:1], rows[0]) is None


def test_a_report_comes_back_from_its_file_with_derived_figures_beside(tmp_path: Path) -> None:
    report = Report(ROWS, {"processor": "p", "matmul_flop_per_s": {"fp32": 16e9}}, ["a note"])
    report.write(tmp_path / "r.json")
    assert read_reports([str(tmp_path / "r.json")]) == report
    first = json.loads((tmp_path / "r.json").read_text())["rows"][0]
    assert (first["images_per_s"], first["flop_per_s"]) == (8.0, 4e9)
    assert (first["best_peer"], first["ratio_to_best_peer"]) == ("openvino", 0.75)


def test_a_later_report_replaces_a_network_whole_since_rows_of_two_runs_do_not_compare(tmp_path: Path) -> None:
    peaks = [{"matmul_flop_per_s": {"fp32": peak}} for peak in (5.0, 3.0)]
    Report([row("matnet", 1), row("torch", 1), row("torch", 1, batch=1)], peaks[0]).write(tmp_path / "a")
    Report([row("matnet", 2)], peaks[1]).write(tmp_path / "b")
    merged = read_reports([str(tmp_path / "a"), str(tmp_path / "b")])
    assert [(found.engine, found.batch, found.seconds) for found in merged.rows] == [
        ("matnet", 16, [2]),
        ("torch", 1, [1]),
    ]
    assert merged.peak("fp32") == 5.0


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 1}',
                                  '{"format": 2, "machine": {}, "notes": [], "rows": []}',
                                  '{"format": 1, "machine": {}, "notes": [], "rows": [{"model": 1}]}'])  # fmt: skip
def test_a_file_that_is_no_report_is_one_sentence(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "r.json").write_text(text)
    assert run_command(command.main, ["--from", str(tmp_path / "r.json")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_tables_say_ratio_share_of_peak_and_reason() -> None:
    report = Report(ROWS, {"matmul_flop_per_s": {"fp32": 16e9}})
    line = summary(report).splitlines()[2].split()
    # 16 images in 2 s; 4 of 16 GFLOP/s
    assert " ".join(line) == "alexnet 16 matnet fp32 8.00 0 % openvino 10.7 0.75 0.75 4 25 % random"
    assert "| torch " in markdown(report)
    assert "failed: its reason" in markdown(report)


# -- targets ------------------------------------------------------------------------------------------


def test_targets_of_the_processor() -> None:
    """Ratios by hand: AlexNet 1.25, 1.5 and 1.2 (at least 1.0, 1.0 and 1.3), VGG-16 0.8 and 1.0 (1.0 and 1.0).

    matnet itself, without looking for the fastest way, has no target.
    """
    report = Report([
        row("matnet", 9.0, "alexnet"), row("matnet-alone", 2.5, "alexnet"), row("matnet-auto", 1.0, "alexnet"),
        row("matnet-unasked", 1.2, "alexnet"),
        row("onnxruntime", 3.0, "alexnet"), row("openvino", 1.5, "alexnet"),
        row("matnet", 9.0, "vgg16"), row("matnet-alone", 4.0, "vgg16"), row("matnet-auto", 2.5, "vgg16"),
        row("onnxruntime", 4.0, "vgg16"), row("opencv-onnx", 2.0, "vgg16"),
    ])  # fmt: skip
    found = targets.verdicts(report)
    assert [(verdict.met, verdict.least) for verdict in found] == [
        (True, 1.0),
        (True, 1.0),
        (False, 1.3),
        (False, 1.0),  # of VGG-16 no run that nobody asked anything of
        (False, 1.0),
        (True, 1.0),
        (True, 1.1),
        (False, 1.1),
    ]
    ratios = [verdict.ratio for verdict in found if verdict.ratio is not None]
    np.testing.assert_allclose(ratios, [1.25, 1.5, 1.2, 0.8, 1.0, 1.25, 1.2**0.5])
    assert found[0].line().startswith("PASS")
    assert "not measured" in targets.TargetVerdict("x", None, 1.0).line()


def test_targets_of_a_gpu() -> None:
    """TF32 at 2 s to torch's 3 s, FP16 at 2 s to 1 s; float32 has no target."""
    rows = [
        row(engine, seconds, precision=precision)
        for precision, torch in (("tf32", 3.0), ("fp16", 1.0), ("fp32", 1.0))
        for engine, seconds in (("matnet-cupy", 2.0), ("torch-cuda-graph", torch))
    ]
    found = targets.gpu_verdicts(Report(rows))
    assert [(verdict.met, verdict.ratio) for verdict in found] == [(True, 1.5), (False, 0.5), (True, 1.5), (False, 0.5)]
    assert found[0].what == "alexnet, batch 16, tf32: to torch-cuda-graph"


# -- the command --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("arguments", "said"), [
    (["--models", "alexnett"], "unknown model 'alexnett'; nearest: "),
    (["--models", ","], "--models is empty"),
    (["--models", "nowhere/net.mat"], "nowhere/net.mat: no such file"),
    (["--models", LENET, "--peers", "tensorflow"], "unknown peer 'tensorflow'"),
    (["--models", LENET, "--batch", "1,x"], "expected comma-separated integers"),
    (["--models", LENET, "--batch", "0"], "expected comma-separated integers"),
    (["--models", LENET, "--threads", "0"], "--threads is 0; expected at least 1"),
    (["--models", LENET, "--rounds", "0"], "--rounds must be at least 1"),
    (["--models", LENET, "--json", "nowhere/r.json"], "the folder nowhere does not exist"),
    (["--models", LENET, "--plot", "nowhere/r.png"], "the folder nowhere does not exist"),
    (["--models", LENET, "--precision", "fp16"], "--precision fp16 needs --backend cupy"),
    (["--from", "nowhere.json"], "nowhere.json: no such report"),
])  # fmt: skip
def test_bad_input_is_one_sentence_before_any_work(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "build", lambda name: pytest.fail("a network was built"))
    assert run_command(command.main, arguments) == 2
    captured = capsys.readouterr()
    assert said in captured.err
    assert captured.err.count("\n") == 1


def refusing(subject: Subject) -> Any:
    raise ValueError("takes no\nnetworks")


def lying(subject: Subject) -> Any:
    return lambda x: np.zeros((len(x), 10), np.float32)


@pytest.fixture
def odd_peers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MODULES, "odd", "numpy")
    monkeypatch.setitem(PEERS, "odd", {"odd-refusing": refusing, "odd-lying": lying})


@pytest.mark.process
@pytest.mark.usefixtures("odd_peers")
def test_the_command_times_checks_and_gives_reasons(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = {name: tmp_path / f"r.{name}" for name in ("json", "markdown")}
    arguments = ["--models", LENET, "--batch", "3", "--backend", "numpy", "--peers", "odd", "--rounds", "1"]
    assert command.main([*arguments, *(f"--{name}={path}" for name, path in files.items())]) == 0
    record = json.loads(files["json"].read_text())
    rows = {entry["engine"]: entry for entry in record["rows"]}
    assert rows["matnet-numpy"]["status"] == "ok"
    assert rows["matnet-numpy"]["weights"] == "digits-lenet.mat"
    assert rows["odd-refusing"]["status"] == "failed: takes no networks"
    assert rows["odd-lying"]["status"].startswith("failed: output differs by 1 ")
    assert record["machine"]["matmul_flop_per_s"]["fp32"] > 0
    assert "digits-lenet, batch 3" in files["markdown"].read_text()
    assert "failed: takes no networks" in capsys.readouterr().out


def test_engines_on_a_gpu_are_timed_on_resident_input_too() -> None:
    class Fast:
        """Copies, and can be timed without."""

        def __call__(self, x: np.ndarray) -> np.ndarray:
            return x[:, :10]

        def resident(self, x: np.ndarray) -> Any:
            return lambda: None

    class Broken(Fast):
        def resident(self, x: np.ndarray) -> Any:
            raise RuntimeError("no graph")

    makers = {
        "matnet": lambda subject: Fast(),
        "torch": lambda subject: Broken(),
        "other": lambda subject: lambda x: x[:, :10],
    }
    contestants = [Contender(name, make) for name, make in makers.items()]
    limits = TimeLimits(rounds=1, turn=0, pause=0)
    rows = measure.measure(models.build(LENET), 2, contestants, limits, threads=1)
    assert [(found.engine, found.scope, found.status, len(found.seconds)) for found in rows] == [
        ("matnet", "", "ok", 1),
        ("torch", "", "ok", 1),
        ("other", "", "ok", 1),
        ("matnet", "resident", "ok", 1),
        ("torch", "resident", "failed: no graph", 0),
    ]
    assert best_peer(rows, rows[3]) is None


@pytest.mark.process
def test_an_interrupt_keeps_what_was_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, asked = measure.measure, []

    def interrupted(*arguments: Any, **options: Any) -> list[EngineRow]:
        asked.append(arguments)
        if len(asked) == 2:
            raise KeyboardInterrupt
        return real(*arguments, **options)

    monkeypatch.setattr(command, "measure", interrupted)
    target = tmp_path / "r.json"
    arguments = ["--models", LENET, "--batch", "2,3,4", "--backend", "numpy", "--peers", "none", "--rounds", "1"]
    assert command.main([*arguments, "--json", str(target)]) == 130
    record = json.loads(target.read_text())
    assert [entry["batch"] for entry in record["rows"]] == [2]
    assert record["notes"] == ["interrupted: not all networks were measured"]


@pytest.mark.process
def test_peers_that_are_not_installed_are_left_out_and_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "installed", lambda names: [])
    assert command.main(["--models", LENET, "--batch", "1", "--backend", "numpy", "--rounds", "1"]) == 0
    text = capsys.readouterr().out
    assert "peers not installed: onnxruntime, openvino, opencv, torch" in text


@pytest.mark.process
def test_nothing_timed_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "ours", lambda *names: [Contender("matnet", refusing)])
    assert run_command(command.main, ["--models", LENET, "--batch", "1", "--peers", "none"]) == 2


@pytest.mark.process
def test_a_chart_of_all_networks_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    from PIL import Image

    from matnet.benchmarks.plot import draw

    random = np.random.default_rng(0)
    rows = [
        row(engine, float(random.uniform(0.5, 2)), name, batch)
        for name in models.PUBLISHED
        for batch in (1, 16)
        for engine in ("matnet", "matnet-auto", *(form for forms in PEERS.values() for form in forms))
    ]
    draw(Report(rows), tmp_path / "chart.png")
    with Image.open(tmp_path / "chart.png") as image:
        assert (image.format, image.width > 1000, image.height > 2000) == ("PNG", True, True)
    with pytest.raises(MatnetError, match="nothing to draw"):
        draw(Report([row("matnet", None)]), tmp_path / "none.png")
