"""What `python -m matnet.eval --table` does: its options, the run, and where the results go."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from matnet.arguments import engine_options
from matnet.errors import DataError
from matnet.evaluation.progress import image_bar, running_errors
from matnet.evaluation.resume import Interrupted, Terminated, termination_raised
from matnet.files import atomic_write, check_outputs
from matnet.kinds import JSON, TEXT
from matnet.reproduction.data import DataSets
from matnet.reproduction.expected import expected_rows
from matnet.reproduction.files import as_csv, as_json
from matnet.reproduction.measure import Settings
from matnet.reproduction.models import Source
from matnet.reproduction.plots import require_matplotlib, write_plots
from matnet.reproduction.report import markdown, terminal
from matnet.reproduction.reproduce import FAILURE, Reproduction, Verdict, check
from matnet.reproduction.rows import DONE, FAILED, Row
from matnet.reproduction.store import Store
from matnet.zoo.cache import home, offline
from matnet.zoo.fetch import Fetcher, to_stderr

OUTPUTS = {"json": JSON, "markdown": TEXT, "csv": TEXT}
FOREIGN = ("model", "data", "root", "scores", "image_size", "mean", "task", "year", "split", "save")
"""Options of a single evaluation, which a table does not take."""


def add_table_options(command: argparse.ArgumentParser) -> None:
    """The options of `--table`."""
    table = command.add_argument_group("the published tables")
    table.add_argument("--table", action="store_true", help="measure the published tables again, each model in turn")
    table.add_argument("--models", nargs="+", metavar="MODEL", help="only these: names, or .mat files (default: all)")
    table.add_argument("--imagenet", type=Path, metavar="FOLDER", help="ILSVRC-2012, with its validation images")
    table.add_argument("--voc", type=Path, metavar="FOLDER", help="VOCdevkit, with VOC2011 and VOC2012")
    table.add_argument("--lfw", type=Path, metavar="FOLDER", help="Labeled Faces in the Wild")
    table.add_argument("--results", type=Path, metavar="FOLDER", help="where finished rows are kept")
    table.add_argument("--fresh", action="store_true", help="measure rows anew that are kept (default: take them)")
    table.add_argument("--offline", action="store_true", help="fetch nothing; models that are not here are absent")
    table.add_argument("--check", action="store_true", help="status 1 where a figure is not the published one")
    table.add_argument("--markdown", type=Path, metavar="FILE", help="the tables as Markdown")
    table.add_argument("--csv", type=Path, metavar="FILE", help="a line per model")
    table.add_argument("--plots", type=Path, metavar="FOLDER", help="error against speed and parameters, as PNG")


def refuse_table_options(options: argparse.Namespace) -> None:
    """DataError where an option of a table was given without `--table`."""
    plain = argparse.ArgumentParser()
    add_table_options(plain)
    given = [name for name, default in vars(plain.parse_args([])).items() if getattr(options, name) != default]
    if given:
        named = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise DataError(f"{named}: only with --table")


def run_table(options: argparse.Namespace) -> int:
    """The whole run; status 1 where a check fails, 2 where rows failed or images could not be read, else 0.

    Raises DataError for options that clash.
    """
    clashing = [f"--{name.replace('_', '-')}" for name in FOREIGN if getattr(options, name, None) not in (None, ())]
    if clashing:
        raise DataError(f"{', '.join(clashing)}: not with --table, whose models and data are known; see --models")
    if options.resume and options.fresh:
        raise DataError("--resume and --fresh contradict each other: kept rows are taken, or measured anew")
    _require_outputs(options)
    run, expected = reproduction(options), expected_rows(options.models)
    if (options.workers or options.scheduler) and any(row.task != "classification" for row in expected):
        to_stderr("segmentations and faces are not shared among workers; this process evaluates them alone")
    rows: list[Row] = []
    try:
        with termination_raised():
            for row in run.rows(expected):
                rows.append(row)
                _tell(row, options)
    except KeyboardInterrupt as stop:
        _write(rows, None, options)
        return _interrupted(stop, rows, options)
    verdict = check(rows) if options.check else None
    _write(rows, verdict, options)
    if verdict is not None:
        return verdict.status
    return FAILURE if any(row.state == FAILED or row.run.get("unreadable") for row in rows) else 0


def _interrupted(stop: KeyboardInterrupt, rows: list[Row], options: argparse.Namespace) -> int:
    """How far the run came, and how to go on; the exit status, 130 or, after SIGTERM, 143."""
    if isinstance(stop, Interrupted) and stop.tally.images:
        to_stderr(f"interrupted within a row, after {stop.tally.images:,} images: {running_errors(stop.tally)}")
    to_stderr(f"{len(rows)} rows are finished and kept in {_results(options)}; the same command goes on from there")
    if isinstance(stop, Interrupted):
        return stop.status
    return 143 if isinstance(stop, Terminated) else 130


def reproduction(options: argparse.Namespace) -> Reproduction:
    """The run that the options mean."""
    fetched = Fetcher(progress=not options.quiet and sys.stderr.isatty())
    forbidden = bool(options.offline or offline())
    return Reproduction(
        DataSets(options.imagenet, options.voc, options.sbd, options.lfw, options.pairs, options.limit),
        Settings(
            protocol=options.protocol,
            crops=options.crops,
            face_crop=options.face_crop,
            batch_size=options.batch_size,
            workers=options.decoders,
            strict=options.strict,
            processes=options.workers,
            scheduler=options.scheduler,
            engine=engine_options(options),
        ),
        Source(fetched, forbidden, options.random_weights, options.seed),
        Store(_results(options)),
        options.fresh,
        bar=None if options.quiet else _bar,
    )


def _results(options: argparse.Namespace) -> Path:
    """Where finished rows are kept."""
    return options.results or home() / "results"


def _bar(title: str, images: int) -> Any:
    return image_bar(images, desc=title, leave=False)


def _tell(row: Row, options: argparse.Namespace) -> None:
    """One line on stderr as soon as a row is finished, for runs that take hours."""
    if options.quiet or row.state != DONE:
        return
    figures = ", ".join(f"{name} {value:.2f}" for name, value in _figures(row).items())
    to_stderr(f"{row.expected.card.name}: {figures}{' (kept)' if row.resumed else ''}")


def _figures(row: Row) -> dict[str, float]:
    return {name: value for name, value in row.record()["figures"].items() if value is not None}


def _require_outputs(options: argparse.Namespace) -> None:
    """FileFormatError or EngineError before hours of work where results could not be written or drawn."""
    outputs = [(getattr(options, name), kind) for name, kind in OUTPUTS.items()]
    check_outputs([(None if target == "-" else target, kind) for target, kind in outputs], options.models or ())
    if options.plots:
        require_matplotlib()


def _write(rows: list[Row], verdict: Verdict | None, options: argparse.Namespace) -> None:
    """The tables on stdout (or the JSON, where that was asked for there), the files, the plots, the check on stderr."""
    remarks = verdict.lines if verdict else ()
    document = as_json(rows, remarks)
    print(document if options.json == "-" else terminal(rows))
    texts = {"markdown": markdown(rows, remarks), "csv": as_csv(rows), "json": f"{document}\n"}
    for name, text in texts.items():
        target = getattr(options, name)
        if target not in (None, "-"):
            with atomic_write(target) as file:
                file.write(text.encode())
    if options.plots:
        for path in write_plots(rows, options.plots):
            to_stderr(f"wrote {path}")
    for line in remarks:
        to_stderr(line)
