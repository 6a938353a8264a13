"""`python -m matnet.benchmarks`: images/s of published networks, compared with every installed peer."""

from __future__ import annotations

from matnet.interrupts import interruptible

if __name__ == "__main__":
    interruptible()

import argparse
import logging
import sys
from collections.abc import Sequence

from matnet.benchmarks import machine, models, targets
from matnet.benchmarks.arguments import batches_in, names_in
from matnet.benchmarks.contenders import Contender, chosen_peers, ours
from matnet.benchmarks.device.ceilings import matmul_peaks, torch_with_gpu
from matnet.benchmarks.device.memory import free
from matnet.benchmarks.measure import measure
from matnet.benchmarks.peers import PEERS, installed, peers_on
from matnet.benchmarks.plot import draw
from matnet.benchmarks.rows import Report, read_reports
from matnet.benchmarks.table import READING, details, machine_lines, markdown, summary
from matnet.benchmarks.timing import TimeLimits
from matnet.command_line import command_parser, run_command
from matnet.engines import BACKENDS, PRECISIONS
from matnet.errors import EngineError, MatnetError, listing, program
from matnet.figures import require_matplotlib
from matnet.files import atomic_write, check_outputs
from matnet.kinds import IMAGE, JSON, TEXT

log = logging.getLogger("matnet.benchmarks")

INTERRUPTED = 130

PUBLISHED = "--published"
"""Reproduces the published tables instead of measuring speed."""


def parser() -> argparse.ArgumentParser:
    command = command_parser(
        "benchmarks",
        description="Time published networks in matnet and in every installed peer, in turns, in one run.",
    )
    add = command.add_argument
    add("--models", metavar="A,B", help="names or .mat files (default: the published table's, VGG-Face and FCN)")
    add("--batch", default="1,16", metavar="N,M", help="batch sizes (default: %(default)s)")
    add("--peers", metavar="A,B", help=f"{', '.join(PEERS)}, single forms such as torch-eager, or none")
    add("--threads", type=int, metavar="N", help="number of threads (default: all processors)")
    add("--backend", choices=BACKENDS, help="time matnet only on this backend")
    add("--runtime", metavar="NAME", help="time backend onnx only on this runtime")
    add("--precision", choices=PRECISIONS, default="fp32", help="precision of all engines (default: %(default)s)")
    add("--rounds", type=int, default=7, metavar="N", help="turns of every engine (default: %(default)s)")
    add("--seconds", type=float, default=60, metavar="S", help="for a network and batch; later, at most 3 turns")
    add("--target", choices=("cpu",), help="compare six networks with the targets for the CPU: PASS or miss for each")
    add("--from", dest="reports", nargs="+", metavar="FILE", help="show reports that --json wrote; measure nothing")
    add("--json", metavar="FILE", help="write all timings to FILE, after every network")
    add("--markdown", metavar="FILE", help="write the tables to FILE")
    add("--plot", metavar="FILE.png", help="draw the figures as a bar chart")
    return command


def choose(options: argparse.Namespace) -> tuple[list[str], list[int], list[Contender], int]:
    """Networks, batches, engines and threads of a run; MatnetError if one is not available, before any work."""
    names = names_in(options.models) if options.models is not None else list(models.PUBLISHED)
    peers = None if options.peers is None else [] if options.peers == "none" else names_in(options.peers)
    threads = options.threads
    if options.target:
        names = names_in(options.models or "") or list(models.NETS)
        peers = peers or list(targets.PEERS)
        threads = threads or targets.THREADS
    if not names:
        raise MatnetError("--models is empty; expected comma-separated names")
    if options.rounds < 1 or options.seconds <= 0:
        raise MatnetError("--rounds must be at least 1 and --seconds positive")
    require_outputs(options)
    if options.plot:
        require_matplotlib()
    models.check_names(names)
    require_device(options.backend, options.precision)
    if peers is None:
        peers = installed(peers_on(gpu=options.backend == "cupy"))
    engines = [*ours(options.backend, options.runtime), *chosen_peers(peers)]
    return names, batches_in(options.batch), engines, machine.require_threads(threads)


def require_outputs(options: argparse.Namespace) -> None:
    """FileFormatError before any work, if an output cannot be written or would replace another kind of file."""
    outputs = [(options.json, JSON), (options.markdown, TEXT), (options.plot, IMAGE)]
    check_outputs(outputs, [*names_in(options.models or ""), *(options.reports or ())])


def require_device(backend: str | None, precision: str) -> None:
    """EngineError if the backend needs a GPU and none is available, or does not support the precision."""
    if backend == "cupy":
        from matnet.engines.cupy.probe import find_gpu

        find_gpu(precision=precision)
    elif precision != "fp32":
        raise EngineError(f"--precision {precision} needs --backend cupy; the other backends support only fp32")


def run(options: argparse.Namespace, argv: Sequence[str], report: Report) -> None:
    """Measure everything; print the table and write the JSON after each network."""
    names, batches, contenders, threads = choose(options)
    report.machine = machine.describe(threads, list(argv))
    suited = peers_on(gpu=options.backend == "cupy")
    absent = [name for name in suited if name not in installed(suited)]
    if absent and options.peers is None:
        report.notes.append(f"peers not installed: {', '.join(absent)}")
    limits = TimeLimits(options.rounds, options.seconds)
    for name in names:
        log.info("building %s", name)
        model = models.build(name)
        for batch in batches:
            rows = measure(model, batch, contenders, limits, threads=threads, precision=options.precision)
            report.add(rows)
            if options.backend == "cupy":
                free()
            update_machine(report, threads, options.backend == "cupy")
            print(f"\n{model.name}, batch {batch}, {options.precision} ({model.weights} weights)")
            print(details(report, rows), flush=True)
            if options.json:
                report.write(options.json)


def update_machine(report: Report, threads: int, gpu: bool) -> None:
    """Update the versions, and the peak, which varies with the load of the machine."""
    peaks = report.machine["matmul_flop_per_s"]
    if not gpu:
        peaks["fp32"] = max(peaks.get("fp32", 0.0), machine.matmul_peak(threads))
    elif not peaks and (torch := torch_with_gpu()):
        peaks.update(matmul_peaks(torch))
    report.machine["versions"] = machine.versions()


def conclude(options: argparse.Namespace, report: Report) -> int:
    """Print and write the requested outputs; returns 1 if a target is missed."""
    if not report.rows:
        return 0
    print(f"\n{summary(report)}\n\n{READING}\n")
    print("\n".join(machine_lines(report)))
    if options.json:
        report.write(options.json)
    if options.markdown:
        with atomic_write(options.markdown) as file:
            file.write(markdown(report).encode())
    if options.plot:
        draw(report, options.plot)
    if options.target:
        found = targets.verdicts(report)
        print(listing("\ntargets for the processor:", [verdict.line() for verdict in found], limit=len(found)))
        return 0 if all(verdict.met for verdict in found) else 1
    return 0


def main(argv: list[str] | None = None) -> int:
    given = sys.argv[1:] if argv is None else argv
    if PUBLISHED in given:
        from matnet.reproduction.command import main as reproduce

        log.info("%s is now `%s`; running it", PUBLISHED, program("reproduce"))
        return reproduce([argument for argument in given if argument != PUBLISHED])
    options = parser().parse_args(given)
    if options.reports:
        require_outputs(options)
        return conclude(options, read_reports(options.reports))
    report = Report()
    try:
        run(options, given, report)
    except KeyboardInterrupt:
        log.warning("interrupted; partial results follow")
        report.notes.append("interrupted: not all networks were measured")
        conclude(options, report)
        return INTERRUPTED
    if not any(row.timed for row in report.rows):
        raise EngineError("no engine could be timed; see the reasons in the tables above")
    return conclude(options, report)


if __name__ == "__main__":
    sys.exit(run_command(main))
