"""Local response normalisation and softmax."""

from __future__ import annotations

from math import gcd

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

IN_REGISTERS = 16  # windows up to this length are held in registers, longer ones are read again from the cache
CHUNK = 32  # channels that one thread walks down, with channels first; each chunk reads its neighbours' borders
ENOUGH_THREADS = 1 << 17  # that fill a large GPU; below, chunks get shorter
FEW_ROWS = 2048  # of a softmax: below, a whole block shares a row
SHORT_ROW = 128  # and one warp does for a row up to this length


def plan_lrn(x: Array, out: Array, layout: str, length: int, kappa: float, alpha: float, beta: float) -> Launch:
    """x * (kappa + alpha * sum x^2)^(-beta) over `length` channels (vl_nnnormalize); see matnet.ops' LRN.

    x, out: float32 or float16 in `layout`. Moves each value in and out once: 8 bytes a value in float32; with
    channels first (length - 1) / CHUNK more is read, from the second-level cache mostly.
    """
    pitch = pitches(layout, x, out)
    n, c, h, w = sizes(x.shape, layout)
    below = min((length - 1) // 2, c - 1)
    above = min(length - 1 - (length - 1) // 2, c - 1)
    counts: tuple[np.generic, ...]
    index, factors = index_type(x), (np.float32(alpha), np.float32(kappa), np.float32(beta))
    roots, last, types = beta == 0.75, layout == "nhwc", (storage(x), storage(out))
    apart = tuple(whole(index, step) for step in pitch)
    if below + 1 + above > IN_REGISTERS:
        name = name_of("lrn_long", *types, last, roots, index)
        counts = whole(index, x.size), whole(index, h * w), np.int32(c), *apart, np.int32(below), np.int32(above)
        return Launch("lrn", name, arguments=(x, out, *counts, *factors), **linear(x.size))
    width = vector(gcd(c, *pitch) if last else h * w, x, out)
    name = name_of("lrn_last" if last else "lrn_first", *types, width, below, above, roots, index)
    if last:
        counts = whole(index, x.size // width), np.int32(c // width), *apart
        return Launch("lrn", name, arguments=(x, out, *counts, *factors), **linear(x.size // width))
    columns = n * h * w // width
    chunk = min(CHUNK, max(4, columns * c // ENOUGH_THREADS))
    where = linear(columns)
    where["grid"] = (where["grid"][0], -(-c // chunk), 1)
    counts = whole(index, columns), whole(index, h * w), np.int32(c), np.int32(chunk)
    return Launch("lrn", name, arguments=(x, out, *counts, *factors), **where)


def plan_softmax(x: Array, out: Array, layout: str) -> Launch:
    """exp(x - m) / sum exp(x - m) over the channels of every pixel, m being their maximum (vl_nnsoftmax).

    x, out: float32 or float16 in `layout`. Moves each value in and out once, 8 bytes a value in float32, since the
    second and third reading of a pixel's channels find them in the cache.
    """
    pitch = pitches(layout, x, out)
    n, c, h, w = sizes(x.shape, layout)
    index, rows = index_type(x), n * h * w
    counts: tuple[np.generic, ...]
    if layout == "nhwc" or h * w == 1:
        name = name_of("softmax_rows", storage(x), storage(out), index)
        threads = 256 if rows < FEW_ROWS and c > SHORT_ROW else 32
        block = (threads, 256 // threads)
        apart = pitch if layout == "nhwc" else (c, c)
        counts = whole(index, rows), np.int32(c), *(whole(index, step) for step in apart)
        return Launch("softmax", name, arguments=(x, out, *counts), **tiled(-(-rows // block[1]), block))
    tiles = n * -(-h * w // 32)
    counts = whole(index, tiles), whole(index, h * w), np.int32(c)
    name = name_of("softmax_planes", storage(x), storage(out), index)
    return Launch("softmax", name, arguments=(x, out, *counts), **tiled(tiles, (32, 8)))


def lrn(x: Array, out: Array, layout: str, length: int, kappa: float, alpha: float, beta: float) -> None:
    """`plan_lrn`, started."""
    start(plan_lrn(x, out, layout, length, kappa, alpha, beta))


def softmax(x: Array, out: Array, layout: str) -> None:
    """`plan_softmax`, started."""
    start(plan_softmax(x, out, layout))
