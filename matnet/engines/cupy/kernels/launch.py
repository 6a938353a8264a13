"""Kernel launches: program, threads and arguments. A `Launch` depends only on shapes and types; `start` runs it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np

Array = Any  # cupy.ndarray; numpy.ndarray where the kernels run on the processor in tests
THREADS = 256  # per block: enough to hide latency, few enough for kernels with many registers
BLOCKS = 1 << 16  # maximum; beyond it, each thread processes several elements
SHORT_INDICES = 1 << 30  # arrays with fewer elements use int indices, larger ones long long
WORD = 16  # bytes per load of a thread
STORAGE = {np.dtype(np.float32): "float", np.dtype(np.float16): "float16"}
OPTIONS = ("-std=c++17",)


@dataclass(frozen=True)
class Launch:
    """A kernel launch. program: a file in this folder. name: a template with all arguments."""

    program: str
    name: str
    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    arguments: tuple[Any, ...]  # arrays, numpy scalars of the kernel's types, None for a null pointer


def source(program: str) -> str:
    """The CUDA C++ source of a program, without includes."""
    folder = files(__package__)
    return "".join((folder / name).read_text(encoding="utf-8") for name in ("common.cuh", f"{program}.cu"))


def start(launch: Launch) -> None:
    """Launch asynchronously on CuPy's current device and stream."""
    import cupy

    kernel = _compiled(launch.program, launch.name, cupy.cuda.runtime.getDevice())
    null = np.uint64(0)
    arguments = tuple(null if argument is None else argument for argument in launch.arguments)
    kernel(launch.grid, launch.block, arguments)


@cache
def _compiled(program: str, name: str, device: int) -> Any:
    import cupy

    module = cupy.RawModule(code=source(program), options=OPTIONS, name_expressions=[name])
    return module.get_function(name)


def name_of(kernel: str, *parameters: Any) -> str:
    """A template's name with its arguments, such as pool<float, 4, true>."""
    spelt = [str(item).lower() if isinstance(item, bool) else str(item) for item in parameters]
    return f"{kernel}<{', '.join(spelt)}>"


def storage(array: Array) -> str:
    """The name of the array's type in kernels."""
    return STORAGE[np.dtype(array.dtype)]


def index_type(*arrays: Array) -> str:
    """The C++ index type for these arrays."""
    return "int" if all(array.size < SHORT_INDICES for array in arrays) else "long long"


def whole(kind: str, value: int) -> Any:
    """An integer of type `kind`, "int" or "long long"."""
    return np.int32(value) if kind == "int" else np.int64(value)


def vector(length: int, *arrays: Array, alike: Sequence[Array] = ()) -> int:
    """Number of values per load: at most 16 bytes, a divisor of `length`, and aligned for all arrays.

    alike: arrays loaded with the same number of values, in several words if they exceed 16 bytes.
    """
    width: int = WORD // max(array.dtype.itemsize for array in arrays)
    places = [(_address(array), array.dtype.itemsize) for array in (*arrays, *alike)]
    while width > 1 and (length % width or any(address % min(WORD, width * size) for address, size in places)):
        width //= 2
    return width


def _address(array: Array) -> int:
    return int(array.ctypes.data) if isinstance(array, np.ndarray) else int(array.data.ptr)


def linear(elements: int, threads: int = THREADS) -> dict[str, tuple[int, int, int]]:
    """Grid and block for one thread per element, or per several elements of very large arrays."""
    return {"grid": (min(-(-elements // threads), BLOCKS), 1, 1), "block": (threads, 1, 1)}


def tiled(tiles: int, block: tuple[int, int]) -> dict[str, tuple[int, int, int]]:
    """Grid and block for one block per tile, or per several of very many tiles."""
    return {"grid": (min(tiles, BLOCKS), 1, 1), "block": (*block, 1)}


def check(*arrays: Array) -> None:
    """Assert that all arrays are contiguous and not empty."""
    for array in arrays:
        assert array.flags.c_contiguous and array.size, (array.shape, array.strides)
