"""Networks converted without transposition, and the images they expect."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING
from weakref import WeakSet

from matnet.errors import in_words
from matnet.meta.values import flag, text_of

if TYPE_CHECKING:
    from matnet.network import Network

log = logging.getLogger(__name__)
_warned: WeakSet[Network] = WeakSet()


def is_width_first(net: Network) -> bool:
    """Whether the conversion kept Caffe's width-first order (--no-transpose), as meta.caffe.widthFirst records."""
    kept = net.meta.get("caffe")
    return isinstance(kept, dict) and flag(kept.get("widthFirst"))


def flipped_inputs(net: Network) -> list[str]:
    """The inputs that take R, G, B although the Caffe net takes B, G, R (`meta.caffe.flipped`)."""
    kept = net.meta.get("caffe")
    flipped = kept.get("flipped") if isinstance(kept, dict) else None
    one = text_of(flipped)
    names = [one] if one else flipped if isinstance(flipped, Sequence) else []
    return [name for name in names if isinstance(name, str) and name]


def transposition_notes(net: Network) -> list[str]:
    """Notes on the images a network converted without transposition expects; logged once per network."""
    if not is_width_first(net):
        return []
    option = in_words("transpose=False", "--no-transpose")
    note = (
        f"{net.source}: converted with {option}, so it expects images with rows and columns exchanged and channels in "
        f"Caffe's order (usually B, G, R); for upright images, convert the Caffe files without {option}"
    )
    if net not in _warned:
        _warned.add(net)
        log.warning("%s", note)
    return [note]
