"""Kernels for max and average pooling by the rules of MatConvNet and Caffe, with windows of any size."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from matnet.engines.cupy.kernels.launch import (
    Array,
    Launch,
    check,
    index_type,
    linear,
    name_of,
    start,
    storage,
    tiled,
    vector,
    whole,
)

Pair = tuple[int, int]
LARGE = 32  # windows with at least this many cells are shared by several threads
UNROLLED = (2, 3)  # sides of square windows that are compile-time constants
LOWEST = float(np.finfo(np.float32).min)  # -FLT_MAX, the initial value of Caffe's maximum
METHODS = {"max": "MAXIMUM", "avg": "AVERAGE", "padded_avg": "PADDED_AVERAGE"}


@dataclass(frozen=True)
class KernelWindows:
    """The layout of windows: sizes (vertical, horizontal), and the pad at the top and left.

    The pad at the bottom and right follows from the output size. outside: value of cells outside the image in a
    maximum, -inf in MatConvNet, LOWEST in Caffe.
    """

    kernel: Pair
    stride: Pair
    pad: Pair
    outside: float = -np.inf


def pool_launch(x: Array, out: Array, method: str, windows: KernelWindows) -> Launch:
    """The maximum or average over windows (vl_nnpool; BVLC Caffe, pooling layer).

    method: 'max'; 'avg', over the pixels inside the image; 'padded_avg', over the cells inside the image and its pad,
    which is equal on opposite sides as in Caffe. x, out: float32 or float16; the number of windows follows from the
    size of `out`. Memory traffic: each value once, because overlapping windows hit the cache.
    """
    check(x, out)
    (_, h, w, c), (_, out_h, out_w, _) = x.shape, out.shape
    index, width = index_type(x, out), vector(c, x, out)
    groups = c // width
    numbers = (groups, h, w, out_h, out_w, *windows.kernel, *windows.stride, *windows.pad)
    shared = (*map(np.int32, numbers), np.float32(windows.outside))
    types = storage(x), storage(out), width, METHODS[method]
    if windows.kernel[0] * windows.kernel[1] >= LARGE:  # 8 rows of threads share each window
        tiles = out.size // c * -(-groups // 32)
        name = name_of("pool_large", *types, index)
        return Launch("pooling", name, arguments=(x, out, whole(index, tiles), *shared), **tiled(tiles, (32, 8)))
    fixed = windows.kernel if windows.kernel[0] == windows.kernel[1] in UNROLLED else (0, 0)
    total = out.size // width
    name = name_of("pool", *types, *fixed, index)
    return Launch("pooling", name, arguments=(x, out, whole(index, total), *shared), **linear(total))


def pool(x: Array, out: Array, method: str, windows: KernelWindows) -> None:
    """Start `pool_launch`."""
    start(pool_launch(x, out, method, windows))
