"""Elementwise kernels: affine with ReLU, sums, concatenation, and conversion of layout and storage type."""

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
    start,
    storage,
    tiled,
    vector,
    whole,
)

AT_ONCE = 4  # arrays summed or joined per pass
FEW_CHANNELS = 16  # maximum number of channels moved by one thread per pixel


def _activation(leak: float | None) -> tuple[str, np.float32]:
    """The activation for a leak: none for None, ReLU for 0, otherwise leaky ReLU."""
    if leak is None:
        return "NONE", np.float32(0)
    return ("RELU" if leak == 0 else "LEAKY"), np.float32(leak)


def affine_launch(
    x: Array,
    out: Array,
    scale: Array | None = None,
    bias: Array | None = None,
    other: Array | None = None,
    leak: float | None = None,
) -> Launch:
    """x * scale + bias + other, then ReLU: max(y, 0) for leak 0, otherwise leak * y below 0; no ReLU for None.

    x, other: float32 or float16, the same type; out: either; all of the same shape. out may be x or other if the types
    are equal. scale, bias: C values, float32. Memory traffic: each value of x, other and out once.
    """
    factors = [array for array in (scale, bias) if array is not None]
    others = [x, out] if other is None else [x, out, other]
    check(*factors, *others)
    assert other is None or other.dtype == x.dtype, (x.dtype, other.dtype)
    channels, index = x.shape[-1], index_type(x, out)
    width = vector(channels, *others, alike=factors)
    activation, slope = _activation(leak)
    given = scale is not None, bias is not None, other is not None
    name = name_of("affine", storage(x), storage(out), width, *given, activation, index)
    total = x.size // width
    arguments = (x, other, out, scale, bias, whole(index, total), np.int32(channels // width), slope)
    return Launch("elementwise", name, arguments=arguments, **linear(total))


def sum_launch(inputs: Sequence[Array], out: Array, leak: float | None = None) -> list[Launch]:
    """The sum of arrays of the same shape, from left to right, then ReLU as in `affine_launch`.

    inputs: float32 or float16, all of the same type. out: may be one of the first four inputs, or of the other type for
    up to four inputs. Memory traffic: each value once; beyond four inputs, partial sums are stored in `out` for every
    three further inputs, with its precision.
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
    check(out, *inputs)
    index, width = index_type(out), vector(out.size, out, *inputs)
    activation, slope = _activation(leak)
    name = name_of("sum", storage(inputs[0]), storage(out), width, len(inputs), activation, index)
    arguments = (*_padded(inputs), out, whole(index, out.size // width), slope)
    return Launch("elementwise", name, arguments=arguments, **linear(out.size // width))


def _padded(inputs: Sequence[Array]) -> tuple[Array | None, ...]:
    """The arrays, padded with None to AT_ONCE."""
    return (*inputs, *(None,) * (AT_ONCE - len(inputs)))


def join_launch(inputs: Sequence[Array], out: Array) -> list[Launch]:
    """Concatenation of channels (dagnn.Concat).

    inputs and out: float32 or float16, each of any type. Memory traffic: each value once. One pass joins up to four
    inputs of the same type.
    """
    check(out, *inputs)
    assert sum(x.shape[-1] for x in inputs) == out.shape[-1], [x.shape for x in (*inputs, out)]
    launches, first, rest = [], 0, list(inputs)
    while rest:
        alike = [x for x in rest[:AT_ONCE] if x.dtype == rest[0].dtype]
        parts = rest[: next((k for k, x in enumerate(rest[: len(alike)]) if x.dtype != rest[0].dtype), len(alike))]
        launches.append(_part_of_join(parts, out, first))
        first += sum(x.shape[-1] for x in parts)
        rest = rest[len(parts) :]
    return launches


def _part_of_join(inputs: Sequence[Array], out: Array, first: int) -> Launch:
    channels = [x.shape[-1] for x in inputs]
    index, width = index_type(out), vector(gcd(first, out.shape[-1], *channels), out, *inputs)
    name = name_of("join", storage(inputs[0]), storage(out), width, index)
    counts = [count // width for count in (*channels, *(0,) * (AT_ONCE - len(inputs)), first, out.shape[-1])]
    total = sum(x.size for x in inputs) // width
    arguments = (*_padded(inputs), out, whole(index, total), *map(np.int32, counts))
    return Launch("elementwise", name, arguments=arguments, **linear(total))


def transpose_launch(x: Array, out: Array, to_last: bool) -> Launch:
    """N x C x H x W to N x H x W x C, or back with `to_last` False, between float32 and float16 in any combination.

    To channels last, `out` may have additional channels, which are set to zero; to channels first, it may have fewer.
    Memory traffic: each value once.
    """
    check(x, out)
    n, kept = x.shape[0], out.shape[3 if to_last else 1]
    (c, h, w) = x.shape[1:] if to_last else (x.shape[3], *x.shape[1:3])
    assert (n, h, w) == (out.shape[0], *(out.shape[1:3] if to_last else out.shape[2:])), (x.shape, out.shape)
    assert kept >= c if to_last else kept <= c, (x.shape, out.shape)
    index, types, plane = index_type(x, out), (storage(x), storage(out)), h * w
    if kept == c and 1 in (c, plane):  # both layouts are identical in memory
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
    scale: Array | None = None,
    bias: Array | None = None,
    other: Array | None = None,
    leak: float | None = None,
) -> None:
    """Start `affine_launch`."""
    start(affine_launch(x, out, scale, bias, other, leak))


def add(inputs: Sequence[Array], out: Array, leak: float | None = None) -> None:
    """Start `sum_launch`."""
    for launch in sum_launch(inputs, out, leak):
        start(launch)


def join(inputs: Sequence[Array], out: Array) -> None:
    """Start `join_launch`."""
    for launch in join_launch(inputs, out):
        start(launch)
