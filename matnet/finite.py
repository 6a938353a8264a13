"""Weights that are not finite numbers: which params, how many values, found at the speed of memory."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np

from matnet.errors import listing

PIECE = 1 << 20  # values that are looked at together
log = logging.getLogger(__name__)


def not_finite(values: Mapping[str, Any]) -> dict[str, tuple[int, int]]:
    """Of each array that holds NaN or infinite values: how many, and of how many values."""
    found = {}
    for name, value in values.items():
        if isinstance(value, np.ndarray) and value.dtype.kind == "f" and (count := _count(value)):
            found[name] = count, value.size
    return found


def weights_not_finite(net: Any) -> list[str]:
    """The params of a network that hold NaN or infinite values, each with their number: `conv1f: 2 of 144 values`."""
    found = not_finite({name: param.value for name, param in net.params.items()})
    return [f"{name}: {count:,} of {size:,} values" for name, (count, size) in found.items()]


def warn_not_finite(net: Any, where: str) -> list[str]:
    """What `weights_not_finite` says, also logged as one warning where any param holds NaN or infinite values."""
    found = weights_not_finite(net)
    if found:
        log.warning(listing(f"{where}: weights are not finite (NaN or infinite), and results are not valid:", found))
    return found


def _count(value: np.ndarray) -> int:
    """The number of values that are not finite; each is looked at only where the sum of all squares is not finite."""
    once = tuple(slice(0, 1) if stride == 0 else slice(None) for stride in value.strides)  # what is repeated
    flat = np.asarray(value)[once].ravel(order="K")  # no copy of what is contiguous in either order
    count, repeats = 0, value.size // max(flat.size, 1)
    for start in range(0, flat.size, PIECE):
        piece = flat[start : start + PIECE]
        with np.errstate(over="ignore", invalid="ignore"):
            fine = np.isfinite(np.dot(piece, piece))
        if not fine:
            count += int(piece.size - np.count_nonzero(np.isfinite(piece)))
    return count * repeats
