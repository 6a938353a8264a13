"""Warnings about preprocessing that is probably missing, once per network."""

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
    """Sentences about preprocessing that is missing or doubtful, each logged once per network."""
    found = [note for note in (_missing_mean(net, prepared), _strange_mean(prepared)) if note]
    said = _said.setdefault(net, set())
    for note in found:
        if note not in said:
            said.add(note)
            log.warning(note)
    return [*transposition_notes(net), *found]


def _strange_mean(prepared: Preprocessing) -> str:
    """A sentence about a mean outside the pixel range; "" for other means."""
    if prepared.mean is None:
        return ""
    low, high = prepared.input_range
    least, most, slack = float(prepared.mean.min()), float(prepared.mean.max()), (high - low) / 100
    if low - slack <= least and most <= high + slack:
        return ""
    extent = f"{least:g}" if least == most else f"{least:g} to {most:g}"
    return f"the mean is {extent}; expected values in the pixel range, {low:g} to {high:g}"


def _missing_mean(net: Network, prepared: Preprocessing) -> str:
    """A sentence about a missing mean; "" if none is missing.

    Most Caffe networks need a mean, which is in a separate file. Gray networks that scale their input (LeNet) do not.
    """
    from_caffe = net.source.format == "caffe" or "caffe" in net.meta
    gray = prepared.channels == 1
    if not from_caffe or (prepared.mean is not None and np.any(prepared.mean)) or (gray and prepared.scale != 1):
        return ""
    values = in_words("mean=VALUE", "--mean VALUE") if gray else in_words("mean=(R, G, B)", "--mean R G B")
    say = f"{values}{in_words('', ', or --mean FILE')}"
    advice = f"if the network was trained with one, pass {say}"
    if any(any(numbers(value)) for name, value in normalization(net.meta).items() if name in MEAN_FIELDS):
        return (
            "no mean is subtracted: the mean passed replaces the one in the network's files; to subtract the "
            f"file's mean, omit {in_words('mean=', '--mean')}"
        )
    if prepared.mean is not None:
        return f"no mean is subtracted: the mean is 0 in the network's files or the options; {advice}"
    return f"no mean is subtracted: the network's files contain none; {advice}"
