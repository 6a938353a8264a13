"""The GPU engine's kernels without a GPU: their source runs on the processor, and compiles for GPUs of three kinds.

Expected values are those of numpy's ops, which are held against MatConvNet's and Caffe's numbers elsewhere.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import cache
from itertools import product
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from matnet.engines.cupy import kernels
from matnet.engines.cupy.kernels import Launch, launch
from matnet.ops.roi import ROIPooling
from tests import cuda_on_cpu, kernel_cases
from tests.cuda_on_cpu import COMPILER, Processor
from tests.device_double import cupy_on_a_gpu
from tests.kernel_cases import BOXES, CASES, Case, assert_all_written, guarded, laid_out, values_of

TYPES = {"float32": np.float32, "float16": np.float16}
SETTINGS = ("usual", "hard")
ARCHITECTURES = {"sm_75": "usual", "sm_80": "hard", "sm_90": "usual"}  # and which setting's kernels are compiled


def use(setting: str, patch: pytest.MonkeyPatch) -> None:
    """Hard: few blocks, so that each thread takes several elements; indices of 64 bits; outputs of the other type."""
    if setting == "hard":
        patch.setattr(launch, "BLOCKS", 2)
        patch.setattr(launch, "SHORT_INDICES", 0)
        patch.setattr(kernel_cases, "HARD", True)


@cache
def launches(setting: str) -> list[Launch]:
    """Those of all cases."""
    found: list[Launch] = []
    with pytest.MonkeyPatch.context() as patch:
        use(setting, patch)
        for make in CASES.values():
            for dtype in TYPES.values():
                found += make(dtype).launches
    return found


@pytest.fixture(scope="module")
def processor(tmp_path_factory: pytest.TempPathFactory) -> Processor:
    """A machine on which all kernels of all cases are compiled."""
    if COMPILER is None:
        pytest.skip("no g++ to compile the kernels with")
    machine = Processor(tmp_path_factory.mktemp("kernels"))
    if not machine.usable():
        pytest.skip("g++ cannot compile the stand-in for CUDA: it needs _Float16 (g++ 12 for x86) and ucontext.h")
    for setting in SETTINGS:
        machine.prepare(launches(setting))
    return machine


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("type_name", TYPES)
@pytest.mark.parametrize("name", CASES)
def test_kernel(name: str, type_name: str, setting: str, processor: Processor, monkeypatch: pytest.MonkeyPatch) -> None:
    use(setting, monkeypatch)
    case = CASES[name](TYPES[type_name])
    for item in case.launches:
        processor.start(item, backwards=setting == "hard")
    check_results(case)


@pytest.mark.gpu
@pytest.mark.parametrize("name", CASES)
def test_kernel_on_a_gpu(name: str) -> None:
    cupy = cupy_on_a_gpu()
    if cupy is None:
        pytest.skip("there is no GPU, or no CuPy")
    for setting, dtype in product(SETTINGS, TYPES.values()):
        with pytest.MonkeyPatch.context() as patch:
            use(setting, patch)
            case = CASES[name](dtype)
            run_on_gpu(cupy, case.launches)
        check_results(case)


def run_on_gpu(cupy: Any, started: list[Launch]) -> None:
    """With all the memory that the launches' arrays lie in, guards included, brought there and back."""
    there: dict[int, tuple[np.ndarray, Any]] = {}

    def uploaded(item: Any) -> Any:
        if not isinstance(item, np.ndarray):
            return item
        memory = kernel_cases.memory_of(item)
        _, copy = there.setdefault(id(memory), (memory, cupy.asarray(memory)))
        start = copy.data + (item.ctypes.data - memory.ctypes.data)
        return cupy.ndarray(item.shape, item.dtype, memptr=start, strides=item.strides)

    for item in started:
        launch.start(replace(item, arguments=tuple(map(uploaded, item.arguments))))
    for memory, copy in there.values():
        memory[...] = copy.get()


def check_results(case: Case) -> None:
    """All of the output is written, nothing else is, and it is what numpy computes."""
    assert_all_written(case.out)
    with np.errstate(over="ignore"):
        expected = case.expected.astype(case.out.dtype)
    bound = 0.0 if case.exact else 2e-6
    if case.out.dtype == np.float16 and not case.exact:
        bound = 4e-3 if case.partial_sums else 1e-3
    np.testing.assert_allclose(case.out, expected, rtol=bound, atol=bound)
    np.testing.assert_array_equal(case.fault, 0)


def test_boxes_that_are_no_numbers_are_reported(processor: Processor) -> None:
    boxes = BOXES[:3].copy()
    boxes[1, 3] = np.nan
    x, out = laid_out(values_of(2, 8, 7, 11), np.float32), guarded((3, 3, 4, 8), np.float32)
    fault = np.zeros(1, np.int32)
    given = guarded((3, 5, 1, 1), np.float32, boxes.reshape(3, 5, 1, 1))
    processor.start(kernels.roi_pool_launch(x, given, out, fault, ROIPooling(subdivisions=(3, 4))))
    assert_all_written(out)
    np.testing.assert_array_equal(fault, 1)


def test_a_barrier_that_not_all_threads_reach_is_found(processor: Processor, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stand-in itself: 16 of 32 threads come to the barrier."""
    text = "template <typename I> __global__ void parted(I count) { if ((I)threadIdx.x < count) __syncthreads(); }"
    monkeypatch.setattr(cuda_on_cpu, "source", lambda program: text)
    for count in (32, 0):
        processor.start(Launch("parted", "parted<int>", (1, 1, 1), (32, 1, 1), (np.int32(count),)))
    with pytest.raises(AssertionError, match="threads part"):
        processor.start(Launch("parted", "parted<int>", (1, 1, 1), (32, 1, 1), (np.int32(16),)))


def compile_for(architecture: str, program: str, names: list[str]) -> str:
    """NVRTC's log, empty where it compiled; skips where NVRTC is not installed."""
    nvrtc = pytest.importorskip("cupy_backends.cuda.libs.nvrtc", reason="NVRTC comes with CuPy, which is not installed")
    try:
        handle = nvrtc.createProgram(launch.source(program), f"{program}.cu", [], [])
    except RuntimeError as error:
        pytest.skip(f"NVRTC is not installed: {error}")
    for name in names:
        nvrtc.addNameExpression(handle, name)
    try:
        nvrtc.compileProgram(handle, [*launch.OPTIONS, f"-arch={architecture}", "-Xptxas=-O0"])
        assert all(nvrtc.getLoweredName(handle, name) for name in names)
        assert nvrtc.getCUBIN(handle)
    except nvrtc.NVRTCError as error:
        return f"{error}: {nvrtc.getProgramLog(handle)}"
    finally:
        nvrtc.destroyProgram(handle)
    return ""


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("program", ["elementwise", "lrn", "pooling", "roi", "sampler", "softmax", "transposition"])
def test_compiles_for_a_gpu(program: str, architecture: str) -> None:
    wanted = launches(ARCHITECTURES[architecture])
    names = list(dict.fromkeys(item.name for item in wanted if item.program == program))
    assert names
    assert not compile_for(architecture, program, names)


def test_wide_loads() -> None:
    """16 bytes at once where the length of the innermost axis allows: what makes a pass over memory fast."""
    wide = {np.float32: 4, np.float16: 8}
    for dtype, width in wide.items():
        x = guarded((2, 7, 11, 64), dtype)
        assert f", {width}, " in kernels.lrn_launch(x, x, 5, 1, 1, 0.75).name
        assert f", {width}, " in kernels.affine_launch(x, x, leak=0.0).name
        assert launch.vector(66, x) == 2
        assert launch.vector(64, x.reshape(-1)[1:]) == 1


def test_indices_are_long_where_they_must_be() -> None:
    def array(*shape: int) -> Any:
        return SimpleNamespace(shape=shape, size=int(np.prod(shape, dtype=object)))

    assert launch.index_type(array(512, 1024, 1024)) == "int"
    assert launch.index_type(array(4), array(1024, 1024, 1024)) == "long long"


def test_started_on_cupy(monkeypatch: pytest.MonkeyPatch) -> None:
    """One module per kernel, kept; arrays and scalars of C's sizes; a null pointer for what is not there."""
    made: list[dict[str, Any]] = []
    calls: list[tuple[Any, ...]] = []

    class RawModule:
        def __init__(self, **keywords: Any) -> None:
            made.append(keywords)

        def get_function(self, name: str) -> Any:
            return lambda *arguments: calls.append((name, *arguments))

    runtime = SimpleNamespace(getDevice=lambda: 0)
    fake = SimpleNamespace(RawModule=RawModule, cuda=SimpleNamespace(runtime=runtime))
    monkeypatch.setitem(sys.modules, "cupy", fake)
    launch._compiled.cache_clear()
    x = guarded((2, 6, 7, 11), np.float32)
    for _ in range(2):
        kernels.add([x, x], x, leak=0.0)
    launch._compiled.cache_clear()
    assert len(made) == 1 and len(calls) == 2
    name, grid, block, arguments = calls[0]
    assert made[0]["name_expressions"] == [name] == ["sum<float, float, 4, 2, RELU, int>"]
    assert made[0]["code"] == launch.source("elementwise") and "-std=c++17" in made[0]["options"]
    assert (grid, block) == ((1, 1, 1), (256, 1, 1))
    assert [type(item) for item in arguments[2:4]] == [np.uint64, np.uint64]
    assert [item.dtype for item in arguments[5:]] == [np.int32, np.float32]


def test_cupy_takes_the_module() -> None:
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed")
    names = ["softmax_rows<float, float, int>"]
    cupy.RawModule(code=launch.source("softmax"), options=launch.OPTIONS, name_expressions=names)


def test_the_programs_are_in_the_wheel() -> None:
    """Package data has to be named; a checkout would work without."""
    from configparser import ConfigParser
    from pathlib import Path

    settings = ConfigParser()
    settings.read(Path(__file__).resolve().parents[1] / "setup.cfg")
    named = settings["options.package_data"]["matnet"].split()
    assert {"engines/cupy/kernels/*.cu", "engines/cupy/kernels/*.cuh"} <= set(named)
