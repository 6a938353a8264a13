"""ReLU, Sigmoid, SoftMax, DropOut: hand-worked values, and the ends of the number range."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from matnet.ops.activation import DropOut, ReLU, Sigmoid, SoftMax
from tests.conftest import assert_close
from tests.device_double import run

X = np.random.default_rng(11).standard_normal((2, 6, 7, 11), np.float32) * 5


def row(*values):
    return np.array(values, np.float32).reshape(1, 1, 1, -1)


@pytest.mark.parametrize(
    ("leak", "expected"),
    [
        (0, [0, 0, 0, 0, 2, np.inf, 0]),
        (0.1, [-np.inf, -0.3, -0.05, 0, 2, np.inf, np.nan]),
        (1, [-np.inf, -3, -0.5, 0, 2, np.inf, np.nan]),
    ],
)
def test_relu(leak, expected):
    """Without a leak MATLAB's max(x, 0) makes NaN 0; with one, x <= 0 is multiplied by it."""
    found = run(ReLU(leak=np.array([[leak]])), row(-np.inf, -3, -0.5, 0, 2, np.inf, np.nan))
    np.testing.assert_allclose(found.ravel(), np.array(expected, np.float32), rtol=1e-7)


def test_sigmoid():
    """1 / (1 + exp(-x)), small but not 0 for -80, and without overflow at the ends."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = run(Sigmoid(), row(0, np.log(3), -np.log(3), -80, -1000, 1000)).ravel()
    np.testing.assert_allclose(found, [0.5, 0.75, 0.25, np.exp(-80.0), 0, 1], rtol=1e-6)


def test_softmax_by_hand():
    """Over channels, at each pixel: exp of 0, ln 2, ln 5 in 1 : 2 : 5; equal large scores share 1."""
    x = np.array([[0, np.log(2), np.log(5)], [1e30, 1e30, -1e30]], np.float32).T.reshape(1, 3, 1, 2)
    found = run(SoftMax(), x)
    np.testing.assert_allclose(found[0, :, 0], [[0.125, 0.5], [0.25, 0.5], [0.625, 0]], rtol=1e-6)


def test_softmax_runs_over_channels():
    e = np.exp(X.astype(np.float64) - X.max())
    assert_close(run(SoftMax(), X), e / e.sum(axis=1, keepdims=True), 1e-6, "softmax")


@pytest.mark.parametrize("rate", [0, 0.5, 0.9])
def test_dropout_is_the_identity(rate):
    np.testing.assert_array_equal(run(DropOut(rate=rate), X), X)
