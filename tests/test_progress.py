"""The progress bar of an evaluation: images done, images/s and the errors so far, where stderr is a terminal."""

from __future__ import annotations

import io
import logging
import os
import re
import struct
from collections.abc import Iterator
from contextlib import redirect_stderr
from pathlib import Path
from typing import NamedTuple

import pytest

from matnet import eval as eval_command
from matnet.command_line import log_on_stderr
from matnet.evaluation.progress import progress
from matnet.evaluation.tally import Tally
from matnet.evaluation.tasks import Classification
from matnet.metrics import TopK
from tests.helpers import assert_line
from tests.table_runs import publish_classifier


class Terminal(io.StringIO):
    """All that was written to a terminal, also what was written over; `size` is a file that can be asked how wide."""

    def __init__(self, size: int | None = None) -> None:
        super().__init__()
        self.size = size

    def isatty(self) -> bool:
        return True

    def fileno(self) -> int:
        return super().fileno() if self.size is None else self.size

    @property
    def lines(self) -> list[str]:
        return [line.rstrip() for line in re.split("[\r\n]+", self.getvalue()) if line.strip()]


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    """A terminal of 80 characters by 24 lines."""
    fcntl = pytest.importorskip("fcntl", reason="only Unix has terminals of a given size")
    termios = pytest.importorskip("termios", reason="only Unix has termios")
    ends = os.openpty()
    fcntl.ioctl(ends[1], termios.TIOCSWINSZ, struct.pack("4H", 24, 80, 0, 0))
    yield Terminal(ends[1])
    for end in ends:
        os.close(end)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time that tqdm reads, which stands still unless it is set."""
    now = [1000.0]
    monkeypatch.setattr("tqdm.std.time", lambda: now[0])
    return now


def counted(images: int, wrong: int, wrong5: int, unreadable: int = 0) -> Tally:
    """So many images done, the last of which could not be read."""
    lost = tuple((images - k, "no image") for k in range(unreadable, 0, -1))
    return Tally(TopK(images=images - unreadable, wrong={1: wrong, 5: wrong5}), lost, ((0, images),))


NONE = Tally(TopK())
TASK = Classification(None)  # type: ignore[arg-type]  # only its figures are used
log = logging.getLogger("matnet.test")


class Case(NamedTuple):
    tally: Tally
    total: int
    seconds: float
    told: str
    start: Tally = NONE


CASES = {
    # 30 images in 60 s, of which 3 and 1 are wrong.
    "less than one a second": Case(counted(30, 3, 1), 40, 60, "01:00<00:20,  0.50 images/s, top-1/5 error 10.0/3.3 %"),
    # 32 images in 4 s after the 8 of an earlier run; of all 40, 19 and 5 are wrong.
    "resumed": Case(
        counted(40, 19, 5), 80, 4, "00:04<00:05,  8.00 images/s, top-1/5 error 47.5/12.5 %", counted(8, 5, 3)
    ),
    # 12 of 20 can be read, of which 3 and none are wrong.
    "unreadable": Case(counted(20, 3, 0, 8), 50, 2, "00:02<00:03, 10.00 images/s, top-1/5 error 25.0/0.0 %"),
    "all unreadable": Case(counted(4, 0, 0, 4), 8, 1, "00:01<00:01,  4.00 images/s"),
    # Half of ImageNet's validation images in 10,000 s: the longest line that 80 characters have to hold.
    "hours": Case(
        counted(25000, 10705, 4900), 50000, 10000, "2:46:40<2:46:40,  2.50 images/s, top-1/5 error 42.8/19.6 %"
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_what_the_bar_shows(case: Case, terminal: Terminal, clock: list[float]) -> None:
    """Worked by hand: the rate is that of the images since the start, errors are of all that could be read."""
    with redirect_stderr(terminal), progress(case.total, case.start, TASK) as shown:
        clock[0] += case.seconds
        shown(case.tally)
    first, last = terminal.lines[0], terminal.lines[-1]
    assert f"| {case.start.images}/{case.total}, 00:00<?, ? images/s" in first
    assert last.endswith(f"| {case.tally.images}/{case.total}, {case.told}")
    assert last.startswith(f"{100 * case.tally.images / case.total:3.0f}%|")
    assert len(last) <= 80


def test_a_log_line_stands_above_the_bar(terminal: Terminal, clock: list[float]) -> None:
    with log_on_stderr(), redirect_stderr(terminal), progress(40, NONE, TASK) as shown:
        clock[0] += 2
        shown(counted(8, 3, 1))
        log.warning("a batch did not fit")
    assert terminal.lines.count("matnet: a batch did not fit") == 1
    assert terminal.lines[-1].endswith("| 8/40, 00:02<00:08,  4.00 images/s, top-1/5 error 37.5/12.5 %")


@pytest.mark.parametrize(("stream", "hidden"), [(Terminal, True), (io.StringIO, False)], ids=["quiet", "no terminal"])
def test_a_log_line_without_a_bar(stream: type[io.StringIO], hidden: bool) -> None:
    with log_on_stderr(), redirect_stderr(stream()) as told, progress(40, NONE, TASK, hidden) as shown:
        shown(counted(8, 3, 1))
        log.warning("a batch did not fit")
    assert told.getvalue() == "matnet: a batch did not fit\n"


@pytest.mark.process
def test_an_evaluation_on_a_terminal(home: Path, imagenet: Path, terminal: Terminal) -> None:
    """4 of the 8 gray images are nearest to another class's gray; for 2 of them their own is the farthest of six."""
    publish_classifier(home)
    with redirect_stderr(terminal):
        assert eval_command.main(["--model", "gray", "--data", str(imagenet / "val"), "--backend", "numpy"]) == 0
    bars = [line for line in terminal.lines if "%|" in line]
    assert "| 0/8, " in bars[0]
    assert re.search(r"^100%\|.+\| 8/8, [\d:]+<[\d:]+, +\d+\.\d\d images/s, top-1/5 error 50\.0/25\.0 %$", bars[-1])


@pytest.mark.process
def test_digits_on_a_terminal(home: Path, terminal: Terminal) -> None:
    """digits-lenet makes 10 mistakes on its 355 images, as OpenCV counts (see test_digits_lenet): 2.8 %."""
    with redirect_stderr(terminal):
        assert eval_command.main(["--backend", "numpy"]) == 0
    bars = [line for line in terminal.lines if "%|" in line]
    assert re.search(r"^100%\|.+\| 355/355, .* images/s, top-1/5 error 2\.8/0\.0 %$", bars[-1])


@pytest.mark.process
@pytest.mark.parametrize(("stream", "options"), [(Terminal, ["--quiet"]), (io.StringIO, [])], ids=["quiet", "file"])
def test_an_evaluation_without_a_bar(stream: type[io.StringIO], options: list[str], home: Path) -> None:
    with redirect_stderr(stream()) as told:
        assert eval_command.main(["--backend", "numpy", *options]) == 0
    assert "%|" not in told.getvalue() and "\r" not in told.getvalue()
    assert_line(told.getvalue(), "labels", "by name", "classes")
