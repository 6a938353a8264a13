"""Kernels in CUDA C++ for what neither cuDNN nor cuBLAS does well, for both layouts, in float32 and float16.

The axes of arrays lie in the order of `layout`: "nchw", contiguous, or "nhwc", contiguous or with pixels evenly apart,
as parts of a concatenation are (`pixel_pitch`). Storage is float32 or float16, and may change from input to output;
arithmetic is in float32. Every kernel writes every element of its output. `plan_...` works out the launch, the
function of the same name starts it on CuPy's current device and stream.
"""

from __future__ import annotations

from matnet.engines.cupy.kernels.elementwise import add, affine, plan_affine, plan_sum, plan_transpose, transpose
from matnet.engines.cupy.kernels.launch import Launch, pixel_pitch, start
from matnet.engines.cupy.kernels.normalization import lrn, plan_lrn, plan_softmax, softmax
from matnet.engines.cupy.kernels.pooling import LOWEST, Windows, plan_pool, pool
from matnet.engines.cupy.kernels.sampling import plan_roi_pool, plan_sample, roi_pool, sample

__all__ = [
    "LOWEST",
    "Launch",
    "Windows",
    "add",
    "affine",
    "lrn",
    "pixel_pitch",
    "plan_affine",
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
    "transpose",
]
