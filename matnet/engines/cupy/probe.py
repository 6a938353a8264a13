"""Which GPU can be used, and where none can, which driver or package is missing: one sentence that names it."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from importlib.util import find_spec
from pathlib import Path
from threading import RLock
from typing import Any, ParamSpec, TypeVar, cast

from matnet.errors import EngineError

DRIVER_LIBRARIES = ("nvcuda.dll",) if sys.platform == "win32" else ("libcuda.so.1", "libcuda.so")
DRIVER_FILE = Path("/proc/driver/nvidia/version")
OLDEST_CUDA = 12  # that CuPy 14 has wheels for
OLDEST_CUDNN = 90000  # 9.0.0, as cuDNN numbers itself
# What a package that is damaged, or does not fit the other ones, raises when it is imported or first used.
BROKEN = (ImportError, OSError, RuntimeError, AttributeError, TypeError, ValueError)
NEEDS = {"tf32": ((8, 0), "TF32 tensor cores"), "fp16": ((7, 0), "FP16 tensor cores")}
INSTEAD = "or compute on the processor: backend 'onnx' or 'numpy'"
P = ParamSpec("P")
T = TypeVar("T")
_kept: dict[Any, Any] = {}  # results of probes
_lock = RLock()


@dataclass(frozen=True)
class Gpu:
    """One usable GPU: `capability` is its compute capability, `memory` bytes, `driver` and `runtime` CUDA versions."""

    index: int
    name: str
    capability: tuple[int, int]
    memory: int
    driver: int
    runtime: int

    def __str__(self) -> str:
        return f"gpu:{self.index} ({self.name})"


def driver_version() -> int | None:
    """The newest CUDA that the installed driver can run (13000 is 13.0); None where there is no NVIDIA driver."""
    for name in DRIVER_LIBRARIES:
        try:
            library = ctypes.CDLL(name)
        except OSError:
            continue
        version = ctypes.c_int()
        if library.cuDriverGetVersion(ctypes.byref(version)) == 0 and version.value:
            return version.value
    return None


def cupy_installed() -> bool:
    """Whether CuPy can be found; it is not imported here."""
    return find_spec("cupy") is not None


def worth_a_note() -> bool:
    """Whether someone means to use a GPU here, so that they should hear why none is used."""
    return cupy_installed() or DRIVER_FILE.exists()


def find_gpu(index: int | None = None, precision: str = "fp32") -> Gpu:
    """The GPU with this number (default: the current one), tried out.

    EngineError, naming what to install or to choose, where there is no driver, CuPy or GPU, where they do not
    fit together, or the GPU lacks the precision.
    """
    cupy, _ = _usable_cupy()
    gpu = _tried_gpu(_counted(cupy, index))
    require_precision(gpu, precision)
    return gpu


def once(probe: Callable[P, T]) -> Callable[P, T]:
    """`probe` run once per process and arguments: its result, or its EngineError, is kept."""

    @wraps(probe)
    def kept(*args: P.args, **kwargs: P.kwargs) -> T:
        key = (probe.__name__, os.getpid(), args)  # a forked process cannot use the CUDA of its parent
        with _lock:
            if key not in _kept:
                try:
                    _kept[key] = probe(*args, **kwargs)
                except EngineError as error:
                    _kept[key] = error
            found = _kept[key]
        if isinstance(found, EngineError):
            raise EngineError(str(found))
        return cast("T", found)

    return kept


def forget() -> None:
    """Probe anew at the next call."""
    with _lock:
        _kept.clear()


@once
def _usable_cupy() -> tuple[Any, int]:
    """The cupy module, and the CUDA version of the driver."""
    driver = driver_version()
    if driver is None:
        raise EngineError(f"no GPU can be used, because no NVIDIA driver is installed; install it, {INSTEAD}")
    cupy = import_cupy(driver)
    _require_fitting_driver(cupy, driver)
    return cupy, driver


@once
def _tried_gpu(index: int) -> Gpu:
    cupy, driver = _usable_cupy()
    gpu = _described(cupy, index, driver)
    _require_supported(gpu)
    _try_out(cupy, gpu)
    return gpu


def import_cupy(driver: int | None = None) -> Any:
    """The cupy module; EngineError that names the package for this CUDA driver where it is missing or damaged."""
    try:
        import cupy
    except BROKEN as error:
        what = f"CuPy is damaged ({_one_line(error)})" if cupy_installed() else "CuPy is not installed"
        raise EngineError(f"backend 'cupy' cannot be used: {what}; {_install(driver)}, {INSTEAD}") from None
    return cupy


def _install(driver: int | None) -> str:
    if driver is not None and driver // 1000 < OLDEST_CUDA:
        return f"update the NVIDIA driver, which is for CUDA {_text(driver)}, then install cupy-cuda12x[ctk]"
    package = "cupy-cuda12x" if driver is not None and driver // 1000 == 12 else "cupy-cuda13x"
    return f'install it with `python -m pip install "{package}[ctk]"`'


def _require_fitting_driver(cupy: Any, driver: int) -> None:
    """A driver runs all of its own major version of CUDA, and older ones."""
    needed = cupy.cuda.runtime.runtimeGetVersion()
    if driver // 1000 >= needed // 1000:
        return
    other = "" if driver // 1000 < OLDEST_CUDA else f' or `python -m pip install "cupy-cuda{driver // 1000}x[ctk]"`'
    raise EngineError(
        f"the NVIDIA driver is for CUDA {_text(driver)}, CuPy {cupy.__version__} for CUDA {_text(needed)}: "
        f"update the driver{other}, {INSTEAD}"
    )


def _counted(cupy: Any, index: int | None) -> int:
    try:
        count = cupy.cuda.runtime.getDeviceCount()
        current = cupy.cuda.runtime.getDevice() if count else 0
    except BROKEN as error:
        raise EngineError(f"no GPU can be used: CUDA says {_one_line(error)}; mend the driver, {INSTEAD}") from None
    if not count:
        raise EngineError(f"no GPU was found by the NVIDIA driver (is CUDA_VISIBLE_DEVICES empty?); add one, {INSTEAD}")
    if index is not None and index >= count:
        known = ", ".join(f"gpu:{number}" for number in range(count))
        raise EngineError(f"there is no gpu:{index}; there is {known}")
    return current if index is None else index


def _described(cupy: Any, index: int, driver: int) -> Gpu:
    properties = cupy.cuda.runtime.getDeviceProperties(index)
    name = properties["name"]
    return Gpu(
        index,
        name.decode(errors="replace") if isinstance(name, bytes) else str(name),
        (int(properties["major"]), int(properties["minor"])),
        int(properties["totalGlobalMem"]),
        driver,
        cupy.cuda.runtime.runtimeGetVersion(),
    )


def _require_supported(gpu: Gpu) -> None:
    """CUDA 13 compiles for compute capability 7.5 and later, CUDA 12 for 5.0 and later."""
    oldest = (7, 5) if gpu.runtime >= 13000 else (5, 0)
    if gpu.capability >= oldest:
        return
    way = 'install "cupy-cuda12x[ctk]" instead' if gpu.capability >= (5, 0) else "choose another GPU"
    raise EngineError(
        f"{gpu} has compute capability {_dotted(gpu.capability)}, and CUDA {_text(gpu.runtime)} needs "
        f"{_dotted(oldest)}; {way}, {INSTEAD}"
    )


def require_precision(gpu: Gpu, precision: str) -> None:
    """EngineError where the GPU has no tensor cores for this precision."""
    needed, what = NEEDS.get(precision, ((0, 0), ""))
    if gpu.capability < needed:
        raise EngineError(
            f"{gpu} has compute capability {_dotted(gpu.capability)}, and {what} need {_dotted(needed)}; "
            "choose precision 'fp32'"
        )


def _try_out(cupy: Any, gpu: Gpu) -> None:
    """A kernel compiled and a matrix product: what fails later with a long traceback fails here with a sentence."""
    try:
        with cupy.cuda.Device(gpu.index):
            ones = cupy.ones((2, 2), dtype=cupy.float32)
            total = float((cupy.matmul(ones, ones) + ones).sum())
    except cupy.cuda.compiler.CompileException as error:
        raise EngineError(f"{does_not_compile(error, gpu)}, {INSTEAD}") from None
    except BROKEN as error:
        raise EngineError(
            f"CuPy {cupy.__version__} cannot compute on {gpu}: {_one_line(error)}; install CUDA's libraries with "
            f'`python -m pip install "cupy-cuda{gpu.runtime // 1000}x[ctk]"`, {INSTEAD}'
        ) from None
    if total != 12:
        raise EngineError(f"{gpu} computes 2 x 2 ones wrongly ({total:g}, expected 12); choose another GPU, {INSTEAD}")


def does_not_compile(error: BaseException, gpu: Gpu) -> str:
    """What to say where NVRTC refuses a kernel; its log is long, and its first error states what is wrong."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    first = next((line for line in lines if "error" in line.lower()), lines[0] if lines else type(error).__name__)
    return (
        f"a kernel does not compile for {gpu}: {first[:200].rstrip('.')}; reinstall CUDA's compiler with "
        f'`python -m pip install "cupy-cuda{gpu.runtime // 1000}x[ctk]"`'
    )


def import_cudnn(runtime: int = 13000) -> Any:
    """The cudnn module of nvidia-cudnn-frontend, with a cuDNN library; EngineError where either is missing.

    `runtime` is the CUDA version of CuPy, which the library must share.
    """
    library = f"nvidia-cudnn-cu{runtime // 1000}"
    install = f"install them with `python -m pip install nvidia-cudnn-frontend {library}`"
    if find_spec("cudnn") is None:
        raise EngineError(f"cuDNN's Python frontend is not installed; {install}")
    try:
        import cudnn

        version = cudnn.backend_version()
    except BROKEN as error:
        raise EngineError(f"cuDNN cannot be loaded ({_one_line(error)}); {install}") from None
    if version < OLDEST_CUDNN:
        raise EngineError(f"cuDNN {version} is too old, expected 9.0 or later; {install}")
    return cudnn


def _text(version: int) -> str:
    return f"{version // 1000}.{version % 1000 // 10}"


def _dotted(capability: tuple[int, int]) -> str:
    return ".".join(map(str, capability))


def _one_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:200].rstrip(".") if lines else type(error).__name__
