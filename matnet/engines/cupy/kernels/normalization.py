"""Kernels for local response normalization and softmax."""

from __future__ import annotations

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

IN_REGISTERS = 16  # longest window held in registers; longer ones are re-read from the cache
FEW_ROWS = 2048  # softmax with fewer rows uses a block per row
SHORT_ROW = 128  # rows up to this length always use one warp


def lrn_launch(x: Array, out: Array, length: int, kappa: float, alpha: float, beta: float) -> Launch:
    """x * (kappa + alpha * sum x^2)^(-beta) over `length` channels (vl_nnnormalize); see matnet.ops' LRN.

    x, out: float32 or float16. Memory traffic: each value once.
    """
    check(x, out)
    c = x.shape[-1]
    below = min((length - 1) // 2, c - 1)
    above = min(length - 1 - (length - 1) // 2, c - 1)
    index, factors = index_type(x), (np.float32(alpha), np.float32(kappa), np.float32(beta))
    roots, types = beta == 0.75, (storage(x), storage(out))
    if below + 1 + above > IN_REGISTERS:
        counts = whole(index, x.size), np.int32(c), np.int32(below), np.int32(above)
        name = name_of("lrn_long", *types, roots, index)
        return Launch("lrn", name, arguments=(x, out, *counts, *factors), **linear(x.size))
    width = vector(c, x, out)
    name = name_of("lrn", *types, width, below, above, roots, index)
    total = x.size // width
    return Launch("lrn", name, arguments=(x, out, whole(index, total), np.int32(c // width), *factors), **linear(total))


def softmax_launch(x: Array, out: Array) -> Launch:
    """exp(x - m) / sum exp(x - m) over the channels of each pixel, where m is their maximum (vl_nnsoftmax).

    x, out: float32 or float16. Memory traffic: each value once, because further reads hit the cache.
    """
    check(x, out)
    c, index = x.shape[-1], index_type(x)
    rows = x.size // c
    threads = 256 if rows < FEW_ROWS and c > SHORT_ROW else 32
    block = (threads, 256 // threads)
    name = name_of("softmax_rows", storage(x), storage(out), index)
    arguments = (x, out, whole(index, rows), np.int32(c))
    return Launch("softmax", name, arguments=arguments, **tiled(-(-rows // block[1]), block))


def lrn(x: Array, out: Array, length: int, kappa: float, alpha: float, beta: float) -> None:
    """Start `lrn_launch`."""
    start(lrn_launch(x, out, length, kappa, alpha, beta))


def softmax(x: Array, out: Array) -> None:
    """Start `softmax_launch`."""
    start(softmax_launch(x, out))
