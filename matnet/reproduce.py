"""`matnet reproduce`: measure the published tables again."""

from __future__ import annotations

from matnet.interrupts import interruptible

if __name__ == "__main__":
    interruptible()

import sys

from matnet.command_line import run_command
from matnet.reproduction.command import main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(run_command(main))
