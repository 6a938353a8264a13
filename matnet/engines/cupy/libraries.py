"""Convolutions by cuDNN and matrix products by cuBLAS, on views of device memory with channels last."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from matnet.engines.cupy import kernels
from matnet.engines.cupy.choice import ChosenPlan
from matnet.engines.cupy.graphs import BIAS, FILTERS, OTHER, X, Y
from matnet.engines.cupy.steps import ConvGraph

Array = Any


def channels_last(x: Array) -> Array:
    """An N x C x H x W view of memory with channels last as N x H x W x C."""
    return x.transpose(0, 2, 3, 1)


def address(x: Array) -> int:
    """Where the array begins in device memory."""
    return int(x.data.ptr)


def conv_addresses(graph: ConvGraph, reads: Sequence[Array], weights: Sequence[Array], y: Array) -> dict[int, int]:
    """The buffers of a graph by uid; `weights` are the filters and, where there is one, the bias."""
    found = {X: address(reads[0]), FILTERS: address(weights[0]), Y: address(y)}
    if graph.bias:
        found[BIAS] = address(weights[1])
    if graph.residual is not None:
        found[OTHER] = address(reads[1])
    return found


@dataclass
class Finish:
    """y = relu(y + bias + other), in place: what a library left undone. `bias` is float32, `leak` None: no ReLU."""

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
            kernels.affine(y, y, "nhwc", bias=self.bias, other=other, leak=self.leak)

    def _sum_of_types(self) -> None:
        """The same where y and other differ in type, which the kernels do not support."""
        y, xp = self.y, self.cupy
        total = y.astype(xp.float32)
        if self.bias is not None:
            total += self.bias.reshape(-1, 1, 1)
        if self.other is not None:
            total += self.other
        y[...] = total if self.leak is None else xp.where(total > 0, total, xp.float32(self.leak) * total)


class Convolution:
    """One plan of cuDNN on fixed buffers, and what its graph leaves to be finished."""

    def __init__(self, plan: ChosenPlan, addresses: dict[int, int], scratch: Any, finish: Finish | None) -> None:
        self.plan, self.addresses, self.scratch, self.finish = plan, addresses, scratch, finish

    def __call__(self) -> None:
        self.plan.run(self.addresses, self.scratch(self.plan.workspace))
        if self.finish is not None:
            self.finish()


class Product:
    """y = x matrix on fixed buffers; sums are float32 in every precision, and TF32 only where that is asked for.

    x is N x C x H x W, its images rows of the product; `matrix` is (H W C) x K, y N x K x 1 x 1.
    """

    def __init__(self, cupy: Any, precision: str, x: Array, matrix: Array, y: Array, finish: Finish) -> None:
        blas, runtime = cupy.cuda.cublas, cupy.cuda.runtime
        self._blas, self._handle = blas, cupy.cuda.device.get_cublas_handle
        self._one, self._zero = np.ones(1, np.float32), np.zeros(1, np.float32)
        self._kept = (x, matrix, y)
        kinds = {np.dtype(np.float32): runtime.CUDA_R_32F, np.dtype(np.float16): runtime.CUDA_R_16F}
        compute = blas.CUBLAS_COMPUTE_32F_FAST_TF32 if precision == "tf32" else blas.CUBLAS_COMPUTE_32F
        (depth, count), rows = matrix.shape, len(y)
        # cuBLAS counts columns first: y' = matrix' x', each array as it lies.
        no = blas.CUBLAS_OP_N
        self._shape = (no, no, count, rows, depth, self._one.ctypes.data)
        self._operands = (address(matrix), kinds[matrix.dtype], count, address(x), kinds[x.dtype], depth)
        self._result = (self._zero.ctypes.data, address(y), kinds[y.dtype], count, compute, blas.CUBLAS_GEMM_DEFAULT)
        self._finish = finish

    def __call__(self) -> None:
        self._blas.gemmEx(self._handle(), *self._shape, *self._operands, *self._result)
        self._finish()
