"""Resampling as in MATLAB's imresize and vl_imreadjpeg; see also the modules `opencv` and `pillow`.

All resize H x W x C images (imresize also H x W). They differ in the kernel's support, the borders, the order of the
two passes and the rounding:

=============  ==========================  =====================  ========================================
resampler      when shrinking              borders                arithmetic
=============  ==========================  =====================  ========================================
imresize       kernel widened (default)    mirrored               double; each pass in the image's class
imreadjpeg     kernel widened              replicated             single; rows first
OpenCV         2 x 2 pixels, always        replicated             11-bit fixed point, or single
Pillow         kernel widened              kernel cut off         22-bit fixed point; columns first
=============  ==========================  =====================  ========================================
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from matnet.errors import DataError, ShapeError, nearest
from matnet.images.crop import Box, Size

MATLAB_LANCZOS_EPS = float(np.finfo(np.float64).eps)
IMREADJPEG_LANCZOS_EPS = 1e-5


@dataclass(frozen=True)
class Kernel:
    """An interpolation kernel: width in pixels, and weight at a distance (Lanczos with a guard for 0/0)."""

    support: int
    weight: Callable[[np.ndarray, float], np.ndarray]


def _box(x: np.ndarray, eps: float) -> np.ndarray:
    return ((x >= -0.5) & (x < 0.5)).astype(x.dtype)


def _triangle(x: np.ndarray, eps: float) -> np.ndarray:
    return np.maximum(1 - np.abs(x), 0)


def _cubic(x: np.ndarray, eps: float) -> np.ndarray:
    """Keys' cubic convolution with a = -0.5."""
    a = np.abs(x)
    near = (1.5 * a - 2.5) * a * a + 1
    far = ((-0.5 * a + 2.5) * a - 4) * a + 2
    return np.where(a <= 1, near, np.where(a <= 2, far, 0))


def _lanczos(lobes: int) -> Callable[[np.ndarray, float], np.ndarray]:
    def weight(x: np.ndarray, eps: float) -> np.ndarray:
        product = np.sin(np.pi * x) * np.sin(np.pi * x / lobes) + eps
        return np.where(np.abs(x) < lobes, product / ((np.pi * x) ** 2 / lobes + eps), 0)

    return weight


KERNELS = {
    "box": Kernel(1, _box),
    "bilinear": Kernel(2, _triangle),
    "bicubic": Kernel(4, _cubic),
    "lanczos2": Kernel(4, _lanczos(2)),
    "lanczos3": Kernel(6, _lanczos(3)),
}
_ALIASES = {"nearest": "box", "triangle": "bilinear", "cubic": "bicubic"}


def kernel_named(name: str) -> Kernel:
    """The kernel of a MATLAB method name; DataError with similar names if unknown."""
    known = KERNELS.get(_ALIASES.get(name, name))
    if known is None:
        names = sorted([*KERNELS, *_ALIASES])
        raise DataError(f"unknown interpolation '{name}'{nearest(name, names)}; expected {', '.join(names)}")
    return known


def imresize(
    image: np.ndarray,
    size: Size | None = None,
    scale: float | tuple[float, float] | None = None,
    method: str = "bicubic",
    antialias: bool | None = None,
) -> np.ndarray:
    """MATLAB's imresize of an H x W or H x W x C image, to `size` (height, width) or by `scale`.

    With a scale (one for both axes, or a pair) the output length is ceil(scale * length) and the scale is exact; with a
    size the scale is output / input. The axis with the smaller scale is resampled first. Floating-point images keep
    overshoot and fractions; uint8 images are rounded and clipped after each pass. As in MATLAB, antialiasing is on
    except for nearest. Raises ShapeError for other arrays or sizes, DataError for an unknown method.
    """
    pixels = checked(image)
    lengths, factors = _target(pixels.shape, size, scale)
    kept = Box(0, 0, *lengths)
    resized = _imresized(pixels, lengths, factors, kept, method, antialias, image.dtype)
    return resized[:, :, 0] if image.ndim == 2 else resized


def imresize_crop(image: np.ndarray, scale: tuple[float, float], box: Box, method: str = "bicubic") -> np.ndarray:
    """`box` of the H x W x C image resized in single precision by `scale`; computes only the box."""
    pixels = checked(image)
    lengths, factors = _target(pixels.shape, None, scale)
    return _imresized(pixels, lengths, factors, box, method, None, np.dtype(np.float32))


def _imresized(
    pixels: np.ndarray,
    lengths: Size,
    factors: tuple[float, float],
    box: Box,
    method: str,
    antialias: bool | None,
    dtype: np.dtype[Any],
) -> np.ndarray:
    """The box of the resized image; each pass is stored as `dtype`."""
    kernel_named(method)
    widened = method != "nearest" if antialias is None else antialias
    spans = ((box.top, box.height), (box.left, box.width))
    windows = [
        _imresize_window(pixels.shape[axis], lengths[axis], factors[axis], method, widened, *spans[axis])
        for axis in (0, 1)
    ]
    rows, columns = windows
    pixels = pixels[rows.first : rows.last, columns.first : columns.last]
    for axis in sorted((0, 1), key=lambda axis: factors[axis]):
        matrix = windows[axis].matrix
        if matrix is not None:
            pixels = _stored_as(dtype, resampled(pixels, axis, matrix))
    return pixels.astype(dtype, copy=False)


def checked(image: np.ndarray) -> np.ndarray:
    """`image` as H x W x C; ShapeError for an unsupported shape or dtype."""
    if image.ndim not in (2, 3) or image.size == 0:
        raise ShapeError(f"the image is {image.shape}; expected H x W or H x W x C with at least one pixel")
    if image.dtype not in (np.uint8, np.float32, np.float64):
        raise ShapeError(f"the image is {image.dtype}; expected uint8, float32 or float64")
    return image[..., np.newaxis] if image.ndim == 2 else image


def _target(
    shape: tuple[int, ...], size: Size | None, scale: float | tuple[float, float] | None
) -> tuple[Size, tuple[float, float]]:
    """The output's height and width and the scale of each axis, from the size or the scale."""
    if (size is None) == (scale is None):
        raise ShapeError("pass either size=(height, width) or scale, not both")
    if size is None:
        rows, columns = scale if isinstance(scale, tuple) else (scale, scale)
        factors = float(rows or 0), float(columns or 0)
        if not all(0 < factor < math.inf for factor in factors):
            raise ShapeError(f"scale is {scale}; expected a positive number")
        return (math.ceil(factors[0] * shape[0]), math.ceil(factors[1] * shape[1])), factors
    if min(size) < 1:
        raise ShapeError(f"size is {size[0]}x{size[1]}; expected at least one pixel")
    return (size[0], size[1]), (size[0] / shape[0], size[1] / shape[1])


@dataclass(frozen=True)
class _Window:
    """Weights of the input pixels first..last (exclusive); None leaves the pixels unchanged."""

    matrix: Any
    first: int
    last: int


@lru_cache(maxsize=512)
def _imresize_window(
    length: int, output: int, scale: float, method: str, widened: bool, start: int, count: int
) -> _Window:
    """The weights of one imresize pass for the outputs start..start + count."""
    if output == length and scale == 1:
        return _Window(None, start, start + count)
    kernel = kernel_named(method)
    stretch = scale if widened and scale < 1 else 1.0
    width = kernel.support / stretch
    # MATLAB's 1-based coordinates: `centre` is the input position of each output's centre.
    centre = np.arange(1, output + 1) / scale + 0.5 * (1 - 1 / scale)
    taps = np.floor(centre - width / 2)[:, np.newaxis] + np.arange(math.ceil(width) + 2)
    weights = kernel.weight(stretch * (centre[:, np.newaxis] - taps), MATLAB_LANCZOS_EPS)
    weights /= weights.sum(axis=1, keepdims=True)
    mirrored = (taps.astype(np.int64) - 1) % (2 * length)
    kept = slice(start, start + count)
    inside = np.minimum(mirrored, 2 * length - 1 - mirrored)[kept]
    first, last = int(inside.min()), int(inside.max()) + 1
    return _Window(sparse(inside - first, weights[kept], last - first), first, last)


def sparse(taps: np.ndarray, weights: np.ndarray, length: int) -> Any:
    """A CSR matrix from output x tap tables of 0-based input indices and weights; drops all-zero taps."""
    from scipy.sparse import csr_array

    used = weights.any(axis=0)
    taps, weights = taps[:, used], weights[:, used]
    starts = np.arange(0, weights.size + 1, weights.shape[1])
    return csr_array((weights.ravel(), taps.ravel(), starts), shape=(len(weights), length))


def resampled(pixels: np.ndarray, axis: int, matrix: Any) -> np.ndarray:
    """H x W x C pixels with `matrix` applied along one axis, in the matrix's precision.

    The result is a view with the resampled axis first in memory. This makes the next pass and the final change to
    C x H x W fast two-dimensional transpositions.
    """
    order = (0, 1, 2) if axis == 0 else (1, 2, 0)
    moved = pixels.transpose(order)
    rows = np.ascontiguousarray(moved, dtype=matrix.dtype).reshape(moved.shape[0], -1)
    result = (matrix @ rows).reshape(matrix.shape[0], *moved.shape[1:])
    return result if axis == 0 else result.transpose(2, 0, 1)


def _stored_as(dtype: np.dtype[Any], pixels: np.ndarray) -> np.ndarray:
    """Converts double results as MATLAB does: uint8 is rounded half away from zero and clipped."""
    if dtype == np.uint8:
        return np.floor(np.clip(pixels, 0, 255) + 0.5).astype(np.uint8)
    return pixels.astype(dtype, copy=False)


def imreadjpeg_resample(image: np.ndarray, box: Box, size: Size, method: str = "bicubic") -> np.ndarray:
    """`box` of an H x W x C image resampled to `size` by vl_imreadjpeg: float32, not rounded, not clipped.

    The kernel reads pixels outside the box, and edge pixels are replicated beyond the image, so the result differs from
    resampling a crop. A box that already has `size` is copied exactly. Upstream stops a sum at the first weight that is
    exactly zero, which corrupts a few rows at shrink factors such as 9/7 or 3; this bug is not reproduced. Raises
    ShapeError for an image that is not H x W x C, DataError for an unknown method.
    """
    kernel_named(method)
    pixels = checked(image)
    if (box.height, box.width) == size:
        return box.cut(pixels).astype(np.float32)
    rows = _imreadjpeg_matrix(pixels.shape[0], box.top, box.height, size[0], method)
    columns = _imreadjpeg_matrix(pixels.shape[1], box.left, box.width, size[1], method)
    region = pixels[rows.first : rows.last, columns.first : columns.last]
    return resampled(resampled(region, 0, rows.matrix), 1, columns.matrix)


@lru_cache(maxsize=256)
def _imreadjpeg_matrix(length: int, offset: int, crop: int, output: int, method: str) -> _Window:
    """One pass of vl_imreadjpeg's resampler, in single precision as upstream computes it."""
    kernel = kernel_named(method)
    alpha = np.float32(crop) / np.float32(output)
    beta = np.float32(0.5) * (alpha - np.float32(1)) + np.float32(offset)
    stretch = max(alpha, np.float32(1))
    support = np.float32(kernel.support) * stretch
    centre = alpha * np.arange(output, dtype=np.float32) + beta
    # Upstream starts at ceil(centre - support / 2). That differs only for a box exactly between two pixels, where
    # upstream has no pixel and returns NaN.
    start = np.floor(centre - support / np.float32(2)).astype(np.int64) + 1
    taps = start[:, np.newaxis] + np.arange(math.ceil(support))
    distance = (centre[:, np.newaxis] - taps.astype(np.float32)) / stretch
    weights = kernel.weight(distance, IMREADJPEG_LANCZOS_EPS).astype(np.float32)
    weights /= weights.sum(axis=1, keepdims=True)
    inside = np.clip(taps, 0, length - 1)
    first, last = int(inside.min()), int(inside.max()) + 1
    return _Window(sparse(inside - first, weights, last - first), first, last)


def as_uint8(image: np.ndarray) -> np.ndarray:
    """Pixels 0..255 of any dtype as uint8, for the resamplers of bytes."""
    pixels = checked(image)
    return pixels if pixels.dtype == np.uint8 else np.rint(np.clip(pixels, 0, 255)).astype(np.uint8)
