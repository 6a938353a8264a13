"""Caffe layers of values, channels and shapes, against their definitions in BVLC Caffe written out in numpy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.caffe_nets import (
    C6,
    P6,
    RANDOM,
    TOLERANCE,
    V,
    X,
    Y,
    Z,
    blob_values,
    check,
    converted,
    per_channel,
    reloaded,
    sigmoid,
    softmax,
)
from tests.conftest import assert_close

# -- one value -----------------------------------------------------------------------------------

ELEMENTWISE = [
    ("ReLU", "", np.maximum(X, 0)),
    ("ReLU", "relu_param { negative_slope: 0.25 }", np.where(X > 0, X, 0.25 * X)),
    ("ReLU", "relu_param { negative_slope: -0.5 }", np.where(X > 0, X, -0.5 * X)),
    ("ReLU6", "", np.clip(4 * X, 0, 6)),
    ("ELU", "", np.where(X > 0, X, np.exp(X) - 1)),
    ("ELU", "elu_param { alpha: 0.3 }", np.where(X > 0, X, 0.3 * (np.exp(X) - 1))),
    ("Sigmoid", "", sigmoid(X)),
    ("TanH", "", np.tanh(X)),
    ("BNLL", "", np.log1p(np.exp(X))),
    ("AbsVal", "", np.abs(X)),
    ("Power", "power_param { scale: 2 shift: -1 }", 2 * X - 1),
    ("Power", "power_param { power: 2 scale: 0.5 shift: 1 }", (0.5 * X + 1) ** 2),
    ("Power", "power_param { power: 2 }", X**2),
    ("Power", "power_param { power: 3 scale: 2 }", (2 * X) ** 3),
    ("Power", "power_param { power: 0 }", np.ones_like(X)),
    ("Power", "power_param { scale: 0 shift: 3 power: 2 }", np.full_like(X, 9)),
    ("Exp", "", np.exp(X)),
    ("Exp", "exp_param { base: 2 scale: 3 shift: 0.5 }", 2 ** (0.5 + 3 * X)),
    ("Threshold", "threshold_param { threshold: 0.5 }", (X > 0.5).astype(np.float32)),
    ("Clip", "clip_param { min: -0.5 max: 0.75 }", np.clip(X, -0.5, 0.75)),
    ("Swish", "", X * sigmoid(X)),
    ("Swish", "swish_param { beta: 1.5 }", X * sigmoid(1.5 * X)),
    ("Dropout", "dropout_param { dropout_ratio: 0.3 }", X),
    ("Dropout", "dropout_param { dropout_ratio: 0.3 scale_train: false }", np.float32(0.7) * X),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "param", "expected"), ELEMENTWISE, ids=[f"{k} {p}" for k, p, _ in ELEMENTWISE])
def test_functions_of_one_value(kind: str, param: str, expected: np.ndarray, tmp_path: Path) -> None:
    x = 4 * X if kind == "ReLU6" else X
    check(tmp_path, kind, param, {"x": x}, expected)


def test_logarithm(tmp_path: Path) -> None:
    x = np.abs(X) + np.float32(0.1)
    check(tmp_path, "Log", "log_param { base: 10 scale: 2 shift: 0.5 }", {"x": x}, np.log10(0.5 + 2 * x))


@pytest.mark.parametrize("extensions", ["allow", "avoid"])
@pytest.mark.parametrize("shared", [False, True])
def test_prelu(shared: bool, extensions: str, tmp_path: Path) -> None:
    slopes = np.float32(0.2) if shared else C6
    expected = np.maximum(X, 0) + (slopes if shared else per_channel(C6)) * np.minimum(X, 0)
    param = "prelu_param { channel_shared: true }" if shared else ""
    check(tmp_path, "PReLU", param, {"x": X}, expected, [np.asarray(slopes)], extensions=extensions)


@pytest.mark.parametrize(("kind", "param", "expected"), [
    ("TanH", "", np.tanh(X)),
    ("Eltwise", "eltwise_param { operation: MAX }", np.maximum(np.maximum(X, Y), Z)),
    ("ShuffleChannel", "shuffle_channel_param { group: 2 }", X[:, [0, 3, 1, 4, 2, 5]]),
])  # fmt: skip
def test_rewrites_that_avoid_extensions(kind: str, param: str, expected: np.ndarray, tmp_path: Path) -> None:
    inputs = {"x": X, "b": Y, "c": Z} if kind == "Eltwise" else {"x": X}
    text = "".join(f'bottom: "{name}" ' for name in inputs)
    layer = f'layer {{ name: "l" type: "{kind}" {text} top: "y" {param} }}'
    net = converted(tmp_path, layer, {name: X.shape for name in inputs}, {}, extensions="avoid")
    assert all(made.op.stock for made in net.layers.values())
    assert_close(blob_values(net, ["y"], inputs)["y"], expected, TOLERANCE, kind)


# -- normalisation -------------------------------------------------------------------------------


def test_lrn_divides_alpha_by_the_window_and_takes_k(tmp_path: Path) -> None:
    squares = np.zeros((2, 10, 7, 11))
    squares[:, 2:8] = X.astype(np.float64) ** 2
    total = sum(squares[:, shift : shift + 6] for shift in range(5))
    param = "lrn_param { local_size: 5 alpha: 0.3 beta: 0.6 k: 2 }"
    check(tmp_path, "LRN", param, {"x": X}, X * (2 + 0.3 / 5 * total) ** -0.6)


def test_lrn_within_a_channel_divides_by_the_whole_window_and_ignores_k(tmp_path: Path) -> None:
    squares = np.zeros((2, 6, 9, 13))
    squares[:, :, 1:8, 1:12] = X.astype(np.float64) ** 2
    mean = sum(squares[:, :, i : i + 7, j : j + 11] for i in range(3) for j in range(3)) / 9
    param = "lrn_param { local_size: 3 alpha: 0.4 beta: 0.75 k: 5 norm_region: WITHIN_CHANNEL }"
    check(tmp_path, "LRN", param, {"x": X}, X * (1 + 0.4 * mean) ** -0.75)


@pytest.mark.parametrize(("factor", "share"), [(1.0, 1.0), (4.0, 0.25), (0.0, 0.0)])
def test_batch_norm_divides_its_sums_by_the_factor(factor: float, share: float, tmp_path: Path) -> None:
    expected = (X - share * per_channel(C6)) / np.sqrt(share * per_channel(P6) + 1e-3)
    blobs = [C6, P6, np.float32([factor])]
    check(tmp_path, "BatchNorm", "batch_norm_param { eps: 1e-3 }", {"x": X}, expected, blobs)


def test_batch_norm_by_the_batch(tmp_path: Path) -> None:
    expected = (X - X.mean((0, 2, 3), keepdims=True)) / np.sqrt(X.var((0, 2, 3), keepdims=True) + 1e-5)
    blobs = [C6, P6, np.ones(1, np.float32)]
    check(tmp_path, "BatchNorm", "batch_norm_param { use_global_stats: false }", {"x": X}, expected, blobs)


def test_batch_norm_of_forks_has_slope_bias_mean_variance(tmp_path: Path) -> None:
    slope, bias = RANDOM.standard_normal((2, 6)).astype(np.float32)
    expected = per_channel(slope) * (X - per_channel(C6)) / np.sqrt(per_channel(P6) + 1e-5) + per_channel(bias)
    check(tmp_path, "BN", "", {"x": X}, expected, [slope, bias, C6, P6])


SCALES = [
    ("", (6,), (1, 6, 1, 1)),
    ("axis: 0", (2,), (2, 1, 1, 1)),
    ("axis: 2", (7,), (1, 1, 7, 1)),
    ("axis: -1", (11,), (1, 1, 1, 11)),
    ("axis: 1 num_axes: 2", (6, 7), (1, 6, 7, 1)),
    ("axis: 1 num_axes: -1", (6, 7, 11), (1, 6, 7, 11)),
    ("axis: 0 num_axes: 0", (), (1, 1, 1, 1)),
]


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(("param", "shape", "spread"), SCALES, ids=[param or "channels" for param, _, _ in SCALES])
def test_scale_spans_any_axes(
    param: str, shape: tuple[int, ...], spread: tuple[int, ...], bias: bool, tmp_path: Path
) -> None:
    factor, offset = np.random.default_rng(3).standard_normal((2, *shape)).astype(np.float32)
    expected = X * factor.reshape(spread) + (offset.reshape(spread) if bias else 0)
    blobs = [np.asarray(factor), np.asarray(offset)][: 1 + bias]
    text = f"scale_param {{ {param} {'bias_term: true' if bias else ''} }}"
    check(tmp_path, "Scale", text, {"x": X}, expected, blobs)


@pytest.mark.process
def test_scale_by_a_second_bottom(tmp_path: Path) -> None:
    factor = RANDOM.standard_normal((2, 6)).astype(np.float32)
    check(tmp_path, "Scale", "scale_param { axis: 0 }", {"x": X, "b": factor}, X * factor[:, :, None, None])
    check(tmp_path, "Scale", "scale_param { axis: 0 }", {"x": X, "b": Y}, X * Y)
    check(tmp_path, "Scale", "scale_param { axis: 1 }", {"x": X, "b": C6}, X * per_channel(C6))


def test_bias(tmp_path: Path) -> None:
    check(tmp_path, "Bias", "", {"x": X}, X + per_channel(C6), [C6])
    check(tmp_path, "Bias", "bias_param { axis: 0 }", {"x": X, "b": Y}, X + Y)


@pytest.mark.parametrize("across", [False, True])
@pytest.mark.parametrize("variance", [False, True])
def test_mvn_adds_eps_outside_the_root(across: bool, variance: bool, tmp_path: Path) -> None:
    axes = (1, 2, 3) if across else (2, 3)
    expected = X - X.mean(axes, keepdims=True)
    if variance:
        expected = expected / (X.std(axes, keepdims=True) + 0.5)
    param = (
        f"mvn_param {{ across_channels: {str(across).lower()} normalize_variance: {str(variance).lower()} eps: 0.5 }}"
    )
    check(tmp_path, "MVN", param, {"x": X}, expected)


@pytest.mark.parametrize("across", [False, True])
def test_normalize_of_ssd(across: bool, tmp_path: Path) -> None:
    axes = (1, 2, 3) if across else (1,)
    expected = X / np.sqrt((X**2).sum(axes, keepdims=True) + 1e-10) * per_channel(C6)
    param = f"norm_param {{ across_spatial: {str(across).lower()} channel_shared: false }}"
    check(tmp_path, "Normalize", param, {"x": X}, expected, [C6])


# -- several blobs -------------------------------------------------------------------------------

COMBINED = [
    ("Eltwise", "", X + Y + Z),
    ("Eltwise", "eltwise_param { operation: SUM coeff: 1 coeff: -1 coeff: 0.5 }", X - Y + 0.5 * Z),
    ("Eltwise", "eltwise_param { operation: PROD }", X * Y * Z),
    ("Eltwise", "eltwise_param { operation: MAX }", np.maximum(np.maximum(X, Y), Z)),
    ("Concat", "", np.concatenate([X, Y, Z], 1)),
    ("Concat", "concat_param { concat_dim: 0 }", np.concatenate([X, Y, Z], 0)),
    ("Concat", "concat_param { axis: 2 }", np.concatenate([X, Y, Z], 2)),
    ("Concat", "concat_param { axis: -1 }", np.concatenate([X, Y, Z], 3)),
]


@pytest.mark.parametrize(("kind", "param", "expected"), COMBINED, ids=[f"{k} {p}" for k, p, _ in COMBINED])
def test_combinations(kind: str, param: str, expected: np.ndarray, tmp_path: Path) -> None:
    check(tmp_path, kind, param, {"x": X, "b": Y, "c": Z}, expected)


def test_axpy(tmp_path: Path) -> None:
    a = RANDOM.standard_normal((2, 6, 1, 1)).astype(np.float32)
    check(tmp_path, "Axpy", "", {"a": a, "x": X, "b": Y}, a * X + Y)


CROPS = [
    ("offset: 1 offset: 4", (2, 6, 3, 5), X[:, :, 1:4, 4:9]),
    ("offset: 2", (2, 6, 3, 5), X[:, :, 2:5, 2:7]),
    ("", (2, 6, 3, 5), X[:, :, :3, :5]),
    ("axis: 1 offset: 3 offset: 1 offset: 4", (2, 2, 3, 5), X[:, 3:5, 1:4, 4:9]),
    ("axis: 3 offset: 4", (2, 6, 7, 5), X[:, :, :, 4:9]),
    ("axis: 0 offset: 1 offset: 3 offset: 1 offset: 4", (1, 2, 3, 5), X[1:, 3:5, 1:4, 4:9]),
]


@pytest.mark.parametrize(("param", "like", "expected"), CROPS, ids=[param or "none" for param, _, _ in CROPS])
def test_crop_at_given_offsets(param: str, like: tuple[int, ...], expected: np.ndarray, tmp_path: Path) -> None:
    inputs = {"x": X, "b": np.zeros(like, np.float32)}
    check(tmp_path, "Crop", f"crop_param {{ {param} }}", inputs, expected)


# -- shapes --------------------------------------------------------------------------------------

SHAPES = [
    ("Flatten", "", X.reshape(2, -1)),
    ("Flatten", "flatten_param { axis: 2 }", X.reshape(2, 6, -1)),
    ("Flatten", "flatten_param { axis: 0 end_axis: 1 }", X.reshape(12, 7, 11)),
    ("Flatten", "flatten_param { axis: -3 end_axis: -2 }", X.reshape(2, 42, 11)),
    ("Reshape", "reshape_param { shape { dim: 0 dim: -1 } }", X.reshape(2, -1)),
    ("Reshape", "reshape_param { shape { dim: 0 dim: 3 dim: -1 dim: 11 } }", X.reshape(2, 3, 14, 11)),
    ("Reshape", "reshape_param { shape { dim: 77 } axis: 2 }", X.reshape(2, 6, 77)),
    ("Reshape", "reshape_param { shape { dim: 2 dim: 3 } axis: 1 num_axes: 1 }", None),
    ("Reshape", "reshape_param { shape { dim: 14 } axis: 0 num_axes: 4 }", None),
    ("Permute", "permute_param { order: 0 order: 2 order: 3 order: 1 }", X.transpose(0, 2, 3, 1)),
    ("Permute", "permute_param { order: 3 order: 1 }", X.transpose(3, 1, 0, 2)),
    ("Tile", "tile_param { tiles: 3 }", np.tile(X, (1, 3, 1, 1))),
    ("Tile", "tile_param { axis: 2 tiles: 2 }", np.tile(X, (1, 1, 2, 1))),
    ("ShuffleChannel", "shuffle_channel_param { group: 3 }", X[:, [0, 2, 4, 1, 3, 5]]),
    ("Softmax", "", softmax(X, 1)),
    ("Softmax", "softmax_param { axis: 2 }", softmax(X, 2)),
    ("Softmax", "softmax_param { axis: -1 }", softmax(X, 3)),
]


@pytest.mark.parametrize(
    ("kind", "param", "expected"), [case for case in SHAPES if case[2] is not None],
    ids=[f"{kind} {param}" for kind, param, expected in SHAPES if expected is not None],
)  # fmt: skip
def test_shapes(kind: str, param: str, expected: np.ndarray, tmp_path: Path) -> None:
    check(tmp_path, kind, param, {"x": X}, np.ascontiguousarray(expected))


def test_reshape_of_a_vector_inserts_axes(tmp_path: Path) -> None:
    check(tmp_path, "Reshape", "reshape_param { shape { dim: 1 dim: 1 } axis: -1 }", {"x": V}, V.reshape(2, 5, 1, 1))
    check(tmp_path, "Reshape", "reshape_param { shape { dim: 1 } axis: 1 num_axes: 0 }", {"x": V}, V.reshape(2, 1, 5))


SLICES = [
    ("", 1, [2, 4]),
    ("slice_param { slice_point: 1 slice_point: 4 }", 1, [1, 4]),
    ("slice_param { slice_dim: 1 slice_point: 1 slice_point: 4 }", 1, [1, 4]),
    ("slice_param { axis: 2 slice_point: 2 slice_point: 3 }", 2, [2, 3]),
    ("slice_param { axis: -1 slice_point: 2 slice_point: 3 }", 3, [2, 3]),
]


@pytest.mark.parametrize(("param", "axis", "points"), SLICES, ids=[param or "equal" for param, _, _ in SLICES])
def test_slice(param: str, axis: int, points: list[int], tmp_path: Path) -> None:
    check(tmp_path, "Slice", param, {"x": X}, [np.ascontiguousarray(part) for part in np.split(X, points, axis)])


def test_split_gives_other_names(tmp_path: Path) -> None:
    text = """layer { name: "s" type: "Split" bottom: "x" top: "a" top: "b" }
              layer { name: "r" type: "ReLU" bottom: "a" top: "y" }
              layer { name: "t" type: "AbsVal" bottom: "b" top: "z" }"""
    net = reloaded(converted(tmp_path, text, {"x": X.shape}, {}), tmp_path)
    found = blob_values(net, ["a", "b", "y", "z"], {"x": X})
    for name, expected in {"a": X, "b": X, "y": np.maximum(X, 0), "z": np.abs(X)}.items():
        assert_close(found[name], expected, TOLERANCE, name)


REDUCTIONS = [
    ("", X.sum(dtype=np.float64) * np.ones(())),
    ("operation: ASUM axis: 1", np.abs(X).sum((1, 2, 3))),
    ("operation: SUMSQ axis: 2 coeff: 0.5", 0.5 * (X**2).sum((2, 3))),
    ("operation: MEAN axis: -1 coeff: 3", 3 * X.mean(3)),
]


@pytest.mark.parametrize(("param", "expected"), REDUCTIONS, ids=[param or "default" for param, _ in REDUCTIONS])
def test_reduction(param: str, expected: np.ndarray, tmp_path: Path) -> None:
    check(tmp_path, "Reduction", f"reduction_param {{ {param} }}", {"x": X}, np.asarray(expected))


def test_argmax(tmp_path: Path) -> None:
    order = np.argsort(X.reshape(2, -1), axis=1)[:, ::-1]
    check(tmp_path, "ArgMax", "", {"x": X}, order[:, :1].reshape(2, 1, 1, 1))
    both = np.stack([order[:, :3], np.take_along_axis(X.reshape(2, -1), order[:, :3], 1)], axis=1)[..., None]
    check(tmp_path, "ArgMax", "argmax_param { top_k: 3 out_max_val: true }", {"x": X}, both)
    channels = np.argsort(X, axis=1)[:, ::-1]
    check(tmp_path, "ArgMax", "argmax_param { axis: 1 top_k: 2 }", {"x": X}, np.ascontiguousarray(channels[:, :2]))
    largest = np.sort(V, axis=1)[:, ::-1]
    param = "argmax_param { axis: 1 top_k: 2 out_max_val: true }"
    check(tmp_path, "ArgMax", param, {"x": V}, np.ascontiguousarray(largest[:, :2]))
