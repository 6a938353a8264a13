"""Selection of kernels for layers that cuDNN and cuBLAS do not compute."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from matnet.engines.cupy import kernels
from matnet.engines.cupy.views import channels_last
from matnet.layout import pad_to_4d
from matnet.ops.activation import ReLU, SoftMax
from matnet.ops.base import Op, computes_as
from matnet.ops.combine import Scale, Sum
from matnet.ops.extensions.pooling import CaffePooling, GlobalPooling
from matnet.ops.normalization import LRN, BatchNorm
from matnet.ops.pooling import Pooling
from matnet.ops.roi import ROIPooling
from matnet.ops.sampling import BilinearSampler

Array = Any
Call = Callable[[], None]


def kernel_call(op: Op, params: Sequence[np.ndarray], reads: Sequence[Array], writes: Sequence[Array]) -> Call | None:
    """A call that computes the op by a kernel, on channels-last views; None if there is no kernel.

    All inputs must have the same type. params: on the host.
    """
    images = reads[:1] if computes_as(op, BilinearSampler) else reads
    arrays = [channels_last(x) for x in (*images, *writes)]
    *xs, out = arrays
    if len(writes) != 1 or len({x.dtype for x in xs}) != 1:
        return None
    if computes_as(op, ReLU):
        return lambda: kernels.affine(xs[0], out, leak=op.leak)
    if computes_as(op, LRN):
        length, kappa, alpha, beta = op.param
        return lambda: kernels.lrn(xs[0], out, int(length), kappa, alpha, beta)
    if computes_as(op, SoftMax):
        return lambda: kernels.softmax(xs[0], out)
    if computes_as(op, Sum) and len(xs) > 1 and out.dtype == xs[0].dtype:
        return lambda: kernels.add(xs, out)
    if computes_as(op, Pooling) or computes_as(op, CaffePooling) or computes_as(op, GlobalPooling):
        return _pool(op, xs[0], out)
    if (computes_as(op, BatchNorm) or computes_as(op, Scale)) and len(reads) == 1:
        return _affine(op, params, xs[0], out)
    if computes_as(op, BilinearSampler):
        return lambda: kernels.sample(xs[0], _contiguous(reads[1]), out)
    return None


def boxes_call(op: ROIPooling, reads: Sequence[Array], out: Array, fault: Array) -> Call:
    """A call of the RoI pooling kernel, which sets `fault`, one int32, to 1 for an invalid box."""
    x, target = channels_last(reads[0]), channels_last(out)
    return lambda: kernels.roi_pool(x, _contiguous(reads[1]), target, fault, op)


def _contiguous(numbers: Array) -> Array:
    """A grid or boxes as float32 N x C x H x W for kernels."""
    return numbers.astype(np.float32, order="C")


def _pool(op: Pooling | CaffePooling | GlobalPooling, x: Array, out: Array) -> Call | None:
    if isinstance(op, GlobalPooling):
        windows = kernels.KernelWindows(x.shape[1:3], (1, 1), (0, 0))
        return lambda: kernels.pool(x, out, op.method, windows)
    if op.method == "stochastic":
        return None
    caffe = isinstance(op, CaffePooling)
    outside = kernels.LOWEST if caffe else -np.inf
    windows = kernels.KernelWindows(op.poolSize, op.stride, (op.pad[0], op.pad[2]), outside)
    method = "padded_avg" if caffe and op.method == "avg" else op.method
    return lambda: kernels.pool(x, out, method, windows)


def _affine(op: BatchNorm | Scale, params: Sequence[np.ndarray], x: Array, out: Array) -> Call | None:
    """x * scale + bias per channel; None if the factors are not per channel, or are inputs."""
    import cupy

    found = _factors(op, params, x.shape[3])
    if found is None:
        return None
    scale, bias = (None if vector is None else cupy.asarray(vector, dtype=cupy.float32) for vector in found)
    return lambda: kernels.affine(x, out, scale, bias)


def _factors(
    op: BatchNorm | Scale, params: Sequence[np.ndarray], channels: int
) -> tuple[np.ndarray, np.ndarray | None] | None:
    """Scale and bias, C values each, as float64."""
    if isinstance(op, BatchNorm):
        coef, mean, offset = (np.asarray(part, np.float64).ravel() for part in op.prepare(np, params))
        return coef, offset - coef * mean
    factors = params[: 2 if op.hasBias else 1]
    vectors = [np.asarray(param, np.float64).ravel() for param in factors]
    if len(vectors) <= op.hasBias or any(pad_to_4d(param).shape != (1, 1, channels, 1) for param in factors):
        return None
    return vectors[0], vectors[1] if op.hasBias else None
