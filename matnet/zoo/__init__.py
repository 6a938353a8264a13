"""The zoo: model cards, and finding, downloading, checking and converting the models.

>>> from matnet.zoo import find_model, random_network
>>> net = random_network("digits-lenet")
>>> find_model("digits-lenet").name
'digits-lenet.mat'
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from matnet.lazy import lazy

if TYPE_CHECKING:
    from matnet.zoo.cards import Card, all_cards
    from matnet.zoo.find import card_of, find_model
    from matnet.zoo.names import UnknownModelError, find_card
    from matnet.zoo.random_weights import random_network

__getattr__, __dir__, __all__ = lazy(
    __name__,
    {
        "cards": "Card all_cards",
        "find": "card_of find_model",
        "names": "UnknownModelError find_card",
        "random_weights": "random_network",
    },
)
