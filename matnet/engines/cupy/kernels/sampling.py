"""Kernels for RoI pooling and bilinear sampling."""

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
    vector,
    whole,
)
from matnet.ops.roi import ROIPooling


def roi_pool_launch(x: Array, boxes: Array, out: Array, fault: Array, op: ROIPooling) -> Launch:
    """The maximum or average over each tile of each box (vl_nnroipool); see matnet.ops' ROIPooling.

    x, out: float32 or float16 (out is R x 1 x 1 x (C columns rows) with op.flatten). boxes: float32 N x C x H x W, 5
    numbers per box. fault: one int32, set to 1 for a box with NaN or infinite values (its output is 0) or an invalid
    image number; never cleared here. Memory traffic: the pixels of all boxes, except those in the cache, and the
    output.
    """
    check(x, out, boxes, fault)
    n, h, w, c = x.shape
    index, width = index_type(x, out, boxes), vector(c, x, out)
    flags = op.method == "max", op.flatten
    name = name_of("roi_pool", storage(x), storage(out), width, *flags, index)
    _, box_channels, box_height, box_width = boxes.shape
    total, groups = out.size // width, c // width
    counts = map(np.int32, (n, groups, h, w, *op.subdivisions))
    box = (whole(index, size) for size in (box_height, box_width, box_channels))
    move = (*_transform(op), np.int32(op.refuses_other_images))
    arguments = (x, boxes, out, fault, whole(index, total), *counts, *box, *move)
    return Launch("roi", name, arguments=arguments, **linear(total, threads=128))


def _transform(op: ROIPooling) -> tuple[np.generic, ...]:
    """a b c d e f of x' = a x + b y + c, y' = d x + e y + f, followed by 1; or scales a and e, followed by 0."""
    given = op.transform
    if isinstance(given, float):
        given = (given, given)
    if isinstance(given[0], float):
        return (*map(np.float64, (given[0], 0, 0, 0, given[1], 0)), np.int32(0))
    return (*map(np.float64, (*given[0], *given[1])), np.int32(1))


def sample_launch(x: Array, grid: Array, out: Array) -> Launch:
    """Bilinear interpolation of x at grid points, zero outside (vl_nnbilinearsampler); see matnet.ops' BilinearSampler.

    x, out: float32 or float16. grid: float32 No x Wo x 2 x Ho. Memory traffic: the grid, the output, and the pixels
    around grid points, which neighbouring points share through the cache.
    """
    check(x, out, grid)
    (n, h, w, c), (count, out_h, out_w, _) = x.shape, out.shape
    index, width = index_type(x, out, grid), vector(c, x, out)
    name = name_of("sample", storage(x), storage(out), width, index)
    counts = map(np.int32, (c // width, h, w, out_h, out_w))
    halves = (np.float32(0.5 * (size - 1)) for size in (h, w))
    total = out.size // width
    arguments = (x, grid, out, whole(index, total), *counts, whole(index, count // n), *halves)
    return Launch("sampler", name, arguments=arguments, **linear(total))


def roi_pool(x: Array, boxes: Array, out: Array, fault: Array, op: ROIPooling) -> None:
    """Start `roi_pool_launch`."""
    start(roi_pool_launch(x, boxes, out, fault, op))


def sample(x: Array, grid: Array, out: Array) -> None:
    """Start `sample_launch`."""
    start(sample_launch(x, grid, out))
