"""Max and average pooling by MatConvNet's rules and by Caffe's, with windows of any size."""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd
from typing import Any

import numpy as np

from matnet.engines.cupy.kernels.launch import (
    Array,
    Launch,
    index_type,
    linear,
    name_of,
    pitches,
    sizes,
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
class Windows:
    """Where the windows lie: sizes (vertical, horizontal), and the pad on the top and the left.

    The pad at the bottom and right is what the output's size makes of it. `outside` is what cells beyond the
    image count as in a maximum: -inf by MatConvNet's rules, LOWEST by Caffe's.
    """

    kernel: Pair
    stride: Pair
    pad: Pair
    outside: float = -np.inf


def plan_pool(x: Array, out: Array, layout: str, method: str, windows: Windows) -> Launch:
    """The maximum or average over windows (vl_nnpool; BVLC Caffe, pooling layer).

    `method`: 'max'; 'avg', over the pixels inside the image; 'padded_avg', over the cells inside the image and
    its pad, which Caffe takes to be the same on opposite sides. x, out: float32 or float16 in `layout`, the
    sizes of `out` telling how many windows there are. Moves each value in and out once: windows that overlap
    read from the cache.
    """
    pitch = pitches(layout, x, out)
    _, c, h, w = sizes(x.shape, layout)
    _, _, out_h, out_w = sizes(out.shape, layout)
    last, index = layout == "nhwc", index_type(x, out)
    width = vector(gcd(c, *pitch), x, out) if last else 1
    groups = c // width if last else 1
    numbers = (groups, h, w, out_h, out_w, *windows.kernel, *windows.stride, *windows.pad)
    apart = tuple(whole(index, step) for step in pitch)
    shared = (*map(np.int32, numbers), np.float32(windows.outside))
    if windows.kernel[0] * windows.kernel[1] >= LARGE:
        return _plan_large(x, out, last, METHODS[method], width, index, apart, shared)
    fixed = windows.kernel if windows.kernel[0] == windows.kernel[1] in UNROLLED else (0, 0)
    name = name_of("pool", storage(x), storage(out), width, last, METHODS[method], *fixed, index)
    total = out.size // width
    return Launch("pooling", name, arguments=(x, out, whole(index, total), *apart, *shared), **linear(total))


def _plan_large(
    x: Array,
    out: Array,
    last: bool,
    method: str,
    width: int,
    index: str,
    apart: tuple[Any, ...],
    shared: tuple[Any, ...],
) -> Launch:
    """Windows of many cells: 8 rows of threads, or the 32 threads of a warp, share each one."""
    if last:
        strips = -(-int(shared[0]) // 32)
        tiles = out.size // out.shape[3] * strips
        name = name_of("pool_large_last", storage(x), storage(out), width, method, index)
        arguments = (x, out, whole(index, tiles), *apart, *shared)
        return Launch("pooling", name, arguments=arguments, **tiled(tiles, (32, 8)))
    name = name_of("pool_large_first", storage(x), storage(out), method, index)
    arguments = (x, out, whole(index, out.size), *shared[1:])
    return Launch("pooling", name, arguments=arguments, **tiled(-(-out.size // 8), (32, 8)))


def pool(x: Array, out: Array, layout: str, method: str, windows: Windows) -> None:
    """`plan_pool`, started."""
    start(plan_pool(x, out, layout, method, windows))
