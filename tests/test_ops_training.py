"""Loss, LossSmoothL1 and PDist as layers: options, label shapes, and distances worked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from matnet.errors import DataError, NetworkError, ShapeError
from matnet.formats.mat.values import Cell
from matnet.ops.training import Loss, LossSmoothL1, PDist
from matnet.shapes import ReceptiveField
from tests.device_double import run_inputs as run

N, C, H, W = 2, 6, 3, 4
random = np.random.default_rng(29)
SCORES = random.standard_normal((N, C, H, W), np.float32)
# Two images of three scores: the first image's best class is 3, the second's is 1.
THREE = np.array([[0, 1, 2], [5, 4, 3]], np.float32).reshape(2, 3, 1, 1)


def labels(*values):
    return np.array(values, np.float32).reshape(-1, 1, 1, 1)


def cell(*items):
    """An option list as a file holds it."""
    return Cell(np.atleast_2d(item) if isinstance(item, (int, float)) else item for item in items)


@pytest.mark.parametrize(
    ("op", "given", "expected"),
    [
        (Loss(loss="classerror"), (3, 1), 0),
        (Loss(loss="classerror"), (3, 2), 0.5),
        (Loss(loss="ClassError", normalise=False), (3, 2), 1),
        (Loss(loss="classerror", opts=cell("normalise", 0)), (3, 2), 1),
        (Loss(loss="classerror"), (0, 2), 0.5),  # 0 is ignored, the divisor stays
        (Loss(loss="topkerror", opts=cell("topK", 2)), (2, 3), 0.5),
        (Loss(loss="topkerror", opts=cell("TOPK", 1)), (2, 3), 1),
        (Loss(loss="topkerror"), (1, 3), 0),
        (Loss(loss="mhinge"), (3, 1), 0),
        (Loss(loss="mhinge"), (1, 1), 0.5),
        (Loss(), (3, 1), np.log(np.exp([0, -1, -2]).sum())),
    ],
)
def test_losses_by_hand(op, given, expected):
    np.testing.assert_allclose(run(op, THREE, labels(*given)).item(), expected, rtol=1e-6)


def test_a_threshold_as_an_option():
    """sign(X - 0.5) against +1, -1; one of four is wrong in the first image, two in the second, 0 is ignored."""
    x = np.array([[0.7, 0.2, 0.9, 0.1], [0.4, 0.6, 0.8, 0.3]], np.float32).reshape(2, 4, 1, 1)
    given = np.array([[1, -1, -1, -1], [1, -1, 1, 0]], np.float32).reshape(2, 4, 1, 1)
    assert run(Loss(loss="binaryerror", opts=cell("threshold", 0.5)), x, given).item() == 1.5


def test_instance_weights_come_in_matlab_order():
    """opts {'instanceWeights', H x W x 1 x N}."""
    weights = random.uniform(0, 1, (H, W, 1, N)).astype(np.float32)
    given = random.integers(1, C + 1, (N, 1, H, W)).astype(np.float32)
    wrong = (SCORES.argmax(axis=1) + 1 != given[:, 0]) * weights[:, :, 0].transpose(2, 0, 1)
    found = run(Loss(loss="classerror", opts=cell("instanceWeights", weights)), SCORES, given)
    np.testing.assert_allclose(found.item(), wrong.sum() / N, rtol=1e-6)


def test_weights_beside_the_labels():
    """SimpleNN's softmaxloss: a second label plane holds one weight per pixel."""
    given = random.integers(1, C + 1, (N, 1, H, W)).astype(np.float32)
    weights = random.uniform(0, 1, (N, 1, H, W)).astype(np.float32)
    found = run(Loss(), SCORES, np.concatenate([given, weights], axis=1))
    swapped = np.ascontiguousarray(weights.transpose(2, 3, 1, 0))
    expected = run(Loss(opts=cell("instanceWeights", swapped)), SCORES, given)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("op", "shape", "message"),
    [
        (Loss(), (3, 1, 1, 1), "the labels are 3x1x1x1; expected 2 labels or 2x1x3x4"),
        (Loss(loss="hinge"), (N, 1, H, W), "the labels are 2x1x3x4; expected 2 labels or 2x6x3x4"),
        (Loss(loss="classerror"), (N, 2, H, W), "the labels are 2x2x3x4; expected 2 labels or 2x1x3x4"),
    ],
)
def test_labels_that_do_not_fit(op, shape, message):
    with pytest.raises(ShapeError, match=message):
        op.output_shapes([SCORES.shape, shape], [])


def test_an_unknown_kind_fails_when_it_runs():
    """People's own kinds must not stop a network from loading, whose loss is dropped anyway."""
    op = Loss(loss="Focal")
    assert op.output_shapes([SCORES.shape, (N, 7, H, W)], []) == [(1, 1, 1, 1)]
    with pytest.raises(DataError, match="unknown loss 'focal'"):
        op.forward(np, [SCORES, labels(1, 2)], [])


def test_further_inputs_are_ignored():
    assert run(Loss(loss="classerror"), THREE, labels(3, 2), THREE).item() == 0.5


def test_bad_options():
    with pytest.raises(NetworkError, match=r"options.*names and values.*1"):
        Loss(opts=cell("topK"))


def test_smooth_l1_by_hand():
    """sigma 2: |d| = 0.2 gives 0.5 * 4 * 0.04 = 0.08; |d| = 3 (beyond 1/4) gives 3 - 0.125."""
    x, x0 = (np.array(values, np.float32).reshape(1, 2, 1, 1) for values in ([1, 1], [1.2, 4]))
    assert run(LossSmoothL1(sigma=2), x, x0).item() == pytest.approx(0.08 + 2.875)
    weights = np.array([10, 2], np.float32).reshape(1, 2, 1, 1)
    assert run(LossSmoothL1(sigma=2), x, x0, weights).item() == pytest.approx(0.8 + 5.75)
    with pytest.raises(ShapeError, match=r"input 2.*1x3x1x1.*input 1.*1x2x1x1"):
        LossSmoothL1().output_shapes([(1, 2, 1, 1), (1, 3, 1, 1)], [])


# x - x0 = (3, -4) at the first pixel, (0, 5) at the second.
A = np.array([[4, 1], [1, 7]], np.float32).reshape(1, 2, 1, 2)
B = np.array([[1, 1], [5, 2]], np.float32).reshape(1, 2, 1, 2)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, [5, 5]),
        ({"p": 1}, [7, 5]),
        ({"noRoot": True}, [25, 25]),
        ({"p": 3}, [91 ** (1 / 3), 5]),
        ({"p": 3, "noRoot": True}, [91, 125]),
        ({"aggregate": True}, [10]),
    ],
)
def test_distances_by_hand(fields, expected):
    found = run(PDist(**{"aggregate": False, **fields}), A, B)
    np.testing.assert_allclose(found.ravel(), expected, rtol=1e-6)


def test_the_reference_as_a_param():
    """SimpleNN keeps x0 in `class`, H x W x C x N; it may be one pixel for all."""
    op = PDist(aggregate=False)
    np.testing.assert_array_equal(run(op, A, params=[B.transpose(2, 3, 1, 0)]), run(op, A, B))
    one = np.array([1, 2], np.float32).reshape(1, 1, 2)
    np.testing.assert_allclose(run(op, A, params=[one]).ravel(), [10**0.5, 5], rtol=1e-6)


def test_weighted_distances():
    weights = np.array([2, 10], np.float32).reshape(1, 1, 1, 2)
    np.testing.assert_allclose(run(PDist(aggregate=False), A, B, weights).ravel(), [10, 50], rtol=1e-6)
    assert run(PDist(), A, B, weights).item() == pytest.approx(60)


@pytest.mark.parametrize(
    ("inputs", "params", "message"),
    [
        ([A.shape], [], "has 1 arguments; expected x, x0"),
        ([A.shape, (1, 3, 1, 2)], [], "x0 is 1x3x1x2; expected 1x2x1x2"),
        ([A.shape, (1, 2, 2, 2)], [], "x0 is 1x2x2x2; expected 1x2x1x2"),
        ([A.shape, B.shape, (1, 2, 1, 2)], [], "the weights are 1x2x1x2; expected 1x1x1x2"),
        ([A.shape], [()], "a param is missing"),
    ],
)
def test_distances_that_do_not_fit(inputs, params, message):
    with pytest.raises(ShapeError, match=message):
        PDist().output_shapes(inputs, params)


def test_training_receptive_fields():
    """Losses see everything; a distance map sees its own pixel."""
    assert Loss().receptive_fields([SCORES.shape, (N, 1, 1, 1)]) == [None, None]
    assert PDist().receptive_fields([A.shape, B.shape]) == [None, None]
    assert PDist(aggregate=False).receptive_fields([A.shape, B.shape]) == [ReceptiveField()] * 2


def test_what_inference_keeps():
    """Siamese networks end on a distance; losses are dropped."""
    assert (Loss.training_only, LossSmoothL1.training_only, PDist.training_only) == (True, True, False)
