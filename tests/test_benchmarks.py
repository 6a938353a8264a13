"""The benchmark: what is timed, in which turns, what is made of the times, and what people do to it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import matnet
from matnet.benchmarks import __main__ as command
from matnet.benchmarks import contenders, measure, models, targets
from matnet.benchmarks.contenders import Contender, chosen_peers
from matnet.benchmarks.peers import MODULES, PEERS, Subject
from matnet.benchmarks.rows import Report, Row, best_peer, ratio, read_reports
from matnet.benchmarks.table import markdown, summary
from matnet.benchmarks.timing import Limits, Spread, by_turns
from matnet.errors import MatnetError, run_command
from tests.conftest import DATA, assert_close

LENET = str(Path(matnet.__file__).parent / "models" / "digits-lenet" / "digits-lenet.mat")


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
    seconds, errors = by_turns(actions, Limits(rounds=2), clock, lambda pause: None)
    assert clock.calls == ["a", "b"] * 3
    assert (seconds, errors) == ({"a": [0.25, 0.25], "b": [0.5, 0.5]}, {})


def test_a_fast_engine_runs_until_its_turn_is_over() -> None:
    """A turn is 0.1 s: three calls of 0.04 s, after one call to warm up."""
    clock = Clock()
    seconds, _ = by_turns({"a": clock.action("a", 0.04)}, Limits(rounds=1), clock, lambda pause: None)
    assert len(clock.calls) == 1 + 3
    np.testing.assert_allclose(seconds["a"], [0.04])


def test_rounds_end_with_the_seconds_but_not_before_the_third() -> None:
    clock = Clock()
    seconds, _ = by_turns({"a": clock.action("a", 10)}, Limits(rounds=9, seconds=1), clock, lambda pause: None)
    assert seconds == {"a": [10, 10, 10]}


def test_an_engine_that_fails_leaves_the_others_their_turns() -> None:
    clock = Clock()
    actions = {"a": clock.action("a", 1, fails_at=2), "b": clock.action("b", 1)}
    seconds, errors = by_turns(actions, Limits(rounds=2), clock, lambda pause: None)
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


def row(engine: str, seconds: float | None, model: str = "alexnet", batch: int = 16, **more: Any) -> Row:
    times = [] if seconds is None else [seconds]
    status = "ok" if times else "failed: its reason"
    return Row(model, "random", batch, engine, status=status, seconds=times, operations=8_000_000_000, **more)


ROWS = [row("matnet", 2.0), row("matnet-auto", 1.0), row("onnxruntime", 4.0), row("openvino", 1.5), row("torch", None)]


def test_the_best_peer_is_the_fastest_that_is_not_ours() -> None:
    peer = best_peer([*ROWS, row("other", 0.1, batch=1), row("other", 0.1, precision="tf32")], ROWS[0])
    assert peer is ROWS[3]
    assert [ratio(own, peer) for own in ROWS[:2]] == [0.75, 1.5]
    assert best_peer(ROWS[:2], ROWS[0]) is None
    assert ratio(ROWS[4], peer) is None


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
    assert " ".join(line) == "alexnet 16 matnet fp32 8.00 0 % openvino 10.7 0.75 4 25 % random"
    assert "| torch " in markdown(report)
    assert "failed: its reason" in markdown(report)


# -- targets ------------------------------------------------------------------------------------------


def test_targets_of_the_processor() -> None:
    """Ratios by hand: AlexNet 1.5 and 1.2 (at least 1.0 and 1.3), VGG-16 0.8 and 1.0 (1.0 and 1.0)."""
    report = Report([
        row("matnet", 2.5, "alexnet"), row("matnet-auto", 1.0, "alexnet"),
        row("onnxruntime", 3.0, "alexnet"), row("openvino", 1.5, "alexnet"),
        row("matnet", 4.0, "vgg16"), row("matnet-auto", 2.5, "vgg16"),
        row("onnxruntime", 4.0, "vgg16"), row("opencv-onnx", 2.0, "vgg16"),
    ])  # fmt: skip
    found = targets.verdicts(report)
    assert [(verdict.met, verdict.least) for verdict in found] == [
        (True, 1.0),
        (False, 1.3),
        (False, 1.0),
        (True, 1.0),
        (False, 1.1),
    ]
    np.testing.assert_allclose([verdict.ratio for verdict in found], [1.5, 1.2, 0.8, 1.0, 1.2**0.5])
    assert found[0].line().startswith("PASS")
    assert "not measured" in targets.Verdict("x", None, 1.0).line()


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
    (["--models", "alexnett"], "no model is called 'alexnett'; nearest: "),
    (["--models", ","], "--models names no network"),
    (["--models", "nowhere/net.mat"], "nowhere/net.mat: no such file"),
    (["--models", LENET, "--peers", "tensorflow"], "no peer is called 'tensorflow'"),
    (["--models", LENET, "--batch", "1,x"], "--batch takes numbers"),
    (["--models", LENET, "--batch", "0"], "--batch takes numbers"),
    (["--models", LENET, "--threads", "0"], "--threads must be at least 1"),
    (["--models", LENET, "--rounds", "0"], "--rounds must be at least 1"),
    (["--models", LENET, "--json", "nowhere/r.json"], "the folder nowhere does not exist"),
    (["--models", LENET, "--plot", "nowhere/r.png"], "the folder nowhere does not exist"),
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
    assert rows["odd-lying"]["status"].startswith("failed: its output differs by 1 ")
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
    limits = Limits(rounds=1, turn=0, pause=0)
    rows = measure.measure(models.build(LENET), 2, contestants, limits, threads=1)
    assert [(found.engine, found.scope, found.status, len(found.seconds)) for found in rows] == [
        ("matnet", "", "ok", 1),
        ("torch", "", "ok", 1),
        ("other", "", "ok", 1),
        ("matnet", "resident", "ok", 1),
        ("torch", "resident", "failed: no graph", 0),
    ]
    assert best_peer(rows, rows[3]) is None


def test_an_interrupt_keeps_what_was_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, asked = measure.measure, []

    def interrupted(*arguments: Any, **options: Any) -> list[Row]:
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


def test_peers_that_are_not_installed_are_left_out_and_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "installed", lambda names: [])
    assert command.main(["--models", LENET, "--batch", "1", "--backend", "numpy", "--rounds", "1"]) == 0
    text = capsys.readouterr().out
    assert "not installed, and so not compared with: onnxruntime, openvino, opencv, torch" in text


def test_nothing_timed_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "ours", lambda *names: [Contender("matnet", refusing)])
    assert run_command(command.main, ["--models", LENET, "--batch", "1", "--peers", "none"]) == 2


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


# -- networks and peers -------------------------------------------------------------------------------


def test_the_published_table_is_19_networks_then_faces_and_segmentation() -> None:
    models.check_names(models.PUBLISHED)
    assert len(models.PUBLISHED) == len(set(models.PUBLISHED)) == 19 + 5


def test_a_network_by_name_has_random_weights_and_the_published_speed() -> None:
    """785.7 images/s stand on MatConvNet's page; 2 * 3 * 11 * 11 * 64 * 54 * 54 ... by its layers: 1.4 GFLOP."""
    model = models.build("vgg-f")
    assert (model.name, model.weights, model.output) == ("imagenet-vgg-f", "random", "prob")
    assert model.input_shape(3) == (3, 3, 224, 224)
    assert next(iter(model.published.values())) == 785.7
    layers = [(11 * 11 * 3, 64, 54 * 54), (5 * 5 * 64, 256, 27 * 27), *[(3 * 3 * 256, 256, 13 * 13)] * 3]
    layers += [(6 * 6 * 256, 4096, 1), (4096, 4096, 1), (4096, 1000, 1)]
    assert model.operations() == 2 * sum(taps * count * pixels for taps, count, pixels in layers)


def test_random_weights_are_settled_as_training_leaves_them() -> None:
    """Every batch normalisation gives means 0 and deviations 1 for the settling image, the scores deviate by 1."""
    model = models.build("resnet50")
    x = np.random.default_rng(0).standard_normal(model.input_shape(1)).astype(np.float32)
    layers = {layer.name: layer for layer in model.net.upto([model.output])}
    wanted = ["bn_conv1", "bn_res3b_branch2b", layers["prob"].inputs[0]]
    first, middle, scores = (model.net.forward(x, [name])[name] for name in wanted)
    for found, before in ((first, "bn_conv1"), (middle, "bn_res3b_branch2b")):
        g, b = (model.net.params[name].value.reshape(-1) for name in layers[before].params[:2])
        np.testing.assert_allclose(found.mean(axis=(0, 2, 3)), b, atol=1e-3)
        np.testing.assert_allclose(found.std(axis=(0, 2, 3)), g, rtol=1e-2)
    np.testing.assert_allclose(scores.std(), 1, rtol=1e-3)


CASES = ["sn_alexnet", "sn_bnorm", "sn_conv_groups", "sn_conv_basic", "sn_convt_crop", "sn_convt_depthwise", "sn_dncnn"]
CASES += ["sn_lrn", "sn_pool_max", "sn_pool_stride_gt_window", "sn_conv_pad_scalar", "sn_conv_fc", "dag_batchnorm"]
CASES += ["dag_fcn8s", "dag_googlenet", "dag_scale_bias", "dag_pooling", "dag_sum2", "dag_concat3"]


def subject_of(case: str, folder: Path) -> tuple[Subject, np.ndarray, np.ndarray]:
    """A network recorded under MatConvNet, its one input, and its last output, N x C x H x W."""
    net = matnet.load(DATA / "matconvnet" / case / "model.mat").for_inference()
    with np.load(DATA / "matconvnet" / case / "io.npz") as io:
        arrays = {name: io[name].reshape(io[name].shape + (1,) * (4 - io[name].ndim)) for name in io.files}
    given = [name for name in arrays if name.startswith("in__")]
    output = next(name for name in reversed(net.outputs) if f"out__{name}" in arrays)
    x = np.ascontiguousarray(arrays[given[0]].transpose(3, 2, 0, 1), dtype=np.float32)
    subject = Subject(net, output, x.shape, 2, folder)
    assert len(given) == 1
    return subject, x, arrays[f"out__{output}"].transpose(3, 2, 0, 1)


@pytest.mark.parametrize("form", ["torch-eager", "torch-channels-last", "torch-optimized"])
@pytest.mark.parametrize("case", CASES)
def test_torch_computes_what_matconvnet_does(case: str, form: str, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="torch is not installed")
    subject, x, expected = subject_of(case, tmp_path)
    given = x.copy()
    runner = PEERS["torch"][form](subject)
    assert_close(runner(x), expected, 1e-4, case)
    assert_close(x, given, 0, "the input, which stays as it was")


@pytest.mark.parametrize(("peer", "module"), [
    ("onnxruntime", "onnxruntime"), ("openvino", "openvino"), ("opencv-onnx", "cv2"), ("opencv-caffe", "cv2"),
])  # fmt: skip
@pytest.mark.parametrize("case", ["sn_alexnet", "dag_googlenet", "sn_bnorm"])
def test_peers_on_files_compute_what_matconvnet_does(case: str, peer: str, module: str, tmp_path: Path) -> None:
    found = pytest.importorskip(module, reason=f"{module} is not installed")
    if peer == "opencv-caffe" and not hasattr(found.dnn, "readNetFromCaffe"):
        pytest.skip("OpenCV 5 reads no Caffe files")
    subject, x, expected = subject_of(case, tmp_path)
    (contender,) = chosen_peers([peer])
    assert_close(contender.make(subject)(x).reshape(expected.shape), expected, 1e-3, case)


def test_ours_are_onnx_runtime_alone_and_all_runtimes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contenders, "available", lambda runtime: runtime == "openvino")
    assert [contender.name for contender in contenders.ours()] == ["matnet", "matnet-auto"]
    monkeypatch.setattr(contenders, "available", lambda runtime: False)
    assert [contender.name for contender in contenders.ours()] == ["matnet"]
    assert [contender.name for contender in contenders.ours("onnx", "openvino")] == ["matnet-onnx-openvino"]
