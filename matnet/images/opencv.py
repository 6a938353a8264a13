"""A bit-exact cv::resize with INTER_LINEAR, as used by Caffe's data layer and tools."""

from __future__ import annotations

import numpy as np

from matnet.errors import DataError
from matnet.images.crop import Box, Size
from matnet.images.resize import as_uint8, checked, resampled, sparse


def opencv_crop(image: np.ndarray, size: Size, box: Box, method: str = "bilinear") -> np.ndarray:
    """`box` of an H x W x C uint8 image resized to `size` by cv::resize with INTER_LINEAR; uint8.

    Each output pixel is a weighted mean of 2 x 2 input pixels around its half-pixel centre, without antialiasing, with
    11-bit weights. Only the box is computed. Raises DataError for other methods.
    """
    _only_bilinear("opencv", method)
    pixels = as_uint8(image)
    top, bottom, down = (part[box.top : box.top + box.height] for part in _opencv_taps(pixels.shape[0], size[0]))
    left, right, across = (part[box.left : box.left + box.width] for part in _opencv_taps(pixels.shape[1], size[1]))
    first = top[0]
    mixed = _mixed(pixels[first : bottom[-1] + 1].transpose(1, 0, 2), left, right, _fixed_point(across))
    # Sums have 19 bits. Like OpenCV, drop 4 bits here, so that they fit in int16, and 16 bits of each product below.
    rows = (mixed >> 4).astype(np.int16).transpose(1, 0, 2)
    flat = np.ascontiguousarray(rows).reshape(rows.shape[0], -1)
    upper, lower = _fixed_point(down)[:, :, np.newaxis]
    total = np.multiply(flat[top - first], upper, dtype=np.int32)
    total >>= 16
    second = np.multiply(flat[bottom - first], lower, dtype=np.int32)
    second >>= 16
    total += second
    total += 2
    total >>= 2
    return total.astype(np.uint8).reshape(box.height, box.width, -1)


def _mixed(columns: np.ndarray, left: np.ndarray, right: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted sums of column pairs, weights in 1/2048: W x H x C -> width x H x C. Copying whole columns is fast."""
    flat = np.ascontiguousarray(columns).reshape(columns.shape[0], -1)
    mixed = np.multiply(flat[left], weights[0][:, np.newaxis], dtype=np.int32)
    mixed += np.multiply(flat[right], weights[1][:, np.newaxis], dtype=np.int32)
    return mixed.reshape(len(left), *columns.shape[1:])


def opencv_resize_float(
    image: np.ndarray, size: Size, method: str = "bilinear", factor: float | None = None
) -> np.ndarray:
    """The same 2 x 2 interpolation without rounding: cv::resize of a CV_32F image; float32.

    factor: the exact factor, as if cv::resize were called with a factor instead of a size.
    """
    pixels = checked(image)
    _only_bilinear("opencv-float", method)
    for axis in (1, 0):
        first, second, weight = _opencv_taps(pixels.shape[axis], size[axis], factor)
        taps, weights = np.stack([first, second], axis=1), np.stack([1 - weight, weight], axis=1)
        pixels = resampled(pixels, axis, sparse(taps, weights, pixels.shape[axis]))
    return pixels


def _opencv_taps(length: int, output: int, factor: float | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """First and second input pixel of each output pixel, and the second's weight (float32, as in OpenCV)."""
    step = 1 / (factor or output / length)
    centre = ((np.arange(output) + 0.5) * step - 0.5).astype(np.float32)
    start = np.floor(centre)
    first = start.astype(np.int64)
    return np.clip(first, 0, length - 1), np.clip(first + 1, 0, length - 1), centre - start


def _fixed_point(weight: np.ndarray) -> np.ndarray:
    """The weights of the two pixels in 1/2048, each rounded half to even."""
    return np.rint(np.stack([np.float32(1) - weight, weight]) * np.float32(2048)).astype(np.int32)


def _only_bilinear(resampler: str, method: str) -> None:
    if method not in ("bilinear", "triangle"):
        raise DataError(f"resampler {resampler}: interpolation is '{method}'; expected 'bilinear'")
