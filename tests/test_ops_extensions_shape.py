"""Extension ops that reshape, reorder or reduce: against numbers worked out by hand and plain loops."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from matnet.errors import NetworkError, ShapeError
from matnet.ops import extensions as ops
from matnet.ops.base import Op
from tests.extension_ops import numbered, run, seeded

SHAPE = (2, 6, 4, 5)


# (axis, endAxis) and the shape that BVLC Caffe's flatten layer gives, right-padded with ones.
@pytest.mark.parametrize(
    ("axis", "end", "expected"),
    [(1, 3, (2, 120, 1, 1)), (0, 1, (12, 4, 5, 1)), (2, 3, (2, 6, 20, 1)), (0, 3, (240, 1, 1, 1)), (2, 2, SHAPE)],
)
def test_caffe_flatten_keeps_the_order_of_the_values(axis: int, end: int, expected: tuple[int, ...]) -> None:
    (y,) = run(ops.CaffeFlatten(axis=axis, endAxis=end), numbered(*SHAPE))
    assert y.shape == expected
    np.testing.assert_array_equal(y.ravel(), np.arange(240))


# The examples of BVLC Caffe's ReshapeParameter (caffe.proto), on a blob of 2 x 8 and on 2 x 6 x 4 x 5.
RESHAPES: list[tuple[tuple[int, ...], dict[str, Any], tuple[int, ...]]] = [
    ((2, 8, 1, 1), {"shape": (2, 2, 4)}, (2, 2, 4, 1)),
    ((2, 8, 1, 1), {"shape": (0, 2, 4)}, (2, 2, 4, 1)),
    ((2, 8, 1, 1), {"shape": (0, 2, -1)}, (2, 2, 4, 1)),
    ((2, 8, 1, 1), {"shape": (-1, 4)}, (4, 4, 1, 1)),
    ((2, 8, 1, 1), {"shape": (2, 4), "axis": 1, "numAxes": 1}, (2, 2, 4, 1)),
    ((2, 8, 1, 1), {"shape": (1,), "axis": 1, "numAxes": 0}, (2, 1, 8, 1)),
    (SHAPE, {"shape": (0, -1, 3)}, (2, 40, 3, 1)),
    (SHAPE, {"shape": (0, 0, 2, -1)}, (2, 6, 2, 10)),
]


@pytest.mark.parametrize(("given", "fields", "expected"), RESHAPES)
def test_caffe_reshape_copies_infers_and_inserts(
    given: tuple[int, ...], fields: dict[str, Any], expected: tuple[int, ...]
) -> None:
    (y,) = run(ops.CaffeReshape(**fields), numbered(*given))
    assert y.shape == expected
    np.testing.assert_array_equal(y.ravel(), np.arange(y.size))


@pytest.mark.parametrize("axes", list(itertools.permutations(range(4)))[::5], ids=str)
def test_permute_moves_axes_as_the_ssd_fork_does(axes: tuple[int, ...]) -> None:
    x = numbered(*SHAPE)
    (y,) = run(ops.Permute.from_axes(axes), x)
    for place in ((0, 1, 2, 3), (1, 5, 0, 4)):
        assert y[tuple(place[axis] for axis in axes)] == x[place]


# vl_nnflatten and permute of a 2 x 3 x 2 array holding 1..12 in MATLAB's order (h fastest), worked out by hand.
def test_matlab_flatten_runs_rows_fastest() -> None:
    matlab = np.arange(1, 13, dtype=np.float32).reshape((2, 3, 2, 1), order="F")
    x = np.ascontiguousarray(matlab.transpose(3, 2, 0, 1))
    for axis, shape in ((3, (1, 12, 1, 1)), (1, (1, 1, 12, 1)), (2, (1, 1, 1, 12))):
        (y,) = run(ops.Flatten(axis=axis), x)
        assert y.shape == shape
        np.testing.assert_array_equal(y.ravel(), np.arange(1, 13))


def test_matlab_permute_counts_dimensions_from_one() -> None:
    x = numbered(*SHAPE)
    (y,) = run(ops.Permute(order=(3, 1, 2, 4)), x)  # H' = C, W' = H, C' = W
    assert y.shape == (2, 5, 6, 4)
    assert y[1, 3, 2, 0] == x[1, 2, 0, 3]


@pytest.mark.parametrize(("shape", "expected"), [([3, 2, -1], (2, 3, 2)), ([0, 4], (1, 2, 4))], ids=str)
def test_matlab_reshape_is_matlabs(shape: list[int], expected: tuple[int, int, int]) -> None:
    height, width, channels = (3, 2, 2) if len(shape) == 3 else (2, 4, 3)
    matlab = seeded(2, 3, 4, 2) if len(shape) == 2 else seeded(2, 3, 2, 2)
    (y,) = run(ops.Reshape(shape=shape), np.ascontiguousarray(matlab.transpose(3, 2, 0, 1)))
    wanted = matlab.reshape((height, width, channels, 2), order="F")
    np.testing.assert_array_equal(y.transpose(2, 3, 1, 0), wanted)


def test_matlab_reshape_takes_an_empty_cell_for_what_is_inferred() -> None:
    assert ops.Reshape(shape=[np.array([[3.0]]), np.array([[2.0]]), np.zeros((0, 0))]).shape == (3, 2, -1)


@pytest.mark.parametrize(
    ("modules", "caffe"),
    [
        ([ops.Permute(order=(2, 1, 3, 4)), ops.Flatten(axis=3)], [ops.CaffeFlatten()]),
        (
            [ops.Permute(order=(3, 2, 1, 4)), ops.Flatten(axis=3)],
            [ops.Permute.from_axes((0, 2, 3, 1)), ops.CaffeFlatten()],
        ),
        (
            [ops.Permute(order=(2, 1, 3, 4)), ops.Reshape(shape=(1, 3, -1)), ops.Permute(order=(2, 1, 3, 4))],
            [ops.CaffeReshape(shape=(0, -1, 3, 1))],
        ),
    ],
    ids=["flatten", "ssd head", "reshape"],
)
def test_matlab_modules_express_caffes_order(modules: list[Op], caffe: list[Op]) -> None:
    x = y = numbered(*SHAPE)
    for op in modules:
        (x,) = run(op, x)
    for op in caffe:
        (y,) = run(op, y)
    np.testing.assert_array_equal(x, y)


def test_channel_shuffle_deals_the_groups_out() -> None:
    x = np.broadcast_to(np.arange(6, dtype=np.float32).reshape(1, 6, 1, 1), (2, 6, 4, 5)).copy()
    (y,) = run(ops.ChannelShuffle(group=2), x)  # groups 0 1 2 and 3 4 5
    np.testing.assert_array_equal(y[1, :, 3, 2], [0, 3, 1, 4, 2, 5])
    (y,) = run(ops.ChannelShuffle(group=3), x)  # groups 0 1, 2 3 and 4 5
    np.testing.assert_array_equal(y[0, :, 0, 0], [0, 2, 4, 1, 3, 5])


def test_im2col_against_a_loop() -> None:
    op = ops.Im2col(kernelSize=(2, 3), stride=(2, 1), pad=(1, 1, 2, 2), dilate=(2, 1))
    x = seeded(2, 3, 7, 5)
    (y,) = run(op, x)
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (2, 2)))
    assert y.shape == (2, 3 * 2 * 3, 4, 7)
    for n, c, i, j, u, v in itertools.product(range(2), range(3), range(2), range(3), range(4), range(7)):
        assert y[n, (c * 2 + i) * 3 + j, u, v] == padded[n, c, 2 * u + 2 * i, v + j]


X = np.array([[[[1, -2], [3, -4]], [[5, 6], [-7, 8]]]], dtype=np.float32)  # 1 x 2 x 2 x 2
REDUCED: list[tuple[dict[str, Any], tuple[int, ...], list[float]]] = [
    ({"axis": 1}, (1, 1, 1, 1), [10]),
    ({"axis": 2}, (1, 2, 1, 1), [-2, 12]),
    ({"axis": 3}, (1, 2, 2, 1), [-1, -1, 11, 1]),
    ({"axis": 2, "operation": "asum"}, (1, 2, 1, 1), [10, 26]),
    ({"axis": 2, "operation": "sumsq"}, (1, 2, 1, 1), [30, 174]),
    ({"axis": 2, "operation": "mean"}, (1, 2, 1, 1), [-0.5, 3]),
    ({"axis": 0, "operation": "mean", "coeff": 4}, (1, 1, 1, 1), [5]),
]


@pytest.mark.parametrize(("fields", "shape", "expected"), REDUCED, ids=[str(fields) for fields, _, _ in REDUCED])
def test_reduction_by_hand(fields: dict[str, Any], shape: tuple[int, ...], expected: list[float]) -> None:
    (y,) = run(ops.Reduction(**fields), X)
    np.testing.assert_array_equal(y, np.array(expected, dtype=np.float32).reshape(shape))


# One item of 2 x 1 x 3 values; among equal ones BVLC Caffe's partial sort of (value, index) prefers the larger index.
TIES = np.array([4, 7, 1, 7, 4, 0], dtype=np.float32).reshape(1, 2, 1, 3)
GREATEST: list[tuple[dict[str, Any], tuple[int, ...], list[float]]] = [
    ({}, (1, 1, 1, 1), [3]),
    ({"topK": 4}, (1, 1, 4, 1), [3, 1, 4, 0]),
    ({"topK": 2, "outMaxVal": True}, (1, 2, 2, 1), [3, 1, 7, 7]),
    ({"axis": 1}, (1, 1, 1, 3), [1, 0, 0]),
    ({"axis": 1, "outMaxVal": True}, (1, 1, 1, 3), [7, 7, 1]),
    ({"axis": 3, "topK": 2}, (1, 2, 1, 2), [1, 0, 0, 1]),
    ({"axis": 3, "topK": 2, "outMaxVal": True}, (1, 2, 1, 2), [7, 4, 7, 4]),
]


@pytest.mark.parametrize(("fields", "shape", "expected"), GREATEST, ids=[str(fields) for fields, _, _ in GREATEST])
def test_argmax_by_hand(fields: dict[str, Any], shape: tuple[int, ...], expected: list[float]) -> None:
    (y,) = run(ops.ArgMax(**fields), TIES)
    np.testing.assert_array_equal(y, np.array(expected, dtype=np.float32).reshape(shape))


@pytest.mark.parametrize(("axis", "dim"), [(0, 4), (1, 3), (2, 1), (3, 2)])
def test_softmax_runs_along_the_axis_asked_for(axis: int, dim: int) -> None:
    op = ops.SoftMaxTranspose.along(axis)
    assert op.dim == dim
    x = np.full((2, 3, 4, 5), 1000, dtype=np.float32)  # exp(1000) would overflow
    length = x.shape[axis]
    np.moveaxis(x, axis, 0)[-1] += 1
    (y,) = run(op, x)
    expected = np.array([1] * (length - 1) + [np.e]) / (length - 1 + np.e)
    np.testing.assert_allclose(
        np.moveaxis(y, axis, -1), np.broadcast_to(expected, (*np.delete(x.shape, axis), length)), rtol=1e-6
    )


REFUSED: list[tuple[Op, tuple[int, ...], str]] = [
    (ops.CaffeReshape(shape=(7, -1)), SHAPE, "cannot be reshaped to"),
    (ops.CaffeReshape(shape=(2, 6, 4, 4)), SHAPE, "cannot be reshaped to"),
    (ops.CaffeReshape(shape=(-1, -1)), SHAPE, "at most one -1"),
    (ops.CaffeReshape(shape=(2, 2, 3, 4, 5)), SHAPE, "more than four dimensions"),
    (ops.Reshape(shape=(7, -1, 1)), SHAPE, "cannot be reshaped to"),
    (ops.ChannelShuffle(group=4), SHAPE, "4 equal groups"),
    (ops.Im2col(kernelSize=(9, 1)), SHAPE, "does not fit"),
    (ops.ArgMax(topK=7, axis=1), SHAPE, "topK is 7; expected at most 6"),
    (ops.ArgMax(topK=121), SHAPE, "topK is 121; expected at most 120"),
]


@pytest.mark.parametrize(("op", "shape", "message"), REFUSED)
def test_shapes_that_do_not_fit_are_told(op: Op, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        op.output_shapes([shape], [])


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (ops.CaffeFlatten, {"axis": 2, "endAxis": 1}),
        (ops.CaffeReshape, {"axis": 3, "numAxes": 2}),
        (ops.CaffeReshape, {"axis": 5}),
        (ops.Permute, {"order": (1, 2, 3)}),
        (ops.Permute, {"order": (1, 2, 3, 3)}),
        (ops.Flatten, {"axis": 4}),
        (ops.Reshape, {"shape": (1, 2, 3, 4)}),
        (ops.SoftMaxTranspose, {"dim": 0}),
        (ops.ArgMax, {"axis": -2}),
    ],
)
def test_fields_without_a_meaning_are_refused(kind: type[Op], fields: dict[str, Any]) -> None:
    with pytest.raises(NetworkError):
        kind(**fields)
