"""Slow, literal float64 versions of MatConvNet's operators, to hold the fast ones against.

Arrays are H x W x C x N, indices 0-based, one loop per output element: nothing is shared with the code
under test, not even the order of the axes. Formulas: vl_nnconv, vl_nnconvt, vl_nnpool, vl_nnnormalize,
vl_nnspnorm, vl_nnroipool and vl_nnbilinearsampler.
"""

from __future__ import annotations

from itertools import product
from math import ceil, floor
from typing import Any

import numpy as np

Array = np.ndarray


def hwcn(x: Array) -> Array:
    """N x C x H x W as a float64 H x W x C x N."""
    return x.transpose(2, 3, 1, 0).astype(np.float64)


def nchw(y: Array) -> Array:
    return y.transpose(3, 2, 0, 1)


def conv(x: Array, f: Array, b: Array, pad: Any, stride: Any, dilate: Any) -> Array:
    (h, w, c, n), (fh, fw, depth, count) = x.shape, f.shape
    top, bottom, left, right = pad
    height = (h + top + bottom - (fh - 1) * dilate[0] - 1) // stride[0] + 1
    width = (w + left + right - (fw - 1) * dilate[1] - 1) // stride[1] + 1
    y = np.zeros((height, width, count, n))
    for i, j, k, m in np.ndindex(*y.shape):
        group = k // (count // (c // depth))
        y[i, j, k, m] = b[k]
        for u, v, q in product(range(fh), range(fw), range(depth)):
            row, column = i * stride[0] + u * dilate[0] - top, j * stride[1] + v * dilate[1] - left
            if 0 <= row < h and 0 <= column < w:
                y[i, j, k, m] += f[u, v, q, k] * x[row, column, group * depth + q, m]
    return y


def conv_transpose(x: Array, f: Array, b: Array, upsample: Any, crop: Any, groups: int) -> Array:
    (h, w, c, n), (fh, fw, count, _) = x.shape, f.shape
    full = np.zeros((upsample[0] * (h - 1) + fh, upsample[1] * (w - 1) + fw, count * groups, n))
    for i, j, d, m in np.ndindex(h, w, c, n):
        group = d // (c // groups)
        for u, v, k in product(range(fh), range(fw), range(count)):
            row, column = i * upsample[0] + u, j * upsample[1] + v
            full[row, column, group * count + k, m] += f[u, v, k, d] * x[i, j, d, m]
    top, bottom, left, right = crop
    return full[top : full.shape[0] - bottom, left : full.shape[1] - right] + b.reshape(1, 1, -1, 1)


def pool(x: Array, method: str, window: Any, stride: Any, pad: Any) -> Array:
    h, w, c, n = x.shape
    height = (h + pad[0] + pad[1] - window[0]) // stride[0] + 1
    width = (w + pad[2] + pad[3] - window[1]) // stride[1] + 1
    y = np.zeros((height, width, c, n))
    for i, j in np.ndindex(height, width):
        rows = [r for r in range(i * stride[0] - pad[0], i * stride[0] - pad[0] + window[0]) if 0 <= r < h]
        columns = [q for q in range(j * stride[1] - pad[2], j * stride[1] - pad[2] + window[1]) if 0 <= q < w]
        cells = [x[r, q] for r in rows for q in columns]
        y[i, j] = np.max(cells, axis=0) if method == "max" else sum(cells) / len(cells)
    return y


def lrn(x: Array, length: int, kappa: float, alpha: float, beta: float) -> Array:
    channels = x.shape[2]
    y = np.zeros_like(x)
    for k in range(channels):
        low, high = k - (length - 1) // 2, k + length - 1 - (length - 1) // 2
        total = sum(x[:, :, q] ** 2 for q in range(max(0, low), min(channels - 1, high) + 1))
        y[:, :, k] = x[:, :, k] * (kappa + alpha * total) ** -beta
    return y


def spatial_norm(x: Array, height: int, width: int, alpha: float, beta: float) -> Array:
    up, left = (height - 1) // 2, (width - 1) // 2
    mean = pool(x**2, "avg", (height, width), (1, 1), (up, height - 1 - up, left, width - 1 - left))
    return x * (1 + alpha * mean) ** -beta


def half_away(value: float) -> int:
    return int(np.sign(value) * floor(abs(value) + 0.5))


def roi_pool(x: Array, rois: Array, method: str, subdivisions: Any, matrix: Array) -> Array:
    """`rois`: 5 x R; `matrix`: 2 x 3, applied to (u, v, 1)."""
    h, w, c, n = x.shape
    tall, wide = subdivisions
    y = np.zeros((tall, wide, c, rois.shape[1]))
    for r in range(rois.shape[1]):
        image = min(max(int(rois[0, r]) - 1, 0), n - 1)
        ws, hs = (half_away(np.float32(value)) - 1 for value in matrix @ [rois[1, r], rois[2, r], 1])
        we, he = (half_away(np.float32(value)) - 1 for value in matrix @ [rois[3, r], rois[4, r], 1])
        step_h = np.float32(max(he - hs + 1, 1)) / np.float32(tall)
        step_w = np.float32(max(we - ws + 1, 1)) / np.float32(wide)
        for ph, pw in np.ndindex(tall, wide):
            top, bottom = floor(np.float32(ph) * step_h) + hs, ceil(np.float32(ph + 1) * step_h) + hs
            left, right = floor(np.float32(pw) * step_w) + ws, ceil(np.float32(pw + 1) * step_w) + ws
            places = product(range(max(top, 0), min(bottom, h)), range(max(left, 0), min(right, w)))
            cells = [x[i, j, :, image] for i, j in places]
            if cells:
                y[ph, pw, :, r] = np.max(cells, axis=0) if method == "max" else np.mean(cells, axis=0)
    return y


def bilinear_sampler(x: Array, grid: Array) -> Array:
    """`grid`: 2 x Ho x Wo x No."""
    h, w, c, n = x.shape
    _, height, width, count = grid.shape
    y = np.zeros((height, width, c, count))
    for i, j, m in np.ndindex(height, width, count):
        py, px = (grid[0, i, j, m] + 1) / 2 * (h - 1), (grid[1, i, j, m] + 1) / 2 * (w - 1)
        for row, column in product((floor(py), floor(py) + 1), (floor(px), floor(px) + 1)):
            if 0 <= row < h and 0 <= column < w:
                weight = (1 - abs(py - row)) * (1 - abs(px - column))
                y[i, j, :, m] += weight * x[row, column, :, m // (count // n)]
    return y
