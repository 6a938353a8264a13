"""Retrieval on small sets in CIFAR-10's layouts. Figures by hand, by the rules of caffe-cvprw15 (precision.m)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import matnet
from matnet import eval as eval_command
from matnet.command_line import run_command
from matnet.datasets import load_retrieval
from matnet.errors import DataError
from matnet.evaluation import evaluate
from matnet.images import Preprocessing
from matnet.metrics import ranked_precision
from tests.small_sets import RETRIEVAL_AP, cifar10, cifar10_lists
from tests.tiny_models import colour_hash


@pytest.mark.parametrize("layout", [cifar10, cifar10_lists])
def test_bits_by_hand(layout: Callable[[Path], Path], tmp_path: Path) -> None:
    net = colour_hash()
    row = evaluate(net, load_retrieval(layout(tmp_path)), Preprocessing.of(net))
    assert (row.queries, row.images, "bits" in row.ranked_by) == (2, 7, True)
    assert row.mean_ap == pytest.approx(RETRIEVAL_AP, abs=1e-9)


def test_values_are_ranked_by_their_distance(tmp_path: Path) -> None:
    """Mean colours less 100. Red: the reds, then yellow, black, green; green: green, yellow, black, the reds."""
    net = colour_hash()
    row = evaluate(net, load_retrieval(cifar10(tmp_path)), Preprocessing.of(net), scores=net.layers["code"].outputs[0])
    green = (1 + 2 / 3 + 3 / 5) / 3  # yellow is 200.2 away, black 210
    assert "Euclidean" in row.ranked_by
    assert row.mean_ap == pytest.approx(100 * ((1 + 2 / 3) / 2 + green) / 2, abs=1e-9)


def test_average_precision_over_ranks() -> None:
    relevant = np.array([[1, 0, 1, 0], [0, 0, 0, 1], [0, 0, 0, 0]], bool)
    np.testing.assert_allclose(ranked_precision(relevant), [(1 + 2 / 3) / 2, 1 / 4, 0])


@pytest.mark.process
def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    matnet.save(colour_hash(), tmp_path / "own.mat")
    data = str(cifar10(tmp_path / "data"))
    arguments = [str(tmp_path / "own.mat"), "--task", "retrieval", "--data", data, "--quiet"]
    assert run_command(eval_command.main, arguments) == 0
    printed = capsys.readouterr()
    assert f"{RETRIEVAL_AP:.2f}" in printed.out
    assert "5 images as database; CIFAR-10 has 50,000" in printed.err


def cut(root: Path) -> None:
    file = root / "cifar-10-batches-bin" / "data_batch_1.bin"
    file.write_bytes(file.read_bytes()[:-1])


def wrong_label(root: Path) -> None:
    file = root / "cifar-10-batches-bin" / "test_batch.bin"
    file.write_bytes(b"\x0b" + file.read_bytes()[1:])


def alone(root: Path) -> None:
    for file in (root / "cifar-10-batches-bin").glob("data*"):
        file.unlink()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (cut, r"data_batch_1.bin: 9,218 bytes"),
        (wrong_label, r"test_batch.bin: has label 11"),
        (alone, "data_batch_1.bin .* missing"),
    ],
)
def test_damaged_batches_are_refused(change: Callable[[Path], None], expected: str, tmp_path: Path) -> None:
    root = cifar10(tmp_path)
    change(root)
    with pytest.raises(DataError, match=expected):
        load_retrieval(root)


def test_lists_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    root = cifar10_lists(tmp_path)
    (root / "train2.png").unlink()
    with pytest.raises(DataError, match=r"1 of 5 images are missing:\n.*train2.png"):
        load_retrieval(root)
    cifar10_lists(root)
    (root / "test-label.txt").write_text("0\n")
    with pytest.raises(DataError, match=r"1 labels, but .* 2 images"):
        load_retrieval(root)
    (root / "test-label.txt").write_text("0\ncat\n")
    with pytest.raises(DataError, match=r"not a label \(1\):\n.*line 2: cat"):
        load_retrieval(root)
    with pytest.raises(DataError, match="expected CIFAR-10"):
        load_retrieval(tmp_path.parent)


def test_codes_no_better_than_chance_are_doubtful(tmp_path: Path) -> None:
    """All images are black, so the order is the database's: four of one class, then four of the other."""
    root = tmp_path / "data"
    for part, count in (("train", 8), ("test", 24)):
        for k in range(count):
            place = root / part / f"c{k % 2}" / f"{k}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (32, 32), (0, 0, 0)).save(place)
    net = colour_hash()
    row = evaluate(net, load_retrieval(root), Preprocessing.of(net))
    second = (1 / 5 + 2 / 6 + 3 / 7 + 4 / 8) / 4
    assert row.mean_ap == pytest.approx(100 * (1 + second) / 2)
    assert row.status == "doubtful"  # 0.5 by chance, and 0.18 is within three standard errors of 0.06
