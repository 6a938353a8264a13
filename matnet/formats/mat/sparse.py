"""MATLAB's sparse matrices (compressed columns), validated before they go to scipy."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from matnet.formats.mat.limits import Limits, is_shape
from matnet.formats.mat.values import Shape


def sparse_problem(rows: np.ndarray, starts: np.ndarray, stored: int, shape: Shape) -> str | None:
    """Why row indices, column starts and `stored` values are not a valid matrix of `shape`, or None."""
    if len(shape) != 2 or not is_shape(shape):
        return f"a sparse matrix of shape {list(shape)}"
    if starts.size != shape[1] + 1 or starts[0] != 0 or np.any(starts[1:] < starts[:-1]):
        return f"column starts that are not ascending from 0 over {shape[1]} columns"
    count = int(starts[-1])
    if count > min(rows.size, stored):
        return f"{min(rows.size, stored)} stored values, but column starts for {count}"
    if count and not 0 <= rows[:count].min() <= rows[:count].max() < shape[0]:
        return f"row indices from {rows[:count].min()} to {rows[:count].max()} in a matrix of {shape[0]} rows"
    return None


def sparse_matrix(data: np.ndarray, rows: np.ndarray, starts: np.ndarray, shape: Shape, limits: Limits) -> Any:
    """The csc_matrix of validated columns. MATLAB may allocate more values than it uses.

    limits: of the file; kept as an attribute of the matrix, for `dense`.
    """
    from scipy.sparse import csc_matrix

    count = int(starts[-1])
    matrix = csc_matrix((data[:count], rows[:count], starts), shape=(shape[0], shape[1]))
    matrix.limits = limits
    return matrix


def dense(matrix: Any) -> np.ndarray | None:
    """The sparse matrix as a full array; None if that exceeds the memory limits of its file."""
    limits = getattr(matrix, "limits", None)
    stored = matrix.data.nbytes + matrix.indices.nbytes + matrix.indptr.nbytes
    if limits is not None and not limits.allow_bytes(prod(matrix.shape) * matrix.dtype.itemsize, stored):
        return None
    found: np.ndarray = matrix.toarray()
    return found


def canonical(matrix: Any) -> Any:
    """A copy of a scipy sparse matrix as sorted compressed columns without duplicates, as required by MATLAB."""
    columns = matrix.tocsc(copy=True)
    columns.sum_duplicates()
    return columns
