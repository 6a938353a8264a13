"""The classes of a network in the order of its outputs, where the network itself may not name them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from matnet.errors import DataError
from matnet.meta import class_names

if TYPE_CHECKING:
    from matnet.datasets import ImageList
    from matnet.network import Network


def classes_of(net: Network, order: Any, images: ImageList) -> Sequence[str]:
    """The network's classes: as it names them, else ImageNet's in the order that its card states, else none.

    order: the card's `labels.order`; it counts for images that are labelled by WordNet ids. Random weights may do
    without any order; DataError where the order of a real network's classes is stated nowhere in the data set.
    """
    from matnet.datasets import ORDERS, class_order
    from matnet.datasets.matching import WNID

    names = class_names(net)
    labelled = images.class_names is not None and all(WNID.match(name) for name in images.class_names)
    if names or not labelled or order not in ORDERS:
        return names or ()
    try:
        return class_order(str(order), images.root)
    except DataError:
        if net.source.path is None:
            return ()
        raise
