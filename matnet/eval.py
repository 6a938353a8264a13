"""`python -m matnet.eval`: top-1 and top-5 error and images/s of a network over labelled images."""

from __future__ import annotations

from matnet.errors import interruptible

if __name__ == "__main__":
    interruptible()

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matnet.arguments import (
    add_batch_size,
    add_engine_options,
    add_random_weights,
    engine_options,
    network_from,
    positive,
)
from matnet.errors import DataError, run_command
from matnet.evaluation import Evaluation, Run, Tally, score_variable
from matnet.evaluation.class_order import classes_of
from matnet.evaluation.counters import counter_for
from matnet.evaluation.loop import evaluation
from matnet.evaluation.progress import progress, running_errors
from matnet.evaluation.resume import Interrupted, Unfinished, run_kept, unfinished
from matnet.evaluation.scoring import Job
from matnet.evaluation.tasks import add_task_options, refuse_task_options, run_task, task_meant, task_report
from matnet.files import atomic_write, check_outputs
from matnet.kinds import JSON
from matnet.reproduction.command import add_table_options, refuse_table_options, run_table
from matnet.tables import published_table

if TYPE_CHECKING:
    from matnet.datasets import ImageList
    from matnet.network import Network

EMBEDDED = Path(__file__).parent / "models" / "digits-lenet"
EMBEDDED_MODEL = EMBEDDED / "digits-lenet.mat"
EMBEDDED_DATA = EMBEDDED / "test"


def parser() -> argparse.ArgumentParser:
    from matnet.images import PROTOCOLS

    command = argparse.ArgumentParser(
        prog="python -m matnet.eval",
        description="Evaluate a network over labelled images. Without a model: digits-lenet, which needs no download.",
    )
    command.add_argument("--model", metavar="MODEL", help="a .mat file, or the name of a model (default: digits-lenet)")
    command.add_argument(
        "--data", metavar="FOLDER", help="a folder with one folder per class, or a list file of lines `path label`"
    )
    command.add_argument("--root", metavar="FOLDER", help="folder that the paths of a list file start from")
    command.add_argument("--scores", metavar="NAME", help="variable to rank (default: the last softmax or output)")
    command.add_argument("--protocol", choices=PROTOCOLS, help="preprocessing (default: meta; of tables, as published)")
    command.add_argument(
        "--image-size", type=int, nargs=2, metavar=("H", "W"), help="size of the input, for files that do not say"
    )
    command.add_argument(
        "--mean", type=float, nargs="+", metavar="V", help="mean to subtract: R G B, or one value (default: the file's)"
    )
    add_batch_size(command, 32, "images per batch (default: %(default)s)")
    command.add_argument("--strict", action="store_true", help="stop where a batch does not fit, rather than halve it")
    command.add_argument(
        "--ten-crop",
        dest="crops",
        action="store_const",
        const=10,
        help="average the scores of four corners, centre and their mirror images",
    )
    command.add_argument("--decoders", type=positive, metavar="N", help="decoding threads (default: one per processor)")
    where = command.add_mutually_exclusive_group()
    where.add_argument("--workers", type=positive, metavar="N", help="share the work among N processes (needs Dask)")
    where.add_argument("--scheduler", metavar="ADDRESS", help="share it among the workers of a Dask scheduler")
    command.add_argument("--resume", action="store_true", help="go on where an interrupted run of the same stopped")
    command.add_argument("--limit", type=positive, metavar="N", help="only the first N images")
    command.add_argument(
        "--json", nargs="?", const="-", metavar="FILE", help="the result as JSON, on stdout or into FILE"
    )
    add_random_weights(command)
    add_engine_options(command)
    command.add_argument("--quiet", action="store_true", help="no progress bar")
    add_task_options(command)
    add_table_options(command)
    return command


def choose(options: argparse.Namespace) -> tuple[Network, ImageList]:
    """The network and the image list that the options name; DataError where only a model is given."""
    from matnet.datasets import load_images

    net = network_from(str(options.model or EMBEDDED_MODEL), options)
    if options.data is None and net.source.path != EMBEDDED_MODEL:
        raise DataError(f"{options.model}: say what to evaluate it on: --data FOLDER (class folders) or a list file")
    images = load_images(options.data or EMBEDDED_DATA, options.root)
    return net, images.head(options.limit) if options.limit else images


def run(options: argparse.Namespace) -> Evaluation:
    """The whole way from files to figures, with a progress bar on stderr."""
    from matnet.images import Preprocessing
    from matnet.meta import class_descriptions

    net, images = choose(options)
    preprocessing = Preprocessing.of(net, options.protocol, **overrides(options))
    images = images.align(classes_of(net, stated_order(net, options), images), class_descriptions(net) or ())
    job = Job(
        preprocessing,
        score_variable(net, options.scores),
        options.batch_size,
        options.strict,
        engine_options(options),
        options.decoders,
    )
    state = unfinished(net, job, images.list_sha256, options.json)
    start = begin(state, options.resume)
    with (
        progress(len(images), start, hidden=options.quiet) as shown,
        counter_for(net, job, images, options.scheduler, options.workers, shown.say) as counter,
    ):
        tally = run_kept(counter, state, start, shown.watch)
    result = evaluation(net, images, job, counter.site, tally)
    result.protocol = options.protocol
    result.introduced = introduced(net)
    if options.random_weights:
        result.model, result.status = options.model, "random weights"
    result.notes = [*net.source.notes, *images.notes, *result.notes]
    if start.images:
        result.notes.append(f"resumed after {start.images:,} images")
    return result


def begin(state: Unfinished, resume: bool) -> Tally:
    """What is counted already; where a run was left unfinished and is not resumed, stderr says so."""
    if resume:
        found = state.load()
        told = f"going on after {found.images:,} images" if found else "no unfinished run is kept; from the start"
        print(f"matnet: {told}", file=sys.stderr)
        return found or Tally()
    if state.path.exists():
        print(f"matnet: an unfinished run is kept in {state.path}; --resume goes on from it", file=sys.stderr)
    return Tally()


def overrides(options: argparse.Namespace) -> dict[str, Any]:
    """What the options say instead of the network's meta."""
    found: dict[str, Any] = {"crops": options.crops or 1}
    if options.image_size:
        found["image_size"] = tuple(options.image_size)
    if options.mean:
        found["mean"] = options.mean
    return found


def stated_order(net: Network, options: argparse.Namespace) -> Any:
    """The order of classes in the model's card; None where there is no card, or it states none."""
    from matnet.zoo import card_of, find_card

    if options.random_weights:
        return find_card(options.model).labels.get("order")
    card = card_of(net.source.path) if net.source.path else None
    return card.labels.get("order") if card else None


def introduced(net: Network) -> str:
    """The year in the model's card, or nothing for a file that no card speaks of."""
    from matnet.zoo import card_of

    card = card_of(net.source.path) if net.source.path else None
    return str(card.introduced) if card and card.introduced else ""


def report(result: Evaluation, target: str | None) -> None:
    """The table for people, or the JSON where it was asked for on stdout; faults on stderr."""
    report_of(result, f"{published_table([result])}\n\n{result.images} images of {result.dataset}", target)


def report_of(result: Run, table: str, target: str | None) -> None:
    """As `report`, for whatever was scored."""
    text = json.dumps(result.record(), indent=2)
    if target == "-":
        print(text)
    else:
        where = f"{result.backend} on {result.device}, {result.precision}, batch {result.batch_size}"
        print(f"{table}; {result.preprocessing}; {where}")
        if target:
            with atomic_write(target) as file:
                file.write(f"{text}\n".encode())
    for note in result.notes:
        print(f"matnet: {note}", file=sys.stderr)
    for fault in result.unreadable:
        print(f"matnet: {fault}", file=sys.stderr)
    if result.unreadable:
        count = len(result.unreadable)
        print(f"matnet: {count} unreadable image{'s' if count > 1 else ''} left out of the figures", file=sys.stderr)


def evaluate_task(options: argparse.Namespace, task: str) -> int:
    """A segmentation, or a verification of faces, and its report."""
    result = run_task(options, task)
    report_of(result, task_report(result), options.json)
    return 2 if result.unreadable else 0


def tell_interrupted(stopped: Interrupted) -> None:
    """The figures so far, and how to go on from them."""
    tally = stopped.tally
    figures = running_errors(tally) or "nothing is counted yet"
    print(f"matnet: interrupted after {tally.images:,} images: {figures}", file=sys.stderr)
    if stopped.kept:
        print(f"matnet: kept in {stopped.kept}; the same command with --resume goes on from there", file=sys.stderr)


def main(argv: list[str] | None = None) -> int:
    options = parser().parse_intermixed_args(argv)
    if options.table:
        return run_table(options)
    refuse_table_options(options)
    target = None if options.json == "-" else options.json
    check_outputs([(target, JSON)], [options.model, options.data, options.pairs])
    task = task_meant(options)
    if task != "classification":
        return evaluate_task(options, task)
    refuse_task_options(options)
    options.protocol = options.protocol or "meta"
    try:
        result = run(options)
    except Interrupted as stopped:
        tell_interrupted(stopped)
        return stopped.status
    report(result, options.json)
    return 2 if result.unreadable else 0


if __name__ == "__main__":
    sys.exit(run_command(main))
