"""The progress bar of an evaluation: images done, images/s, and the errors so far."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from matnet.evaluation.tally import Tally


class Progress:
    """Shows each tally on stderr; `say` writes a line above the bar. A resumed run's rate is that of this part."""

    def __init__(self, bar: Any) -> None:
        self._bar = bar

    def watch(self, tally: Tally) -> None:
        self._bar.set_postfix_str(running_errors(tally), refresh=False)
        self._bar.update(tally.images - self._bar.n)

    def say(self, line: str) -> None:
        self._bar.write(f"matnet: {line}", file=sys.stderr)


@contextmanager
def progress(total: int, start: Tally, hidden: bool = False) -> Iterator[Progress]:
    """A progress bar over `total` images, of which `start` has done some; none where stderr is no terminal."""
    from tqdm import tqdm

    hidden = hidden or not sys.stderr.isatty()
    with tqdm(total=total, initial=start.images, unit=" images", disable=hidden, file=sys.stderr) as bar:
        yield Progress(bar)


def running_errors(tally: Tally) -> str:
    """The errors so far, for people; nothing before the first image."""
    if not tally.errors.images:
        return ""
    return f"top-1 error {tally.errors.top1_error:.2f} %, top-5 error {tally.errors.top5_error:.2f} %"
