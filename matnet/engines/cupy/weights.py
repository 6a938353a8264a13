"""Filters and biases in the order that cuDNN and cuBLAS want beside channels-last activations."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from matnet.layout import filters_to_khwc, filters_to_matrix, pad_to_4d


def convolution_weights(params: Sequence[np.ndarray], bias: bool, dtype: str) -> tuple[np.ndarray, np.ndarray | None]:
    """Filters h x w x c x K as K x h x w x c, and the bias as K numbers, contiguous."""
    filters = np.ascontiguousarray(filters_to_khwc(pad_to_4d(np.asarray(params[0]))), dtype=dtype)
    return filters, _bias(params, dtype) if bias else None


def product_weights(params: Sequence[np.ndarray], bias: bool, dtype: str) -> tuple[np.ndarray, np.ndarray | None]:
    """Filters h x w x c x K as a matrix (h w c) x K, and the bias as K numbers, contiguous."""
    matrix = np.ascontiguousarray(filters_to_matrix(pad_to_4d(np.asarray(params[0]))), dtype=dtype)
    return matrix, _bias(params, "float32") if bias else None


def _bias(params: Sequence[np.ndarray], dtype: str) -> np.ndarray:
    return np.ascontiguousarray(np.asarray(params[1]).ravel(order="F"), dtype=dtype)
