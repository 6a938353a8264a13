"""The benchmark on a GPU, as far as it goes without one: order and time, recorded networks, floors, pages."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest

import matnet
from matnet.benchmarks import gpu
from matnet.benchmarks.device import agreement, ceilings, conformance, kernels, memory, preflight, stages
from matnet.benchmarks.device.budget import TimeBudget, TimedTask, run_tasks
from matnet.benchmarks.device.engine import gpu_runner
from matnet.benchmarks.device.kernels import StepTime, by_kind, step_bytes, step_operations
from matnet.benchmarks.device.page import page
from matnet.benchmarks.device.stages import STAGES, Session, tasks_of
from matnet.benchmarks.measure import checked
from matnet.benchmarks.models import build
from matnet.benchmarks.peers import Subject
from matnet.benchmarks.rows import EngineRow, Report
from matnet.benchmarks.targets import gpu_verdicts
from matnet.benchmarks.timing import TimeLimits
from matnet.command_line import run_command
from matnet.engines.cupy import choice
from matnet.engines.cupy.lower import lower
from matnet.engines.cupy.probe import Gpu
from matnet.engines.cupy.schedules import planned_for
from matnet.errors import DataError, EngineError
from matnet.files import models_folder
from tests import fake_cuda
from tests.conftest import DATA, assert_close
from tests.helpers import assert_line


class Clock:
    """Time that passes only when a task says that it took some."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_tasks_run_in_order_while_they_fit_and_smaller_ones_after_a_large_one() -> None:
    clock, ran = Clock(), []

    def task(name: str, estimate: float, taken: float) -> TimedTask:
        def act() -> None:
            ran.append(name)
            clock.now += taken

        return TimedTask(name, estimate, act)

    tasks = [task("a", 40, 50), task("b", 60, 60), task("c", 10, 10), task("d", 45, 1)]
    found = run_tasks(tasks, TimeBudget(100, clock))
    assert ran == ["a", "c"]
    assert [(outcome.status, outcome.seconds) for outcome in found] == [
        ("ok", 50),
        ("not started: only 50 s left", 0),
        ("ok", 10),
        ("not started: only 40 s left", 0),
    ]


def test_a_task_that_fails_leaves_the_others() -> None:
    def fail() -> None:
        raise ValueError("the GPU\nis busy")

    said: list[str] = []
    run_tasks(
        [TimedTask("a", 1, fail), TimedTask("b", 1, lambda: None)],
        TimeBudget(10, Clock()),
        lambda outcome: said.append(f"{outcome.name}: {outcome.status}"),
    )
    assert said == ["a: failed: the GPU is busy", "b: ok"]


# -- recorded networks --------------------------------------------------------------------------------


def test_all_recorded_networks_are_found() -> None:
    found = [case.name for case in conformance.cases(DATA)]
    folders = [io.parent for kind in conformance.KINDS for io in (DATA / kind).glob("*/io.npz")]
    assert len(found) == len(set(found)) == len(folders)
    with pytest.raises(DataError, match="no recorded networks"):
        conformance.cases(DATA / "nowhere")


@pytest.mark.process
@pytest.mark.parametrize("name", ["matconvnet/sn_alexnet", "matconvnet/dag_fcn8s", "metrics/eval_ties", "caffe/lstm"])
def test_the_numpy_backend_is_as_recorded(name: str) -> None:
    kind, _, folder = name.partition("/")
    outcome = conformance.check(conformance.Case(kind, DATA / kind / folder), "numpy")
    assert outcome.status == "ok"
    assert outcome.outputs >= 2
    assert 0 <= outcome.worst <= 1e-5


@pytest.mark.parametrize(("found", "expected", "distance"), [
    ([[1.0, 4.0]], [[1.0, 5.0]], 0.2),
    ([[0.0, 2e-5]], [[0.0, 1e-5]], 0.01),  # nothing here is greater than 1e-3, which counts as the scale
    ([[1.0, np.nan]], [[1.0, np.nan]], 0.0),
    ([[1.0, np.nan]], [[1.0, 1.0]], np.inf),
    ([[1.0, 2.0]], [[1.0, -np.inf]], np.inf),
])  # fmt: skip
def test_distance_from_the_record(found: list, expected: list, distance: float) -> None:
    measured = conformance.relative_distance(np.array(found, np.float32), np.array(expected, np.float32))
    np.testing.assert_allclose(measured, distance, rtol=1e-3)


def test_a_wrong_output_is_named() -> None:
    outcome = conformance.CaseResult("case", "fp32")
    x = np.ones((2, 6, 7, 11), np.float32)
    conformance.compare(outcome, {"a": x, "b": 1.5 * x}, {"a": x, "b": x}, ["a", "b"])
    assert_line(outcome.status, "failed", "b", "0.5")
    assert outcome.variable == "b"
    conformance.compare(outcome, {"a": x[:1]}, {"a": x}, ["a"])
    assert_line(outcome.status, "failed", "a", "(1, 6, 7, 11)", "(2, 6, 7, 11)")


# -- the command --------------------------------------------------------------------------------------


@pytest.mark.process
def test_the_command_checks_all_networks_on_any_backend(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "r.json"
    arguments = ["--backend", "numpy", "--only", "conformance", "--precision", "fp32"]
    assert gpu.main([*arguments, "--json", str(target)]) == 0
    record = json.loads(target.read_text())
    entries = record["sections"]["conformance"]
    assert len(entries) == len(conformance.cases(DATA))
    assert {entry["status"] for entry in entries} == {"ok"}
    assert [part["name"] for part in record["sections"]["parts"]] == ["conformance, fp32"]
    assert_line(capsys.readouterr().out, "fp32", f"{len(entries)} of {len(entries)}", "0.0001")


def test_a_report_is_shown_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Report([], {}, [], {"agreement": ["PASS  tf32: all"]}).write(tmp_path / "r.json")
    assert gpu.main(["--from", str(tmp_path / "r.json"), "--markdown", str(tmp_path / "r.md")]) == 0
    assert "- PASS  tf32: all" in capsys.readouterr().out
    assert "- PASS  tf32: all" in (tmp_path / "r.md").read_text()


@pytest.mark.process
def test_what_does_not_hold_is_named_once_for_all_networks_and_sets_the_status(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("matconvnet/dag_sum2", "caffe/ip_chain"):
        shutil.copytree(DATA / name, tmp_path / name)
    arguments = ["--backend", "numpy", "--only", "conformance", "--precision", "fp16", "--data", str(tmp_path)]
    assert gpu.main([*arguments, "--markdown", str(tmp_path / "r.md")]) == 1
    text = (tmp_path / "r.md").read_text()
    assert text.count("numpy' supports only fp32") == 1
    assert "## Not done" in capsys.readouterr().out


def test_no_time_means_nothing_begun(capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu.main(["--backend", "numpy", "--only", "conformance,speed", "--budget", "0.01"]) == 0
    text = capsys.readouterr().out
    assert "conformance, fp32: not started" in text
    assert "speed, vgg16, batch 256, fp32: not started" in text


@pytest.mark.parametrize(("arguments", "said"), [
    (["--only", "everything"], "comma-separated list of ceilings, conformance, "),
    (["--precision", "fp8"], "comma-separated list of fp32, tf32, fp16"),
    (["--batch", "many"], "expected comma-separated integers"),
    (["--budget", "0"], "--budget is 0; expected more than 0"),
    (["--models", "alexnett"], "unknown model 'alexnett'"),
    (["--json", "nowhere/r.json"], "the folder nowhere does not exist"),
])  # fmt: skip
def test_bad_input_is_one_sentence(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(gpu.main, ["--backend", "numpy", *arguments]) == 2
    assert said in capsys.readouterr().err


def test_without_a_gpu_the_command_says_so(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*arguments: object) -> None:
        raise EngineError("no GPU can be used")

    monkeypatch.setattr("matnet.engines.cupy.probe.find_gpu", none)
    assert run_command(gpu.main, []) == 2
    assert capsys.readouterr().err.endswith("matnet: no GPU can be used\n")


def test_what_matters_most_comes_first() -> None:
    """The ceilings, which figures stand beside; every check; batches of 16 and 1 in FP16 and TF32; then the rest."""
    session = Session("cupy", ["alexnet", "vgg16"], [256, 16, 1], ["fp16", "tf32", "fp32"])
    names = [task.name for task in tasks_of(session, STAGES)]
    assert names[:5] == [
        "ceilings", "conformance, fp32", "conformance, fp16", "conformance, tf32", "agreement over real images",
    ]  # fmt: skip
    first = [f"speed, {net}, batch {n}, {p}" for n in (16, 1) for p in ("fp16", "tf32") for net in ("alexnet", "vgg16")]
    assert names[5:13] == first
    assert names[13:15] == ["memory, alexnet", "memory, vgg16"]
    assert names[15:19] == [f"{name}, compiled" for name in first[:4]]
    rest = [name for name in names[19:] if name.startswith("speed")]
    assert len(rest) == 2 * (3 * 3 - 4) and not set(rest) & set(first)
    assert [name for name in names if name.startswith("kernels")] == names[-6:]


def test_what_tasks_of_a_kind_have_taken_counts_for_the_next() -> None:
    """Two tasks were to take 40 s each and took 10 s: the third fits into the 30 s that are left."""
    clock = Clock()

    def act() -> None:
        clock.now += 10

    tasks = [TimedTask(name, 40, act, "speed") for name in "abc"]
    assert [outcome.status for outcome in run_tasks(tasks, TimeBudget(50, clock))] == ["ok", "ok", "ok"]


# -- all of it on stand-ins that refuse what the real libraries refuse ---------------------------------


class Peer:
    """In place of torch: numpy's own numbers, also as something whose input lies on the device."""

    def __init__(self, subject: Subject) -> None:
        self.subject = subject

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return self.subject.net.forward(x, [self.subject.output])[self.subject.output]

    def resident(self, x: np.ndarray) -> Any:
        return lambda: None


@pytest.fixture
def whole_run(machine: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """The arguments of a run over few networks; what needs torch is stood in for."""
    torch = SimpleNamespace(__version__="2", cuda=SimpleNamespace(is_available=lambda: True))
    monkeypatch.setattr("matnet.engines.cupy.probe.find_gpu", lambda: Gpu(0, "stand-in", (9, 0), 1 << 34, 13000, 13000))
    monkeypatch.setattr(stages, "imported", lambda module, package: torch)
    monkeypatch.setattr(stages, "TORCH_GPU_FORMS", dict.fromkeys(stages.TORCH_GPU_FORMS, Peer))
    monkeypatch.setattr(ceilings, "matmul_peaks", lambda torch: {"fp32": 1e12, "tf32": 4e12, "fp16": 8e12})
    monkeypatch.setattr(ceilings, "copy_bandwidth", lambda torch: 1e12)
    monkeypatch.setattr(ceilings, "transfer_bandwidth", lambda torch: 1e10)
    monkeypatch.setattr(memory.device_memory, "__defaults__", (2, 3))
    monkeypatch.setattr(stages, "LIMITS", TimeLimits(rounds=1, seconds=1, turn=0.0, pause=0.0))
    monkeypatch.setattr(kernels, "RUNS", 2)
    monkeypatch.setattr(stages, "KERNEL_BATCH", 2)
    monkeypatch.delenv(agreement.REAL_DATA, raising=False)
    data = tmp_path / "data"
    for name in ("matconvnet/sn_conv_fc", "matconvnet/dag_sum2", "caffe/ip_chain"):
        shutil.copytree(DATA / name, data / name)
    model = models_folder() / "digits-lenet" / "digits-lenet.mat"
    return ["--models", str(model), "--batch", "2", "--precision", "fp16", "--data", str(data)]


def test_one_call_proves_all_of_it(
    whole_run: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Checks and figures are those of replayed graphs; what could not be done is named; plans are timed once."""
    files = {name: tmp_path / f"gpu.{name}" for name in ("json", "markdown", "plans")}
    arguments = [*whole_run, *(word for name, file in files.items() for word in (f"--{name}", str(file)))]
    assert gpu.main(arguments) == 0
    record = json.loads(files["json"].read_text())
    left = {part["name"]: part["status"] for part in record["sections"]["parts"] if part["status"] != "ok"}
    assert list(left) == ["agreement over real images"]
    assert "agreement over real images: failed: MATNET_REAL_DATA is not set" in files["markdown"].read_text()
    assert len(record["sections"]["parts"]) == 8
    entries = record["sections"]["conformance"]
    assert [entry["precision"] for entry in entries] == ["fp32"] * 3 + ["fp16"] * 3
    assert {path for entry in entries for path in entry["paths"]} == {"1 graph"}
    assert {row["runtime"] for row in record["rows"] if row["engine"] == "matnet-cupy"} == {"1 graph"}
    assert {row["engine"] for row in record["rows"]} == {"matnet-cupy", *stages.TORCH_GPU_FORMS}
    assert record["sections"]["memory"][0]["batches"] == 3
    assert "% of the roofline" in files["markdown"].read_text()
    assert record["sections"]["kernels"][0]["kinds"]
    plans = json.loads(files["plans"].read_text())
    assert plans and any(key.startswith("way ") for key in plans)
    monkeypatch.setenv("MATNET_HOME", str(tmp_path / "another"))  # the next call, on a bare machine
    monkeypatch.setattr(choice.Chooser, "_timed", None)
    assert gpu.main([*arguments, "--only", "first-speed,speed,kernels"]) == 0
    capsys.readouterr()


def test_a_graph_that_computes_nothing_sets_the_status(whole_run: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Its outputs are those of the first run, which is why that one gets other values."""
    end = fake_cuda.Stream.end_capture
    idle = SimpleNamespace(launch=lambda stream=None: None, upload=lambda stream=None: None)
    monkeypatch.setattr(fake_cuda.Stream, "end_capture", lambda self: idle if end(self) else None)
    assert gpu.main([*whole_run, "--only", "conformance"]) == 1


def test_the_roofline_of_a_network_is_the_sum_of_its_steps() -> None:
    """At 10 bytes and 5 operations a second: 20 s for 200 bytes and 40 s for 200 operations, of 240 s measured."""
    work = [[200, 0], [100, 200]]
    own = EngineRow("alexnet", "random", 1, "matnet-cupy", "fp16", seconds=[240.0], work=work, operations=200)
    peer = EngineRow("alexnet", "random", 1, "torch", "fp16", seconds=[480.0], operations=200)
    report = Report([own, peer], {"matmul_flop_per_s": {"fp16": 5.0}, "copy_bytes_per_s": 10.0})
    assert gpu_verdicts(report)[0].line().endswith("to torch, at 17 % of the peak, at 25 % of the roofline")


def test_an_engine_that_repeats_its_first_output_is_noticed() -> None:
    """As a recorded graph would that computes nothing: the run that is compared is the second, on other values."""
    x = np.random.default_rng(0).standard_normal((2, 3, 4, 5)).astype(np.float32)
    seen: list[np.ndarray] = []

    def stale(value: np.ndarray) -> np.ndarray:
        seen.append(value)
        return seen[0]

    row = EngineRow("net", "random", 2, "matnet-cupy", "fp16")
    checked(row, stale, x, x)
    assert row.status.startswith("failed: output differs by")
    checked(row := EngineRow("net", "random", 2, "matnet-cupy", "fp16"), lambda value: value, x, x)
    assert (row.status, row.difference) == ("ok", 0.0)


def test_the_command_line_of_the_script() -> None:
    """run.sh passes options that the command knows, and installs without dependencies."""
    text = (Path(gpu.__file__).parent / "device" / "run.sh").read_text()
    assert "--no-deps" in text and "nvidia-cudnn-frontend pooch platformdirs" in text
    known = {option for action in gpu.parser()._actions for option in action.option_strings}
    command = text.partition("-m matnet.benchmarks.gpu \\\n")[2]
    used = {word for word in command.split() if word.startswith("--")}
    assert used and used <= known
    if shutil.which("sh"):
        subprocess.run(["sh", "-n"], input=text, text=True, check=True, timeout=30)


# -- packages, images, memory, kernels ----------------------------------------------------------------


def test_missing_packages_are_named_with_the_loss_and_the_way() -> None:
    lacking = preflight.missing(lambda module: module not in ("pooch", "cudnn"))
    assert [item.package for item in lacking] == ["nvidia-cudnn-frontend", "pooch"]
    assert "convolutions run in CuPy" in lacking[0].line()
    with_network, without, then = preflight.how_to_install(lacking)
    assert "nvidia-cudnn-frontend pooch" in with_network and "nvidia-cudnn-frontend pooch" in without
    assert "--no-deps" in without and "run.sh" in then


def test_agreement_needs_images(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(agreement.REAL_DATA, raising=False)
    with pytest.raises(DataError, match="MATNET_REAL_DATA is not set"):
        agreement.real_data()
    monkeypatch.setenv(agreement.REAL_DATA, str(tmp_path))
    with pytest.raises(DataError, match="no subfolder caffe"):
        agreement.real_data()


def test_agreement_in_words() -> None:
    found = agreement.Agreement(100, {"tf32": 99, "fp16": 97})
    assert_line(found.line("tf32"), "PASS", "tf32", "99 of 100", "99 %")
    assert found.line("fp16").startswith("miss")


@pytest.mark.process
def test_squeezenet_agrees_with_itself_on_real_images(real_data: Path) -> None:
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    net, images = agreement.squeezenet(real_data)
    assert images.shape == (100, 3, 227, 227)
    assert agreement.agreement(net, images[:10], "onnx", ["fp32"]).same == {"fp32": 10}


@pytest.mark.process
def test_memory_is_counted_from_weights_and_the_two_largest_activations() -> None:
    """VGG-16: 138,357,544 weights; conv1_1 and conv1_2 hold 64 x 224 x 224 each (Simonyan and Zisserman, table 1)."""
    weights, activations = memory.floor_bytes(build("vgg16"), 3)
    assert weights == 4 * 138_357_544
    assert activations == 2 * 4 * 3 * 64 * 224 * 224


def test_the_floor_of_a_step_is_bytes_or_operations() -> None:
    """At 10 bytes and 5 operations a second: 200 / 10 = 20 s and 200 / 5 = 40 s."""
    times = [
        StepTime("lrn", "LRN", 30.0, 200, 0),
        StepTime("conv1", "product", 50.0, 100, 200),
        StepTime("conv2", "product", 60.0, 200, 50),
    ]
    assert [time.floor(10, 5) for time in times] == [20, 40, 20]
    assert by_kind(times, 10, 5) == [
        {"how": "product", "steps": 2, "seconds": 110, "floor": 60},
        {"how": "LRN", "steps": 1, "seconds": 30, "floor": 20},
    ]


@pytest.mark.process
@pytest.mark.parametrize(("precision", "size"), [("tf32", 4), ("fp16", 2)])
def test_bytes_and_operations_of_alexnets_first_steps(precision: str, size: int) -> None:
    """conv1: 3 x 227 x 227 to 96 x 55 x 55 by 11 x 11 filters; norm1 keeps its size; pool1 gives 27 x 27."""
    model = build("alexnet")
    planned = planned_for(model.net, [model.output])
    plan = lower(planned, {"data": model.input_shape(2)}, [model.output], precision)
    conv, norm, pool = plan.steps[1:4]
    pixels = {"data": 2 * 3 * 227 * 227, "conv1": 2 * 96 * 55 * 55, "pool1": 2 * 96 * 27 * 27}
    weights = 96 * 3 * 11 * 11 + 96
    assert step_bytes(planned, conv) == size * (pixels["data"] + pixels["conv1"] + weights)
    assert step_bytes(planned, norm) == size * 2 * pixels["conv1"]
    assert step_bytes(planned, pool) == size * (pixels["conv1"] + pixels["pool1"])
    assert step_operations(planned, conv) == 2 * pixels["conv1"] * 3 * 11 * 11
    assert step_operations(planned, pool) == 0


def test_the_engine_is_timed_on_resident_input_and_step_by_step(
    machine: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """On stand-ins for CUDA's libraries, whose clock says that everything takes 1 ms."""
    monkeypatch.setattr(kernels, "RUNS", 2)
    net = matnet.load(models_folder() / "digits-lenet" / "digits-lenet.mat").for_inference()
    (output,) = net.outputs
    runner = gpu_runner(Subject(net, output, (3, 1, 8, 8), 1, tmp_path, "fp16"))
    x = np.random.default_rng(5).random((3, 1, 8, 8), dtype=np.float32)
    assert_close(runner(x), net.forward(x)[output], 2e-2, output)
    program = runner._program(x)
    steps = Mock(wraps=program.steps, note="")
    monkeypatch.setattr(program, "steps", steps)
    runner.resident(x)()
    assert [call.args[0] for call in steps.call_args_list] == [program.device.computing] * 2  # it arrives, it is timed
    times = runner.step_times(x)
    assert [time.layer for time in times] == [step.layer for step in program.bound.steps]
    assert {time.seconds for time in times} == {0.0005}
    conv = next(time for time in times if "convolution" in time.how)
    assert conv.operations > 0
    assert conv.bytes > 0


def test_a_step_is_timed_as_a_graph_of_its_calls(machine: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python starts it once, and once for each call that is recorded; the turns launch the graph alone."""
    monkeypatch.setattr(kernels, "RUNS", 3)
    call = Mock(return_value=None)
    kernels.seconds_per_call(machine.cupy, call)
    assert call.call_count == 1 + 3


def test_the_page_shows_memory_and_bandwidth() -> None:
    entry = {"model": "vgg16", "batch": 64, "batches": 1000, "used": 1200, "used_at_end": 1200}
    entry |= {"weights": 600, "two_largest_activations": 400}
    text = page(Report([], {"copy_bytes_per_s": 3e12}, [], {"memory": [entry]}))
    assert "PASS  vgg16, batch 64" in text
    assert_line(text, "vgg16", "64", "1.20")
    assert "3000 GB/s: copies in device memory" in text
    kinds = [{"how": "LRN", "steps": 2, "seconds": 3e-5, "floor": 2e-5}]
    kernels = [{"model": "alexnet", "batch": 64, "precision": "fp16", "kinds": kinds, "steps": []}]
    assert_line(page(Report([], {}, [], {"kernels": kernels})), "LRN", "2 steps", "30 us", "1.50")
    entry["used_at_end"] = 1201
    assert "miss  vgg16" in page(Report([], {}, [], {"memory": [entry]}))
