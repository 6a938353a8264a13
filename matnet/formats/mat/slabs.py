"""Large arrays in parts: what is not in the file's order is rearranged a few megabytes at a time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

_SLAB_BYTES = 2**22


def slabs(array: np.ndarray, multiple: int = 1) -> Iterator[slice]:
    """Slices of the first axis that make up `array`, each about 4 MiB and a multiple of `multiple` long."""
    rows = len(array)
    row_bytes = max(1, array.nbytes // max(1, rows))
    step = multiple * max(1, _SLAB_BYTES // (row_bytes * multiple))
    for start in range(0, rows, step):
        yield slice(start, start + step)
