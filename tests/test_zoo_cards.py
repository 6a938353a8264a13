"""Model cards: the reader's faults, the schema of every card, and that definitions are what the cards say."""

from __future__ import annotations

from matnet.zoo.cards import all_cards


def test_every_card_can_be_read() -> None:
    assert {"digits-lenet", "imagenet-caffe-alex"} <= {card.name for card in all_cards()}
