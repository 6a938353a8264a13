"""The command `matnet reproduce`: its options, the run over the published tables, the result files."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from matnet.arguments import (
    add_batch_size,
    add_engine_options,
    add_random_weights,
    add_sharing,
    engine_options,
    positive,
)
from matnet.command_line import command_parser
from matnet.errors import DataError
from matnet.evaluation.config import BATCH_SIZE
from matnet.evaluation.flow import Sharing, Show
from matnet.evaluation.progress import progress
from matnet.evaluation.resume import Interrupted
from matnet.evaluation.tasks.verification import FACE_CROP
from matnet.figures import require_matplotlib
from matnet.files import atomic_write, check_folder, check_outputs
from matnet.interrupts import Terminated, termination_raised
from matnet.kinds import JSON, TEXT
from matnet.outcomes import ExitStatus
from matnet.reproduction.data import DataSets
from matnet.reproduction.expected import NAMED, SETS, Expected, all_published, expected_rows
from matnet.reproduction.files import as_csv, as_json
from matnet.reproduction.measure import MeasureSettings
from matnet.reproduction.models import ModelSource
from matnet.reproduction.plots import write_plots
from matnet.reproduction.report import markdown, terminal
from matnet.reproduction.reproduce import Reproduction, Verdict, check
from matnet.reproduction.rows import Row
from matnet.reproduction.store import RowStore
from matnet.stated_options import given_texts, parse_stated, refuse_idle, stated
from matnet.zoo.cache import home, offline
from matnet.zoo.fetch import Fetcher

log = logging.getLogger(__name__)

OUTPUTS = {"json": JSON, "markdown": TEXT, "csv": TEXT}


def parser() -> argparse.ArgumentParser:
    from matnet.images import PROTOCOLS

    command = command_parser(
        "reproduce", "",
        description="Measure the published tables again, model by model, and print each figure beside the published "
        "one. The tables show which data sets and models are missing.",
    )
    add = command.add_argument
    add("--models", nargs="+", metavar="MODEL", help="only these: names, or .mat files (default: all)")
    add("--all", action="store_true", help="all models with published figures, not only those of MatConvNet's page")
    add("--offline", action="store_true", help="download nothing; models that are not on this machine are absent")
    add_random_weights(command)
    data = command.add_argument_group("data")
    data.add_argument("--imagenet", type=Path, metavar="FOLDER", help="ILSVRC-2012, with its validation images")
    data.add_argument("--voc", type=Path, metavar="FOLDER", help="VOCdevkit, with VOC2011 and VOC2012")
    data.add_argument("--sbd", type=Path, metavar="FOLDER", help="SBD's benchmark_RELEASE (default: beside VOC)")
    data.add_argument("--proposals", type=Path, metavar="FILE", help="boxes for VOC 2007's test images (Fast R-CNN)")
    data.add_argument(
        "--data",
        type=_place,
        action="append",
        default=[],
        metavar="NAME=PATH",
        help=f"the path of another data set: {', '.join(NAMED)}; may be repeated",
    )
    data.add_argument("--lfw", type=Path, metavar="FOLDER", help="Labeled Faces in the Wild")
    data.add_argument(
        "--pairs", type=Path, metavar="FILE", help="the list of pairs of faces (default: LFW's pairs.txt)"
    )
    data.add_argument("--limit", type=positive, metavar="N", help="only N images or pairs of each set; not compared")
    way = command.add_argument_group("preprocessing")
    way.add_argument(
        "--protocol", choices=PROTOCOLS, help="how images are prepared (default: as for the published row)"
    )
    way.add_argument("--ten-crop", dest="crops", action="store_const", const=10, help="average the scores of ten crops")
    crop = "the central part of a face image's height and width to use (default: %(default).3f)"
    way.add_argument("--face-crop", type=float, default=FACE_CROP, metavar="PART", help=crop)
    add_engine_options(command)
    add_batch_size(command, BATCH_SIZE, "images per batch (default: %(default)s)")
    add("--strict", action="store_true", help="stop if a batch does not fit, instead of halving it")
    _add_run_options(command)
    return command


def _place(text: str) -> tuple[str, Path]:
    """Parse `NAME=PATH`, for argparse."""
    name, equals, path = text.partition("=")
    if not equals or not path or name not in NAMED:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=PATH, with NAME one of {', '.join(NAMED)}")
    return name, Path(path)


def _add_run_options(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group("run")
    group.add_argument("--decoders", type=positive, metavar="N", help="decoding threads (default: one per processor)")
    add_sharing(group)
    group.add_argument("--results", type=Path, metavar="FOLDER", help="where finished rows are stored")
    group.add_argument("--fresh", action="store_true", help="measure stored rows again (default: use them)")
    group.add_argument("--resume", action="store_true", help="use stored rows, which is the default")
    output = command.add_argument_group("output")
    output.add_argument("--check", action="store_true", help="status 1 if a figure is not the published one")
    output.add_argument("--json", nargs="?", const="-", metavar="FILE", help="all rows as JSON, on stdout or into FILE")
    output.add_argument("--markdown", type=Path, metavar="FILE", help="the tables as Markdown")
    output.add_argument("--csv", type=Path, metavar="FILE", help="the rows as CSV, a line per model")
    output.add_argument("--plots", type=Path, metavar="FOLDER", help="error against speed and parameters, as PNG")
    output.add_argument("--quiet", action="store_true", help="no progress bars")


def main(argv: list[str] | None = None) -> int:
    """Run the command. Returns 1 if a check fails, 2 if a row failed or is not valid, else 0.

    Raises DataError for conflicting options.
    """
    options = parse_stated(parser(), sys.argv[1:] if argv is None else argv)
    _refuse_idle(options)
    _require_outputs(options)
    names = options.models or (all_published() if options.all else None)
    run, expected = reproduction(options), expected_rows(names)
    _note_idle_data(options, expected)
    rows: list[Row] = []
    try:
        with termination_raised():
            for row in run.rows(expected):
                rows.append(row)
                _report(row, options)
    except KeyboardInterrupt as stop:
        _write(rows, None, options)
        return _interrupted(stop, rows, options)
    verdict = check(rows) if options.check else None
    _write(rows, verdict, options)
    if verdict is not None:
        return verdict.status
    return max((row.outcome.exit_status for row in rows), default=ExitStatus.DONE)


def _refuse_idle(options: argparse.Namespace) -> None:
    """Raises DataError or MatnetError for options that conflict or have no effect."""
    if options.resume and options.fresh:
        raise DataError("--resume and --fresh conflict: one uses stored rows, the other measures them again")
    if options.models:
        refuse_idle(options, ["all"], "not with --models, which selects the rows")
    if options.lfw is None:
        refuse_idle(options, ["pairs", "face_crop"], "only with --lfw")
    if options.voc is None:
        refuse_idle(options, ["sbd", "proposals"], "only with --voc")
    places = [name for name, _ in options.data]
    twice = sorted({name for name in places if places.count(name) > 1})
    if twice:
        raise DataError(f"--data {twice[0]}=...: given twice; give one place")
    if options.random_weights:
        refuse_idle(options, ["offline"], "not with --random-weights, which downloads nothing")
    else:
        refuse_idle(options, ["seed"], "only with --random-weights")


def _note_idle_data(options: argparse.Namespace, expected: Sequence[Expected]) -> None:
    """Log a note for each given data set that no row uses."""
    read = " ".join(SETS[row.data].option for row in expected)
    given = stated(options, ["imagenet", "voc", "lfw"]) + [f"--data {name}=" for name, _ in options.data]
    for option in given:
        if option not in read:
            log.info("%s: no row of this run uses this data set", option)


def _interrupted(stop: KeyboardInterrupt, rows: list[Row], options: argparse.Namespace) -> int:
    """Log the progress and how to continue. Returns the exit status: 130, or 143 after SIGTERM."""
    if isinstance(stop, Interrupted) and stop.tally.images:
        log.info("interrupted within a row, after %s images: %s", f"{stop.tally.images:,}", stop.figures)
    log.info("%d finished rows are stored in %s; run the same command to continue", len(rows), _results(options))
    if isinstance(stop, Interrupted):
        return stop.status
    return ExitStatus.TERMINATED if isinstance(stop, Terminated) else ExitStatus.INTERRUPTED


def reproduction(options: argparse.Namespace) -> Reproduction:
    """The Reproduction for the options."""
    fetcher = Fetcher(progress=not options.quiet and sys.stderr.isatty())
    return Reproduction(
        DataSets(
            options.imagenet,
            options.voc,
            options.sbd,
            options.lfw,
            options.pairs,
            options.limit,
            options.proposals,
            dict(options.data),
        ),
        MeasureSettings(
            protocol=options.protocol,
            crops=options.crops,
            face_crop=options.face_crop,
            decoders=options.decoders,
            sharing=Sharing(options.workers, options.scheduler),
            engine=engine_options(options),
        ),
        ModelSource(fetcher, bool(options.offline or offline()), options.random_weights, options.seed),
        RowStore(_results(options)),
        options.fresh,
        bar=partial(_bar, hidden=options.quiet),
    )


def _results(options: argparse.Namespace) -> Path:
    """The folder of finished rows."""
    return options.results or home() / "results"


def _bar(title: str, hidden: bool) -> Show:
    """The progress bar of a row."""
    return lambda total, start, task: progress(total, start, task, hidden, desc=title, leave=False)


def _report(row: Row, options: argparse.Namespace) -> None:
    """Log one line per finished row, for runs that take hours."""
    if options.quiet or not row.done:
        return
    figures = {name: value for name, value in row.record()["figures"].items() if value is not None}
    text = ", ".join(f"{name} {value:.2f}" for name, value in figures.items())
    log.info("%s: %s%s", row.expected.card.name, text, " (kept)" if row.resumed else "")


def _require_outputs(options: argparse.Namespace) -> None:
    """Raises FileFormatError or EngineError, before hours of work, if results cannot be written or plotted."""
    outputs = [(getattr(options, name), kind) for name, kind in OUTPUTS.items()]
    read = given_texts(options, [*OUTPUTS, "plots", "results"])
    check_outputs([(None if target == "-" else target, kind) for target, kind in outputs], read)
    if options.plots:
        require_matplotlib()
        check_folder(options.plots)


def _write(rows: list[Row], verdict: Verdict | None, options: argparse.Namespace) -> None:
    """Write tables (or JSON) to stdout, the files, the plots, and the check to stderr."""
    remarks = verdict.lines if verdict else ()
    document = as_json(rows, remarks)
    print(document if options.json == "-" else terminal(rows))
    texts: dict[str, Callable[[], str]] = {
        "markdown": lambda: markdown(rows, remarks),
        "csv": lambda: as_csv(rows),
        "json": lambda: f"{document}\n",
    }
    for name, text in texts.items():
        target: Any = getattr(options, name)
        if target not in (None, "-"):
            with atomic_write(target) as file:
                file.write(text().encode())
    if options.plots:
        for path in write_plots(rows, options.plots):
            log.info("wrote %s", path)
    for line in remarks:
        print(f"matnet: {line}", file=sys.stderr)
