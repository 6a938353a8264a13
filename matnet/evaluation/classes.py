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
    Raises DataError if labels cannot be matched, or where the position alone would decide and cannot.
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
    if found.notes == images.notes:  # else it is said that the position decides
        found = replace(found, notes=(*found.notes, _order_used(images, names, stated)))
    doubts = [text for text in (found.doubt, _contradiction(found, names, descriptions)) if text]
    return replace(found, doubt="; ".join(doubts))


def _order_used(images: ImageList, names: Sequence[str], stated: object) -> str:
    """How the labels of the images became those of the network."""
    from matnet.datasets import class_order
    from matnet.datasets.matching import WNID

    if images.class_names is None:
        moves = f"; {in_words('classes=', '--classes')} names these and moves none" if stated is not None else ""
        return f"the labels are numbers, which count the network's outputs{moves}"
    ids = all(WNID.match(name) for name in images.class_names)
    orders = {"ilsvrc12-sorted": "sorted by WordNet id", "ilsvrc12-devkit": "in the development kit's order"}
    known = next((words for order, words in orders.items() if ids and list(class_order(order)) == list(names)), "")
    which = f", which are {known}" if known else ""
    return f"the images' labels are matched to the network's classes by {'WordNet id' if ids else 'name'}{which}"


def _contradiction(images: ImageList, names: Sequence[str], descriptions: Sequence[str]) -> str:
    """A reason for doubt where aligned labels are not the classes that the network names as the images' WordNet ids.

    The ids are those in the names of the images or of their folders; without one in each, nothing is known.
    """
    from matnet.datasets.ilsvrc2012 import synsets
    from matnet.datasets.matching import WNID, places_by_name

    matches = [WNID.match(path.name) or WNID.match(path.parent.name) for path in images.paths]
    if not names or not all(matches):
        return ""
    found = [match.group() for match in matches if match]
    different = sorted(set(found))
    places = dict(zip(different, places_by_name(different, names, descriptions), strict=True))
    if not any(places.values()):  # the network has names without ids
        known = [synset for synset in synsets() if synset.wnid in places]
        terms = [(term, synset.wnid) for synset in known for term in synset.names.split(", ")]
        same = places_by_name([term for term, _ in terms], names, descriptions)
        for (_, wnid), found_here in zip(terms, same, strict=True):
            places[wnid] |= found_here
    labels = images.labels.tolist()
    wrong = [k for k, wnid in enumerate(found) if places[wnid] and labels[k] not in places[wnid]]
    if not wrong:
        return ""
    first, label = images.paths[wrong[0]].name, labels[wrong[0]]
    return (
        f"the labels of {len(wrong):,} of {len(labels):,} images contradict the network's class names: {first} has the "
        f"label {label}, which the network names {names[label]!r}, and its WordNet id is that of class "
        f"{min(places[found[wrong[0]]])}; the names, or the labels, are in another order"
    )


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
