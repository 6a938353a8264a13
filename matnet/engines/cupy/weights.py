"""Filters and biases in the layouts of cuDNN and cuBLAS for channels-last activations."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from matnet.layout import filters_to_khwc, pad_to_4d

Arrays = list[np.ndarray]


def filters_and_bias(params: Sequence[np.ndarray], bias: bool, dtype: str) -> Arrays:
    """Filters h x w x c x K as K x h x w x c and optionally the bias as K values; contiguous.

    For a product, the filters of one output are a row of a K x (h w c) matrix.
    """
    filters = np.ascontiguousarray(filters_to_khwc(pad_to_4d(np.asarray(params[0]))), dtype=dtype)
    return [filters, bias_of(params, dtype)] if bias else [filters]


def with_channel(params: Sequence[np.ndarray], bias: bool, dtype: str) -> Arrays:
    """`filters_and_bias` with an additional channel of zeros."""
    filters, *rest = filters_and_bias(params, bias, dtype)
    return [np.pad(filters, ((0, 0), (0, 0), (0, 0), (0, 1))), *rest]


def block_diagonal(params: Sequence[np.ndarray], bias: bool, dtype: str, groups: int) -> Arrays:
    """`filters_and_bias` of grouped filters as dense filters, with zeros for channels of other groups."""
    filters, *rest = filters_and_bias(params, bias, dtype)
    count, h, w, depth = filters.shape
    whole = np.zeros((count, h, w, groups * depth), dtype)
    for group in range(groups):
        rows = slice(group * count // groups, (group + 1) * count // groups)
        whole[rows, ..., group * depth : (group + 1) * depth] = filters[rows]
    return [whole, *rest]


def bias_of(params: Sequence[np.ndarray], dtype: str = "float32") -> np.ndarray:
    """The bias as K values."""
    return np.ascontiguousarray(np.asarray(params[1]).ravel(order="F"), dtype=dtype)
