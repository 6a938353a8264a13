"""InnerProduct, Embed, LSTM, RNN, constants and Interp: against plain loops and numbers worked out by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from matnet.errors import NetworkError, ShapeError
from matnet.ops import extensions as ops
from matnet.ops.base import Op
from tests.extension_ops import numbered, run, seeded


# What numpy.einsum makes of x and W, W being outputs x the remaining axes in C, H, W order.
@pytest.mark.parametrize(
    ("axis", "formula", "shape"),
    [(1, "nchw,ochw->no", (2, 7, 1, 1)), (2, "nchw,ohw->nco", (2, 3, 7, 1)), (3, "nchw,ow->ncho", (2, 3, 4, 7))],
)
@pytest.mark.parametrize("bias", [True, False])
def test_inner_product_along_an_axis(axis: int, formula: str, shape: tuple[int, ...], bias: bool) -> None:
    x, weights, offset = seeded(2, 3, 4, 5), seeded(7, *(2, 3, 4, 5)[axis:], seed=1), seeded(7, seed=2)
    params = [weights.reshape(7, -1), offset.reshape(7, 1)][: 1 + bias]
    (y,) = run(ops.InnerProduct(axis=axis, hasBias=bias), x, params=params)
    assert y.shape == shape
    expected = np.einsum(formula, x.astype(np.float64), weights)
    if bias:
        expected = expected + offset
    np.testing.assert_allclose(y.reshape(expected.shape), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("axis", "shape"), [(1, (4, 1, 1, 1)), (2, (4, 3, 1, 1)), (3, (4, 3, 2, 1))])
def test_embed_looks_rows_up_along_a_new_axis(axis: int, shape: tuple[int, ...]) -> None:
    index = (np.arange(np.prod(shape)) % 5).astype(np.float32).reshape(shape)
    table, bias = numbered(5, 6), np.full((6, 1), 1000, dtype=np.float32)
    (y,) = run(ops.Embed(axis=axis), index + np.float32(0.75), params=[table, bias])  # int(x) cuts
    assert y.shape == (*shape[:axis], 6, *(1,) * (3 - axis))
    np.testing.assert_array_equal(y.reshape(-1, 6), table[index.ravel().astype(int)] + 1000)


@pytest.mark.parametrize("index", [5, -1, 1e9])
def test_an_index_beyond_the_table_is_told(index: float) -> None:
    with pytest.raises(ShapeError, match="expected 0 to 4 for the table"):
        run(ops.Embed(hasBias=False), np.full((1, 1, 1, 1), index, dtype=np.float32), params=[numbered(5, 6)])


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def lstm_by_loop(
    x: np.ndarray,
    cont: np.ndarray,
    static: np.ndarray | None,
    start: tuple[np.ndarray, np.ndarray],
    params: list[np.ndarray],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """BVLC Caffe's lstm layer, number by number: x T x N x I, cont T x N; outputs h T x N x D, last h, last c."""
    (steps, streams, _), width = x.shape, params[-1].shape[1]
    h, c = start[0].astype(np.float64).copy(), start[1].astype(np.float64).copy()
    outputs = np.empty((steps, streams, width))
    for t in range(steps):
        for n in range(streams):
            gates = params[0] @ x[t, n] + params[1] + params[-1] @ (cont[t, n] * h[n])
            if static is not None:
                gates = gates + params[2] @ static[n]
            for d in range(width):
                i, f, o, g = (gates[k * width + d] for k in range(4))
                c[n, d] = cont[t, n] * sigmoid(f) * c[n, d] + sigmoid(i) * math.tanh(g)
                outputs[t, n, d] = sigmoid(o) * math.tanh(c[n, d])
            h[n] = outputs[t, n]
    return outputs, h, c


CONT = np.array([[0, 0], [1, 1], [1, 0], [0.5, 1], [1, 1]], dtype=np.float32)  # T = 5, N = 2


@pytest.mark.parametrize("with_static", [False, True])
@pytest.mark.parametrize("exposed", [False, True])
def test_lstm_against_a_loop(with_static: bool, exposed: bool) -> None:
    steps, streams, inputs, width, extra = 5, 2, 4, 3, 6
    x, static = seeded(steps, streams, inputs), seeded(streams, extra, seed=1)
    start = seeded(streams, width, seed=2), seeded(streams, width, seed=3)
    if not exposed:
        start = np.zeros_like(start[0]), np.zeros_like(start[1])
    params = [seeded(12, inputs, seed=4), seeded(12, seed=5), seeded(12, extra, seed=6), seeded(12, width, seed=7)]
    if not with_static:
        del params[2]
    given = [x[..., None], CONT[:, :, None, None]]
    given += [static[:, :, None, None]] * with_static
    given += [state[None, :, :, None] for state in start] * exposed
    found = run(ops.LSTM(staticInput=with_static, exposeHidden=exposed), *given, params=params)
    h, last_h, last_c = lstm_by_loop(x, CONT, static if with_static else None, start, params)
    expected = [h, last_h[None], last_c[None]][: 1 + 2 * exposed]
    for y, wanted in zip(found, expected, strict=True):
        np.testing.assert_allclose(y[..., 0], wanted, rtol=2e-5, atol=1e-6)


def test_lstm_takes_maps_as_vectors() -> None:
    x, params = seeded(5, 2, 3, 4), [seeded(12, 12, seed=4), seeded(12, seed=5), seeded(12, 3, seed=7)]
    cont = CONT[:, :, None, None]
    (y,) = run(ops.LSTM(), x, cont, params=params)
    (z,) = run(ops.LSTM(), x.reshape(5, 2, 12, 1), cont, params=params)
    np.testing.assert_array_equal(y, z)


@pytest.mark.parametrize("with_static", [False, True])
@pytest.mark.parametrize("exposed", [False, True])
def test_rnn_against_a_loop(with_static: bool, exposed: bool) -> None:
    steps, streams, inputs, width, extra = 5, 2, 4, 3, 6
    x, static, h = (seeded(steps, streams, inputs), seeded(streams, extra, seed=1), seeded(streams, width, seed=2))
    w_x, b, w_s = seeded(width, inputs, seed=3), seeded(width, seed=4), seeded(width, extra, seed=5)
    w_h, w_o, b_o = seeded(width, width, seed=6), seeded(width, width, seed=7), seeded(width, seed=8)
    h = h if exposed else np.zeros_like(h)
    given = [x[..., None], CONT[:, :, None, None]]
    given += [static[:, :, None, None]] * with_static + [h[None, :, :, None]] * exposed
    params = [w_x, b, *[w_s] * with_static, w_h, w_o, b_o.reshape(-1, 1)]
    found = run(ops.RNN(staticInput=with_static, exposeHidden=exposed), *given, params=params)
    for t in range(steps):
        driven = x[t] @ w_x.T + b + (static @ w_s.T if with_static else 0)
        h = np.tanh((CONT[t][:, None] * h) @ w_h.T + driven)
        np.testing.assert_allclose(found[0][t, :, :, 0], np.tanh(h @ w_o.T + b_o), rtol=2e-5, atol=1e-6)
    if exposed:
        np.testing.assert_allclose(found[1][0, :, :, 0], h, rtol=2e-5, atol=1e-6)


def test_a_parameter_is_what_matlab_sees() -> None:
    value = numbered(4, 5, 3, 2)  # H x W x C x N
    (y,) = run(ops.Parameter(), params=[value])
    np.testing.assert_array_equal(y, value.transpose(3, 2, 0, 1))
    (y,) = run(ops.Parameter(), params=[numbered(4, 5)])  # MATLAB drops trailing ones
    assert y.shape == (1, 1, 4, 5)


def test_a_constant_has_its_size_in_matlabs_order() -> None:
    (y,) = run(ops.DummyData(size=(4, 5, 3, 2), value=-1.5))
    np.testing.assert_array_equal(y, np.full((2, 3, 4, 5), -1.5))


def interp_by_loop(x: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bilinear interpolation with aligned corners, place by place, in double precision."""
    result = np.empty((*x.shape[:2], height, width))
    for n, c, t, u in np.ndindex(*result.shape):
        y = t * (x.shape[2] - 1) / (height - 1) if height > 1 else 0.0
        z = u * (x.shape[3] - 1) / (width - 1) if width > 1 else 0.0
        i, j = min(int(y), x.shape[2] - 1), min(int(z), x.shape[3] - 1)
        k, m = min(i + 1, x.shape[2] - 1), min(j + 1, x.shape[3] - 1)
        upper = (1 - (z - j)) * x[n, c, i, j] + (z - j) * x[n, c, i, m]
        lower = (1 - (z - j)) * x[n, c, k, j] + (z - j) * x[n, c, k, m]
        result[n, c, t, u] = (1 - (y - i)) * upper + (y - i) * lower
    return result


# Sizes from DeepLab's rules, worked out by hand for an input of 5 x 7 (after cropping where there is a pad).
INTERPOLATED: list[tuple[dict[str, Any], tuple[int, int], tuple[slice, slice]]] = [
    ({"zoomFactor": 8}, (33, 49), (slice(5), slice(7))),
    ({"shrinkFactor": 3}, (2, 3), (slice(5), slice(7))),
    ({"shrinkFactor": 2, "zoomFactor": 3}, (7, 10), (slice(5), slice(7))),
    ({"height": 9, "width": 4}, (9, 4), (slice(5), slice(7))),
    ({"height": 1, "width": 13}, (1, 13), (slice(5), slice(7))),
    ({"zoomFactor": 2, "padBeg": -1, "padEnd": -2}, (3, 7), (slice(1, 3), slice(1, 5))),
    ({"height": 5, "width": 7}, (5, 7), (slice(5), slice(7))),
]


@pytest.mark.parametrize(("fields", "size", "kept"), INTERPOLATED, ids=[str(fields) for fields, _, _ in INTERPOLATED])
def test_interp_against_a_loop(fields: dict[str, Any], size: tuple[int, int], kept: tuple[slice, slice]) -> None:
    x = seeded(2, 3, 5, 7)
    (y,) = run(ops.Interp(**fields), x)
    assert y.shape[2:] == size
    np.testing.assert_allclose(y, interp_by_loop(x[:, :, kept[0], kept[1]], *size), rtol=1e-5, atol=1e-5)


def test_interp_keeps_the_corners() -> None:
    x = seeded(1, 2, 5, 7)
    (y,) = run(ops.Interp(height=200, width=301), x)
    np.testing.assert_allclose(y[:, :, ::199, ::300], x[:, :, ::4, ::6], rtol=1e-4, atol=1e-5)


LSTM_INPUTS = [(5, 2, 4, 1), (5, 2, 1, 1)]
REFUSED: list[tuple[Op, list[tuple[int, ...]], list[tuple[int, ...]], str]] = [
    (ops.InnerProduct(), [(2, 3, 4, 5)], [(7, 61), (7, 1)], "expected 60 columns"),
    (ops.InnerProduct(), [(2, 3, 4, 5)], [(7, 60)], "expected 2"),
    (ops.InnerProduct(), [(2, 3, 4, 5)], [(7, 60), (6, 1)], "the bias has 6"),
    (ops.Embed(axis=1), [(2, 3, 1, 1)], [(5, 6), (6, 1)], "from axis 1 on"),
    (ops.LSTM(), [*LSTM_INPUTS, (2, 6, 1, 1)], [(12, 4), (12,), (12, 3)], "3 inputs; expected 2"),
    (ops.LSTM(staticInput=True), [*LSTM_INPUTS, (2, 6, 1, 1)], [(12, 4), (12,), (12, 3)], "3 params; expected 4"),
    (ops.LSTM(), LSTM_INPUTS, [(12, 5), (12,), (12, 3)], "input weights"),
    (ops.LSTM(), LSTM_INPUTS, [(12, 4), (12,), (12, 4)], "recurrent weights"),
    (ops.LSTM(), [(5, 2, 4, 1), (4, 2, 1, 1)], [(12, 4), (12,), (12, 3)], "input 2 is 4x2x1x1"),
    (ops.RNN(), LSTM_INPUTS, [(3, 4), (3,), (3, 3), (3, 3), (2,)], "the output bias"),
    (ops.Interp(padBeg=-3, padEnd=-2), [(2, 3, 5, 7)], [], "remove the whole input of 5x7"),
]


@pytest.mark.parametrize(("op", "inputs", "params", "message"), REFUSED)
def test_shapes_that_do_not_fit_are_told(
    op: Op, inputs: list[tuple[int, ...]], params: list[tuple[int, ...]], message: str
) -> None:
    with pytest.raises(ShapeError, match=message):
        op.output_shapes(inputs, params)


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (ops.Interp, {"padBeg": 1}),
        (ops.Interp, {"height": 3}),
        (ops.Interp, {"zoomFactor": 0}),
        (ops.DummyData, {"size": (1, 0, 1, 1)}),
        (ops.InnerProduct, {"axis": 4}),
    ],
)
def test_fields_without_a_meaning_are_refused(kind: type[Op], fields: dict[str, Any]) -> None:
    with pytest.raises(NetworkError):
        kind(**fields)
