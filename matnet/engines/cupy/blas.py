"""Matrix products by a separate cuBLAS handle, which works in CUDA graphs.

CuPy's own handle does not work during stream capture: `cublas.setStream` raises NotImplementedError. The functions are
from cublas_api.h; the library is the one loaded by CuPy.
"""

from __future__ import annotations

import ctypes
import sys
import weakref
from typing import Any

import numpy as np

from matnet.engines.cupy.views import Array, address
from matnet.errors import EngineError

WORKSPACE = 32 << 20  # bytes, as recommended by NVIDIA for Hopper
NO_TRANSPOSE, TRANSPOSE = 0, 1  # cublasOperation_t
FLOAT, HALF = 0, 2  # cudaDataType_t
FULL, FAST_TF32 = 68, 77  # cublasComputeType_t: CUBLAS_COMPUTE_32F, CUBLAS_COMPUTE_32F_FAST_TF32
DEFAULT_ALGORITHM = -1
KINDS = {np.dtype(np.float32): FLOAT, np.dtype(np.float16): HALF}

_P, _I = ctypes.c_void_p, ctypes.c_int
SIGNATURES: dict[str, tuple[Any, ...]] = {
    "cublasCreate_v2": (ctypes.POINTER(_P),),
    "cublasDestroy_v2": (_P,),
    "cublasSetStream_v2": (_P, _P),
    "cublasSetWorkspace_v2": (_P, _P, ctypes.c_size_t),
    "cublasGemmEx": (_P, _I, _I, _I, _I, _I, _P, _P, _I, _I, _P, _I, _I, _P, _P, _I, _I, _I, _I),
}


def load_library(runtime: int) -> Any:
    """The cuBLAS library loaded by CuPy, with typed functions. Raises EngineError if it is missing.

    runtime: CuPy's CUDA version (13000 is 13.0); cuBLAS has the same major version.
    """
    major = runtime // 1000
    name = f"cublas64_{major}.dll" if sys.platform == "win32" else f"libcublas.so.{major}"
    try:
        library = ctypes.CDLL(name)
    except OSError as error:
        raise EngineError(
            f"cuBLAS cannot be loaded ({error}); install it with `python -m pip install \"cupy-cuda{major}x[ctk]\"`"
        ) from None
    for name, arguments in SIGNATURES.items():
        function = getattr(library, name)
        function.argtypes, function.restype = arguments, ctypes.c_int
    return library


class Blas:
    """A cuBLAS handle for one stream on the current device, with its workspace."""

    def __init__(self, library: Any, stream: int, workspace: Array) -> None:
        self._library, self._workspace = library, workspace
        self._handle = ctypes.c_void_p()
        _check(library.cublasCreate_v2(ctypes.byref(self._handle)), "cublasCreate")
        weakref.finalize(self, library.cublasDestroy_v2, self._handle).atexit = False
        _check(library.cublasSetStream_v2(self._handle, stream), "cublasSetStream")
        # After setting the stream, which resets the workspace. Without it, each graph would allocate its own.
        size = workspace.nbytes
        _check(library.cublasSetWorkspace_v2(self._handle, address(workspace), size), "cublasSetWorkspace")
        self._one, self._zero = np.ones(1, np.float32), np.zeros(1, np.float32)

    def product(self, x: Array, rows: Array, y: Array, precision: str) -> None:
        """y = x rows' for x N x D, `rows` K x D and y N x K, all contiguous; accumulates in float32.

        TF32 only for precision "tf32". cuBLAS is column-major, so it computes y' = rows'' x'.
        """
        (count, depth), images = rows.shape, len(x)
        compute = FAST_TF32 if precision == "tf32" else FULL
        status = self._library.cublasGemmEx(
            self._handle, TRANSPOSE, NO_TRANSPOSE, count, images, depth, self._one.ctypes.data,
            address(rows), KINDS[rows.dtype], depth, address(x), KINDS[x.dtype], depth, self._zero.ctypes.data,
            address(y), KINDS[y.dtype], count, compute, DEFAULT_ALGORITHM,
        )  # fmt: skip
        _check(status, "cublasGemmEx")


def _check(status: int, function: str) -> None:
    if status:
        raise RuntimeError(f"{function} failed with status {status}{' (out of memory)' if status == 3 else ''}")
