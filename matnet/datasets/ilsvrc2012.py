"""The 1000 classes of ILSVRC-2012: WordNet ids and names, in the two class orders of networks."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import NamedTuple

TABLE = Path(__file__).with_suffix(".tsv")
"""One class per line: WordNet id, number in the development kit (ILSVRC2012_ID), names. Sorted by WordNet id."""


class Synset(NamedTuple):
    """A class: its WordNet id, its number from 1 in the development kit, and its names, separated by commas."""

    wnid: str
    devkit: int
    names: str


@cache
def synsets() -> tuple[Synset, ...]:
    """All 1000 classes, sorted by WordNet id, which is the order of Caffe's networks."""
    _, *lines = TABLE.read_text(encoding="utf-8").splitlines()
    fields = (line.split("\t") for line in lines)
    return tuple(Synset(wnid, int(number), names) for wnid, number, names in fields)


def in_devkit_order() -> tuple[Synset, ...]:
    """All 1000 classes in the order of the development kit."""
    return tuple(sorted(synsets(), key=lambda synset: synset.devkit))
