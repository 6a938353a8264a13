"""Max and average pooling by MatConvNet's rules and by Caffe's, with windows of any size."""

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
LARGE = 32  # cells of a window from which on several threads share it
UNROLLED = (2, 3)  # sides of windows, alike both ways, that are fixed when the kernel is compiled
LOWEST = float(np.finfo(np.float32).min)  # -FLT_MAX, what Caffe's maximum starts from
METHODS = {"max": "MAXIMUM", "avg": "AVERAGE", "padded_avg": "PADDED_AVERAGE"}


@dataclass(frozen=True)
class KernelWindows:
    """Where the windows lie: sizes (vertical, horizontal), and the pad on the top and the left.

    The pad at the bottom and right is what the output's size makes of it. `outside` is what cells beyond the
    image count as in a maximum: -inf by MatConvNet's rules, LOWEST by Caffe's.
    """

    kernel: Pair
    stride: Pair
    pad: Pair
    outside: float = -np.inf


def pool_launch(x: Array, out: Array, method: str, windows: KernelWindows) -> Launch:
    """The maximum or average over windows (vl_nnpool; BVLC Caffe, pooling layer).

    `method`: 'max'; 'avg', over the pixels inside the image; 'padded_avg', over the cells inside the image and
    its pad, which Caffe takes to be the same on opposite sides. x, out: float32 or float16; the sizes of `out` say how
    many windows there are. Moves each value in and out once: windows that overlap
    read from the cache.
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
    """`pool_launch`, started."""
    start(pool_launch(x, out, method, windows))
