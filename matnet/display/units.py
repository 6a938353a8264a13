"""Readable numbers: memory and sizes as in vl_simplenn_display, counts with a metric prefix."""

from __future__ import annotations

import math
from collections.abc import Sequence

BYTES_PER_ELEMENT = 4  # activations and params are single precision
PREFIXES = ("", "k", "M", "G", "T")


def memory(count: float) -> str:
    """Bytes as in vl_simplenn_display: no decimals, units of 1024, `NaN` if unknown.

    >>> [memory(576), memory(46080), memory(243860896), memory(float("nan"))]
    ['576B', '45KB', '233MB', 'NaN']
    """
    count = min(count, 1e300)  # huge sizes overflow to infinity
    if math.isnan(count):
        return "NaN"
    for exponent, unit in enumerate(("B", "KB", "MB")):
        if count < 1024 ** (exponent + 1):
            return f"{count / 1024**exponent:.0f}{unit}"
    return f"{count / 1024**3:.0f}GB"


def dims(values: Sequence[float]) -> str:
    """One number if all are equal, else all joined by x (`%.4g` each, as in vl_simplenn_display).

    >>> [dims((2, 2)), dims((0, 1, 0, 1)), dims((3.5, 3.5))]
    ['2', '0x1x0x1', '3.5']
    """
    if all(value == values[0] for value in values):  # never true for NaN
        return number(values[0])
    return "x".join(number(value) for value in values)


def number(value: float) -> str:
    """`%.4g`, with MATLAB's spelling of NaN."""
    return "NaN" if math.isnan(value) else f"{value:.4g}"


def count(value: float) -> str:
    """A count with at most three figures and a metric prefix.

    >>> [count(0), count(962), count(34944), count(60965224), count(724406816)]
    ['0', '962', '34.9k', '61M', '724M']
    """
    steps = 0
    while value >= 999.5 and steps < len(PREFIXES) - 1:
        value, steps = value / 1000, steps + 1
    return f"{value:.3g}{PREFIXES[steps]}"
