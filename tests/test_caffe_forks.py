"""Layers of Caffe's forks through their files: converted, saved, loaded and run, against the rules of their sources.

Expected values are loops or closed forms written from the source that each op's docstring names.
"""

from __future__ import annotations

import math
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import matnet
from matnet.converters.export.to_caffe import to_caffe
from matnet.errors import MatnetError, ShapeError, UnsupportedLayersError
from matnet.network import Layer, Network
from matnet.ops import extensions as ops
from tests.caffe_nets import X, blob_values, caffe_files, check, converted, per_channel, reloaded, sigmoid, softmax
from tests.conftest import assert_close
from tests.extension_ops import run, seeded

WIDE = (6 * X).astype(np.float32)  # reaches both ends of every piecewise function
DOUBLE = WIDE.astype(np.float64)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("Mish", DOUBLE * np.tanh(np.log1p(np.exp(DOUBLE)))),
        ("HardSwish", DOUBLE * np.clip(DOUBLE + 3, 0, 6) / 6),
        ("L2Normalization", DOUBLE / np.sqrt((DOUBLE**2).sum(axis=1, keepdims=True))),
        ("L2Normalize", DOUBLE / np.sqrt((DOUBLE**2).sum(axis=(1, 2, 3), keepdims=True) + 1e-7)),
        ("Normalize", DOUBLE / np.sqrt((DOUBLE**2).sum(axis=1, keepdims=True) + 1e-6)),
        ("SimpleNormalize", DOUBLE / np.sqrt((DOUBLE**2).sum(axis=(1, 2, 3), keepdims=True))),
        ("SurfaceNorm", DOUBLE / (np.sqrt((DOUBLE**2).sum(axis=1, keepdims=True)) + 1e-6)),
        ("MultiSoftmax", softmax(DOUBLE, 1)),
        ("Squeeze", DOUBLE),
    ],
)
def test_layers_without_parameters(kind: str, expected: np.ndarray, tmp_path: Path) -> None:
    check(tmp_path, kind, "", {"x": WIDE}, expected)


def test_mish_at_the_ends_of_float32() -> None:
    x = np.float32([-100, -30, -20, 0, 30, 100]).reshape(1, 1, 2, 3)
    (y,) = run(ops.Mish(), x)
    expected = [-100 * math.exp(-100), -30 * math.exp(-30), -20 * math.exp(-20), 0, 30, 100]
    np.testing.assert_allclose(y.ravel(), expected, rtol=1e-6, atol=1e-42)


def test_layer_types_of_the_first_generation(tmp_path: Path) -> None:
    path = tmp_path / "v1.prototxt"
    path.write_text("""input: "x" input_dim: 1 input_dim: 3 input_dim: 4 input_dim: 6
layers { name: "pool" type: POOLING bottom: "x" top: "p" top: "m" pooling_param { kernel_size: 2 stride: 2 } }
layers { name: "un" type: UNPOOLING bottom: "p" bottom: "m" top: "u"
         unpooling_param { unpool: MAX kernel_size: 2 stride: 2 unpool_h: 4 unpool_w: 6 } }
layers { name: "soft" type: MULTI_SOFTMAX bottom: "u" top: "y" }""")
    x = seeded(1, 3, 4, 6)
    blocks = x.reshape(1, 3, 2, 2, 3, 2)
    kept = np.where(blocks == blocks.max(axis=(3, 5), keepdims=True), blocks, 0).reshape(x.shape)
    found = matnet.convert_caffe(path, color_format="rgb").forward({"x": x}, ["u", "y"])
    np.testing.assert_array_equal(found["u"], kept)
    assert_close(found["y"], softmax(kept.astype(np.float64), 1), 1e-6, "softmax")


@pytest.mark.parametrize(
    ("kind", "param", "expected"),
    [
        ("Reverse", "reverse_param { axis: 0 }", X[::-1]),
        ("Reverse", "reverse_param { axis: -1 axis: 1 }", X[:, ::-1, :, ::-1]),
        ("Flip", "flip_param { flip_width: false flip_height: true }", X[:, :, ::-1]),
        ("Flip", "", X[..., ::-1]),  # caffe.proto of happynear's fork: flip_width is true by default, flip_height false
        ("Flip", "flip_param { flip_width: false }", X),
        ("Flip", "flip_param { flip_height: true }", X[:, :, ::-1, ::-1]),
        ("Transpose", "transpose_param { dim: 3 dim: 2 dim: 0 dim: 1 }", X.transpose(3, 2, 0, 1)),
        ("Upsample", "", X),  # caffe.proto of the YOLOv3 forks: scale is 1 by default
        ("Upsample", "upsample_param { scale: 3 }", X.repeat(3, axis=2).repeat(3, axis=3)),
        ("Upsample", "upsample_param { scale_h: 2 scale_w: 1 }", X.repeat(2, axis=2)),
    ],
)
def test_values_in_another_order(kind: str, param: str, expected: np.ndarray, tmp_path: Path) -> None:
    check(tmp_path, kind, param, {"x": X}, np.ascontiguousarray(expected), tolerance=0)


@pytest.mark.process
def test_squeeze_takes_out_axes_of_size_one(tmp_path: Path) -> None:
    x = seeded(3, 1, 1, 7)
    check(tmp_path, "Squeeze", "squeeze_param { axis: 1 axis: 2 }", {"x": x}, x.reshape(3, 7), tolerance=0)
    check(tmp_path, "Squeeze", "squeeze_param { axis: -3 }", {"x": x}, x.reshape(3, 1, 7), tolerance=0)
    with pytest.raises(ShapeError, match="size 1"):
        check(tmp_path, "Squeeze", "squeeze_param { axis: 3 }", {"x": x}, x)


def test_channel_shuffle_by_hand(tmp_path: Path) -> None:
    """ShuffleNet without a layer of its own: Reshape to five axes, Permute, Reshape back."""
    layers = """
layer { name: "r" type: "Reshape" bottom: "x" top: "r"
  reshape_param { shape { dim: 0 dim: 2 dim: 3 dim: 7 dim: 11 } } }
layer { name: "relu" type: "ReLU" bottom: "r" top: "q" }
layer { name: "p" type: "Permute" bottom: "q" top: "p"
  permute_param { order: 0 order: 2 order: 1 order: 3 order: 4 } }
layer { name: "t" type: "Transpose" bottom: "p" top: "t"
  transpose_param { dim: 0 dim: 3 dim: 4 dim: 2 dim: 1 } }
layer { name: "back" type: "Reshape" bottom: "p" top: "back" reshape_param { shape { dim: 0 dim: 6 dim: 7 dim: 11 } } }
layer { name: "flat" type: "Flatten" bottom: "t" top: "flat" flatten_param { axis: 1 end_axis: 3 } }"""
    five = np.maximum(X.reshape(2, 2, 3, 7, 11), 0).transpose(0, 2, 1, 3, 4)
    net = converted(tmp_path, layers, {"x": X.shape}, {})
    for copy in (net, reloaded(net, tmp_path)):
        found = blob_values(copy, ["back", "flat"], {"x": X})
        np.testing.assert_array_equal(found["back"], five.reshape(2, 6, 7, 11))
        np.testing.assert_array_equal(found["flat"], five.transpose(0, 3, 4, 2, 1).reshape(2, 154, 3))


def test_a_layer_that_cannot_read_five_axes_is_named(tmp_path: Path) -> None:
    layers = """layer { name: "r" type: "Reshape" bottom: "x" top: "r"
  reshape_param { shape { dim: 0 dim: 2 dim: 3 dim: 7 dim: 11 } } }
layer { name: "pool" type: "Pooling" bottom: "r" top: "p" pooling_param { kernel_size: 2 } }"""
    with pytest.raises(MatnetError, match=r"'pool'.*2x2x3x7x11"):
        converted(tmp_path, layers, {"x": X.shape}, {})


# -- normalisation ------------------------------------------------------------------------------------

MEAN, VARIANCE, SCALE, OFFSET = seeded(6, seed=1), np.abs(seeded(6, seed=2)) + 0.5, seeded(6, seed=3), seeded(6, seed=4)


@pytest.mark.parametrize("marked", ["scale_bias: true", 'scale_filler { value: 1 } bias_filler { value: 0 }'])
def test_nvidias_batch_norm_has_its_own_scale(marked: str, tmp_path: Path) -> None:
    blobs = [3 * MEAN, 3 * VARIANCE, np.float32([3]), SCALE, OFFSET]
    normal = (X - per_channel(MEAN)) / np.sqrt(per_channel(VARIANCE) + 1e-3)
    expected = normal * per_channel(SCALE) + per_channel(OFFSET)
    check(tmp_path, "BatchNorm", f"batch_norm_param {{ eps: 1e-3 {marked} }}", {"x": X}, expected, blobs)


@pytest.mark.process
def test_batch_norm_of_segnet_and_others(tmp_path: Path) -> None:
    expected = X * per_channel(SCALE) + per_channel(OFFSET)
    check(tmp_path, "BN", "bn_param { bn_mode: INFERENCE }", {"x": X}, expected, [SCALE, OFFSET])
    centred = X - X.mean(axis=(0, 2, 3), keepdims=True, dtype=np.float64)
    normal = centred / np.sqrt((centred**2).mean(axis=(0, 2, 3), keepdims=True) + 1e-10)
    expected = normal * per_channel(SCALE) + per_channel(OFFSET)
    check(tmp_path, "BN", "bn_param { bn_mode: LEARN }", {"x": X}, expected, [SCALE, OFFSET])
    # ChenglongChen's BN keeps mean and variance as well, and looks at them only with moving_average.
    blobs = [SCALE, OFFSET, MEAN, VARIANCE]
    check(tmp_path, "BN", "bn_param { decay: 0.1 }", {"x": X}, expected, blobs)
    normal = (X - per_channel(MEAN)) / np.sqrt(per_channel(VARIANCE) + 0.25)
    expected = normal * per_channel(SCALE) + per_channel(OFFSET)
    check(tmp_path, "BN", "bn_param { moving_average: true var_eps: 0.25 }", {"x": X}, expected, blobs)
    check(tmp_path, "BN", "bn_param { eps: 0.25 }", {"x": X}, expected, blobs)


@pytest.mark.process
@pytest.mark.parametrize(
    ("param", "size"),
    [
        ("", (9, 16)),
        ("use_blob_size: true zoom_factor: 3", (9, 16)),
        ("height: 4 width: 5", (4, 5)),
        ("height: 4 width: 5 zoom_factor: 2", (13, 21)),  # DeepLab's interp_layer.cpp asks for one factor first
        ("height: 4 width: 5 zoom_factor: 2 shrink_factor: 3", (4, 5)),
    ],
)
def test_the_size_that_interp_gives(param: str, size: tuple[int, int], tmp_path: Path) -> None:
    like = np.zeros((2, 1, 9, 16), np.float32)
    down, across = np.linspace(0, 6, size[0]), np.linspace(0, 10, size[1])
    rows = np.stack([X[:, :, int(v)] + (v % 1) * (X[:, :, min(int(v) + 1, 6)] - X[:, :, int(v)]) for v in down], axis=2)
    columns = [rows[..., int(v)] + (v % 1) * (rows[..., min(int(v) + 1, 10)] - rows[..., int(v)]) for v in across]
    param = f"interp_param {{ {param} }}"
    inputs = {"x": X} if "height" in param else {"x": X, "like": like}
    check(tmp_path, "Interp", param, inputs, np.stack(columns, axis=-1), tolerance=3e-6)


# -- larger maps --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "param", "size"),
    [
        ("Upsample", "upsample_param { scale: 2 }", (8, 10)),
        ("Upsample", "upsample_param { scale: 2 pad_out_h: true }", (7, 10)),
        ("Upsample", "upsample_param { upsample_h: 9 upsample_w: 12 }", (9, 12)),
        ("Unpooling", "unpooling_param { kernel_size: 2 stride: 2 unpool_h: 9 unpool_w: 12 }", (9, 12)),
        ("Unpooling", "unpooling_param { kernel_size: 3 stride: 2 }", (9, 11)),
    ],
)
def test_values_go_back_to_their_places(kind: str, param: str, size: tuple[int, int], tmp_path: Path) -> None:
    x = seeded(2, 3, 4, 5)
    mask = np.random.default_rng(8).integers(0, size[0] * size[1], x.shape).astype(np.float32)
    expected = np.zeros((2, 3, size[0] * size[1]), np.float32)
    for n, c, i, j in np.ndindex(*x.shape):  # later values take the place of earlier ones
        expected[n, c, int(mask[n, c, i, j])] = x[n, c, i, j]
    check(tmp_path, kind, param, {"x": x, "m": mask}, expected.reshape(2, 3, *size), tolerance=0)


def test_unpooling_without_a_mask(tmp_path: Path) -> None:
    x = seeded(2, 3, 4, 5)
    expected = np.zeros((2, 3, 9, 12), np.float32)
    expected[:, :, :8:2, :10:2] = x
    param = "unpooling_param { kernel_size: 2 stride: 2 unpool_h: 9 unpool_w: 12 }"
    check(tmp_path, "Unpooling", param, {"x": x}, expected, tolerance=0)


def test_a_mask_of_another_size_is_refused() -> None:
    with pytest.raises(MatnetError, match="80"):
        ops.Unpooling().forward(np, [seeded(1, 1, 4, 5), np.full((1, 1, 4, 5), 80, np.float32)], [])


# -- YOLO ---------------------------------------------------------------------------------------------


def reorganised(x: np.ndarray, stride: int, forward: bool) -> np.ndarray:
    """darknet's reorg_cpu, index by index, over one item."""
    c, h, w = x.shape
    flat, result, maps = x.ravel(), np.zeros(x.size, np.float32), c // stride**2
    for k, j, i in np.ndindex(c, h, w):
        here = i + w * (j + h * k)
        row, column = j * stride + k // maps // stride, i * stride + k // maps % stride
        there = column + w * stride * (row + h * stride * (k % maps))
        if forward:
            result[there] = flat[here]
        else:
            result[here] = flat[there]
    return result


@pytest.mark.parametrize("reverse", [False, True])
def test_reorg_is_darknets(reverse: bool, tmp_path: Path) -> None:
    x = seeded(2, 8, 6, 10)
    shape = (2, 2, 12, 20) if reverse else (2, 32, 3, 5)
    expected = np.stack([reorganised(item, 2, reverse) for item in x]).reshape(shape)
    param = f"reorg_param {{ stride: 2 reverse: {str(reverse).lower()} }}"
    check(tmp_path, "Reorg", param, {"x": x}, expected, tolerance=0)


def test_region_activates_each_box(tmp_path: Path) -> None:
    x = seeded(2, 3 * 8, 5, 7)
    expected = x.astype(np.float64).reshape(2, 3, 8, 5, 7)
    expected[:, :, [0, 1, 4]] = sigmoid(expected[:, :, [0, 1, 4]])
    expected[:, :, 5:] = softmax(expected[:, :, 5:], 2)
    check(tmp_path, "Region", 'region_param { anchors: "1, 2" classes: 3 num: 3 }', {"x": x}, expected.reshape(x.shape))


@pytest.mark.parametrize("soft", [True, False])
def test_region_of_caffe_yolo_v2_reorders(soft: bool, tmp_path: Path) -> None:
    x = seeded(2, 3 * 8, 5, 7)
    rows = x.astype(np.float64).transpose(0, 2, 3, 1).reshape(2, 5 * 7 * 3, 8)
    rows[:, :, 4] = sigmoid(rows[:, :, 4])
    if soft:
        rows[:, :, 5:] = softmax(rows[:, :, 5:], 2)
    param = f"region_param {{ classes: 3 boxes_of_each_grid: 3 softmax: {str(soft).lower()} }}"
    check(tmp_path, "Region", param, {"x": x}, rows.reshape(x.shape))


def kept_detections(found: list[tuple[float, int, float, float, float, float]], limit: float) -> np.ndarray:
    """Rows of what a greedy suppression over all classes leaves of (score, class, x, y, w, h)."""
    kept: list[tuple[float, int, float, float, float, float]] = []
    for one in sorted(found, key=lambda row: -row[0]):
        for other in kept:
            wide = min(one[2] + one[4] / 2, other[2] + other[4] / 2) - max(one[2] - one[4] / 2, other[2] - other[4] / 2)
            high = min(one[3] + one[5] / 2, other[3] + other[5] / 2) - max(one[3] - one[5] / 2, other[3] - other[5] / 2)
            shared = wide * high if wide >= 0 and high >= 0 else 0.0
            if shared / (one[4] * one[5] + other[4] * other[5] - shared) >= limit:
                break
        else:
            kept.append(one)
    rows = [[0, label + 1, score, x - w / 2, y - h / 2, x + w / 2, y + h / 2] for score, label, x, y, w, h in kept]
    return np.array(rows)


def test_yolo_v3_detections(tmp_path: Path) -> None:
    maps = {"a": seeded(1, 2 * 8, 3, 3), "b": seeded(1, 2 * 8, 5, 5, seed=1)}
    anchors, masks, scales = [(10, 14), (23, 27), (37, 58), (81, 82)], [[2, 3], [0, 1]], [32, 16]
    found = []
    for x, mask, scale in zip(maps.values(), masks, scales, strict=True):
        side, boxes = x.shape[2], x.astype(np.float64).reshape(2, 8, *x.shape[2:])
        for i, j, n, label in np.ndindex(side, side, 2, 3):
            tx, ty, tw, th, objectness, *classes = boxes[n, :, i, j]
            score = sigmoid(objectness) * sigmoid(classes[label])
            w, h = (math.exp(t) * a / (side * scale) for t, a in zip((tw, th), anchors[mask[n]], strict=True))
            if score > 0.3:
                found.append((score, label, (j + sigmoid(tx)) / side, (i + sigmoid(ty)) / side, w, h))
    param = """yolov3_detection_output_param { num_classes: 3 num_box: 2 confidence_threshold: 0.3 nms_threshold: 0.4
      biases: 10 biases: 14 biases: 23 biases: 27 biases: 37 biases: 58 biases: 81 biases: 82
      mask: 2 mask: 3 mask: 0 mask: 1 mask_group_num: 2 anchors_scale: 32 anchors_scale: 16 }"""
    expected = kept_detections(found, 0.4)
    assert 5 < len(expected) < len(found)
    check(tmp_path, "Yolov3DetectionOutput", param, maps, expected[None, None])


def test_yolo_v2_detections(tmp_path: Path) -> None:
    x, anchors = seeded(1, 2 * 8, 5, 5, scale=2), [(1.5, 2.5), (3.2, 0.8)]
    boxes, found = x.astype(np.float64).reshape(2, 8, 5, 5), []
    for i, j, n in np.ndindex(5, 5, 2):
        tx, ty, tw, th, objectness, *classes = boxes[n, :, i, j]
        scores = softmax(np.array(classes), 0) * sigmoid(objectness)
        w, h = (math.exp(t) * a / 5 for t, a in zip((tw, th), anchors[n], strict=True))
        if scores.max() >= 0.4:
            found.append((scores.max(), int(scores.argmax()), (j + sigmoid(tx)) / 5, (i + sigmoid(ty)) / 5, w, h))
    param = """yolo_detection_output_param { num_classes: 3 num_box: 2 confidence_threshold: 0.4 nms_threshold: 0.3
      biases: 1.5 biases: 2.5 biases: 3.2 biases: 0.8 }"""
    expected = kept_detections(found, 0.3)
    assert 2 < len(expected) < len(found)
    check(tmp_path, "YoloDetectionOutput", param, {"x": x}, expected[None, None])


def test_no_detection_is_one_row_of_its_own(tmp_path: Path) -> None:
    param = "yolo_detection_output_param { num_classes: 3 num_box: 1 confidence_threshold: 1 biases: 1 biases: 1 }"
    check(tmp_path, "YoloDetectionOutput", param, {"x": seeded(1, 8, 2, 2)}, np.float32([[[[0, *[-1] * 6]]]]))


# -- sequences ----------------------------------------------------------------------------------------

STEPS, STREAMS, VALUES, WIDTH = 4, 2, 5, 3
LSTM_BLOBS = [seeded(4 * WIDTH, VALUES, seed=1), seeded(4 * WIDTH, WIDTH, seed=2), seeded(4 * WIDTH, seed=3)]
LSTM = f"lstm_param {{ num_output: {WIDTH} clipping_threshold: 0.1 }}"


def lstm_states(x: np.ndarray, cont: np.ndarray) -> np.ndarray:
    """Hidden states T x N x D, step by step."""
    weights, recurrent, bias = (blob.astype(np.float64) for blob in LSTM_BLOBS)
    states = np.zeros((*x.shape[:2], WIDTH))
    for n in range(x.shape[1]):
        h, c = np.zeros(WIDTH), np.zeros(WIDTH)
        for t in range(len(x)):
            gates = weights @ x[t, n] + bias + (recurrent @ h if cont[t, n] else 0)
            i, f, o, g = gates.reshape(4, WIDTH)
            c = sigmoid(i) * np.tanh(g) + (sigmoid(f) * c if cont[t, n] else 0)
            h = states[t, n] = sigmoid(o) * np.tanh(c)
    return states


def test_lstm_of_the_ctc_forks(tmp_path: Path) -> None:
    x = seeded(STEPS, STREAMS, VALUES)
    every = np.ones((STEPS, STREAMS))
    check(tmp_path, "Lstm", LSTM, {"x": x}, lstm_states(x, every), LSTM_BLOBS)
    cont = np.float32([[0, 0], [1, 1], [1, 0], [0, 1]])
    check(tmp_path, "Lstm", LSTM, {"x": x, "clip": cont}, lstm_states(x, cont), LSTM_BLOBS)


def test_lstm_over_rows(tmp_path: Path) -> None:
    x = seeded(STEPS, VALUES)
    cont = np.float32([0, 1, 0, 1])
    expected = lstm_states(x[:, None], cont[:, None])[:, 0]
    check(tmp_path, "Lstm", LSTM, {"x": x, "clip": cont}, expected, LSTM_BLOBS)


REFINEDET = """detection_output_param { num_classes: 3 code_type: CENTER_SIZE objectness_score: 0.4 keep_top_k: 5
    nms_param { nms_threshold: 0.45 top_k: 8 } confidence_threshold: 0.1 }"""


def refinedet_inputs(images: int, count: int) -> dict[str, np.ndarray]:
    """Predictions for `count` priors: locations, scores, priors with variances, object values, refining locations."""
    rng = np.random.default_rng(3)
    low = rng.uniform(0, 0.6, (count, 2))
    boxes = np.concatenate([low, low + rng.uniform(0.1, 0.4, (count, 2))], axis=1)
    priors = np.stack([boxes, np.broadcast_to([0.1, 0.1, 0.2, 0.2], boxes.shape)]).reshape(1, 2, -1)
    found = {
        "loc": rng.normal(0, 1, (images, 4 * count)),
        "conf": rng.dirichlet([1, 1, 1], (images, count)).reshape(images, -1),
        "priors": priors,
        "object": rng.dirichlet([1, 1], (images, count)).reshape(images, -1),
        "refine": rng.normal(0, 1, (images, 4 * count)),
    }
    return {name: value.astype(np.float32) for name, value in found.items()}


@pytest.mark.skipif(find_spec("openvino") is None, reason="openvino is not installed")
@pytest.mark.process
def test_refinedet_detections_are_those_of_openvino(tmp_path: Path) -> None:
    import openvino
    from openvino import opset8

    inputs = refinedet_inputs(2, 40)
    nodes = {name: opset8.parameter(value.shape, name=name) for name, value in inputs.items()}
    loc, conf, priors, objects, refine = nodes.values()
    attributes = {
        "background_label_id": 0, "top_k": 8, "keep_top_k": np.int32([5]), "share_location": True, "normalized": True,
        "code_type": "caffe.PriorBoxParameter.CENTER_SIZE", "nms_threshold": 0.45, "confidence_threshold": 0.1,
        "objectness_score": 0.4,
    }  # fmt: skip
    head = opset8.detection_output(loc, conf, priors, attributes, objects, refine)
    compiled = openvino.Core().compile_model(openvino.Model([head], [*nodes.values()]), "CPU")
    rows = compiled(list(inputs.values()))[0]
    expected = rows[:, :, : int((rows[0, 0, :, 0] >= 0).sum())]
    assert expected.shape[2] == 10  # both images fill their five places
    ordered = expected[:, :, np.lexsort((-expected[0, 0, :, 2], expected[0, 0, :, 1], expected[0, 0, :, 0]))]
    check(tmp_path, "DetectionOutput", REFINEDET, inputs, ordered)


def test_refinedet_by_hand(tmp_path: Path) -> None:
    """One prior (0.2, 0.2, 0.4, 0.6), moved twice; the second one is no object, whatever its score."""
    inputs = {
        "loc": np.float32([[1, 0, 0, np.log(2), 0, 0, 0, 0]]),
        "conf": np.float32([[0.2, 0.7, 0.1, 0, 0.9, 0.1]]),
        "priors": np.float32([[[0.2, 0.2, 0.4, 0.6, 0, 0, 1, 1], [1] * 8]]),
        "object": np.float32([[0.5, 0.5, 0.7, 0.3]]),
        "refine": np.float32([[0, 0.5, np.log(2), 0, 0, 0, 0, 0]]),
    }
    # Refined: centre (0.3, 0.4 + 0.5 x 0.4), size 0.4 x 0.4; then centre (0.3 + 0.4, 0.6), size 0.4 x 0.8.
    rows = [[0, 1, 0.7, 0.5, 0.2, 0.9, 1.0]]
    param = REFINEDET.replace("confidence_threshold: 0.1", "confidence_threshold: 0.15")
    check(tmp_path, "DetectionOutput", param, inputs, np.float32(rows)[None, None])


@pytest.mark.parametrize(
    ("bottoms", "param", "named"),
    [
        (5, "num_classes: 3", "objectness_score"),
        (4, "num_classes: 3 objectness_score: 0.1", "has 4 bottoms"),
        (3, "num_classes: 3 objectness_score: 0.1", "with 3 bottoms"),
        (5, "num_classes: 3 objectness_score: 0.1 share_location: false", "shareLocation"),
        (6, "num_classes: 3", "has 6 bottoms"),
    ],
)
def test_half_a_refinedet_is_refused(bottoms: int, param: str, named: str, tmp_path: Path) -> None:
    inputs = {name: value.shape for name, value in (*refinedet_inputs(1, 4).items(), ("more", np.zeros((1, 1))))}
    read = " ".join(f'bottom: "{name}"' for name in [*inputs][:bottoms])
    text = f'layer {{ name: "found" type: "DetectionOutput" {read} top: "y" detection_output_param {{ {param} }} }}'
    with pytest.raises(MatnetError, match=named) as refusal:
        converted(tmp_path, text, inputs, {})
    assert "found" in str(refusal.value)


@pytest.mark.parametrize(("output", "first"), [("", 1), ("VOC", 1), ("COCO", 0)])
def test_the_format_of_the_results_tells_from_where_corners_count(output: str, first: int, tmp_path: Path) -> None:
    """SSD's io.cpp divides the corners of VOC's XML files, which count from 1, and of COCO's JSON files, from 0."""
    inputs = {"loc": (1, 8), "conf": (1, 4), "prior": (1, 2, 8)}
    saved = f"save_output_param {{ output_format: '{output}' }}" if output else ""
    param = f"detection_output_param {{ num_classes: 2 {saved} }}"
    read = " ".join(f"bottom: '{name}'" for name in inputs)
    net = converted(tmp_path, f"layer {{ name: 'out' type: 'DetectionOutput' {read} top: 'y' {param} }}", inputs, {})
    assert reloaded(net, tmp_path).layers["out"].op.listed_from == first


@pytest.mark.parametrize("merge", [True, False])
@pytest.mark.parametrize("blank", [-1, 1])
def test_greedy_decoding(merge: bool, blank: int, tmp_path: Path) -> None:
    scores = seeded(9, 3, 4, seed=6)
    scores[:4, 0] = scores[0, 0]  # a label that repeats
    cont = np.ones((9, 3), np.float32)
    cont[5, 1] = cont[0, 2] = 0  # stream 1 ends after five steps; the first step always counts
    expected, totals = np.full((3, 9, 1, 1), -1.0), np.zeros((3, 1, 1, 1))
    for n in range(3):
        labels, last = [], -1
        for t in range(9):
            if t and cont[t, n] == 0:
                break
            best = int(scores[t, n].argmax())
            totals[n] -= scores[t, n].max()
            if best != blank % 4 and not (merge and best == last):
                labels.append(best)
            last = best
        expected[n, : len(labels), 0, 0] = labels
    param = f"ctc_decoder_param {{ blank_index: {blank} ctc_merge_repeated: {str(merge).lower()} }}"
    check(tmp_path, "CTCGreedyDecoder", param, {"x": scores, "cont": cont}, [expected, totals])


# -- MATLAB files -------------------------------------------------------------------------------------


def test_tanh_under_its_names_in_matlab_files(tmp_path: Path) -> None:
    net = Network()
    net.add(Layer("squash", ops.Tanh(), ["x"], ["y"]))
    copy = matnet.load(matnet.save(net, tmp_path / "net.mat"))
    assert copy.layers["squash"].type_name == "dagnn.Tanh"
    assert_close(copy.forward({"x": X}, ["y"])["y"], np.tanh(X.astype(np.float64)), 1e-6, "tanh")
    assert type(matnet.ops.REGISTRY.simplenn["tanh"]()) is ops.TanH


def test_layers_of_forks_without_weights_say_what_they_need(tmp_path: Path) -> None:
    text = 'layer { name: "l" type: "Lstm" bottom: "x" top: "y" lstm_param { num_output: 3 } }'
    files = caffe_files(tmp_path, text, {"x": (4, 2, 5)}, {})
    with pytest.raises(MatnetError, match=r"'l'.*3"):
        matnet.convert_caffe(*files)
    assert matnet.convert_caffe(files[0]).layers["l"].params == ["l_x_matrix", "l_bias", "l_hidden_matrix"]


def test_unpooling_of_both_inputs_must_fit() -> None:
    with pytest.raises(ShapeError, match="must be equal"):
        ops.Unpooling().output_shapes([(1, 2, 3, 4), (1, 2, 3, 5)], [])


def field_text(name: str) -> str:
    """The fields of a parameter message with their defaults, as docs/caffe-layers.md lists them."""
    from matnet.converters.files.schema import message_type

    texts = []
    for field in message_type(name).fields.values():
        if field.message is not None:
            inner = "" if field.type_name in ("FillerParameter", "ResizeParameter") else field_text(field.type_name)
            texts.append(f"{field.name} {{ {inner or '...'} }}")
        elif field.repeated:
            texts.append(f"{field.name} (several)")
        else:
            value = str(field.default).lower() if field.kind == "bool" else field.default
            default = f"{value:g}" if isinstance(value, float) else str(value)
            texts.append(f"{field.name} = {default}" if default else field.name)
    return ", ".join(texts)


def test_the_table_of_fields_is_that_of_the_schema() -> None:
    """Every type of a fork has its row in the docs, with every field that it reads and the default."""
    from matnet.converters.files.layer_types import FORK_PARAMETERS
    from matnet.converters.files.schema import message_type

    layer = message_type("LayerParameter")
    text = (Path(__file__).parents[1] / "docs" / "caffe-layers.md").read_text(encoding="utf-8")
    rows = []
    for kind, names in sorted(FORK_PARAMETERS.items()):
        params = [f"`{name}`: {field_text(layer.fields[name].type_name)}" for name in names]
        rows.append(f"| `{kind}` | {'; '.join(params) or 'none'} |")
    missing = [row for row in rows if row not in text.splitlines()]
    assert not missing, "\n".join(missing)


@pytest.mark.parametrize("operation", ["", "operation: STACK", "operation: ADD"])
@pytest.mark.parametrize(("height", "width"), [(4, 9), (5, 7), (8, 10)])
def test_the_middle_of_a_larger_map_is_merged(operation: str, height: int, width: int, tmp_path: Path) -> None:
    """naibaf7's mergecrop_layer.cu: pixel i of the first bottom meets pixel i + (large - small) / 2 of the second."""
    small, large = seeded(2, 3, 4, 6), seeded(2, 3, height, width, seed=2)
    top, left = (height - 4) // 2, (width - 6) // 2
    middle = np.zeros_like(small)
    for y in range(4):
        for x in range(6):
            middle[:, :, y, x] = large[:, :, y + top, x + left]
    expected = small + middle if "ADD" in operation else np.concatenate([small, middle], axis=1)
    param = f"mergecrop_param {{ forward: true forward: true backward: true {operation} }}"
    check(tmp_path, "MergeCrop", param, {"x": small, "z": large}, expected, tolerance=0)


@pytest.mark.parametrize(
    ("first", "second", "param", "named"),
    [
        ((1, 3, 4, 6), (1, 2, 8, 8), "", "3 and 2 channels"),
        ((1, 3, 4, 6), (1, 3, 3, 8), "", "smaller"),
        ((1, 3, 4, 6), (1, 3, 8, 8), "mergecrop_param { forward: true forward: false }", "forward: false"),
    ],
)
def test_a_merge_that_the_fork_does_not_compute_is_refused(
    first: tuple[int, ...], second: tuple[int, ...], param: str, named: str, tmp_path: Path
) -> None:
    layer = f"layer {{ name: 'm' type: 'MergeCrop' bottom: 'x' bottom: 'z' top: 'y' {param} }}"
    with pytest.raises(MatnetError, match=rf"'m'[^\n]*{named}"):
        converted(tmp_path, layer, {"x": first, "z": second}, {})


def test_vectors_of_unit_length_from_the_first_generation(tmp_path: Path) -> None:
    """The fork for surface normals, norm_layer.cpp; zeros stay zeros, as 1e-6 is added to the root."""
    path = tmp_path / "v1.prototxt"
    path.write_text("""input: "x" input_dim: 1 input_dim: 3 input_dim: 4 input_dim: 6
layers { name: "n" type: NORM bottom: "x" top: "y" }""")
    x = seeded(1, 3, 4, 6)
    x[:, :, 1, 2] = 0
    expected = x / (np.sqrt((x.astype(np.float64) ** 2).sum(axis=1, keepdims=True)) + 1e-6)
    net = matnet.convert_caffe(path, color_format="rgb")
    assert_close(net.forward({"x": x}, ["y"])["y"], expected, 1e-6, "unit")
    with pytest.raises(UnsupportedLayersError, match=r"'n'[^\n]*NORM"):
        to_caffe(net)
