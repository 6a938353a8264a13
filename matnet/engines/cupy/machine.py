"""Binding of a schedule's steps to one GPU: cuDNN, cuBLAS, kernels, and forward passes of ops for the rest."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

import numpy as np

from matnet.engines.cupy import kernels, weights
from matnet.engines.cupy.bound import Array, Call, applied
from matnet.engines.cupy.graphs import key_of
from matnet.engines.cupy.layers import boxes_call, kernel_call
from matnet.engines.cupy.libraries import BlasCall, CudnnCall, Finish, Weights
from matnet.engines.cupy.lower import without_fusing
from matnet.engines.cupy.steps import Apply, ConvGraph, Convolve, DeviceBlob, Join, Multiply, Step
from matnet.engines.cupy.views import channels_last
from matnet.engines.cupy.ways import Part, Way, ways_of
from matnet.engines.cupy.weights import bias_of
from matnet.network import Network
from matnet.ops.base import computes_as
from matnet.ops.roi import ROIPooling

if TYPE_CHECKING:
    from matnet.engines.cupy.device import GpuDevice


class Scratch:
    """Workspace shared by all convolutions, which run sequentially. It only grows.

    Earlier allocations are kept, because CUDA graphs use their addresses.
    """

    def __init__(self, cupy: Any, pool: Any) -> None:
        self._cupy, self._pool = cupy, pool
        self._pieces: list[Array] = []
        self._expected = 0

    def expect(self, size: int) -> None:
        """Set the minimum size of the next allocation."""
        self._expected = max(self._expected, size)

    def __call__(self, size: int) -> int:
        """The address of `size` bytes; 0 for size 0."""
        if not size:
            return 0
        if not self._pieces or self._pieces[-1].nbytes < size:
            with self._cupy.cuda.using_allocator(self._pool.malloc):
                self._pieces.append(self._cupy.empty(max(size, self._expected), dtype=self._cupy.uint8))
        return int(self._pieces[-1].data.ptr)

    def release(self) -> None:
        """Free all memory; only valid if no CUDA graph uses it."""
        self._pieces.clear()
        self._pool.free_all_blocks()


def _transposing(inside: Array, into: bool) -> Callable[[Array], None]:
    """A function that converts arrays N x C x H x W to or from `inside`; prepares the launch once."""
    launch: kernels.Launch | None = None
    place = 0 if into else 1

    def call(value: Array) -> None:
        nonlocal launch
        if launch is None:
            launch = kernels.transpose_launch(*((value, inside) if into else (inside, value)), into)
        arguments = list(launch.arguments)
        arguments[place] = value
        kernels.start(replace(launch, arguments=tuple(arguments)))
        launch = replace(launch, arguments=(*arguments[:place], None, *arguments[place + 1 :]))  # frees value

    return call


class GpuMachine:
    """Binds steps of one network to the device; uploads weights once for all schedules."""

    def __init__(self, device: GpuDevice, net: Network) -> None:
        self.device, self.cupy, self.net = device, device.cupy, net
        self.notes: list[str] = []
        self.on_host: set[str] = set()  # layers that read values on the host, which excludes CUDA graphs
        self.faults: list[tuple[str, Array]] = []  # layers that check inputs, with flags
        self._weights: WeakValueDictionary[tuple[str, str, str], Weights] = WeakValueDictionary()
        self._channels: dict[str, int] = {}  # input -> channels read by the bound convolutions

    def memory(self, size: int) -> Array:
        with self.cupy.cuda.using_allocator(self.device.pool.malloc):
            found = self.cupy.empty(size, dtype=self.cupy.uint8)
        self.device.chooser.limit = self.device.workspace()
        return found

    def as_read(self, blob: DeviceBlob) -> DeviceBlob:
        channels = self._channels.get(blob.name)
        return blob if channels is None else replace(blob, shape=(blob.shape[0], channels, *blob.shape[2:]), pitch=0)

    def load(self, target: Array) -> Callable[[Array], None]:
        return _transposing(channels_last(target), into=True)

    def store(self, source: Array) -> Callable[[Array], None]:
        return _transposing(channels_last(source), into=False)

    def bind(self, step: Step, reads: Sequence[Array], writes: Sequence[Array]) -> Call:
        if isinstance(step, Convolve):
            return self._convolution(step, reads, writes)
        if isinstance(step, Multiply):
            return self._product(step, reads, writes[0])
        if isinstance(step, Join):
            return partial(kernels.join, [channels_last(x) for x in reads], channels_last(writes[0]))
        assert isinstance(step, Apply)
        if computes_as(step.op, ROIPooling):
            fault = self.cupy.zeros(1, dtype=self.cupy.int32)
            self.faults.append((step.layer, fault))
            return boxes_call(step.op, reads, writes[0], fault)
        kernel = kernel_call(step.op, self._params(step), reads, writes)
        if kernel is not None:
            return kernel
        if step.op.uses_host:
            self.on_host.add(step.layer)
        return applied(self.net, step, self.cupy, reads, writes)

    def _params(self, step: Apply | Convolve | Multiply) -> list[np.ndarray]:
        return [self.net.params[name].value for name in step.params]

    def _uploaded(self, step: Convolve | Multiply, kind: str, dtype: str) -> Weights:
        """Filters and optional bias on the device, arranged by the function `kind` of `weights`."""
        key = (step.layer, kind, dtype)
        found = self._weights.get(key)
        if found is None:
            more = {"groups": step.graph.groups} if kind == "block_diagonal" else {}
            arranged = getattr(weights, kind)(self._params(step), step.graph.bias, dtype, **more)
            with self.cupy.cuda.using_allocator(self.device.pool.malloc):
                found = self._weights[key] = Weights([self.cupy.asarray(part) for part in arranged])
        return found

    def _convolution(self, step: Convolve, reads: Sequence[Array], writes: Sequence[Array]) -> Call:
        y, ways = writes[0], ways_of(step.graph)
        call = self._fastest(step, {name: partial(self._by_cudnn, step, way, reads, y) for name, way in ways.items()})
        for graph in without_fusing(ways["as it is"].parts[0].graph):
            call = call or self._by_cudnn(step, Way((Part(graph),)), reads, y)
        if call is None:
            self.notes.append(f"layer {step.layer!r}: cuDNN has no plan for it; running it in CuPy, which is slower")
            return applied(self.net, step, self.cupy, reads, writes)
        return self._settled(step, call)

    def _by_cudnn(
        self, step: Convolve | Multiply, way: Way, reads: Sequence[Array], y: Array
    ) -> CudnnCall | None:
        """The plans of all parts of a way; None if cuDNN has none for some part."""
        held = self._uploaded(step, way.weights, "float16" if step.graph.precision == "fp16" else "float32")
        plans = []
        for part in way.parts:
            addresses = part.addresses(reads, held.arrays, y)
            plan = self.device.chooser.plan(part.graph, addresses, self.device.trial_scratch)
            if plan is None:
                return None
            plans.append((plan, addresses))
        finish = self._finish(step, reads, y, way.parts[0].graph)
        return CudnnCall(plans, held, way.channels, self.device.trial_scratch, finish)

    def _finish(self, step: Convolve | Multiply, reads: Sequence[Array], y: Array, graph: ConvGraph) -> Finish | None:
        """The operations of the step not fused into the graph; None if there are none."""
        whole = step.graph
        bias = self.cupy.asarray(bias_of(self._params(step))) if whole.bias and not graph.bias else None
        other = reads[1] if whole.residual is not None and graph.residual is None else None
        leak = whole.leak if graph.leak is None else None
        left = bias is not None or other is not None or leak is not None
        return Finish(self.cupy, y, bias, other, leak) if left else None

    def _fastest(self, step: Convolve | Multiply, ways: Mapping[str, Callable[[], Any]]) -> Any:
        """The fastest call, with the shared workspace; None if there is none."""
        call = self.device.chooser.way(key_of(step.graph), ways)
        return self._settled(step, call) if isinstance(call, CudnnCall) else call

    def _settled(self, step: Convolve | Multiply, call: CudnnCall) -> CudnnCall:
        self.device.scratch.expect(call.workspace)
        call.scratch = self.device.scratch
        if isinstance(step, Convolve) and step.reads[0].pitch:
            self._channels[step.reads[0].name] = call.channels
        return call

    def _product(self, step: Multiply, reads: Sequence[Array], y: Array) -> Call:
        """A product by cuBLAS, or by cuDNN as a convolution of maps of one pixel or as a matrix product."""
        one_pixel, product = Way((Part(step.graph),)), Way((Part(replace(step.graph, product=True)),))
        ways: dict[str, Callable[[], Any]] = {"cuBLAS": partial(self._by_cublas, step, reads, y)}
        if self.device.cudnn is not None:
            ways["cuDNN convolution"] = partial(self._by_cudnn, step, one_pixel, reads, y)
            ways["cuDNN product"] = partial(self._by_cudnn, step, product, reads, y)
        fastest: Call = self._fastest(step, ways)
        return fastest

    def _by_cublas(self, step: Multiply, reads: Sequence[Array], y: Array) -> BlasCall:
        x, result = channels_last(reads[0]), channels_last(y)
        assert x.flags.c_contiguous and result.flags.c_contiguous, step
        held = self._uploaded(step, "filters_and_bias", x.dtype.name)
        rows = held.arrays[0].reshape(len(held.arrays[0]), -1)
        x, result = x.reshape(len(x), -1), result.reshape(len(result), -1)
        finish = self._finish(step, reads, y, replace(step.graph, bias=False, residual=None, leak=None))
        return BlasCall(self.device.blas(), x, rows, held, result, self.device.options.precision, finish)
