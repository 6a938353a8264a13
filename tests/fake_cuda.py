"""CuPy, cuBLAS and cuDNN's frontend as far as the GPU engine uses them, on the processor: arrays are numpy's.

Libraries get addresses, strides and leading dimensions as the real ones do, and read and write memory by those alone.
The kernels are the engine's own, compiled for the processor (tests/cuda_on_cpu.py).
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from types import SimpleNamespace
from typing import Any

import numpy as np

from matnet.ops.convolution import Conv

UINT8 = np.dtype(np.uint8)


class Memory:
    """What `ndarray.data` is in CuPy."""

    def __init__(self, array: np.ndarray) -> None:
        self.ptr, self._array = array.ctypes.data, array

    def __add__(self, offset: int) -> Memory:
        moved = Memory(self._array)
        moved.ptr = self.ptr + offset
        return moved

    def copy_from_host_async(self, mem: int, size: int, stream: Any = None) -> None:
        ctypes.memmove(self.ptr, mem, size)

    def copy_to_host_async(self, mem: int, size: int, stream: Any = None) -> None:
        ctypes.memmove(mem, self.ptr, size)


class Recording:
    """What a stream that is captured has been given so far; None while none is captured."""

    actions: list[Callable[[], Any]] | None = None


def enqueue(action: Callable[[], Any]) -> None:
    """Work of the device: done at once; while a stream is captured, only when the graph is launched."""
    if Recording.actions is None:
        action()
    else:
        Recording.actions.append(action)


def refuse_while_capturing(what: str) -> None:
    if Recording.actions is not None:
        raise NotImplementedError(f"calling {what} during stream capture is currently unsupported")


def plain(value: Any) -> Any:
    """numpy's own array in place of the stand-in's, also inside lists and tuples."""
    if isinstance(value, Array):
        return value.view(np.ndarray)
    return type(value)(map(plain, value)) if type(value) in (list, tuple) else value


def computed(run: Callable[[], Any], given: Sequence[Any]) -> Any:
    """The result of a function of numpy, computed anew whenever a graph that was captured meanwhile is launched."""
    result = run()
    parts = result if isinstance(result, tuple) else (result,)
    own = [x for x in given if isinstance(x, np.ndarray)]
    fresh = [
        k
        for k, part in enumerate(parts)
        if isinstance(part, np.ndarray) and not any(np.shares_memory(part, x) for x in own)
    ]
    if Recording.actions is not None and (fresh or result is None):

        def again() -> None:
            found = run()
            for k in fresh:
                parts[k][...] = found[k] if isinstance(found, tuple) else found

        Recording.actions.append(again)
    wrapped = [part.view(Array) if isinstance(part, np.ndarray) else part for part in parts]
    return tuple(wrapped) if isinstance(result, tuple) else wrapped[0]


BY_CUBLAS = {np.dot, np.matmul, np.tensordot, np.einsum}


class Array(np.ndarray):
    """numpy's array with CuPy's `data`, whose work a captured stream records."""

    device = SimpleNamespace(id=0)

    @property
    def data(self) -> Any:
        return Memory(self)

    @data.setter
    def data(self, value: Any) -> None:
        raise AttributeError("data")

    def __dlpack_device__(self) -> Any:
        return 2, 0  # kDLCUDA

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **keywords: Any) -> Any:
        if ufunc is np.matmul:
            refuse_while_capturing("cuBLAS API")
        given, named = plain(inputs), {key: plain(value) for key, value in keywords.items()}
        out = keywords.get("out")
        if out is None:
            return computed(lambda: getattr(ufunc, method)(*given, **named), given)
        enqueue(lambda: getattr(ufunc, method)(*given, **named))
        return out[0] if len(out) == 1 else out

    def __array_function__(self, function: Any, types: Any, arguments: Any, keywords: Any) -> Any:
        if function in BY_CUBLAS:
            refuse_while_capturing("cuBLAS API")
        given, named = plain(tuple(arguments)), {key: plain(value) for key, value in keywords.items()}
        parts = [part for item in given for part in (item if isinstance(item, (list, tuple)) else [item])]
        return computed(lambda: function(*given, **named), parts)

    def __setitem__(self, index: Any, value: Any) -> None:
        target, index, value = plain(self), plain(index), plain(value)
        enqueue(lambda: target.__setitem__(index, value))


def _method(name: str) -> Any:
    def call(self: Array, *arguments: Any, **keywords: Any) -> Any:
        own, given = plain(self), plain(arguments)
        return computed(lambda: getattr(own, name)(*given, **keywords), [own])

    return call


for _name in ("astype", "copy", "reshape", "ravel", "flatten", "take", "repeat", "argmax", "argsort", "__getitem__"):
    setattr(Array, _name, _method(_name))


def device_array(value: Any, dtype: Any = None) -> Array:
    return np.array(plain(value), dtype=dtype, copy=True, order="C").view(Array)


@dataclass
class Event:
    block: bool = False
    disable_timing: bool = False

    def record(self, stream: Any = None) -> None: ...

    def synchronize(self) -> None:
        assert Recording.actions is None, "a stream that is captured must not be waited for"


@dataclass
class Stream:
    """A stream whose work is done at once, or recorded and done when the graph is launched."""

    non_blocking: bool = False
    ptr: int = 7
    graphs: int = 0
    refuses: bool = False
    waited: int = 0

    def __enter__(self) -> None: ...

    def __exit__(self, *error: object) -> None: ...

    def synchronize(self) -> None:
        assert Recording.actions is None, "a stream that is captured must not be waited for"

    def record(self) -> Event:
        return Event()

    def wait_event(self, event: Event) -> None:
        self.waited += 1

    def begin_capture(self, mode: int | None = None) -> None:
        assert Recording.actions is None
        Recording.actions = []

    def end_capture(self) -> Any:
        actions, Recording.actions = Recording.actions, None
        assert actions is not None
        if self.refuses:
            raise RuntimeError("cudaErrorStreamCaptureInvalidated: operation failed")
        self.graphs += 1
        return SimpleNamespace(
            launch=lambda stream=None: [action() for action in actions], upload=lambda stream=None: None
        )


@dataclass(eq=False)
class MemoryPool:
    """Counts bytes, and refuses more than its limit as CuPy does."""

    limit: int | None = None
    used: int = 0

    def malloc(self, size: int) -> None:
        if self.limit is not None and self.used + size > self.limit:
            raise MemoryError(f"Out of memory allocating {size} bytes (limit set to: {self.limit} bytes).")
        self.used += size

    def set_limit(self, size: int) -> None:
        self.limit = size

    def total_bytes(self) -> int:
        return self.used

    def free_all_blocks(self) -> None: ...


class Cublas:
    """cuBLAS as a library of C functions: gemmEx on column-major matrices at addresses, for the types that it knows.

    As in NVIDIA's documentation cublasSetStream takes the workspace away, and there is no memory for another one
    while the stream is captured.
    """

    def __init__(self) -> None:
        self.computed: list[int] = []
        self.handles, self.workspace = 0, 0

    def cublasCreate_v2(self, handle: Any) -> int:
        handle._obj.value = 5
        self.handles += 1
        return 0

    def cublasDestroy_v2(self, handle: Any) -> int:
        self.handles -= 1
        return 0

    def cublasSetStream_v2(self, handle: Any, stream: int) -> int:
        assert (handle.value, stream) == (5, 7)
        self.workspace = 0
        return 0

    def cublasSetWorkspace_v2(self, handle: Any, address: int, size: int) -> int:
        assert handle.value == 5 and address % 256 == 0
        self.workspace = size
        return 0

    def cublasGemmEx(self, handle: Any, transa: int, transb: int, m: int, n: int, k: int, alpha: int, A: int,
                     Atype: int, lda: int, B: int, Btype: int, ldb: int, beta: int, C: int, Ctype: int, ldc: int,
                     computeType: int, algo: int) -> int:  # fmt: skip
        assert (handle.value, transa, transb, algo) == (5, 1, 0, -1) and Atype == Btype
        if not self.workspace and Recording.actions is not None:
            return 3  # CUBLAS_STATUS_ALLOC_FAILED
        self.computed.append(computeType)
        types = {0: np.float32, 2: np.float16}
        one, zero = (memory_at(place, (1,), (1,), np.float32)[0] for place in (alpha, beta))  # read when it is called
        a = memory_at(A, (m, k), (lda, 1), types[Atype])
        b = memory_at(B, (k, n), (1, ldb), types[Btype])
        c = memory_at(C, (m, n), (1, ldc), types[Ctype])

        def work() -> None:
            c[...] = one * (a.astype(np.float32) @ b.astype(np.float32)) + (zero * c if zero else 0)

        enqueue(work)
        return 0


def memory_at(place: int, shape: tuple[int, ...], strides: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Memory as an array of this shape; strides in elements."""
    size = np.dtype(dtype).itemsize
    span = sum((length - 1) * stride for length, stride in zip(shape, strides, strict=True)) + 1
    flat = np.frombuffer((ctypes.c_char * (span * size)).from_address(place), dtype)
    return np.lib.stride_tricks.as_strided(flat, shape, [stride * size for stride in strides])


class CompileException(Exception):
    """What CuPy raises where NVRTC refuses a kernel; no RuntimeError."""


class Cupy:
    """The module: numpy's functions, and the parts of CuPy that numpy lacks."""

    __version__ = "14.2.0"
    ndarray = Array

    def __init__(self) -> None:
        self.allocators: list[Any] = []
        self.free = 1 << 34  # bytes of the GPU
        self.caller = Stream()
        self.cuda = SimpleNamespace(
            Device=lambda index: _nothing(), Stream=Stream, Event=Event, MemoryPool=MemoryPool,
            get_elapsed_time=lambda begin, end: 1.0, using_allocator=self._using_allocator,
            get_current_stream=lambda: self.caller, compiler=SimpleNamespace(CompileException=CompileException),
            runtime=SimpleNamespace(memGetInfo=lambda: (self.free, 1 << 35)),
        )  # fmt: skip

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)

    def get_default_memory_pool(self) -> MemoryPool:
        return MemoryPool()

    def get_default_pinned_memory_pool(self) -> MemoryPool:
        return MemoryPool()

    @contextmanager
    def _using_allocator(self, malloc: Any) -> Iterator[None]:
        self.allocators.append(malloc)
        try:
            yield
        finally:
            self.allocators.pop()

    def empty(self, shape: Any, dtype: Any = np.float32) -> Array:
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        if self.allocators:
            self.allocators[-1](size)
        memory = np.full(size + 256, 0xFF, UINT8)
        first = -memory.ctypes.data % 256  # as cudaMalloc aligns
        return memory[first : first + size].view(dtype).reshape(shape).view(Array)

    def zeros(self, shape: Any, dtype: Any = np.float32) -> Array:
        return np.zeros(shape, dtype).view(Array)

    def asarray(self, value: Any, dtype: Any = None) -> Array:
        return value if isinstance(value, Array) else device_array(value, dtype)

    def ascontiguousarray(self, value: Array, dtype: Any = None) -> Array:
        return value if value.flags.c_contiguous and value.dtype == dtype else device_array(value, dtype)

    def array(self, value: Array, dtype: Any = None, order: str = "K") -> Array:
        return device_array(value, dtype)

    def from_dlpack(self, value: Any) -> Array:
        return value.shared()

    def copyto(self, target: Array, source: Array) -> None:
        target[...] = source

    def asnumpy(self, value: Array) -> np.ndarray:
        refuse_while_capturing("cudaMemcpy")
        return np.array(plain(value))


@contextmanager
def _nothing() -> Iterator[None]:
    yield


class NotSupported(RuntimeError):
    """What cuDNN's frontend raises."""


Kind = Enum("Kind", "FLOAT HALF")
TYPES = {Kind.FLOAT: np.float32, Kind.HALF: np.float16}


@dataclass
class Tensor:
    dim: list[int] = field(default_factory=list)
    stride: list[int] = field(default_factory=list)
    data_type: Any = None
    uid: int = 0
    compute: Any = None  # a function of the buffers

    def set_output(self, value: bool) -> Tensor:
        return self

    def set_data_type(self, value: Any) -> Tensor:
        self.data_type = value
        return self

    def set_uid(self, value: int) -> Tensor:
        self.uid = value
        return self

    def set_dim(self, value: list[int]) -> Tensor:
        self.dim = value
        return self

    def set_stride(self, value: list[int]) -> Tensor:
        self.stride = value
        return self

    def at(self, place: int) -> np.ndarray:
        return memory_at(place, tuple(self.dim), tuple(self.stride), TYPES[self.data_type])


@dataclass
class Graph:
    """One graph of the frontend: builds a function of buffers by uid, and runs it as any of its plans."""

    cudnn: Cudnn
    nodes: list[str] = field(default_factory=list)
    last: Tensor = field(default_factory=Tensor)
    barred: bool = False
    ready: set[int] = field(default_factory=set)

    def tensor(self, dim: list[int], stride: list[int], data_type: Any, name: str, uid: int) -> Tensor:
        made = Tensor(dim, stride, data_type, uid)
        made.compute = lambda buffers: made.at(buffers[uid]).astype(np.float32)
        return made

    def _node(self, name: str, compute: Any) -> Tensor:
        self.nodes.append(name)
        self.last = Tensor(compute=compute)
        return self.last

    def conv_fprop(
        self, image: Tensor, weight: Tensor, pre_padding: Any, post_padding: Any, stride: Any, dilation: Any
    ) -> Tensor:
        (top, left), (bottom, right) = pre_padding, post_padding
        op = Conv(pad=(top, bottom, left, right), stride=stride, dilate=dilation, hasBias=False)

        def compute(buffers: dict[int, int]) -> np.ndarray:
            filters = np.asfortranarray(weight.compute(buffers).transpose(2, 3, 1, 0))
            (found,) = op.forward(np, [np.ascontiguousarray(image.compute(buffers))], op.prepare(np, [filters]))
            return found

        return self._node("conv", compute)

    def conv_dgrad(
        self, loss: Tensor, filter: Tensor, pre_padding: Any, post_padding: Any, stride: Any, dilation: Any
    ) -> Tensor:
        """Every output pixel's filters, weighted, added to the pixels under them; sizes from the output's dim."""
        (top, left), (bottom, right) = pre_padding, post_padding

        def compute(buffers: dict[int, int]) -> np.ndarray:
            y, filters = loss.compute(buffers), filter.compute(buffers)
            (n, channels, height, width), (count, depth, h, w) = self.last.dim, filters.shape
            full = np.zeros((n, channels, height + top + bottom, width + left + right), np.float32)
            share = count // (channels // depth)
            for k in range(count):
                first = k // share * depth
                for i, j in np.ndindex(*y.shape[2:]):
                    rows, columns = i * stride[0], j * stride[1]
                    patch = y[:, k, i, j, None, None, None] * filters[k]
                    full[:, first : first + depth, rows : rows + h, columns : columns + w] += patch
            return full[:, :, top : top + height, left : left + width]

        return self._node("dgrad", compute)

    def bias(self, input: Tensor, bias: Tensor) -> Tensor:
        return self._node("bias", lambda buffers: input.compute(buffers) + bias.compute(buffers))

    def add(self, a: Tensor, b: Tensor) -> Tensor:
        return self._node("add", lambda buffers: a.compute(buffers) + b.compute(buffers))

    def relu(self, input: Tensor, negative_slope: float | None = None) -> Tensor:
        slope = np.float32(negative_slope or 0)

        def compute(buffers: dict[int, int]) -> np.ndarray:
            x = input.compute(buffers)
            return np.where(x > 0, x, slope * x)

        return self._node("relu", compute)

    def validate(self) -> None: ...

    def build_operation_graph(self) -> None: ...

    def matmul(self, A: Tensor, B: Tensor) -> Tensor:
        if not self.cudnn.bindings:
            raise ModuleNotFoundError("No module named 'cuda'")
        return self._node("matmul", lambda buffers: A.compute(buffers) @ B.compute(buffers))

    def create_execution_plans(self, heuristics: list[Any]) -> None:
        if "add" in self.nodes and "bias" in self.nodes[: self.nodes.index("add")]:
            raise NotSupported("no engine is compiled for a sum behind the bias")
        if self.cudnn.refused.intersection(self.nodes):
            raise NotSupported(f"no engine for {self.nodes}")

    def deselect_numeric_notes(self, notes: list[Any]) -> None:
        self.barred = True

    def get_execution_plan_count(self) -> int:
        return 3

    def get_plan_name_at_index(self, index: int) -> str:
        return f"eng{index}"

    def build_plan_at_index(self, index: int) -> None:
        if index == 0 and self.barred:
            raise NotSupported("Deselecting execution plan")
        self.ready.add(index)

    def get_workspace_size_plan_at_index(self, index: int) -> int:
        return self.cudnn.workspaces[index]

    def execute_plan_at_index(self, tensor_dict: dict[int, int], workspace: int, index: int, handle: Any) -> None:
        assert index in self.ready and handle == "handle"
        def work() -> None:
            if self.cudnn.workspaces[index]:
                scratch = memory_at(workspace, (self.cudnn.workspaces[index],), (1,), np.uint8)
                scratch[...] = 0xFF
            found = self.last.compute(tensor_dict)
            self.last.at(tensor_dict[self.last.uid])[...] = found
            self.cudnn.ran.append((tuple(self.nodes), index))

        enqueue(work)


class Cudnn:
    """The frontend: `refused` nodes are those that no graph may have, `ran` what was executed."""

    __version__ = "1.32.0"
    cudnnGraphNotSupportedError = NotSupported
    data_type = Kind
    heur_mode = SimpleNamespace(A="A", FALLBACK="FALLBACK")
    numerical_note = SimpleNamespace(TENSOR_CORE=1, DOWN_CONVERT_INPUTS=2)

    def __init__(self) -> None:
        self.refused: set[str] = set()
        self.bindings = True  # whether cuda-bindings are installed, which the frontend's matmul imports
        self.handles, self.broken = 0, False
        self.workspaces = [0, 64, 1 << 40]
        self.ran: list[tuple[tuple[str, ...], int]] = []

    def create_handle(self) -> str:
        if self.broken:
            raise RuntimeError("cudnnHandle Create failed")
        self.handles += 1
        return "handle"

    def destroy_handle(self, handle: str) -> None:
        self.handles -= 1

    def set_stream(self, handle: str, stream: int) -> None:
        assert (handle, stream) == ("handle", 7)

    def backend_version(self) -> int:
        return 92800

    def pygraph(self, io_data_type: Kind, intermediate_data_type: Kind, compute_data_type: Kind, handle: Any) -> Graph:
        assert intermediate_data_type is compute_data_type is Kind.FLOAT
        return Graph(self)
