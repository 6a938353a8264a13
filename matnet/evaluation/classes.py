"""Match the labels of a data set to the network's outputs: class names from the user, the file or the model card."""

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
"""The values of `--classes` other than a file, and the order of each."""

Names = tuple[Sequence[str], Sequence[str]]
"""Class names, and their longer descriptions (may be empty)."""


def align(
    net: Network,
    images: ImageList,
    outputs: int | None,
    stated: str | Sequence[str] | None,
    order: str | None,
    named: Sequence[str] | None = None,
    variable: str = "",
) -> ImageList:
    """The images with labels as indices of the network's outputs; `doubt` is set if the class order is unknown.

    outputs: how many classes `variable` scores, if known. stated: a key of STATED or of `ORDERS`, a list file, or the
    names; it takes precedence over the names in the network's file. order: `labels.order` of the model card, for images
    labelled by WordNet ids; named: its `labels.names`. For images that are already aligned, only labels are checked.
    Raises DataError if labels cannot be matched by name, and their positions are not usable either.
    """
    if images.aligned and stated is None:
        if outputs is not None:
            images._check_range(outputs)
        return images
    names, descriptions = stated_names(net, stated)
    if names and outputs is not None and len(names) != outputs:
        option = in_words("classes=", "--classes")
        said = "the network's file has" if stated is None else f"{option} gives"
        raise DataError(
            f"{said} {len(names)} class names, but {variable!r} scores {outputs}; give {outputs} names with "
            f"{option}, or another variable with {in_words('scores=', '--scores')}"
        )
    if not names:
        names = _of_card(images, order) or named or ()
    found = replace(images, aligned=False).align(names, descriptions, outputs)
    if found.notes == images.notes:  # otherwise `align` added a note that positions decide
        found = replace(found, notes=(*found.notes, _order_used(images, names, stated)))
    doubts = [text for text in (found.doubt, _contradiction(found, names, descriptions)) if text]
    return replace(found, doubt="; ".join(doubts))


def _order_used(images: ImageList, names: Sequence[str], stated: object) -> str:
    """A note on how the labels were matched to the network's classes."""
    from matnet.datasets import class_order
    from matnet.datasets.matching import WNID

    if images.class_names is None:
        moves = f"; {in_words('classes=', '--classes')} does not reorder them" if stated is not None else ""
        return f"the labels are numbers, used as indices of the network's outputs{moves}"
    ids = all(WNID.match(name) for name in images.class_names)
    orders = {"ilsvrc12-sorted": "sorted by WordNet id", "ilsvrc12-devkit": "in the development kit's order"}
    known = next((words for order, words in orders.items() if ids and list(class_order(order)) == list(names)), "")
    which = f", {known}" if known else ""
    return f"the images' labels are matched by {'WordNet id' if ids else 'name'} to the network's classes{which}"


def _contradiction(images: ImageList, names: Sequence[str], descriptions: Sequence[str]) -> str:
    """A reason for doubt if aligned labels contradict the WordNet ids in the names of the images or their folders.

    Returns "" if any image lacks such an id.
    """
    from matnet.datasets.ilsvrc2012 import synsets
    from matnet.datasets.matching import WNID, places_by_name

    matches = [WNID.match(path.name) or WNID.match(path.parent.name) for path in images.paths]
    if not names or not all(matches):
        return ""
    found = [match.group() for match in matches if match]
    different = sorted(set(found))
    places = dict(zip(different, places_by_name(different, names, descriptions), strict=True))
    if not any(places.values()):  # the network's class names have no ids
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
        f"the labels of {len(wrong):,} of {len(labels):,} images contradict the network's class names: {first} has "
        f"label {label}, which the network names {names[label]!r}, but its WordNet id belongs to class "
        f"{min(places[found[wrong[0]]])}; the names or the labels are in another order"
    )


def order_unstated() -> str:
    """The reason for doubt if the data set's own class order is used."""
    ways = in_words("classes=", "--classes FILE (one name per line)")
    return f"the order of the network's classes is unknown; give it with {ways}"


def stated_names(net: Network, stated: str | Sequence[str] | None) -> Names:
    """The names that the user gives, else those in the network's file (may be empty)."""
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
        raise DataError(
            f"{option}: no such file, and not an order of ImageNet's classes ({known}); give a file with one name or "
            "WordNet id per line"
        )
    return names_in(Path(stated))


def names_in(file: Path) -> Names:
    """The classes in a list file, one per line in output order: a name, or a WordNet id and words."""
    from matnet.datasets.matching import WNID
    from matnet.datasets.scan import text_lines

    lines = [text for _, text in text_lines(file, "list of classes", "of a name or WordNet id")]
    if not all(WNID.match(line) for line in lines):
        return lines, ()
    return [line[:9] for line in lines], [line[9:].strip(" ,;:\t") for line in lines]


def _of_card(images: ImageList, order: str | None) -> Sequence[str]:
    """ImageNet's classes in the order of the model card if the images are labelled by WordNet ids, else none."""
    from matnet.datasets import ORDERS, class_order
    from matnet.datasets.matching import WNID

    if order not in ORDERS or images.class_names is None:
        return ()
    if not all(WNID.match(name) for name in images.class_names):
        return ()
    return class_order(order, images.root)
