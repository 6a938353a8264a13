"""`python -m matnet.benchmarks.steady_memory`: whether memory grows over many batches, in every installed runtime."""

from __future__ import annotations

from matnet.interrupts import interruptible

if __name__ == "__main__":
    interruptible()

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from matnet.benchmarks.machine import resident
from matnet.benchmarks.nets import squeezenet
from matnet.command_line import CommandParser, run_command
from matnet.engines.cpu.runtimes import RUNTIMES, available
from matnet.errors import MatnetError

LAST_OF_ANY_SIZE = "conv10"  # the pooling after it needs a fixed size
WARM_UP = 100  # batches that fill pools and caches; memory must not grow afterwards
ALLOWED = 4 << 20  # bytes, for fluctuations of the interpreter and the allocator


def parser() -> argparse.ArgumentParser:
    command = CommandParser(
        prog="python -m matnet.benchmarks.steady_memory",
        description="Run many batches of SqueezeNet in each runtime; exit with 1 if memory grows by over 4 MiB.",
    )
    command.add_argument("--batches", type=int, default=1000, metavar="N", help="default: %(default)s")
    command.add_argument("--side", type=int, default=63, metavar="N", help="of the images (default: %(default)s)")
    return command


def growth(run: Callable[[], object], batches: int) -> int:
    """The growth of memory in bytes after the warm-up."""
    for _ in range(WARM_UP):
        run()
    before = resident()
    for _ in range(batches):
        run()
    return resident() - before


def run_all(engine: Callable[[np.ndarray], object], batches: Sequence[np.ndarray]) -> None:
    """Run all batches and discard the results."""
    for x in batches:
        engine(x)


def main(argv: list[str] | None = None) -> int:
    options = parser().parse_args(argv)
    if options.batches < 1 or options.side < 1:
        raise MatnetError("--batches and --side must be at least 1")
    net = squeezenet()
    batches = [np.zeros((count, 3, options.side, options.side), np.float32) for count in (1, 2)]
    worst = 0
    for runtime in [name for name in RUNTIMES if available(name)]:
        engine = net.compile([LAST_OF_ANY_SIZE], backend="onnx", runtime=runtime)
        grown = growth(partial(run_all, engine, batches), options.batches)
        print(f"{runtime}: {grown / 2**20:+.1f} MiB in {options.batches} batches of 1 and of 2 images")
        worst = max(worst, grown)
    return int(worst > ALLOWED)


if __name__ == "__main__":
    sys.exit(run_command(main))
