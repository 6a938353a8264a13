"""Pooling by Caffe's rules, spatial pyramids, normalisations: against loops and numbers worked out by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from matnet.errors import NetworkError, ShapeError
from matnet.ops import extensions as ops
from matnet.ops.base import Op
from tests.extension_ops import numbered, run, seeded

LOWEST = np.finfo(np.float32).min
Window = Callable[[np.ndarray, int], float]  # the values inside the input, and Caffe's divisor


def caffe_size(size: int, kernel: int, stride: int, pad: int, floor: bool, padded: bool) -> int:
    """The size rule of BVLC Caffe's pooling layer, in floating point as it stands there."""
    count = (math.floor if floor else math.ceil)((size + 2 * pad - kernel) / stride) + 1
    if padded and (count - 1) * stride >= size + pad:
        count -= 1
    return count


def pool_by_loop(
    x: np.ndarray, kernel: tuple[int, int], stride: tuple[int, int], pad: tuple[int, int], floor: bool, take: Window
) -> np.ndarray:
    """Caffe's pooling, window by window, in double precision."""
    padded = pad != (0, 0)
    size = [caffe_size(x.shape[2 + i], kernel[i], stride[i], pad[i], floor, padded) for i in (0, 1)]
    result = np.empty((*x.shape[:2], *size))
    for n, c, t, u in np.ndindex(*result.shape):
        top, left = t * stride[0] - pad[0], u * stride[1] - pad[1]
        bottom = min(top + kernel[0], x.shape[2] + pad[0])
        right = min(left + kernel[1], x.shape[3] + pad[1])
        inside = x[n, c, max(top, 0) : min(bottom, x.shape[2]), max(left, 0) : min(right, x.shape[3])]
        result[n, c, t, u] = take(inside.astype(np.float64), (bottom - top) * (right - left))
    return result


TAKE: dict[str, Window] = {
    "max": lambda values, area: values.max() if values.size else float(LOWEST),
    "avg": lambda values, area: values.sum() / area if area else math.nan,
    "stochastic": lambda values, area: (values**2).sum() / values.sum() if values.sum() > 0 else 0.0,
}
# (window, stride, pad, round down): odd overhangs, pads on one axis only, windows beyond the input.
GEOMETRIES = [
    ((3, 2), (2, 1), (0, 0), False),
    ((3, 3), (2, 2), (1, 1), False),
    ((2, 5), (3, 2), (1, 2), False),
    ((2, 5), (3, 2), (1, 2), True),
    ((3, 1), (2, 3), (1, 0), False),
    ((1, 2), (2, 4), (0, 0), False),
    ((1, 1), (4, 3), (0, 0), False),
    ((4, 4), (3, 3), (0, 0), True),
]


@pytest.mark.parametrize("method", ["max", "avg"])
@pytest.mark.parametrize(("kernel", "stride", "pad", "floor"), GEOMETRIES)
def test_pooling_against_a_loop(
    method: str, kernel: tuple[int, int], stride: tuple[int, int], pad: tuple[int, int], floor: bool
) -> None:
    x = seeded(2, 3, 8, 10)
    op = ops.CaffePooling(
        method=method, poolSize=kernel, stride=stride, pad=pad, roundMode="floor" if floor else "ceil"
    )
    expected = pool_by_loop(x, kernel, stride, pad, floor, TAKE[method])
    np.testing.assert_allclose(run(op, x)[0], expected, rtol=2e-6, atol=1e-6)


def test_stochastic_pooling_against_a_loop() -> None:
    x = np.abs(seeded(2, 3, 8, 10))
    x[:, 1] = 0
    op = ops.CaffePooling(method="stochastic", poolSize=(3, 2), stride=(2, 3))
    expected = pool_by_loop(x, (3, 2), (2, 3), (0, 0), False, TAKE["stochastic"])
    np.testing.assert_allclose(run(op, x)[0], expected, rtol=2e-6)


def test_a_last_window_outside_the_input_is_empty() -> None:
    # Input 4, window 1, stride 2 gives 3 windows in Caffe, the last one at 4: -FLT_MAX, and 0/0.
    x = numbered(1, 1, 4, 4)
    op = ops.CaffePooling(poolSize=1, stride=2)
    np.testing.assert_array_equal(run(op, x)[0][0, 0], [[0, 2, LOWEST], [8, 10, LOWEST], [LOWEST, LOWEST, LOWEST]])
    average = run(ops.CaffePooling(method="avg", poolSize=1, stride=2), x)[0][0, 0]
    np.testing.assert_array_equal(average[:2, :2], [[0, 2], [8, 10]])
    assert np.isnan(average[2]).all() and np.isnan(average[:, 2]).all()


def test_a_window_larger_than_the_input_counts_when_sizes_round_up() -> None:
    # Input 2, window 3, stride 2: ceil(-1 / 2) + 1 = 1 window, over what there is.
    x = numbered(1, 1, 2, 2)
    assert run(ops.CaffePooling(poolSize=3, stride=2), x)[0].item() == 3
    assert run(ops.CaffePooling(method="avg", poolSize=3, stride=2), x)[0].item() == 1.5
    with pytest.raises(ShapeError, match="does not fit"):
        ops.CaffePooling(poolSize=3, stride=2, roundMode="floor").output_shapes([x.shape], [])


def test_the_mask_tells_where_each_maximum_was() -> None:
    # Map 3 x 4, windows 2 x 2, stride 2, pad 1: rows start at -1 and 1, columns at -1, 1 and 3. Of equal values
    # the first counts.
    x = np.array([[5, 1, 7, 7], [5, 9, 9, 0], [2, 3, 9, 8]], dtype=np.float32).reshape(1, 1, 3, 4)
    op = ops.CaffePooling(poolSize=2, stride=2, pad=1, mask=True)
    values, places = run(op, x)
    np.testing.assert_array_equal(values[0, 0], [[5, 7, 7], [5, 9, 8]])
    np.testing.assert_array_equal(places[0, 0], [[0, 2, 3], [4, 5, 11]])


def test_the_mask_of_an_empty_window_is_minus_one() -> None:
    values, places = run(ops.CaffePooling(poolSize=1, stride=2, mask=True), numbered(1, 1, 4, 3))
    np.testing.assert_array_equal(places[0, 0], [[0, 2], [6, 8], [-1, -1]])
    assert (values[0, 0, 2] == LOWEST).all()


@pytest.mark.parametrize(("method", "expected"), [("avg", [9.5, 29.5]), ("max", [19, 39])])
def test_global_pooling_follows_the_input(method: str, expected: list[float]) -> None:
    (y,) = run(ops.GlobalPooling(method=method), numbered(1, 2, 4, 5))
    np.testing.assert_array_equal(y.ravel(), expected)


def spp_by_loop(x: np.ndarray, height: int, method: str) -> np.ndarray:
    """BVLC Caffe's spp layer: pooling of each level as its LayerSetUp states it, flattened, strung together."""
    levels = []
    for level in range(height):
        bins = 2**level
        kernel = tuple(math.ceil(size / bins) for size in x.shape[2:])
        pad = tuple((k * bins - size + 1) // 2 for k, size in zip(kernel, x.shape[2:], strict=True))
        pooled = pool_by_loop(x, kernel, kernel, pad, False, TAKE[method])  # type: ignore[arg-type]
        levels.append(pooled.reshape(len(x), -1))
    return np.concatenate(levels, axis=1)[:, :, None, None]


@pytest.mark.parametrize(("size", "height"), [((8, 8), 4), ((13, 17), 3), ((7, 9), 2), ((5, 6), 1)], ids=str)
@pytest.mark.parametrize("method", ["max", "avg"])
def test_spatial_pyramids_against_a_loop(size: tuple[int, int], height: int, method: str) -> None:
    x = seeded(2, 3, *size)
    (y,) = run(ops.SPP(pyramidHeight=height, method=method), x)
    np.testing.assert_allclose(y, spp_by_loop(x, height, method), rtol=2e-6, atol=1e-6)


def test_a_map_too_small_for_a_level_is_told() -> None:
    # Size 6, level 4 (8 bins): window 1, pad (8 - 6 + 1) / 2 = 1 >= 1, which Caffe's pooling refuses.
    with pytest.raises(ShapeError, match="too small for pyramid level 4"):
        ops.SPP(pyramidHeight=4).output_shapes([(1, 3, 6, 6)], [])
    # Size 5, level 3 (4 bins): window 2, pad (8 - 5 + 1) / 2 = 2 >= 2.
    with pytest.raises(ShapeError, match="too small for pyramid level 3"):
        ops.SPP(pyramidHeight=3).output_shapes([(1, 3, 5, 8)], [])


def test_lrn_within_a_channel_divides_by_the_whole_window() -> None:
    # One channel of ones: at a corner of 3 x 3 windows 4 of 9 cells are inside, at an edge 6, in the middle 9.
    (y,) = run(ops.WithinChannelLRN(size=3, alpha=9.0, beta=1.0), np.ones((1, 2, 3, 4), dtype=np.float32))
    np.testing.assert_allclose(y[0, 1, 0], [1 / 5, 1 / 7, 1 / 7, 1 / 5], rtol=1e-6)
    np.testing.assert_allclose(y[0, 0, 1], [1 / 7, 1 / 10, 1 / 10, 1 / 7], rtol=1e-6)


# Channels of 1, 3 and 10, 14 in one item: means 2 and 12, sigmas 1 and 2; together mean 7, sigma sqrt(27.5 - 1).
MOMENTS = np.array([[[[1, 3]], [[10, 14]]]], dtype=np.float32)
TOGETHER = math.sqrt(((1 - 7) ** 2 + (3 - 7) ** 2 + (10 - 7) ** 2 + (14 - 7) ** 2) / 4)
NORMALISED: list[tuple[dict[str, Any], list[float]]] = [
    ({}, [-1, 1, -1, 1]),
    ({"normalizeVariance": False}, [-1, 1, -2, 2]),
    ({"eps": 1.0}, [-0.5, 0.5, -2 / 3, 2 / 3]),  # outside the root
    ({"acrossChannels": True}, [-6 / TOGETHER, -4 / TOGETHER, 3 / TOGETHER, 7 / TOGETHER]),
]


@pytest.mark.parametrize(("fields", "expected"), NORMALISED, ids=[str(fields) for fields, _ in NORMALISED])
def test_mvn_by_hand(fields: dict[str, Any], expected: list[float]) -> None:
    x = np.concatenate([MOMENTS, 100 + MOMENTS])  # each item on its own
    (y,) = run(ops.MVN(**fields), x)
    np.testing.assert_allclose(y.reshape(2, -1), [expected, expected], rtol=1e-5)


def test_batch_statistics_run_over_items_and_pixels() -> None:
    x = np.array([1, 3, 10, 14, 5, 7, 10, 18], dtype=np.float32).reshape(2, 2, 1, 2)
    (y,) = run(ops.BatchStatNorm(epsilon=0.25), x)
    # Channel 1: 1 3 5 7, mean 4, variance 5. Channel 2: 10 14 10 18, mean 13, variance 11.
    np.testing.assert_allclose(y[:, 0].ravel(), np.array([-3, -1, 1, 3]) / math.sqrt(5.25), rtol=1e-6)
    np.testing.assert_allclose(y[:, 1].ravel(), np.array([-3, 1, -3, 5]) / math.sqrt(11.25), rtol=1e-6)


def test_normalize_gives_each_pixel_the_length_of_its_scale() -> None:
    x = np.zeros((2, 3, 1, 2), dtype=np.float32)
    x[0, :, 0, 1] = [3, 0, -4]
    scale = np.array([10, 20, 30], dtype=np.float32)
    (y,) = run(ops.Normalize(), x, params=[scale.reshape(1, 1, 3)])
    np.testing.assert_allclose(y[0, :, 0, 1], [6, 0, -24], rtol=1e-6)
    np.testing.assert_array_equal(y[0, :, 0, 0], 0)  # eps keeps 0/0 away
    (y,) = run(ops.Normalize(eps=11.0), x, params=[np.full((1, 1), 12, dtype=np.float32)])
    np.testing.assert_allclose(y[0, :, 0, 1], [6, 0, -8], rtol=1e-6)  # sqrt(25 + 11) = 6


def test_normalize_can_run_over_the_whole_item() -> None:
    x = np.stack([np.full((3, 2, 5), 2), np.full((3, 2, 5), -7)]).astype(np.float32)
    (y,) = run(ops.Normalize(acrossSpatial=True), x, params=[np.array([[1.0]])])
    np.testing.assert_allclose(y[:, 1, 1, 3], [1 / math.sqrt(30), -1 / math.sqrt(30)], rtol=1e-6)


REFUSED: list[tuple[type[Op], dict[str, Any], str]] = [
    (ops.CaffePooling, {"pad": (1, 0, 0, 0), "poolSize": 3}, "opposite sides"),
    (ops.CaffePooling, {"pad": 2, "poolSize": 2}, "less than the window"),
    (ops.CaffePooling, {"method": "avg", "mask": True}, "only for max pooling"),
    (ops.CaffePooling, {"method": "stochastic", "poolSize": 3, "pad": 1}, "field 'pad'.*stochastic"),
    (ops.CaffePooling, {"method": "sum"}, "method"),
    (ops.WithinChannelLRN, {"size": 4}, "expected an odd"),
    (ops.SPP, {"pyramidHeight": 0}, "pyramidHeight"),
]


@pytest.mark.parametrize(("kind", "fields", "message"), REFUSED)
def test_fields_that_caffe_refuses(kind: type[Op], fields: dict[str, Any], message: str) -> None:
    with pytest.raises(NetworkError, match=message):
        kind(**fields)
