"""How a command shows matnet's log: one line per message on stderr."""

from __future__ import annotations

import logging
import sys


class StderrHandler(logging.Handler):
    """Writes `matnet: MESSAGE` to what is stderr at the time."""

    def emit(self, record: logging.LogRecord) -> None:
        print(f"matnet: {record.getMessage()}", file=sys.stderr)


def log_to_stderr() -> None:
    """Show notes (level info) and warnings of the logger `matnet` on stderr; a second call changes nothing."""
    logger = logging.getLogger("matnet")
    if not any(isinstance(handler, StderrHandler) for handler in logger.handlers):
        logger.addHandler(StderrHandler())
    logger.setLevel(logging.INFO)
