"""The options of `matnet eval` for data and run, its data set, and its report."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from matnet.arguments import add_sharing, positive
from matnet.errors import DataError
from matnet.evaluation.detectors import LIMITS, detector_of
from matnet.evaluation.record import Run
from matnet.evaluation.tasks import TASKS, Task
from matnet.files import atomic_write, models_folder
from matnet.image_arguments import add_classes
from matnet.meta import normalization_of
from matnet.network import Network
from matnet.outcomes import ExitStatus, Outcome, Status
from matnet.stated_options import refuse_idle
from matnet.zoo import UnknownModelError, card_of, find_card

if TYPE_CHECKING:
    from matnet.datasets.base import DataSet

OPTIONS = tuple(dict.fromkeys(name for kind in TASKS.values() for name in kind.options))
"""Options of some tasks only."""
RESIZING = ("imresize", "opencv", "opencv-float")
"""Resampling methods for detectors with RoI pooling (`Preprocessing.within`)."""


def embedded_model() -> Path:
    """The network that ships with matnet."""
    return models_folder() / "digits-lenet" / "digits-lenet.mat"


def embedded_data() -> Path:
    """The test images of the embedded network."""
    return models_folder() / "digits-lenet" / "test"


def add_data_options(command: argparse.ArgumentParser) -> None:
    """Add the options of the data set, the task and the classes."""
    data = command.add_argument_group("data")
    data.add_argument(
        "--data",
        "--voc",
        metavar="FOLDER",
        help="a folder with one folder per class, a list file of lines `path label`, ImageNet, PASCAL VOC, COCO, LFW",
    )
    data.add_argument("--root", metavar="FOLDER", help="folder that the paths of a list are relative to")
    tasks = f"what to evaluate: {', '.join(TASKS)} (default: from the model or the data)"
    data.add_argument("--task", choices=list(TASKS), metavar="TASK", help=tasks)
    add_classes(data)
    data.add_argument("--limit", type=positive, metavar="N", help="only the first N images")
    data.add_argument("--year", metavar="YEAR", help="which year of PASCAL VOC, if the folder has several")
    data.add_argument(
        "--split",
        metavar="PART",
        help="which images of PASCAL VOC: val (default), train, rv-voc11, rv-voc12, or a file of image names; for "
        "detection the default is test",
    )
    data.add_argument(
        "--proposals", type=Path, metavar="FILE", help="boxes for Fast R-CNN: a .mat file of selective search"
    )
    data.add_argument(
        "--kind",
        metavar="KIND",
        help="labels of SIFT Flow: semantic (default) or geometric; images of NYUDv2: color (default) or hha",
    )
    data.add_argument(
        "--within",
        type=_error,
        metavar="N",
        help="regression: errors up to N count as right (default: 5, in the unit of the values)",
    )
    data.add_argument("--sbd", type=Path, metavar="FOLDER", help="SBD's benchmark_RELEASE (default: beside VOC)")
    data.add_argument(
        "--pairs", type=Path, metavar="FILE", help="the list of pairs of faces (default: LFW's pairs.txt)"
    )


def _error(text: str) -> float:
    """A number that is not negative, for argparse."""
    value = float(text)
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not an error; expected a number from 0")
    return value


def add_run_options(command: argparse.ArgumentParser) -> None:
    """Add the options of workers, resuming and output."""
    group = command.add_argument_group("run")
    group.add_argument("--decoders", type=positive, metavar="N", help="decoding threads (default: one per processor)")
    add_sharing(group)
    group.add_argument("--resume", action="store_true", help="continue this command's interrupted run")
    output = command.add_argument_group("output")
    output.add_argument(
        "--json", nargs="?", const="-", metavar="FILE", help="the result as JSON, on stdout or into FILE"
    )
    output.add_argument(
        "--save", type=Path, metavar="FOLDER", help="write the labels of each image as PNG with VOC's palette"
    )
    output.add_argument("--quiet", action="store_true", help="no progress bar")


def task_name(options: argparse.Namespace) -> str:
    """One of TASKS: that of the options, else of the model card, else of the data set.

    Raises DataError for options that the task does not have.
    """
    task = options.task or _task_of_model(options) or _task_of_data(options)
    foreign = [
        f"--{'ten-crop' if name == 'crops' else name}"
        for name in OPTIONS
        if getattr(options, name) is not None and name not in TASKS[task].options
    ]
    if foreign:
        raise DataError(f"{', '.join(foreign)}: not for {task}; leave it out, or give another --task")
    if task != "faces":
        refuse_idle(options, ["face_crop"], "only for faces")
    if TASKS[task].own_size:
        refuse_idle(options, ["batch_size"], f"not for {task}, which processes images one by one, at their own size")
    if task in ("segmentation", "edges"):
        refuse_idle(options, ["resize"], f"not for {task}, whose images keep their size")
    return str(task)


def _task_of_model(options: argparse.Namespace) -> str:
    if not options.model:
        return "classification"
    card = card_of(options.model)
    if card is None:
        try:
            card = find_card(options.model)
        except UnknownModelError:
            return ""
    return card.task if card.task in TASKS else ""


def _task_of_data(options: argparse.Namespace) -> str:
    from matnet.datasets.guess import TASK_OF_KIND, guess

    kind = guess(Path(options.data))[0] if options.data and Path(options.data).exists() else ""
    return TASK_OF_KIND.get(kind, "classification")


def require_data(options: argparse.Namespace, task: str) -> None:
    """Raises DataError if a model other than the embedded one has no data set."""
    own = options.model is None or Path(options.model).resolve() == embedded_model().resolve()
    if options.data is None and not (own or options.model in ("digits-lenet", "digits-lenet.mat")):
        raise DataError(f"{options.model}: no data for {task}; give --data FOLDER or --data FILE (a list file)")
    if options.model is None and task != "classification":
        raise DataError(f"{task}: no network; give --model MODEL")


def data_of(options: argparse.Namespace, task: str) -> DataSet:
    """The data set of the options, limited by `--limit` and checked."""
    kind = TASKS[task]
    found = kind.load(options.data or embedded_data(), **{name: getattr(options, name) for name in kind.options})
    return (found.head(options.limit) if "limit" in kind.options and options.limit else found).check()


def refuse_idle_sizes(net: Network, options: argparse.Namespace) -> None:
    """Raise MatnetError for options without effect on a detector with RoI pooling, which keeps the aspect ratio.

    --input-size is accepted if the network's file states no size, because preprocessing then asks for it.
    """
    if detector_of(net, options.scores).lists:
        return
    if options.resize not in (None, *RESIZING):
        why = f"{net.source} takes images of any size; give one of {', '.join(RESIZING)}, or omit the option"
        refuse_idle(options, ["resize"], why)
    try:
        normalization_of(net, channels=3, mean=(0.0,))
    except DataError:
        return
    pixels = f"{LIMITS.shorter} pixels on the shorter side, or {LIMITS.longest} on the longer one"
    refuse_idle(options, ["input_size", "image_size"], f"{net.source} takes images of {pixels}; omit the option")


def report(run: Run, task: Task, options: argparse.Namespace, advice: Callable[[], str]) -> ExitStatus:
    """Print the tables, or JSON with `--json`, on stdout, and notes and errors on stderr. Returns the exit status.

    The notes about the data set are left out: they are said before the run.

    advice: how to find the cause of doubtful figures.
    """
    text = json.dumps(run.record(), indent=2, allow_nan=False)
    if options.json == "-":
        print(text)
    else:
        first, *rest = task.report([run])
        grids = [first.text("fixed" if any(column.width for column in first.columns) else "pipe")]
        grids += [table.text("pipe") for table in rest]
        runtime = f" ({run.runtime})" if run.runtime else ""
        where = f"{run.backend}{runtime} on {run.device}, {run.precision}, batch {run.batch_size}"
        protocol = "" if run.preprocessing.endswith(f"[{run.protocol}]") else f"; {run.protocol}"
        print("\n\n".join([*grids, f"{run.images} images of {run.dataset}{protocol}; {run.preprocessing}; {where}"]))
        if options.json:
            with atomic_write(options.json) as file:
                file.write(f"{text}\n".encode())
    lines = [*(note for note in run.notes if note not in task.data.notes), *run.unreadable]
    if run.unreadable:
        count = len(run.unreadable)
        lines.append(f"{count} unreadable image{'s' if count > 1 else ''} or folders left out of the figures")
    for line in lines:
        print(f"matnet: {line}", file=sys.stderr)
    outcome = Outcome(Status(run.status), run.status_reason)
    if outcome.status in (Status.DOUBTFUL, Status.NOT_FINITE):
        print(f"matnet: {outcome}; {advice()}", file=sys.stderr)
    return outcome.exit_status
