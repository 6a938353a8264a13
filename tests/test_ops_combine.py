"""Sum, Concat, Scale, Crop, SubP and the map that FFDNet concatenates: hand-worked cases and bad sizes."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from matnet.errors import NetworkError, ShapeError
from matnet.ops.combine import Concat, ConcatMap, Crop, Scale, SubP, Sum
from matnet.shapes import ReceptiveField
from tests.device_double import run

N, C, H, W = 2, 6, 7, 11
random = np.random.default_rng(13)
X = random.standard_normal((N, C, H, W), np.float32)


# -- Sum, Concat ------------------------------------------------------------------------------------


def test_sum_adds_from_left_to_right():
    """In single, 1e8 + 1 - 1e8 is 0 from the left, and would be 1 in another order."""
    terms = [np.full((1, 1, 1, 1), value, np.float32) for value in (1e8, 1, -1e8)]
    assert run(Sum(), terms).item() == 0
    assert run(Sum(), [terms[1]]).item() == 1


def test_sum_leaves_its_inputs_alone():
    first, second, third = X.copy(), X.copy(), X.copy()
    np.testing.assert_array_equal(run(Sum(), [first, second, third]), X + X + X)
    np.testing.assert_array_equal(first, X)


def test_sum_of_other_sizes():
    with pytest.raises(ShapeError, match=r"input 3.*2x6x7x10.*input 1.*2x6x7x11"):
        Sum().output_shapes([X.shape, X.shape, (2, 6, 7, 10)], [])


@pytest.mark.parametrize(("dim", "axis"), [(1, 2), (2, 3), (3, 1), (4, 0)])
def test_concat_along_matlab_dimensions(dim, axis):
    """1 = H, 2 = W, 3 = C, 4 = N."""
    others = [np.take(X, range(count), axis=axis) for count in (1, 2)]
    found = run(Concat(dim=np.array([[dim]], np.uint8)), [X, *others])
    assert found.shape[axis] == X.shape[axis] + 3
    for begin, part in zip((0, X.shape[axis], X.shape[axis] + 1), [X, *others], strict=True):
        np.testing.assert_array_equal(np.take(found, range(begin, begin + part.shape[axis]), axis=axis), part)


def test_concat_of_other_sizes():
    with pytest.raises(ShapeError, match=r"input 2.*2x3x7x12.*input 1.*2x6x7x11.*C"):
        Concat().output_shapes([X.shape, (2, 3, 7, 12)], [])
    with pytest.raises(NetworkError, match=r"field 'dim': dimension is 5; expected 1 \(H\)"):
        Concat(dim=5)


@pytest.mark.parametrize(("dim", "seen"), [(1, None), (2, None), (3, ReceptiveField()), (4, ReceptiveField())])
def test_concat_receptive_fields(dim, seen):
    """dagnn.Concat: the identity along channels and images, undefined along space."""
    assert Concat(dim=dim).receptive_fields([X.shape, X.shape]) == [seen, seen]


# -- FFDNet's concat and SubP -----------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(N, 2, H, W), (1, 2, 1, 1), (N, 2, 1, 1), (1, 2, H, W)])
def test_concat_map(shape):
    levels = random.standard_normal(shape, np.float32)
    found = run(ConcatMap(), [X, levels])
    np.testing.assert_array_equal(found[:, :C], X)
    np.testing.assert_array_equal(found[:, C:], np.broadcast_to(levels, (N, 2, H, W)))


@pytest.mark.parametrize("shape", [(N, 2, H, 1), (3, 2, 1, 1), (N, 2, H + 1, W)])
def test_concat_map_of_another_size(shape):
    with pytest.raises(ShapeError, match="expected 2x2x7x11"):
        ConcatMap().output_shapes([X.shape, shape], [])


def test_pixel_shuffle_runs_down_the_rows_first():
    """vl_nnSubP with scale 2: channels 1..4 go to rows 1, 2 of column 1, then of column 2."""
    x = np.arange(1, 9, dtype=np.float32).reshape(1, 8, 1, 1)
    found = run(SubP(scale=2), [x])
    np.testing.assert_array_equal(found[0], [[[1, 3], [2, 4]], [[5, 7], [6, 8]]])


@pytest.mark.parametrize("scale", [2, 3])
def test_pixel_shuffle_is_the_definition(scale):
    """y(s*i+a, s*j+b, c) = x(i, j, c*s*s + b*s + a), 0-based; 1/s is the way back."""
    x = random.standard_normal((N, 2 * scale**2, 3, 5), np.float32)
    found = run(SubP(scale=scale), [x])
    expected = np.empty((N, 2, 3 * scale, 5 * scale), np.float32)
    for c, i, j, a, b in product(range(2), range(3), range(5), range(scale), range(scale)):
        expected[:, c, scale * i + a, scale * j + b] = x[:, c * scale**2 + b * scale + a, i, j]
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(run(SubP(scale=1 / scale), [found]), x)


def test_pixel_shuffle_by_one():
    np.testing.assert_array_equal(run(SubP(scale=1), [X]), X)


@pytest.mark.parametrize(
    ("scale", "shape", "message"),
    [
        (2, (1, 6, 4, 4), "the input has 6 channels; expected a multiple of 2x2 = 4"),
        (0.5, (1, 6, 7, 4), "the input is 7x4; expected multiples of 2"),
    ],
)
def test_pixel_shuffle_that_does_not_fit(scale, shape, message):
    with pytest.raises(ShapeError, match=message):
        SubP(scale=scale).output_shapes([shape], [])


@pytest.mark.parametrize("scale", [0, -2, 2.5, np.inf, np.nan])
def test_pixel_shuffle_by_a_bad_scale(scale):
    with pytest.raises(NetworkError, match=r"'scale'.*integer"):
        SubP(scale=scale)


def test_pixel_shuffle_receptive_fields():
    """Down: output i covers pixels 2i-1, 2i. Up: it lies within ceil(i/2), read as (i-1)/2 + 3/4 +- 1/4."""
    assert SubP(scale=0.5).receptive_fields([X.shape]) == [ReceptiveField((2.0, 2.0), (2.0, 2.0), (1.5, 1.5))]
    assert SubP(scale=2).receptive_fields([X.shape]) == [ReceptiveField((1.5, 1.5), (0.5, 0.5), (0.75, 0.75))]


# -- Scale ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 1, C), (1, 1), (H, W), (1, W, C), (H, W, C, N), (1, 1, C, 1)])
def test_scale_broadcasts_matlab_shapes(shape):
    """y = x .* m + b with trailing singletons missing from the files."""
    m, b = random.standard_normal((2, *shape), np.float32)
    full = [value.reshape(*shape, *(1,) * (4 - len(shape))).transpose(3, 2, 0, 1) for value in (m, b)]
    np.testing.assert_array_equal(run(Scale(), [X], m, b), X * full[0] + full[1])
    np.testing.assert_array_equal(run(Scale(hasBias=False), [X], m), X * full[0])


def test_scale_by_inputs():
    """Arguments are inputs, then params: an attention map comes as a variable, the bias as a param."""
    m = random.standard_normal((N, C, 1, 1), np.float32)
    b = random.standard_normal((1, 1, C), np.float32)
    np.testing.assert_array_equal(run(Scale(), [X, m], b), X * m + b.reshape(1, C, 1, 1))
    np.testing.assert_array_equal(run(Scale(hasBias=False), [X, m]), X * m)
    np.testing.assert_array_equal(run(Scale(hasBias=False), [m, X]), X * m)


@pytest.mark.parametrize(
    ("op", "inputs", "params", "message"),
    [
        (Scale(), [X.shape], [], "has 1 arguments .inputs and params.; expected 3: x, multiplier and bias"),
        (Scale(hasBias=False), [X.shape], [], "has 1 arguments .inputs and params.; expected 2: x and multiplier"),
        (Scale(), [X.shape], [(1, 1, 6)], "has 2 arguments"),
        (Scale(hasBias=False), [X.shape], [(1, 1, 5)], ": 2x6x7x11, 1x5x1x1"),
        (Scale(hasBias=False), [X.shape], [(6, 1)], ": 2x6x7x11, 1x1x6x1"),
        (Scale(hasBias=False), [X.shape], [()], "a multiplier or bias is missing"),
    ],
)
def test_scale_that_does_not_fit(op, inputs, params, message):
    with pytest.raises(ShapeError, match=message):
        op.output_shapes(inputs, params)


def test_a_declared_size_stands_for_missing_factors():
    assert Scale(size=(1, 1, C)).output_shapes([X.shape], [(), ()]) == [X.shape]


# -- Crop -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("crop", "top", "left"), [((0, 0), 0, 0), ((1, 3), 1, 3), ((2, 4), 2, 4), ((5, 9), 2, 4)])
def test_crop_leaves_the_remainder_at_the_end(crop, top, left):
    """7 x 11 to 5 x 7: excess 2 and 4; bottom = max(0, excess - crop), top the rest of the excess."""
    reference = np.zeros((1, 3, 5, 7), np.float32)
    found = run(Crop(crop=crop), [X, reference])
    np.testing.assert_array_equal(found, X[:, :, top : top + 5, left : left + 7])


@pytest.mark.parametrize(
    ("crop", "reference", "message"),
    [
        ((0, 0), (1, 1, 8, 7), "the input is 7x11; .* reference of 8x7"),
        ((-1, 0), (1, 1, 5, 7), r"crop is \[-1, 0\]; expected offsets >= 0"),
    ],
)
def test_crop_that_does_not_fit(crop, reference, message):
    with pytest.raises(ShapeError, match=message):
        Crop(crop=crop).output_shapes([X.shape, reference], [])


def test_crop_receptive_field():
    """dagnn.Crop: offset 1 + crop in the first input, nothing of the second but its size."""
    assert Crop(crop=(2, 4)).receptive_fields([X.shape, X.shape]) == [ReceptiveField(offset=(3.0, 5.0)), None]
    assert Crop.size_only_inputs == {1}
