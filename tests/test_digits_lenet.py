"""digits-lenet, the embedded network: its files agree with each other, with its card, and with another Caffe reader.

SCORES (of ip2) and MISTAKES are what OpenCV 4.14 computes: cv2.dnn.readNetFromCaffe on deploy.prototxt and
digits-lenet.caffemodel, grey levels minus 73, over all images of test/.
"""

from __future__ import annotations

import hashlib
import json
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import matnet
from matnet import eval as eval_command
from matnet.files import models_folder
from matnet.images import Preprocessing
from tests.conftest import assert_close

FOLDER = models_folder() / "digits-lenet"
SCORES = {
    "7/0007.png": [-2.19153, -2.19619, 2.14193, 2.74235, 1.37126, 1.62239, -8.47699, 15.5991, -2.95352, 3.01722],
    "3/1729.png": [-8.5515, -6.00059, -1.37566, 7.16799, 0.410825, 7.267, 2.08889, -0.475935, -2.92153, 0.948608],
}
MISTAKES = {
    "3/1729.png": 5, "4/0510.png": 6, "5/0145.png": 3, "5/1575.png": 9, "7/0480.png": 2,
    "7/0954.png": 8, "8/1553.png": 3, "9/0683.png": 1, "9/0895.png": 3, "9/1658.png": 8,
}  # fmt: skip


@pytest.fixture(scope="module")
def card() -> dict[str, Any]:
    front = (FOLDER / "readme.md").read_text(encoding="utf-8").split("---")[1]
    return dict(yaml.safe_load(front))


@pytest.fixture(scope="module")
def net() -> matnet.Network:
    return matnet.load(FOLDER / "digits-lenet.mat")


@pytest.fixture(scope="module")
def images(net: matnet.Network) -> dict[str, np.ndarray]:
    prepare = Preprocessing.of(net)
    paths = sorted((FOLDER / "test").glob("*/*.png"))
    return {path.relative_to(FOLDER / "test").as_posix(): prepare.load(path) for path in paths}


def test_the_caffemodel_is_the_one_of_the_card(card: dict[str, Any]) -> None:
    assert hashlib.sha1((FOLDER / card["caffemodel"]).read_bytes()).hexdigest() == card["sha1"]


@pytest.mark.process
@pytest.mark.parametrize("name", SCORES)
def test_scores_of_an_image(name: str, net: matnet.Network, images: dict[str, np.ndarray]) -> None:
    scores = net(images[name][np.newaxis], outputs=["ip2"])
    assert_close(scores.reshape(-1), np.array(SCORES[name]), 1e-5, f"{name}, ip2")


@pytest.mark.process
def test_mistakes_on_the_held_out_images(net: matnet.Network, images: dict[str, np.ndarray]) -> None:
    guesses = net(np.stack(list(images.values()))).reshape(len(images), 10).argmax(axis=1).tolist()
    assert len(images) == 355
    assert {name: k for name, k in zip(images, guesses, strict=True) if k != int(name[0])} == MISTAKES


@pytest.mark.process
def test_the_caffe_files_convert_into_the_mat_file(net: matnet.Network, images: dict[str, np.ndarray]) -> None:
    converted = matnet.convert_caffe(FOLDER / "deploy.prototxt", FOLDER / "digits-lenet.caffemodel")
    some = np.stack(list(images.values())[:3])
    for name in ("conv1", "pool1", "conv2", "pool2", "ip1", "ip2", "prob"):
        np.testing.assert_array_equal(converted(some, outputs=[name]), net(some, outputs=[name]), name)


@pytest.mark.process
def test_eval_without_a_model_gives_the_errors_of_the_card(card: dict[str, Any], tmp_path: Path) -> None:
    target = tmp_path / "result.json"
    assert eval_command.main(["--quiet", "--json", str(target)]) == 0
    result = json.loads(target.read_text())
    assert (result["images"], result["status"]) == (355, "ok")
    assert round(result["top1_error"], 2) == card["published"][0]["top1_error"] == round(100 * len(MISTAKES) / 355, 2)
    assert round(result["top5_error"], 2) == card["published"][0]["top5_error"] == 0


def test_training_draws_the_split_that_is_shipped(
    images: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every image of test/ is named after its place in scikit-learn's set, and training never sees it."""
    sklearn = pytest.importorskip("sklearn.datasets", reason="scikit-learn, which only training needs, is not there")
    labels = sklearn.load_digits().target
    monkeypatch.syspath_prepend(str(FOLDER))
    script = runpy.run_path(str(FOLDER / "train.py"))
    training, held_out = script["split"](labels, np.random.RandomState(script["SEED"]))
    assert {f"{labels[index]}/{index:04d}.png" for index in held_out} == set(images)
    assert not set(training).intersection(held_out)
