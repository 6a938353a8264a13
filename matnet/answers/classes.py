"""The classes of a network: their names, and their WordNet ids where they are known."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from matnet.errors import DataError, MatnetError, in_words, nearest
from matnet.formats.mat.values import Cell
from matnet.meta import class_descriptions, class_names

if TYPE_CHECKING:
    from matnet.network import Network

WORDNET = re.compile(r"n\d{8}")
SORTED, DEVKIT = "ilsvrc12-sorted", "ilsvrc12-devkit"
ORDERS = {"ilsvrc12": SORTED, "devkit": DEVKIT, SORTED: SORTED, DEVKIT: DEVKIT}
"""Names of the two orders of ILSVRC-2012's 1000 classes: sorted by WordNet id (Caffe's), or the development kit's."""


@dataclass(frozen=True, eq=False)
class Classes(Sequence[str]):
    """Class names in the order of the network's outputs: a sequence of text.

    wordnet_ids: one id (`n01440764`) per class, or None. source: where the names come from; "" if the classes have no
    names, and the sequence is empty.
    """

    names: tuple[str, ...] = ()
    wordnet_ids: tuple[str, ...] | None = None
    source: str = ""

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[str, ...]: ...
    def __getitem__(self, index: int | slice) -> str | tuple[str, ...]:
        return self.names[index]

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, (Classes, list, tuple)) and list(self) == list(other)

    def __hash__(self) -> int:
        return hash(self.names)

    def __repr__(self) -> str:
        if not self.names:
            return "<Classes: no names; set net.classes to a list of names or a file>"
        shown = ", ".join(map(repr, self.names[:3]))
        return f"<Classes: {len(self)} from {self.source}: {shown}{', ...' if len(self) > 3 else ''}>"


def classes_of(net: Network) -> Classes:
    """The class names in the network's file, else those of the order in its model card, else none."""
    names, words = class_names(net), class_descriptions(net)
    if names or words:
        return _named(names or words or [], words or names or [], "the file")
    order = _order_of_card(net)
    return ilsvrc2012(order, "the model's card") if order in ORDERS.values() else Classes()


def stated_classes(stated: str | os.PathLike[str] | Sequence[str]) -> Classes:
    """The classes for user input: `ilsvrc12` or `devkit`, a file with one class per line, or a list of names.

    Raises DataError or FileFormatError for anything else.
    """
    if isinstance(stated, Classes):
        return stated
    if isinstance(stated, (str, os.PathLike)):
        text = os.fspath(stated)
        if text in ORDERS:
            return ilsvrc2012(ORDERS[text], text)
        if not Path(text).is_file():
            raise DataError(
                f"classes {text!r}: no such file, and not an order of ImageNet's classes (ilsvrc12, devkit)"
                f"{nearest(text, ORDERS)}; give {in_words('a list of names, or ', '')}a file with one class per line"
            )
        from matnet.converters.preprocessing import read_labels

        names, words = read_labels(text)
        return _named(names, words, text)
    names = [str(name) for name in stated]
    return _named(names, names, "a list")


def write_classes(net: Network, classes: Classes) -> None:
    """Store the classes in `net.meta`, so that they are saved with the network.

    DataError if there are as many as no output of the network scores or counts.
    """
    counts = _classes_of_outputs(net)
    if counts and all(counts.values()) and not any(len(classes) in numbers for numbers in counts.values()):
        outputs = ", ".join(f"{name!r} has {' or '.join(map(str, numbers))}" for name, numbers in counts.items())
        raise DataError(
            f"{net.source}: {len(classes)} classes given ({classes.source}), but no output has as many channels: "
            f"{outputs}; give one class per channel"
        )
    ids = classes.wordnet_ids or classes.names
    net.meta["classes"] = {"name": Cell(list(ids)), "description": Cell(list(classes.names))}


def _classes_of_outputs(net: Network) -> dict[str, tuple[int, ...]]:
    """How many classes every output at inference may have: its channels, or what a list of detections counts, with the
    background and without; none where that is not known before the network runs.
    """
    try:
        inference = net.for_inference()
        shapes = inference.infer_shapes(inference.default_input_shapes(), partial=True)
    except MatnetError:
        return {}
    found = {name: shapes[name][1:2] if name in shapes else () for name in inference.outputs}
    for layer in inference.layers.values():
        if layer.op.lists_detections:
            counted = layer.op.listed_classes
            found.update(dict.fromkeys(layer.outputs, (counted[0], counted[0] - 1) if counted else ()))
    return found


def ilsvrc2012(order: str, source: str) -> Classes:
    """The 1000 classes of ILSVRC-2012 in one of two orders."""
    from matnet.datasets.ilsvrc2012 import in_devkit_order, synsets

    found = synsets() if order == SORTED else in_devkit_order()
    return Classes(tuple(synset.names for synset in found), tuple(synset.wnid for synset in found), source)


def _named(names: Sequence[str], words: Sequence[str], source: str) -> Classes:
    """Classes from ids and words, from words alone, or from ids alone (their words are looked up)."""
    if not all(WORDNET.fullmatch(name) for name in names):
        return Classes(tuple(words if len(words) == len(names) else names), None, source)
    if len(words) != len(names) or list(words) == list(names):
        from matnet.datasets.ilsvrc2012 import synsets

        known = {synset.wnid: synset.names for synset in synsets()}
        words = [known.get(name, name) for name in names]
    return Classes(tuple(words), tuple(names), source)


def _order_of_card(net: Network) -> Any:
    from matnet.zoo import card_of

    card = card_of(net.source.path) if net.source.path else None
    return card.labels.get("order") if card else None
