"""`matnet eval`: accuracy and speed of a network on a data set, for every evaluation task."""

from __future__ import annotations

from matnet.interrupts import interruptible

if __name__ == "__main__":
    interruptible()

import argparse
import logging
import sys
from dataclasses import replace
from typing import Any

from matnet.arguments import (
    add_batch_size,
    add_engine_options,
    add_network_options,
    engine_options,
    model_help,
    network_from,
)
from matnet.command_line import command_parser, run_command
from matnet.errors import MatnetError, program
from matnet.evaluation.command import (
    add_data_options,
    add_run_options,
    data_of,
    embedded_data,
    embedded_model,
    refuse_idle_sizes,
    report,
    require_data,
    task_name,
)
from matnet.evaluation.config import BATCH_SIZE
from matnet.evaluation.flow import Sharing, planned, run
from matnet.evaluation.progress import progress
from matnet.evaluation.resume import Interrupted, unfinished
from matnet.evaluation.tasks import Task
from matnet.evaluation.tasks.verification import FACE_CROP
from matnet.files import check_outputs
from matnet.image_arguments import add_preprocessing, parsed, preprocessing_from
from matnet.kinds import JSON
from matnet.network import Network
from matnet.stated_options import given_texts, stated

log = logging.getLogger("matnet.eval")

TABLE = "--table"


def parser() -> argparse.ArgumentParser:
    command = command_parser(
        "eval", "[MODEL] [--data FOLDER]",
        description="Evaluate a network: classification, segmentation, detection, faces, edges, retrieval or "
        "regression. Without a model, evaluate digits-lenet, which needs no download. To measure the published tables, "
        f"use `{program('reproduce')}`.",
    )
    command.add_argument("named", nargs="?", metavar="MODEL", help=f"{model_help()} (default: digits-lenet)")
    command.add_argument("surplus", nargs="*", help=argparse.SUPPRESS)  # images, as for predict
    network = add_network_options(command)
    network.add_argument("--model", metavar="MODEL", help="the same as MODEL")
    network.add_argument(
        "--scores", metavar="NAME", help="the variable to score (default: the last softmax, or the output)"
    )
    add_data_options(command)
    preprocessing = add_preprocessing(command)
    preprocessing.add_argument(
        "--face-crop",
        type=_fraction,
        default=FACE_CROP,
        metavar="PART",
        help="the central part of a face image's height and width to use (default: %(default).3f)",
    )
    engine = add_engine_options(command)
    add_batch_size(engine, BATCH_SIZE, "images per batch (default: %(default)s)")
    engine.add_argument("--strict", action="store_true", help="stop if a batch does not fit, instead of halving it")
    add_run_options(command)
    return command


def _fraction(text: str) -> float:
    value = float(text)
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not a fraction; expected a number above 0 and up to 1")
    return value


def main(argv: list[str] | None = None) -> int:
    given = sys.argv[1:] if argv is None else argv
    if TABLE in given:
        return _forwarded([argument for argument in given if argument != TABLE])
    options = parsed(parser(), given)
    if options.surplus:
        raise MatnetError(f"{options.surplus[0]}: eval takes one MODEL; give the images with --data FOLDER")
    if options.named is not None and options.model is not None:
        raise MatnetError(f"{options.named} and --model {options.model} both name a model; give one of them")
    options.model = options.model if options.named is None else options.named
    target = None if options.json == "-" else options.json
    check_outputs([(target, JSON)], given_texts(options, ["json", "save"]))
    try:
        return evaluate(options, target)
    except Interrupted as stopped:
        figures = stopped.figures or "no results yet"
        log.info(f"interrupted after {stopped.tally.images:,} images: {figures}")
        if stopped.kept:
            log.info(f"progress saved in {stopped.kept}; run the same command with --resume to continue")
        return stopped.status


def evaluate(options: argparse.Namespace, target: str | None) -> int:
    """Evaluate and print the report; returns the exit status."""
    task_wanted = task_name(options)
    if task_wanted != "classification":
        require_data(options, task_wanted)
    net = network_from(str(options.model or embedded_model()), options)
    require_data(options, task_wanted)
    data = data_of(options, task_wanted)
    card = _card(net, options)
    config, task = planned(
        net,
        data,
        _preprocessing(net, options, task_wanted),
        options.scores,
        engine_options(options),
        options.decoders,
        classes=options.classes,
        order=card.labels.get("order") if card else None,
        named=card.labels.get("names") if card else None,
        save=options.save,
    )
    for note in task.data.notes:
        log.info(note)
    state = unfinished(net, config, task, target)
    if state.exists() != options.resume:
        kept = f"found an unfinished run in {state.path}; use --resume to continue it"
        log.info("--resume: no unfinished run found; starting from the beginning" if options.resume else kept)
    result = run(
        net,
        config,
        task,
        sharing=Sharing(options.workers, options.scheduler),
        state=state,
        resume=options.resume,
        random_weights=options.random_weights,
        show=lambda total, start, task: progress(total, start, task, options.quiet),
        searches=True,
    )
    result.introduced = str(card.introduced) if card and card.introduced and not options.random_weights else ""
    if options.random_weights:
        result = replace(result, model=options.model)
    status = report(result, task, options, lambda: _advice(options, task))
    state.remove()
    return status


def _advice(options: argparse.Namespace, task: Task) -> str:
    """The `matnet doctor` command to suggest: same model, and the same images if they are labelled."""
    from matnet.doctor.advice import advised_doctor

    images = str(options.data or embedded_data()) if task.name == "classification" else None
    return advised_doctor(options, str(options.model or embedded_model()), images)


def _card(net: Network, options: argparse.Namespace) -> Any:
    """The model's card, or None."""
    from matnet.zoo import card_of, find_card

    if options.random_weights:
        return find_card(options.model)
    return card_of(net.source.path) if net.source.path else None


def _preprocessing(net: Network, options: argparse.Namespace, task: str) -> Any:
    """Preprocessing from the network's file; options override it."""
    if task == "detection":
        refuse_idle_sizes(net, options)
    if task in ("segmentation", "edges") and stated(options, ["input_size"]):
        log.info("--input-size: for %s, images keep their own size; used only where the file states no size", task)
    faces = {"crop_fraction": (options.face_crop,) * 2, "resize": options.resize or "vl_imreadjpeg"}
    return preprocessing_from(net, options, **(faces if task == "faces" else {}))


def _forwarded(arguments: list[str]) -> int:
    from matnet.reproduction.command import main as reproduce

    log.info("--table has moved to `%s`; running that", program("reproduce"))
    return reproduce(arguments)


if __name__ == "__main__":
    sys.exit(run_command(main))
