"""Conv and ConvTranspose: hand-worked cases of vl_nnconv and vl_nnconvt, and float64 loops on odd geometries."""

from __future__ import annotations

import numpy as np
import pytest

from matnet.errors import NetworkError, ShapeError
from matnet.ops import convolution
from matnet.ops.convolution import Conv, ConvTranspose
from matnet.shapes import ReceptiveField
from tests import reference_ops as reference
from tests.conftest import assert_close
from tests.device_double import run

N, C, H, W = 2, 6, 7, 11
X = np.random.default_rng(7).standard_normal((N, C, H, W), np.float32)


def filters(*shape, seed=1):
    return np.random.default_rng(seed).standard_normal(shape[::-1], np.float32).T


# -- Conv -------------------------------------------------------------------------------------------


def test_correlation_does_not_flip():
    """x = [1 2 3 4], f = [1 0 -1] gives [-2 -2] (a flipped filter would give [2 2])."""
    x = np.array([1, 2, 3, 4], np.float32).reshape(1, 1, 1, 4)
    np.testing.assert_array_equal(run(Conv(hasBias=False), x, [[1, 0, -1]]).ravel(), [-2, -2])


@pytest.mark.parametrize(
    ("x", "f", "op", "expected"),
    [
        ((10, 3, 227, 227), (11, 11, 3, 96), Conv(stride=4), (10, 96, 55, 55)),
        ((1, 96, 27, 27), (5, 5, 48, 256), Conv(pad=2), (1, 256, 27, 27)),
        ((1, 512, 7, 7), (7, 7, 512, 4096), Conv(), (1, 4096, 1, 1)),
        ((2, 4, 6, 5), (3, 3, 4), Conv(), (2, 1, 4, 3)),  # one filter: MATLAB drops the last dimension
        ((2, 1, 6, 5), (1, 1), Conv(), (2, 1, 6, 5)),
    ],
)
def test_output_sizes(x, f, op, expected):
    """AlexNet's and VGG's published sizes."""
    assert op.output_shapes([x], [f]) == [expected]


GEOMETRIES = {
    "plain": ((3, 5, C, 8), {}),
    "pad, stride": ((3, 5, C, 8), {"pad": (1, 2, 0, 3), "stride": (2, 3)}),
    "two groups": ((3, 5, 3, 8), {"pad": (1, 2, 0, 3), "stride": (2, 3)}),
    "depthwise": ((3, 5, 1, 12), {"pad": (2, 1, 3, 0), "stride": (3, 2)}),
    "dilate": ((3, 2, 3, 4), {"pad": (1, 2, 0, 3), "stride": (2, 3), "dilate": (2, 4)}),
    "rows only": ((3, 1, C, 5), {"stride": (1, 2)}),
    "columns only": ((1, 5, 2, 9), {"pad": (0, 0, 3, 1)}),
    "1 x 1": ((1, 1, C, 5), {}),
    "1 x 1, groups": ((1, 1, 2, 9), {}),
    "1 x 1, stride": ((1, 1, C, 5), {"stride": (2, 3)}),
    "1 x 1, pad": ((1, 1, 3, 4), {"pad": (1, 2, 0, 3), "stride": (2, 3)}),
    "fully connected": ((H, W, C, 5), {}),
    "fully connected, groups": ((H, W, 3, 4), {}),
    "one filter": ((3, 5, C), {}),
}


@pytest.mark.parametrize("strips", [False, True])
@pytest.mark.parametrize("name", GEOMETRIES)
def test_conv_is_the_definition(name, strips, monkeypatch):
    shape, fields = GEOMETRIES[name]
    if strips:  # one row of patches at a time
        monkeypatch.setattr(convolution, "PATCH_ELEMENTS", 1)
    f, op = filters(*shape), Conv(**fields)
    full = f.reshape(*shape, *(1,) * (4 - len(shape)))
    b = filters(full.shape[3], 1, seed=2)
    expected = reference.conv(reference.hwcn(X), full, b.ravel(), op.pad, op.stride, op.dilate)
    assert_close(run(op, X, f, b), reference.nchw(expected), 1e-6, name)


@pytest.mark.parametrize("limit", [1, 1000, 2000, 1 << 22])
def test_a_batch_is_cut_anywhere(limit, monkeypatch):
    """An image has 810 numbers of patches: five go row by row, one by one, by twos and a rest, or all at once."""
    monkeypatch.setattr(convolution, "PATCH_ELEMENTS", limit)
    x = np.random.default_rng(8).standard_normal((5, C, H, W), np.float32)
    f, op = filters(3, 5, 3, 8), Conv(hasBias=False, stride=(2, 3))
    expected = reference.conv(reference.hwcn(x), f, np.zeros(8), op.pad, op.stride, op.dilate)
    assert_close(run(op, x, f), reference.nchw(expected), 1e-6, f"{limit}")


@pytest.mark.parametrize("shape", [(8, 1), (1, 8), (1, 1, 8), (8, 1, 1, 1)])
def test_the_bias_has_any_shape(shape):
    f, b = filters(3, 5, C, 8), filters(*shape)
    expected = run(Conv(hasBias=False), X, f) + b.ravel().reshape(1, 8, 1, 1)
    np.testing.assert_array_equal(run(Conv(), X, f, b), expected)


@pytest.mark.parametrize("op", [Conv(hasBias=False), Conv()])
def test_no_bias(op):
    """A second param is ignored when hasBias is false; an empty one is none."""
    second = np.ones((8, 1)) if not op.hasBias else np.zeros((0, 0))
    f = filters(3, 5, C, 8)
    np.testing.assert_array_equal(run(op, X, f, second), run(op, X, f))


@pytest.mark.parametrize("order", ["C", "F"])
def test_filters_in_any_memory_order_and_class(order):
    f = filters(3, 5, C, 8)
    given = np.asarray(f, np.float64, order=order)
    np.testing.assert_array_equal(run(Conv(), X, given), run(Conv(), X, f))


def test_filters_in_matlab_order_are_not_copied():
    f = filters(3, 5, C, 8)
    assert np.shares_memory(Conv().prepare(np, [f]).rows, f)


def test_empty_filters_pick_pixels():
    """vl_nnconv with F = []: Y[i,j] = X[i*sy - pt, j*sx - pl], 0 outside, plus a bias of C elements."""
    op = Conv(pad=(1, 2, 0, 3), stride=(2, 3))
    b = np.arange(C, dtype=np.float32).reshape(C, 1)
    padded = np.zeros((N, C, H + 3, W + 3), np.float32)
    padded[:, :, 1 : 1 + H, :W] = X
    found = run(op, X, np.zeros((0, 0)), b)
    np.testing.assert_array_equal(found, padded[:, :, ::2, ::3] + b.reshape(1, C, 1, 1))


def test_empty_filters_leave_the_input_alone():
    x = X.copy()
    found = run(Conv(), x, np.zeros((0, 0)), np.ones((C, 1)))
    np.testing.assert_array_equal(x, X)
    np.testing.assert_array_equal(found, X + 1)


def test_empty_filters_of_a_declared_size_are_missing():
    with pytest.raises(NetworkError, match=r"empty.*3x5x6x8"):
        Conv(size=(3, 5, 6, 8)).prepare(np, [np.zeros((0, 0), np.float32)])


@pytest.mark.parametrize(
    ("op", "params", "message"),
    [
        (Conv(), [(3, 5, 4, 8)], "the filters are 3x5x4x8; the input has 6 channels, expected a multiple of 4"),
        (Conv(), [(3, 5, 2, 8)], "3x5x2x8; the input has 6 channels, expected 2, or groups that divide 8"),
        (Conv(), [(3, 5, 6, 8), (7, 1)], "the bias has 7 elements .7x1.; expected 8"),
        (Conv(), [(9, 5, 6, 8)], "a window of 9x5 does not fit in an input of 7x11"),
        (Conv(dilate=(4, 1)), [(3, 5, 6, 8)], "a window of 9x5 does not fit"),
        (Conv(), [()], "filters are missing"),
        (Conv(), [(3, 5, 6, 8, 2)], "more than four dimensions"),
    ],
)
def test_what_does_not_fit(op, params, message):
    with pytest.raises(ShapeError, match=message):
        op.output_shapes([(N, C, H, W)], params)


def test_a_declared_size_stands_for_missing_filters():
    assert Conv(size=(3, 5, C, 8)).output_shapes([X.shape], [(), ()]) == [(N, 8, 5, 7)]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"pad": (-1, 0)}, "field 'pad': .*expected numbers >= 0"),
        ({"pad": (1, 2, 3)}, "field 'pad': .* expected 1, 2 or 4 numbers"),
        ({"stride": 0}, "field 'stride': .* >= 1"),
        ({"stride": 1.5}, "field 'stride': expected integers"),
    ],
)
def test_bad_fields(fields, message):
    with pytest.raises(NetworkError, match=message):
        Conv(**fields)


def test_fields_of_one_and_two_elements():
    """DagNN's setters: pad [a b] is [a a b b], a stride of one element counts twice; missing or empty dilate is 1."""
    op = Conv(pad=np.array([[1, 2]], np.uint8), stride=np.array([[3]], np.uint8), dilate=np.zeros((1, 0)))
    assert (op.pad, op.stride, op.dilate) == ((1, 1, 2, 2), (3, 3), (1, 1))


def test_conv_receptive_field():
    """DagNN's Filter: size (k-1)*dilate+1, offset 1 - pad + (size-1)/2, for [top .. left ..]."""
    op = Conv(size=(3, 5, 6, 8), pad=(1, 2, 0, 3), stride=(2, 3), dilate=(2, 1))
    assert op.receptive_fields([X.shape]) == [ReceptiveField((5.0, 5.0), (2.0, 3.0), (2.0, 3.0))]
    assert Conv().receptive_fields([X.shape]) == [None]


def test_conv_multiply_adds():
    """AlexNet's conv2: 27 * 27 * 256 outputs of 5 * 5 * 48 products each."""
    outputs = Conv(pad=2).output_shapes([(3, 96, 27, 27)], [(5, 5, 48, 256)])
    assert Conv(pad=2).multiply_adds([(3, 96, 27, 27)], [(5, 5, 48, 256)], outputs) == 3 * 27 * 27 * 256 * 5 * 5 * 48


# -- ConvTranspose ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("crop", "expected"), [((0, 0), [1, 2, 3, 4, 5, 6, 3]), ((1, 1), [2, 3, 4, 5, 6])])
def test_upsampling_by_hand(crop, expected):
    """x = [1 2 3], f = [1 2 1], upsample 2: [1 2 3 4 5 6 3]; crop [1 1] leaves the middle."""
    x = np.array([1, 2, 3], np.float32).reshape(1, 1, 1, 3)
    op = ConvTranspose(upsample=(1, 2), crop=(0, 0, *crop), hasBias=False)
    np.testing.assert_array_equal(run(op, x, [[1, 2, 1]]).ravel(), expected)


TRANSPOSED = {
    "plain": ((3, 5, 4, C), {}),
    "upsample, crop": ((5, 4, 3, C), {"upsample": (3, 2), "crop": (1, 0, 2, 1)}),
    "groups": ((4, 5, 2, C), {"upsample": (2, 3), "crop": (2, 1, 0, 3), "numGroups": 3}),
    "depthwise": ((4, 3, 1, C), {"upsample": (2, 2), "numGroups": C}),
    "gaps": ((1, 2, 5, C), {"upsample": (3, 4)}),  # upsampling by more than the filter leaves zeros
}


@pytest.mark.process
@pytest.mark.parametrize("strips", [False, True])
@pytest.mark.parametrize("name", TRANSPOSED)
def test_conv_transpose_is_the_definition(name, strips, monkeypatch):
    shape, fields = TRANSPOSED[name]
    if strips:
        monkeypatch.setattr(convolution, "PATCH_ELEMENTS", 1)
    op, f = ConvTranspose(**fields), filters(*shape)
    b = filters(shape[2] * op.numGroups, 1, seed=2)
    expected = reference.conv_transpose(reference.hwcn(X), f, b, op.upsample, op.crop, op.numGroups)
    assert_close(run(op, X, f, b), reference.nchw(expected), 1e-6, name)


def test_conv_transpose_from_one_channel():
    """D = 1: MATLAB stores h x w x K."""
    x, f = X[:, :1], filters(3, 5, 4)
    expected = reference.conv_transpose(reference.hwcn(x), f[..., None], np.zeros(4), (1, 1), (0, 0, 0, 0), 1)
    assert_close(run(ConvTranspose(hasBias=False), x, f), reference.nchw(expected), 1e-6, "one channel")


@pytest.mark.parametrize(
    ("op", "params", "message"),
    [
        (ConvTranspose(), [(3, 5, 6, 4)], "3x5x6x4; the input has 6 channels, expected 4"),
        (ConvTranspose(numGroups=4), [(3, 5, 2, 6)], "6 input channels cannot be divided into 4 groups"),
        (ConvTranspose(numGroups=2), [(3, 5, 2, 6), (2, 1)], "the bias has 2 elements .2x1.; expected 4"),
        (ConvTranspose(crop=(5, 4, 0, 0)), [(3, 5, 2, 6)], "exceeds the upsampled map of 7x11"),
        (ConvTranspose(), [()], "filters are empty or missing"),
    ],
)
def test_what_does_not_fit_transposed(op, params, message):
    with pytest.raises(ShapeError, match=message):
        op.output_shapes([(N, C, H, W)], params)


def test_empty_transposed_filters():
    with pytest.raises(NetworkError, match="filters are empty"):
        ConvTranspose().prepare(np, [np.zeros((0, 0), np.float32)])


def test_conv_transpose_receptive_field():
    """DagNN: size (k-1)/up + 1, stride 1/up, offset (2 crop - k + 1) / (2 up) + 1."""
    op = ConvTranspose(size=(5, 4, 3, 6), upsample=(4, 2), crop=(1, 0, 2, 1))
    assert op.receptive_fields([X.shape]) == [ReceptiveField((2.0, 2.5), (0.25, 0.5), (0.75, 1.25))]
    assert ConvTranspose().receptive_fields([X.shape]) == [None]


def test_conv_transpose_multiply_adds():
    """Each input number is multiplied with its h * w * K filters' numbers."""
    op = ConvTranspose()
    outputs = op.output_shapes([X.shape], [(3, 5, 4, C)])
    assert op.multiply_adds([X.shape], [(3, 5, 4, C)], outputs) == N * C * H * W * 3 * 5 * 4
