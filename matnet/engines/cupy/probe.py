"""Detection of a usable GPU, with errors that name the missing driver or package."""

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
OLDEST_CUDA = 12  # oldest version with wheels of CuPy 14
OLDEST_CUDNN = 90000  # 9.0.0 in cuDNN's numbering
# Exceptions of damaged or incompatible packages at import or first use.
BROKEN = (ImportError, OSError, RuntimeError, AttributeError, TypeError, ValueError)
NEEDS = {"tf32": ((8, 0), "TF32 tensor cores"), "fp16": ((7, 0), "FP16 tensor cores")}
INSTEAD = "or use the CPU: backend 'onnx' or 'numpy'"
P = ParamSpec("P")
T = TypeVar("T")
_kept: dict[Any, Any] = {}  # cached results of probes
_lock = RLock()


@dataclass(frozen=True)
class Gpu:
    """A usable GPU. capability: compute capability. memory: bytes. driver, runtime: CUDA versions."""

    index: int
    name: str
    capability: tuple[int, int]
    memory: int
    driver: int
    runtime: int

    def __str__(self) -> str:
        return f"gpu:{self.index} ({self.name})"


def driver_version() -> int | None:
    """The CUDA version supported by the NVIDIA driver (13000 is 13.0); None without a driver."""
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
    """Whether CuPy is installed, without importing it."""
    return find_spec("cupy") is not None


def worth_a_note() -> bool:
    """Whether the user seems to expect a GPU, so that a note is useful."""
    return cupy_installed() or DRIVER_FILE.exists()


def reason(error: EngineError) -> str:
    """Why there is no GPU, without the advice to somebody who asks for one."""
    return str(error).removesuffix(f", {INSTEAD}").removesuffix("; install it")


def find_gpu(index: int | None = None, precision: str = "fp32") -> Gpu:
    """The GPU with this number (default: the current one), after a test computation.

    Raises EngineError, with advice, if driver, CuPy or GPU are missing or incompatible, or if the GPU does not support
    the precision.
    """
    cupy, _ = _usable_cupy()
    gpu = _tried_gpu(_counted(cupy, index))
    require_precision(gpu, precision)
    return gpu


def once(probe: Callable[P, T]) -> Callable[P, T]:
    """Decorator: run `probe` once per process and arguments; caches its result or EngineError."""

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
    """Clear the cache."""
    with _lock:
        _kept.clear()


@once
def _usable_cupy() -> tuple[Any, int]:
    """The cupy module, and the CUDA version of the driver."""
    driver = driver_version()
    if driver is None:
        raise EngineError(f"no GPU is available, because no NVIDIA driver is installed; install it, {INSTEAD}")
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
    """The cupy module. Raises EngineError, naming the package for this driver, if it is missing or damaged."""
    try:
        import cupy
    except BROKEN as error:
        what = f"CuPy is damaged ({_one_line(error)})" if cupy_installed() else "CuPy is not installed"
        raise EngineError(f"backend 'cupy' is not available: {what}; {_install(driver)}, {INSTEAD}") from None
    return cupy


def _install(driver: int | None) -> str:
    if driver is not None and driver // 1000 < OLDEST_CUDA:
        return f"update the NVIDIA driver (for CUDA {_text(driver)}), then install cupy-cuda12x[ctk]"
    package = "cupy-cuda12x" if driver is not None and driver // 1000 == 12 else "cupy-cuda13x"
    return f'install it with `python -m pip install "{package}[ctk]"`'


def _require_fitting_driver(cupy: Any, driver: int) -> None:
    """Require a driver for CuPy's major CUDA version or a newer one."""
    needed = cupy.cuda.runtime.runtimeGetVersion()
    if driver // 1000 >= needed // 1000:
        return
    other = "" if driver // 1000 < OLDEST_CUDA else f' or `python -m pip install "cupy-cuda{driver // 1000}x[ctk]"`'
    raise EngineError(
        f"the NVIDIA driver supports CUDA {_text(driver)}, but CuPy {cupy.__version__} needs CUDA {_text(needed)}: "
        f"update the driver{other}, {INSTEAD}"
    )


def _counted(cupy: Any, index: int | None) -> int:
    try:
        count = cupy.cuda.runtime.getDeviceCount()
        current = cupy.cuda.runtime.getDevice() if count else 0
    except BROKEN as error:
        raise EngineError(f"no GPU is available: CUDA: {_one_line(error)}; repair the driver, {INSTEAD}") from None
    if not count:
        raise EngineError(f"no GPU was found by the NVIDIA driver (is CUDA_VISIBLE_DEVICES empty?); add one, {INSTEAD}")
    if index is not None and index >= count:
        known = ", ".join(f"gpu:{number}" for number in range(count))
        raise EngineError(f"device 'gpu:{index}' does not exist; expected {known}")
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
    """CUDA 13 supports compute capability 7.5 and later, CUDA 12 supports 5.0 and later."""
    oldest = (7, 5) if gpu.runtime >= 13000 else (5, 0)
    if gpu.capability >= oldest:
        return
    way = 'install "cupy-cuda12x[ctk]" instead' if gpu.capability >= (5, 0) else "use another GPU"
    raise EngineError(
        f"{gpu} has compute capability {_dotted(gpu.capability)}, but CUDA {_text(gpu.runtime)} needs "
        f"{_dotted(oldest)}; {way}, {INSTEAD}"
    )


def require_precision(gpu: Gpu, precision: str) -> None:
    """Raise EngineError if the GPU has no tensor cores for this precision."""
    needed, what = NEEDS.get(precision, ((0, 0), ""))
    if gpu.capability < needed:
        raise EngineError(
            f"{gpu} has compute capability {_dotted(gpu.capability)}, but {what} need {_dotted(needed)}; "
            "use precision 'fp32'"
        )


def _try_out(cupy: Any, gpu: Gpu) -> None:
    """Compile a kernel and compute a matrix product, to detect broken installations early."""
    try:
        with cupy.cuda.Device(gpu.index):
            ones = cupy.ones((2, 2), dtype=cupy.float32)
            total = float((cupy.matmul(ones, ones) + ones).sum())
    except cupy.cuda.compiler.CompileException as error:
        raise EngineError(f"{does_not_compile(error, gpu)}, {INSTEAD}") from None
    except BROKEN as error:
        raise EngineError(
            f"CuPy {cupy.__version__} cannot compute on {gpu}: {_one_line(error)}; install the CUDA libraries with "
            f'`python -m pip install "cupy-cuda{gpu.runtime // 1000}x[ctk]"`, {INSTEAD}'
        ) from None
    if total != 12:
        raise EngineError(f"{gpu} computes a wrong result ({total:g}, expected 12); use another GPU, {INSTEAD}")


def does_not_compile(error: BaseException, gpu: Gpu) -> str:
    """The message for a kernel that NVRTC rejects, with the first error of its log."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    first = next((line for line in lines if "error" in line.lower()), lines[0] if lines else type(error).__name__)
    return (
        f"a kernel does not compile for {gpu}: {first[:200].rstrip('.')}; reinstall the CUDA compiler with "
        f'`python -m pip install "cupy-cuda{gpu.runtime // 1000}x[ctk]"`'
    )


def import_cudnn(runtime: int = 13000) -> Any:
    """The cudnn module of nvidia-cudnn-frontend. Raises EngineError if it or the cuDNN library is missing.

    runtime: CuPy's CUDA version, which the library must match.
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
        raise EngineError(f"cuDNN {version} is too old; expected 9.0 or later; {install}")
    return cudnn


def _text(version: int) -> str:
    return f"{version // 1000}.{version % 1000 // 10}"


def _dotted(capability: tuple[int, int]) -> str:
    return ".".join(map(str, capability))


def _one_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:200].rstrip(".") if lines else type(error).__name__
