"""The vocabulary of outcomes: its words, its exit statuses, and the table in the documents."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from matnet.outcomes import ExitStatus, Outcome, Status

PAGE = Path(__file__).resolve().parents[1] / "docs" / "outcomes.md"


def documented(heading: str) -> list[str]:
    """The first column of the table under a heading of the page."""
    section = PAGE.read_text(encoding="utf-8").split(f"## {heading}\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `?([^|`]+?)`? +\|", section, re.MULTILINE)
    return rows[1:]


def test_the_page_lists_every_status_and_nothing_else() -> None:
    assert documented("Results") == [str(status) for status in Status]


def test_the_page_lists_every_exit_status_and_nothing_else() -> None:
    assert documented("Commands") == [str(int(status)) for status in ExitStatus]


@pytest.mark.parametrize(
    ("outcome", "text", "status"),
    [
        (Outcome(), "ok", 0),
        (Outcome(Status.DOUBTFUL, "no better than chance"), "doubtful: no better than chance", 0),
        (Outcome(Status.UNREADABLE_IMAGES, count=3), "unreadable images (3)", 2),
        (Outcome(Status.NOT_FINITE), "not finite", 2),
        (Outcome(Status.FAILED, "out of memory"), "failed: out of memory", 2),
        (Outcome(Status.ABSENT, "no data"), "absent: no data", 0),
    ],
)
def test_an_outcome_is_one_phrase_and_one_exit_status(outcome: Outcome, text: str, status: int) -> None:
    assert (str(outcome), int(outcome.exit_status)) == (text, status)
