"""The mean to subtract, from a file, values or the prototxt, fitted to the input size."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from matnet.converters.caffemodel import read_mean
from matnet.converters.files.message import Message
from matnet.converters.options import ConversionOptions
from matnet.errors import FileFormatError, NetworkError, in_words
from matnet.shapes import text


def given_mean(options: ConversionOptions) -> np.ndarray | None:
    """The mean file of the options as C x H x W in R, G, B, the channel order of the converted net.

    Mean files hold B, G, R like the Caffe net, unless `color_format` is rgb; .mat files always hold R, G, B. Without
    `transpose`, the result is C x W x H in Caffe's order. None without a file.
    """
    if options.mean is None:
        return None
    mean = read_mean(options.mean, _load_mat)
    if not options.transpose:
        return mean.transpose(0, 2, 1)
    if Path(options.mean).suffix.lower() == ".mat":
        return mean[::-1]
    return mean[::-1] if options.color_format == "bgr" else mean


def _load_mat(path: str) -> dict[str, object]:
    from matnet.formats.mat import read_mat

    return dict(read_mat(path))


def fitted_mean(mean: np.ndarray, channels: int, size: tuple[int, int], treatment: str, where: object) -> np.ndarray:
    """A mean C x H x W as H x W x C with the input size, or as 1 x 1 x C; float32.

    `crop` takes the centre of a mean image, at floor((mean - input) / 2), like Caffe; `resize` samples it at evenly
    spaced points from corner to corner, like MatConvNet's importer. Raises FileFormatError for a wrong number of
    channels, and for `crop` with an image smaller than the input.
    """
    found, height, width = mean.shape
    if found != channels:
        raise FileFormatError(f"{where}: the mean has {found} channels, but the network's input has {channels}")
    image = mean.transpose(1, 2, 0)
    if (height, width) in ((1, 1), size):
        return np.array(image, np.float32)
    if treatment == "resize":
        return corner_to_corner(image, size)
    top, left = (height - size[0]) // 2, (width - size[1]) // 2
    if min(top, left) < 0:
        resized = in_words("mean_treatment='resize'", "--mean-treatment resize")
        raise FileFormatError(
            f"{where}: the mean image is {text((height, width))}, too small for a crop of the input size {text(size)}; "
            f"give another mean, or {resized}"
        )
    return np.array(image[top : top + size[0], left : left + size[1]], np.float32)


def corner_to_corner(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """An H x W x C image sampled bilinearly at linspace(0, H - 1) x linspace(0, W - 1) (import-caffe.py).

    >>> corner_to_corner(np.arange(3.0).reshape(3, 1, 1), (5, 1)).ravel()
    array([0. , 0.5, 1. , 1.5, 2. ], dtype=float32)
    """
    for axis in (0, 1):
        places = np.linspace(0, image.shape[axis] - 1, size[axis])
        low = np.minimum(places.astype(int), image.shape[axis] - 1)
        high = np.minimum(low + 1, image.shape[axis] - 1)
        weight = (places - low).reshape([-1 if axis == index else 1 for index in range(3)])
        image = image.take(low, axis) * (1 - weight) + image.take(high, axis) * weight
    return image.astype(np.float32)


def given_values(options: ConversionOptions, transform: Message, channels: int) -> np.ndarray | None:
    """The mean values of the options, else of the data layer's `transform`, as C x 1 x 1 in R, G, B order."""
    values, where = options.mean_values, "mean values"
    in_order = True
    if values is None:
        if not transform.get("mean_value"):
            return None
        values, where = transform.get("mean_value"), f"{transform.place('mean_value')}: mean_value"
        in_order = options.color_format == "rgb" or not options.transpose
    if len(values) not in (1, channels):
        raise NetworkError(
            f"{where}: {len(values)} values for an input with {channels} channels; give one value, or one per channel"
        )
    found = np.asarray(values, np.float32).reshape(-1, 1, 1)
    whole = np.broadcast_to(found, (channels, 1, 1))
    return whole if in_order else whole[::-1]
