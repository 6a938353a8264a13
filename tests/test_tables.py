"""The published tables from end to end: expected rows, figures, absent and failed ones, checks. Worked by hand."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from matnet.benchmarks.__main__ import main as benchmark
from matnet.command_line import run_command
from matnet.datasets.voc import VOC_CLASSES
from matnet.errors import DataError
from matnet.eval import main
from matnet.reproduce import main as reproduce
from matnet.reproduction import PAGE, expected_rows
from matnet.reproduction.expected import IMAGENET_ROWS, SEGMENTATION_ROWS
from matnet.tables import Table
from matnet.zoo import find_card
from tests.hostile_server import Behaviour, serving
from tests.small_sets import EXPECTED, LEVELS, faces, voc2011
from tests.stand_ins import DEVKIT, imagenet_devkit, labels_of, val_names
from tests.stand_ins import WNIDS as SORTED
from tests.table_runs import IMAGES, MATCONVNET, TOP1, TOP5, VAL, publish_classifier, rows_of, table
from tests.tiny_models import angle_describer, gray, gray_classifier, gray_segmenter, publish

# -- what is expected -------------------------------------------------------------------------------------


def test_the_page_has_nineteen_four_and_one_rows() -> None:
    """As many as the page's tables have, and every name is a model's."""
    assert (len(IMAGENET_ROWS), len(SEGMENTATION_ROWS), len(PAGE)) == (19, 4, 24)
    assert [find_card(name).name for name in PAGE] == list(PAGE)
    assert {find_card(name).task for name in IMAGENET_ROWS} == {"classification"}


def test_rows_stand_as_on_the_page() -> None:
    """The page sorts by year, the newest first; within a year as printed there."""
    rows = expected_rows()
    assert [row.card.name for row in rows] == list(PAGE)
    years = [row.card.introduced for row in rows if row.task == "classification"]
    assert years == [2015] * 3 + [2014] * 4 + [2013] * 9 + [2012] * 3
    assert [row.short_name for row in rows][:2] == ["resnet-50-dag", "resnet-101-dag"]
    assert {row.data for row in rows} == {"imagenet", "rv-voc11", "rv-voc12", "lfw"}


# Lines of the page; those of segmentation with the last two headings in the order that the program printed them.
PUBLISHED = {
    "imagenet-resnet-152-dag": {"top1_error": 23.0, "top5_error": 6.7, "images_per_s": 156.6},
    "imagenet-caffe-ref": {"top1_error": 42.4, "top5_error": 19.6, "images_per_s": 384.8},
    "imagenet-vgg-m-128": {"top1_error": 40.8, "top5_error": 18.4, "images_per_s": 588.7},
    "pascal-fcn32s-dag": {"mean_iou": 59.43, "pixel_accuracy": 89.12, "mean_class_accuracy": 73.28},
    "pascal-fcn8s-tvg-dag": {"mean_iou": 69.85, "pixel_accuracy": 92.94, "mean_class_accuracy": 78.80},
}


@pytest.mark.parametrize(("name", "figures"), PUBLISHED.items(), ids=PUBLISHED)
def test_published_figures(name: str, figures: dict[str, float]) -> None:
    (row,) = expected_rows([name])
    assert row.published is not None
    assert dict(row.published.figures) == figures
    assert row.published.tolerance is not None


def test_models_by_name_once_each() -> None:
    names = [row.card.name for row in expected_rows(["caffe-alex", "resnet-50", "imagenet-caffe-alex.mat"])]
    assert names == ["imagenet-resnet-50-dag", "imagenet-caffe-alex"]


def test_models_without_a_table_are_named() -> None:
    expected = r"(?s)without published figures.*nin-cifar10.*video2text-vgg-mean-pool"
    with pytest.raises(DataError, match=expected):
        expected_rows(["nin-cifar10", "caffe-alex", "video2text-vgg-mean-pool"])


# -- the tables from end to end ---------------------------------------------------------------------------


@pytest.mark.process
@pytest.mark.parametrize("backend", ["numpy", "onnx"])
def test_classification(
    home: Path, imagenet: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], backend: str
) -> None:
    publish_classifier(home, top1_error=49.9)
    out = tmp_path / "out.json"
    arguments = ["--models", "gray", "--imagenet", imagenet, "--json", out, "--check", "--backend", backend]
    assert table(*arguments) == 0
    row = rows_of(out)["gray"]
    assert row["figures"] == {"top1_error": TOP1, "top5_error": TOP5, "images_per_s": pytest.approx(1e6, rel=1)}
    assert row["published"] == {"top1_error": 49.9, "top5_error": TOP5, "images_per_s": 5.0}
    np.testing.assert_allclose([row["difference"]["top1_error"], row["difference"]["top5_error"]], [0.1, 0], atol=1e-9)
    assert (row["status"], row["verdict"], row["tolerance"]) == ("ok", "within", 0.2)
    assert row["md5"]["status"] == "OK" and row["md5"]["generation"] == "2016-09-30"
    assert (row["run"]["protocol"], row["run"]["images"]) == ("published-2016", len(IMAGES))
    assert any("8 of the 50,000 images" in note for note in row["run"]["notes"])
    printed = capsys.readouterr()
    (line,) = [line for line in printed.out.splitlines() if line.startswith("| gray")]
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[:8] == ["gray", "2015", "50.00", "49.9", "+0.10", "25.00", "25.0", "+0.00"]
    assert cells[9:] == ["5.0", "OK 2016-09-30", "ok"]
    assert "1 of 1 rows compared, 0 outside" in printed.err


@pytest.mark.process
def test_classes_that_a_network_does_not_name_are_in_its_cards_order(home: Path, tmp_path: Path) -> None:
    """Output k, the k-th of the development kit, is the gray k / 4; each image has the gray of its true class, rounded.

    So that class is among the five nearest grays. In any other order hardly one would be.
    """
    root = imagenet_devkit(tmp_path / "data", 12)
    for name, label in zip(val_names(12), labels_of(12), strict=True):
        gray(round(DEVKIT.index(SORTED[label]) / 4)).save(root / "val" / name, quality=95)
    net = gray_classifier([k / 4 for k in range(1000)], None)
    order = {"count": 1000, "order": "ilsvrc12-devkit"}
    publish(home, "kit", net, "classification", published=[{**VAL, "top5_error": 0.0, "tolerance": 0.1}], labels=order)
    out = tmp_path / "out.json"
    assert table("--models", "kit", "--imagenet", root, "--json", out, "--check") == 0
    assert rows_of(out)["kit"]["figures"]["top5_error"] == 0
    alone = ["--model", "kit", "--data", str(root), "--backend", "numpy", "--quiet", "--json", str(out)]
    assert run_command(main, alone) == 0
    assert json.loads(out.read_text())["top5_error"] == 0


@pytest.mark.process
def test_an_order_that_nothing_states_fails_the_row(home: Path, imagenet: Path, tmp_path: Path) -> None:
    order = {"count": 6, "order": "ilsvrc12-devkit"}
    publish(
        home, "kit", gray_classifier(names=None), "classification", published=[{**VAL, "top5_error": 0.0}], labels=order
    )
    assert table("--models", "kit", "--imagenet", imagenet, "--json", tmp_path / "out.json") == 2
    assert "1000 classes" in rows_of(tmp_path / "out.json")["kit"]["status_reason"]


@pytest.mark.process
def test_segmentation(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = ("mean_iou", "pixel_accuracy", "mean_class_accuracy")
    figures = {name: round(EXPECTED[name], 2) for name in names}
    entry = {
        "source": MATCONVNET,
        "data": "RV-VOC11",
        "protocol": "images at their own size, argmax",
        "tolerance": 0.01,
    }
    publish(home, "fcn", gray_segmenter(LEVELS, VOC_CLASSES), "segmentation", published=[{**entry, **figures}])
    out = tmp_path / "out.json"
    assert table("--models", "fcn", "--voc", voc2011(tmp_path), "--json", out, "--check") == 0
    row = rows_of(out)["fcn"]
    np.testing.assert_allclose([row["figures"][name] for name in names], [EXPECTED[name] for name in names])
    told = [row["run"][name] for name in ("dataset", "protocol", "images")]
    assert told == ["RV-VOC11", "argmax at own size", 2]
    printed = capsys.readouterr().out
    assert "exchanges the headings" in printed
    assert re.search(r"\| fcn +\| RV-VOC11 +\| +6\.67 \|", printed)  # 1.4 of 21


@pytest.mark.process
def test_faces(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Mean and standard error as in test_verification; nothing is published, so nothing is judged."""
    publish(home, "face", angle_describer(), "faces")
    out = tmp_path / "out.json"
    assert table("--models", "face", "--lfw", faces(tmp_path), "--json", out, "--face-crop", 0.5) == 0
    row = rows_of(out)["face"]
    np.testing.assert_allclose([row["run"]["accuracy"], row["run"]["standard_error"]], [75, 25])
    assert row["verdict"] is None
    assert "central 50%" in row["run"]["preprocessing"]
    assert re.search(r"\| face +\| +2015 \| +75\.00 \| .*\| +25\.00 \| +0\.00 \| +100\.00 \|", capsys.readouterr().out)


@pytest.mark.process
def test_models_absent_broken_and_without_data_leave_the_others_be(
    home: Path, imagenet: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    publish_classifier(home, "good")
    publish_classifier(home, "broken").write_bytes(b"MATLAB 5.0 MAT-file" + b"\0" * 200)
    publish(home, "missing", None, "classification", published=[{**VAL, "top1_error": 1.0, "tolerance": 0.1}])
    publish(home, "face", angle_describer(), "faces")
    out, sheet = tmp_path / "out.json", tmp_path / "out.csv"
    publish(home, "away", None, "faces")
    models = ["missing", "broken", "good", "face", "away"]
    assert table("--models", *models, "--imagenet", imagenet, "--json", out, "--csv", sheet) == 2
    rows = rows_of(out)
    assert rows["good"]["status"] == "ok"
    assert rows["missing"]["status"] == "absent"
    assert rows["missing"]["md5"]["status"] == "absent"
    assert rows["broken"]["status"] == "failed" and "broken.mat" in rows["broken"]["status_reason"]
    assert rows["broken"]["md5"]["status"] == "MISMATCH"
    for name in ("face", "away"):  # nothing is downloaded for a row without data
        assert (rows[name]["status"], rows[name]["status_reason"]) == ("absent", "no data; give --lfw FOLDER")
    assert rows["away"]["md5"]["status"] == "absent"
    assert "broken.mat" in capsys.readouterr().err
    lines = {line["model"]: line for line in csv.DictReader(io.StringIO(sheet.read_text()))}
    assert lines["good"]["top1_error"] == "50.0" and lines["good"]["images"] == "8"
    assert lines["missing"]["top1_error"] == "" and lines["missing"]["top1_error_published"] == "1.0"


@pytest.mark.process
def test_a_model_that_is_not_here_is_fetched(
    home: Path, imagenet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the address in its card; with --offline it is absent."""
    behaviour = Behaviour()
    with serving(behaviour) as address:
        figures = {**VAL, "top1_error": TOP1, "tolerance": 0.1}
        file = publish(home, "gray", gray_classifier(), "classification", published=[figures], mat_url=[address])
        behaviour.content = file.read_bytes()
        file.unlink()
        monkeypatch.delenv("MATNET_OFFLINE")
        arguments = ["--models", "gray", "--imagenet", imagenet, "--json", tmp_path / "out.json", "--check"]
        assert table(*arguments, "--offline") == 1
        assert rows_of(tmp_path / "out.json")["gray"]["status_reason"].startswith("not on this machine")
        assert table(*arguments) == 0
    row = rows_of(tmp_path / "out.json")["gray"]
    assert (row["md5"]["status"], row["status"], row["figures"]["top1_error"]) == ("OK", "ok", TOP1)
    assert file.is_file()


@pytest.mark.process
def test_a_data_set_that_cannot_be_used_is_told_before_anything_runs(
    home: Path, imagenet: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    publish_classifier(home)
    publish(home, "face", angle_describer(), "faces")
    (tmp_path / "lfw").mkdir()
    out = tmp_path / "out.json"
    assert table("--models", "gray", "face", "--imagenet", imagenet, "--lfw", tmp_path / "lfw", "--json", out) == 2
    rows = rows_of(out)
    assert rows["gray"]["status"] == "ok"
    assert rows["face"]["status"] == "failed"
    told = capsys.readouterr().err.splitlines()
    assert str(tmp_path / "lfw") in told[0]


@pytest.mark.process
def test_random_weights_and_parts_of_a_set_are_not_judged(home: Path, imagenet: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    publish_classifier(home)
    assert table("--models", "digits-lenet", "--random-weights", "--seed", 3, "--json", out, "--check") == 1
    row = rows_of(out)["digits-lenet"]
    assert (row["status"], row["verdict"], row["md5"]["status"]) == ("random weights", None, "")
    assert table("--models", "gray", "--imagenet", imagenet, "--limit", 2, "--json", out, "--check") == 1
    row = rows_of(out)["gray"]
    assert (row["status"], row["verdict"], row["run"]["images"]) == ("ok", None, 2)
    assert row["status_reason"] == "only 2 of the data set"
    assert row["figures"]["top1_error"] == 0


# -- checks -----------------------------------------------------------------------------------------------

CHECKS: dict[str, tuple[dict[str, Any], int, str]] = {
    "within": ({}, 0, "1 of 1 rows compared, 0 outside"),
    "just within": ({"top1_error": 50.2}, 0, "0 outside"),
    "outside": (
        {"top1_error": 50.21},
        1,
        "gray: top1_error is 50, published 50.21; the difference -0.210 exceeds the tolerance 0.2",
    ),
    "the other figure outside": ({"top5_error": 24.0}, 1, "top5_error is 25, published 24"),
    "no tolerance": ({"tolerance": None}, 1, "not compared (its card gives no tolerance)"),
    "images/s does not count": ({"images_per_s": 1e9}, 0, "0 outside"),
}


@pytest.mark.process
@pytest.mark.parametrize(("published", "status", "told"), CHECKS.values(), ids=CHECKS)
def test_check(
    home: Path, imagenet: Path, capsys: pytest.CaptureFixture[str], published: dict[str, Any], status: int, told: str
) -> None:
    publish_classifier(home, **published)
    assert table("--models", "gray", "--imagenet", imagenet, "--check") == status
    assert told in capsys.readouterr().err


@pytest.mark.process
def test_absent_models_do_not_fail_a_check_failed_ones_do(
    home: Path, imagenet: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    publish_classifier(home)
    publish(home, "missing", None, "classification", published=[{**VAL, "top1_error": 1.0, "tolerance": 0.1}])
    assert table("--models", "gray", "missing", "--imagenet", imagenet, "--check") == 0
    assert "missing: not compared (absent" in capsys.readouterr().err
    (home / "mat" / "missing.mat").write_bytes(b"nothing of use")
    assert table("--models", "gray", "missing", "--imagenet", imagenet, "--check") == 1


# -- options ----------------------------------------------------------------------------------------------

REFUSED: dict[str, tuple[list[str], str]] = {
    "contradicting": (["--resume", "--fresh"], "conflict"),
    "unknown model": (["--models", "cafe-alex"], "unknown model 'cafe-alex'; nearest: .*caffe-alex"),
    "nowhere to write": (["--csv", "nowhere/x.csv"], "does not exist"),
}


@pytest.mark.parametrize(("arguments", "message"), REFUSED.values(), ids=REFUSED)
def test_options_that_do_not_go_together(
    home: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert run_command(reproduce, arguments) == 2
    assert re.search(message, capsys.readouterr().err)


@pytest.mark.process
def test_part_of_the_pairs_is_spread_over_the_folds(tmp_path: Path) -> None:
    from matnet.datasets import PairSet, load_lfw
    from tests.stand_ins import lfw

    pairs = load_lfw(lfw(tmp_path, folds=5, each=2))
    some = pairs.head(10)
    assert isinstance(some, PairSet) and len(some) == 10
    assert set(some.fold.tolist()) == set(range(5))
    assert some.list_sha256 != pairs.list_sha256
    assert any("only 10 of 20 pairs" in note for note in some.notes)


@pytest.mark.process
def test_workers_share_a_row(home: Path, imagenet: Path, tmp_path: Path) -> None:
    pytest.importorskip("distributed", reason="Dask is not installed")
    publish_classifier(home)
    arguments = ["--models", "gray", "--imagenet", imagenet, "--json", tmp_path / "out.json", "--check"]
    assert table(*arguments, "--workers", 2, "--batch-size", 2) == 0
    assert rows_of(tmp_path / "out.json")["gray"]["figures"]["top5_error"] == TOP5


@pytest.mark.process
@pytest.mark.parametrize(("command", "option"), [(main, "--table"), (benchmark, "--published")])
def test_other_commands_forward_the_tables(
    command: Any, option: str, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.json"
    arguments = ["--models", "digits-lenet", "--quiet", "--backend", "numpy", "--json", str(out)]
    assert run_command(command, [option, *arguments]) == 0
    assert rows_of(out)["digits-lenet"]["status"] == "ok"
    err = capsys.readouterr().err
    assert option in err
    assert re.search(r"matnet[. ]reproduce", err)


def test_a_table_that_is_too_wide_is_wrapped() -> None:
    """Columns aligned to the left become narrower, the widest first; no word is lost, and numbers stay whole."""
    words = "one two three four five six seven eight nine ten eleven twelve"
    table = Table.of(["knob", "what it is", "log p"], [["a", words, "+1.250"], ["b", "short", "-0.5"]], right=["log p"])
    lines = table.text(width=40).splitlines()
    assert max(map(len, lines)) <= 40
    assert " ".join(line[8:31].strip() for line in lines[2:-1]) == words
    assert [line[-6:].strip() for line in lines if "." in line] == ["+1.250", "-0.5"]
    assert max(map(len, table.text().splitlines())) > 40


def test_a_table_in_a_notebook_escapes_and_aligns() -> None:
    html = Table.of(["a<b", "n"], [["<i>", 3]], right=["n"]).html()
    assert "&lt;i&gt;" in html and "<i>" not in html
    assert html.count("text-align:right") == 2
