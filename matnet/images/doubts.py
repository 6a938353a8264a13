"""Warnings about preprocessing that is probably missing or wrong, once per network."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np

from matnet.errors import in_words
from matnet.meta.normalization import COLOR_FIELDS
from matnet.meta.transposed import flipped_inputs, is_width_first, transposition_notes
from matnet.meta.values import MEAN_FIELDS, first_array, normalization, numbers, text_of

if TYPE_CHECKING:
    from matnet.images.prepare import Preprocessing
    from matnet.network import Network

log = logging.getLogger(__name__)
_said: WeakKeyDictionary[Network, set[str]] = WeakKeyDictionary()


def doubts(net: Network, prepared: Preprocessing) -> list[str]:
    """Sentences about preprocessing that is missing or doubtful, each logged once per network."""
    notes = (_missing_mean(net, prepared), _strange_mean(prepared), _bluish_mean(net, prepared), _color(net, prepared))
    found = [note for note in notes if note]
    said = _said.setdefault(net, set())
    for note in found:
        if note not in said:
            said.add(note)
            log.warning(note)
    return [*transposition_notes(net), *found]


def bluish(mean: Sequence[float] | np.ndarray | None, white: float = 255.0) -> np.ndarray | None:
    """The colour of a mean in R, G, B that is bluer than that of photographs; None for other means.

    mean: 3 values, or an image H x W x 3. white: the value of a white pixel minus that of a black one.
    """
    if mean is None or np.shape(mean)[-1:] != (3,):
        return None
    colour = np.reshape(mean, (-1, 3)).mean(axis=0, dtype=np.float64)
    return colour if colour[2] - colour[0] > white / 128 else None


def bluish_note(colour: np.ndarray) -> str:
    """A sentence about the colour of a mean that is `bluish`."""
    shown, reverse = (" ".join(f"{value:g}" for value in values) for values in (colour, colour[::-1]))
    way = in_words(f"mean=({reverse.replace(' ', ', ')})", f"--mean {reverse}")
    return f"the mean {shown} is read as R G B, which is unusually blue; if it is B G R, give {way}"


def _bluish_mean(net: Network, prepared: Preprocessing) -> str:
    """A sentence about a bluish mean that is not the file's own; "" for other means.

    The sign of a Caffe network that was trained on R, G, B is a mean file that is read as B, G, R.
    """
    low, high = prepared.input_range
    colour = bluish(prepared.mean, high - low)
    own = first_array(normalization(net.meta), MEAN_FIELDS)
    stated = None if own is None or own.size % 3 else own.reshape(-1, 3).mean(axis=0)
    if colour is None or (stated is not None and np.abs(stated - colour).max() < (high - low) / 128):
        return ""
    if not flipped_inputs(net):
        return bluish_note(colour)
    format_, color = in_words("color_format='rgb'", "--color-format rgb"), in_words("color='bgr'", "--color bgr")
    trained = "if the Caffe network was trained on R, G, B"
    return f"{bluish_note(colour)}, with {color} {trained}, or convert it with {format_}"


def _color(net: Network, prepared: Preprocessing) -> str:
    """A sentence about a colour order other than the recorded one; "" if none is recorded, or the mean explains it."""
    given = in_words(f"color={prepared.color!r}", f"--color {prepared.color}")
    fields = normalization(net.meta)
    recorded = next((text.strip().lower() for name in COLOR_FIELDS if (text := text_of(fields.get(name)))), "")
    if prepared.channels != 3 or recorded == prepared.color:
        return ""
    if recorded in ("rgb", "bgr"):
        return f"{given}: meta.normalization in the network's file states {recorded}; omit {given}"
    kept, flipped = net.meta.get("caffe"), flipped_inputs(net)
    converted = isinstance(kept, dict) and "flipped" in kept and not is_width_first(net)
    low, high = prepared.input_range
    if prepared.color == "rgb" or not converted or (flipped and bluish(prepared.mean, high - low) is not None):
        return ""
    what = "reversed the first filters, so that they take" if flipped else "kept the order of the first filters, as for"
    trained = "R, G, B, and the mean is in this order" if flipped else "B, G, R"
    return f"{given}: the conversion {what} R, G, B; omit {given} unless the Caffe network was trained on {trained}"


def _strange_mean(prepared: Preprocessing) -> str:
    """A sentence about a mean of another pixel range; "" for other means."""
    if prepared.mean is None:
        return ""
    low, high = prepared.input_range
    least, most, slack = float(prepared.mean.min()), float(prepared.mean.max()), (high - low) / 100
    unit = high > 2 and 0 < most <= 1 and least >= 0
    if low - slack <= least and most <= high + slack and not unit:
        return ""
    extent = f"{least:g}" if least == most else f"{least:g} to {most:g}"
    if unit:
        return (
            f"the mean is {extent}, as for pixels 0 to 1, but pixels are {low:g} to {high:g}; scale the mean, or pass "
            f"{in_words('input_range=(0, 1)', '--input-range 0 1')}"
        )
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
