"""`python -m matnet.benchmarks.gpu`: check the GPU engine on recorded networks and compare its speed with torch.

The most important parts run first, and results are written after every part. A part that fails or does not fit in the
remaining time does not affect the others.
"""

from __future__ import annotations

from matnet.interrupts import interruptible

if __name__ == "__main__":
    interruptible()

import argparse
import logging
import sys
from importlib.util import find_spec
from pathlib import Path

from matnet.benchmarks.arguments import batches_in, chosen, names_in
from matnet.benchmarks.device.budget import TaskDone, TimeBudget, run_tasks
from matnet.benchmarks.device.conformance import DATA
from matnet.benchmarks.device.page import page
from matnet.benchmarks.device.preflight import how_to_install, missing, use_a_cache_without_pooch
from matnet.benchmarks.device.stages import STAGES, Session, tasks_of
from matnet.benchmarks.models import check_names
from matnet.benchmarks.nets import NETS
from matnet.benchmarks.rows import Report, read_reports
from matnet.benchmarks.targets import gpu_verdicts
from matnet.command_line import CommandParser, run_command
from matnet.engines import BACKENDS, PRECISIONS
from matnet.errors import MatnetError
from matnet.files import atomic_write, check_outputs
from matnet.kinds import JSON, TEXT

log = logging.getLogger("matnet.benchmarks.gpu")

INTERRUPTED = 130


def parser() -> argparse.ArgumentParser:
    command = CommandParser(
        prog="python -m matnet.benchmarks.gpu",
        description="Check the GPU engine against recorded numbers, and compare its speed with torch on the same GPU.",
    )
    add = command.add_argument
    add("--budget", "--minutes", dest="minutes", type=float, default=9, metavar="MINUTES",
        help="total time; parts that do not fit are listed (default: %(default)s)")  # fmt: skip
    add("--only", metavar="A,B", help=f"parts: {', '.join(STAGES)} (default: all, in this order)")
    add("--models", default=",".join(NETS), metavar="A,B", help="networks to time (default: %(default)s)")
    add("--batch", default="16,64,1,256", metavar="N,M", help="batch sizes; 16 and 1 come first (default: %(default)s)")
    add("--precision", default="fp16,tf32,fp32", metavar="A,B", help="precisions to time (default: %(default)s)")
    add("--backend", choices=BACKENDS, default="cupy", help="the backend to check and time (default: %(default)s)")
    add("--data", type=Path, default=DATA, metavar="FOLDER", help="recorded networks (default: those of the tests)")
    add("--from", dest="reports", nargs="+", metavar="FILE", help="show reports that --json wrote; measure nothing")
    add("--plans", type=Path, metavar="FILE", help="file of the fastest plans: read first, written after every part")
    add("--json", metavar="FILE", help="write all figures to FILE, after every part")
    add("--markdown", metavar="FILE", help="write the tables to FILE, after every part")
    return command


def session_of(options: argparse.Namespace, argv: list[str]) -> Session:
    """The session for these options; MatnetError if one is not available, before any work."""
    if options.minutes <= 0:
        raise MatnetError(f"--budget is {options.minutes:g}; expected more than 0")
    models = names_in(options.models)
    check_names(models)
    return Session(
        backend=options.backend,
        models=models,
        batches=batches_in(options.batch),
        precisions=chosen(options.precision, PRECISIONS, "--precision"),
        data=options.data,
        argv=argv,
        plans=options.plans,
    )


def write(options: argparse.Namespace, report: Report) -> None:
    if options.json:
        report.write(options.json)
    if options.markdown and find_spec("tabulate"):
        with atomic_write(options.markdown) as file:
            file.write(page(report).encode())


def show(report: Report) -> None:
    """Print the page without details, or only the targets if tabulate is not installed."""
    print(page(report, details=False) if find_spec("tabulate") else "\n".join(v.line() for v in gpu_verdicts(report)))


def main(argv: list[str] | None = None) -> int:
    given = sys.argv[1:] if argv is None else argv
    options = parser().parse_args(given)
    check_outputs([(options.json, JSON), (options.markdown, TEXT), (options.plans, JSON)], options.reports or ())
    if options.reports:
        report = read_reports(options.reports)
        write(options, report)
        show(report)
        return 0
    stages = chosen(options.only, STAGES, "--only") if options.only else list(STAGES)
    use_a_cache_without_pooch()
    session = session_of(options, given)
    lacking = missing()
    for line in [item.line() for item in lacking] + (how_to_install(lacking) if lacking else []):
        log.info("%s", line)
    budget = TimeBudget(60 * options.minutes)
    session.open()

    def done(outcome: TaskDone) -> None:
        log.info("%4.0f s  %s: %s (%.1f s)", budget.spent, outcome.name, outcome.status, outcome.seconds)
        session.report.sections.setdefault("parts", []).append(vars(outcome))
        session.write_plans()
        write(options, session.report)

    try:
        run_tasks(tasks_of(session, stages), budget, done)
    except KeyboardInterrupt:
        session.report.notes.append("interrupted: not everything was measured")
        write(options, session.report)
        return INTERRUPTED
    show(session.report)
    return 1 if session.faults() else 0


if __name__ == "__main__":
    sys.exit(run_command(main))
