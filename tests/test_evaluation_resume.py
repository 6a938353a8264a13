"""Evaluations cut short by Ctrl-C, SIGTERM or an error: what is told, kept, and counted when they go on.

digits-lenet makes 10 mistakes on its 355 test images, as OpenCV counts (see test_digits_lenet).
"""

from __future__ import annotations

import json
import signal
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from matnet import eval as eval_command
from matnet.errors import DataError, EngineError, MatnetError
from matnet.evaluation.flow import added
from matnet.evaluation.resume import SUFFIX, Unfinished, keeping
from matnet.evaluation.tally import Tally
from matnet.evaluation.tasks import Classification
from matnet.metrics import TopK
from tests.helpers import assert_line

KEY = {"model": "ab12", "list of images": "cd34"}
TASK = Classification(None)  # type: ignore[arg-type]  # only its counts are used


def tally(start: int, stop: int, wrong: int = 1) -> Tally:
    return Tally(TopK(images=stop - start, wrong={1: wrong, 5: 0}), done=((start, stop),), seconds=2.5)


def raise_after(images: int, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Send this process a signal once, when so many images are done."""
    sent: list[int] = []

    def watch(tally: Tally) -> None:
        if tally.images >= images and not sent:
            sent.append(tally.images)
            signal.raise_signal(number)

    monkeypatch.setattr(eval_command, "progress", lambda *_: nullcontext(watch))


@pytest.mark.process
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("with_file", [True, False])
def test_a_run_that_was_stopped_goes_on(
    number: int,
    status: int,
    with_file: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MATNET_HOME", str(tmp_path / "home"))
    target = tmp_path / "row.json"
    options = ["--quiet", "--backend", "numpy", "--batch-size", "16", "--json", *([str(target)] if with_file else [])]
    with monkeypatch.context() as patched:
        raise_after(100, patched, number)
        assert eval_command.main(options) == status
    told = capsys.readouterr().err
    assert "interrupted after 1" in told
    assert "top-1 error" in told
    assert "with --resume" in told
    assert "Traceback" not in told
    assert not target.exists()
    (kept,) = tmp_path.rglob(f"*{SUFFIX}")
    assert (kept.parent == tmp_path) == with_file
    seen = json.loads(kept.read_text())["tally"]["counts"]["images"]

    assert eval_command.main([*options, "--resume", "--batch-size", "9"]) == 0
    out, told = capsys.readouterr()
    row = json.loads(target.read_text() if with_file else out)
    assert (row["images"], row["top1_error"], row["status"]) == (355, 100 * 10 / 355, "ok")
    assert f"resuming after {seen} images" in told
    assert f"resumed after {seen} images" in row["notes"]
    assert not list(tmp_path.rglob(f"*{SUFFIX}"))


@pytest.mark.process
def test_a_kept_run_is_not_taken_unasked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "row.json"
    options = ["--quiet", "--backend", "numpy", "--json", str(target)]
    with monkeypatch.context() as patched:
        raise_after(100, patched, signal.SIGINT)
        assert eval_command.main(options) == 130
    capsys.readouterr()
    assert eval_command.main(options) == 0
    assert_line(capsys.readouterr().err, f"{target}{SUFFIX}", "--resume")


@pytest.mark.process
@pytest.mark.parametrize(
    "other",
    [["--scores", "ip2"], ["--mean", "70"], ["--limit", "354"], ["--backend", "onnx"], ["--ten-crop"]],
    ids=lambda options: options[0],
)
def test_a_run_of_another_kind_is_refused(other: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = ["--quiet", "--backend", "numpy", "--json", str(tmp_path / "row.json")]
    with monkeypatch.context() as patched:
        raise_after(100, patched, signal.SIGINT)
        assert eval_command.main(options) == 130
    with pytest.raises(DataError, match="belongs to a run with another"):
        eval_command.main([*options, *other, "--resume"])


@pytest.mark.process
def test_resume_without_a_kept_run_starts_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MATNET_HOME", str(tmp_path))
    assert eval_command.main(["--quiet", "--backend", "numpy", "--limit", "20", "--resume"]) == 0
    assert "no unfinished run found" in capsys.readouterr().err


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"key": {}}',
        json.dumps({"key": KEY, "tally": {"counts": 3}}),
        # 4 images counted, 5 done
        json.dumps({"key": KEY, "tally": {**tally(0, 4).record(), "done": [[0, 5]]}}),
        json.dumps({"key": KEY, "tally": {**tally(0, 4).record(), "done": [[0, 3], [2, 3]]}}),
        json.dumps({"key": KEY, "tally": {**tally(0, 4).record(), "done": [[-4, 0]]}}),
        json.dumps({"key": KEY, "tally": {**tally(0, 4).record(), "done": [[4, 8], [9, 9]]}}),
        json.dumps({"key": KEY, "tally": {**tally(0, 4).record(), "done": [[0, float("inf")]]}}),
        json.dumps({"key": KEY, "tally": {**tally(0, 4).record(), "seconds": float("nan")}}),
    ],
)
def test_a_damaged_file_is_set_aside(text: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    state = Unfinished(tmp_path / "a.unfinished", {} if '"key": {}' in text else KEY, TASK)
    state.path.write_text(text)
    assert state.exists() == ('"key"' in text)
    assert state.load() is None
    assert (tmp_path / "a.unfinished.damaged").read_text() == text
    assert not state.path.exists()
    assert str(state.path) in caplog.text


def test_what_is_kept_comes_back(tmp_path: Path) -> None:
    state = Unfinished(tmp_path / "new" / "a.unfinished", KEY, TASK)
    assert state.load() is None
    state.save(tally(3, 9))
    assert state.load() == tally(3, 9)
    with pytest.raises(DataError, match="with another model;"):
        Unfinished(state.path, {**KEY, "model": "ef56"}, TASK).load()


def test_an_error_on_the_way_keeps_what_was_counted(tmp_path: Path) -> None:
    state = Unfinished(tmp_path / "a.unfinished", KEY, TASK)
    start = tally(0, 4)
    with pytest.raises(EngineError, match="the GPU is gone"), keeping(state, start, TASK) as watch:
        watch(start.plus(tally(4, 8)))
        raise EngineError("the GPU is gone")
    found = state.load()
    assert found is not None
    assert (found.images, found.counts.wrong[1]) == (8, 2)


def test_counts_are_kept_on_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("matnet.evaluation.resume.KEEP_EVERY", 0.0)
    state, seen = Unfinished(tmp_path / "a.unfinished", KEY, TASK), []
    with keeping(state, Tally(TopK()), TASK) as keep:

        def watch(found: Tally) -> None:
            keep(found)
            kept = state.load()
            assert kept is not None
            seen.append(kept.images)

        assert added(Tally(TopK()), [tally(0, 4), tally(4, 8)], watch).images == 8
    assert seen == [4, 8]
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


@pytest.mark.process
def test_where_nothing_can_be_kept_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The cache folder is a file: one note, the figures, status 0."""
    (tmp_path / "home").write_text("no folder")
    monkeypatch.setenv("MATNET_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("matnet.evaluation.resume.KEEP_EVERY", 0.0)
    assert eval_command.main(["--quiet", "--backend", "numpy", "--limit", "100", "--batch-size", "10"]) == 0
    assert capsys.readouterr().err.count("cannot be written") == 1


@pytest.mark.process
def test_the_state_is_removed_only_once_the_result_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "row.json"
    options = ["--quiet", "--backend", "numpy", "--json", str(target)]
    monkeypatch.setattr("matnet.evaluation.resume.KEEP_EVERY", 0.0)
    with monkeypatch.context() as patched, pytest.raises(OSError, match="disk full"):
        patched.setattr("matnet.evaluation.command.atomic_write", full)
        eval_command.main(options)
    assert Path(f"{target}{SUFFIX}").is_file()
    assert eval_command.main([*options, "--resume"]) == 0
    row = json.loads(target.read_text())
    assert (row["images"], row["top1_error"]) == (355, 100 * 10 / 355)
    assert not Path(f"{target}{SUFFIX}").exists()


def full(*_: Any) -> Any:
    raise OSError("disk full")


def test_an_output_that_cannot_be_written_is_refused_before_the_run(tmp_path: Path) -> None:
    with pytest.raises(MatnetError, match="does not exist"):
        eval_command.main(["--quiet", "--json", str(tmp_path / "nodir" / "row.json")])


def test_beside_a_device_no_state_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The state of `--json /dev/null` was the file /dev/null.unfinished."""
    monkeypatch.setenv("MATNET_HOME", str(tmp_path))
    monkeypatch.setattr("matnet.evaluation.resume.KEEP_EVERY", 0.0)
    kept: list[Path] = []
    save = Unfinished.save
    monkeypatch.setattr(Unfinished, "save", lambda self, tally: kept.append(self.path) or save(self, tally))
    assert eval_command.main(["--quiet", "--backend", "numpy", "--limit", "20", "--json", "/dev/null"]) == 0
    assert kept
    assert {path.parent for path in kept} == {tmp_path / "evaluations"}
