"""One GPU at work: its streams, its memory, its libraries, and schedules made ready to run on it."""

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
SLOTS = 2  # batches under way at a time: one computed, one copied
SHARE_FOR_WORKSPACE = 8  # of the free memory, the part that one step may need besides its inputs and outputs
NO_MEMORY = re.compile(r"out of ?memory|MemoryAllocation|ALLOC_FAILED", re.IGNORECASE)  # as CUDA's libraries word it


@dataclass(frozen=True)
class GpuOptions:
    """How a GPU is used. `cudnn` None: where it is installed; `memory_limit` in bytes, None: all there is."""

    precision: str = "fp32"
    cudnn: bool | None = None
    autotune: bool = True
    graphs: bool = True
    memory_limit: int | None = None


class Pools:
    """Memory pools of one GPU that together take at most `limit` bytes; None: all there is."""

    def __init__(self, cupy: Any, limit: int | None) -> None:
        self._cupy, self._limit = cupy, limit
        self._made: weakref.WeakSet[Pool] = weakref.WeakSet()

    def new(self) -> Pool:
        """One more pool."""
        pool = Pool(self, self._cupy.cuda.MemoryPool())
        self._made.add(pool)
        return pool

    @property
    def left(self) -> int:
        """Bytes that may still be taken from the GPU."""
        return sys.maxsize if self._limit is None else max(0, self._limit - sum(pool.size for pool in self._made))


class Pool:
    """A memory pool within the limit of its `Pools`."""

    def __init__(self, pools: Pools, pool: Any) -> None:
        self._pools, self._pool = pools, pool

    @property
    def size(self) -> int:
        """Bytes that it has taken from the GPU."""
        return int(self._pool.total_bytes())

    def malloc(self, size: int) -> Any:
        """As CuPy's allocators have it; raises CuPy's MemoryError beyond the limit."""
        left = self._pools.left
        if left < sys.maxsize:
            self._pool.set_limit(size=max(1, self.size + left))
        return self._pool.malloc(size)

    def free_all_blocks(self) -> None:
        """Give what nothing uses back to the GPU."""
        self._pool.free_all_blocks()


class GpuDevice:
    """The GPU with its streams, its memory pool and cuDNN; networks and schedules are made ready here."""

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
            self.trial_scratch = Scratch(self.cupy, self.pools.new())  # losers may want more than what is kept
            self.chooser = self._make_chooser()
            self._blas: Blas | None = None

    def _find_cudnn(self) -> Any:
        """The frontend; None where it is not asked for or, in fp32, missing; EngineError where it has to be there."""
        if self.options.cudnn is False:
            return None
        try:
            return import_cudnn(self.gpu.runtime)
        except EngineError as error:
            self._do_without_cudnn(str(error))
            return None

    def _do_without_cudnn(self, reason: str) -> None:
        """Take a note; EngineError where cuDNN was asked for, or the precision needs it."""
        if self.options.cudnn:
            raise EngineError(f"cuDNN was asked for, but {reason}")
        if self.options.precision != "fp32":
            raise EngineError(f"precision {self.options.precision!r} needs cuDNN: {reason}, or choose precision 'fp32'")
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
            # A handle has memory on the GPU; at the end of the process that goes with everything else.
            weakref.finalize(self, self.cudnn.destroy_handle, handle).atexit = False
            self.cudnn.set_stream(handle, self.computing.ptr)
            version = int(self.cudnn.backend_version())
        book = PlanBook.of(self.gpu, version)
        return Chooser(self.cupy, self.computing, book, self.cudnn, handle, options.autotune)

    def workspace(self) -> int:
        """Bytes that one step may need besides its inputs and outputs: the measured time decides who gets them."""
        free, _ = self.cupy.cuda.runtime.memGetInfo()
        return min(int(free), self.pools.left) // SHARE_FOR_WORKSPACE

    def blas(self) -> Blas:
        """The engine's own handle of cuBLAS, made at the first use, with the device and the stream current."""
        if self._blas is None:
            size = max(1, min(WORKSPACE, self.workspace()))
            with self.cupy.cuda.using_allocator(self.pool.malloc):
                memory = self.cupy.empty(size, dtype=self.cupy.uint8)
            self._blas = Blas(load_library(self.gpu.runtime), self.computing.ptr, memory)
        return self._blas

    @property
    def packages(self) -> list[str]:
        """The installed packages that compute here."""
        major = self.gpu.runtime // 1000
        names = [f"cupy-cuda{major}x", "cupy"]
        names += [] if self.cudnn is None else ["nvidia-cudnn-frontend", f"nvidia-cudnn-cu{major}"]
        return [name for name in names if installed(name)]

    @contextmanager
    def current(self, values: Values) -> Iterator[None]:
        """Make this GPU and the computing stream current; errors of its libraries become EngineError.

        OutOfMemoryError where they are for want of memory; `values` are the inputs that it is about.
        """
        with self.translated(values), self.cupy.cuda.Device(self.gpu.index), self.computing:
            yield

    @contextmanager
    def translated(self, values: Values) -> Iterator[None]:
        """Errors of CUDA's libraries become EngineError, or OutOfMemoryError about these inputs."""
        try:
            yield
        except MatnetError:
            raise
        except MemoryError as error:
            raise does_not_fit(values, str(self.gpu), error) from None
        except RuntimeError as error:
            if NO_MEMORY.search(str(error)):
                raise does_not_fit(values, str(self.gpu), error) from None
            raise EngineError(f"{self.gpu} stopped: {str(error).strip()}") from None
        except self.cupy.cuda.compiler.CompileException as error:
            raise EngineError(does_not_compile(error, self.gpu)) from None

    def caller(self, values: Values, on_device: bool) -> Caller:
        """Whose work this is; with the caller's own stream current."""
        if not on_device and not any(isinstance(value, self.cupy.ndarray) for value in values.values()):
            return Caller()
        with self.cupy.cuda.Device(self.gpu.index):
            return Caller(self.cupy.cuda.get_current_stream())

    def machine(self, net: Network) -> GpuMachine:
        """What binds this network's steps here."""
        return GpuMachine(self, net)

    def program(self, machine: GpuMachine, schedule: Schedule) -> GpuProgram:
        """A schedule made ready to run; OutOfMemoryError where it does not fit."""
        like = {name: np.broadcast_to(np.float32(0), shape) for name, shape in schedule.inputs.items()}
        with self.lock, self.current(like), self.cupy.cuda.using_allocator(self.pool.malloc):
            program = GpuProgram(self, machine, schedule)
            self.computing.synchronize()
            self.trial_scratch.release()
            return program

    def layer_by_layer(self, net: Network, layers: Sequence[Layer]) -> OnDevice:
        """Each layer's own forward pass."""
        with self.lock, self.current({}):
            return OnDevice(self, LayerByLayer(net, layers, self.cupy))

    def free(self) -> None:
        """Give memory that no schedule uses back to the driver."""
        self.pool.free_all_blocks()


def installed(package: str) -> bool:
    """Whether pip knows the package."""
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True


class OnDevice:
    """A network run layer by layer: arrays up, forward passes, arrays back."""

    def __init__(self, device: GpuDevice, layers: LayerByLayer) -> None:
        self._device, self._layers = device, layers

    def __call__(self, values: Values, wanted: Sequence[str], on_device: bool = False) -> dict[str, Array]:
        """The wanted variables; `on_device`: as arrays of CuPy."""
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
    """The stream on which the caller works with arrays on the device; None where all arrays are on the host."""

    def __init__(self, stream: Any = None) -> None:
        self._stream = stream

    def before(self, stream: Any) -> None:
        """Let a stream of the engine wait for what the caller has started."""
        if self._stream is not None:
            stream.wait_event(self._stream.record())

    def copies(self, cupy: Any, arrays: Mapping[str, Array]) -> dict[str, Array]:
        """Copies in memory that belongs to the caller's stream, once they are there."""
        found = {name: cupy.array(value, dtype=cupy.float32, order="C") for name, value in arrays.items()}
        self._stream.synchronize()
        return found

    def after(self, event: Any) -> None:
        """Let the caller's stream wait for an event of the engine's."""
        if self._stream is not None:
            self._stream.wait_event(event)


class Ticket:
    """A batch under way; `result` waits for it."""

    def __init__(self, program: GpuProgram, slot: PinnedBatch, values: Values) -> None:
        self._program, self._slot, self._values = program, slot, values
        self._lock = threading.Lock()
        self._found: dict[str, Array] | MatnetError | None = None

    @property
    def note(self) -> str:
        """Which steps are not recorded, where that was tried in vain."""
        return self._program.steps.note

    def settle(self) -> dict[str, Array] | MatnetError:
        """Wait for the outputs, and give the slot back: a thread that waits for one may do so too."""
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
    """A schedule on the GPU: weights and buffers in place, steps recorded after the first run."""

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
        """NetworkError where a layer found fault with the values of the batch that lies in the slot."""
        layers = [layer for number, (layer, _) in enumerate(self._faults) if slot.faults[number]]
        if layers:
            raise NetworkError(
                f"{self._source}, layer {layers[0]!r} (ROI pooling): a box holds NaN or infinity, or lies in "
                "an image outside the batch; expected image number and pixel coordinates"
            )

    def submit(self, values: Values, on_device: bool = False) -> Ticket:
        """Start a batch; where SLOTS others are under way, wait for the oldest.

        The arrays must stay as they are until the result. With `on_device` the results are arrays of CuPy, on which
        the caller's stream may work at once.
        """
        slot = self._take_slot()
        ticket = Ticket(self, slot, values)
        try:
            caller = self.device.caller(values, on_device)
            with self.device.translated(values), self.device.cupy.cuda.Device(self.device.gpu.index):
                slot.prepare(on_device)  # on the caller's stream, to which memory of results belongs
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
        """The slot is free for another batch."""
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
