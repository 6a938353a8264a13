"""`python -m matnet.benchmarks.finite_check`: the cost of the check for NaN and infinite values.

Compares with a target: the time to check all weights of a network in a mapped file and the scores of its first batch,
as a fraction of the time to compile the network and run that batch.
"""

from __future__ import annotations

from matnet.interrupts import interruptible

if __name__ == "__main__":
    interruptible()

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import matnet
from matnet.arguments import positive
from matnet.command_line import CommandParser, run_command
from matnet.finite import weights_not_finite

MOST = 0.02
"""The target: less than this fraction."""
NAME, SHAPE = "imagenet-caffe-alex", (3, 227, 227)


def parser() -> argparse.ArgumentParser:
    command = CommandParser(
        prog="python -m matnet.benchmarks.finite_check",
        description="Measure the check of weights and scores of AlexNet with random weights; status 1 if over 2 %.",
    )
    command.add_argument("--backend", default="auto", metavar="NAME", help="an engine (default: auto)")
    command.add_argument("--batch-size", type=positive, default=32, metavar="N", help="images (default: 32)")
    command.add_argument("--runs", type=positive, default=5, metavar="N", help="runs, for the median (default: 5)")
    return command


def seconds(file: Path, backend: str, batch: np.ndarray) -> tuple[float, float]:
    """Seconds of the check, and of compiling and the first batch including the check, for a freshly mapped file."""
    net = matnet.load(file)
    started = time.perf_counter()
    engine = net.compile(backend=backend, batch_size=len(batch))
    scores = next(iter(engine(batch).values()))
    compiled = time.perf_counter()
    all(np.isfinite(row).all() for row in scores)
    scored = time.perf_counter() - compiled
    fresh = matnet.load(file)  # its pages are not yet mapped
    before = time.perf_counter()
    weights_not_finite(fresh)
    return time.perf_counter() - before + scored, compiled - started + scored


def main(argv: Sequence[str] | None = None) -> int:
    options = parser().parse_args(argv)
    from matnet.zoo import random_network

    batch = np.random.default_rng(0).random((options.batch_size, *SHAPE), np.float32)
    with tempfile.TemporaryDirectory(prefix="matnet-") as folder:
        file = Path(folder, "net.mat")
        random_network(NAME).save(file)
        found = [seconds(file, options.backend, batch) for _ in range(options.runs)]
    check, whole = (statistics.median(values) for values in zip(*found, strict=True))
    share = statistics.median(part / total for part, total in found)
    print(
        f"{NAME}, backend {options.backend}, batch of {options.batch_size}: the check takes {1000 * check:.1f} ms "
        f"of {1000 * whole:.0f} ms, {100 * share:.2f} % (target: under {100 * MOST:g} %), medians of {options.runs}"
    )
    return 0 if share < MOST else 1


if __name__ == "__main__":
    sys.exit(run_command(main))
