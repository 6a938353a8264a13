"""Extension ops that work value by value, combine inputs, or select: against numbers worked out by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from matnet.errors import NetworkError, ShapeError
from matnet.ops import extensions as ops
from matnet.ops.base import Op
from tests.extension_ops import numbered, run

LARGEST = float(np.finfo(np.float32).max)


def row(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float32).reshape(1, 1, 1, -1)


# Expected values: the formulas of BVLC Caffe's layers (PReLU and the rest) evaluated by hand in double precision.
UNARY: list[tuple[Op, list[float], list[float]]] = [
    (ops.ELU(), [-1, 0, 2], [-0.6321205588285577, 0, 2]),
    (ops.ELU(alpha=0.5), [-2, 0.25], [-0.43233235838169365, 0.25]),
    (ops.TanH(), [-1, 0, 0.5], [-0.7615941559557649, 0, 0.46211715726000973]),
    (ops.BNLL(), [-1, 0, 2], [0.31326168751822286, 0.6931471805599453, 2.1269280110429727]),
    (ops.BNLL(), [100, -100], [100, 0]),  # exp(100) would overflow: the layer's own form must not
    (ops.AbsVal(), [-3, 0, 2.5], [3, 0, 2.5]),
    (ops.Power(), [-3, 0.5], [-3, 0.5]),
    (ops.Power(scale=2, shift=-1), [-3, 0.5], [-7, 0]),
    (ops.Power(power=2, scale=0.5, shift=1), [-4, 1, 2], [1, 2.25, 4]),
    (ops.Power(power=-1), [4, 0], [0.25, np.inf]),
    (ops.Power(power=0.5), [9, -1], [3, np.nan]),  # powf of a negative number to a fraction
    (ops.Power(power=3, scale=0, shift=2), [5, np.nan], [8, 8]),  # scale 0: x has no influence
    (ops.Power(power=0, shift=0), [5, 0, np.nan], [1, 1, 1]),
    (ops.Exp(), [-1, 0, 1], [0.36787944117144233, 1, 2.718281828459045]),
    (ops.Exp(base=2), [-1, 0, 3], [0.5, 1, 8]),
    (ops.Exp(base=2, scale=2, shift=1), [0, 1], [2, 8]),
    (ops.Log(), [1, 2.718281828459045], [0, 1]),
    (ops.Log(base=2, scale=4, shift=4), [0, 3], [2, 4]),
    (ops.Log(base=10), [0, -1, 1000], [-np.inf, np.nan, 3]),
    (ops.Threshold(), [-1, 0, 0.001], [0, 0, 1]),  # strictly greater
    (ops.Threshold(threshold=0.1), [0.1, 0.2], [0, 1]),  # compared in single precision
    (ops.Clip(), [-1, 3, 7], [0, 3, 6]),  # ReLU6
    (ops.Clip(min=-2, max=-1), [-5, -1.5, 0], [-2, -1.5, -1]),
    (ops.Swish(), [-1, 0, 2], [-0.2689414213699951, 0, 1.7615941559557646]),
    (ops.Swish(beta=2), [1, -200], [0.8807970779778823, 0]),
]


@pytest.mark.parametrize(("op", "x", "expected"), UNARY, ids=[f"{op}" for op, _, _ in UNARY])
def test_functions_of_one_value(op: Op, x: list[float], expected: list[float]) -> None:
    (y,) = run(op, row(*x))
    np.testing.assert_allclose(y, row(*expected), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("shape", [(1, 1, 3), (3, 1), (1, 3)], ids=str)
def test_prelu_has_one_slope_per_channel_in_whatever_shape_the_file_has_it(shape: tuple[int, ...]) -> None:
    x = np.broadcast_to(np.float32(-2), (2, 3, 4, 5)).copy()
    x[1] = 7
    (y,) = run(ops.PReLU(), x, params=[np.array([0.5, -1, 0], dtype=np.float32).reshape(shape)])
    np.testing.assert_array_equal(y[0, :, 3, 4], [-1, 2, 0])
    np.testing.assert_array_equal(y[1], 7)


def test_prelu_can_share_one_slope() -> None:
    (y,) = run(ops.PReLU(), row(-4, 4), params=[np.full((1, 1), 0.25, dtype=np.float32)])
    np.testing.assert_array_equal(y, row(-1, 4))


A, B, C = row(1, -2, 3), row(4, 5, -6), row(-7, 8, 9)
COMBINED: list[tuple[Op, list[np.ndarray], list[float]]] = [
    (ops.Eltwise(), [A, B, C], [-2, 11, 6]),
    (ops.Eltwise(coeff=(1, -1)), [A, B], [-3, -7, 9]),
    (ops.Eltwise(coeff=(0.5, 2, 0)), [A, B, C], [8.5, 9, -10.5]),
    (ops.Eltwise(operation="prod"), [A, B, C], [-28, -80, -162]),
    (ops.Max(), [A, B, C], [4, 8, 9]),
]


@pytest.mark.parametrize(("op", "inputs", "expected"), COMBINED, ids=[f"{op}" for op, _, _ in COMBINED])
def test_inputs_of_one_shape_are_combined(op: Op, inputs: list[np.ndarray], expected: list[float]) -> None:
    np.testing.assert_array_equal(run(op, *inputs)[0], row(*expected))


def test_axpy_scales_each_channel_of_each_item() -> None:
    scale = np.array([[1, 2, 3], [4, 5, 6]], dtype=np.float32).reshape(2, 3, 1, 1)
    x = np.ones((2, 3, 4, 5), dtype=np.float32)
    (y,) = run(ops.Axpy(), scale, x, 100 * x)
    np.testing.assert_array_equal(y[:, :, 2, 3], [[101, 102, 103], [104, 105, 106]])


SLICES: list[tuple[dict[str, Any], list[tuple[int, int]]]] = [
    ({"axis": 1, "points": (1, 4)}, [(0, 1), (1, 4), (4, 6)]),
    ({"axis": 0, "points": (1,)}, [(0, 1), (1, 2)]),
    ({"axis": 3, "points": (2,)}, [(0, 2), (2, 5)]),
    ({"axis": 1, "parts": 3}, [(0, 2), (2, 4), (4, 6)]),
    ({"axis": 2, "parts": 1}, [(0, 4)]),
]


@pytest.mark.parametrize(("fields", "pieces"), SLICES, ids=[str(fields) for fields, _ in SLICES])
def test_slice_cuts_one_axis(fields: dict[str, Any], pieces: list[tuple[int, int]]) -> None:
    x = numbered(2, 6, 4, 5)
    found = run(ops.Slice(**fields), x)
    assert len(found) == len(pieces)
    for y, (low, high) in zip(found, pieces, strict=True):
        np.testing.assert_array_equal(y, np.take(x, range(low, high), axis=fields["axis"]))


@pytest.mark.parametrize(("axis", "expected"), [(0, [0, 1, 0, 1]), (1, [0, 0]), (3, [0, 0])])
def test_tile_repeats_the_whole_axis(axis: int, expected: list[int]) -> None:
    x = np.broadcast_to(np.arange(2, dtype=np.float32).reshape(2, 1, 1, 1), (2, 3, 4, 5)).copy()
    (y,) = run(ops.Tile(axis=axis, tiles=2), x)
    assert y.shape[axis] == 2 * x.shape[axis]
    np.testing.assert_array_equal(y[:, 0, 0, 0] if axis == 0 else y[0].ravel()[: len(expected)], expected)
    np.testing.assert_array_equal(np.take(y, range(x.shape[axis]), axis=axis), x)
    np.testing.assert_array_equal(np.take(y, range(x.shape[axis], 2 * x.shape[axis]), axis=axis), x)


CROPS: list[tuple[dict[str, Any], tuple[slice, ...]]] = [
    ({"offset": (1, 2)}, (slice(2), slice(6), slice(1, 4), slice(2, 4))),
    ({}, (slice(2), slice(6), slice(0, 3), slice(0, 2))),
    ({"axis": 1, "offset": (2, 1, 3)}, (slice(2), slice(2, 6), slice(1, 4), slice(3, 5))),
    ({"axis": 3, "offset": (1,)}, (slice(2), slice(6), slice(0, 4), slice(1, 3))),
]


@pytest.mark.parametrize(("fields", "cut"), CROPS, ids=[str(fields) for fields, _ in CROPS])
def test_crop_takes_the_size_of_its_second_input(fields: dict[str, Any], cut: tuple[slice, ...]) -> None:
    x, like = numbered(2, 6, 4, 5), np.zeros((2, 4, 3, 2), dtype=np.float32)
    np.testing.assert_array_equal(run(ops.CaffeCrop(**fields), x, like)[0], x[cut])


def test_batch_reindex_picks_items_in_any_order_and_number() -> None:
    x = numbered(3, 2, 4, 5)
    index = np.array([2, 0, 2, 1], dtype=np.float32).reshape(4, 1, 1, 1)
    np.testing.assert_array_equal(run(ops.BatchReindex(), x, index)[0], x[[2, 0, 2, 1]])


@pytest.mark.parametrize("kept", [[0, 2], [1], []], ids=str)
def test_filter_keeps_the_selected_items_of_all_inputs(kept: list[int]) -> None:
    x, y = numbered(3, 2, 4, 5), numbered(3, 6, 1, 1)
    selector = np.zeros((3, 1, 1, 1), dtype=np.float32)
    selector[kept] = -0.5  # anything but 0
    found = run(ops.Filter(), x, y, selector, exact_shapes=False)
    np.testing.assert_array_equal(found[0], x[kept])
    np.testing.assert_array_equal(found[1], y[kept])


REFUSED_FIELDS: list[tuple[type[Op], dict[str, Any], str]] = [
    (ops.Exp, {"base": 0}, "base"),
    (ops.Exp, {"base": -2}, "base"),
    (ops.Log, {"base": 1}, "base"),
    (ops.Clip, {"min": 2, "max": 1}, "min"),
    (ops.Eltwise, {"operation": "min"}, "operation"),
    (ops.Eltwise, {"operation": "prod", "coeff": (1, 2)}, "coeff"),
    (ops.Slice, {"axis": 4}, "axis"),
    (ops.Slice, {"axis": -1}, "axis"),
    (ops.Tile, {"tiles": 0}, "tiles"),
]


@pytest.mark.parametrize(("kind", "fields", "named"), REFUSED_FIELDS)
def test_fields_without_a_meaning_are_refused_by_name(kind: type[Op], fields: dict[str, Any], named: str) -> None:
    with pytest.raises(NetworkError, match=f"field '{named}'"):
        kind(**fields)


REFUSED_SHAPES: list[tuple[Op, list[tuple[int, ...]], list[tuple[int, ...]], str]] = [
    (ops.PReLU(), [(2, 3, 4, 5)], [(1, 1, 4)], "4 values"),
    (ops.Eltwise(), [(2, 3, 4, 5), (2, 3, 4, 6)], [], "2x3x4x6"),
    (ops.Eltwise(coeff=(1, 1, 1)), [(2, 3, 4, 5)] * 2, [], "3 coefficients"),
    (ops.Max(), [(2, 3, 4, 5), (2, 1, 4, 5)], [], "2x1x4x5"),
    (ops.Axpy(), [(2, 3, 4, 5)] * 3, [], "expected 2x3x1x1"),
    (ops.Slice(points=(3,)), [(2, 3, 4, 5)], [], "below 3"),
    (ops.Slice(points=(2, 2)), [(2, 3, 4, 5)], [], "expected increasing"),
    (ops.Slice(parts=2), [(2, 3, 4, 5)], [], "2 equal parts"),
    (ops.CaffeCrop(offset=(2, 0)), [(2, 3, 4, 5), (2, 3, 3, 5)], [], "outside the input of 2x3x4x5"),
    (ops.BatchReindex(), [(2, 3, 4, 5), (4, 2, 1, 1)], [], "4x2x1x1"),
    (ops.Filter(), [(2, 3, 4, 5), (3, 1, 1, 1)], [], "expected 2x1x1x1"),
]


@pytest.mark.parametrize(("op", "inputs", "params", "message"), REFUSED_SHAPES)
def test_shapes_that_do_not_fit_are_told(
    op: Op, inputs: list[tuple[int, ...]], params: list[tuple[int, ...]], message: str
) -> None:
    with pytest.raises(ShapeError, match=message):
        op.output_shapes(inputs, params)


@pytest.mark.parametrize("index", [3, -1])
def test_an_index_beyond_the_batch_is_told(index: int) -> None:
    with pytest.raises(ShapeError, match="expected 0 to 2 for the batch"):
        run(ops.BatchReindex(), numbered(3, 2, 4, 5), np.full((1, 1, 1, 1), index, dtype=np.float32))
