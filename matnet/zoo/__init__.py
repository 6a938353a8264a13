"""The zoo: model cards, and finding, fetching, checking and converting what they describe.

>>> from matnet.zoo import find_model, random_network
>>> net = random_network("digits-lenet")
>>> find_model("digits-lenet").name
'digits-lenet.mat'
"""

from matnet.zoo.cards import Card, all_cards
from matnet.zoo.find import card_of, find_model
from matnet.zoo.names import UnknownModelError, find_card
from matnet.zoo.random_weights import random_network

__all__ = ["Card", "UnknownModelError", "all_cards", "card_of", "find_card", "find_model", "random_network"]
