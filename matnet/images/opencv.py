"""cv::resize with INTER_LINEAR, to the last bit: what Caffe's data layer and its tools resize with."""

from __future__ import annotations

import numpy as np

from matnet.errors import DataError
from matnet.images.crop import Size
from matnet.images.resize import as_uint8, checked, resampled, sparse


def opencv_resize(image: np.ndarray, size: Size, method: str = "bilinear") -> np.ndarray:
    """An H x W x C uint8 image resized as cv::resize does with INTER_LINEAR, to the last bit; gives uint8.

    Each output pixel is a weighted mean of 2 x 2 input pixels around its half-pixel centre, without
    antialiasing, with weights of 11 bits. Raises DataError for another method.
    """
    pixels = as_uint8(image)
    _only_bilinear("opencv", method)
    top, bottom, down = _opencv_taps(pixels.shape[0], size[0])
    left, right, across = _opencv_taps(pixels.shape[1], size[1])
    wide = pixels.astype(np.int32)
    along = _fixed_point(across)
    mixed = wide[:, left] * along[0][:, np.newaxis] + wide[:, right] * along[1][:, np.newaxis]
    upper, lower = _fixed_point(down)[:, :, np.newaxis, np.newaxis]
    # OpenCV truncates each product to 16 bits before the last two are rounded away.
    total = ((upper * (mixed[top] >> 4)) >> 16) + ((lower * (mixed[bottom] >> 4)) >> 16)
    return ((total + 2) >> 2).astype(np.uint8)


def opencv_resize_float(image: np.ndarray, size: Size, method: str = "bilinear") -> np.ndarray:
    """The same 2 x 2 interpolation unrounded: cv::resize of a CV_32F image; gives float32."""
    pixels = checked(image)
    _only_bilinear("opencv-float", method)
    for axis in (1, 0):
        first, second, weight = _opencv_taps(pixels.shape[axis], size[axis])
        taps, weights = np.stack([first, second], axis=1), np.stack([1 - weight, weight], axis=1)
        pixels = resampled(pixels, axis, sparse(taps, weights, pixels.shape[axis]))
    return pixels


def _opencv_taps(length: int, output: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """First and second input pixel of each output pixel, and the second's weight (float32, as in OpenCV)."""
    step = 1 / (output / length)
    centre = ((np.arange(output) + 0.5) * step - 0.5).astype(np.float32)
    start = np.floor(centre)
    first = start.astype(np.int64)
    return np.clip(first, 0, length - 1), np.clip(first + 1, 0, length - 1), centre - start


def _fixed_point(weight: np.ndarray) -> np.ndarray:
    """The weights of the two pixels, in 1/2048 (rounded half to even, each by itself)."""
    return np.rint(np.stack([np.float32(1) - weight, weight]) * np.float32(2048)).astype(np.int32)


def _only_bilinear(resampler: str, method: str) -> None:
    if method not in ("bilinear", "triangle"):
        raise DataError(f"the resampler {resampler} is bilinear only; '{method}' was asked for")
