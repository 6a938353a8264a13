"""The progress bar of an evaluation: images done, images/s, and the figures so far."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from matnet.evaluation.resume import Watch
from matnet.evaluation.tally import Tally
from matnet.evaluation.tasks import Task

# As tqdm's own, but with images/s also where fewer than one is done in a second.
LINE = "{l_bar}{bar}| {n_fmt}/{total_fmt}, {elapsed}<{remaining}, {rate_noinv_fmt}{postfix}"


class AboveBar(logging.Handler):
    """Writes log lines above a progress bar."""

    def __init__(self, bar: Any) -> None:
        super().__init__()
        self._bar = bar

    def emit(self, record: logging.LogRecord) -> None:
        self._bar.write(f"matnet: {record.getMessage()}", file=sys.stderr)


@contextmanager
def progress(total: int, start: Tally, task: Task, hidden: bool = False, **options: Any) -> Iterator[Watch]:
    """A progress bar on stderr over `total` images, of which `start` has done some; none where stderr is no terminal.

    options: further options of tqdm. Lines of matnet's log stand above the bar. The rate of a resumed run is that of
    this part.
    """
    with image_bar(total, hidden, initial=start.images, **options) as bar, _logged_above(bar):

        def watch(tally: Tally) -> None:
            bar.set_postfix_str(task.brief(tally.counts), refresh=False)
            bar.update(tally.images - bar.n)

        yield watch


def image_bar(total: int, hidden: bool = False, **options: Any) -> Any:
    """A bar of tqdm over `total` images, with further options of it; hidden too where stderr is no terminal."""
    from tqdm import tqdm

    hidden = hidden or not sys.stderr.isatty()
    return tqdm(total=total, unit=" images", disable=hidden, file=sys.stderr, bar_format=LINE, **options)


@contextmanager
def _logged_above(bar: Any) -> Iterator[None]:
    """The handlers of matnet's logger replaced while a bar is shown; without a bar they stay."""
    logger = logging.getLogger("matnet")
    if bar.disable or not logger.handlers:
        yield
        return
    before = list(logger.handlers)
    logger.handlers = [AboveBar(bar)]
    try:
        yield
    finally:
        logger.handlers = before
