"""What may be missing from how images are prepared, said once for each network."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np

from matnet.errors import in_words
from matnet.meta.transposed import transposition_notes
from matnet.meta.values import MEAN_FIELDS, normalization, numbers

if TYPE_CHECKING:
    from matnet.images.prepare import Preprocessing
    from matnet.network import Network

log = logging.getLogger(__name__)
_said: WeakKeyDictionary[Network, set[str]] = WeakKeyDictionary()


def doubts(net: Network, prepared: Preprocessing) -> list[str]:
    """Sentences on what a network probably needs and `prepared` lacks; the log has each once for every network.

    Networks from Caffe mostly have a mean, which stands in a file of its own, so that their own files do not show it;
    gray ones that scale their input (LeNet) do not.
    """
    notes = transposition_notes(net)
    from_caffe = net.source.format == "caffe" or "caffe" in net.meta
    gray = prepared.channels == 1
    if not from_caffe or (prepared.mean is not None and np.any(prepared.mean)) or (gray and prepared.scale != 1):
        return notes
    values = in_words("mean=VALUE", "--mean VALUE") if gray else in_words("mean=(R, G, B)", "--mean R G B")
    say = f"{values}{in_words('', ', or --mean FILE')}"
    advice = f"if it was trained with one, give it with {say}"
    if any(any(numbers(value)) for name, value in normalization(net.meta).items() if name in MEAN_FIELDS):
        note = (
            "no mean is subtracted: the network's files state one, which the mean that was given replaces; to subtract "
            f"it, leave {in_words('mean=', '--mean')} out"
        )
    elif prepared.mean is not None:
        note = f"no mean is subtracted: neither the network's files nor the options state one other than 0; {advice}"
    else:
        note = f"no mean is subtracted, as the network's files state none; {advice}"
    said = _said.setdefault(net, set())
    if note not in said:
        said.add(note)
        log.warning(note)
    return [*notes, note]
