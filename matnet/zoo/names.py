"""Find the model card for a user's spelling of a name; ambiguous names are errors."""

from __future__ import annotations

import re
from collections.abc import Iterable

from matnet.errors import MatnetError, in_words, listing, nearest, program
from matnet.zoo.cards import Card, all_cards

PREFIXES = ("imagenet-", "pascal-", "bair-", "bvlc-")
SUFFIXES = ("-dag", "-dagnn", "-model")


class UnknownModelError(MatnetError):
    """No model has the name, or several match; the message lists the nearest, or all matches."""


def find_card(name: str, cards: Iterable[Card] | None = None) -> Card:
    """The only card that matches `name`. Raises UnknownModelError with the nearest names, or all matches."""
    found = known_cards(name, cards)
    if len(found) == 1:
        return found[0]
    names = [f"{card.name}: {card.title}" for card in found]
    raise UnknownModelError(listing(f"{name!r} matches {len(found)} models; give one of these names:", names))


def known_cards(name: str, cards: Iterable[Card] | None = None) -> list[Card]:
    """All cards that match `name`, at least one. Raises UnknownModelError with the nearest names."""
    found = matching_cards(name, cards)
    if not found:
        every = in_words("matnet.zoo.all_cards()", f"`{program('zoo')} list`")
        raise UnknownModelError(f"unknown model {name!r}{_suggestions(name, cards)}; {every} lists all")
    return found


def matching_cards(name: str, cards: Iterable[Card] | None = None) -> list[Card]:
    """All cards that match `name` at the strictest level with a match.

    The levels: the exact name, alias or file; the same without case, spaces, underscores, hyphens and `.mat`; the
    title or a file name, likewise; names without the usual prefixes and suffixes. A family matches all its variants.
    """
    known = list(all_cards() if cards is None else cards)
    spelled = normalised(name)
    for level, wanted in (
        (exact_names, name),
        (near_names, spelled),
        (file_names, spelled),
        (bare_names, bare(spelled)),
    ):
        found = [card for card in known if wanted and wanted in level(card)]
        if found:
            return found
    return []


def normalised(name: str) -> str:
    """Lower case, words joined by hyphens, no `.mat` or `.caffemodel`.

    >>> normalised("VGG_CNN S.caffemodel"), normalised(" imagenet-caffe-alex.mat")
    ('vgg-cnn-s', 'imagenet-caffe-alex')
    """
    stem = re.sub(r"\.(mat|caffemodel)$", "", name.strip().lower())
    return re.sub(r"[\s_\-./]+", "-", stem).strip("-")


def bare(name: str) -> str:
    """A normalised name without the prefixes and suffixes that do not distinguish models.

    >>> bare("imagenet-resnet-50-dag"), bare("bair-bvlc-alexnet-model")
    ('resnet-50', 'alexnet')
    """
    for prefix in PREFIXES:
        name = name.removeprefix(prefix)
    for suffix in SUFFIXES:
        name = name.removesuffix(suffix)
    return name


def exact_names(card: Card) -> set[str]:
    return {*own_names(card), card.mat, card.caffemodel}


def own_names(card: Card) -> set[str]:
    return {card.name, *card.aliases, *([card.family] if card.family else ())}


def near_names(card: Card) -> set[str]:
    return {normalised(name) for name in own_names(card)}


def file_names(card: Card) -> set[str]:
    return {normalised(name) for name in (card.title, card.mat, card.caffemodel) if name}


def bare_names(card: Card) -> set[str]:
    return {bare(name) for name in near_names(card) | file_names(card)}


def _suggestions(name: str, cards: Iterable[Card] | None) -> str:
    """`; nearest: ...`, as spelled in the cards; names that contain the text come first."""
    cards = all_cards() if cards is None else cards
    known = {spelling: card for card in cards for spelling in near_names(card) | bare_names(card)}
    spelled = normalised(name)
    holding = sorted({card.name for spelling, card in known.items() if len(spelled) > 2 and spelled in spelling})
    if holding:
        return f"; nearest: {', '.join(holding[:5])}"
    hint = nearest(spelled, known)
    found = dict.fromkeys(known[close].name for close in hint.removeprefix("; nearest: ").split(", ") if close in known)
    return f"; nearest: {', '.join(found)}" if found else ""
