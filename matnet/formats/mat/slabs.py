"""Large arrays in slabs of a few megabytes, to bound the memory for reordering."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

_SLAB_BYTES = 2**22


def slabs(array: np.ndarray, multiple: int = 1) -> Iterator[slice]:
    """Slices that partition the first axis of `array`, each about 4 MiB with a length divisible by `multiple`."""
    rows = len(array)
    row_bytes = max(1, array.nbytes // max(1, rows))
    step = multiple * max(1, _SLAB_BYTES // (row_bytes * multiple))
    for start in range(0, rows, step):
        yield slice(start, start + step)
