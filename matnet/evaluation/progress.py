"""The progress bar of an evaluation: finished images, images/s, and the figures so far."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from matnet.evaluation.resume import Watch
from matnet.evaluation.tally import Tally
from matnet.evaluation.tasks import Task

# tqdm's default format, but always with images/s, even below one per second.
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
    """A progress bar on stderr over `total` images, starting after those of `start`; only if stderr is a terminal.

    options: further options of tqdm. matnet's log appears above the bar. The rate of a resumed run is that of this
    part.
    """
    with image_bar(total, hidden, initial=start.images, **options) as bar, _logged_above(bar):

        def watch(tally: Tally) -> None:
            bar.set_postfix_str(task.brief(tally.counts), refresh=False)
            bar.update(tally.images - bar.n)

        yield watch


def image_bar(total: int, hidden: bool = False, **options: Any) -> Any:
    """A tqdm bar over `total` images, with further tqdm options; also hidden if stderr is not a terminal."""
    from tqdm import tqdm

    hidden = hidden or not sys.stderr.isatty()
    return tqdm(total=total, unit=" images", disable=hidden, file=sys.stderr, bar_format=LINE, **options)


@contextmanager
def _logged_above(bar: Any) -> Iterator[None]:
    """Replace the handlers of matnet's logger while a bar is shown."""
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
