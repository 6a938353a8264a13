"""Whether cuDNN accepts the engine's graphs: asked of cuDNN itself, for GPUs that are described to it.

Needs the package nvidia-cudnn-frontend, cuDNN, and a C compiler for a stand-in of the NVIDIA driver.
"""

from __future__ import annotations

import inspect
import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from matnet.engines.cupy.graphs import less_exact_notes

pytestmark = pytest.mark.process

Answers = dict[str, dict[str, dict[str, int]]]
EVERY_PLAN = "VGG"
ROOT = Path(__file__).resolve().parents[1]
COMPILER = shutil.which("cc")
# What cuDNN's libraries look up in the driver when they are loaded, beside cuInit and cuDriverGetVersion.
DRIVER_FUNCTIONS = """
cuCtxGetCurrent cuCtxGetLimit cuCtxPopCurrent cuCtxPushCurrent cuDeviceGet cuDeviceGetCount cuGetErrorName
cuGetErrorString cuKernelGetAttribute cuKernelGetFunction cuKernelSetAttribute cuLaunchCooperativeKernel
cuLaunchKernel cuLaunchKernelEx cuLibraryGetKernel cuLibraryLoadData cuLibraryLoadFromFile cuLibraryUnload
cuLinkAddData cuLinkComplete cuLinkCreate cuLinkDestroy cuModuleGetFunction cuModuleLoadData cuModuleUnload
cuOccupancyMaxPotentialClusterSize cuStreamGetCtx cuTensorMapEncodeIm2col cuTensorMapEncodeTiled
"""


def stand_in_for_the_driver(folder: Path) -> Path:
    """A library libcuda.so.1 that says that there is no device."""
    lines = ["int cuInit(unsigned flags) { return 100; }", "int cuDriverGetVersion(int *v) { *v = 13000; return 0; }"]
    source = folder / "driver.c"
    source.write_text(
        "\n".join([*lines, *(f"int {name}(void) {{ return 100; }}" for name in DRIVER_FUNCTIONS.split())])
    )
    library = folder / "libcuda.so.1"
    command = [str(COMPILER), "-shared", "-fPIC", str(source), "-o", str(library), "-Wl,-soname,libcuda.so.1"]
    subprocess.run(command, check=True, timeout=60)
    return library


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Answers:
    """What cuDNN says, by device and precision, and graph."""
    nvidia = find_spec("nvidia")
    if find_spec("cudnn") is None or nvidia is None or not sys.platform.startswith("linux"):
        pytest.skip("nvidia-cudnn-frontend or cuDNN is not installed")
    if COMPILER is None:
        pytest.skip("no C compiler is installed")
    libraries = [str(path) for place in nvidia.submodule_search_locations or () for path in Path(place).glob("*/lib")]
    folder = stand_in_for_the_driver(tmp_path_factory.mktemp("driver")).parent
    environment = {**os.environ, "LD_LIBRARY_PATH": ":".join([str(folder), *libraries]), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tests.cudnn_without_gpu"]
    run = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=280, check=False)
    if run.returncode and "SUBLIBRARY_LOADING_FAILED" in run.stderr:
        pytest.skip("cuDNN does not load without a driver")
    assert run.returncode == 0, run.stderr[-2000:]
    return dict(json.loads(run.stdout.splitlines()[-1]))


def test_cudnn_has_plans_for_every_graph(answers: Answers) -> None:
    """All that is fused stays fused, in every precision that the GPU has."""
    for where, graphs in answers.items():
        assert [name for name, found in graphs.items() if not found["plans"]] == [], where


def test_full_float32_bars_the_tensor_cores(answers: Answers) -> None:
    """Of the same plans fewer may be built than with TF32."""
    for gpu in ("H200", "H100", "A100"):
        fewer, more = (answers[f"{gpu} {precision}"][EVERY_PLAN]["plans"] for precision in ("fp32", "tf32"))
        assert 0 < fewer < more, gpu


@pytest.mark.parametrize("name", [
    "ResNet's block", "AlexNet's first", "an image with a channel of zeros", "one of AlexNet's two groups",
    "AlexNet's second, with zeros between groups", "fully connected", "VGG",
])  # fmt: skip
def test_what_networks_consist_of_needs_no_compiler(name: str, answers: Answers) -> None:
    """Several kernels are compiled already, on Hopper in every precision: for a sum behind the bias there are none."""
    for precision in ("fp32", "tf32", "fp16"):
        assert answers[f"H200 {precision}"][name]["compiled"] >= 4, precision


def test_groups_have_more_plans_apart_or_as_one(answers: Answers) -> None:
    for precision in ("tf32", "fp16"):
        found = {name: plans["compiled"] for name, plans in answers[f"H200 {precision}"].items()}
        whole = found["AlexNet's second, in two groups"]
        assert found["one of AlexNet's two groups"] > 2 * whole
        assert found["AlexNet's second, with zeros between groups"] > 2 * whole


def test_the_frontend_takes_the_keywords_that_are_used() -> None:
    cudnn = pytest.importorskip("cudnn", reason="nvidia-cudnn-frontend is not installed")
    graph = cudnn.pygraph
    uses = {
        graph.__init__: "io_data_type intermediate_data_type compute_data_type handle device_property",
        graph.tensor: "name dim stride data_type uid",
        graph.relu: "input negative_slope",
        graph.execute_plan_at_index: "tensor_dict workspace index handle",
        cudnn.set_stream: "handle stream",
        cudnn.destroy_handle: "handle",
    }
    for function, names in uses.items():
        assert set(names.split()) <= set(inspect.signature(function).parameters), function
    calls = "conv_fprop conv_dgrad matmul bias add validate build_operation_graph create_execution_plans"
    calls += " deselect_numeric_notes get_behavior_notes_for_plan_at_index"
    calls += " get_execution_plan_count build_plan_at_index get_plan_name_at_index get_workspace_size_plan_at_index"
    assert [name for name in calls.split() if not hasattr(graph, name)] == []
    assert len(less_exact_notes(cudnn)) == 5
