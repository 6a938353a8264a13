"""How a kernel is started: which program, how many threads, which arguments; compiled once, run on CuPy's stream.

What is started (`Launch`) follows from shapes and types alone; `start` starts it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np

Array = Any  # cupy.ndarray; numpy.ndarray where the kernels run on the processor in tests
THREADS = 256  # of a block: enough to hide latency, few enough for kernels that take many registers
BLOCKS = 1 << 16  # at most; beyond, each thread takes several elements
SHORT_INDICES = 1 << 30  # arrays with fewer elements than this are indexed by int, larger ones by long long
WORD = 16  # bytes that a thread loads at once
STORAGE = {np.dtype(np.float32): "float", np.dtype(np.float16): "float16"}
OPTIONS = ("-std=c++17",)


@dataclass(frozen=True)
class Launch:
    """One start of a kernel: `program` is a file of this folder, `name` its template with all arguments."""

    program: str
    name: str
    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    arguments: tuple[Any, ...]  # arrays, numpy scalars of the kernel's types, None for a null pointer


def source(program: str) -> str:
    """The whole CUDA C++ text of a program; it includes nothing."""
    folder = files(__package__)
    return "".join((folder / name).read_text(encoding="utf-8") for name in ("common.cuh", f"{program}.cu"))


def start(launch: Launch) -> None:
    """Run on the current device and stream of CuPy; returns before it is done."""
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
    """The kernels' name for the array's type, float32 or float16."""
    return STORAGE[np.dtype(array.dtype)]


def index_type(*arrays: Array) -> str:
    """The C++ type that can count the elements of all arrays."""
    return "int" if all(array.size < SHORT_INDICES for array in arrays) else "long long"


def whole(kind: str, value: int) -> Any:
    """A whole number as the argument type `kind`, "int" or "long long"."""
    return np.int32(value) if kind == "int" else np.int64(value)


def vector(length: int, *arrays: Array, alike: Sequence[Array] = ()) -> int:
    """How many values to load at once: at most 16 bytes, a divisor of `length`, on addresses that are its multiples.

    `alike` are loaded by as many values, in several words where they take more than 16 bytes.
    """
    width = WORD // max(array.dtype.itemsize for array in arrays)
    while width > 1 and (length % width or not all(_aligned(array, width) for array in (*arrays, *alike))):
        width //= 2
    return width


def _aligned(array: Array, width: int) -> bool:
    return _address(array) % min(WORD, width * array.dtype.itemsize) == 0


def _address(array: Array) -> int:
    return int(array.ctypes.data) if isinstance(array, np.ndarray) else int(array.data.ptr)


def linear(elements: int, threads: int = THREADS) -> dict[str, tuple[int, int, int]]:
    """Grid and block for one thread per element, or per several where these are very many."""
    return {"grid": (min(-(-elements // threads), BLOCKS), 1, 1), "block": (threads, 1, 1)}


def tiled(tiles: int, block: tuple[int, int]) -> dict[str, tuple[int, int, int]]:
    """Grid and block for one block per tile, or per several where these are very many."""
    return {"grid": (min(tiles, BLOCKS), 1, 1), "block": (*block, 1)}


def check(*arrays: Array) -> None:
    """That the engine made all arrays contiguous and not empty, as the kernels need them."""
    for array in arrays:
        assert array.flags.c_contiguous and array.size, (array.shape, array.strides)
