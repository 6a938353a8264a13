"""Describes the machine of a run: processor, versions, and the fastest measured matrix product."""

from __future__ import annotations

import json
import os
import platform
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from matnet.benchmarks.timing import TimeLimits, by_turns
from matnet.engines.cpu.runtimes import available
from matnet.engines.device import processors
from matnet.errors import EngineError, MatnetError
from matnet.files import atomic_write

MATRIX = 1536  # side of the matrices used to measure the peak
PACKAGES: tuple[str, ...] = (
    "numpy",
    "onnxruntime",
    "openvino",
    "opencv-python-headless",
    "opencv-python",
    "torch",
    "cupy-cuda13x",
)
PACKAGES += ("cupy-cuda12x", "nvidia-cudnn-frontend", "nvidia-cudnn-cu13", "nvidia-cudnn-cu12")

OUTPUTS = ("--json", "--markdown", "--plot")


def with_bytecode(folder: str) -> dict[str, str]:
    """An environment in which processes cache bytecode in `folder`, as for an installed package."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "PYTHONPYCACHEPREFIX": folder}


def describe(threads: int, argv: list[str], program: str = "matnet.benchmarks") -> dict[str, Any]:
    """The conditions of this run, except the peaks."""
    return {
        "processor": processor_name(),
        "processors": processors(),
        "threads": threads,
        "platform": platform.platform(),
        "python": platform.python_version(),
        "versions": versions(),
        "command": shlex.join(["python", "-m", program, *without_outputs(argv)]),
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "matmul_flop_per_s": {},
    }


def write_figures(path: str, program: str, figures: Mapping[str, Any], argv: Sequence[str] | None = None) -> None:
    """Write figures and the machine as JSON; argv: the arguments of the program, None: those of the process."""
    machine = describe(processors(), list(sys.argv[1:] if argv is None else argv), program)
    del machine["matmul_flop_per_s"]
    with atomic_write(path) as file:
        file.write(f"{json.dumps({'machine': machine, **figures}, indent=1)}\n".encode())


def without_outputs(argv: Sequence[str]) -> list[str]:
    """Arguments without output files.

    >>> without_outputs(["--json", "a.json", "--batch", "1", "--plot=b.png"])
    ['--batch', '1']
    """
    kept = []
    skipped = False
    for argument in argv:
        if not skipped and argument.partition("=")[0] not in OUTPUTS:
            kept.append(argument)
        skipped = not skipped and argument in OUTPUTS
    return kept


def versions() -> dict[str, str]:
    """The versions of matnet and of all installed packages that compute."""
    from matnet import __version__

    found = {"matnet": __version__}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    if "cv2" in sys.modules:  # several OpenCV packages may be installed; ask the module
        found["opencv"] = sys.modules["cv2"].__version__
    return found


def processor_name() -> str:
    """The processor's name from Linux, else from Python."""
    try:
        names = re.findall(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()


def resident() -> int:
    """Bytes of this process in memory; MatnetError if the system does not report it."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        raise MatnetError("this system does not report the memory of a process; run on Linux") from None
    import resource

    return pages * resource.getpagesize()


def matmul_peak(threads: int, rounds: int = 9) -> float:
    """FLOP/s of a large float32 matrix product, the best of ONNX Runtime and, if imported, torch."""
    matrix = np.random.default_rng(0).standard_normal((MATRIX, MATRIX)).astype(np.float32)
    products = {}
    if available("onnxruntime"):
        products["onnxruntime"] = _onnx_product(matrix, threads)
    if "torch" in sys.modules:  # only if it is a peer; importing it takes seconds
        products["torch"] = _torch_product(matrix, threads)
    if not products:
        products["numpy"] = lambda: matrix @ matrix
    seconds, _ = by_turns(products, TimeLimits(rounds))
    return 2 * MATRIX**3 / min(min(taken) for taken in seconds.values())


def _onnx_product(matrix: np.ndarray, threads: int) -> Any:
    from matnet.engines.cpu.runtimes import OnnxRuntime, RuntimeSettings
    from matnet.formats.onnx.model import Constant, Node, OnnxModel

    node = Node("MatMul", ["x", "w"], ["y"])
    model = OnnxModel("peak", [node], {"w": Constant.of(matrix)}, {"x": matrix.shape}, {"y": matrix.shape})
    session = OnnxRuntime(model, RuntimeSettings(threads))
    return lambda: session({"x": matrix})


def _torch_product(matrix: np.ndarray, threads: int) -> Any:
    torch = sys.modules["torch"]
    torch.set_num_threads(threads)
    given = torch.from_numpy(matrix)
    return lambda: given @ given


def require_threads(threads: int | None) -> int:
    """The given number of threads, or the number of available processors; EngineError below 1."""
    if threads is not None and threads < 1:
        raise EngineError(f"--threads is {threads}; expected at least 1")
    return threads or processors()
