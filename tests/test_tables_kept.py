"""Rows of the published tables that are kept: what is taken again, what is measured anew, resuming after a cut."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import matnet.reproduction.reproduce as loop
from matnet.errors import MatnetError
from matnet.evaluation.tally import Tally
from matnet.images import Preprocessing
from tests.table_runs import IMAGES, TOP1, publish_classifier, rows_of, table
from tests.tiny_models import WNIDS, gray


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The models that were measured, not taken from what was kept."""
    names: list[str] = []
    real = loop.measure

    def counting(net: Any, row: Any, *rest: Any) -> Any:
        names.append(row.card.name)
        return real(net, row, *rest)

    monkeypatch.setattr(loop, "measure", counting)
    yield names


@pytest.mark.process
def test_a_run_goes_on_where_it_was_cut(
    home: Path,
    imagenet: Path,
    tmp_path: Path,
    measured: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    publish_classifier(home, "one")
    publish_classifier(home, "two")
    arguments = ["--models", "one", "two", "--imagenet", imagenet, "--results", tmp_path / "kept"]
    counting = loop.measure

    def cut(net: Any, row: Any, *rest: Any) -> Any:
        if row.card.name == "two":
            raise KeyboardInterrupt
        return counting(net, row, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "measure", cut)
        assert table(*arguments) == 130
    printed = capsys.readouterr()
    assert re.search(r"\| one +\| +2015 \| +50\.00 ", printed.out)
    assert "1 finished rows are stored in" in printed.err
    assert measured == ["one"]
    assert table(*arguments, "--json", tmp_path / "out.json") == 0
    assert measured == ["one", "two"]
    rows = rows_of(tmp_path / "out.json")
    assert (rows["one"]["resumed"], rows["two"]["resumed"]) == (True, False)
    assert rows["one"]["figures"]["top1_error"] == rows["two"]["figures"]["top1_error"] == TOP1
    assert table(*arguments, "--fresh") == 0
    assert measured == ["one", "two", "one", "two"]


@pytest.mark.process
def test_a_row_goes_on_within(
    home: Path, imagenet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ctrl-C behind the second batch of three: the images of the first two are not read again."""
    publish_classifier(home)
    arguments = ["--models", "gray", "--imagenet", imagenet, "--results", tmp_path / "kept", "--batch-size", 3]
    arguments += ["--decoders", 1]
    real = Preprocessing.load
    read: list[Any] = []

    def load(self: Preprocessing, path: Any, out: Any = None) -> Any:
        read.append(path)
        return real(self, path, out)

    def stop(found: Tally) -> None:
        if len(read) >= 6 and found.images:
            raise KeyboardInterrupt

    monkeypatch.setattr(Preprocessing, "load", load)
    with monkeypatch.context() as patch:
        patch.setattr("matnet.reproduction.command.progress", lambda *_, **__: nullcontext(stop))
        assert table(*arguments) == 130
    told = re.search(r"within a row, after (\d) images: top-1 error", capsys.readouterr().err)
    assert told and told[1] in "36"
    read.clear()
    assert table(*arguments, "--json", tmp_path / "out.json") == 0
    assert len(read) == len(IMAGES) - int(told[1])
    assert f"resuming after {told[1]} images" in capsys.readouterr().err
    assert rows_of(tmp_path / "out.json")["gray"]["figures"]["top1_error"] == TOP1
    assert [path.suffix for path in (tmp_path / "kept").iterdir()] == [".json"]


@pytest.mark.process
def test_what_decides_figures_decides_what_is_kept(
    home: Path, imagenet: Path, tmp_path: Path, measured: list[str]
) -> None:
    """The same run is not done again; another protocol, another list, other weights, another engine are."""
    file = publish_classifier(home)
    arguments = ["--models", "gray", "--imagenet", imagenet, "--results", tmp_path / "kept"]
    for changed in ([], [], ["--protocol", "caffe"], ["--backend", "onnx"], ["--limit", 3], []):
        table(*arguments, *changed)
    assert len(measured) == 4
    gray(10).save(imagenet / "val" / WNIDS[0] / "ILSVRC2012_val_00000099.JPEG")
    table(*arguments)
    assert len(measured) == 5
    file.write_bytes(file.read_bytes()[:-1] + bytes([file.read_bytes()[-1] ^ 1]))
    table(*arguments)
    assert len(measured) == 6


@pytest.mark.process
def test_failed_rows_are_kept_and_tried_again(
    home: Path, imagenet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_classifier(home)
    arguments = ["--models", "gray", "--imagenet", imagenet, "--results", tmp_path / "kept"]

    def failing(*_: Any) -> Any:
        raise MatnetError("the engine is out of order")

    with monkeypatch.context() as patch:
        patch.setattr(loop, "measure", failing)
        assert table(*arguments, "--json", tmp_path / "out.json") == 2
    row = rows_of(tmp_path / "out.json")["gray"]
    assert (row["status"], row["status_reason"]) == ("failed", "the engine is out of order")
    (kept,) = (tmp_path / "kept").iterdir()
    assert json.loads(kept.read_text())["failed"] == "the engine is out of order"
    assert table(*arguments, "--json", tmp_path / "out.json") == 0
    assert rows_of(tmp_path / "out.json")["gray"]["status"] == "ok"
    assert list((tmp_path / "kept").iterdir()) == [kept]


@pytest.mark.process
def test_a_row_with_unreadable_images_is_no_finished_one(
    home: Path, imagenet: Path, tmp_path: Path, measured: list[str]
) -> None:
    """Without the first image, which is right, 4 of 7 are wrong; once it is mended all are measured again."""
    publish_classifier(home)
    lost = imagenet / "val" / WNIDS[0] / "ILSVRC2012_val_00000001.JPEG"
    lost.write_bytes(b"no JPEG")
    arguments = ["--models", "gray", "--imagenet", imagenet, "--json", tmp_path / "out.json"]
    assert table(*arguments, "--check") == 1
    row = rows_of(tmp_path / "out.json")["gray"]
    assert (row["status"], row["verdict"]) == ("unreadable images", None)
    np.testing.assert_allclose(row["figures"]["top1_error"], 100 * 4 / 7)
    assert lost.name in row["run"]["unreadable"][0]
    assert table(*arguments) == 2
    gray(10).save(lost, quality=95)
    assert table(*arguments, "--check") == 0
    assert measured == ["gray", "gray", "gray"]


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "cut": lambda whole: whole[: len(whole) // 2],
    "no record": lambda _: b"[]",
    "another key": lambda whole: whole.replace(b'"protocol"', b'"protocols"'),
    "a figure missing": lambda whole: whole.replace(b'"top5_error"', b'"top4_error"'),
}


@pytest.mark.process
@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_kept_row_that_is_none_is_measured_anew(
    home: Path, imagenet: Path, tmp_path: Path, measured: list[str], damage: Callable[[bytes], bytes]
) -> None:
    publish_classifier(home)
    arguments = ["--models", "gray", "--imagenet", imagenet, "--results", tmp_path / "kept"]
    table(*arguments)
    (kept,) = (tmp_path / "kept").iterdir()
    kept.write_bytes(damage(kept.read_bytes()))
    assert table(*arguments) == 0
    assert measured == ["gray", "gray"]
