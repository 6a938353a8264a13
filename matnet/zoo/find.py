"""Find the file of a model by name or path."""

from __future__ import annotations

import os
from pathlib import Path

from matnet.errors import FileFormatError, in_words, program
from matnet.zoo.cache import present_mat
from matnet.zoo.cards import Card, all_cards
from matnet.zoo.names import UnknownModelError, find_card


def find_model(name_or_path: str | os.PathLike[str]) -> Path:
    """An existing path, else the `.mat` file of a model of the zoo, if it is on this machine.

    Downloads nothing. Raises FileFormatError, with instructions, for a known model that is not on this machine; for a
    name that is neither a file nor a model, UnknownModelError with the nearest names (FileFormatError for a path).
    """
    given = Path(name_or_path)
    if given.exists():
        return given
    card = card_named(os.fspath(name_or_path))
    found = present_mat(card)
    if found is not None:
        return found
    of_python = f"matnet.load({card.name!r})"
    ways = [in_words(of_python, f"`{program('zoo')} fetch {card.name}`")] if card.mat_urls else []
    if card.prototxt and card.file("caffemodel"):
        ways.append(in_words(of_python, f"`{program('convert')} {card.name}`"))
    random = in_words(f"matnet.zoo.random_network({card.name!r})", "`--random-weights`")
    ways.append(f"{random}, if its results do not matter" if card.prototxt else f"{card.page or 'its authors'}")
    raise FileFormatError(f"{card.mat}: not on this machine; get it with {', or '.join(dict.fromkeys(ways))}")


def card_named(name: str) -> Card:
    """The card of a known model. Raises as `find_model` does if there is none."""
    given = Path(name)
    if given.parent != Path() or given.suffix not in ("", ".mat"):
        raise FileFormatError(f"{name}: no such file; check the name and the folder")
    try:
        return find_card(name)
    except UnknownModelError as error:
        raise UnknownModelError(f"no such file, and {error}") from None


def card_of(path: str | os.PathLike[str]) -> Card | None:
    """The card for a `.mat` file's name; None for a file that no card lists."""
    cards = [card for card in all_cards() if card.mat.lower() == Path(path).name.lower()]
    return min(cards, key=lambda card: present_mat(card) != Path(path), default=None)
