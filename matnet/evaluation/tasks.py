"""Evaluations other than classification, as `matnet.eval` runs them: which task is meant, its options, its report."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matnet.arguments import engine_options, network_from
from matnet.errors import DataError
from matnet.evaluation.progress import image_bar
from matnet.evaluation.record import Run
from matnet.evaluation.segmentation import SegmentationEvaluation, evaluate_segmentation
from matnet.evaluation.verification import FACE_CROP, VerificationEvaluation, evaluate_verification
from matnet.zoo import UnknownModelError, card_of, find_card

if TYPE_CHECKING:
    from matnet.images import Preprocessing
    from matnet.network import Network

TASKS = ("classification", "segmentation", "faces")
CLASSIFYING = ("workers", "scheduler", "resume", "root", "protocol")
"""Options of `matnet.eval` that other tasks have no use for."""
BY_KIND = {"voc": "segmentation", "lfw": "faces"}
"""What a data set of a kind is for, where it is not labelled images."""


def add_task_options(command: argparse.ArgumentParser) -> None:
    """The options of tasks whose data are not labelled images."""
    group = command.add_argument_group("segmentation and faces")
    group.add_argument("--task", choices=TASKS, help="what to evaluate (default: what the model, or the data, is for)")
    group.add_argument("--year", metavar="YEAR", help="of PASCAL VOC, where the folder holds several")
    group.add_argument(
        "--split", metavar="PART", help="of PASCAL VOC: val (default), train, rv-voc11, rv-voc12, or a file of names"
    )
    group.add_argument("--sbd", type=Path, metavar="FOLDER", help="SBD's benchmark_RELEASE (default: beside VOC)")
    group.add_argument(
        "--save", type=Path, metavar="FOLDER", help="the labels of each pixel, as PNG with VOC's palette"
    )
    group.add_argument(
        "--pairs", type=Path, metavar="FILE", help="the list of pairs of faces (default: LFW's pairs.txt)"
    )
    group.add_argument(
        "--face-crop",
        type=_fraction,
        default=FACE_CROP,
        metavar="PART",
        help="the part of a face image's height and width that is taken (default: %(default).3f)",
    )


def refuse_task_options(options: argparse.Namespace) -> None:
    """DataError where an option of these tasks was given to a classification."""
    given = [name for name in ("year", "split", "sbd", "save", "pairs") if getattr(options, name) is not None]
    if given:
        named = ", ".join(f"--{name}" for name in given)
        raise DataError(f"{named}: only for segmentation or faces; say so with --task, if that is meant")


def _fraction(text: str) -> float:
    value = float(text)
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is no part; expected a number above 0, up to 1")
    return value


def task_meant(options: argparse.Namespace) -> str:
    """One of TASKS: as asked for, else that of the model's card, else what the data set is for."""
    if options.task:
        return str(options.task)
    task = _task_of_card(str(options.model)) if options.model else "classification"
    if task in TASKS:
        return task
    from matnet.datasets.guess import guess

    kind = guess(Path(options.data))[0] if options.data and Path(options.data).exists() else ""
    return BY_KIND.get(kind, "classification")


def _task_of_card(model: str) -> str:
    card = card_of(model)
    if card is not None:
        return card.task
    try:
        return find_card(model).task
    except UnknownModelError:
        return ""


def run_task(options: argparse.Namespace, task: str) -> Run:
    """A segmentation or verification from files to figures, with a progress bar on stderr. Raises DataError for options
    that do not go with the task, and whatever reading and evaluating raise.
    """
    if options.model is None or options.data is None:
        raise DataError(f"{task}: say which network and on what: --model MODEL --data FOLDER")
    foreign = [f"--{name}" for name in CLASSIFYING if getattr(options, name)]
    if foreign:
        raise DataError(f"{', '.join(foreign)}: only for classification, not for {task}; leave them out")
    if options.save is not None and task != "segmentation":
        raise DataError("--save keeps the labels of pixels; it goes with segmentation alone")
    net = network_from(str(options.model), options)
    data = _data(options, task)
    with image_bar(len(data) if task == "segmentation" else len(data.images), options.quiet) as bar:
        common: dict[str, Any] = {
            "scores": options.scores,
            "workers": options.decoders,
            "progress": bar.update,
            "engine": engine_options(options),
        }
        run: Run
        if task == "segmentation":
            run = evaluate_segmentation(net, data, _prepared(net, options), save=options.save, **common)
        else:
            cut = {"crop_fraction": (options.face_crop,) * 2, "resize": "vl_imreadjpeg", "crops": options.crops or 1}
            batches = {"batch_size": options.batch_size, "strict": options.strict}
            run = evaluate_verification(net, data, _prepared(net, options, **cut), **common, **batches)
    card = card_of(net.source.path) if net.source.path else None
    run.introduced = str(card.introduced) if card and card.introduced else ""
    if options.random_weights:
        run = replace(run, model=options.model, status="random weights")
    run.notes = [*net.source.notes, *run.notes]
    return run


def _data(options: argparse.Namespace, task: str) -> Any:
    from matnet.datasets import load_lfw, load_voc

    if task == "segmentation":
        found = load_voc(options.data, options.year, options.split or "val", options.sbd)
        found = found.head(options.limit) if options.limit else found
        found.check()
        return found
    if options.limit:
        raise DataError("--limit would leave out whole folds of pairs; leave it out")
    return load_lfw(options.data, options.pairs)


def _prepared(net: Network, options: argparse.Namespace, **fields: Any) -> Preprocessing:
    """What the network's meta asks for, and the options instead."""
    from matnet.images import Preprocessing

    given = {"image_size": tuple(options.image_size) if options.image_size else None, "mean": options.mean}
    given = {name: value for name, value in given.items() if value is not None}
    return Preprocessing.of(net, **given, **fields)


def task_report(run: Run) -> str:
    """The figures for people: a row, and what they are made of."""
    from tabulate import tabulate

    if isinstance(run, SegmentationEvaluation):
        figures = {
            "mean IoU": run.mean_iou,
            "pixel accuracy": run.pixel_accuracy,
            "mean class accuracy": run.mean_class_accuracy,
            "frequency weighted IoU": run.frequency_weighted_iu,
        }
        rest = tabulate(run.class_iou.items(), ("class", "IoU"), tablefmt="pipe", floatfmt=".2f")
    elif isinstance(run, VerificationEvaluation):
        figures = {
            "accuracy": run.accuracy,
            "standard error": run.standard_error,
            "equal error rate": run.equal_error_rate,
            "area under ROC": run.auc,
        }
        folds = zip(range(1, len(run.fold_accuracies) + 1), run.fold_accuracies, run.fold_thresholds, strict=True)
        rest = tabulate(folds, ("fold", "accuracy", "threshold"), tablefmt="pipe", floatfmt=("", ".2f", ".4f"))
    else:
        raise TypeError(f"no report of {type(run).__name__}")
    cells = [run.model, *(f"{value:.2f}" for value in figures.values()), f"{run.images_per_s:.1f}"]
    first = tabulate([cells], ("model", *figures, "images/s"), tablefmt="pipe", disable_numparse=True)
    return f"{first}\n\n{rest}\n\n{run.images} images of {run.dataset}; {run.protocol}"
