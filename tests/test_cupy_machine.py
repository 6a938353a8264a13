"""The GPU engine's own calls of CuPy, cuBLAS, cuDNN and its kernels, on stand-ins that read memory by address.

The kernels are compiled for the processor, the libraries follow their documentation; expected numbers are numpy's.
"""

from __future__ import annotations

import gc
import itertools
import re
import shutil
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest

from matnet import EngineError, Network, NetworkError, OutOfMemoryError, ShapeError
from matnet.engines import EngineOptions, for_batches
from matnet.engines.cupy import blas, choice, device, kernels, libraries, transfer
from matnet.engines.cupy.capture import Replayed
from matnet.engines.cupy.probe import Gpu
from matnet.engines.cupy.steps import Multiply
from matnet.ops import extensions as ext
from matnet.ops.activation import ReLU, Sigmoid, SoftMax
from matnet.ops.combine import Concat, Scale, Sum
from matnet.ops.convolution import Conv, ConvTranspose
from matnet.ops.normalization import LRN, BatchNorm
from matnet.ops.pooling import Pooling
from matnet.ops.roi import ROIPooling
from tests import fake_cuda
from tests.conftest import assert_close
from tests.helpers import network, values

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not installed, which compiles the kernels")
X = (2, 6, 7, 11)
TOLERANCE = {"fp32": 1e-5, "tf32": 1e-5, "fp16": 4e-3}


FIRST = Conv(pad=(1, 2, 0, 3), stride=(2, 3)), ["x"], [values(3, 5, 6, 8), values(8, 1)]  # 4 x 4 x 8
GROUPED = Conv(pad=(1, 1, 1, 1), dilate=(1, 2)), ["a"], [values(3, 2, 4, 8), values(1, 8)]
NETS: dict[str, Network] = {
    "convolution": network(FIRST),
    "fused": network(FIRST, (ReLU(), ["a"], [])),
    "leaky": network(FIRST, (ReLU(leak=0.2), ["a"], [])),
    "grouped, dilated": network(FIRST, GROUPED),
    "residual": network(
        FIRST, (Conv(pad=(1, 1, 1, 1)), ["a"], [values(3, 3, 8, 8), values(8, 1)]), (Sum(), ["b", "a"], []),
        (ReLU(), ["c"], []),
    ),
    "no bias": network((Conv(hasBias=False, pad=(0, 1, 2, 0)), ["x"], [values(2, 3, 6, 5)])),
    "fully connected": network(
        FIRST, (Conv(), ["a"], [values(4, 4, 8, 9), values(9, 1)]), (ReLU(), ["b"], []),
        (Conv(), ["c"], [values(1, 1, 9, 5), values(5, 1)]), (SoftMax(), ["d"], []),
    ),
    "fully connected residual": network(
        (Conv(), ["x"], [values(7, 11, 6, 9), values(9, 1)]), (Conv(), ["a"], [values(1, 1, 9, 9), values(9, 1)]),
        (Sum(), ["b", "a"], []), (ReLU(leak=0.1), ["c"], []),
    ),
    "concatenation": network(
        (Conv(), ["x"], [values(1, 1, 6, 8), values(8, 1)]), (Pooling(poolSize=(3, 3), pad=(1, 1, 1, 1)), ["x"], []),
        (Conv(pad=(1, 1, 1, 1)), ["x"], [values(3, 3, 6, 10), values(10, 1)]), (ReLU(), ["c"], []),
        (Concat(), ["a", "d", "b"], []), (Conv(), ["e"], [values(1, 1, 24, 4), values(4, 1)]),
    ),
    "kernels": network(
        (Conv(), ["x"], [values(2, 3, 6, 8), values(8, 1)]), (LRN(), ["a"], []),
        (Pooling(poolSize=(3, 2), stride=(2, 1), pad=(0, 1, 1, 0)), ["b"], []),
        (Pooling(method="avg", poolSize=(2, 3), pad=(0, 1, 1, 1)), ["c"], []), (ReLU(leak=0.3), ["d"], []),
        (ext.CaffePooling(method="avg", poolSize=(3, 3), stride=(2, 2), pad=(1, 1, 1, 1)), ["e"], []),
        (ext.GlobalPooling(), ["f"], []), (SoftMax(), ["g"], []),
    ),
    "affine": network(
        (BatchNorm(), ["x"], [values(6, 1), values(6, 1), np.stack([values(6), 1 + values(6) ** 2], axis=1)]),
        (LRN(), ["a"], []), (Scale(), ["b"], [values(1, 1, 6), values(1, 1, 6)]), (LRN(), ["c"], []),
        (Scale(hasBias=False), ["d"], [values(7, 11, 6)]),
    ),
    "sums": network((Sigmoid(), ["x"], []), (ReLU(), ["x"], []), (Sum(), ["a", "b", "x"], [])),
    "transpose": network(
        (ConvTranspose(upsample=(2, 3), crop=(1, 0, 0, 1), numGroups=2), ["x"], [values(3, 4, 5, 6), values(10, 1)]),
        (ConvTranspose(hasBias=False), ["a"], [values(2, 1, 3, 10)]),
    ),
    "by the ops": network(
        (Sigmoid(), ["x"], []), (ext.TanH(), ["a"], []),
    ),
}  # fmt: skip


@pytest.mark.parametrize("precision", ["fp32", "tf32", "fp16"])
@pytest.mark.parametrize("name", NETS)
def test_networks_against_numpy(name: str, precision: str, machine: SimpleNamespace) -> None:
    """Every run: the first one by one, then as one recorded graph, on other values."""
    net = NETS[name]
    engine: Any = net.compile(backend="cupy", precision=precision)
    for seed in (3, 4, 5):
        x = values(*X, seed=seed)
        (expected,) = net.forward(x).values()
        (found,) = engine(x).values()
        assert_close(found, expected, TOLERANCE[precision], name)
        assert (engine.path, engine.gpu.computing.graphs > 0) == ("1 graph", True)
    assert (engine.device, engine.precision) == ("gpu:0 (stand-in)", precision)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("flatten", [False, True])
def test_boxes(flatten: bool, precision: str, machine: SimpleNamespace) -> None:
    """Pooled by a kernel; where a box is not finite the op says so, naming the layer, and the next run is as before."""
    net = network(FIRST, (ROIPooling(subdivisions=(2, 3), flatten=flatten, transform=0.5), ["a", "boxes"], []))
    boxes = np.array([[1, 1, 1, 7, 6], [2, 3, 2, 8, 8], [2, 9, 9, 4, 4]], np.float32).reshape(3, 5, 1, 1)
    broken, x = boxes.copy(), values(*X)
    broken[1, 2] = np.nan
    engine = net.compile(backend="cupy", precision=precision)
    expected = net.forward({"x": x, "boxes": boxes})["b"]
    for _ in range(2):
        assert_close(engine({"x": x, "boxes": boxes})["b"], expected, TOLERANCE[precision], "b")
        with pytest.raises(NetworkError, match=r"layer 'b' .*: a box has NaN"):
            engine({"x": x, "boxes": broken})


@pytest.mark.parametrize("refused", [{"add"}, {"bias"}, {"relu"}, {"conv", "dgrad"}])
@pytest.mark.parametrize("name", ["residual", "leaky", "concatenation", "transpose"])
def test_what_cudnn_refuses_is_finished_afterwards(name: str, refused: set[str], machine: SimpleNamespace) -> None:
    machine.cudnn.refused = refused
    net, x = NETS[name], values(*X)
    engine = net.compile(backend="cupy")
    for _ in range(2):
        (found,), (expected,) = engine(x).values(), net.forward(x).values()
        assert_close(found, expected, TOLERANCE["fp32"], name)
    assert not any(refused.intersection(nodes) for nodes, _ in machine.cudnn.ran)
    assert any("cuDNN has no plan" in note for note in engine.notes) == ("conv" in refused)


@pytest.mark.parametrize(("precision", "compute", "plan"), [("fp32", 68, 1), ("tf32", 77, 0), ("fp16", 68, 0)])
def test_precision_reaches_the_libraries(precision: str, compute: int, plan: int, machine: SimpleNamespace) -> None:
    """cuBLAS's numbers for 32F and FAST_TF32; in fp32 plan 0, which the stand-in marks as less exact, is not taken."""
    net = NETS["fully connected"]
    engine = net.compile(backend="cupy", precision=precision, autotune=False)
    engine(values(*X))
    assert set(machine.cublas.computed) == {compute}
    assert {index for _, index in machine.cudnn.ran} == {plan}


def test_plans_are_chosen_once_and_remembered_on_disk(
    machine: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    net, x = NETS["fused"], values(*X)
    # Milliseconds: plan 0 once, and in a graph of a single run; plan 1 likewise. Plan 2 needs more memory than allowed.
    seconds = iter([9.0, 8.0, 7.0, 6.0])
    monkeypatch.setattr(machine.cupy.cuda, "get_elapsed_time", lambda begin, end: next(seconds))
    net.compile(backend="cupy", precision="tf32")(x)
    (book,) = (machine.folder / "cudnn").iterdir()
    assert book.name == "stand-in-9.0-cudnn-92800.json"
    machine.cudnn.ran.clear()
    net.compile(backend="cupy", precision="tf32")(x)  # times nothing: `seconds` is used up
    assert {index for _, index in machine.cudnn.ran} == {1}


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"a": 1}'])
def test_a_damaged_cache_is_as_good_as_none(text: str, tmp_path: Path) -> None:
    path = tmp_path / "cudnn" / "gpu.json"
    path.parent.mkdir()
    path.write_text(text)
    book = choice.PlanBook(tmp_path, "gpu")
    assert book.get("graph") is None
    book.put("graph", "eng1")
    assert choice.PlanBook(tmp_path, "gpu").get("graph") == "eng1"


def test_a_batch_beyond_the_memory_limit(machine: SimpleNamespace) -> None:
    engine = NETS["fused"].compile(backend="cupy", memory_limit=20000)
    with pytest.raises(OutOfMemoryError, match=r"inputs of 50x6x7x11 .* gpu:0 \(stand-in\)") as error:
        engine(values(50, 6, 7, 11))
    assert error.value.batch_size == 50


BOXES = np.array([[1, 1, 2, 9, 6], [2, 3, 1, 4, 7], [1, 5, 5, 5, 5]], np.float32).reshape(3, 5, 1, 1)
REGIONS = network(
    (Conv(), ["x"], [values(1, 1, 6, 8), values(8, 1)]),
    (ROIPooling(subdivisions=(2, 3)), ["a", "boxes"], []),
    (Conv(), ["b"], [values(2, 3, 8, 4), values(4, 1)]),
)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_boxes_are_pooled_by_the_kernel(precision: str, machine: SimpleNamespace) -> None:
    """A box that holds NaN is an error of its own batch alone, though the next one is under way."""
    engine: Any = REGIONS.compile(backend="cupy", precision=precision)
    batches = [{"x": values(*X, seed=seed), "boxes": BOXES.copy()} for seed in range(3)]
    for _ in range(2):
        found = engine(batches[0])["c"]
        assert_close(found, REGIONS.forward(batches[0])["c"], TOLERANCE[precision], "c")
    batches[1]["boxes"][1, 2] = np.nan
    first, second = engine.submit(batches[0]), engine.submit(batches[1])
    assert first.result().keys() == {"c"}
    third = engine.submit(batches[2])
    with pytest.raises(NetworkError, match=r"'b' \(ROI pooling\).*NaN"):
        second.result()
    assert_close(third.result()["c"], REGIONS.forward(batches[2])["c"], TOLERANCE[precision], "c")


def test_inputs_travel_in_parts(machine: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    """7 images of 1848 bytes, two at a time."""
    monkeypatch.setattr(transfer, "PART", 4000)
    net, x = NETS["fused"], values(7, *X[1:])
    assert_close(net.compile(backend="cupy")(x)["b"], net.forward(x)["b"], 1e-5, "b")


def test_several_threads_copy_at_a_time(machine: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first two of 16 parts wait for each other, which one thread alone could not do."""
    monkeypatch.setattr(transfer, "PART", 400)
    monkeypatch.setattr(transfer, "processors", lambda: 4)
    transfer._copiers.cache_clear()
    both, numbers, copyto = threading.Barrier(2), itertools.count(), np.copyto

    def copy(target: np.ndarray, source: np.ndarray) -> None:
        if next(numbers) < 2:
            both.wait(30)
        copyto(target, source)

    monkeypatch.setattr(transfer, "np", SimpleNamespace(**{**vars(np), "copyto": copy}))
    source = values(40, 40)
    target = np.zeros_like(source)
    transfer._copy_by_parts(source, target)
    np.testing.assert_array_equal(target, source)


def test_batches_one_after_the_other(machine: SimpleNamespace) -> None:
    net = NETS["fused"]
    engine: Any = net.compile(backend="cupy")
    batches = [values(*X, seed=seed) for seed in range(5)]
    batches[2] = values(3, 6, 7, 11)
    for found, batch in zip(engine.map(iter(batches)), batches, strict=True):
        assert_close(found["b"], net.forward(batch)["b"], 1e-5, "b")
    buffer = engine.input_buffer(X)
    assert not buffer.any()
    buffer[...] = batches[0]
    assert_close(engine(buffer)["b"], net.forward(batches[0])["b"], 1e-5, "b")


def test_a_third_batch_of_one_thread_waits_for_the_first(machine: SimpleNamespace) -> None:
    """Two are under way at a time; the first is finished for the third, and its result kept."""
    net = NETS["fused"]
    engine: Any = net.compile(backend="cupy")
    batches = [values(*X, seed=seed) for seed in range(5)]
    under_way = [engine.submit(batch) for batch in batches]
    for pending, batch in zip(under_way, batches, strict=True):
        assert_close(pending.result()["b"], net.forward(batch)["b"], 1e-5, "b")


def test_the_memory_limit_covers_all_pools(machine: SimpleNamespace) -> None:
    """What one pool has taken is no longer there for another, such as for the scratch memory of trials."""
    pools = device.Pools(machine.cupy, 1000)
    first, second = pools.new(), pools.new()
    first.malloc(600)
    assert pools.left == 400
    with pytest.raises(MemoryError, match="Out of memory allocating 401 bytes"):
        second.malloc(401)
    second.malloc(400)
    del first
    gc.collect()
    assert pools.left == 600
    assert device.Pools(machine.cupy, None).left > 1 << 60


def test_page_locked_memory_that_is_gone_is_forgotten(machine: SimpleNamespace) -> None:
    engine: Any = NETS["fused"].compile(backend="cupy")
    buffer = engine.input_buffer(X)
    place = engine.gpu.page_locked
    assert place.holds({"x": buffer[:1]}) and not place.holds({"x": values(*X)})
    del buffer
    gc.collect()
    assert not place._spans


def test_a_kernel_that_does_not_compile_is_a_sentence(
    machine: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NVRTC's log has many lines, of which the first that says error counts."""

    def refuse(*arguments: Any) -> None:
        raise fake_cuda.CompileException("a.cu(1): warning: x\n\na.cu(9): error: no such file cuda_fp16.h\n1 error")

    engine = NETS["fused"].compile(backend="cupy")
    monkeypatch.setattr(kernels, "start", refuse)
    with pytest.raises(EngineError, match=r"^a kernel does not compile for gpu:0 .*: a\.cu\(9\): error: no such file"):
        engine(values(*X))


# -- arrays on the device -----------------------------------------------------------------------------


class Tensor:
    """An array of another library on the GPU; `shared` is what DLPack hands over, without a copy."""

    def __init__(self, array: Any, index: int = 0) -> None:
        self.array, self.index = array, index

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, self.index

    def __dlpack__(self, **keywords: Any) -> None:
        raise AssertionError("CuPy asks for it")

    def shared(self) -> Any:
        found = self.array.view(fake_cuda.Array)
        found.device = SimpleNamespace(id=self.index)
        return found


@pytest.mark.parametrize("given", ["cupy", "dlpack", "host"])
def test_results_stay_on_the_device(given: str, machine: SimpleNamespace) -> None:
    """No value crosses to the host; the caller's stream waits for the engine's, and the engine's for the caller's."""
    net = NETS["fully connected"]
    engine: Any = net.compile(backend="cupy")
    kept = []
    for seed in range(4):
        host = values(*X, seed=seed)
        there = fake_cuda.device_array(host)
        x = {"cupy": there, "dlpack": Tensor(there), "host": host}[given]
        found = engine(x, on_device=True)["e"]
        assert type(found) is fake_cuda.Array
        kept.append((found, net.forward(host)["e"]))
        assert machine.cupy.caller.waited == seed + 1
    for found, expected in kept:  # no result is written over by a later batch
        assert_close(np.array(found), expected, 1e-5, "e")
    assert engine.path == "1 graph"


def test_arrays_on_the_device_give_results_on_the_host(machine: SimpleNamespace) -> None:
    net = network((Conv(), ["x"], [values(1, 1, 6, 8), values(8, 1)]), (Sum(), ["a", "y"], []))
    engine: Any = net.compile(["b", "y"], backend="cupy")
    x, y = values(*X), values(2, 8, 7, 11)
    for dtype in (np.float32, np.float16):
        found = engine({"x": fake_cuda.device_array(x, dtype), "y": y})
        assert type(found["b"]) is np.ndarray
        assert_close(found["b"], net.forward({"x": x, "y": y})["b"], 1e-2, "b")
        np.testing.assert_array_equal(found["y"], y)


def test_arrays_that_cannot_be_read_are_refused_in_a_sentence(machine: SimpleNamespace) -> None:
    engine: Any = NETS["fused"].compile(backend="cupy")
    there = fake_cuda.device_array(values(*X))
    with pytest.raises(EngineError, match=r"input 'x': is on gpu:1, but the engine runs on gpu:0"):
        engine(Tensor(there, 1))
    tensor = Tensor(there)
    tensor.shared = Mock(side_effect=BufferError("Can't export tensors that require gradient"))  # as torch says
    with pytest.raises(EngineError, match=r"input 'x': cannot be read from the GPU \(Can't export .* detach it"):
        engine(tensor)
    with pytest.raises(ShapeError, match=r"has 2 dimensions \(7x11\)"):
        engine(there[0, 0])
    with pytest.raises(ShapeError, match="probably N x H x W x C"):
        engine(fake_cuda.device_array(values(2, 7, 11, 6)))


def test_on_device_layer_by_layer(machine: SimpleNamespace) -> None:
    net, x = NETS["fused"], values(*X)
    engine: Any = net.compile(backend="cupy", fused=False)
    found = engine(fake_cuda.device_array(x), on_device=True)["b"]
    assert type(found) is fake_cuda.Array
    assert_close(np.array(found), net.forward(x)["b"], 1e-5, "b")
    assert engine.path == "layer by layer"


@pytest.fixture
def two_gpus(machine: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    def found(index: int | None = None, precision: str = "fp32") -> Gpu:
        return Gpu(index or 0, "stand-in", (9, 0), 1 << 34, 13000, 13000)

    monkeypatch.setattr("matnet.engines.cupy.engine.find_gpu", found)


def test_several_gpus_share_the_calls(two_gpus: None) -> None:
    """Each has the network; a call goes to the one with the fewest under way, and copies from memory of any of them."""
    net, x = NETS["fused"], values(*X)
    engine: Any = net.compile(backend="cupy", device="gpu:0,gpu:1")
    assert engine.device == "gpu:0 (stand-in), gpu:1 (stand-in)"
    buffer = engine.input_buffer(X)
    buffer[...] = x
    assert all(one.gpu.page_locked.holds({"x": buffer}) for one in engine.engines)
    used = []
    for busy in ([0, 0], [1, 0], [1, 2]):
        engine._calls = list(busy)
        for one in engine.engines:
            one._programs.clear()
        assert_close(engine(buffer)["b"], net.forward(x)["b"], 1e-5, "b")
        used.append([bool(one._programs) for one in engine.engines].index(True))
        assert engine._calls == busy
    assert used == [0, 1, 0]
    engine.prepare({"x": X})
    assert all(len(one._programs) == 1 for one in engine.engines)


def test_two_threads_for_each_gpu(two_gpus: None, monkeypatch: pytest.MonkeyPatch) -> None:
    options = EngineOptions("cupy", device="gpu:0,gpu:1,gpu:3")
    assert for_batches(options).callers == 3 * for_batches(replace(options, device="gpu:0")).callers


def test_other_backends_refuse_arrays_on_a_gpu() -> None:
    class Elsewhere:
        __cuda_array_interface__: Any = {}  # noqa: RUF012 - as CUDA's array interface has it

    with pytest.raises(EngineError, match="is in GPU memory; backend 'numpy' needs host memory"):
        NETS["fused"].compile(backend="numpy")(Elsewhere())


def test_results_are_the_callers_own(machine: SimpleNamespace) -> None:
    engine = NETS["fused"].compile(backend="cupy")
    first = engine(values(*X))["b"]
    kept = first.copy()
    engine(values(*X, seed=9))
    np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize("way", ["cuBLAS", "cuDNN convolution", "cuDNN product"])
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("name", ["fully connected", "fully connected residual"])
def test_products_in_every_way(
    name: str, precision: str, way: str, machine: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The way that is fastest is the one that runs, recorded with all other steps."""
    prefer(way, machine, monkeypatch)
    net = NETS[name]
    engine: Any = net.compile(backend="cupy", precision=precision)
    for seed in (3, 4, 5):
        machine.cudnn.ran.clear()
        machine.cublas.computed.clear()
        x = values(*X, seed=seed)
        assert_close(*(next(iter(run(x).values())) for run in (engine, net.forward)), TOLERANCE[precision], name)
    assert engine.path == "1 graph"
    ran = {node for nodes, _ in machine.cudnn.ran for node in nodes}
    assert ("matmul" in ran) == (way == "cuDNN product")
    calls = [call for program in engine._programs.values() for call in program.bound.calls]
    assert any(isinstance(call, libraries.BlasCall) for call in calls) == (way == "cuBLAS")


def prefer(way: str, machine: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Let the chooser find this way of several the fastest; for each step, as it is bound, whether it has it."""
    chosen, offered = choice.Chooser.way, list[bool]()

    def only(self: Any, key: str, ways: Any) -> Any:
        offered.append(way in ways)
        return chosen(self, key, {way: ways[way]} if way in ways else ways)

    monkeypatch.setattr(choice.Chooser, "way", only)
    return offered


def test_without_cuda_bindings_products_go_another_way(machine: SimpleNamespace) -> None:
    """The frontend's matmul imports them; where they are missing it is as if cuDNN had no plan."""
    machine.cudnn.bindings = False
    net, x = NETS["fully connected"], values(*X)
    engine = net.compile(backend="cupy", precision="tf32")
    for _ in range(2):
        assert_close(*(next(iter(run(x).values())) for run in (engine, net.forward)), 1e-5, "e")
    assert not any("matmul" in nodes for nodes, _ in machine.cudnn.ran)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize(
    "way", ["as it is", "with a channel of zeros", "group by group", "with filters of zeros between groups"]
)
def test_convolutions_in_every_way(
    way: str, precision: str, machine: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An image of 3 channels, read with a fourth; two groups of 16 bytes or more, by themselves or in one."""
    offered = prefer(way, machine, monkeypatch)
    net = network(
        (Conv(pad=(1, 2, 0, 3), stride=(2, 3)), ["x"], [values(3, 5, 3, 16), values(16, 1)]), (ReLU(), ["a"], []),
        (Conv(pad=(1, 1, 1, 1)), ["b"], [values(3, 2, 8, 32), values(32, 1)]),
    )  # fmt: skip
    engine: Any = net.compile(backend="cupy", precision=precision)
    for seed in range(3):
        x = values(2, 3, 7, 11, seed=seed)
        assert_close(*(next(iter(run(x).values())) for run in (engine, net.forward)), TOLERANCE[precision], way)
    assert engine.path == "1 graph"
    grouped = way not in ("as it is", "with a channel of zeros")
    assert offered == [not grouped, way != "with a channel of zeros"]


def test_the_fastest_way_is_taken_and_remembered(machine: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    net, x = NETS["fully connected"], values(*X)
    times = {"cuBLAS": 3.0, "cuDNN convolution": 1.0, "cuDNN product": 2.0}

    def measured(self: Any, call: Any, best: float) -> float:
        product = isinstance(call, libraries.BlasCall)
        plans = call.plans if isinstance(call, libraries.CudnnCall) else []
        nodes = {node for plan, _ in plans for node in plan.built.nodes}
        which = "cuBLAS" if product else "cuDNN product" if "matmul" in nodes else "cuDNN convolution"
        return times[which]

    monkeypatch.setattr(choice.Chooser, "_timed", measured)
    for _ in range(2):
        engine: Any = net.compile(backend="cupy", precision="tf32")
        assert_close(*(next(iter(run(x).values())) for run in (engine, net.forward)), 1e-5, "e")
        (program,) = engine._programs.values()
        steps = zip(program.bound.steps, program.bound.calls, strict=True)
        products = [call for step, call in steps if isinstance(step, Multiply)]
        assert all(isinstance(call, libraries.CudnnCall) for call in products)
        assert {node for call in products for plan, _ in call.plans for node in plan.built.nodes} >= {"conv", "bias"}
        monkeypatch.setattr(choice.Chooser, "_timed", None)  # the second engine times nothing


def test_the_handle_of_cublas_is_the_engines_own(machine: SimpleNamespace) -> None:
    """The workspace is set after the stream, which takes it away; one handle for all engines of a network's device."""
    engine: Any = NETS["fully connected"].compile(backend="cupy", autotune=False)
    engine(values(*X))
    assert machine.cublas.handles == 1
    assert machine.cublas.workspace == 32 << 20
    del engine
    gc.collect()
    assert machine.cublas.handles == 0


def test_a_cublas_that_does_not_load_is_a_sentence() -> None:
    with pytest.raises(EngineError, match=r'cuBLAS cannot be loaded .*pip install "cupy-cuda99x\[ctk\]"'):
        blas.load_library(99000)


def replayed(
    refused: Sequence[int] = (), recordable: Sequence[bool] = (True, True, False, True), broken: bool = False
) -> tuple[list[int], fake_cuda.Stream, Replayed]:
    """Calls that note their number, replayed on a stream that records, with what they noted in three runs.

    `refused` calls raise while the stream is captured, or, `broken`, only the end of the capture says so.
    """
    ran: list[int] = []
    stream = fake_cuda.Stream()

    def call(number: int) -> Any:
        def act() -> None:
            if number in refused and fake_cuda.Recording.actions is not None:
                stream.refuses = True
                if not broken:
                    raise NotImplementedError("calling cuBLAS API during stream capture is currently unsupported")
            fake_cuda.enqueue(lambda: ran.append(number))

        return act

    cupy = fake_cuda.Cupy()
    pools = cupy.cuda.MemoryPool(), cupy.cuda.MemoryPool()
    names = [f"layer {number}" for number in range(len(recordable))]
    steps = Replayed(cupy, [call(number) for number in range(len(recordable))], recordable, names, pools)
    begin = stream.begin_capture

    def begin_anew(mode: int | None = None) -> None:
        stream.refuses = False
        begin(mode)

    stream.begin_capture = begin_anew  # type: ignore[method-assign]
    for _ in range(3):
        steps(stream)
    return ran, stream, steps


def test_runs_of_calls_are_recorded_as_graphs() -> None:
    """First all directly, then once into graphs; in a replay only call 2, which no graph may hold, runs by itself."""
    ran, stream, steps = replayed()
    assert ran == [0, 1, 2, 3] * 3
    assert (stream.graphs, steps.note, steps.path) == (2, "", "2 graphs, 1 single step")


@pytest.mark.parametrize("broken", [False, True])
@pytest.mark.parametrize(
    ("refused", "path"),
    [((2,), "2 graphs, 1 single step"), ((0,), "1 graph, 1 single step"),
     ((1, 2, 5), "2 graphs, 3 single steps"), (range(6), "step by step")],
)  # fmt: skip
def test_a_call_that_cannot_be_recorded_parts_the_graph(refused: Sequence[int], path: str, broken: bool) -> None:
    """Whether the call says so itself or the end of the capture: all others are replayed, and the note names it."""
    ran, _, steps = replayed(refused, [True] * 6, broken)
    assert ran == [0, 1, 2, 3, 4, 5] * 3
    assert steps.path.count("graph") <= 1 and len(ran) == 18
    if not broken:
        assert steps.path == path
    assert f"'layer {refused[0]}' (" in steps.note
    assert ("cuBLAS" in steps.note) == (not broken)


@pytest.mark.parametrize(
    ("workspaces", "free", "taken"),
    [([1 << 40, 92 << 20, 64], 1 << 30, 1), ([1 << 40, 92 << 20, 64], 1 << 29, 2), ([1 << 40] * 3, 1 << 34, None)],
)
def test_a_plan_may_need_an_eighth_of_the_free_memory(
    workspaces: list[int], free: int, taken: int | None, machine: SimpleNamespace
) -> None:
    """92 MiB (AlexNet's conv2 in fp16, batch 256) of 1 GiB but not of 512 MiB; the op itself where all need more."""
    machine.cupy.free = free
    machine.cudnn.workspaces = workspaces
    net, x = NETS["fused"], values(*X)
    engine = net.compile(backend="cupy", precision="tf32", autotune=False)
    assert_close(engine(x)["b"], net.forward(x)["b"], 1e-5, "b")
    assert {index for _, index in machine.cudnn.ran} == ({taken} if taken is not None else set())


def test_an_engine_that_is_no_longer_used_gives_its_handle_back(machine: SimpleNamespace) -> None:
    engine = NETS["fused"].compile(backend="cupy")
    engine(values(*X))
    assert machine.cudnn.handles == 1
    del engine
    gc.collect()
    assert machine.cudnn.handles == 0


def missing(runtime: int) -> Any:
    raise EngineError("cuDNN's Python frontend is not installed; install it")


@pytest.mark.parametrize("how", ["missing", "broken"])
def test_without_cudnn_fp32_runs_and_other_precisions_say_why_not(
    how: str, machine: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.cudnn.broken = how == "broken"
    if how == "missing":
        monkeypatch.setattr(device, "import_cudnn", missing)
    reason = {"missing": "frontend is not installed", "broken": r"does not run on gpu:0 \(stand-in\): cudnnHandle"}[how]
    net, x = NETS["residual"], values(*X)
    engine = net.compile(backend="cupy")
    assert_close(engine(x)["d"], net.forward(x)["d"], 1e-5, "d")
    note, alone = engine.notes  # CuPy's own convolutions use its handle of cuBLAS
    assert re.match(f"convolutions run without cuDNN, more slowly: .*{reason}", note)
    assert re.match(r"layers 'a' \(calling cuBLAS", alone)
    with pytest.raises(EngineError, match=rf"precision 'fp16' needs cuDNN: .*{reason}.*, or use precision 'fp32'"):
        net.compile(backend="cupy", precision="fp16")
    with pytest.raises(EngineError, match=rf"cuDNN was requested, but .*{reason}"):
        net.compile(backend="cupy", cudnn=True)
