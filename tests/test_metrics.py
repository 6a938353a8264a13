"""Top-k errors and segmentation figures against MatConvNet's values and hand-worked cases."""

from __future__ import annotations

import numpy as np
import pytest

from matnet.errors import DataError, ShapeError
from matnet.metrics import ConfusionMatrix, TopK
from tests.conftest import DATA

NAN = np.nan


@pytest.mark.parametrize(
    ("case", "k", "output"),
    [
        ("eval_top1_top5", 1, "top1err"),
        ("eval_top1_top5", 3, "top3err"),
        ("eval_top1_top5", 5, "top5err"),
        ("eval_top1_top5_void", 1, "top1err"),
        ("eval_top1_top5_void", 5, "top5err"),
        ("eval_one_image", 5, "top5err"),
        ("eval_ties", 1, "top1err"),
        ("eval_ties", 2, "top2err"),
        ("eval_ties", 5, "top5err"),
        ("eval_segmentation_void", 2, "top2err"),
        ("eval_segmentation_image_label", 1, "pixelerr"),
    ],
)
def test_errors_are_matconvnets(case: str, k: int, output: str) -> None:
    """Expected: classerror and topkerror layers of MatConvNet, summed over pixels and divided by images."""
    with np.load(DATA / "metrics" / case / "io.npz") as file:
        scores = file["in__scores"].transpose(3, 2, 0, 1)
        labels = file["in__label"].transpose(3, 2, 0, 1)[:, 0].astype(int) - 1
        expected = file[f"out__{output}"].item()
    errors = TopK(ks=(k,))
    errors.update(scores, labels.ravel() if labels.size == len(scores) else labels)
    np.testing.assert_allclose(errors.errors[k], 100 * expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("scores", "label", "right_from"),
    [
        ([9, 8, 7, 6, 5, 4, 3], 0, 1),
        ([9, 8, 7, 6, 5, 4, 3], 4, 5),
        ([9, 8, 7, 6, 5, 4, 3], 5, 6),
        ([5, 5, 5, 5, 5, 5, 5], 0, 1),
        ([5, 5, 5, 5, 5, 5, 5], 4, 5),
        ([5, 5, 5, 5, 5, 5, 5], 5, 6),
        ([5, NAN, 4, 3, 2, 1, 0], 0, 2),
        ([5, NAN, 4, 3, 2, 1, 0], 1, 1),
    ],
)
def test_rank_of_one_label(scores: list[float], label: int, right_from: int) -> None:
    """Stable descending sort: equal scores in order of class, NaN first."""
    errors = TopK(ks=tuple(range(1, 8)))
    errors.update(np.array([scores]), np.array([label]))
    assert errors.errors == {k: 0.0 if k >= right_from else 100.0 for k in range(1, 8)}


def test_fewer_classes_than_k() -> None:
    """With 3 classes every label is among the first min(5, 3)."""
    errors = TopK()
    errors.update(np.array([[3.0, 2, 1], [1, 2, 3]]), np.array([2, 2]))
    assert (errors.top1_error, errors.top5_error, errors.images) == (50.0, 0.0, 2)


def test_void_images_count_no_error_but_are_counted() -> None:
    """4 images, 2 of them void, 1 wrong: 25 % and not 50 %."""
    errors = TopK()
    errors.update(np.eye(4, 6), np.array([0, -1, 5, -1]))
    assert (errors.images, errors.void, errors.top1_error) == (4, 2, 25.0)


def test_maps_sum_over_pixels() -> None:
    """2 x 3 pixels, all given class 0: 4 pixels of class 1 (and one void) make 400 %, as upstream."""
    scores = np.zeros((1, 2, 2, 3))
    scores[:, 0] = 1
    errors = TopK(ks=(1,))
    errors.update(scores, np.array([[[1, 1, 0], [-1, 1, 1]]]))
    assert (errors.top1_error, errors.images, errors.void) == (400.0, 1, 0)


def test_batches_and_shards_add_up() -> None:
    rng = np.random.default_rng(0)
    scores, labels = rng.normal(size=(37, 9)), rng.integers(-1, 9, 37)
    whole, first, second = TopK(), TopK(), TopK()
    whole.update(scores, labels)
    first.update(scores[:20], labels[:20])
    second.update(scores[20:33], labels[20:33])
    second.update(scores[33:], labels[33:])
    second.merge(first)
    assert second == whole
    assert 0 < whole.top5_error < whole.top1_error < 100
    with pytest.raises(DataError, match="cannot merge"):
        whole.merge(TopK(ks=(1,)))


def test_no_image_no_figure() -> None:
    assert np.isnan(TopK().top1_error)


@pytest.mark.parametrize(
    ("shape", "labels", "error", "message"),
    [
        ((2, 3), [0, 3], DataError, r"labels run from 0 to 3; expected 0..2 for 3 classes"),
        ((2, 3), [0, -2], DataError, "labels run from -2"),
        ((2, 3), [0, 1, 2], ShapeError, "expected N or N x H x W"),
        ((2, 3, 4), [0, 1], ShapeError, "expected N x D or N x D x H x W"),
    ],
)
def test_what_does_not_fit(shape: tuple[int, ...], labels: list[int], error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        TopK().update(np.zeros(shape), np.array(labels))


# --- segmentation ---

TRUTH = np.array([[0, 0, 0, 255], [1, 1, 2, 2]])
GIVEN = np.array([[0, 0, 1, 2], [1, 2, 2, 2]])


def test_segmentation_by_hand() -> None:
    """Rows are truth: [2 1 0; 0 1 1; 0 0 2]; class 3 never occurs and counts as 0, as in fcnTest.

    Pixel accuracy 5/7; class accuracies 2/3, 1/2, 1, 0; IU 2/3, 1/3, 2/3, 0; frequencies 3/7, 2/7, 2/7, 0.
    """
    confusion = ConfusionMatrix(4)
    confusion.update(GIVEN, TRUTH)
    result = confusion.result()
    np.testing.assert_array_equal(confusion.counts, [[2, 1, 0, 0], [0, 1, 1, 0], [0, 0, 2, 0], [0, 0, 0, 0]])
    assert result.pixels == 7
    np.testing.assert_allclose(result.pixel_accuracy, 500 / 7)
    np.testing.assert_allclose(result.mean_accuracy, 100 * (2 / 3 + 1 / 2 + 1) / 4)
    np.testing.assert_allclose(result.mean_iu, 100 * (2 / 3 + 1 / 3 + 2 / 3) / 4)
    np.testing.assert_allclose(result.frequency_weighted_iu, 100 * (2 + 2 / 3 + 4 / 3) / 7)
    np.testing.assert_allclose(result.iu, [200 / 3, 100 / 3, 200 / 3, 0])


def test_confusion_of_shards_adds_up() -> None:
    whole, top, bottom = (ConfusionMatrix(3) for _ in range(3))
    whole.update(GIVEN, TRUTH)
    top.update(GIVEN[:1], TRUTH[:1])
    bottom.update(GIVEN[1:], TRUTH[1:])
    top.merge(bottom)
    np.testing.assert_array_equal(top.counts, whole.counts)
    with pytest.raises(DataError, match="3 classes into 4"):
        ConfusionMatrix(4).merge(whole)


def test_another_void_label() -> None:
    confusion = ConfusionMatrix(2, void=-1)
    confusion.update(np.array([0, 1, 1]), np.array([0, -1, 1]))
    assert confusion.result().pixel_accuracy == 100
    assert confusion.result().pixels == 2


@pytest.mark.parametrize(
    ("given", "truth", "error", "message"),
    [
        ([0, 3], [0, 1], DataError, "predicted labels run from 0 to 3; expected 0..2"),
        ([0, 1], [0, 7], DataError, "true labels run from 0 to 7"),
        ([0], [0, 1], ShapeError, "expected"),
    ],
)
def test_segmentation_labels_that_do_not_fit(given: list[int], truth: list[int], error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        ConfusionMatrix(3).update(np.array(given), np.array(truth))
