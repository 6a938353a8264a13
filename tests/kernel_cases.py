"""What the GPU engine's kernels are tried on: guarded arrays, launches, and what numpy's ops make of the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from matnet.engines.cupy import kernels
from matnet.engines.cupy.kernels import KernelWindows, Launch
from matnet.ops import Op
from matnet.ops.activation import ReLU, SoftMax
from matnet.ops.extensions.pooling import CaffePooling, GlobalPooling
from matnet.ops.normalization import LRN
from matnet.ops.pooling import Pooling
from matnet.ops.roi import ROIPooling
from matnet.ops.sampling import BilinearSampler

GUARD = 4096  # bytes before and after every array, which begins at a multiple of it
POISON = 0xFF  # bytes of an array to be written, and around one to be read: NaN as a float of any length
FENCE = 0xA5  # bytes around an array to be written: no result of reading poison
LAST = 0, 2, 3, 1  # the axes of N x C x H x W with channels last
HARD = False  # whether outputs are of the other storage type


@dataclass
class Case:
    """Launches that fill `out` with `expected`; `exact` where not even rounding may differ."""

    launches: list[Launch]
    out: np.ndarray
    expected: np.ndarray
    exact: bool = False
    partial_sums: bool = False  # whether partial sums are stored, and so rounded to float16
    fault: np.ndarray = field(default_factory=lambda: np.zeros(1, np.int32))


Maker = Callable[[type], Case]  # by storage type


def guarded(shape: Sequence[int], dtype: type, values: np.ndarray | None = None) -> np.ndarray:
    """An array with guards around it: one to read, or without values one to write, which is poisoned."""
    length = int(np.prod(shape)) * np.dtype(dtype).itemsize
    memory = np.full(length + 3 * GUARD, FENCE if values is None else POISON, np.uint8)
    start = GUARD + -(memory.ctypes.data + GUARD) % GUARD
    memory[start : start + length] = POISON
    array = memory[start : start + length].view(dtype).reshape(shape)
    if values is not None:
        array[...] = values
    return array


def memory_of(array: np.ndarray) -> np.ndarray:
    """All bytes of the memory in which an array lies, guards included."""
    while array.base is not None:
        array = array.base
    return array


def assert_all_written(array: np.ndarray) -> None:
    """Every element of a guarded array was written, and nothing around it."""
    memory = memory_of(array)
    own = np.zeros(memory.size, bool)
    start = array.ctypes.data - memory.ctypes.data
    own[start : start + array.nbytes] = True
    np.testing.assert_array_equal(memory[~own], memory[0])
    elements = np.ascontiguousarray(array).reshape(-1).view(np.uint8).reshape(array.size, -1)
    np.testing.assert_array_equal((elements == POISON).all(axis=1), False)


def values_of(*shape: int, special: bool = False, seed: int = 0) -> np.ndarray:
    """Random float32 numbers that float16 can hold, N x C x H x W; `special`: with NaN and infinities among them."""
    x = np.random.default_rng(seed).standard_normal(shape).astype(np.float16).astype(np.float32)
    if special:
        x.flat[:: max(7, x.size // 5)] = np.nan
        x.flat[3 :: max(11, x.size // 4)] = np.inf
        x.flat[5 :: max(13, x.size // 3)] = -np.inf
    return x


def laid_out(x: np.ndarray, dtype: type) -> np.ndarray:
    """N x C x H x W as a guarded array with channels last."""
    moved = x.transpose(LAST)
    return guarded(moved.shape, dtype, moved)


def by_op(op: Op, *inputs: np.ndarray) -> np.ndarray:
    """The first output of numpy's op."""
    with np.errstate(all="ignore"):
        return op.forward(np, list(inputs), op.prepare(np, []))[0]


def filled(expected: np.ndarray, dtype: type, fixed: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """An output to fill, and what it should hold, with channels last; with HARD of the other type unless `fixed`."""
    moved = np.ascontiguousarray(expected.transpose(LAST))
    stored = dtype if fixed or not HARD else {np.float32: np.float16, np.float16: np.float32}[dtype]
    return guarded(moved.shape, stored), moved


def lrn(channels: int, length: int, beta: float = 0.75, side: tuple[int, int] = (7, 11), special: bool = True) -> Maker:
    def make(dtype: type) -> Case:
        x = values_of(2, channels, *side, special=special)
        out, expected = filled(by_op(LRN(param=(length, 1.5, 0.3, beta)), x), dtype)
        return Case([kernels.lrn_launch(laid_out(x, dtype), out, length, 1.5, 0.3, beta)], out, expected)

    return make


def softmax(*shape: int, special: bool = False) -> Maker:
    def make(dtype: type) -> Case:
        x = values_of(*shape, special=special)
        out, expected = filled(by_op(SoftMax(), x), dtype)
        return Case([kernels.softmax_launch(laid_out(x, dtype), out)], out, expected)

    return make


def pool(op: Op, method: str, windows: KernelWindows, *shape: int) -> Maker:
    def make(dtype: type) -> Case:
        x = values_of(*shape, special=True)
        x[:, :2, 1:5, 2:7] = -np.inf  # whole windows: by Caffe's rules -FLT_MAX wins only where there is a pad
        out, expected = filled(by_op(op, x), dtype)
        launch = kernels.pool_launch(laid_out(x, dtype), out, method, windows)
        return Case([launch], out, expected, exact=method == "max")

    return make


def matconvnet_pool(method: str, window: tuple, stride: tuple, pad: tuple, *shape: int) -> Maker:
    op = Pooling(method=method, poolSize=window, stride=stride, pad=pad)
    return pool(op, method, KernelWindows(window, stride, (pad[0], pad[2])), *shape)


def caffe_pool(method: str, window: tuple, stride: tuple, pad: tuple, *shape: int) -> Maker:
    op = CaffePooling(method=method, poolSize=window, stride=stride, pad=(pad[0], pad[0], pad[1], pad[1]))
    windows = KernelWindows(window, stride, pad, kernels.LOWEST)
    return pool(op, "max" if method == "max" else "padded_avg", windows, *shape)


def global_pool(method: str, *shape: int) -> Maker:
    return pool(GlobalPooling(method=method), method, KernelWindows(shape[2:], (1, 1), (0, 0)), *shape)  # type: ignore[arg-type]


BOXES = np.array([
    [1, 1, 1, 11, 7], [2, 3, 2, 9, 6], [1, -4, -3, 5, 4], [2, 8, 5, 30, 20], [0, 2, 2, 2, 2], [9, 6, 3, 4, 2],
    [2, 2.5, 1.5, 7.49, 5.51], [1, 40, 40, 50, 50],
], np.float32)  # fmt: skip


def roi(channels: int, spread: tuple[int, ...] = (1, 1, 5, 8), **fields: object) -> Maker:
    """`spread`: the sizes H x W x C x N, in MATLAB's order, of the variable that holds the boxes."""

    def make(dtype: type) -> Case:
        op = ROIPooling(subdivisions=(3, 4), **fields)  # type: ignore[arg-type]
        x, boxes = values_of(2, channels, 7, 11, special=True), BOXES.ravel().reshape(spread, order="F")
        boxes = np.ascontiguousarray(boxes.transpose(3, 2, 0, 1))
        out, expected = filled(by_op(op, x, boxes), dtype)
        given = laid_out(x, dtype), guarded(boxes.shape, np.float32, boxes)
        case = Case([], out, expected, exact=op.method == "max")
        case.launches = [kernels.roi_pool_launch(*given, out, case.fault, op)]
        return case

    return make


def sample(channels: int) -> Maker:
    def make(dtype: type) -> Case:
        x = values_of(2, channels, 7, 11)
        grid = np.random.default_rng(1).uniform(-1.4, 1.4, (4, 5, 2, 3)).astype(np.float32)
        grid[0, 0, 0, 0], grid[1, 1, 1, 1], grid[2, :2, :, 1], grid[3, 3, 0, :2] = np.nan, np.inf, 1, -1
        out, expected = filled(by_op(BilinearSampler(), x, grid), dtype)
        given = laid_out(x, dtype), guarded(grid.shape, np.float32, grid)
        return Case([kernels.sample_launch(*given, out)], out, expected)

    return make


def affine(
    channels: int, scale: bool, bias: bool, leak: float | None, in_place: bool = False, other: bool = False
) -> Maker:
    """`other`: a second array is added."""

    def make(dtype: type) -> Case:
        x = values_of(2, channels, 7, 11, special=True)
        s, b, y = values_of(channels, seed=2), values_of(channels, seed=3), values_of(*x.shape, seed=4)
        expected = x * s.reshape(1, -1, 1, 1) if scale else x
        expected = expected + b.reshape(1, -1, 1, 1) if bias else expected
        expected = expected + y if other else expected
        expected = expected if leak is None else by_op(ReLU(leak=leak), expected)
        given = laid_out(x, dtype)
        out, wanted = filled(expected, dtype)
        out = given if in_place else out
        s, b = guarded(s.shape, np.float32, s), guarded(b.shape, np.float32, b)
        added = laid_out(y, dtype) if other else None
        launch = kernels.affine_launch(given, out, s if scale else None, b if bias else None, added, leak)
        return Case([launch], out, wanted)

    return make


def joined(*channels: int, mixed: bool = False) -> Maker:
    """Concatenation along channels; `mixed`: every second input is stored as the other type."""

    def make(dtype: type) -> Case:
        parts = [values_of(2, count, 7, 11, special=k == 1, seed=k) for k, count in enumerate(channels)]
        types = [dtype, np.float16 if dtype is np.float32 else np.float32]
        given = [laid_out(x, types[k % 2 if mixed else 0]) for k, x in enumerate(parts)]
        out, wanted = filled(np.concatenate(parts, axis=1), dtype)
        return Case(kernels.join_launch(given, out), out, wanted, exact=True)

    return make


def total(count: int, leak: float | None, shape: tuple[int, ...] = (2, 6, 7, 11), in_place: int | None = None) -> Maker:
    def make(dtype: type) -> Case:
        parts = [values_of(*shape, special=k == 1, seed=k) for k in range(count)]
        expected = sum(parts[1:], parts[0])
        expected = expected if leak is None else by_op(ReLU(leak=leak), expected)
        given = [laid_out(x, dtype) for x in parts]
        out, wanted = filled(expected, dtype, fixed=count > 4)
        out = out if in_place is None else given[in_place]
        return Case(kernels.sum_launch(given, out, leak), out, wanted, partial_sums=count > 4)

    return make


def transpose(*shape: int, channels: int | None = None, to: type | None = None, back: bool = False) -> Maker:
    """To channels last, or `back`; `channels` of the array with channels last."""

    def make(dtype: type) -> Case:
        x = values_of(*shape, special=True)
        wide = np.zeros((shape[0], channels or shape[1], *shape[2:]), np.float32)
        wide[:, : shape[1]] = x
        last = np.ascontiguousarray(wide.transpose(LAST))
        given, wanted = (last, x) if back else (x, last)
        out = guarded(wanted.shape, to or dtype)
        launch = kernels.transpose_launch(guarded(given.shape, dtype, given), out, not back)
        return Case([launch], out, wanted, exact=True)

    return make


def unaligned(dtype: type) -> Case:
    """Arrays that begin one element behind a multiple of 16 bytes."""
    x = values_of(2, 8, 4, 6)
    moved = x.transpose(LAST)
    first = np.array([FENCE] * np.dtype(dtype).itemsize, np.uint8).view(dtype)
    memory, result = (guarded((x.size + 1,), dtype) for _ in range(2))
    memory[1:], result[:1] = moved.ravel(), first
    given, out = memory[1:].reshape(moved.shape), result[1:].reshape(moved.shape)
    return Case([kernels.affine_launch(given, out, leak=0.0)], out, np.maximum(moved, 0), exact=True)


SHAPE = (2, 6, 7, 11)
CASES: dict[str, Maker] = {
    "lrn of 5": lrn(8, 5),
    "lrn of 5 over many channels": lrn(70, 5, side=(4, 6)),
    "lrn of 5 over odd channels": lrn(7, 5),
    "lrn of 4": lrn(8, 4),
    "lrn of 1": lrn(6, 1, beta=0.5),
    "lrn of 3 with another power": lrn(16, 3, beta=0.6),
    "lrn longer than the channels": lrn(3, 11),
    "lrn of 20": lrn(24, 20, special=False, side=(3, 5)),
    "softmax of 6": softmax(*SHAPE, special=True),
    "softmax of 21": softmax(2, 21, 7, 11),
    "softmax of 1000 numbers": softmax(3, 1000, 1, 1),
    "softmax of 129 numbers": softmax(2, 129, 1, 1, special=True),
    "softmax of 40 in a row of pixels": softmax(1, 40, 1, 35),
    "max pool 3x3": matconvnet_pool("max", (3, 3), (2, 2), (0, 1, 0, 1), 2, 8, 7, 11),
    "max pool 3x5": matconvnet_pool("max", (3, 5), (2, 3), (1, 2, 0, 3), *SHAPE),
    "max pool 2x2": matconvnet_pool("max", (2, 2), (2, 2), (0, 0, 0, 0), 2, 5, 6, 10),
    "max pool of many cells": matconvnet_pool("max", (7, 5), (1, 2), (3, 2, 1, 4), *SHAPE),
    "average pool 3x3": matconvnet_pool("avg", (3, 3), (1, 1), (1, 1, 1, 1), 2, 8, 7, 11),
    "average pool 3x5": matconvnet_pool("avg", (3, 5), (2, 3), (1, 2, 0, 3), *SHAPE),
    "average pool of many cells": matconvnet_pool("avg", (6, 7), (2, 3), (2, 3, 1, 2), 2, 40, 9, 13),
    "Caffe's max pool": caffe_pool("max", (3, 3), (2, 2), (1, 1), *SHAPE),
    "Caffe's max pool with windows outside": caffe_pool("max", (1, 1), (3, 3), (0, 0), 2, 8, 5, 9),
    "Caffe's average pool": caffe_pool("avg", (3, 3), (2, 2), (1, 1), 2, 8, 7, 11),
    "Caffe's average pool 4x3": caffe_pool("avg", (4, 3), (3, 2), (2, 1), *SHAPE),
    "Caffe's average pool of many cells": caffe_pool("avg", (6, 8), (4, 5), (3, 2), 2, 12, 9, 14),
    "global average": global_pool("avg", *SHAPE),
    "global maximum": global_pool("max", 2, 264, 6, 6),
    "global average of few cells": global_pool("avg", 2, 16, 4, 5),
    "boxes, maximum": roi(8, transform=0.7),
    "boxes, average": roi(6, method="avg", transform=(0.5, 0.9)),
    "boxes, flat": roi(8, flatten=True, transform=((0.8, 0.1, 0.3), (0.2, 0.7, -0.1))),
    "boxes, flat average": roi(3, flatten=True, method="avg"),
    "boxes in another order": roi(6, spread=(2, 5, 1, 4)),
    "sampler": sample(8),
    "sampler of 3 channels": sample(3),
    "bias and ReLU": affine(8, False, True, 0.0),
    "bias and ReLU of 6 channels, in place": affine(6, False, True, 0.0, in_place=True),
    "scale and bias": affine(16, True, True, None),
    "scale, bias and leaky ReLU": affine(5, True, True, 0.125),
    "scale": affine(12, True, False, None),
    "scale, a second array and ReLU": affine(8, True, False, 0.0, other=True),
    "scale, bias and a second array": affine(6, True, True, None, other=True),
    "concatenation of four": joined(8, 16, 24, 8),
    "concatenation of two with odd channels": joined(3, 6),
    "concatenation of six": joined(4, 8, 12, 4, 8, 16),
    "concatenation of both types": joined(8, 8, 8, mixed=True),
    "a leak above 1": affine(6, False, False, 2.0),
    "ReLU": total(1, 0.0),
    "sum of two and ReLU": total(2, 0.0, in_place=0),
    "sum of two": total(2, None, (3, 5, 7, 1)),
    "sum of four and leaky ReLU": total(4, 0.25, in_place=3),
    "sum of six and ReLU": total(6, 0.0),
    "transposition of 3 channels": transpose(2, 3, 7, 11),
    "transposition of 3 channels, back": transpose(2, 3, 7, 11, back=True),
    "transposition of 3 channels into 4": transpose(2, 3, 7, 11, channels=4),
    "transposition of 3 channels into 4, back": transpose(2, 3, 7, 11, channels=4, back=True),
    "transposition of 3 channels into 8 halves": transpose(2, 3, 7, 11, channels=8, to=np.float16),
    "transposition of 3 channels into 8 halves, back": transpose(2, 3, 7, 11, channels=8, to=np.float16, back=True),
    "transposition of 35 channels": transpose(2, 35, 7, 11),
    "transposition of 35 channels, back": transpose(2, 35, 7, 11, back=True),
    "transposition of 35 channels into 40 floats": transpose(2, 35, 7, 11, channels=40, to=np.float32),
    "transposition of 35 channels into 40 floats, back": transpose(2, 35, 7, 11, channels=40, to=np.float32, back=True),
    "transposition of 64 channels into halves": transpose(2, 64, 5, 7, to=np.float16),
    "transposition of 64 channels into halves, back": transpose(2, 64, 5, 7, to=np.float16, back=True),
    "transposition of one pixel": transpose(3, 70, 1, 1, to=np.float32),
    "transposition of one pixel, back": transpose(3, 70, 1, 1, to=np.float32, back=True),
    "transposition of one channel": transpose(3, 1, 5, 7, to=np.float16),
    "transposition of one channel, back": transpose(3, 1, 5, 7, to=np.float16, back=True),
    "arrays that are not aligned": unaligned,
}
