"""The zoo: model cards, and finding, fetching, checking and converting what they describe.

>>> from matnet.zoo import find_model, random_network
>>> net = random_network("digits-lenet")
>>> find_model("digits-lenet").name
'digits-lenet.mat'
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matnet.zoo.cards import Card, all_cards
    from matnet.zoo.find import card_of, find_model
    from matnet.zoo.names import UnknownModelError, find_card
    from matnet.zoo.random_weights import random_network

__all__ = ["Card", "UnknownModelError", "all_cards", "card_of", "find_card", "find_model", "random_network"]

# Loaded at first use, so that `matnet zoo` is there to be interrupted before they are.
_LAZY = {
    "Card": "cards",
    "UnknownModelError": "names",
    "all_cards": "cards",
    "card_of": "find",
    "find_card": "names",
    "find_model": "find",
    "random_network": "random_weights",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'matnet.zoo' has no attribute {name!r}")
    return getattr(import_module(f"matnet.zoo.{_LAZY[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_LAZY])
