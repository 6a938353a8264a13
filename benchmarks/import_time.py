"""`python -m matnet.benchmarks.import_time`: time of `import matnet` and of commands, compared with `import numpy`."""

from __future__ import annotations

from matnet.interrupts import interruptible

if __name__ == "__main__":
    interruptible()

import argparse
import platform
import statistics
import subprocess
import sys
import tempfile

from matnet.benchmarks.machine import with_bytecode, write_figures
from matnet.command_line import CommandParser, run_command
from matnet.errors import MatnetError
from matnet.files import check_outputs
from matnet.kinds import JSON
from matnet.tables import Table

COMMAND = (  # what the console script `matnet` does
    "import contextlib, os, sys; from matnet.__main__ import script\n"
    "sys.argv = ['matnet', {verb!r}, {model!r}]\n"
    "with open(os.devnull, 'w') as none, contextlib.redirect_stdout(none): assert script() == 0\n"
)
STATEMENTS = {"numpy": "import numpy", "matnet": "import matnet"}
VERBS = ("show", "convert")  # complete commands on a small .mat file
TARGET = 50.0  # maximum milliseconds more than numpy's import
PROBE = "import time; start = time.process_time()\n{statement}\nprint(time.process_time() - start)"


def parser() -> argparse.ArgumentParser:
    command = CommandParser(
        prog="python -m matnet.benchmarks.import_time",
        description="Processor time of `import numpy`, `import matnet` and the commands show and convert, in fresh "
        f"processes in turns; exit status 1 if a command takes over {TARGET:.0f} ms more than numpy's import.",
    )
    command.add_argument("--runs", type=int, default=11, metavar="N", help="processes each (default 11)")
    command.add_argument("--json", metavar="FILE", help="write the figures to FILE as well")
    return command


def import_seconds(statement: str, environment: dict[str, str] | None = None) -> float:
    """Processor time of `statement` in a fresh interpreter, without its start; MatnetError if it fails."""
    probe = [sys.executable, "-c", PROBE.format(statement=statement)]
    result = subprocess.run(probe, capture_output=True, text=True, env=environment)
    if result.returncode:
        reason = result.stderr.strip().rpartition("\n")[2]
        raise MatnetError(f"`{statement}` failed: {reason}")
    return float(result.stdout)


def statements() -> dict[str, str]:
    """The timed statements by name."""
    from matnet.evaluation.command import embedded_model

    return {**STATEMENTS, **{verb: COMMAND.format(verb=verb, model=str(embedded_model())) for verb in VERBS}}


def measure(runs: int) -> dict[str, list[float]]:
    """Seconds of every run by name, without a first round that compiles the modules."""
    timed = statements()
    seconds: dict[str, list[float]] = {name: [] for name in timed}
    with tempfile.TemporaryDirectory(prefix="matnet-") as folder:
        environment = with_bytecode(folder)
        for number in range(runs + 1):
            for name, statement in timed.items():
                taken = import_seconds(statement, environment)
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
        more = 1000 * (median[name] - median["numpy"])
        ratio = f"{median[name] / median['numpy']:.2f}"
        rows.append([STATEMENTS.get(name, f"matnet {name}"), *shown, ratio, f"{more:.1f}"])
    headers = ["", "median ms", "fastest", "slowest", "ratio to numpy", "more ms"]
    print(Table.of(headers, rows, right=headers[1:]).text())
    print(f"{options.runs} fresh processes each; Python {platform.python_version()}, {platform.platform()}")
    held = all(1000 * (median[verb] - median["numpy"]) <= TARGET for verb in VERBS)
    print(f"show and convert at most {TARGET:.0f} ms more than numpy: {'PASS' if held else 'miss'}")
    if options.json:
        figures = {"seconds": seconds, "median": median, "held": held}
        write_figures(options.json, "matnet.benchmarks.import_time", figures, argv)
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(run_command(main))
