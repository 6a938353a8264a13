"""Regression: errors of grays by hand, one output and bins, lists of values, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import matnet
from matnet import eval as eval_command
from matnet.command_line import run_command
from matnet.datasets import load_values
from matnet.errors import DataError, NetworkError
from matnet.evaluation import evaluate
from matnet.images import Preprocessing
from tests.small_sets import GRAYS, REGRESSION_FIGURES, gray_values
from tests.tiny_models import gray, gray_edges, gray_level

TENS = [float(value) for value in range(0, 260, 10)]
# The bins nearest to the grays 100, 50, 0, 200 are the grays themselves, so the figures are those of one output.


def prepared(net: matnet.Network) -> Preprocessing:
    return Preprocessing.of(net)


@pytest.mark.parametrize(
    "net", [gray_level(), gray_level(TENS, [f"{value:g}" for value in TENS])], ids=["one number", "bins"]
)
def test_errors_by_hand(net: matnet.Network, tmp_path: Path) -> None:
    row = evaluate(net, load_values(gray_values(tmp_path)), prepared(net))
    for name, value in REGRESSION_FIGURES.items():
        np.testing.assert_allclose(getattr(row, name), value, atol=1e-4, err_msg=name)
    assert (row.status, row.images, row.within) == ("ok", 4, 5)


@pytest.mark.process
def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    matnet.save(gray_level(), tmp_path / "own.mat")
    data = gray_values(tmp_path / "data")
    command = ["--model", str(tmp_path / "own.mat"), "--task", "regression", "--backend", "numpy", "--quiet"]
    assert run_command(eval_command.main, [*command, "--data", str(data), "--within", "7.5"]) == 0
    printed = capsys.readouterr().out
    assert all(text in printed for text in ("7.250", "4.250", "75.00", "4 images of years")), printed
    assert run_command(eval_command.main, [*command, "--data", str(data), "--json", str(tmp_path / "a.json")]) == 0
    found = json.loads((tmp_path / "a.json").read_text())
    assert {name: found[name] for name in REGRESSION_FIGURES} == pytest.approx(REGRESSION_FIGURES, abs=1e-4)
    with pytest.raises(SystemExit, match="2"):
        eval_command.main([*command, "--data", str(data), "--within", "-1"])


def test_values_of_bins_come_from_a_list_of_ones_own(tmp_path: Path) -> None:
    """A number or an interval per line; of an interval the middle. Grays 100, 50, 0, 200 are nearest to bins 2, 1, 0, 2
    of the network, which stand for 99.5, 57, 1 and 99.5: errors 1, 0, 1, 80.
    """
    (tmp_path / "bins.txt").write_text("1\n(50, 64)\n99 to 100\n")
    net = gray_level([0, 60, 120])
    row = evaluate(net, load_values(gray_values(tmp_path)), prepared(net), classes=str(tmp_path / "bins.txt"))
    np.testing.assert_allclose((row.mean_absolute_error, row.median_absolute_error), (20.5, 1.0))


@pytest.mark.parametrize(
    ("net", "classes", "expected"),
    [
        (gray_level([0, 60]), None, "holds 2 scores per image, but their values are unknown; give classes="),
        (gray_level([0, 60]), ["1", "2", "3"], "holds 2 scores.*3 values are given"),
        (gray_level([0, 60], ["1930", "cat"]), None, r"not numbers or intervals.*:\n.*cat"),
        (gray_level([0, 60], ["1930", "1,934"]), None, r"not numbers or intervals.*:\n.*1,934"),
        (gray_level([0, 60], ["1930", "1e400"]), None, r"not numbers or intervals.*:\n.*1e400"),
        (gray_level([0, 60], ["1930", "[5, 1]"]), None, r"not numbers or intervals.*:\n.*5, 1"),
        (gray_level(), ["1", "2"], "holds 1 scores.*2 values are given"),
    ],
)
def test_outputs_without_values_are_refused(net: matnet.Network, classes: Any, expected: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=expected):
        evaluate(net, load_values(gray_values(tmp_path)), prepared(net), classes=classes)


def test_maps_are_refused(tmp_path: Path) -> None:
    net = gray_edges()
    with pytest.raises(NetworkError, match="is a map; regression needs one number"):
        evaluate(net, load_values(gray_values(tmp_path)), prepared(net))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("c.png 1\nd.png\ne.png x\n", r"not 'path value' \(2\):\n.*line 2: d.png\n.*line 3: e.png x"),
        ("c.png nan\n", "line 1: c.png nan"),
        ("c.png 1e999\n", "line 1: c.png 1e999"),
        ("c.png 1\nf.png 2\n", r"1 of 2 images are missing(.|\n)*f.png"),
        ("c.png 1\nd.png 2\nc.png 1.5\n", r"two values \(1\):\n.*c.png: 1 and 1.5"),
        ("# nothing\n", "no entries"),
    ],
)
def test_lists_that_cannot_be_used_are_refused(text: str, expected: str, tmp_path: Path) -> None:
    file = gray_values(tmp_path)
    file.write_text(text)
    with pytest.raises(DataError, match=expected):
        load_values(file)
    with pytest.raises(DataError, match="is a folder; give path a list"):
        load_values(tmp_path)


@pytest.mark.parametrize("line", ["{} 1934", "{},1934.0", "{}; 1.934e3", '"{}"\t+1934'])
def test_lines_in_many_hands(line: str, tmp_path: Path) -> None:
    gray_values(tmp_path / "images")
    (tmp_path / "list.csv").write_text(line.format("a b.png"))
    found = load_values(tmp_path / "list.csv", tmp_path / "images")
    assert (found.paths, found.values.tolist()) == ((tmp_path / "images" / "a b.png",), [1934.0])


def test_head_is_another_list(tmp_path: Path) -> None:
    values = load_values(gray_values(tmp_path))
    head = values.head(2)
    assert [path.name for path in head.paths] == list(GRAYS)[:2] and head.list_sha256 != values.list_sha256
    assert values.head(4) is values


@pytest.mark.parametrize(("value", "status"), [(lambda gray: gray + 1, "ok"), (lambda gray: 255 - gray, "doubtful")])
def test_estimates_no_better_than_one_value_are_doubtful(value: Any, status: str, tmp_path: Path) -> None:
    levels = range(0, 250, 10)
    for level in levels:
        gray(level).save(tmp_path / f"{level}.png")
    (tmp_path / "list.txt").write_text("".join(f"{level}.png {value(level)}\n" for level in levels))
    net = gray_level()
    assert evaluate(net, load_values(tmp_path / "list.txt"), prepared(net)).status == status


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_values_that_are_not_finite_make_the_row_so(tmp_path: Path) -> None:
    net = gray_level()
    param = next(iter(net.params.values()))
    param.value = np.full_like(param.value, 3e38)
    row = evaluate(net, load_values(gray_values(tmp_path)), prepared(net))
    assert row.status == "not finite" and row.record()["mean_absolute_error"] is None
