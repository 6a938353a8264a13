"""Backends, devices, precisions and batch sizes: what is chosen, and what is said where it is not to be had.

No GPU is needed: a stand-in for CuPy answers as CUDA's documentation says that a machine of each kind would.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from matnet import EngineError, Layer, Network, NetworkError, OutOfMemoryError
from matnet.arguments import add_engine_options, engine_options
from matnet.engines import EngineOptions, choose, compile_network, parse_device
from matnet.engines.batches import Halving, run_in_batches
from matnet.engines.cupy import probe
from matnet.engines.device import Device
from matnet.engines.numpy_engine import NumpyEngine
from matnet.errors import MatnetError
from matnet.eval import main as eval_main
from matnet.evaluation.shard import on_own_gpu
from matnet.ops.activation import ReLU
from matnet.ops.combine import Concat
from matnet.ops.extensions.recurrent import RNN
from matnet.run import main as run_main
from tests.conftest import DATA
from tests.helpers import assert_line, chain

X = np.random.default_rng(7).standard_normal((5, 6, 7, 11)).astype(np.float32)


def cupy_stand_in(
    runtime: int = 13020, devices: int = 1, capability: tuple[int, int] = (9, 0), failure: Exception | None = None
) -> SimpleNamespace:
    """A module that answers the questions of matnet.engines.cupy.probe, and computes with numpy."""

    def count() -> int:
        if failure is not None:
            raise failure
        return devices

    def properties(index: int) -> dict[str, Any]:
        return {"name": b"Test GPU", "major": capability[0], "minor": capability[1], "totalGlobalMem": 1 << 34}

    calls = SimpleNamespace(
        runtimeGetVersion=lambda: runtime, getDeviceCount=count, getDevice=lambda: 0, getDeviceProperties=properties
    )

    class OneDevice:
        def __init__(self, index: int) -> None:
            self.index = index

        def __enter__(self) -> None: ...

        def __exit__(self, *error: object) -> None: ...

    compiler = SimpleNamespace(CompileException=type("CompileException", (Exception,), {}))
    cuda = SimpleNamespace(runtime=calls, Device=OneDevice, compiler=compiler)
    return SimpleNamespace(__version__="14.2.0", cuda=cuda, ones=np.ones, matmul=np.matmul, float32=np.float32)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Makes this machine one with a driver for some CUDA (None: no driver) and the given cupy module (None: none)."""

    def become(driver: int | None, module: Any) -> None:
        monkeypatch.setattr(probe, "driver_version", lambda: driver)
        monkeypatch.setattr(probe, "cupy_installed", lambda: module is not None)
        monkeypatch.setattr(probe, "DRIVER_FILE", Path("/nowhere"))
        monkeypatch.setitem(sys.modules, "cupy", module)
        probe.forget()

    yield become
    probe.forget()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cpu", Device("cpu")),
        ("gpu", Device("gpu")),
        ("GPU:2", Device("gpu", 2)),
        ("cuda:0", Device("gpu", 0)),
        ("cuda", Device("gpu")),
        (None, None),
    ],
)
def test_device_names(text: str | None, expected: Device | None) -> None:
    assert parse_device(text) == expected


def test_several_devices_are_gpus_by_number() -> None:
    found = parse_device("gpu:2, cuda:0")
    assert found is not None and found.each == ["gpu:2", "gpu:0"]
    assert EngineOptions("cupy", device="gpu:0,gpu:1").parsed_device is not None
    for text in ("gpu,gpu:1", "gpu:0,gpu:0", "cpu,gpu:1", "gpu:0,"):
        with pytest.raises(EngineError, match="gpu:0,gpu:1"):
            parse_device(text)


@pytest.mark.parametrize(
    ("worker", "device"), [("0", "gpu:3"), ("1", "gpu:5"), ("host-2", "gpu:3"), ("tcp://a", "gpu:3")]
)
def test_a_dask_worker_takes_one_gpu_of_several(worker: str, device: str) -> None:
    options = EngineOptions("cupy", device="gpu:3,gpu:5")
    assert on_own_gpu(options, worker).device == device
    assert on_own_gpu(EngineOptions("cupy", device="gpu:1"), "7").device == "gpu:1"


@pytest.mark.parametrize("text", ["", "gpu:", "gpu:-1", "gpu:x", "tpu", "cpu:0", "gpu:99999"])
def test_wrong_device_names(text: str) -> None:
    with pytest.raises(EngineError, match="expected cpu, gpu, gpu:N"):
        parse_device(text)


NO_DEVICE = RuntimeError("cudaErrorNoDevice: no CUDA-capable device is detected")


@pytest.mark.parametrize(
    ("driver", "module", "wanted", "told"),
    [
        (None, cupy_stand_in(), {}, r"no NVIDIA driver is installed; install it, or use the CPU"),
        (13000, None, {}, r'CuPy is not installed; install it with .*"cupy-cuda13x\[ctk\]"'),
        (12080, None, {}, r'CuPy is not installed; install it with .*"cupy-cuda12x\[ctk\]"'),
        (11080, None, {}, r"update the NVIDIA driver \(for CUDA 11\.8\), then install cupy-cuda12x"),
        (12080, cupy_stand_in(), {}, r"supports CUDA 12\.8, but CuPy 14\.2\.0 needs CUDA 13\.2: update .*12x"),
        (13000, cupy_stand_in(devices=0), {}, r"no GPU was found by the NVIDIA driver \(is CUDA_VISIBLE_DEVICES empty"),
        (13000, cupy_stand_in(failure=NO_DEVICE), {}, r"CUDA: cudaErrorNoDevice: no CUDA-capable"),
        (13000, cupy_stand_in(devices=2), {"device": "gpu:3"}, r"'gpu:3' does not exist; expected gpu:0, gpu:1"),
        (13000, cupy_stand_in(capability=(7, 0)), {}, r"has compute capability 7\.0, but CUDA 13\.2 needs 7\.5"),
        (13000, cupy_stand_in(capability=(7, 5)), {"precision": "tf32"}, r"TF32 tensor cores need 8\.0; use .*fp32"),
        (
            13000,
            cupy_stand_in(runtime=12080, capability=(6, 1)),
            {"precision": "fp16"},
            r"gpu:0 \(Test GPU\) has compute capability 6\.1, but FP16 tensor cores need 7\.0; use precision 'fp32'",
        ),
    ],
)
def test_what_a_gpu_needs(machine: Any, driver: int | None, module: Any, wanted: dict[str, str], told: str) -> None:
    machine(driver, module)
    net = chain((ReLU(), ()))
    with pytest.raises(EngineError, match=told) as error:
        compile_network(net, backend="cupy", **wanted)
    assert "\n" not in str(error.value)
    if wanted:  # whoever asks for a certain GPU or precision is told as well when the backend is left open
        with pytest.raises(EngineError, match=told):
            compile_network(net, backend="auto", **wanted)
    else:
        compiled = compile_network(net, backend="auto")
        assert compiled.backend in ("onnx", "numpy")
        assert (compiled.device, compiled.precision) == ("cpu", "fp32")
        note = str(error.value).removesuffix(f", {probe.INSTEAD}")
        note = note.removesuffix("; install it") if driver is None else note  # no advice where no GPU is asked for
        assert compiled.notes == ([f"computing on the CPU: {note}"] if module is not None else [])


def test_a_damaged_cupy_does_not_stop_auto(machine: Any) -> None:
    """The module can be found but not used: its first call fails as one does whose CUDA libraries are missing."""
    module = cupy_stand_in()
    module.ones = lambda *shape, **kind: (_ for _ in ()).throw(RuntimeError("libnvrtc.so.13 cannot be opened\nmore"))
    machine(13000, module)
    compiled = compile_network(chain((ReLU(), ())), backend="auto")
    assert compiled.backend in ("onnx", "numpy")
    (note,) = compiled.notes
    assert_line(note, "gpu:0 (Test GPU)", "libnvrtc.so.13", "install")


def test_auto_takes_a_usable_gpu(machine: Any) -> None:
    machine(13020, cupy_stand_in())
    assert choose() == ("cupy", ())
    assert choose(Device("gpu", 0), "fp16") == ("cupy", ())
    assert choose(Device("cpu")).backend in ("onnx", "numpy")


def test_a_machine_without_gpu_and_cupy_hears_nothing_of_them(machine: Any) -> None:
    machine(None, None)
    assert choose().notes == ()


def test_a_gpu_is_probed_once(machine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether it is there or not; a precision that it lacks is an error each time."""
    machine(13020, cupy_stand_in(capability=(7, 5)))
    probes: list[str] = []
    tried = probe._try_out
    monkeypatch.setattr(probe, "driver_version", lambda: probes.append("driver") or 13020)
    monkeypatch.setattr(probe, "_try_out", lambda *given: probes.append("kernel") or tried(*given))
    for _ in range(2):
        assert choose().backend == "cupy"
        with pytest.raises(EngineError, match="TF32"):
            choose(None, "tf32")
    assert probes == ["driver", "kernel"]
    machine(None, None)
    monkeypatch.setattr(probe, "driver_version", lambda: probes.append("none"))
    assert {choose().backend for _ in range(2)} <= {"onnx", "numpy"}
    assert probes[2:] == ["none"]


def test_options_are_one_value_or_keywords() -> None:
    net = chain((ReLU(), ()))
    assert net.compile(options=EngineOptions("onnx", threads=1)).options.threads == 1
    assert net.compile(backend="onnx", threads=None).options == EngineOptions("onnx")
    with pytest.raises(EngineError, match=r"as keywords \(threads\), not both"):
        net.compile(options=EngineOptions("onnx"), threads=2)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"thread": 2}, "unknown engine option 'thread'; nearest: threads"),
        ({"backend": "onxx"}, "unknown backend 'onxx'; nearest: onnx"),
        ({"backend": "onnx", "threads": 0}, "threads is 0; expected an integer >= 1"),
        ({"backend": "numpy", "precision": "fp16"}, "backend 'numpy' supports only fp32; precision 'fp16' needs"),
        ({"backend": "onnx", "precision": "tf32"}, "backend 'onnx' supports only fp32; precision 'tf32' needs"),
        ({"backend": "onnx", "device": "gpu"}, "backend 'onnx' runs on the CPU; for a GPU use"),
        ({"backend": "cupy", "device": "cpu"}, "backend 'cupy' runs on a GPU; for device 'cpu' use"),
        ({"precision": "fp23"}, "unknown precision 'fp23'; nearest: fp32"),
        ({"backend": "numpy", "threads": 2}, "backend 'numpy' does not support option threads"),
    ],
)
def test_what_does_not_go_together(options: dict[str, Any], told: str) -> None:
    with pytest.raises(EngineError, match=told):
        compile_network(chain((ReLU(), ())), **options)


def test_auto_says_which_options_it_leaves_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    compiled = compile_network(chain((ReLU(), ())), backend="auto", device="cpu", threads=2)
    (note,) = compiled.notes
    assert_line(note, "threads", "'numpy'")


def test_the_cudnn_frontend_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "find_spec", lambda name: None)
    with pytest.raises(EngineError, match=r"pip install nvidia-cudnn-frontend nvidia-cudnn-cu12`"):
        probe.import_cudnn(12080)


@pytest.mark.parametrize(
    "arguments",
    [["--device", "tpu"], ["--precision", "int8"], ["--threads", "0"], ["--threads", "two"], ["--backend", "cuda"]],
)
def test_wrong_arguments_are_usage_errors(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    command = argparse.ArgumentParser()
    add_engine_options(command)
    with pytest.raises(SystemExit) as stopped:
        command.parse_args(arguments)
    assert stopped.value.code == 2
    assert f"argument {arguments[0]}" in capsys.readouterr().err


def test_arguments_as_options() -> None:
    command = argparse.ArgumentParser()
    add_engine_options(command, backend="numpy")
    found = engine_options(command.parse_args(["--device", "cuda:1", "--precision", "fp16", "--threads", "2"]))
    assert found == EngineOptions("numpy", "cuda:1", "fp16", 2, runtime=None, batch_size=None, strict=False)


@pytest.mark.parametrize("batch_size", [1, 2, 3, 5, 9, None])
def test_results_do_not_depend_on_the_batch_size(batch_size: int | None) -> None:
    found = run_in_batches(compile_network(chain((ReLU(leak=0.1), ()))), X, batch_size)
    np.testing.assert_array_equal(found["a"], np.where(X > 0, X, np.float32(0.1) * X))


def test_images_that_meet_are_not_taken_apart() -> None:
    net = Network()
    net.add(Layer("join", Concat(dim=4), ["a", "b"], ["y"]))
    with pytest.raises(NetworkError, match=r"layer 'join' .dagnn.Concat. .*batch size"):
        run_in_batches(compile_network(net), {"a": X, "b": X}, 2)
    recurrent = Network()
    recurrent.add(Layer("rnn", ReLU(), ["x"], ["y"]))
    engine = compile_network(recurrent)
    engine.layers[0].op = RNN()
    with pytest.raises(NetworkError, match=r"layer 'rnn' .* images_independent"):
        run_in_batches(engine, X, 2)


class Small(NumpyEngine):
    """An engine with memory for `room` images that triples them; `sizes` are the batches that it was given."""

    def __init__(self, net: Network, room: int) -> None:
        super().__init__(net)
        self.room, self.sizes = room, list[int]()

    def run(self, values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        (x,) = values.values()
        self.sizes.append(len(x))
        if len(x) > self.room:
            raise OutOfMemoryError(f"{len(x)} images do not fit in memory", len(x))
        return {"a": 3 * x}


def test_a_batch_that_does_not_fit_is_halved(caplog: pytest.LogCaptureFixture) -> None:
    """5 images and room for 2: 5, 3 and then 2 at a time; later batches start with 2."""
    engine = Small(chain((ReLU(), ())), room=2)
    halving = Halving(engine)
    for _ in range(2):
        np.testing.assert_array_equal(halving(X)["a"], 3 * X)
    assert engine.sizes == [5, 3, 2, 2, 1, 2, 2, 1]
    assert (halving.halved_from, halving.limit) == (5, 2)
    numbers = [[int(word) for word in record.getMessage().split() if word.isdigit()] for record in caplog.records]
    assert numbers == [[5, 3], [3, 2]]
    assert {record.levelname for record in caplog.records} == {"WARNING"}


@pytest.mark.parametrize(("strict", "room", "sizes"), [(True, 2, [5]), (False, 0, [5, 3, 2, 1])])
def test_where_halving_ends(strict: bool, room: int, sizes: list[int]) -> None:
    engine = Small(chain((ReLU(), ())), room)
    with pytest.raises(OutOfMemoryError) as error:
        Halving(engine, strict)(X)
    assert engine.sizes == sizes
    assert error.value.batch_size == sizes[-1]


def test_run_reports_engine_device_and_precision(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, out = DATA / "matconvnet" / "sn_relu", tmp_path / "out.npz"
    arguments = [str(folder / "model.mat"), str(folder / "io.npz"), str(out), "--layout", "hwcn", "--json"]
    assert run_main([*arguments, "--device", "cpu", "--precision", "fp32"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["backend"], told["device"], told["precision"]) == ("numpy", "cpu", "fp32")
    with pytest.raises(MatnetError, match="supports only fp32"):
        run_main([*arguments, "--precision", "fp16"])


@pytest.mark.process
def test_evaluation_goes_on_with_half_a_batch(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """digits-lenet on 40 images with memory for 10: the figures are those of an engine with room for all."""
    from matnet.engines.layer_by_layer import LayerByLayer

    arguments = ["--limit", "40", "--backend", "numpy", "--json", "--quiet", "--batch-size", "20"]
    assert eval_main(arguments) == 0
    expected = json.loads(capsys.readouterr().out)
    full = LayerByLayer.__call__

    def limited(self: Any, values: dict[str, np.ndarray], wanted: Any) -> dict[str, Any]:
        if max(len(value) for value in values.values()) > 10:
            raise MemoryError("Unable to allocate 9 GiB for an array")
        return full(self, values, wanted)

    monkeypatch.setattr(LayerByLayer, "__call__", limited)
    assert eval_main(arguments) == 0
    told = capsys.readouterr()
    found = json.loads(told.out)
    assert (found["batch_size"], found["batch_halved_from"]) == (10, 20)
    assert (expected["batch_size"], expected["batch_halved_from"]) == (20, None)
    assert [found[name] for name in ("top1_error", "top5_error")] == [expected["top1_error"], expected["top5_error"]]
    (line,) = [line for line in told.err.splitlines() if "continuing" in line]
    assert line.startswith("matnet: inputs of 20x1x8x8 do not fit in the memory of cpu (Unable to allocate 9 GiB")
    with pytest.raises(OutOfMemoryError, match="20x1x8x8") as error:
        eval_main([*arguments, "--strict"])
    assert error.value.batch_size == 20


def test_a_want_of_memory_in_onnx_runtime_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its arena's message, as it stands in onnxruntime/core/framework/bfc_arena.cc."""
    state = pytest.importorskip("onnxruntime.capi.onnxruntime_pybind11_state")
    engine: Any = compile_network(chain((ReLU(), ())), backend="onnx")
    engine(X)
    session = next(iter(engine._programs.values())).runs[0]

    def fail(*arguments: Any) -> None:
        raise state.RuntimeException("Failed to allocate memory for requested buffer of size 9663676416")

    monkeypatch.setattr(session, "_session", SimpleNamespace(run=fail))
    with pytest.raises(OutOfMemoryError, match="5x6x7x11 do not fit in the memory of cpu") as error:
        engine(X)
    assert error.value.batch_size == 5
