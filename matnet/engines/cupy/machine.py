"""The steps of a plan bound to one GPU: cuDNN, cuBLAS, kernels, and the ops' own forward pass for the rest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from matnet.engines.cupy import kernels
from matnet.engines.cupy.bound import Array, Call, applied
from matnet.engines.cupy.choice import Chooser
from matnet.engines.cupy.layers import boxes_call, kernel_call
from matnet.engines.cupy.libraries import Convolution, Finish, Product, address, channels_last, conv_addresses
from matnet.engines.cupy.lower import without_fusing
from matnet.engines.cupy.steps import Apply, Convolve, Join, Multiply, Step
from matnet.engines.cupy.weights import convolution_weights, product_weights
from matnet.network import Network
from matnet.ops.base import computes_as
from matnet.ops.roi import ROIPooling

LITTLE, MUCH = 64 << 20, 1 << 30  # bytes that a convolution may need besides its inputs and outputs


class Scratch:
    """Memory that every convolution may overwrite, since they run one after the other; it only grows.

    What was handed out before stays allocated: CUDA graphs hold its address.
    """

    def __init__(self, cupy: Any, pool: Any) -> None:
        self._cupy, self._pool = cupy, pool
        self._pieces: list[Array] = []
        self._expected = 0

    def expect(self, size: int) -> None:
        """Let the next piece be at least so large."""
        self._expected = max(self._expected, size)

    def __call__(self, size: int) -> int:
        """The address of `size` bytes; 0 for none."""
        if not size:
            return 0
        if not self._pieces or self._pieces[-1].nbytes < size:
            with self._cupy.cuda.using_allocator(self._pool.malloc):
                self._pieces.append(self._cupy.empty(max(size, self._expected), dtype=self._cupy.uint8))
        return int(self._pieces[-1].data.ptr)

    def release(self) -> None:
        """Give all of it back; only where no CUDA graph was recorded with it."""
        self._pieces.clear()
        self._pool.free_all_blocks()


def _transposing(inside: Array, into: bool) -> Callable[[Array], None]:
    """What exchanges layouts with an array N x C x H x W; how it is launched is worked out once for each of these."""
    launches: dict[int, kernels.Launch] = {}

    def call(value: Array) -> None:
        place = address(value)
        if place not in launches:
            given = (value, inside, "nchw") if into else (inside, value, "nhwc")
            launches[place] = kernels.plan_transpose(*given)
        kernels.start(launches[place])

    return call


class GpuMachine:
    """Binds steps of one network on the current device; weights are uploaded once and shared by all plans."""

    def __init__(
        self, cupy: Any, net: Network, precision: str, pool: Any, chooser: Chooser | None, scratch: Scratch
    ) -> None:
        self.cupy, self.net, self.precision, self.pool = cupy, net, precision, pool
        self.chooser, self.scratch = chooser, scratch
        self.trial_scratch = Scratch(cupy, cupy.cuda.MemoryPool())  # losers may want more than the plans that are kept
        self.notes: list[str] = []
        self.on_host: set[str] = set()  # layers that look at values on the host, which no CUDA graph can hold
        self.faults: list[tuple[str, Array]] = []  # layers that can find fault with their inputs, and where they say so
        self._workspace: tuple[int, ...] = (MUCH,)  # what a plan of cuDNN may need, tried in this order
        self._weights: dict[tuple[str, str, str], list[Array]] = {}

    def memory(self, size: int) -> Array:
        self._workspace = (max(LITTLE, size // 4), MUCH)
        with self.cupy.cuda.using_allocator(self.pool.malloc):
            return self.cupy.empty(size, dtype=self.cupy.uint8)

    def load(self, target: Array) -> Callable[[Array], None]:
        return _transposing(channels_last(target), into=True)

    def store(self, source: Array) -> Callable[[Array], None]:
        x = channels_last(source)
        if x.flags.c_contiguous:
            return _transposing(x, into=False)
        return lambda value: self.cupy.copyto(value, source)

    def bind(self, step: Step, reads: Sequence[Array], writes: Sequence[Array]) -> Call:
        if isinstance(step, Convolve):
            return self._convolution(step, reads, writes)
        if isinstance(step, Multiply):
            return self._product(step, reads, writes[0])
        if isinstance(step, Join):
            return self._join(step, reads, writes[0])
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

    def _uploaded(
        self, step: Convolve | Multiply, dtype: str, bias: bool, arrange: Callable[..., tuple[Array, Array | None]]
    ) -> list[Array]:
        """Filters and, where there is one, the bias, on the device."""
        key = (step.layer, arrange.__name__, dtype)
        if key not in self._weights:
            arranged = arrange(self._params(step), bias, dtype)
            with self.cupy.cuda.using_allocator(self.pool.malloc):
                self._weights[key] = [self.cupy.asarray(part) for part in arranged if part is not None]
        return self._weights[key]

    def _convolution(self, step: Convolve, reads: Sequence[Array], writes: Sequence[Array]) -> Call:
        assert self.chooser is not None, "without cuDNN no step is a Convolve"
        whole, y = step.graph, writes[0]
        weights = self._uploaded(step, y.dtype.name, whole.bias, convolution_weights)
        for part in without_fusing(step):
            addresses = conv_addresses(part.graph, reads, weights, y)
            plan = None
            for limit in self._workspace:
                plan = plan or self.chooser.choose(part.graph, addresses, self.trial_scratch, limit)
            if plan is not None:
                self.scratch.expect(plan.workspace)
                finish = None
                if part.graph != whole:
                    late_bias = whole.bias and not part.graph.bias
                    bias = weights[1].astype(self.cupy.float32) if late_bias else None
                    other = reads[1] if whole.residual is not None else None
                    finish = Finish(self.cupy, y, bias, other, whole.leak)
                return Convolution(plan, addresses, self.scratch, finish)
        self.notes.append(f"layer {step.layer!r}: cuDNN has no plan for it; CuPy computes it, more slowly")
        return applied(self.net, step, self.cupy, reads, writes)

    def _product(self, step: Multiply, reads: Sequence[Array], y: Array) -> Call:
        x = reads[0]
        assert channels_last(x).flags.c_contiguous and channels_last(y).flags.c_contiguous, step
        matrix, *bias = self._uploaded(step, x.dtype.name, step.bias, product_weights)
        other = reads[1] if len(reads) > 1 else None
        finish = Finish(self.cupy, y, bias[0] if bias else None, other, step.leak)
        return Product(self.cupy, self.precision, x, matrix, y, finish)

    def _join(self, step: Join, reads: Sequence[Array], y: Array) -> Call:
        copies, first = [], 0
        for blob, x in zip(step.reads, reads, strict=True):
            if blob.root != step.writes[0].root:
                copies.append((y[:, first : first + x.shape[1]], x))
            first += x.shape[1]

        def call() -> None:
            for place, x in copies:
                kernels.affine(channels_last(x), channels_last(place), "nhwc")  # which copies by 16 bytes

        return call
