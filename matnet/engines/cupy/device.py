"""One GPU at work: its streams, its memory, its libraries, and schedules made ready to run on it."""

from __future__ import annotations

import queue
import re
import threading
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from matnet.engines.base import does_not_fit
from matnet.engines.cupy.bound import Bound
from matnet.engines.cupy.capture import Replayed
from matnet.engines.cupy.choice import Chooser, PlanBook
from matnet.engines.cupy.machine import GpuMachine, Scratch
from matnet.engines.cupy.probe import BROKEN, Gpu, import_cudnn, import_cupy
from matnet.engines.cupy.steps import Schedule
from matnet.engines.cupy.transfer import PageLocked, Slot
from matnet.engines.layer_by_layer import LayerByLayer
from matnet.errors import EngineError, MatnetError, NetworkError
from matnet.network import Layer, Network

SLOTS = 2  # batches under way at a time: one computed, one copied
NO_MEMORY = re.compile(r"out of ?memory|MemoryAllocation|ALLOC_FAILED", re.IGNORECASE)  # as CUDA's libraries word it


@dataclass(frozen=True)
class Options:
    """How a GPU is used. `cudnn` None: where it is installed; `memory_limit` in bytes, None: all there is."""

    precision: str = "fp32"
    cudnn: bool | None = None
    autotune: bool = True
    graphs: bool = True
    memory_limit: int | None = None


class GpuDevice:
    """The GPU with its streams, its memory pool and cuDNN; networks and schedules are made ready here."""

    def __init__(self, gpu: Gpu, options: Options) -> None:
        self.gpu, self.options = gpu, options
        self.cupy = import_cupy()
        self.notes: list[str] = []
        self.cudnn = self._find_cudnn()
        self.lock = threading.RLock()
        self.page_locked = PageLocked()
        with self._translated({}), self.cupy.cuda.Device(gpu.index):
            self.computing, self.upward, self.downward = (self.cupy.cuda.Stream(non_blocking=True) for _ in range(3))
            self.pool = self.cupy.cuda.MemoryPool()
            if options.memory_limit is not None:
                self.pool.set_limit(size=options.memory_limit)
            self._scratch = Scratch(self.cupy, self.pool)
            self._chooser = self._make_chooser()

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

    def _make_chooser(self) -> Chooser | None:
        if self.cudnn is None:
            return None
        try:
            handle = self.cudnn.create_handle()
        except BROKEN as error:
            self._do_without_cudnn(f"it does not run on {self.gpu}: {error}")
            return None
        # A handle has memory on the GPU; at the end of the process that goes with everything else.
        weakref.finalize(self, self.cudnn.destroy_handle, handle).atexit = False
        self.cudnn.set_stream(handle, self.computing.ptr)
        book = PlanBook.of(self.gpu, int(self.cudnn.backend_version()))
        return Chooser(self.cupy, self.cudnn, handle, self.computing, book, self.options.autotune)

    @property
    def packages(self) -> list[str]:
        """The installed packages that compute here."""
        major = self.gpu.runtime // 1000
        names = [f"cupy-cuda{major}x", "cupy"]
        names += [] if self.cudnn is None else ["nvidia-cudnn-frontend", f"nvidia-cudnn-cu{major}"]
        return [name for name in names if installed(name)]

    @contextmanager
    def current(self, values: Mapping[str, np.ndarray]) -> Iterator[None]:
        """Make this GPU and the computing stream current; errors of its libraries become EngineError.

        OutOfMemoryError where they are for want of memory; `values` are the inputs that it is about.
        """
        with self._translated(values), self.cupy.cuda.Device(self.gpu.index), self.computing:
            yield

    @contextmanager
    def _translated(self, values: Mapping[str, np.ndarray]) -> Iterator[None]:
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

    def machine(self, net: Network) -> GpuMachine:
        """What binds this network's steps here."""
        return GpuMachine(self.cupy, net, self.options.precision, self.pool, self._chooser, self._scratch)

    def program(self, machine: GpuMachine, schedule: Schedule) -> Program:
        """A schedule made ready to run; OutOfMemoryError where it does not fit."""
        like = {name: np.broadcast_to(np.float32(0), shape) for name, shape in schedule.inputs.items()}
        with self.lock, self.current(like), self.cupy.cuda.using_allocator(self.pool.malloc):
            program = Program(self, machine, schedule)
            self.computing.synchronize()
            machine.trial_scratch.release()
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

    def __call__(self, values: Mapping[str, np.ndarray], wanted: Sequence[str]) -> dict[str, np.ndarray]:
        device = self._device
        with device.lock, device.current(values), device.cupy.cuda.using_allocator(device.pool.malloc):
            there = {name: device.cupy.asarray(value) for name, value in values.items()}
            return {name: device.cupy.asnumpy(value) for name, value in self._layers(there, wanted).items()}


class Ticket:
    """A batch under way; `result` waits for it and may be asked for once."""

    def __init__(self, program: Program, slot: Slot, values: Mapping[str, np.ndarray]) -> None:
        self._program, self._slot, self._values = program, slot, values

    @property
    def note(self) -> str:
        """Why the program's steps are not recorded, where that was tried in vain."""
        return self._program.steps.note

    def result(self) -> dict[str, np.ndarray]:
        """The outputs by variable, float32 N x C x H x W."""
        try:
            with self._program.device.current(self._values):
                results = self._slot.results()
                self._program.refuse_faults(self._slot)
                return results
        finally:
            self._program.slots.put(self._slot)


class Program:
    """A schedule on the GPU: weights and buffers in place, steps recorded after the first run."""

    def __init__(self, device: GpuDevice, machine: GpuMachine, schedule: Schedule) -> None:
        self.device, self.schedule = device, schedule
        self.bound = Bound(schedule, machine)
        recordable = [step.layer not in machine.on_host for step in self.bound.steps]
        self._source, self._faults = machine.net.source, machine.faults
        machine.faults = []
        self.steps = Replayed(device.cupy, self.bound.calls, recordable, device.options.graphs)
        outputs = {name: blob.shape for name, blob in schedule.outputs.items()}
        self.slots: queue.Queue[Slot] = queue.Queue()
        for _ in range(SLOTS):
            self.slots.put(Slot(device.cupy, schedule.inputs, outputs, len(self._faults)))

    def refuse_faults(self, slot: Slot) -> None:
        """NetworkError where a layer found fault with the values of the batch that lies in the slot."""
        layers = [layer for number, (layer, _) in enumerate(self._faults) if slot.faults[number]]
        if layers:
            raise NetworkError(
                f"{self._source}, layer {layers[0]!r} (ROI pooling): a box holds NaN or infinity, or lies in "
                "an image outside the batch; expected image number and pixel coordinates"
            )

    def submit(self, values: Mapping[str, np.ndarray]) -> Ticket:
        """Start a batch; waits while SLOTS others are under way. The arrays must stay as they are until the result."""
        slot = self.slots.get()
        try:
            with self.device.current(values):
                self._start(slot, values)
        except BaseException:
            self.slots.put(slot)
            raise
        return Ticket(self, slot, values)

    def _start(self, slot: Slot, values: Mapping[str, np.ndarray]) -> None:
        device = self.device
        inputs = {name: values[name] for name in self.schedule.inputs}
        slot.send(inputs, device.page_locked.holds(inputs), device.upward)
        with device.lock:
            device.computing.wait_event(slot.arrived)
            for _, fault in self._faults:
                fault.fill(0)
            self.bound.load(slot.inputs)
            self.steps(device.computing)
            self.bound.store(slot.outputs)
            for number, (_, fault) in enumerate(self._faults):
                place = slot.faults[number : number + 1]
                fault.data.copy_to_host_async(place.ctypes.data, place.nbytes, device.computing)
            slot.computed.record(device.computing)
        slot.fetch(device.downward)
