"""`matnet doctor MODEL [IMAGES]`: find what is wrong with file, preprocessing or labels."""

from __future__ import annotations

from matnet.interrupts import interruptible

if __name__ == "__main__":
    interruptible()

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from matnet.doctor.options import ONLY_WITH_IMAGES, parser

if TYPE_CHECKING:
    from matnet.datasets import ImageList
    from matnet.doctor.findings import Finding
    from matnet.doctor.search import Diagnosis
    from matnet.images import Preprocessing
    from matnet.network import Network


def main(argv: list[str] | None = None) -> int:
    from matnet.arguments import ENGINE
    from matnet.errors import DataError
    from matnet.files import check_outputs
    from matnet.image_arguments import parsed
    from matnet.kinds import JSON, MAT
    from matnet.stated_options import given_texts, refuse_idle

    options = parsed(parser(), argv)
    target = None if options.json == "-" else options.json
    check_outputs([(target, JSON), (options.write, MAT)], given_texts(options, ["json", "write"]))
    if not (options.images or options.labels):
        idle = (*ONLY_WITH_IMAGES, *ENGINE)
        refuse_idle(options, idle, "only with labelled images; give IMAGES")
    elif options.labels and Path(options.labels).is_dir():
        raise DataError(f"--labels {options.labels}: is a folder; give it as IMAGES, or a list of lines `path label`")
    elif options.labels and options.images:
        refuse_idle(options, ["root"], "not with IMAGES, which is already the folder of the paths in --labels")
    return diagnose(options, target)


def diagnose(options: argparse.Namespace, target: str | None) -> int:
    """Run the checks and the search, and print the report. Returns the exit status."""
    from matnet.arguments import network_from
    from matnet.doctor.checks import check_files, check_network
    from matnet.doctor.findings import problem
    from matnet.errors import DataError, FileFormatError, MatnetError
    from matnet.files import check_outputs
    from matnet.foreign import refuse_foreign
    from matnet.formats.find import refuse_to_replace_data
    from matnet.kinds import MAT

    files = [path for path in _files(options.model) if path.is_file()]
    for path in files:
        refuse_foreign(path)
    findings = check_files(files)
    try:
        net = network_from(options.model, options)
    except MatnetError as error:
        if not files or not isinstance(error, FileFormatError):
            raise
        return _report(options, target, [*findings, problem("file", str(error))], None, "", "")
    if options.write:
        check_outputs([(options.write, MAT)], net.source.files)
        refuse_to_replace_data(options.write)
    with_images = bool(options.images or options.labels)
    prepared = _preprocessing(net, options, required=with_images)
    findings += check_network(net, prepared, options.scores)
    if not with_images:
        return _report(options, target, findings, None, prepared.describe() if prepared else "", "")
    assert prepared is not None
    if prepared.crops != 1:
        raise DataError("--ten-crop: the doctor uses only the centre crop; leave it out")
    images, diagnosis = _search(net, options, prepared, findings)
    if options.write and diagnosis.best is not None:
        _write(net, options, prepared, diagnosis)
    return _report(options, target, findings, diagnosis, prepared.describe(), images.name)


def _files(model: str) -> list[Path]:
    return [Path(model)] if Path(model).exists() else [Path(part.strip()) for part in model.split(",")]


def _preprocessing(net: Network, options: argparse.Namespace, required: bool) -> Preprocessing | None:
    from matnet.errors import DataError
    from matnet.image_arguments import preprocessing_from, stated_preprocessing

    try:
        return preprocessing_from(net, options)
    except DataError:
        if required or stated_preprocessing(options):
            raise
        return None


def _search(
    net: Network, options: argparse.Namespace, prepared: Preprocessing, findings: list[Finding]
) -> tuple[ImageList, Diagnosis]:
    """The labelled images, and the diagnosis of the search over them; findings about labels are added."""
    from matnet.arguments import engine_options
    from matnet.datasets import load_images
    from matnet.doctor.search import Search
    from matnet.doctor.truth import aligned
    from matnet.evaluation.scores import score_variable, scores_of_one_image
    from matnet.meta import class_names
    from matnet.zoo import card_of

    given = load_images(options.labels or options.images, options.root or (options.images if options.labels else None))
    variable = score_variable(net, options.scores)
    outputs = scores_of_one_image(net, variable, prepared)
    card = card_of(net.source.path) if net.source.path else None
    order = card.labels.get("order") if card else None
    images, said = aligned(net, given, outputs, options.classes, order, variable)
    findings += said
    search = Search(
        net, images, prepared, variable, class_names(net) or (), engine_options(options), options.knobs, options.most
    )
    return images, search.run()


def _write(net: Network, options: argparse.Namespace, prepared: Preprocessing, diagnosis: Diagnosis) -> None:
    from matnet.doctor.permanent import mended
    from matnet.formats import save_network

    save_network(mended(net, prepared, *diagnosis.change), options.write)


def _report(
    options: argparse.Namespace,
    target: str | None,
    findings: list[Finding],
    diagnosis: Diagnosis | None,
    preprocessing: str,
    dataset: str,
) -> int:
    """Print the report, or write it as JSON. Returns the exit status."""
    from matnet.command_line import say
    from matnet.doctor.findings import PROBLEM
    from matnet.doctor.report import findings_text, paragraph, record, trials_text, verdict
    from matnet.errors import printable
    from matnet.files import atomic_write
    from matnet.outcomes import ExitStatus

    text = json.dumps(record(options.model, findings, diagnosis, preprocessing, dataset), indent=2, allow_nan=False)
    if target:
        with atomic_write(target) as file:
            file.write(f"{text}\n".encode())
    if options.json == "-":
        say(text)
    else:
        parts = [findings_text(findings)] if findings else []
        if diagnosis is not None:
            parts += [paragraph(f"{dataset}; {preprocessing}"), trials_text(diagnosis), paragraph(verdict(diagnosis))]
        say("\n\n".join(parts) or "nothing found")
    if diagnosis is not None:
        for fault in diagnosis.unreadable:
            print(printable(f"matnet: {fault}"), file=sys.stderr)
        if diagnosis.unreadable:
            print(f"matnet: {len(diagnosis.unreadable)} unreadable images left out of the figures", file=sys.stderr)
        if options.write:
            what = f"{options.write}: written with the change" if diagnosis.best else f"{options.write}: not written"
            print(printable(f"matnet: {what}"), file=sys.stderr)
    wrong = any(finding.level == PROBLEM for finding in findings)
    found = diagnosis is not None and (diagnosis.best is not None or diagnosis.by_chance)
    if wrong or found:
        return ExitStatus.CHECK_FAILED
    return ExitStatus.MENDABLE if diagnosis is not None and diagnosis.unreadable else ExitStatus.DONE


if __name__ == "__main__":
    from matnet.command_line import run_command

    sys.exit(run_command(main))
