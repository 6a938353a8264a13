"""Image files as arrays of pixels, read as MATLAB's imread reads them."""

from __future__ import annotations

import os
import struct
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np

from matnet.errors import DataError, FileFormatError, ShapeError
from matnet.files import existing_file

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_PIXELS = 1 << 26
"""Images of more pixels are refused before they are decoded (8192 x 8192; 768 MiB as float32 RGB)."""

GRAY_WEIGHTS = (0.298936021293775, 0.587043074451121, 0.114020904255103)
"""Luma of R, G and B in MATLAB's rgb2gray: the first row of the inverse of its YIQ matrix (ITU-R 601)."""

# What Pillow's readers raise for damaged or hostile files; UnidentifiedImageError is an OSError.
_READER_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    AttributeError,
    OverflowError,
    NotImplementedError,
    struct.error,
    zlib.error,
)


def decode(path: str | os.PathLike[str], channels: int = 3) -> np.ndarray:
    """An image file as float32 H x W x `channels`, RGB (or gray for 1 channel), whole numbers 0..255.

    Gray files are replicated to three channels; colour files become gray by rgb2gray's weights, rounded.
    Palettes are looked up, alpha is dropped, 16-bit samples keep their high byte, CMYK and YCCK are
    converted, an animation gives its first frame, and EXIF orientation is ignored (imread).
    Raises DataError, naming the file, where it is missing, cut, no image, or larger than MAX_PIXELS.
    """
    return decode_uint8(path, channels).astype(np.float32)


def decode_uint8(path: str | os.PathLike[str], channels: int = 3) -> np.ndarray:
    """The same pixels as `decode`, as uint8: a quarter of the memory, for pipelines that crop first."""
    return with_channels(np.asarray(open_image(path)), channels)


def open_image(path: str | os.PathLike[str]) -> Image:
    """The same pixels as an image of Pillow's, decoded: of mode L where the file is gray, else RGB."""
    from PIL import Image

    try:
        file = existing_file(path, "image")
        with Image.open(file) as image:
            _check_size(file, image.size)
            return _samples(image)
    except FileFormatError as error:
        raise DataError(str(error)) from None
    except Image.DecompressionBombError as error:
        raise DataError(f"{path}: {error}; scale the image down first") from None
    except _READER_ERRORS as error:
        raise DataError(f"{path}: cannot be read as an image ({_reason(error)}); replace or remove it") from None


def with_channels(pixels: np.ndarray, channels: int) -> np.ndarray:
    """H x W, H x W x 1 or H x W x 3 pixels as H x W x `channels` (1 or 3), of the same class.

    Gray is replicated; RGB becomes gray by rgb2gray's weights, rounded where the pixels are uint8.
    Raises ShapeError for any other array.
    """
    planes = pixels[..., np.newaxis] if pixels.ndim == 2 else pixels
    if planes.ndim != 3 or planes.shape[2] not in (1, 3) or channels not in (1, 3) or planes.size == 0:
        raise ShapeError(
            f"an image of shape {pixels.shape} was given for {channels} channel(s); "
            "expected H x W, H x W x 1 or H x W x 3, and 1 or 3 channels"
        )
    if planes.shape[2] == channels:
        return planes
    if channels == 3:
        return np.repeat(planes, 3, axis=2)
    gray = (planes @ np.array(GRAY_WEIGHTS))[..., np.newaxis]
    return np.floor(gray + 0.5).astype(np.uint8) if planes.dtype == np.uint8 else gray.astype(planes.dtype)


def _check_size(path: os.PathLike[str], size: tuple[int, int]) -> None:
    width, height = size
    if width * height > MAX_PIXELS:
        raise DataError(
            f"{path}: the image is {width} x {height} = {width * height:,} pixels; "
            f"at most {MAX_PIXELS:,} are decoded; scale it down first"
        )


def _samples(image: Image) -> Image:
    """The first frame with 8 bits per sample, of mode L or RGB, whatever Pillow's mode is."""
    from PIL import Image as images

    if image.mode.startswith("I"):
        return images.fromarray(_high_byte(np.asarray(image)))
    if image.mode == "F":
        raise ValueError("its samples are floating-point; save it with 8 bits per sample")
    wanted = "L" if image.mode in ("1", "L", "LA") else "RGB"
    image.load()
    if image.mode == wanted:
        return image
    image.info.pop("transparency", None)  # dropped like alpha; Pillow would warn about it while converting
    return image.convert(wanted)


def _high_byte(samples: np.ndarray) -> np.ndarray:
    """16-bit samples as 8-bit ones, as libpng strips them, and as Pillow itself reads 16-bit RGB."""
    wide: Any = samples.astype(np.int64)
    if wide.size and (wide.min() < 0 or wide.max() > 0xFFFF):
        raise ValueError("its samples have more than 16 bits; save it with 8 bits per sample")
    return (wide >> 8).astype(np.uint8)


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())
    return "unknown format" if "cannot identify image file" in text else text or type(error).__name__
