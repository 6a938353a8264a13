"""Work grows in proportion to the size of its input: lines of matnet that run for n and for 2 n parts."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import matnet
from matnet.benchmarks.growth import attempt, subjects

MATNET = str(Path(matnet.__file__).parent)
PARTS = (3, 12, 24, 48)  # the first run imports what it needs
MOST = 2.12
"""Of (lines for 48 - for 24) / (lines for 24 - for 12): 2 where work is linear, 4 where it grows with the square."""


def lines_run(action: Callable[[], object]) -> int:
    """How many lines of matnet's own modules an action runs; the passes of a comprehension count as lines."""
    count = 0

    def line(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal count
        count += 1
        return line

    def call(frame: FrameType, event: str, argument: Any) -> Any:
        return line if frame.f_code.co_filename.startswith(MATNET) else None

    before = sys.gettrace()
    sys.settrace(call)
    try:
        action()
    finally:
        sys.settrace(before)
    return count


@pytest.mark.process
@pytest.mark.parametrize("name", sorted({subject.name.partition(": ")[0] for subject in subjects()}))
def test_work_is_linear(name: str, tmp_path: Path) -> None:
    """Everything that is done with one kind of input."""
    growth = {}
    for subject in subjects():
        if subject.name.partition(": ")[0] == name:
            counts = []
            for parts in PARTS:
                given = subject.prepare(parts, tmp_path)
                counts.append(lines_run(partial(attempt, subject, given, tmp_path)))
            _, small, middle, large = counts
            growth[subject.name] = ((large - middle) / max(middle - small, 1), counts)
    assert max(growth.values())[0] < MOST, growth
