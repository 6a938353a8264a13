"""Model cards as output: the list, one card as text, one card as plain data."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from matnet.errors import program
from matnet.tables import Table
from matnet.zoo.cache import present_mat
from matnet.zoo.cards import Card, RemoteFile
from matnet.zoo.fetch import further_addresses

WORDS = {"top1": "top-1", "top5": "top-5", "iou": "IoU", "ap": "AP", "ods": "ODS", "ois": "OIS", "meteor": "METEOR"}


def cards_table(cards: Iterable[Card]) -> str:
    """A line per model: name, task, year, parameters, leading figure, and availability."""
    rows = [
        (
            card.name,
            card.task,
            card.introduced or "",
            f"{card.parameters:,}" if card.parameters else "",
            leading_figure(card),
            availability(card),
        )
        for card in cards
    ]
    headers = ("model", "task", "year", "parameters", "published", "available as")
    return Table.of(headers, rows, right=["parameters"]).text()


def leading_figure(card: Card) -> str:
    """The first one or two figures of the first source: `top-1 error 42.6, top-5 error 19.6`."""
    figures = next((entry.figures for entry in card.published if entry.figures), {})
    shown = [f"{spelled(name)} {value:g}" for name, value in figures.items() if name != "images_per_s"]
    return ", ".join(shown[:2])


def spelled(metric: str) -> str:
    """A metric's field as text.

    >>> spelled("top1_error"), spelled("mean_iou"), spelled("images_per_s")
    ('top-1 error', 'mean IoU', 'images/s')
    """
    return " ".join(WORDS.get(word, word) for word in metric.replace("_per_s", "/s").split("_"))


def availability(card: Card) -> str:
    """How a model is available: `here`, `mat`, `caffe`, `random weights`."""
    ways = ["here"] if present_mat(card) else []
    ways += ["mat"] if card.mat_urls else []
    ways += ["caffe"] if card.file("caffemodel") and card.prototxt else []
    return ", ".join(ways) or ("random weights" if card.prototxt else "your own files")


def card_text(card: Card) -> str:
    """One card: description, files with checksums, figures, citation, uncertainties, prose."""
    facts = [
        ("called", ", ".join((card.name, *card.aliases))),
        ("by its authors", card.title),
        ("task", f"{card.task}, {card.introduced}" if card.introduced else card.task),
        ("license", card.license),
        ("page", card.page),
        ("inputs", ", ".join(f"{name} {'x'.join(map(str, size))}" for name, size in card.inputs.items())),
        ("outputs", ", ".join(card.outputs)),
        ("parameters", f"{card.parameters:,} ({4 * card.parameters:,} bytes)" if card.parameters else ""),
        ("definition", f"{card.definition}{f', {card.prototxt}' if card.prototxt else ''}"),
        ("mat file", _mat_line(card)),
        ("not verified", ", ".join(further_addresses(card.mat_file(), card.md5))),
        ("conversion", ", ".join(f"{name}={value}" for name, value in card.convert.items())),
    ]
    lines = [f"{what:>15}  {value}" for what, value in facts if value]
    lines += [f"{'MD5':>15}  {digest}  published {when}" for when, digest in card.md5.items()]
    lines += [f"{file.role:>15}  {_file_line(file)}" for file in card.files]
    for entry in card.published:
        where = ", ".join(part for part in (entry.source, entry.data, entry.protocol) if part)
        figures = ", ".join(f"{spelled(name)} {value:g}" for name, value in entry.figures.items())
        reason = f"; no row in `{program('reproduce')}`: {entry.unmeasured}" if entry.unmeasured else ""
        lines.append(f"{'published':>15}  {figures} ({where}){reason}")
    lines += [f"{'cite':>15}  {text}" for text in card.citation]
    lines += [f"{'uncertain':>15}  {text}" for text in card.evidence]
    return "\n".join([*lines, "", card.prose])


def _mat_line(card: Card) -> str:
    here = present_mat(card)
    if here:
        return f"{here} (here)"
    return ", ".join(card.mat_urls) or f"{card.mat}, once converted"


def _file_line(file: RemoteFile) -> str:
    packed = f" in {file.archive.file}" if file.archive else ""
    urls = file.archive.urls if file.archive else file.urls
    size = f", {file.size:,} bytes" if file.size else ""
    sums = "".join(f", {kind.upper()} {digest}" for kind, digest in file.hashes.items())
    return f"{file.file}{packed}{size}{sums}{''.join(f', {url}' for url in urls)}"


def card_record(card: Card) -> dict[str, Any]:
    """A card as plain data for JSON; paths as text, and `available` added."""
    record = asdict(card)
    for name, value in record.items():
        if isinstance(value, Path):
            record[name] = str(value)
    return {**record, "available": availability(card)}
