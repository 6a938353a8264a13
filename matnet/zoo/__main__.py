"""`matnet zoo`: list, show, fetch, verify and check known models; Caffe model folders in and out."""

from __future__ import annotations

from matnet.interrupts import interruptible

if __name__ == "__main__":
    interruptible()

import argparse
import json
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from matnet.command_line import command_parser, run_command
from matnet.errors import DownloadError, printable, program
from matnet.stated_options import parse_stated, refuse_idle
from matnet.tables import Table
from matnet.zoo.cards import Card, all_cards
from matnet.zoo.describe import card_record, card_text, cards_table
from matnet.zoo.download import LARGEST
from matnet.zoo.fetch import Fetcher
from matnet.zoo.model_info import NEEDED_TO_DOWNLOAD, caffe_fields, export_info, import_info
from matnet.zoo.names import find_card, known_cards
from matnet.zoo.schema import TASKS
from matnet.zoo.trial import FAILED, trials
from matnet.zoo.verify import ABSENT, MISMATCH, FileIdentity, verify


def parser() -> argparse.ArgumentParser:
    command = command_parser(
        "zoo",
        description="Known models: what they are, where they come from, and whether a file is one of them.",
        epilog="Files are kept in MATNET_HOME, or the user's cache folder. MATNET_OFFLINE=1 forbids downloads.",
    )
    verbs = command.add_subparsers(dest="verb", required=True, metavar="list | show | fetch | verify | check | info")
    _add_list(verbs)
    _add_show(verbs)
    _add_fetch(verbs)
    _add_verify(verbs)
    _add_check(verbs)
    _add_info(verbs)
    return command


def _verb(verbs: Any, name: str, run: Callable[[argparse.Namespace], int], help: str) -> argparse.ArgumentParser:
    added: argparse.ArgumentParser = verbs.add_parser(name, help=help, description=help)
    added.set_defaults(run=run)
    return added


def _add_list(verbs: Any) -> None:
    command = _verb(verbs, "list", list_models, "List all known models.")
    command.add_argument("--task", choices=TASKS, help="only models for this task")
    command.add_argument("--json", action="store_true", help="as JSON")


def _add_show(verbs: Any) -> None:
    command = _verb(verbs, "show", show_model, "Show what is known about one model.")
    command.add_argument("name", metavar="NAME", help="name of the model")
    command.add_argument("--json", action="store_true", help="as JSON")


def _add_fetch(verbs: Any) -> None:
    command = _verb(verbs, "fetch", fetch_model, "Download a model, verify it and print its path.")
    command.add_argument("name", metavar="NAME", help="name of the model")
    command.add_argument(
        "--what", choices=("mat", "caffe"), default="mat", help="the .mat file (default), or the Caffe files"
    )
    command.add_argument(
        "--mirror",
        action="append",
        default=[],
        metavar="URL",
        help="try this address first; with a / at the end, a folder of files; may be repeated",
    )
    command.add_argument("--from", dest="carried", type=Path, metavar="FOLDER", help="folder with downloaded files")
    command.add_argument(
        "--allow-unverified", action="store_true", help="also download a file without a known checksum over http"
    )
    command.add_argument(
        "--largest",
        type=byte_size,
        default=LARGEST,
        metavar="BYTES",
        help="limit for a file whose size no card states (default: 4G)",
    )
    command.add_argument("--quiet", action="store_true", help="no progress bar")


def _add_verify(verbs: Any) -> None:
    command = _verb(verbs, "verify", verify_files, "Identify files by their checksums, and check that they are whole.")
    command.add_argument(
        "paths", nargs="*", type=Path, metavar="PATH", help="files or folders (default: every published file)"
    )
    command.add_argument("--json", action="store_true", help="as JSON")


def _add_check(verbs: Any) -> None:
    from matnet.engines import BACKENDS

    command = _verb(verbs, "check", check_models, "Check that definitions build, match their cards, and run.")
    command.add_argument("names", nargs="*", metavar="NAME", help="models or families (default: all)")
    command.add_argument("--task", choices=TASKS, help="only models for this task")
    command.add_argument("--forward", action="store_true", help="also run each on a random image, with random weights")
    command.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the random weights (default: 0)")
    command.add_argument("--backend", choices=BACKENDS, default="auto", help="the engine (default: auto)")
    command.add_argument("--json", action="store_true", help="as JSON, at the end")


def _add_info(verbs: Any) -> None:
    info = verbs.add_parser("info", help="Read and write folders in Caffe's model format, which Caffe's own tools use.")
    ways = info.add_subparsers(dest="way", required=True, metavar="export | import")
    _add_ways(ways)
    gist = ways.add_parser("gist", help="the same, since a gist of a model contains such a folder")
    _add_ways(gist.add_subparsers(dest="way", required=True, metavar="export | import"))


def _add_ways(ways: Any) -> None:
    out = _verb(ways, "export", export_folder, "Write a model in Caffe's format: readme.md and prototxt.")
    out.add_argument("name", metavar="NAME", help="name of the model")
    out.add_argument("folder", type=Path, metavar="FOLDER", help="the folder to write")
    back = _verb(ways, "import", import_folder, "Add a folder in Caffe's format to the models that matnet knows.")
    back.add_argument("folder", type=Path, metavar="FOLDER", help="the folder, or the .zip file of a gist")
    back.add_argument("--name", metavar="NAME", help="name of the model (default: that of the folder)")
    back.add_argument("--task", choices=TASKS, default="classification", help="its task (default: classification)")


def byte_size(text: str) -> int:
    """Parse a number of bytes such as 500000000, 500M or 8G."""
    found = re.fullmatch(r"([1-9][0-9]{0,14})([kMGT]?)", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of bytes, such as 500000000, 500M or 8G")
    return int(found[1]) << {"": 0, "k": 10, "M": 20, "G": 30, "T": 40}[found[2]]


# -- verbs ----------------------------------------------------------------------------------------------


def list_models(options: argparse.Namespace) -> int:
    cards = [card for card in all_cards() if options.task in (None, card.task)]
    print(json.dumps([card_record(card) for card in cards], indent=2) if options.json else cards_table(cards))
    return 0


def show_model(options: argparse.Namespace) -> int:
    card = find_card(options.name)
    print(json.dumps(card_record(card), indent=2) if options.json else printable(card_text(card)))
    return 0


def fetch_model(options: argparse.Namespace) -> int:
    card = find_card(options.name)
    fetcher = Fetcher(
        mirrors=options.mirror,
        carried=options.carried,
        allow_unverified=options.allow_unverified,
        largest=options.largest,
        progress=not options.quiet and sys.stderr.isatty(),
    )
    for path in _fetched(card, options.what, fetcher):
        print(path)
    return 0


def _fetched(card: Card, what: str, fetcher: Fetcher) -> Iterable[Path]:
    if what == "mat":
        if not (card.mat_urls or fetcher.mirrors or fetcher.carried or (card.folder / card.mat).is_file()):
            own = "" if card.prototxt and card.file("caffemodel") else ", given your own prototxt and caffemodel,"
            raise DownloadError(
                f"{card.name}: no .mat file was published; `{program('convert')} {card.name}`{own} makes one "
                "from the Caffe files"
            )
        return [fetcher.mat(card)]
    if not card.files:
        raise DownloadError(f"{card.name}: no Caffe files were published; use --what mat")
    return [*([card.prototxt] if card.prototxt else []), *fetcher.caffe(card)]


def verify_files(options: argparse.Namespace) -> int:
    findings = list(verify(options.paths or None))
    print(json.dumps([finding.record() for finding in findings], indent=2) if options.json else _table(findings))
    bad = (MISMATCH, ABSENT) if options.paths else (MISMATCH,)  # files that were not requested may be absent
    return 1 if any(finding.status in bad for finding in findings) else 0


def _table(findings: list[FileIdentity]) -> str:
    rows = [(f.status, f.path, f.model, f.generation, f.md5, f.detail) for f in findings]
    return Table.of(("status", "file", "model", "published", "MD5", ""), rows).text()


def check_models(options: argparse.Namespace) -> int:
    if not options.forward:
        refuse_idle(options, ["seed", "backend"], "only with --forward, which runs the models")
    chosen = [card for name in options.names for card in known_cards(name)] or all_cards()
    cards = {card.name: card for card in chosen if options.task in (None, card.task)}.values()
    done = []
    for trial in trials(cards, options.forward, options.backend, options.seed):
        done.append(trial)
        if not options.json:
            print(trial.line(), flush=True)
    failed = sum(trial.status == FAILED for trial in done)
    if options.json:
        print(json.dumps([trial.record() for trial in done], indent=2))
    else:
        print(f"{len(done)} models, {failed} failed")
    return 1 if failed else 0


def export_folder(options: argparse.Namespace) -> int:
    for path in export_info(options.name, options.folder):
        print(path)
    missing = [field for field in NEEDED_TO_DOWNLOAD if field not in caffe_fields(find_card(options.name))]
    if missing:
        print(f"matnet: unknown, but needed by Caffe's download script: {', '.join(missing)}", file=sys.stderr)
    return 0


def import_folder(options: argparse.Namespace) -> int:
    card = import_info(options.folder, options.name, options.task)
    print(printable(f"{card.name}: {card.title}; its card is {card.folder / 'readme.md'}"))
    return 0


def main(argv: list[str] | None = None) -> int:
    options = parse_stated(parser(), sys.argv[1:] if argv is None else argv)
    status: int = options.run(options)
    return status


if __name__ == "__main__":
    sys.exit(run_command(main))
