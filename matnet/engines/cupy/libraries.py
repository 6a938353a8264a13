"""Calls of cuDNN and cuBLAS on fixed channels-last buffers in device memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from matnet.engines.cupy import kernels
from matnet.engines.cupy.blas import Blas
from matnet.engines.cupy.choice import ChosenPlan
from matnet.engines.cupy.views import Array, channels_last


@dataclass
class Finish:
    """y = relu(y + bias + other), in place: the part not fused into a library call. leak None: no ReLU."""

    cupy: Any
    y: Array
    bias: Array | None = None
    other: Array | None = None
    leak: float | None = None

    def __call__(self) -> None:
        y = channels_last(self.y)
        other = None if self.other is None else channels_last(self.other)
        if other is not None and other.dtype != y.dtype:
            self._sum_of_types()
        elif self.bias is not None or other is not None or self.leak is not None:
            kernels.affine(y, y, bias=self.bias, other=other, leak=self.leak)

    def _sum_of_types(self) -> None:
        """The same if the types of y and other differ, which the kernels do not support."""
        y, xp = self.y, self.cupy
        total = y.astype(xp.float32)
        if self.bias is not None:
            total += self.bias.reshape(-1, 1, 1)
        if self.other is not None:
            total += self.other
        y[...] = total if self.leak is None else xp.where(total > 0, total, xp.float32(self.leak) * total)


@dataclass(eq=False)
class Weights:
    """Filters and optional bias on the device, kept alive by the calls that use them."""

    arrays: list[Array]


@dataclass
class CudnnCall:
    """Runs cuDNN plans on fixed buffers, followed by `finish`. channels: channels of x as read by the graphs."""

    plans: list[tuple[ChosenPlan, dict[int, int]]]
    weights: Weights
    channels: int
    scratch: Callable[[int], int]
    finish: Finish | None = None

    @property
    def workspace(self) -> int:
        """Required workspace in bytes."""
        return max(plan.workspace for plan, _ in self.plans)

    def __call__(self) -> None:
        place = self.scratch(self.workspace)
        for plan, addresses in self.plans:
            plan.run(addresses, place)
        if self.finish is not None:
            self.finish()


@dataclass
class BlasCall:
    """y = x rows' by cuBLAS on fixed buffers, followed by `finish`; x N x D, rows K x D, y N x K."""

    blas: Blas
    x: Array
    rows: Array
    weights: Weights
    y: Array
    precision: str
    finish: Finish | None = None

    def __call__(self) -> None:
        self.blas.product(self.x, self.rows, self.y, self.precision)
        if self.finish is not None:
            self.finish()
