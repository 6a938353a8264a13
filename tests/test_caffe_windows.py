"""Convolution, InnerProduct and Pooling of Caffe, against plain loops over their definitions in BVLC Caffe."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.caffe_nets import RANDOM, TOLERANCE, S, V, X, blob_values, check, converted, per_channel, reloaded, softmax
from tests.conftest import assert_close

# -- products ------------------------------------------------------------------------------------


def patches(x: np.ndarray, kernel: Sequence[int], stride: Sequence[int], pad: Sequence[int], dilation: Sequence[int]):
    """Every window of an image with zeros around: N x C x kh x kw x oh x ow, by plain loops."""
    n, c, h, w = x.shape
    wide = np.zeros((n, c, h + 2 * pad[0], w + 2 * pad[1]))
    wide[:, :, pad[0] : pad[0] + h, pad[1] : pad[1] + w] = x
    span = [dilation[axis] * (kernel[axis] - 1) + 1 for axis in (0, 1)]
    out = [(wide.shape[2 + axis] - span[axis]) // stride[axis] + 1 for axis in (0, 1)]
    found = np.zeros((n, c, *kernel, *out))
    for i in range(out[0]):
        for j in range(out[1]):
            top, left = i * stride[0], j * stride[1]
            found[..., i, j] = wide[:, :, top : top + span[0] : dilation[0], left : left + span[1] : dilation[1]]
    return found


def convolved(x: np.ndarray, weights: np.ndarray, groups: int, **window: Sequence[int]) -> np.ndarray:
    outputs, depth = weights.shape[:2]
    found = patches(x, weights.shape[2:], **window)
    parts = [
        np.einsum("oabc,nabcij->noij", weights[g * outputs // groups : (g + 1) * outputs // groups],
                  found[:, g * depth : (g + 1) * depth])
        for g in range(groups)
    ]  # fmt: skip
    return np.concatenate(parts, axis=1)


CONVOLUTIONS = [
    ("kernel_size: 3", (3, 3), (1, 1), (0, 0), (1, 1), 1),
    ("kernel_h: 3 kernel_w: 5 stride_h: 2 stride_w: 3 pad_h: 1 pad_w: 2", (3, 5), (2, 3), (1, 2), (1, 1), 1),
    ("kernel_size: 3 kernel_size: 5 stride: 2 stride: 3 pad: 1 pad: 2", (3, 5), (2, 3), (1, 2), (1, 1), 1),
    ("kernel_size: 3 dilation: 2 pad: 2", (3, 3), (1, 1), (2, 2), (2, 2), 1),
    ("kernel_size: 2 dilation: 2 dilation: 3", (2, 2), (1, 1), (0, 0), (2, 3), 1),
    ("kernel_size: 3 hole: 2", (3, 3), (1, 1), (0, 0), (2, 2), 1),
    ("kernel_size: 3 hole_h: 2 hole_w: 3", (3, 3), (1, 1), (0, 0), (2, 3), 1),
    ("kernel_size: 3 group: 2 pad_w: 1", (3, 3), (1, 1), (0, 1), (1, 1), 2),
    ("kernel_size: 3 group: 6", (3, 3), (1, 1), (0, 0), (1, 1), 6),
]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("param", "kernel", "stride", "pad", "dilation", "groups"), CONVOLUTIONS, ids=[case[0] for case in CONVOLUTIONS]
)
def test_convolution(param, kernel, stride, pad, dilation, groups, bias, tmp_path: Path) -> None:
    outputs = 12
    weights = np.random.default_rng(5).standard_normal((outputs, 6 // groups, *kernel)).astype(np.float32)
    offset = np.arange(outputs, dtype=np.float32)
    expected = convolved(X, weights, groups, stride=stride, pad=pad, dilation=dilation)
    text = f"convolution_param {{ num_output: {outputs} {param} {'' if bias else 'bias_term: false'} }}"
    blobs = [weights, offset][: 1 + bias]
    check(tmp_path, "Convolution", text, {"x": X}, expected + (per_channel(offset) if bias else 0), blobs)


@pytest.mark.parametrize(("kind", "group"), [("DepthwiseConvolution", "group: 6"), ("ConvolutionDepthwise", "")])
def test_depthwise_convolution_of_forks(kind: str, group: str, tmp_path: Path) -> None:
    weights = RANDOM.standard_normal((6, 1, 3, 3)).astype(np.float32)
    expected = convolved(X, weights, 6, stride=(2, 2), pad=(1, 1), dilation=(1, 1))
    text = f"convolution_param {{ num_output: 6 kernel_size: 3 stride: 2 pad: 1 bias_term: false {group} }}"
    check(tmp_path, kind, text, {"x": X}, expected, [weights])


def scattered(x: np.ndarray, weights: np.ndarray, groups: int, stride: int, pad: int, dilation: int) -> np.ndarray:
    """Deconvolution: every input pixel adds its kernel to the output, of which `pad` is then cut on every side."""
    n, channels, h, w = x.shape
    depth, k = weights.shape[1], weights.shape[2]
    span = dilation * (k - 1) + 1
    out = np.zeros((n, depth * groups, stride * (h - 1) + span, stride * (w - 1) + span))
    for c in range(channels):
        first = c // (channels // groups) * depth
        for i in range(h):
            for j in range(w):
                rows = slice(i * stride, i * stride + span, dilation)
                columns = slice(j * stride, j * stride + span, dilation)
                out[:, first : first + depth, rows, columns] += x[:, c, i, j, None, None, None] * weights[c]
    return out[:, :, pad : out.shape[2] - pad, pad : out.shape[3] - pad]


DECONVOLUTIONS = [("", 1, 2, 0, 1), ("group: 2", 2, 2, 1, 1), ("group: 6", 6, 3, 2, 1), ("dilation: 2", 1, 1, 1, 2)]


@pytest.mark.parametrize(("param", "groups", "stride", "pad", "dilation"), DECONVOLUTIONS)
def test_deconvolution(param: str, groups: int, stride: int, pad: int, dilation: int, tmp_path: Path) -> None:
    weights = np.random.default_rng(6).standard_normal((6, 12 // groups, 4, 4)).astype(np.float32)
    offset = np.arange(12, dtype=np.float32)
    expected = scattered(X, weights, groups, stride, pad, dilation) + per_channel(offset)
    text = f"convolution_param {{ num_output: 12 kernel_size: 4 stride: {stride} pad: {pad} {param} }}"
    check(tmp_path, "Deconvolution", text, {"x": X}, expected, [weights, offset])


def test_a_bilinear_filler_stands_for_absent_weights(tmp_path: Path) -> None:
    """k = 4, s = 2: each kernel is the outer product of (1, 3, 3, 1) / 4 with itself (BVLC Caffe, filler.hpp)."""
    ramp = np.float32([0.25, 0.75, 0.75, 0.25])
    weights = np.broadcast_to(np.outer(ramp, ramp), (6, 1, 4, 4))
    text = """convolution_param { num_output: 6 group: 6 kernel_size: 4 stride: 2 pad: 1 bias_term: false
              weight_filler { type: "bilinear" } }"""
    check(tmp_path, "Deconvolution", text, {"x": X}, scattered(X, weights, 6, 2, 1, 1))


def test_im2col(tmp_path: Path) -> None:
    found = patches(X, (3, 2), stride=(1, 1), pad=(1, 1), dilation=(1, 1))
    expected = found.reshape(2, 36, *found.shape[4:])
    check(tmp_path, "Im2col", "convolution_param { kernel_h: 3 kernel_w: 2 pad: 1 }", {"x": X}, expected)


PRODUCTS = [
    ("", X, 1, False),
    ("transpose: true", X, 1, True),
    ("", V, 1, False),
    ("", S, 1, False),
    ("axis: 2", S, 2, False),
    ("axis: -1", S, 2, False),
    ("axis: 2 transpose: true", X, 2, True),
    ("bias_term: false", X, 1, False),
]


@pytest.mark.parametrize(("param", "x", "axis", "transpose"), PRODUCTS)
def test_inner_product(param: str, x: np.ndarray, axis: int, transpose: bool, tmp_path: Path) -> None:
    rows = x.reshape(*x.shape[:axis], -1)
    weights = np.random.default_rng(7).standard_normal((3, rows.shape[-1])).astype(np.float32)
    offset = np.float32([1, -2, 3]) * ("bias_term" not in param)
    blobs = [np.ascontiguousarray(weights.T) if transpose else weights, offset][: 1 + ("bias_term" not in param)]
    text = f"inner_product_param {{ num_output: 3 {param} }}"
    check(tmp_path, "InnerProduct", text, {"x": x}, rows @ weights.T.astype(np.float64) + offset, blobs)


@pytest.mark.parametrize("between", [
    'layer { name: "f" type: "Flatten" bottom: "p" top: "f" }',
    'layer { name: "f" type: "Reshape" bottom: "p" top: "f" reshape_param { shape { dim: 0 dim: -1 } } }',
    """layer { name: "f" type: "Flatten" bottom: "p" top: "f" } layer { name: "d" type: "Dropout" bottom: "f" top: "f" }
       layer { name: "r" type: "ReLU" bottom: "f" top: "f" }""",
])  # fmt: skip
def test_a_flatten_before_an_inner_product_costs_no_layer_and_keeps_its_blob(between: str, tmp_path: Path) -> None:
    weights = RANDOM.standard_normal((3, 6 * 3 * 5)).astype(np.float32)
    text = f"""layer {{ name: "p" type: "Pooling" bottom: "x" top: "p"
                        pooling_param {{ kernel_size: 2 stride: 2 round_mode: FLOOR }} }} {between}
               layer {{ name: "i" type: "InnerProduct" bottom: "f" top: "y"
                        inner_product_param {{ num_output: 3 bias_term: false }} }}"""
    net = reloaded(converted(tmp_path, text, {"x": X.shape}, {"i": [weights]}), tmp_path)
    assert all(layer.op.stock for layer in net.layers.values())
    pooled = X[:, :, :6, :10].reshape(2, 6, 3, 2, 5, 2).max((3, 5))
    pooled = np.maximum(pooled, 0 if "ReLU" in between else -np.inf)  # in place: `f` is the memory of `p`
    flat = pooled.reshape(2, -1)
    found = blob_values(net, ["p", "f", "y"], {"x": X})
    assert_close(found["p"], pooled, TOLERANCE, "p")
    assert_close(found["f"], flat, TOLERANCE, "f")
    assert_close(found["y"], flat @ weights.T, TOLERANCE, "y")


def test_a_merge_is_carried_out_where_a_layer_needs_the_merged_axes(tmp_path: Path) -> None:
    text = """layer { name: "f" type: "Flatten" bottom: "x" top: "f" }
              layer { name: "s" type: "Softmax" bottom: "f" top: "y" }
              layer { name: "c" type: "Concat" bottom: "f" bottom: "f" top: "z" }"""
    net = reloaded(converted(tmp_path, text, {"x": X.shape}, {}), tmp_path)
    found = blob_values(net, ["f", "y", "z"], {"x": X})
    flat = X.reshape(2, -1)
    for name, expected in {"f": flat, "y": softmax(flat, 1), "z": np.concatenate([flat, flat], 1)}.items():
        assert_close(found[name], expected, TOLERANCE, name)


# -- pooling -------------------------------------------------------------------------------------


def pooled(x: np.ndarray, kind: str, k: int, s: int, p: int, floor: bool = False) -> np.ndarray:
    """Caffe's pooling by plain loops: sizes, clip rule, and the divisor that counts the pad but nothing beyond it."""
    counts = []
    for size in x.shape[2:]:
        count = (size + 2 * p - k) // s + 1 if floor else -(-(size + 2 * p - k) // s) + 1
        counts.append(count - 1 if p and (count - 1) * s >= size + p else count)
    found = np.zeros((*x.shape[:2], *counts))
    for i in range(counts[0]):
        for j in range(counts[1]):
            top, left = i * s - p, j * s - p
            bottom, right = min(top + k, x.shape[2] + p), min(left + k, x.shape[3] + p)
            cells = x[:, :, max(top, 0) : min(bottom, x.shape[2]), max(left, 0) : min(right, x.shape[3])]
            area = (bottom - top) * (right - left)
            found[:, :, i, j] = cells.max((2, 3)) if kind == "MAX" else cells.sum((2, 3), dtype=np.float64) / area
    return found


GEOMETRIES = [(k, s, p) for k in (1, 2, 3, 5) for s in (1, 2, 3, 4) for p in range(min(k, 3))]


@pytest.mark.process
@pytest.mark.parametrize("kind", ["MAX", "AVE"])
@pytest.mark.parametrize(("k", "s", "p"), GEOMETRIES)
def test_pooling_geometry(kind: str, k: int, s: int, p: int, tmp_path: Path) -> None:
    for height, width in ((7, 11), (8, 10), (6, 9)):
        x = RANDOM.standard_normal((1, 2, height, width)).astype(np.float32)
        last = [(-(-(size + 2 * p - k) // s)) * s for size in (height, width)]
        if p == 0 and (last[0] >= height or last[1] >= width):
            continue  # a window outside the input: Caffe's result is no number
        param = f"pooling_param {{ pool: {kind} kernel_size: {k} stride: {s} pad: {p} }}"
        check(tmp_path, "Pooling", param, {"x": x}, pooled(x, kind, k, s, p))


@pytest.mark.parametrize("mode", ["round_mode: FLOOR", "ceil_mode: false"])
def test_pooling_that_rounds_down(mode: str, tmp_path: Path) -> None:
    for kind, k, s, p in (("MAX", 3, 2, 0), ("AVE", 3, 2, 1), ("MAX", 2, 3, 1)):
        param = f"pooling_param {{ pool: {kind} kernel_size: {k} stride: {s} pad: {p} {mode} }}"
        check(tmp_path, "Pooling", param, {"x": X[:, :, :6, :10]}, pooled(X[:, :, :6, :10], kind, k, s, p, floor=True))


def test_pooling_clips_both_axes_when_one_is_padded(tmp_path: Path) -> None:
    """Height 5, window 1, stride 4 would have its second window at 4; clipping keeps it, as 4 < 5."""
    x = X[:, :, :5, :9]
    padded = np.full((2, 6, 5, 11), -np.inf)
    padded[..., 1:10] = x
    expected = np.stack([padded[:, :, ::4, 4 * t : 4 * t + 2].max(3) for t in range(3)], axis=3)
    param = "pooling_param { kernel_h: 1 kernel_w: 2 stride: 4 pad_h: 0 pad_w: 1 }"
    check(tmp_path, "Pooling", param, {"x": x}, expected)


@pytest.mark.parametrize(("kind", "reduce"), [("MAX", np.max), ("AVE", np.mean)])
def test_global_pooling(kind: str, reduce: Any, tmp_path: Path) -> None:
    param = f"pooling_param {{ pool: {kind} global_pooling: true }}"
    check(tmp_path, "Pooling", param, {"x": X}, reduce(X, axis=(2, 3), keepdims=True))


def test_pooling_mask_is_the_first_place_of_the_maximum(tmp_path: Path) -> None:
    x = X[:1, :1, :4, :6]
    cells = x[0, 0].reshape(2, 2, 3, 2).transpose(0, 2, 1, 3).reshape(2, 3, 4)
    inside = cells.argmax(2)
    places = (2 * np.arange(2)[:, None] + inside // 2) * 6 + 2 * np.arange(3) + inside % 2
    param = "pooling_param { kernel_size: 2 stride: 2 }"
    check(tmp_path, "Pooling", param, {"x": x}, [cells.max(2)[None, None], places[None, None]])


def test_stochastic_pooling_weighs_values_by_themselves(tmp_path: Path) -> None:
    x = np.abs(X[:, :, :6, :10])
    cells = x.reshape(2, 6, 3, 2, 5, 2)
    expected = (cells**2).sum((3, 5)) / cells.sum((3, 5))
    check(tmp_path, "Pooling", "pooling_param { pool: STOCHASTIC kernel_size: 2 stride: 2 }", {"x": x}, expected)


def test_spatial_pyramid(tmp_path: Path) -> None:
    """On 7 x 11: the whole map; windows 4 x 6 with pad 1, 1; windows 2 x 3 with pad 1, 1 (section SPP of Caffe)."""
    levels = [X.max((2, 3)).reshape(2, -1)]
    for kernel, pad in (((4, 6), (1, 1)), ((2, 3), (1, 1))):
        counts = []
        for size, k, p in zip((7, 11), kernel, pad, strict=True):
            count = -(-(size + 2 * p - k) // k) + 1
            counts.append(count - 1 if (count - 1) * k >= size + p else count)
        rows = [slice(max(i * kernel[0] - pad[0], 0), i * kernel[0] - pad[0] + kernel[0]) for i in range(counts[0])]
        columns = [slice(max(j * kernel[1] - pad[1], 0), j * kernel[1] - pad[1] + kernel[1]) for j in range(counts[1])]
        level = np.stack([np.stack([X[:, :, r, c].max((2, 3)) for c in columns], -1) for r in rows], -2)
        levels.append(level.reshape(2, -1))
    check(tmp_path, "SPP", "spp_param { pyramid_height: 3 }", {"x": X}, np.concatenate(levels, axis=1))


@pytest.mark.parametrize("base", ["caffe", "matconvnet"])
def test_roi_pooling_counts_from_zero_or_one(base: str, tmp_path: Path) -> None:
    """Boxes at half scale: corners 2, 4, 12, 10 -> 1, 2, 6, 5, so 6 columns and 4 rows in 2 x 3 bins; one pixel."""
    boxes = np.float32([[1, 2, 4, 12, 10], [0, 6, 6, 6, 6]])
    expected = np.zeros((2, 6, 2, 3))
    for i in range(2):
        for j in range(3):
            expected[0, :, i, j] = X[1, :, 2 + 2 * i : 4 + 2 * i, 1 + 2 * j : 3 + 2 * j].max((1, 2))
    expected[1] = X[0, :, 3:4, 3:4]
    param = "roi_pooling_param { pooled_h: 2 pooled_w: 3 spatial_scale: 0.5 }"
    given = boxes if base == "caffe" else boxes + 1
    check(tmp_path, "ROIPooling", param, {"x": X, "rois": given}, expected, roi_base=base)
