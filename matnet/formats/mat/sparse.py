"""MATLAB's sparse matrices: compressed columns, checked before scipy trusts them."""

from __future__ import annotations

from typing import Any

import numpy as np

from matnet.formats.mat.limits import is_shape
from matnet.formats.mat.values import Shape


def sparse_problem(rows: np.ndarray, starts: np.ndarray, stored: int, shape: Shape) -> str | None:
    """Why row indices, column starts and `stored` values make no matrix of `shape`; None where they do."""
    if len(shape) != 2 or not is_shape(shape):
        return f"a sparse matrix of shape {list(shape)}"
    if starts.size != shape[1] + 1 or starts[0] != 0 or np.any(starts[1:] < starts[:-1]):
        return f"column starts that do not ascend from 0 over {shape[1]} columns"
    count = int(starts[-1])
    if count > min(rows.size, stored):
        return f"{min(rows.size, stored)} stored values where the column starts promise {count}"
    if count and not 0 <= rows[:count].min() <= rows[:count].max() < shape[0]:
        return f"row indices from {rows[:count].min()} to {rows[:count].max()} in a matrix of {shape[0]} rows"
    return None


def sparse_matrix(data: np.ndarray, rows: np.ndarray, starts: np.ndarray, shape: Shape) -> Any:
    """The csc_matrix of columns without a `sparse_problem`; MATLAB may have allocated more than it uses."""
    from scipy.sparse import csc_matrix

    count = int(starts[-1])
    return csc_matrix((data[:count], rows[:count], starts), shape=(shape[0], shape[1]))


def canonical(matrix: Any) -> Any:
    """Any scipy sparse matrix as sorted compressed columns without duplicates, as MATLAB needs it; a copy."""
    columns = matrix.tocsc(copy=True)
    columns.sum_duplicates()
    return columns
