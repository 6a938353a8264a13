"""A GPU with its streams, memory and libraries, and programs that run schedules on it."""

from __future__ import annotations

import re
import sys
import threading
import weakref
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from matnet.engines.base import does_not_fit
from matnet.engines.cupy.blas import WORKSPACE, Blas, load_library
from matnet.engines.cupy.bound import Bound
from matnet.engines.cupy.capture import Replayed
from matnet.engines.cupy.choice import Chooser, PlanBook
from matnet.engines.cupy.machine import GpuMachine, Scratch
from matnet.engines.cupy.probe import BROKEN, Gpu, does_not_compile, import_cudnn, import_cupy
from matnet.engines.cupy.steps import Schedule
from matnet.engines.cupy.transfer import PageLocked, PinnedBatch
from matnet.engines.cupy.views import Array
from matnet.engines.layer_by_layer import LayerByLayer
from matnet.errors import EngineError, MatnetError, NetworkError
from matnet.network import Layer, Network

Values = Mapping[str, Any]  # arrays N x C x H x W of numpy or CuPy
SLOTS = 2  # concurrent batches: one is computed, one is copied
SHARE_FOR_WORKSPACE = 8  # a step may use 1 / 8 of the free memory as workspace
NO_MEMORY = re.compile(r"out of ?memory|MemoryAllocation|ALLOC_FAILED", re.IGNORECASE)  # in messages of CUDA libraries


@dataclass(frozen=True)
class GpuOptions:
    """Options of a GPU. cudnn: None: if installed. memory_limit: in bytes; None: unlimited."""

    precision: str = "fp32"
    cudnn: bool | None = None
    autotune: bool = True
    graphs: bool = True
    memory_limit: int | None = None


class Pools:
    """Memory pools of one GPU with a common limit in bytes; None: unlimited."""

    def __init__(self, cupy: Any, limit: int | None) -> None:
        self._cupy, self._limit = cupy, limit
        self._made: weakref.WeakSet[Pool] = weakref.WeakSet()

    def new(self) -> Pool:
        """Create a pool."""
        pool = Pool(self, self._cupy.cuda.MemoryPool())
        self._made.add(pool)
        return pool

    @property
    def left(self) -> int:
        """Bytes that may still be allocated on the GPU."""
        return sys.maxsize if self._limit is None else max(0, self._limit - sum(pool.size for pool in self._made))


class Pool:
    """A memory pool that respects the limit of its `Pools`."""

    def __init__(self, pools: Pools, pool: Any) -> None:
        self._pools, self._pool = pools, pool

    @property
    def size(self) -> int:
        """Bytes allocated on the GPU."""
        return int(self._pool.total_bytes())

    def malloc(self, size: int) -> Any:
        """Allocate, as CuPy's allocators; raises CuPy's MemoryError beyond the limit."""
        left = self._pools.left
        if left < sys.maxsize:
            self._pool.set_limit(size=max(1, self.size + left))
        return self._pool.malloc(size)

    def free_all_blocks(self) -> None:
        """Return unused memory to the GPU."""
        self._pool.free_all_blocks()


class GpuDevice:
    """A GPU with its streams, memory pools and cuDNN. Compiles networks and schedules."""

    def __init__(self, gpu: Gpu, options: GpuOptions) -> None:
        self.gpu, self.options = gpu, options
        self.cupy = import_cupy()
        self.notes: list[str] = []
        self.cudnn = self._find_cudnn()
        self.lock = threading.RLock()
        self.page_locked = PageLocked()
        with self.translated({}), self.cupy.cuda.Device(gpu.index):
            self.computing, self.upward, self.downward = (self.cupy.cuda.Stream(non_blocking=True) for _ in range(3))
            self.pools = Pools(self.cupy, options.memory_limit)
            self.pool = self.pools.new()
            self.scratch = Scratch(self.cupy, self.pool)
            self.trial_scratch = Scratch(self.cupy, self.pools.new())  # rejected plans may need more memory
            self.chooser = self._make_chooser()
            self._blas: Blas | None = None

    def _find_cudnn(self) -> Any:
        """The cuDNN frontend; None if disabled or, in fp32, missing. Raises EngineError if it is required."""
        if self.options.cudnn is False:
            return None
        try:
            return import_cudnn(self.gpu.runtime)
        except EngineError as error:
            self._do_without_cudnn(str(error))
            return None

    def _do_without_cudnn(self, reason: str) -> None:
        """Add a note. Raises EngineError if cuDNN was requested or the precision requires it."""
        if self.options.cudnn:
            raise EngineError(f"cuDNN was requested, but {reason}")
        if self.options.precision != "fp32":
            raise EngineError(f"precision {self.options.precision!r} needs cuDNN: {reason}, or use precision 'fp32'")
        self.notes.append(f"convolutions run without cuDNN, more slowly: {reason}")
        self.cudnn = None

    def _make_chooser(self) -> Chooser:
        options, handle = self.options, None
        if self.cudnn is not None:
            try:
                handle = self.cudnn.create_handle()
            except BROKEN as error:
                self._do_without_cudnn(f"it does not run on {self.gpu}: {error}")
        version = 0
        if handle is not None:
            # A handle owns GPU memory, which the driver frees at process exit.
            weakref.finalize(self, self.cudnn.destroy_handle, handle).atexit = False
            self.cudnn.set_stream(handle, self.computing.ptr)
            version = int(self.cudnn.backend_version())
        book = PlanBook.of(self.gpu, version)
        return Chooser(self.cupy, self.computing, book, self.cudnn, handle, options.autotune)

    def workspace(self) -> int:
        """Maximum workspace of a step in bytes."""
        free, _ = self.cupy.cuda.runtime.memGetInfo()
        return min(int(free), self.pools.left) // SHARE_FOR_WORKSPACE

    def blas(self) -> Blas:
        """The engine's cuBLAS handle, created at first use. Device and stream must be current."""
        if self._blas is None:
            size = max(1, min(WORKSPACE, self.workspace()))
            with self.cupy.cuda.using_allocator(self.pool.malloc):
                memory = self.cupy.empty(size, dtype=self.cupy.uint8)
            self._blas = Blas(load_library(self.gpu.runtime), self.computing.ptr, memory)
        return self._blas

    @property
    def packages(self) -> list[str]:
        """The installed packages used for computation."""
        major = self.gpu.runtime // 1000
        names = [f"cupy-cuda{major}x", "cupy"]
        names += [] if self.cudnn is None else ["nvidia-cudnn-frontend", f"nvidia-cudnn-cu{major}"]
        return [name for name in names if installed(name)]

    @contextmanager
    def current(self, values: Values) -> Iterator[None]:
        """Make this GPU and the compute stream current, and translate errors as `translated`."""
        with self.translated(values), self.cupy.cuda.Device(self.gpu.index), self.computing:
            yield

    @contextmanager
    def translated(self, values: Values) -> Iterator[None]:
        """Convert errors of CUDA libraries to EngineError, or to OutOfMemoryError for these inputs."""
        try:
            yield
        except MatnetError:
            raise
        except MemoryError as error:
            raise does_not_fit(values, str(self.gpu), error) from None
        except RuntimeError as error:
            if NO_MEMORY.search(str(error)):
                raise does_not_fit(values, str(self.gpu), error) from None
            raise EngineError(f"{self.gpu} failed: {str(error).strip()}") from None
        except self.cupy.cuda.compiler.CompileException as error:
            raise EngineError(does_not_compile(error, self.gpu)) from None

    def caller(self, values: Values, on_device: bool) -> Caller:
        """The Caller for these inputs; the caller's stream must be current."""
        if not on_device and not any(isinstance(value, self.cupy.ndarray) for value in values.values()):
            return Caller()
        with self.cupy.cuda.Device(self.gpu.index):
            return Caller(self.cupy.cuda.get_current_stream())

    def machine(self, net: Network) -> GpuMachine:
        """The machine that binds steps of this network."""
        return GpuMachine(self, net)

    def program(self, machine: GpuMachine, schedule: Schedule) -> GpuProgram:
        """Compile a schedule. Raises OutOfMemoryError if it does not fit."""
        like = {name: np.broadcast_to(np.float32(0), shape) for name, shape in schedule.inputs.items()}
        with self.lock, self.current(like), self.cupy.cuda.using_allocator(self.pool.malloc):
            program = GpuProgram(self, machine, schedule)
            self.computing.synchronize()
            self.trial_scratch.release()
            return program

    def layer_by_layer(self, net: Network, layers: Sequence[Layer]) -> OnDevice:
        """Run layer by layer with the forward passes of the ops."""
        with self.lock, self.current({}):
            return OnDevice(self, LayerByLayer(net, layers, self.cupy))

    def free(self) -> None:
        """Return memory not used by any schedule to the driver."""
        self.pool.free_all_blocks()


def installed(package: str) -> bool:
    """Whether the package is installed."""
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True


class OnDevice:
    """Runs a network layer by layer: upload, forward passes, download."""

    def __init__(self, device: GpuDevice, layers: LayerByLayer) -> None:
        self._device, self._layers = device, layers

    def __call__(self, values: Values, wanted: Sequence[str], on_device: bool = False) -> dict[str, Array]:
        """Compute the wanted variables. on_device: return CuPy arrays."""
        device = self._device
        caller = device.caller(values, on_device)
        with device.lock, device.current(values), device.cupy.cuda.using_allocator(device.pool.malloc):
            caller.before(device.computing)
            there = {name: device.cupy.asarray(value) for name, value in values.items()}
            found = self._layers(there, wanted)
            if not on_device:
                return {name: device.cupy.asnumpy(value) for name, value in found.items()}
            device.computing.synchronize()
        return caller.copies(device.cupy, found)


class Caller:
    """The caller's stream, if it passes arrays on the device; None if all arrays are on the host."""

    def __init__(self, stream: Any = None) -> None:
        self._stream = stream

    def before(self, stream: Any) -> None:
        """Make a stream of the engine wait for the caller's stream."""
        if self._stream is not None:
            stream.wait_event(self._stream.record())

    def copies(self, cupy: Any, arrays: Mapping[str, Array]) -> dict[str, Array]:
        """Copy arrays into memory of the caller's stream, and wait for the copies."""
        found = {name: cupy.array(value, dtype=cupy.float32, order="C") for name, value in arrays.items()}
        self._stream.synchronize()
        return found

    def after(self, event: Any) -> None:
        """Make the caller's stream wait for an event of the engine."""
        if self._stream is not None:
            self._stream.wait_event(event)


class Ticket:
    """A running batch; `result` waits for it."""

    def __init__(self, program: GpuProgram, slot: PinnedBatch, values: Values) -> None:
        self._program, self._slot, self._values = program, slot, values
        self._lock = threading.Lock()
        self._found: dict[str, Array] | MatnetError | None = None

    @property
    def note(self) -> str:
        """A note on steps that could not be recorded, or ""."""
        return self._program.steps.note

    def settle(self) -> dict[str, Array] | MatnetError:
        """Wait for the outputs and release the slot. Also called by threads that wait for a slot."""
        with self._lock:
            if self._found is None:
                try:
                    with self._program.device.current(self._values):
                        self._found = self._slot.results()
                        self._program.refuse_faults(self._slot)
                except MatnetError as error:
                    self._found = error
                finally:
                    self._program.give_back(self._slot, self)
                    self._values = {}
            return self._found

    def result(self) -> dict[str, Array]:
        """The outputs by variable, float32 N x C x H x W."""
        found = self.settle()
        if isinstance(found, MatnetError):
            raise found
        return found


class GpuProgram:
    """A schedule compiled for the GPU, with weights and buffers. Records its steps after the first run."""

    def __init__(self, device: GpuDevice, machine: GpuMachine, schedule: Schedule) -> None:
        self.device, self.schedule = device, schedule
        self.bound = Bound(schedule, machine)
        steps = self.bound.steps
        recordable = [step.layer not in machine.on_host and device.options.graphs for step in steps]
        self._source, self._faults = machine.net.source, machine.faults
        machine.faults = []
        pools = device.pools.new(), device.pools.new()
        self.steps = Replayed(device.cupy, self.bound.calls, recordable, [step.layer for step in steps], pools)
        outputs = {name: blob.shape for name, blob in schedule.outputs.items()}
        self._changed = threading.Condition()
        self._free = [PinnedBatch(device.cupy, schedule.inputs, outputs, len(self._faults)) for _ in range(SLOTS)]
        self._under_way: deque[Ticket] = deque()

    def refuse_faults(self, slot: PinnedBatch) -> None:
        """Raise NetworkError if a layer reported invalid values for the batch in the slot."""
        layers = [layer for number, (layer, _) in enumerate(self._faults) if slot.faults[number]]
        if layers:
            raise NetworkError(
                f"{self._source}, layer {layers[0]!r} (ROI pooling): a box has NaN or infinite values, or "
                "an image number outside the batch; expected image number and pixel coordinates"
            )

    def submit(self, values: Values, on_device: bool = False) -> Ticket:
        """Start a batch; waits for the oldest one if SLOTS batches are running.

        Do not modify the arrays before the result is available. on_device: return CuPy arrays, which the caller's
        stream may use immediately.
        """
        slot = self._take_slot()
        ticket = Ticket(self, slot, values)
        try:
            caller = self.device.caller(values, on_device)
            with self.device.translated(values), self.device.cupy.cuda.Device(self.device.gpu.index):
                slot.prepare(on_device)  # on the caller's stream, which owns the memory of the results
            with self.device.current(values):
                self._start(slot, values, caller)
            caller.after(slot.computed)
        except BaseException:
            self.give_back(slot, ticket)
            raise
        with self._changed:
            self._under_way.append(ticket)
            self._changed.notify_all()
        return ticket

    def give_back(self, slot: PinnedBatch, ticket: Ticket) -> None:
        """Release the slot for another batch."""
        with self._changed:
            if ticket in self._under_way:
                self._under_way.remove(ticket)
            self._free.append(slot)
            self._changed.notify_all()

    def _take_slot(self) -> PinnedBatch:
        while True:
            with self._changed:
                if self._free:
                    return self._free.pop()
                oldest = self._under_way[0] if self._under_way else None
                if oldest is None:  # another thread is about to start a batch
                    self._changed.wait()
            if oldest is not None:
                oldest.settle()

    def _start(self, slot: PinnedBatch, values: Values, caller: Caller) -> None:
        device = self.device
        inputs = {name: values[name] for name in self.schedule.inputs}
        there = slot.send(inputs, device.page_locked, device.upward)
        with device.lock:
            caller.before(device.computing)
            device.computing.wait_event(slot.arrived)
            for _, fault in self._faults:
                fault.fill(0)
            self.bound.load(there)
            self.steps(device.computing)
            self.bound.store(slot.outputs)
            for number, (_, fault) in enumerate(self._faults):
                place = slot.faults[number : number + 1]
                fault.data.copy_to_host_async(place.ctypes.data, place.nbytes, device.computing)
            slot.computed.record(device.computing)
        slot.fetch(device.downward)
