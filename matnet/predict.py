"""`matnet predict MODEL IMAGES...`: classify images, or detect objects in them."""

from __future__ import annotations

from matnet.interrupts import interruptible

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
    add_file_options,
    engine_options,
    model_help,
    network_from,
    positive,
)
from matnet.command_line import command_parser, run_command, say
from matnet.errors import NetworkError, printable
from matnet.evaluation.detectors import LEAST, detects
from matnet.files import check_folder, check_outputs, make_folder
from matnet.finite import weights_not_finite
from matnet.image_arguments import add_classes, add_preprocessing, parsed, preprocessing_from
from matnet.kinds import IMAGE
from matnet.outcomes import ExitStatus
from matnet.stated_options import refuse_idle
from matnet.tables import Column, Table

if TYPE_CHECKING:
    from matnet.answers.classify import Predictions
    from matnet.network import Network

EDGES = ("left", "top", "right", "bottom")
"""Edges of a box, in pixels from the upper left corner of the image."""
MANY = 64
"""Number of images from which a progress bar is shown."""


def parser() -> argparse.ArgumentParser:
    command = command_parser(
        "predict",
        "MODEL IMAGE [IMAGE ...]",
        description="Classify images: print the best classes of each, with their probabilities. For a detector (Faster "
        "R-CNN, SSD), print the objects in each, with box, class and score.",
        epilog="If an image cannot be read, predict names it, goes on with the others, and ends with status 2. Images "
        "are prepared as the network's file states; the options of preprocessing replace what it states.",
    )
    command.add_argument("model", metavar="MODEL", help=model_help())
    command.add_argument("images", metavar="IMAGE", nargs="+", help="image files, and folders of them")
    command.add_argument(
        "--top", type=positive, metavar="N", help="classes per image (default: 5), or objects (default: all)"
    )
    command.add_argument("--scores", metavar="NAME", help="the variable to rank (default: the last softmax, or output)")
    add_classes(command)
    command.add_argument("--draw", type=Path, metavar="FOLDER", help="write each image with its boxes there, as PNG")
    command.add_argument(
        "--least-score", type=_share, metavar="S", help=f"lowest score of a listed object, 0 to 1 (default: {LEAST})"
    )
    form = command.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print all as JSON")
    form.add_argument("--csv", action="store_true", help="print a line per image and class")
    command.add_argument("--quiet", action="store_true", help="no progress bar")
    add_preprocessing(command)
    add_file_options(command.add_argument_group("network"))
    add_batch_size(add_engine_options(command), None, "images per pass (default: 32)")
    return command


def _share(text: str) -> float:
    """argparse type: a score from 0 to 1."""
    try:
        found = float(text)
    except ValueError:
        found = -1.0
    if not 0 <= found <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not a score; expected a number from 0 to 1")
    return found


def main(argv: list[str] | None = None) -> int:
    options = parsed(parser(), argv)
    net = network_from(options.model, options)
    if detects(net):
        return _detect(net, options)
    foreign = [name for name in ("draw", "least_score") if getattr(options, name) is not None]
    if foreign:
        named = ", ".join(f"--{name.replace('_', '-')}" for name in foreign)
        raise NetworkError(f"{named}: only for detectors; {net.source} predicts no boxes")
    found = net.classify(
        options.images,
        top=options.top or 5,
        classes=options.classes,
        scores=options.scores,
        preprocessing=preprocessing_from(net, options),
        progress=_progress(options),
        options=engine_options(options),
    )
    say(_json(options.model, found) if options.json else _csv(found) if options.csv else _text(found))
    if not (found.unreadable or found.not_finite or found.damaged):
        return ExitStatus.DONE
    if len(found.unreadable) > 3:  # the log names three
        print(printable("\n".join(f"matnet: {fault}" for fault in found.unreadable)), file=sys.stderr)
    return ExitStatus.MENDABLE


def _detect(net: Network, options: argparse.Namespace) -> int:
    """Detect, print and draw the objects in each image; returns the exit status."""
    from matnet.answers.detect import detect, draw, drawn_files
    from matnet.answers.pictures import pictures_of
    from matnet.evaluation.command import refuse_idle_sizes

    whole = f"{net.source} is a detector and processes one uncropped image at a time; omit the option"
    refuse_idle(options, ["batch_size", "crops"], whole)
    refuse_idle_sizes(net, options)
    prepared = preprocessing_from(net, options)
    files: list[Path] = []
    if options.draw is not None:
        pictures = pictures_of(options.images)[0]
        files = drawn_files(options.draw, pictures)
        check_folder(options.draw)
    least = LEAST if options.least_score is None else options.least_score
    given = {"least": least, "top": options.top, "classes": options.classes, "scores": options.scores}
    found = detect(net, options.images, prepared, engine_options(options), progress=_progress(options), **given)
    if files:
        make_folder(options.draw)
        check_outputs([(file, IMAGE) for file in files], [picture.name for picture in pictures])
    records, not_finite = [], set()
    for number, image in enumerate(found):
        records.append(image.record())
        if image.not_finite:
            not_finite.add(number)
        if files and not image.error:
            draw(image, files[number], prepared)
    forms = {"json": options.json, "csv": options.csv}
    say(
        _json_of_objects(options.model, records, not_finite)
        if forms["json"]
        else _objects(records, not_finite, forms["csv"])
    )
    faults = [record["error"] for record in records if "error" in record]
    if faults:
        print(printable("\n".join(f"matnet: {fault}" for fault in faults)), file=sys.stderr)
    return ExitStatus.MENDABLE if faults or weights_not_finite(net) else ExitStatus.DONE


def _objects(records: list[dict[str, Any]], not_finite: set[int], csv: bool) -> str:
    """A table of the objects in all images, as text or CSV. not_finite: indices of images with invalid scores."""
    rows: list[dict[str, Any]] = []
    for number, record in enumerate(records):
        found = [
            {"image": record["image"], **item, **dict(zip(EDGES, item["box"], strict=True))}
            for item in record.get("detections", [])
        ]
        rows += found or [{"image": record["image"], "class": "" if csv else "(nothing)", "error": record.get("error")}]
        if not csv and "error" in record:
            rows[-1]["class"] = "(not finite)" if number in not_finite else "(cannot be read)"
    if csv:
        keys = ("image", "class", "score", *EDGES, "index", "error")
        return Table([Column(key, key) for key in keys], rows).csv().rstrip("\n")
    edges = [Column(edge, edge, "right", places=1) for edge in EDGES]
    columns = [Column("image", "image"), Column("class", "class"), Column("score", "score", "right", places=4), *edges]
    return Table(columns, rows).text()


def _json_of_objects(model: str, records: list[dict[str, Any]], not_finite: set[int]) -> str:
    count = len(not_finite)
    unreadable = sum("error" in record for record in records) - count
    return json.dumps({"model": model, "images": records, "unreadable": unreadable, "not_finite": count}, indent=2)


def _progress(options: argparse.Namespace) -> Any:
    """A progress bar for many images on a terminal."""
    if options.quiet or not sys.stderr.isatty():
        return None
    from matnet.answers.pictures import pictures_of
    from matnet.evaluation.progress import image_bar

    count = len(pictures_of(options.images)[0])
    return image_bar(count).update if count >= MANY else None


def _text(found: Predictions) -> str:
    """A table per image."""
    parts = []
    for record in found.records():
        if "top" not in record:
            parts.append(f"{record['image']}: cannot be read")
            continue
        ids = any(row["wordnet_id"] for row in record["top"])
        columns = [
            Column(found.measure, found.measure, "right", places=4),
            Column("class", "class"),
            *([Column("wordnet_id", "WordNet id")] if ids else []),
        ]
        parts.append(f"{record['image']}\n\n{Table(columns, record['top']).text()}")
    return "\n\n".join(parts)


def _csv(found: Predictions) -> str:
    keys = ("image", "rank", "class", found.measure, "wordnet_id", "index", "error")
    rows: list[dict[str, Any]] = []
    for record in found.records():
        image = {"image": record["image"], "error": record.get("error")}
        ranked = record.get("top", [])
        rows += [{**image, "rank": rank, **row} for rank, row in enumerate(ranked, start=1)] or [image]
    return Table([Column(key, key) for key in keys], rows).csv().rstrip("\n")


def _json(model: str, found: Predictions) -> str:
    plain = {
        "model": model,
        "measure": found.measure,
        "images": found.records(),
        "unreadable": len(found.unreadable),
        "notes": list(found.notes),
        "runtime": found.runtime,
    }
    return json.dumps(plain, indent=2)


if __name__ == "__main__":
    sys.exit(run_command(main))
