"""Scale, bias and ReLU in one pass, sums of arrays, and the exchange of layouts and storage types."""

from __future__ import annotations

from collections.abc import Sequence
from math import gcd

import numpy as np

from matnet.engines.cupy.kernels.launch import (
    Array,
    Launch,
    check,
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

AT_ONCE = 4  # arrays that one pass sums
FEW_CHANNELS = 16  # up to which one thread moves all channels of a pixel


def _activation(leak: float | None) -> tuple[str, np.float32]:
    """No activation for None, ReLU for 0, else a leaky one."""
    if leak is None:
        return "NONE", np.float32(0)
    return ("RELU" if leak == 0 else "LEAKY"), np.float32(leak)


def plan_affine(
    x: Array,
    out: Array,
    layout: str,
    scale: Array | None = None,
    bias: Array | None = None,
    other: Array | None = None,
    leak: float | None = None,
) -> Launch:
    """x * scale + bias + other, then ReLU: max(y, 0) for leak 0, leak * y below 0 otherwise, None without.

    x, other: float32 or float16, both the same; out: either; all of one shape in `layout`. out may be x or other
    where the type is the same. scale: C numbers, or N x C for each image its own, float32 or float16. bias: C
    numbers, float32. Moves each value of x, other and out once: 8 or 12 bytes a value in float32, where separate
    passes move two or three times as much. Without any of these it copies, from one type to another.
    """
    factors = [array for array in (scale, bias) if array is not None]
    check(*factors)
    others = [x, out] if other is None else [x, out, other]
    assert other is None or other.dtype == x.dtype, (x.dtype, other.dtype)
    pitch = pitches(layout, *others)
    n, c, h, w = sizes(x.shape, layout)
    last, index = layout == "nhwc", index_type(x, out)
    width = vector(gcd(c, *pitch) if last else h * w, *others, alike=factors if last else ())
    scaling = "UNSCALED" if scale is None else "PER_CHANNEL" if scale.size == c else "PER_IMAGE"
    assert scale is None or scale.size in (c, n * c), (scale.shape, x.shape)
    activation, slope = _activation(leak)
    types = storage(x), storage(out), "float" if scale is None else storage(scale)
    name = name_of("affine", *types, width, last, scaling, bias is not None, other is not None, activation, index)
    total = x.size // width
    apart = [step if last else width for step in (pitch[0], pitch[-1], pitch[1])]
    counts = (whole(index, count) for count in (total, 1 if last else h * w // width, total // n))
    arguments = (x, other, out, scale, bias, *counts, np.int32(c), *(whole(index, step) for step in apart), slope)
    return Launch("elementwise", name, arguments=arguments, **linear(total))


def plan_sum(inputs: Sequence[Array], out: Array, leak: float | None = None) -> list[Launch]:
    """The sum of arrays, from left to right, then ReLU as in `plan_affine`.

    All of one shape, and contiguous in one layout, or N x H x W x C. inputs: float32 or float16, all the same; out:
    the other one too, for up to four inputs, or one of the first four inputs. Moves each value in and out once;
    more than four are summed in `out`, which costs its bytes and its precision once more for every three.
    """
    launches: list[Launch] = []
    parts, rest = list(inputs[:AT_ONCE]), list(inputs[AT_ONCE:])
    while parts:
        launches.append(_plan_sum(parts, out, None if rest else leak))
        parts = [out, *rest[: AT_ONCE - 1]] if rest else []
        rest = rest[AT_ONCE - 1 :]
    return launches


def _plan_sum(inputs: Sequence[Array], out: Array, leak: float | None) -> Launch:
    assert len({array.dtype for array in inputs}) == 1, [array.dtype for array in inputs]
    flat = all(array.flags.c_contiguous for array in (out, *inputs))
    length = out.size if flat else out.shape[-1]
    pitch = [length] * (1 + len(inputs)) if flat else pitches("nhwc", out, *inputs)
    index, width = index_type(out), vector(gcd(length, *pitch), out, *inputs)
    activation, slope = _activation(leak)
    name = name_of("sum", storage(inputs[0]), storage(out), width, len(inputs), activation, index)
    missing = AT_ONCE - len(inputs)
    counts = (out.size // width, length // width, *pitch[1:], *(0,) * missing, pitch[0])
    pointers = (*inputs, *(None,) * missing, out)
    arguments = (*pointers, *(whole(index, count) for count in counts), slope)
    return Launch("elementwise", name, arguments=arguments, **linear(out.size // width))


def plan_transpose(x: Array, out: Array, layout: str) -> Launch:
    """x in `layout` into `out` in the other layout, from either of float32 and float16 to either.

    To channels last `out` may have more channels than x, which become zero; to channels first it may have fewer.
    Moves each value in and out once: size of x and size of out times their itemsizes.
    """
    check(x, out)
    n, c, h, w = sizes(x.shape, layout)
    to_last = layout == "nchw"
    kept = sizes(out.shape, "nhwc" if to_last else "nchw")[1]
    assert (n, h, w) == (out.shape[0], *(out.shape[1:3] if to_last else out.shape[2:])), (x.shape, out.shape)
    assert kept >= c if to_last else kept <= c, (x.shape, out.shape)
    index, types, plane = index_type(x, out), (storage(x), storage(out)), h * w
    if kept == c and 1 in (c, plane):  # both layouts are the same bytes: each value is a pixel of one channel
        n, c, kept, plane = 1, 1, 1, x.size
    if max(c, kept) <= FEW_CHANNELS:
        counts = whole(index, n * plane), whole(index, plane), np.int32(c), np.int32(kept)
        name = name_of("transpose_few", *types, to_last, index)
        return Launch("transposition", name, arguments=(x, out, *counts), **linear(n * plane))
    rows, columns, kept_columns, new_rows = (c, plane, plane, kept) if to_last else (plane, c, kept, plane)
    tiles = n * -(-kept_columns // 32) * -(-new_rows // 32)
    counts = tuple(whole(index, size) for size in (tiles, rows, columns, kept_columns, new_rows))
    name = name_of("transpose", *types, index)
    return Launch("transposition", name, arguments=(x, out, *counts), **tiled(tiles, (32, 8)))


def affine(
    x: Array,
    out: Array,
    layout: str,
    scale: Array | None = None,
    bias: Array | None = None,
    other: Array | None = None,
    leak: float | None = None,
) -> None:
    """`plan_affine`, started."""
    start(plan_affine(x, out, layout, scale, bias, other, leak))


def add(inputs: Sequence[Array], out: Array, leak: float | None = None) -> None:
    """`plan_sum`, started."""
    for launch in plan_sum(inputs, out, leak):
        start(launch)


def transpose(x: Array, out: Array, layout: str) -> None:
    """`plan_transpose`, started."""
    start(plan_transpose(x, out, layout))
