"""The doctor's statistics, held against tables and definitions, and the changes of images and labels that it tries."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import matnet
from matnet.arguments import other_color_format
from matnet.datasets import class_order
from matnet.doctor.image_changes import Preparation, image_changes
from matnet.doctor.label_changes import label_changes, learned_order
from matnet.doctor.report import trials_text, verdict
from matnet.doctor.scoring import prepare_all
from matnet.doctor.search import BETTER, UNDECIDED, WORSE, Diagnosis, TriedChange
from matnet.doctor.statistics import calibrated, interval, log_probabilities, normalizers, paired
from matnet.evaluation.command import embedded_data, embedded_model
from matnet.images import Preprocessing
from tests.tiny_models import gray_classifier

MODEL, DIGITS = Path(embedded_model()), Path(embedded_data())


# --- statistics ---


def test_the_signed_rank_test_is_exact() -> None:
    """Of n differences that are all positive the one-sided p is 1 / 2^n."""
    found = paired(np.arange(1.0, 11.0), tests=3)
    np.testing.assert_allclose(found.better, 3 / 2**10, rtol=1e-12)
    assert found.worse == 1 and found.gain == 5.5


def test_a_change_without_a_difference_needs_no_number() -> None:
    found = paired(np.zeros(40), tests=5)
    assert (found.better, found.worse, found.needed) == (1.0, 1.0, None)


@pytest.mark.process
def test_the_number_of_images_that_is_asked_for_shows_the_difference() -> None:
    """Noether's number, with normal differences: about so many decide in about four of five experiments."""
    rng = np.random.default_rng(5)
    mean, tests = 0.3, 10
    needed = [paired(rng.normal(mean, 1, 40), tests).needed or 0 for _ in range(200)]
    middle = int(np.median(needed))
    decided = np.mean([paired(rng.normal(mean, 1, middle), tests).better < 0.01 for _ in range(200)])
    assert 0.5 < decided < 0.99


def test_wilsons_interval() -> None:
    """Newcombe 1998, table I: 15 of 148 gives 0.0624 to 0.1605."""
    np.testing.assert_allclose(interval(15, 148), (6.24, 16.05), atol=0.005)


def test_log_probabilities_of_probabilities_and_of_what_a_softmax_takes() -> None:
    logits = np.random.default_rng(1).normal(size=(3, 7)) * 4
    soft = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(log_probabilities(logits), np.log(soft), atol=1e-5)
    np.testing.assert_allclose(log_probabilities(soft), np.log(soft), atol=1e-5)
    assert np.isfinite(log_probabilities(np.array([[np.nan, 1, 2], [0, 0, 1]]))).all()


def test_being_less_sure_of_wrong_answers_is_no_gain() -> None:
    """Two networks that are always wrong, one of them sure: both are worth log(1 / K), K = 5."""
    for sharpness in (0.1, 30):
        scores = np.tile(np.array([sharpness, 0, 0, 0, 0]), (8, 1)) + np.eye(8, 5, k=1) * 1e-3
        logs = log_probabilities(scores)
        true = logs[np.arange(8), np.full(8, 4)]
        np.testing.assert_allclose(calibrated(true, normalizers(logs)), np.log(1 / 5), atol=1e-3)


# --- changes ---


def test_images_prepared_together_are_those_prepared_alone() -> None:
    """Resized once for all variants, an image has the same values as by each variant's own `load`."""
    net = matnet.load(MODEL)
    path = next(DIGITS.glob("3/*.png"))
    base = Preprocessing.of(net, image_size=(9, 7), channels=3, mean=(73, 60, 50), resize="vl_imreadjpeg")
    variants = [Preparation(base), *(change.variant for change in image_changes(base))]
    places = [np.empty((3, 9, 7), np.float32) for _ in variants]
    prepare_all(path, variants, places)
    assert len(variants) > 10
    for variant, place in zip(variants, places, strict=True):
        if not variant.transposed:
            np.testing.assert_allclose(place, variant.preprocessing.load(path), atol=1e-4)


@pytest.mark.parametrize("flipped", [None, ["data"], []])
def test_a_wrong_order_of_channels_is_mended_by_the_other_conversion(flipped: list[str] | None) -> None:
    """`meta.caffe.flipped` names the inputs that --color-format bgr reversed; without it the file is not Caffe's."""
    net = gray_classifier()
    if flipped is not None:
        net.meta["caffe"] = {"flipped": flipped}
    base = Preprocessing(image_size=(9, 7), mean=(104, 117, 123))
    remedies = " ".join(change.remedy for change in image_changes(base, color_format=other_color_format(net)))
    assert "--color bgr --mean 123 117 104" in remedies
    assert ("--color-format rgb" in remedies) == bool(flipped)
    assert ("--color-format bgr" in remedies) == (flipped == [])


def test_the_report_says_how_to_keep_the_recommended_change_alone() -> None:
    trials = [
        TriedChange("knob", f"change {kind}", kind, 9, 1, 0, 2, 50, 1, 0.001, None, f"--option {kind}")
        for kind in (BETTER, UNDECIDED, WORSE)
    ]
    base = TriedChange("none", "as it is", "", 9, 50, 40, 60, 50, 0, 1, None, "")
    for best in (trials[0], None):
        diagnosis = Diagnosis(base, trials, best)
        text = f"{trials_text(diagnosis)} {verdict(diagnosis)}"
        assert text.count("--option") == (best is not None)
        assert (f"--option {BETTER}" in text) == (best is not None)
        for by_chance in (False, True):
            found = verdict(replace(diagnosis, by_chance=by_chance))
            assert ("9 images are too few to decide on: knob" in found) == (best is None)


def test_changes_of_labels_stay_within_the_outputs() -> None:
    labels = np.array([0, 3, 9])
    assert all(change.labels.min() >= 0 and change.labels.max() < 10 for change in label_changes([], labels, 10, []))


def test_the_two_orders_of_imagenet_are_each_others_inverse() -> None:
    by_id, kit = class_order("ilsvrc12-sorted"), class_order("ilsvrc12-devkit")
    labels = np.array([0, 17, 999])
    found = {change.what: change for change in label_changes([Path("a.png")] * 3, labels, 1000, [])}
    of_kit = next(change for what, change in found.items() if "from 0" in what)
    assert [by_id[label] for label in of_kit.labels] == [kit[label] for label in labels]


def test_an_order_is_learned_from_other_images_alone() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(4), 6)
    logs = np.log(np.full((24, 4), 0.05))
    order = np.array([2, 0, 3, 1])
    logs[np.arange(24), order[labels]] = np.log(0.85)
    found = learned_order(logs, labels)
    assert found is not None
    np.testing.assert_array_equal(found[0], order[labels])
    np.testing.assert_array_equal(found[1], order)
    noise = rng.normal(size=(24, 4))
    learned, _ = learned_order(noise, labels) or (labels, None)
    assert (noise.argmax(axis=1) == learned).mean() < 0.6  # noise fits no order that was learned elsewhere
    assert learned_order(logs[:4], np.arange(4)) is None  # one image per class
