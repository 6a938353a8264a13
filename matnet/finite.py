"""Search for NaN and infinite weights, at memory bandwidth."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from math import isfinite
from typing import Any

import numpy as np

from matnet.errors import listing

PIECE = 1 << 16  # values checked at a time; a copy of unaligned ones fits into the cache
log = logging.getLogger(__name__)


def not_finite(values: Mapping[str, Any]) -> dict[str, tuple[int, int]]:
    """For each array with NaN or infinite values: their number, and the size of the array."""
    found = {}
    for name, value in values.items():
        if isinstance(value, np.ndarray) and value.dtype.kind == "f" and (count := _count(value)):
            found[name] = count, value.size
    return found


def weights_not_finite(net: Any) -> list[str]:
    """The params with NaN or infinite values, with their number: `conv1f: 2 of 144 values`."""
    return _listed({name: param.value for name, param in net.params.items()})


def _listed(values: Mapping[str, Any]) -> list[str]:
    return [f"{name}: {count:,} of {size:,} values" for name, (count, size) in not_finite(values).items()]


def warn_not_finite(net: Any, where: str) -> list[str]:
    """Log the result of `weights_not_finite` as one warning, and return it."""
    found = weights_not_finite(net)
    if found:
        log.warning(listing(f"{where}: weights are not finite (NaN or infinite); results are invalid:", found))
    return found


def warn_of_values(values: Mapping[str, Any], where: str) -> None:
    """Log one warning that names the arrays with NaN or infinite values, if there are any."""
    found = _listed(values)
    if found:
        log.warning(listing(f"{where}: NaN or infinite values:", found))


def _count(value: np.ndarray) -> int:
    """The number of non-finite values; checks each value only if the sum of squares is not finite."""
    once = tuple(slice(0, 1) if stride == 0 else slice(None) for stride in value.strides)  # one of broadcast values
    flat = np.asarray(value)[once].ravel(order="K")  # no copy if contiguous in C or Fortran order
    count, repeats = 0, value.size // max(flat.size, 1)
    aligned = None if flat.flags.aligned else np.empty(PIECE, flat.dtype)  # one copy at a time, in the same memory
    with np.errstate(over="ignore", invalid="ignore"):
        for start in range(0, flat.size, PIECE):
            piece = flat[start : start + PIECE]
            if aligned is not None:
                np.copyto(aligned[: piece.size], piece)
                piece = aligned[: piece.size]
            if not isfinite(np.dot(piece, piece)):
                count += int(piece.size - np.count_nonzero(np.isfinite(piece)))
    return count * repeats
