"""Losses, error counts and distances against MatConvNet's own values and hand-worked cases."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from matnet.errors import DataError, ShapeError
from matnet.ops.losses import BINARY, CATEGORICAL, label_rank, loss, pdist, softmaxloss
from tests.conftest import DATA, assert_close, conformance_cases

NAN = np.nan


def layers_of(kind: str, case: str, layer_type: str) -> list[Any]:
    """The layers of one type of a conformance network, as scipy reads them."""
    from scipy.io import loadmat

    model = loadmat(DATA / kind / case / "model.mat", squeeze_me=True, struct_as_record=False)
    return [layer for layer in np.atleast_1d(model["layers"]) if layer.type == layer_type]


def arrays_of(kind: str, case: str) -> dict[str, np.ndarray]:
    """The variables of a case as N x C x H x W, by name."""
    with np.load(DATA / kind / case / "io.npz") as file:
        return {name.split("__", 1)[1]: file[name].transpose(3, 2, 0, 1) for name in file.files}


LOSS_LAYERS = [
    pytest.param(case, layer, id=f"{case}-{layer.name}")
    for case in conformance_cases("metrics")
    for layer in layers_of("metrics", case, "dagnn.Loss")
]


@pytest.mark.parametrize(("case", "layer"), LOSS_LAYERS)
def test_loss_is_matconvnets(case: str, layer: SimpleNamespace) -> None:
    """Expected: vl_nnloss of MatConvNet, from the conformance networks for losses and errors."""
    arrays = arrays_of("metrics", case)
    listed = list(np.atleast_1d(layer.block.opts))
    options = dict(zip(listed[::2], listed[1::2], strict=True))
    options = {"normalise": bool(layer.block.normalise), **options}
    if "instanceWeights" in options:
        weights = options.pop("instanceWeights")
        options["instance_weights"] = weights.reshape(*weights.shape[:2], 1, -1).transpose(3, 2, 0, 1)
    found = loss(layer.block.loss, arrays[layer.inputs[0]], arrays[layer.inputs[1]], **options)
    assert_close(found, arrays[layer.outputs], 1e-5, f"{case} {layer.name}")
    assert found.dtype == np.float32


def test_every_kind_is_in_the_conformance_cases() -> None:
    kinds = {param.values[1].block.loss for param in LOSS_LAYERS}
    assert kinds == {*CATEGORICAL, *BINARY}


SCORES = np.array([[0.1, 0.7, 0.2]], np.float32).reshape(1, 3, 1, 1)


@pytest.mark.parametrize(
    ("kind", "label", "expected"),
    [
        ("classerror", 2, 0.0),
        ("classerror", 1, 1.0),
        ("topkerror", 1, 1.0),
        ("topkerror", 3, 0.0),
        ("log", 3, -np.log(0.2)),
        ("softmaxlog", 2, np.log(np.exp(-0.6) + 1 + np.exp(-0.5))),
        ("mhinge", 2, 0.3),
        ("mshinge", 2, 0.5),
        ("mshinge", 1, 1.6),
    ],
)
def test_categorical_terms_by_hand(kind: str, label: int, expected: float) -> None:
    """Scores 0.1, 0.7, 0.2; top K with K = 2; mshinge is 1 - own + best other."""
    found = loss(kind, SCORES, np.full((1, 1, 1, 1), label), topK=2)
    np.testing.assert_allclose(found, np.full((1, 1, 1, 1), expected), rtol=1e-6)


@pytest.mark.parametrize(
    ("kind", "score", "label", "threshold", "expected"),
    [
        ("binaryerror", 0.0, 1, 0.0, 1.0),
        ("binaryerror", 0.0, -1, 0.0, 1.0),
        ("binaryerror", 0.4, 1, 0.5, 1.0),
        ("binaryerror", 0.4, -1, 0.5, 0.0),
        ("binaryerror", 0.1, 1, 0.1, 1.0),
        ("binarylog", 0.8, 1, 0.0, -np.log(0.8)),
        ("binarylog", 0.8, -1, 0.0, -np.log(0.2)),
        ("logistic", 2.0, -1, 0.0, np.log(1 + np.exp(2.0))),
        ("logistic", -2000.0, 1, 0.0, 2000.0),
        ("hinge", 0.25, 1, 0.0, 0.75),
        ("hinge", 3.0, -1, 0.0, 4.0),
        ("hinge", 3.0, 0, 0.0, 0.0),
    ],
)
def test_binary_terms_by_hand(kind: str, score: float, label: int, threshold: float, expected: float) -> None:
    """sign(0) = 0 is an error for either label, also at a threshold that a single cannot hold (0.1)."""
    x = np.full((1, 1, 1, 1), score, np.float32)
    found = loss(kind, x, np.full((1, 1, 1, 1), label), threshold=threshold)
    np.testing.assert_allclose(found.item(), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("scores", "label", "classerror", "rank"),
    [
        ([1, 3, 3, 2], 2, 0, 0),
        ([1, 3, 3, 2], 3, 1, 1),
        ([1, NAN, 3, 2], 3, 0, 1),
        ([1, NAN, 3, 2], 2, 1, 0),
        ([NAN, 2, NAN, 3], 3, 1, 1),
        ([NAN, 2, NAN, 3], 4, 0, 2),
        ([NAN, -np.inf, NAN, NAN], 2, 0, 3),
    ],
)
def test_ties_and_nan(scores: list[float], label: int, classerror: int, rank: int) -> None:
    """MATLAB: max takes the first of equal scores and passes over NaN; descending sort puts NaN first."""
    x = np.array(scores, np.float32).reshape(1, 4, 1, 1)
    c = np.full((1, 1, 1, 1), label)
    assert loss("classerror", x, c).item() == classerror
    assert label_rank(x, c[:, 0] - 1).item() == rank
    assert loss("topkerror", x, c, topK=rank + 1).item() == 0
    if rank:
        assert loss("topkerror", x, c, topK=rank).item() == 1


def test_sum_over_pixels_divided_by_images() -> None:
    """Two images of 2 x 3 pixels, one label each (the second void): 6 errors / 2 images."""
    x = np.zeros((2, 4, 2, 3), np.float32)
    labels = np.array([2, 0]).reshape(2, 1, 1, 1)
    assert loss("classerror", x, labels).item() == 3
    assert loss("classerror", x, labels, normalise=False).item() == 6


def test_ignored_labels_add_nothing_even_where_the_term_is_infinite() -> None:
    x = np.array([0.0, 1.0], np.float32).reshape(1, 1, 1, 2)
    assert loss("log", x, np.array([0, 1]).reshape(1, 1, 1, 2)).item() == 0
    assert np.isinf(loss("log", x, np.array([1, 1]).reshape(1, 1, 1, 2)).item())


def test_softmaxloss_takes_weights_as_a_second_plane() -> None:
    """Equal scores of 4 classes: log 4 at each pixel, weighted 0.5 and 3; label 0 is ignored."""
    labels = np.array([[[1, 4, 0]], [[0.5, 3, 100]]]).reshape(1, 2, 1, 3)
    x = np.zeros((1, 4, 1, 3), np.float32)
    np.testing.assert_allclose(softmaxloss(x, labels).item(), 3.5 * np.log(4), rtol=1e-6)
    np.testing.assert_allclose(softmaxloss(x, labels[:, :1]).item(), 2 * np.log(4), rtol=1e-6)


@pytest.mark.parametrize(
    ("kind", "labels", "error", "message"),
    [
        ("softmaxlogg", [1, 2], DataError, "nearest: softmaxlog"),
        ("softmaxlog", [1, 5], DataError, "label 5 for 4 classes; expected 1..4"),
        ("softmaxlog", [1, -1], DataError, "label -1"),
        ("classerror", [1, 1.5], DataError, "label 1.5"),
        ("classerror", [1, NAN], DataError, "label nan"),
        ("classerror", [1, 2, 3], ShapeError, r"expected 2 labels or \(2, 1, 3, 5\)"),
        ("hinge", [1, 1, 1], ShapeError, r"expected 2 labels or \(2, 4, 3, 5\)"),
    ],
)
def test_labels_that_do_not_fit(kind: str, labels: list[float], error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        loss(kind, np.zeros((2, 4, 3, 5), np.float32), np.array(labels))


# --- pdist ---

DIFFERENCE = np.array([3.0, -4.0]).reshape(1, 2, 1, 1)


@pytest.mark.parametrize(
    ("p", "no_root", "expected"),
    [(1, False, 7), (2, False, 5), (2, True, 25), (3, False, 91 ** (1 / 3)), (3, True, 91), (1, True, 7)],
)
def test_pdist_by_hand(p: float, no_root: bool, expected: float) -> None:
    """Channels that differ by 3 and -4 at all of 3 x 5 pixels; the reference is broadcast."""
    x = np.ones((2, 2, 3, 5), np.float32) + DIFFERENCE.astype(np.float32)
    x0 = np.ones((1, 2, 1, 1), np.float32)
    found = pdist(x, x0, p, no_root)
    np.testing.assert_allclose(found, np.full((2, 1, 3, 5), expected), rtol=1e-6)
    weights = np.arange(30.0).reshape(2, 1, 3, 5)
    total = pdist(x, x0, p, no_root, aggregate=True, instance_weights=weights)
    np.testing.assert_allclose(total, np.full((1, 1, 1, 1), expected * 435), rtol=1e-6)
    assert found.dtype == total.dtype == np.float32


@pytest.mark.parametrize("layer", layers_of("matconvnet", "dag_pdist", "dagnn.PDist"), ids=lambda layer: layer.name)
def test_pdist_is_matconvnets(layer: Any) -> None:
    """Expected: dagnn.PDist of MatConvNet, from the conformance network dag_pdist."""
    arrays = arrays_of("matconvnet", "dag_pdist")
    x, x0, *weights = (arrays[name] for name in layer.inputs)
    block = SimpleNamespace(**{"p": 2, "noRoot": False, "aggregate": True, **vars(layer.block)})
    found = pdist(x, x0, block.p, bool(block.noRoot), bool(block.aggregate), *weights)
    assert_close(found, arrays[layer.outputs], 1e-5, layer.name)


def test_pdist_refuses_other_channels() -> None:
    with pytest.raises(ShapeError, match=r"2, 1, 4, 5.*2, 3, 4, 5"):
        pdist(np.ones((2, 3, 4, 5)), np.ones((2, 1, 4, 5)))
