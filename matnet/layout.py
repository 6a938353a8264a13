"""Conversions of axis order between MATLAB's column-major H x W x C x N and row-major N x C x H x W."""

from __future__ import annotations

from typing import Any

from matnet.errors import ShapeError


def pad_to_4d(array: Any) -> Any:
    """`array` reshaped to four dimensions by appending or removing trailing singletons.

    MATLAB drops trailing singletons, so a bank of one filter is stored as h x w x c. Raises ShapeError if a fifth
    dimension is not 1.
    """
    if array.ndim > 4 and any(size != 1 for size in array.shape[4:]):
        raise ShapeError(f"an array of shape {array.shape} has more than four dimensions; at most 4 are supported")
    return array.reshape(array.shape[:4] + (1,) * (4 - array.ndim), order="F")


def hwcn_to_nchw(array: Any) -> Any:
    """A view of MATLAB's H x W x C x N array (trailing dimensions may be missing) as N x C x H x W."""
    matrix = array.reshape((1,) * (2 - array.ndim) + array.shape)  # MATLAB arrays have at least two dimensions
    return pad_to_4d(matrix).transpose(3, 2, 0, 1)


def nchw_to_hwcn(array: Any) -> Any:
    """A view of an N x C x H x W array as MATLAB's H x W x C x N."""
    return array.transpose(2, 3, 1, 0)


def filters_to_rows(filters: Any) -> Any:
    """MATLAB filters h x w x c x K as a K x (c*w*h) matrix; a view if they are in MATLAB's memory order.

    In each row h varies fastest, then w, then c, as in `patches` of ops/convolution.py.
    """
    h, w, c, k = filters.shape
    return filters.transpose(3, 2, 1, 0).reshape(k, c * w * h)


def filters_to_kchw(filters: Any) -> Any:
    """MATLAB filters h x w x c x K as K x c x h x w, the order of Caffe, ONNX and PyTorch."""
    return filters.transpose(3, 2, 0, 1)


def filters_to_khwc(filters: Any) -> Any:
    """MATLAB filters h x w x c x K as K x h x w x c, the order of cuDNN for activations with channels last."""
    return filters.transpose(3, 0, 1, 2)


def kchw_to_filters(weights: Any) -> Any:
    """K x c x h x w weights (Caffe, ONNX, PyTorch) as MATLAB filters h x w x c x K."""
    return weights.transpose(2, 3, 1, 0)
