"""The doctor on photographs: SqueezeNet on 100 images, and ResNet-20 on CIFAR's, turned wrong on purpose."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import matnet
from matnet.converters.caffemodel import read_mean
from matnet.converters.transposition import swap_rows_and_columns
from matnet.datasets import ImageList, class_order, load_images
from matnet.doctor.search import BETTER, KNOBS, LABELS, UNDECIDED
from matnet.evaluation.classes import align
from matnet.images import Preprocessing
from matnet.network import Network
from tests.doctor_runs import every, search

SQUEEZENET_MEAN = (123, 117, 104)
"""R, G, B, as SqueezeNet's train_val.prototxt states it (104, 117, 123 in B, G, R)."""


@pytest.fixture(scope="module")
def squeezenet(real_data: Path) -> tuple[Network, ImageList, Preprocessing]:
    folder = real_data / "caffe" / "squeezenet"
    net = matnet.load(folder / "SqueezeNet_deploy.prototxt", folder / "decompressed_SqueezeNet.caffemodel")
    images = align(net, load_images(real_data / "images" / "imagenet100"), 1000, "ilsvrc12", None)
    return net, images, Preprocessing.of(net, mean=SQUEEZENET_MEAN)


@pytest.mark.process
@pytest.mark.parametrize(
    ("change", "knob", "knobs"),
    [
        ({"color": "bgr"}, "channel order", (*KNOBS, LABELS)),
        ({"mean": None}, "mean", ("mean", "transposed")),
        ({"scale": 1 / 255}, "scale", ("scale", "channel order")),
    ],
)
def test_demand_02_a_flipped_knob_of_squeezenet_is_reported_by_name(
    change: dict[str, Any], knob: str, knobs: tuple[str, ...], squeezenet: tuple[Network, ImageList, Preprocessing]
) -> None:
    """One search tries all changes on all images, the others two kinds on half: each computes the network anew."""
    net, images, base = squeezenet
    images = images if LABELS in knobs else every(2, images)
    found = search(net, images, replace(base, **change), knobs)
    assert found.best is not None and found.best.knob == knob
    assert found.best.images == len(images) and found.best.error <= 40 < found.best.base_error


@pytest.mark.process
def test_demand_02_transposed_filters_of_squeezenet_are_reported_by_name(
    squeezenet: tuple[Network, ImageList, Preprocessing],
) -> None:
    net, images, base = squeezenet
    turned = net.copy()
    swap_rows_and_columns(turned)
    found = search(turned, every(2, images), base, ("transposed", "channel order"))
    assert found.best is not None and found.best.knob == "transposed"


@pytest.mark.process
def test_a_cifar_network_that_was_trained_on_rgb(real_data: Path) -> None:
    """ResNet-20 was trained on CIFAR's own R, G, B; read as Caffe's usual B, G, R, it is a few percent worse."""
    folder = real_data / "caffe" / "resnet20_cifar10"
    net = matnet.load(folder / "res20_cifar_train_test.prototxt", folder / "ResNet_20.caffemodel")
    images = load_images(real_data / "images" / "cifar300")
    images = align(net, images, 10, images.class_names, None)
    mean = read_mean(folder / "mean.binaryproto").transpose(1, 2, 0)[..., ::-1]
    found = search(net, images, Preprocessing.of(net, image_size=(32, 32), mean=mean.copy()))
    assert found.best is not None and found.best.knob == "channel order"
    assert found.best.error < 26 < 30 < found.best.base_error


def turned(images: ImageList, how: str) -> np.ndarray:
    if how == "1-based":
        return images.labels + 1
    if how == "permuted":
        return np.random.default_rng(1).permutation(1000)[images.labels]
    place = {wnid: number for number, wnid in enumerate(class_order("ilsvrc12-devkit"))}
    return np.array([place[wnid] for wnid in np.array(class_order("ilsvrc12-sorted"))[images.labels]])


@pytest.mark.process
@pytest.mark.parametrize(
    ("how", "words", "knobs"),
    [
        ("1-based", "subtract 1", (LABELS,)),
        ("permuted", "WordNet ids in the images'", (LABELS, "channel order", "transposed")),
        ("another order", "development kit", (LABELS,)),
    ],
)
def test_demand_15_labels_of_squeezenet_in_another_order_are_diagnosed(
    how: str, words: str, knobs: tuple[str, ...], squeezenet: tuple[Network, ImageList, Preprocessing]
) -> None:
    net, images, base = squeezenet
    wrong = replace(images, labels=turned(images, how))
    found = search(net, wrong, base, knobs)
    better = [trial for trial in found.trials if trial.verdict == BETTER]
    assert better and all(trial.knob == LABELS for trial in better)
    assert any(words in trial.what for trial in better)
    assert found.best is not None and found.best.error < 40


@pytest.mark.process
@pytest.mark.parametrize(
    ("change", "knob"),
    [({"interpolation": "nearest"}, "interpolation"), ({"crop_fraction": (0.5, 0.5)}, "crop"),
     ({"keep_aspect": True}, "resize rule")],
)  # fmt: skip
def test_demand_14_squeezenet_resized_wrongly_is_named_or_not_decidable(
    change: dict[str, Any], knob: str, squeezenet: tuple[Network, ImageList, Preprocessing]
) -> None:
    net, images, base = squeezenet
    found = search(net, every(3, images), replace(base, **change), (knob,))
    if found.best is None:
        assert any(trial.needed for trial in found.trials if trial.verdict == UNDECIDED)
    else:
        assert found.best.knob == knob and found.best.error <= found.best.base_error
