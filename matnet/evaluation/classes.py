"""The classes of a network in the order of its outputs: as it names them, as the user states, or as its card does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from matnet.errors import DataError, in_words
from matnet.meta import class_descriptions, class_names

if TYPE_CHECKING:
    from matnet.datasets import ImageList
    from matnet.network import Network

STATED = {"ilsvrc12": "ilsvrc12-sorted", "devkit": "ilsvrc12-devkit"}
"""What `--classes` takes besides a file, and the order that it means."""

Names = tuple[Sequence[str], Sequence[str]]
"""Names of classes, and longer descriptions of them (which may be none)."""


def align(
    net: Network,
    images: ImageList,
    outputs: int | None,
    stated: str | Sequence[str] | None,
    order: str | None,
    named: Sequence[str] | None = None,
    variable: str = "",
) -> ImageList:
    """The images with labels that count in the network's outputs; `doubt` says where nothing states their order.

    outputs: how many classes `variable` scores, where known. stated: a key of STATED or of `ORDERS`, a list file, or
    the names themselves; it takes precedence over the names in the network's file. order: `labels.order` of the
    model's card, for images labelled by WordNet ids; named: `labels.names` of it. Images that are aligned already only
    have their labels checked.
    Raises DataError where labels cannot be matched, or where the position alone would decide and cannot.
    """
    if images.aligned and stated is None:
        if outputs is not None:
            images._check_range(outputs)
        return images
    names, descriptions = stated_names(net, stated)
    if names and outputs is not None and len(names) != outputs:
        option = in_words("classes=", "--classes")
        said = "the network's file names" if stated is None else f"{option} states"
        raise DataError(
            f"{said} {len(names)} classes, and {variable!r} scores {outputs}; give as many names with "
            f"{option}, or another variable with {in_words('scores=', '--scores')}"
        )
    if not names:
        names = _of_card(images, order) or named or ()
    found = replace(images, aligned=False).align(names, descriptions, outputs)
    if stated is None or images.class_names is not None:
        return found
    option = in_words("classes=", "--classes")
    numbers = f"the labels are numbers, which count the network's outputs; {option} names these and moves none"
    return replace(found, notes=(*found.notes, numbers))


def order_unstated() -> str:
    """The reason for doubt where the classes are taken in the data's own order."""
    ways = in_words("classes=", "--classes FILE, a name per line")
    return f"nothing states the order of the network's classes; give them with {ways}"


def stated_names(net: Network, stated: str | Sequence[str] | None) -> Names:
    """The names as the user states them, else those in the network's file, which may be none."""
    if stated is None:
        return class_names(net) or (), class_descriptions(net) or ()
    if not isinstance(stated, str):
        return tuple(stated), ()
    from matnet.datasets import ORDERS, class_order
    from matnet.datasets.ilsvrc2012 import synsets

    order = STATED.get(stated, stated)
    if order in ORDERS:
        words = {synset.wnid: synset.names for synset in synsets()}
        names = class_order(order)
        return names, [words[name] for name in names]
    if not Path(stated).is_file():
        known = ", ".join(STATED)
        option = in_words(f"classes={stated!r}", f"--classes {stated}")
        raise DataError(f"{option}: no such file; give {known}, or a file with a name or WordNet id per line")
    return names_in(Path(stated))


def names_in(file: Path) -> Names:
    """The classes of a list file, one per line in the order of the outputs: a name, or a WordNet id and words."""
    from matnet.datasets.matching import WNID
    from matnet.datasets.scan import text_lines

    lines = [text for _, text in text_lines(file, "list of classes", "of a name or WordNet id")]
    if not all(WNID.match(line) for line in lines):
        return lines, ()
    return [line[:9] for line in lines], [line[9:].strip(" ,;:\t") for line in lines]


def _of_card(images: ImageList, order: str | None) -> Sequence[str]:
    """ImageNet's classes in the order of the model's card, where the images are labelled by WordNet ids; else none."""
    from matnet.datasets import ORDERS, class_order
    from matnet.datasets.matching import WNID

    if order not in ORDERS or images.class_names is None:
        return ()
    if not all(WNID.match(name) for name in images.class_names):
        return ()
    return class_order(order, images.root)
