"""Recurrent layers, tables and detection layers of Caffe and its forks, against their definitions in numpy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import matnet
from matnet.errors import ShapeError
from matnet.ops.extensions.crf import MultiStageMeanfield
from tests.caffe_nets import RANDOM, TOLERANCE, S, V, X, Y, blob_values, check, converted, reloaded, sigmoid, softmax
from tests.conftest import assert_close

# -- sequences and tables ------------------------------------------------------------------------


def test_embed(tmp_path: Path) -> None:
    table, bias = RANDOM.standard_normal((9, 5)).astype(np.float32), np.float32([1, 2, 3, 4, 5])
    index = np.float32([[0, 8, 3], [5, 5, 1]])
    param = "embed_param { num_output: 5 input_dim: 9 }"
    check(tmp_path, "Embed", param, {"x": index}, table[index.astype(int)] + bias, [table, bias])


CONT = np.float32([[0, 0], [1, 1], [1, 0], [1, 1]])


@pytest.mark.parametrize("static", [False, True])
def test_lstm_gates_are_i_f_o_g(static: bool, tmp_path: Path) -> None:
    random = np.random.default_rng(8)
    wx, b, ws, wh = (random.standard_normal(shape).astype(np.float32) for shape in ((12, 5), 12, (12, 5), (12, 3)))
    h, c, expected = np.zeros((2, 3)), np.zeros((2, 3)), []
    for x, cont in zip(S, CONT[:, :, None], strict=True):
        gates = x @ wx.T + b + (V @ ws.T if static else 0) + (cont * h) @ wh.T
        i, f, o = (sigmoid(gates[:, 3 * k : 3 * k + 3]) for k in range(3))
        c = cont * f * c + i * np.tanh(gates[:, 9:])
        h = o * np.tanh(c)
        expected.append(h)
    inputs = {"x": S, "cont": CONT, **({"s": V} if static else {})}
    blobs = [wx, b, ws, wh] if static else [wx, b, wh]
    check(tmp_path, "LSTM", "recurrent_param { num_output: 3 }", inputs, np.stack(expected), blobs)


def test_rnn_with_states_given_and_returned(tmp_path: Path) -> None:
    random = np.random.default_rng(9)
    shapes = ((3, 5), 3, (3, 3), (3, 3), 3)
    wx, b, wh, wo, bo = (random.standard_normal(shape).astype(np.float32) for shape in shapes)
    start = random.standard_normal((1, 2, 3)).astype(np.float32)
    h, expected = start[0], []
    for x, cont in zip(S, CONT[:, :, None], strict=True):
        h = np.tanh((cont * h) @ wh.T + x @ wx.T + b)
        expected.append(np.tanh(h @ wo.T + bo))
    inputs = {"x": S, "cont": CONT, "h0": start}
    param = "recurrent_param { num_output: 3 expose_hidden: true }"
    check(tmp_path, "RNN", param, inputs, [np.stack(expected), h[None]], [wx, b, wh, wo, bo])


def test_parameter_gives_its_blob(tmp_path: Path) -> None:
    text = """layer { name: "p" type: "Parameter" top: "w" parameter_param { shape { dim: 2 dim: 6 dim: 7 dim: 11 } } }
              layer { name: "e" type: "Eltwise" bottom: "x" bottom: "w" top: "y" }"""
    net = reloaded(converted(tmp_path, text, {"x": X.shape}, {"p": [Y]}), tmp_path)
    assert_close(blob_values(net, ["y"], {"x": X})["y"], X + Y, TOLERANCE, "y")


def test_data_dependent_choices(tmp_path: Path) -> None:
    check(tmp_path, "BatchReindex", "", {"x": X, "i": np.float32([1, 1, 0])}, X[[1, 1, 0]])
    check(tmp_path, "Filter", "", {"x": X, "s": np.float32([[0], [1]])}, X[1:])


# -- detection -----------------------------------------------------------------------------------


def test_interp_keeps_corners_aligned(tmp_path: Path) -> None:
    """Seven rows to 13: every second row is a row of the input, those between are means of two."""
    x = X[:, :, :, :6]
    expected = np.zeros((2, 6, 13, 11))
    expected[:, :, ::2, ::2] = x
    expected[:, :, 1::2, ::2] = (x[:, :, 1:] + x[:, :, :-1]) / 2
    expected[:, :, :, 1::2] = (expected[:, :, :, 2::2] + expected[:, :, :, :-2:2]) / 2
    check(tmp_path, "Interp", "interp_param { zoom_factor: 2 }", {"x": x}, expected)
    check(tmp_path, "Interp", "interp_param { height: 13 width: 11 }", {"x": x}, expected)


def test_prior_boxes_of_one_cell(tmp_path: Path) -> None:
    """A 1 x 1 map of a 100 x 200 image: centre (100, 50); sizes 20, sqrt(20 80) = 40, 20 at ratios 4 and 1/4."""
    boxes = np.float32([[90, 40, 110, 60], [80, 30, 120, 70], [80, 45, 120, 55], [95, 30, 105, 70]])
    expected = np.stack([(boxes / [200, 100, 200, 100]).ravel(), np.tile([0.1, 0.1, 0.2, 0.2], 4)])[None]
    param = """prior_box_param { min_size: 20 max_size: 80 aspect_ratio: 4 flip: true clip: false
               variance: 0.1 variance: 0.1 variance: 0.2 variance: 0.2 }"""
    inputs = {"x": X[:1, :, :1, :1], "image": np.zeros((1, 3, 100, 200), np.float32)}
    check(tmp_path, "PriorBox", param, inputs, expected)


def test_detection_output_of_one_box(tmp_path: Path) -> None:
    """One prior, centre-size code with zero offsets: the prior itself, with the score of class 1."""
    priors = np.float32([[[0.1, 0.2, 0.5, 0.6], [0.1, 0.1, 0.2, 0.2]]])
    inputs = {"loc": np.zeros((1, 4), np.float32), "conf": np.float32([[0.3, 0.7]]), "prior": priors}
    param = """detection_output_param { num_classes: 2 nms_param { nms_threshold: 0.45 top_k: 4 } code_type: CENTER_SIZE
               keep_top_k: 2 confidence_threshold: 0.01 }"""
    check(tmp_path, "DetectionOutput", param, inputs, np.float32([0, 1, 0.7, 0.1, 0.2, 0.5, 0.6]).reshape(1, 1, 1, 7))


@pytest.mark.process
def test_the_head_of_a_single_shot_detector(tmp_path: Path) -> None:
    """Two maps: Permute and Flatten make rows of cells, Reshape and Softmax act on 3 classes, Concat joins priors."""
    small = X[:, :, ::2, ::2]
    text, blobs = "", {}
    for name, bottom in (("a", "x"), ("b", "p")):
        weights = np.random.default_rng(len(name) + ord(name)).standard_normal((6, 6, 1, 1)).astype(np.float32)
        blobs[name] = [weights]
        text += f"""layer {{ name: "{name}" type: "Convolution" bottom: "{bottom}" top: "{name}"
                    convolution_param {{ num_output: 6 kernel_size: 1 bias_term: false }} }}
                    layer {{ name: "{name}_perm" type: "Permute" bottom: "{name}" top: "{name}_perm"
                    permute_param {{ order: 0 order: 2 order: 3 order: 1 }} }}
                    layer {{ name: "{name}_flat" type: "Flatten" bottom: "{name}_perm" top: "{name}_flat" }}
                    layer {{ name: "{name}_prior" type: "PriorBox" bottom: "{name}" bottom: "x" top: "{name}_prior"
                    prior_box_param {{ min_size: 2 max_size: 4 }} }}"""
    text = 'layer { name: "p" type: "Split" bottom: "y0" top: "p" }' + text
    text += """layer { name: "conf" type: "Concat" bottom: "a_flat" bottom: "b_flat" top: "conf" }
               layer { name: "priors" type: "Concat" bottom: "a_prior" bottom: "b_prior" top: "priors"
                       concat_param { axis: 2 } }
               layer { name: "rows" type: "Reshape" bottom: "conf" top: "rows"
                       reshape_param { shape { dim: 0 dim: -1 dim: 3 } } }
               layer { name: "soft" type: "Softmax" bottom: "rows" top: "soft" softmax_param { axis: 2 } }
               layer { name: "flat" type: "Flatten" bottom: "soft" top: "flat" }"""
    inputs = {"x": X, "y0": small}
    net = reloaded(converted(tmp_path, text, {n: v.shape for n, v in inputs.items()}, blobs), tmp_path)
    found = blob_values(net, ["conf", "rows", "flat", "priors"], inputs)
    maps = [np.einsum("oc,ncij->nijo", blobs[n][0][:, :, 0, 0], v) for n, v in (("a", X), ("b", small))]
    conf = np.concatenate([made.reshape(2, -1) for made in maps], axis=1)
    assert_close(found["conf"], conf, TOLERANCE, "conf")
    assert_close(found["rows"], conf.reshape(2, -1, 3), TOLERANCE, "rows")
    assert_close(found["flat"], softmax(conf.reshape(2, -1, 3), 2).reshape(2, -1), TOLERANCE, "flat")
    assert found["priors"].shape == (1, 2, 4 * 2 * (7 * 11 + 4 * 6))


def test_mean_field_layers_take_their_blobs_and_numbers(tmp_path: Path) -> None:
    """CRF-RNN stores its three matrices as 1 x 1 x C x C; what the ops compute is tested with the ops."""
    classes = 4
    blobs = [np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4) + 100 * index for index in range(3)]
    text = """layer { name: "crf" type: "MultiStageMeanfield" bottom: "u" bottom: "u" bottom: "image" top: "y"
              multi_stage_meanfield_param { num_iterations: 7 theta_alpha: 160 theta_beta: 3 theta_gamma: 2 } }"""
    shapes = {"u": (1, classes, 5, 7), "image": (1, 3, 5, 7)}
    net = reloaded(converted(tmp_path, text, shapes, {"crf": blobs}), tmp_path)
    made = net.layers["crf"]
    assert made.op == MultiStageMeanfield(numIterations=7, thetaAlpha=160.0, thetaBeta=3.0, thetaGamma=2.0)
    for name, blob in zip(made.params, blobs, strict=True):
        np.testing.assert_array_equal(net.params[name].value.reshape(4, 4), blob[0, 0])


def test_dense_crf_takes_its_numbers(tmp_path: Path) -> None:
    text = """layer { name: "crf" type: "DenseCRF" bottom: "u" bottom: "image" top: "y" densecrf_param {
              x_gauss: 6 y_gauss: 5 wt_gauss: 4 x_bilateral: 50 y_bilateral: 40 r_bilateral: 3 g_bilateral: 2
              b_bilateral: 1 wt_bilateral: 7 } }"""
    net = reloaded(converted(tmp_path, text, {"u": (1, 4, 5, 7), "image": (1, 3, 5, 7)}, {}), tmp_path)
    op = net.layers["crf"].op
    assert (op.xGauss, op.yGauss, op.wtGauss) == ((6.0,), (5.0,), (4.0,))
    assert (op.xBilateral, op.yBilateral, op.wtBilateral) == ((50.0,), (40.0,), (7.0,))
    assert (op.rBilateral, op.gBilateral, op.bBilateral) == ((3.0,), (2.0,), (1.0,))


RECURRENT = """layer { name: "l" type: "LSTM" bottom: "x" bottom: "marks" top: "l" recurrent_param { num_output: 3 } }
               layer { name: "y" type: "RNN" bottom: "l" bottom: "marks" top: "y" recurrent_param { num_output: 2 } }"""
CONTINUED = """layer { name: "m" type: "ContinuationIndicator" top: "marks"
                       continuation_indicator_param { time_step: 5 batch_size: 4 } }"""


@pytest.mark.parametrize("source", ['input: "marks"', CONTINUED, 'layer { name: "d" type: "HDF5Data" top: "marks" }'])
def test_marks_of_sequences_are_as_many_as_the_values(source: str, tmp_path: Path) -> None:
    """T x N; the second recurrent layer needs to know them in order to have a size."""
    path = tmp_path / "net.prototxt"
    values = 'layer { name: "i" type: "Input" top: "x" input_param { shape { dim: 5 dim: 4 dim: 6 } } }'
    path.write_text(f"{source} {values} {RECURRENT}")
    net = matnet.convert_caffe(path, placeholders=True)
    assert net.input_shapes == {"x": (5, 4, 6, 1), "marks": (5, 4, 1, 1)}
    assert net.infer_shapes(net.input_shapes)["y"] == (5, 4, 2, 1)


def test_a_message_asks_for_the_two_sizes_of_marks(tmp_path: Path) -> None:
    path = tmp_path / "net.prototxt"
    path.write_text(f'input: "x" input: "marks" {RECURRENT}')
    with pytest.raises(ShapeError, match=r"'marks': \(A, B\)"):
        matnet.convert_caffe(path, placeholders=True)
