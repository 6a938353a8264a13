"""CUDA C++ kernels, in float32 and float16, for layers that cuDNN and cuBLAS do not support well.

Arrays are contiguous N x H x W x C. Inputs and outputs are stored as float32 or float16, possibly different; arithmetic
is in float32. Every kernel writes every element of its output. `..._launch` prepares a launch; the function without
this suffix starts it on CuPy's current device and stream.
"""

from __future__ import annotations

from matnet.engines.cupy.kernels.elementwise import (
    add,
    affine,
    affine_launch,
    join,
    join_launch,
    sum_launch,
    transpose_launch,
)
from matnet.engines.cupy.kernels.launch import Launch, start
from matnet.engines.cupy.kernels.normalization import lrn, lrn_launch, softmax, softmax_launch
from matnet.engines.cupy.kernels.pooling import LOWEST, KernelWindows, pool, pool_launch
from matnet.engines.cupy.kernels.sampling import roi_pool, roi_pool_launch, sample, sample_launch

__all__ = [
    "LOWEST", "KernelWindows", "Launch", "add", "affine", "affine_launch", "join", "join_launch", "lrn", "lrn_launch",
    "pool", "pool_launch", "roi_pool", "roi_pool_launch", "sample", "sample_launch", "softmax", "softmax_launch",
    "start", "sum_launch", "transpose_launch",
]  # fmt: skip
