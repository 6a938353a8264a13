"""Edges beside people's drawings, by BSDS500's benchmark: matching, thinning, F-measures. Figures by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

import matnet
from matnet import eval as eval_command
from matnet.command_line import run_command
from matnet.datasets import load_bsds
from matnet.errors import DataError, NetworkError
from matnet.evaluation import evaluate
from matnet.evaluation.boundaries import THRESHOLDS, best_f, boundary_counts, matching, suppressed, thinned
from matnet.formats.mat import write_mat
from matnet.formats.mat.values import Cell
from matnet.images import Preprocessing
from tests.small_sets import OIS, bsds
from tests.tiny_models import gray_classifier, gray_edges


@pytest.mark.process
def test_one_threshold_and_the_best_of_each_image(tmp_path: Path) -> None:
    net = gray_edges()
    row = evaluate(net, load_bsds(bsds(tmp_path)), Preprocessing.of(net))
    assert row.ois == pytest.approx(OIS, abs=1e-9)
    at_first = 2 * (245 / 290) * (196 / 294) / (245 / 290 + 196 / 294)  # at 0.01: 98 pixels are of the faint line
    assert 100 * at_first <= row.ods < row.ois
    assert (row.images, row.scores, row.status) == (2, "sigmoid-fuse", "ok")


@pytest.mark.process
def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Image 2 alone, at 0.01: 98 pixels, all right, of 100."""
    matnet.save(gray_edges(), tmp_path / "own.mat")
    data = str(bsds(tmp_path / "data", ["2"]))
    assert (
        run_command(eval_command.main, [str(tmp_path / "own.mat"), "--task", "edges", "--data", data, "--quiet"]) == 0
    )
    printed = capsys.readouterr()
    assert printed.out.count(f"{100 * 2 * 98 / 198:.2f}") == 2
    assert "1 images; BSDS500 has 200" in printed.err


def test_counts_at_a_threshold(tmp_path: Path) -> None:
    edges = np.zeros((100, 120))
    edges[1:99, 60] = 0.5
    near, far = np.zeros((2, 100, 120), bool)
    near[:50, 61] = True
    far[:, 62] = True
    found = boundary_counts(edges, [near, far], np.array([0.5, 0.6]))
    np.testing.assert_array_equal(found, [[49, 0], [150, 150], [49, 0], [98, 0]])


@pytest.mark.parametrize("seed", range(5))
def test_as_many_pixels_are_paired_as_can_be(seed: int) -> None:
    """Expected: scipy's linear_sum_assignment, each pair that is too far apart costing 1."""
    generator = np.random.default_rng(seed)
    first, second = generator.random((2, 9, 13)) < 0.2
    reach = 2.3
    apart = np.linalg.norm(np.argwhere(first)[:, None] - np.argwhere(second)[None], axis=2) > reach
    most = int((~apart[linear_sum_assignment(apart)]).sum())
    mine, other = matching(first, second, reach)
    assert mine.sum() == other.sum() == most
    assert not (mine & ~first).any() and not (other & ~second).any()
    between = np.linalg.norm(np.argwhere(mine)[:, None] - np.argwhere(other)[None], axis=2) > reach
    assert not between[linear_sum_assignment(between)].any()


def test_nothing_matches_nothing() -> None:
    mask = np.eye(5, 7, dtype=bool)
    for one, other in ((mask, np.zeros_like(mask)), (np.zeros_like(mask), mask), (mask, np.roll(mask, 3, axis=1))):
        found = matching(one, other, 1.0)
        assert not found[0].any() and not found[1].any()


def thinned_by_loops(mask: np.ndarray) -> np.ndarray:
    """The conditions in MATLAB's documentation of bwmorph, pixel by pixel."""
    found = np.pad(mask, 1).astype(int)
    while True:
        before = found.copy()
        for turn in (0, 1):
            gone = []
            for row, column in np.argwhere(found):
                steps = ((0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1), (1, 0), (1, 1))
                x = {k: int(found[row + a, column + b]) for k, (a, b) in enumerate(steps, start=1)}
                x[9] = x[1]
                crossing = sum(x[2 * i - 1] == 0 and (x[2 * i] or x[2 * i + 1]) for i in range(1, 5))
                n1 = sum(x[2 * k - 1] or x[2 * k] for k in range(1, 5))
                n2 = sum(x[2 * k] or x[2 * k + 1] for k in range(1, 5))
                third = (x[2] or x[3] or not x[8]) and x[1]
                fourth = (x[6] or x[7] or not x[4]) and x[5]
                if crossing == 1 and 2 <= min(n1, n2) <= 3 and not (fourth if turn else third):
                    gone.append((row, column))
            for place in gone:
                found[place] = 0
        if (found == before).all():
            return found[1:-1, 1:-1].astype(bool)


@pytest.mark.parametrize("seed", range(4))
def test_thinning(seed: int) -> None:
    mask = np.random.default_rng(seed).random((11, 17)) < 0.6
    found = thinned(mask)
    np.testing.assert_array_equal(found, thinned_by_loops(mask))
    np.testing.assert_array_equal(thinned(found), found)


def test_a_thick_line_becomes_one_pixel_thick() -> None:
    mask = np.zeros((9, 20), bool)
    mask[3:6, 2:18] = True
    found = thinned(mask)
    assert (found.sum(axis=0)[4:16] == 1).all() and found[4, 4:16].all()


def test_maxima_across_an_edge_remain() -> None:
    edges = np.zeros((40, 60))
    edges[:, 28:33] = [0.2, 0.6, 1.0, 0.6, 0.2]
    found = suppressed(edges)
    np.testing.assert_array_equal(np.flatnonzero(found[20]), [30])
    assert found[20, 30] == pytest.approx((0.6 + 2 * 1.0 + 0.6) / 4)
    assert found[0, 30] == 0 and found[1, 30] == pytest.approx(found[20, 30] / 5)


def test_recall_and_precision_are_linear_between_thresholds() -> None:
    """From recall 1, precision 0.5 to 0.5 and 1: half way both are 0.75, where F is greatest."""
    counts = np.zeros((4, len(THRESHOLDS)), np.int64)
    counts[:, 0], counts[:, 1] = (10, 10, 5, 10), (5, 10, 10, 10)
    best, threshold = best_f(counts)
    assert (best, threshold) == pytest.approx((75, 0.015))


def no_boundaries(home: Path) -> None:
    write_mat(home / "groundTruth" / "test" / "2.mat", {"groundTruth": Cell([{"Segmentation": np.ones((3, 4))}])})


def other_size(home: Path) -> None:
    write_mat(home / "groundTruth" / "test" / "2.mat", {"groundTruth": Cell([{"Boundaries": np.ones((3, 4), bool)}])})


def missing(home: Path) -> None:
    (home / "groundTruth" / "test" / "2.mat").unlink()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (no_boundaries, r"images of BSDS500 test \(1\):\n.*2.mat: .*cell array"),
        (other_size, r"2.mat: 4 x 3, but its image is 120 x 100"),
        (missing, r"1 of 2 images have no boundaries:\n.*2.jpg"),
    ],
)
def test_boundaries_that_cannot_be_used_are_named(
    change: Callable[[Path], None], expected: str, tmp_path: Path
) -> None:
    root = bsds(tmp_path)
    change(root / "BSDS500" / "data")
    with pytest.raises(DataError, match=expected):
        load_bsds(root).check()


def test_scores_that_are_no_map_are_refused(tmp_path: Path) -> None:
    net = gray_classifier()
    with pytest.raises(NetworkError, match="expected one value per pixel"):
        evaluate(net, load_bsds(bsds(tmp_path)), Preprocessing.of(net))
    with pytest.raises(DataError, match="no groundTruth/val"):
        load_bsds(tmp_path, "val")
