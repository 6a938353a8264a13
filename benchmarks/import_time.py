"""`python -m matnet.benchmarks.import_time`: what `import matnet` costs, beside the `import numpy` in it."""

from __future__ import annotations

from matnet.errors import interruptible

if __name__ == "__main__":
    interruptible()

import argparse
import json
import platform
import statistics
import subprocess
import sys

from matnet.errors import MatnetError, run_command
from matnet.files import atomic_write, check_outputs
from matnet.kinds import JSON
from matnet.tables import Table

STATEMENTS = {"numpy": "import numpy", "matnet": "import matnet"}
PROBE = "import time; start = time.perf_counter(); {statement}; print(time.perf_counter() - start)"


def parser() -> argparse.ArgumentParser:
    command = argparse.ArgumentParser(
        prog="python -m matnet.benchmarks.import_time",
        description="Time `import matnet` and `import numpy`, each in fresh processes, by turns.",
    )
    command.add_argument("--runs", type=int, default=11, metavar="N", help="processes each (default 11)")
    command.add_argument("--json", metavar="FILE", help="write the figures to FILE as well")
    return command


def import_seconds(statement: str) -> float:
    """How long a fresh interpreter takes over `statement`, its start not counted; MatnetError if it fails."""
    probe = [sys.executable, "-c", PROBE.format(statement=statement)]
    result = subprocess.run(probe, capture_output=True, text=True)
    if result.returncode:
        reason = result.stderr.strip().rpartition("\n")[2]
        raise MatnetError(f"`{statement}` failed: {reason}")
    return float(result.stdout)


def measure(runs: int) -> dict[str, list[float]]:
    """Seconds of every run by package; a first round, which may fill the file cache, is left out."""
    seconds: dict[str, list[float]] = {name: [] for name in STATEMENTS}
    for number in range(runs + 1):
        for name, statement in STATEMENTS.items():
            taken = import_seconds(statement)
            if number:
                seconds[name].append(taken)
    return seconds


def main(argv: list[str] | None = None) -> int:
    options = parser().parse_args(argv)
    check_outputs([(options.json, JSON)])
    if options.runs < 1:
        raise MatnetError("--runs must be at least 1")
    seconds = measure(options.runs)
    median = {name: statistics.median(values) for name, values in seconds.items()}
    rows = []
    for name, values in seconds.items():
        milliseconds = [1000 * value for value in (median[name], min(values), max(values))]
        shown = [f"{value:.1f}" for value in milliseconds]
        rows.append([STATEMENTS[name], *shown, f"{median[name] / median['numpy']:.2f}"])
    headers = ["", "median ms", "fastest", "slowest", "ratio to numpy"]
    print(Table.of(headers, rows, right=headers[1:]).text())
    print(f"{options.runs} fresh processes each; Python {platform.python_version()}, {platform.platform()}")
    if options.json:
        with atomic_write(options.json) as file:
            file.write(json.dumps({"seconds": seconds, "median": median}, indent=1).encode())
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
