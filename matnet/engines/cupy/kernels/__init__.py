"""Kernels in CUDA C++ for what neither cuDNN nor cuBLAS does well, in float32 and float16.

Arrays are N x H x W x C and contiguous. Storage is float32 or float16, and may change from input to output; arithmetic
is in float32. Every kernel writes every element of its output. `plan_...` works out the launch, the function of the
same name starts it on CuPy's current device and stream.
"""

from __future__ import annotations

from matnet.engines.cupy.kernels.elementwise import add, affine, join, plan_affine, plan_join, plan_sum, plan_transpose
from matnet.engines.cupy.kernels.launch import Launch, start
from matnet.engines.cupy.kernels.normalization import lrn, plan_lrn, plan_softmax, softmax
from matnet.engines.cupy.kernels.pooling import LOWEST, Windows, plan_pool, pool
from matnet.engines.cupy.kernels.sampling import plan_roi_pool, plan_sample, roi_pool, sample

__all__ = [
    "LOWEST",
    "Launch",
    "Windows",
    "add",
    "affine",
    "join",
    "lrn",
    "plan_affine",
    "plan_join",
    "plan_lrn",
    "plan_pool",
    "plan_roi_pool",
    "plan_sample",
    "plan_softmax",
    "plan_sum",
    "plan_transpose",
    "pool",
    "roi_pool",
    "sample",
    "softmax",
    "start",
]
