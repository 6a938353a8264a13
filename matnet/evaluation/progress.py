"""The progress bar of an evaluation: images done, images/s, and the errors so far."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from matnet.evaluation.tally import Tally

# As tqdm's own, but with images/s also where fewer than one is done in a second.
LINE = "{l_bar}{bar}| {n_fmt}/{total_fmt}, {elapsed}<{remaining}, {rate_noinv_fmt}{postfix}"


class Progress:
    """Shows each tally on stderr; `say` writes a line above the bar. A resumed run's rate is that of this part."""

    def __init__(self, bar: Any) -> None:
        self._bar = bar

    def watch(self, tally: Tally) -> None:
        self._bar.set_postfix_str(_short_errors(tally), refresh=False)
        self._bar.update(tally.images - self._bar.n)

    def say(self, line: str) -> None:
        self._bar.write(f"matnet: {line}", file=sys.stderr)


@contextmanager
def progress(total: int, start: Tally, hidden: bool = False) -> Iterator[Progress]:
    """A progress bar over `total` images, of which `start` has done some; none where stderr is no terminal."""
    with image_bar(total, hidden, initial=start.images) as bar:
        yield Progress(bar)


def image_bar(total: int, hidden: bool = False, **options: Any) -> Any:
    """A bar of tqdm over `total` images, with further options of it; hidden too where stderr is no terminal."""
    from tqdm import tqdm

    hidden = hidden or not sys.stderr.isatty()
    return tqdm(total=total, unit=" images", disable=hidden, file=sys.stderr, bar_format=LINE, **options)


def _short_errors(tally: Tally) -> str:
    """The errors so far, short enough for a line of 80 characters that also tells of 50,000 images and of hours."""
    if not tally.errors.images:
        return ""
    return f"top-1/5 error {tally.errors.top1_error:.1f}/{tally.errors.top5_error:.1f} %"


def running_errors(tally: Tally) -> str:
    """The errors so far, for people; nothing before the first image."""
    if not tally.errors.images:
        return ""
    return f"top-1 error {tally.errors.top1_error:.2f} %, top-5 error {tally.errors.top5_error:.2f} %"
