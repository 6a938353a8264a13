"""A one-line summary of `meta.normalization`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from matnet.meta.inputs import image_size
from matnet.meta.normalization import STD_FIELDS
from matnet.meta.values import MEAN_FIELDS, first_array, normalization, numbers, text_of

if TYPE_CHECKING:
    from matnet.network import Network


def preprocessing_summary(net: Network) -> str | None:
    """`meta.normalization` in one line: size, mean, interpolation, crop; None if it is empty.

    The size is the size of the image input, wherever the file states it.
    """
    fields = normalization(net.meta)
    if not fields:
        return None
    height, width, _, _ = image_size(net)
    parts = [f"size {height}x{width}"] if height and width else []
    described = [
        _values("mean", first_array(fields, MEAN_FIELDS)),
        _values("std", first_array(fields, STD_FIELDS)),
        text_of(fields.get("interpolation")),
    ]
    parts += [text for text in described if text]
    keep = numbers(fields.get("keepAspect"))
    if keep:
        parts.append("keeps the aspect ratio" if keep[0] else "does not keep the aspect ratio")
    for name in ("cropSize", "border", "inputRange", "scale"):
        found = numbers(fields.get(name))
        if found:
            parts.append(f"{name} {' '.join(f'{number:.4g}' for number in found)}")
    return ", ".join(parts) or None


def _values(what: str, array: np.ndarray | None) -> str:
    if array is None:
        return ""
    if array.size <= 4:
        return f"{what} " + " ".join(f"{number:.6g}" for number in array.ravel(order="F"))
    average = float(np.mean(array, dtype=np.float64))
    return f"{what} image {'x'.join(map(str, array.shape))} (average {average:.4g})"
