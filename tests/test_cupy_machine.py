"""The GPU engine's own calls of CuPy, cuBLAS, cuDNN and its kernels, on stand-ins that read memory by address.

The kernels are compiled for the processor, the libraries follow their documentation; expected numbers are numpy's.
"""

from __future__ import annotations

import gc
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from matnet import EngineError, Network, NetworkError, OutOfMemoryError
from matnet.engines.cupy import choice, device, transfer
from matnet.engines.cupy.capture import Replayed
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
    """Every run: the first one by one, then as it was recorded, on other values."""
    net = NETS[name]
    engine = net.compile(backend="cupy", precision=precision)
    for seed in (3, 4, 5):
        x = values(*X, seed=seed)
        (expected,) = net.forward(x).values()
        (found,) = engine(x).values()
        assert_close(found, expected, TOLERANCE[precision], name)
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
        with pytest.raises(NetworkError, match=r"layer 'b' .*: a box holds NaN"):
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
    assert set(machine.cupy.cuda.cublas.computed) == {compute}
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
    graph: Any = "graph"
    assert book.get(graph) is None
    book.put(graph, "eng1")
    assert choice.PlanBook(tmp_path, "gpu").get(graph) == "eng1"


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
    """A box that holds NaN is told of its own batch alone, though the next one is under way."""
    engine: Any = REGIONS.compile(backend="cupy", precision=precision)
    batches = [{"x": values(*X, seed=seed), "boxes": BOXES.copy()} for seed in range(3)]
    for _ in range(2):
        found = engine(batches[0])["c"]
        assert_close(found, REGIONS.forward(batches[0])["c"], TOLERANCE[precision], "c")
    batches[1]["boxes"][1, 2] = np.nan
    first, second = engine.submit(batches[0]), engine.submit(batches[1])
    assert first.result().keys() == {"c"}
    third = engine.submit(batches[2])
    with pytest.raises(NetworkError, match=r"layer 'b' \(ROI pooling\): a box holds NaN or infinity"):
        second.result()
    assert_close(third.result()["c"], REGIONS.forward(batches[2])["c"], TOLERANCE[precision], "c")


def test_inputs_travel_in_parts(machine: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    """7 images of 1848 bytes, two at a time."""
    monkeypatch.setattr(transfer, "PART", 4000)
    net, x = NETS["fused"], values(7, *X[1:])
    assert_close(net.compile(backend="cupy")(x)["b"], net.forward(x)["b"], 1e-5, "b")


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


def test_a_last_batch_of_fewer_images_fills_up_a_larger_one(machine: SimpleNamespace) -> None:
    """The first time; where they come again they get a program of their own. Sums over a batch always do."""
    net = NETS["fused"]
    engine: Any = net.compile(backend="cupy")
    few = values(1, *X[1:])
    for inputs, programs in ((values(*X), 1), (few, 1), (few, 2), (values(*X), 2), (values(1, 6, 9, 12), 3)):
        assert_close(engine(inputs)["b"], net.forward(inputs)["b"], 1e-5, "b")
        assert len(engine._programs) == programs
    joined = network((Concat(dim=4), ["x", "x"], []))
    engine = joined.compile(backend="cupy")
    for count, programs in ((2, 1), (1, 2)):
        x = values(count, *X[1:])
        np.testing.assert_array_equal(engine(x)["a"], np.concatenate([x, x]))
        assert len(engine._programs) == programs


def test_results_are_the_callers_own(machine: SimpleNamespace) -> None:
    engine = NETS["fused"].compile(backend="cupy")
    first = engine(values(*X))["b"]
    kept = first.copy()
    engine(values(*X, seed=9))
    np.testing.assert_array_equal(first, kept)


def recorded(refuses: bool = False, recordable: Sequence[bool] = (True, True, False, True)) -> tuple[Any, ...]:
    """Calls that note their number, replayed on a stream that records, with what they noted in three runs."""
    ran: list[int] = []
    calls = [lambda number=number: ran.append(number) for number in range(len(recordable))]
    stream = fake_cuda.Stream(refuses=refuses)
    replayed = Replayed(fake_cuda.Cupy(), calls, recordable)
    for _ in range(3):
        replayed(stream)
    return ran, stream, replayed


def test_runs_of_calls_are_recorded_as_graphs() -> None:
    """First all directly, then once into graphs; in a replay only call 2, which no graph may hold, runs by itself."""
    ran, stream, replayed = recorded()
    assert ran == [0, 1, 2, 3, 0, 1, 3, 2, 2]
    assert (stream.graphs, stream.recording, replayed.note) == (2, False, "")


def test_calls_that_cannot_be_recorded_run_one_by_one() -> None:
    ran, stream, replayed = recorded(refuses=True, recordable=(True, True))
    assert ran == [0, 1, 0, 1, 0, 1, 0, 1]  # directly, in vain, and directly
    assert stream.graphs == 0
    assert replayed.note.startswith("layers run one by one, because they cannot be recorded: cudaErrorStreamCapture")


@pytest.mark.parametrize(
    ("workspaces", "taken"), [([1 << 40, 1 << 27, 64], 2), ([1 << 40, 1 << 27, 1 << 40], 1), ([1 << 40] * 3, None)]
)
def test_plans_that_need_little_memory_come_first(
    workspaces: list[int], taken: int | None, machine: SimpleNamespace
) -> None:
    """64 MiB for a network of this size, 1 GiB where there is no other way, and the op itself beyond that."""
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
    told = {"missing": "frontend is not installed", "broken": r"does not run on gpu:0 \(stand-in\): cudnnHandle"}[how]
    net, x = NETS["residual"], values(*X)
    engine = net.compile(backend="cupy")
    assert_close(engine(x)["d"], net.forward(x)["d"], 1e-5, "d")
    (note,) = engine.notes
    assert re.match(f"convolutions run without cuDNN, more slowly: .*{told}", note)
    with pytest.raises(EngineError, match=f"precision 'fp16' needs cuDNN: .*{told}.*, or choose precision 'fp32'"):
        net.compile(backend="cupy", precision="fp16")
    with pytest.raises(EngineError, match=f"cuDNN was asked for, but .*{told}"):
        net.compile(backend="cupy", cudnn=True)
