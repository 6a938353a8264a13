"""LRN, BatchNorm, SpatialNorm, NormOffset, NormalizeLp: hand-worked cases, and float64 loops."""

from __future__ import annotations

import numpy as np
import pytest

from matnet.errors import NetworkError, ShapeError
from matnet.ops.normalization import LRN, BatchNorm, NormalizeLp, NormOffset, SpatialNorm
from matnet.shapes import ReceptiveField
from tests import reference_ops as reference
from tests.conftest import assert_close
from tests.device_double import run

N, C, H, W = 2, 6, 7, 11
X = np.random.default_rng(5).standard_normal((N, C, H, W), np.float32) * 3
ONE_TO_FOUR = np.array([1, 2, 3, 4], np.float32).reshape(1, 4, 1, 1)


# -- LRN --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("length", "expected"),
    [(3, [0.737788, 1.037222, 1.080993, 1.563180]), (2, [0.737788, 1.070864, 1.172385, 1.953575])],
)
def test_lrn_by_hand(length, expected):
    """x = [1 2 3 4], kappa 1, alpha 0.1, beta 0.75; an even window has its extra channel above."""
    found = run(LRN(param=(length, 1, 0.1, 0.75)), ONE_TO_FOUR).ravel()
    np.testing.assert_allclose(found, expected, atol=5e-7)


@pytest.mark.parametrize("length", [1, 2, 3, 4, 5, 11, 12, 13, 40])
@pytest.mark.parametrize("beta", [0.75, 0.5, 1.3])
def test_lrn_is_the_definition(length, beta):
    expected = reference.nchw(reference.lrn(reference.hwcn(X), length, 2.0, 0.03, beta))
    assert_close(run(LRN(param=(length, 2.0, 0.03, beta)), X), expected, 1e-6, f"N = {length}")


@pytest.mark.parametrize("length", [5, 24, 39])
def test_lrn_does_not_drift(length):
    """A channel of 1e4 among ones leaves no trace beyond its windows, however the sums are made."""
    x = np.ones((1, 60, 3, 5), np.float32)
    x[:, 7] = 1e4
    found = run(LRN(param=(length, 1.0, 0.1, 0.75)), x)
    expected = reference.nchw(reference.lrn(reference.hwcn(x), length, 1.0, 0.1, 0.75))
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_lrn_defaults_and_bad_windows():
    """DagNN's default, and what SimpleNN's tidy fills in: [5 1 0.0001/5 0.75]."""
    assert LRN().param == (5.0, 1.0, 0.0001 / 5, 0.75)
    with pytest.raises(NetworkError, match="expected 4 numbers, found"):
        LRN(param=(5, 1, 2e-5))
    with pytest.raises(NetworkError, match=r"2\.5.*integer"):
        LRN(param=(2.5, 1, 2e-5, 0.75))


# -- BatchNorm --------------------------------------------------------------------------------------


def test_batch_norm_by_hand():
    """g = 2, b = 1, moments [3 4], x = 11 gives 5: the second moment is sigma, not the variance."""
    x = np.full((1, 1, 1, 1), 11, np.float32)
    assert run(BatchNorm(epsilon=0.5), x, [[2]], [[1]], [[3, 4]]).item() == 5


@pytest.mark.parametrize("column", [True, False])
def test_batch_norm_per_channel(column):
    random = np.random.default_rng(2)
    g, b, mean = random.standard_normal((3, C), np.float32)
    sigma = random.uniform(0.5, 2, C).astype(np.float32)
    shape = (C, 1) if column else (1, C)
    found = run(BatchNorm(), X, g.reshape(shape), b.reshape(shape), np.stack([mean, sigma], axis=1))
    per_channel = [value.astype(np.float64).reshape(1, C, 1, 1) for value in (g, b, mean, sigma)]
    expected = per_channel[0] * (X - per_channel[2]) / per_channel[3] + per_channel[1]
    assert_close(found, expected, 1e-6, "batch norm")


ONES = np.ones((3, 1), np.float32)


@pytest.mark.parametrize(
    ("moments", "message"),
    [
        ([[0, 0], [0, 0], [0, 0]], "moments are unknown: sigma is 0 in 3 of 3 channels"),
        ([[1, 1], [1, 0], [1, 1]], "moments are unknown: sigma is 0 in 1 of 3 channels"),
        ([[1, 1], [np.nan, 1], [1, 1]], "moments of 1 of 3 channels are NaN or infinite"),
        ([[1, 1], [1, 1], [1, np.inf]], "moments of 1 of 3 channels are NaN or infinite"),
        ([[1, 1], [1, 1]], "g, b and moments have 3, 3 and 4 elements; expected C, C and 2C"),
    ],
)
def test_unusable_moments(moments, message):
    with pytest.raises(NetworkError, match=message):
        BatchNorm().prepare(np, [ONES, ONES, np.array(moments, np.float32)])


def test_missing_moments():
    with pytest.raises(NetworkError, match="has 2 params; expected 3"):
        BatchNorm().prepare(np, [ONES, ONES])


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ([(5, 1), (6, 1), (6, 2)], "the multiplier g has 5 elements .5x1.; expected 6"),
        ([(6, 1), (1, 5), (6, 2)], "the offset b has 5 elements .1x5.; expected 6"),
        ([(6, 1), (6, 1), (6, 1)], "moments has 6 elements .6x1.; expected 12"),
    ],
)
def test_batch_norm_of_other_channels(params, message):
    with pytest.raises(ShapeError, match=message):
        BatchNorm().output_shapes([X.shape], params)


# -- SpatialNorm, NormOffset, NormalizeLp -----------------------------------------------------------


@pytest.mark.parametrize("window", [(3, 3), (2, 4), (1, 5), (6, 3)])
def test_spatial_norm_is_the_definition(window):
    """Even windows reach one pixel further down and right; the mean is over the pixels inside the image."""
    expected = reference.spatial_norm(reference.hwcn(X), *window, 0.7, 1.3)
    assert_close(run(SpatialNorm(param=(*window, 0.7, 1.3)), X), reference.nchw(expected), 1e-6, f"{window}")


def test_spatial_norm_sees_its_window():
    fields = SpatialNorm(param=(3, 4, 1, 1)).receptive_fields([X.shape])
    assert fields == [ReceptiveField((3.0, 4.0), (1.0, 1.0), (1.0, 1.5))]
    with pytest.raises(NetworkError, match=r"window.*integers"):
        SpatialNorm(param=(0, 2, 1, 1))


def test_norm_offset_by_hand():
    """(3, 4) has length 5: x - 1 * (25)^0.5; zeros have the length sqrt(1e-8)."""
    x = np.array([[3, 0], [4, 0]], np.float32).reshape(1, 2, 1, 2)
    found = run(NormOffset(param=(1, 0.5)), x)
    np.testing.assert_allclose(found[0, :, 0, 0], [-2, -1])
    np.testing.assert_allclose(found[0, :, 0, 1], [-1e-4, -1e-4], rtol=1e-6)


def test_normalize_lp_by_hand():
    """(3, 4): 3 / sqrt(25 + 0.01) over channels; the fourth powers of 1..4 over pixels sum to 354."""
    x = np.array([3, 4], np.float32).reshape(1, 2, 1, 1)
    np.testing.assert_allclose(run(NormalizeLp(), x).ravel(), np.array([3, 4]) / np.sqrt(25.01), rtol=1e-6)
    pixels = ONE_TO_FOUR.reshape(1, 1, 2, 2)
    found = run(NormalizeLp(p=4, epsilon=0, spatial=True), pixels)
    np.testing.assert_allclose(found.ravel(), np.array([1, 2, 3, 4]) / 354**0.25, rtol=1e-6)
