"""Decodes image files, open files, bytes and Pillow images to pixel arrays, as MATLAB's imread does."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import IO, TYPE_CHECKING, Any, TypeAlias

import numpy as np

from matnet.errors import DataError, FileFormatError, ShapeError, in_words
from matnet.files import IMAGE_ERRORS, existing_file
from matnet.images.budget import DECODING

if TYPE_CHECKING:
    from PIL.Image import Image

    Source: TypeAlias = str | os.PathLike[str] | bytes | IO[bytes] | Image
    """Any source of one image."""

MAX_PIXELS = 1 << 26
"""Larger images are rejected before decoding, unless the caller allows more (8192 x 8192)."""

BYTES_PER_PIXEL = 32
"""Peak memory of decoding and resizing, as measured (docs/preprocessing.md)."""

ORIENTATION = 0x0112
"""The orientation tag of EXIF and TIFF; 1 is upright."""

_TURN = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}
_TURN_BACK = {**_TURN, 6: 2, 8: 4}
"""Orientation -> the Image.Transpose to upright, and its inverse."""

GRAY_WEIGHTS = (0.298936021293775, 0.587043074451121, 0.114020904255103)
"""Luma weights of R, G, B in MATLAB's rgb2gray: first row of the inverse of its YIQ matrix (ITU-R 601)."""

SLACK = 64
"""How far the pixels of a resampled image may lie outside 0..255."""

_GRAY_AT_ONCE = 1 << 18
"""Pixels converted to gray at a time, in double precision at 40 bytes each."""


def decode(source: Source, channels: int = 3, max_pixels: int = MAX_PIXELS, exif: bool = False) -> np.ndarray:
    """An image as float32 H x W x `channels`, RGB (or gray for 1 channel), integers 0..255.

    source: a path, the bytes of a file, an open binary file, or a Pillow image. Gray images are replicated to three
    channels; colour images are converted to gray with rgb2gray's weights, rounded. Palettes are applied, alpha is
    dropped, 16-bit samples keep the high byte, CMYK and YCCK are converted to RGB, and animations yield their first
    frame. The EXIF orientation is ignored, as in imread, unless `exif` is true. Raises DataError with the file name if
    the file is missing, truncated, not an image, or larger than `max_pixels`.
    """
    return decode_uint8(source, channels, max_pixels, exif).astype(np.float32)


def decode_uint8(source: Source, channels: int = 3, max_pixels: int = MAX_PIXELS, exif: bool = False) -> np.ndarray:
    """The pixels of `decode` as uint8: a quarter of the memory, for pipelines that crop first."""
    with opened(source, max_pixels, exif) as image:
        return with_channels(np.asarray(image), channels)


@contextmanager
def opened(source: Source, max_pixels: int = MAX_PIXELS, exif: bool = False) -> Iterator[Image]:
    """The pixels of `decode` as a Pillow image, in mode L for gray files, else RGB.

    Until the block ends, the memory for decoding and resizing it counts against the budget of all decoders.
    `info["orientation"]` is the EXIF orientation (1: upright), whether or not it was applied. Raises DataError like
    `decode`.
    """
    with ExitStack() as budget:
        yield _read(source, max_pixels, exif, budget)


def _read(source: Source, max_pixels: int, exif: bool, budget: ExitStack) -> Image:
    from PIL import Image

    name = name_of(source)
    try:
        with _file(source, max_pixels) as image:
            _check_size(name, image.size, max_pixels)
            budget.enter_context(DECODING.hold(image.width * image.height * BYTES_PER_PIXEL))
            return _oriented(image, exif)
    except FileFormatError as error:
        raise DataError(str(error)) from None
    except Image.DecompressionBombError as error:
        more = in_words("max_pixels", "--max-pixels")
        raise DataError(f"{name}: {error}; downscale the image or raise the limit with {more}") from None
    except IMAGE_ERRORS as error:
        raise DataError(f"{name}: cannot read the image ({_reason(error)}); replace or remove the file") from None


def name_of(source: Any) -> str:
    """The name of an image in messages: its path if it has one, else its type."""
    if isinstance(source, (str, os.PathLike)):
        return os.fspath(source)
    name = getattr(source, "filename", None) or getattr(source, "name", None)
    return name if isinstance(name, str) and name else f"image ({type(source).__name__})"


def _file(source: Source, max_pixels: int) -> Image:
    """The source as an image without decoding its pixels; DataError for an unsupported type."""
    from PIL import Image

    if Image.MAX_IMAGE_PIXELS is not None and max_pixels > Image.MAX_IMAGE_PIXELS:
        Image.MAX_IMAGE_PIXELS = max_pixels  # Pillow's own limit is per process
    if isinstance(source, Image.Image):
        if source.mode == "I" and source.format is None:
            raise DataError(
                f"{name_of(source)}: mode I does not define the range of values; convert the image to mode L or RGB"
            )
        return source.copy()
    if isinstance(source, (bytes, bytearray, memoryview)):
        return Image.open(io.BytesIO(source))
    if isinstance(source, (str, os.PathLike)):
        return Image.open(existing_file(source, "image"))
    if isinstance(source, io.TextIOBase):
        raise DataError(f"{name_of(source)}: is opened in text mode; open it with mode 'rb'")
    if hasattr(source, "read") and hasattr(source, "seek"):
        return Image.open(source)
    raise DataError(
        f"the image is {type(source).__name__}; expected a path, the bytes of a file, an open binary file, a Pillow "
        "image or an H x W x C array"
    )


def _oriented(image: Image, exif: bool) -> Image:
    """The decoded image as stored, or rotated by its EXIF orientation."""
    from PIL import Image

    stated = orientation(image)
    tiff = image.format == "TIFF"
    found = _samples(image)
    turned = tiff and stated > 1 and ORIENTATION not in getattr(image, "tag_v2", {})  # Pillow rotates TIFF files itself
    if exif and stated > 1 and not turned:
        found = found.transpose(Image.Transpose(_TURN[stated]))
    elif turned and not exif:
        found = found.transpose(Image.Transpose(_TURN_BACK[stated]))
    found.info["orientation"] = stated
    return found


def orientation(image: Image) -> int:
    """The orientation of a Pillow image, 1 to 8; 1 if missing or invalid."""
    if "exif" not in image.info and image.format != "TIFF":
        return 1
    stated = image.getexif().get(ORIENTATION, 1)
    return stated if stated in range(1, 9) else 1


def checked_pixels(image: np.ndarray) -> np.ndarray:
    """An H x W, H x W x 1 or H x W x 3 array, uint8 or float, 0..255; ShapeError for any other."""
    if image.ndim not in (2, 3) or image.size == 0 or image.shape[2:] not in ((), (1,), (3,)):
        hint = "; for channels first, use transpose(1, 2, 0)" if image.shape[:1] in ((1,), (3,)) else ""
        raise ShapeError(f"the image array is {image.shape}; expected H x W, H x W x 1 or H x W x 3{hint}")
    if image.dtype.kind not in "f" and image.dtype != np.uint8:
        raise ShapeError(f"the image array is {image.dtype}; expected uint8 or floating-point values 0..255")
    if image.dtype.kind == "f":
        _check_range(image)
    return image if image.dtype in (np.uint8, np.float32, np.float64) else image.astype(np.float32)


def _check_range(image: np.ndarray) -> None:
    """Raise ShapeError for floating-point values that are not finite, or clearly not 0..255."""
    if not np.isfinite(image).all():
        raise ShapeError("the image array contains NaN or infinite values")
    low, high = float(image.min()), float(image.max())
    unit = -1 <= low < high <= 1 and bool((image != np.rint(image)).any())
    if unit or low < -SLACK or high > 255 + SLACK:
        raise ShapeError(f"the image array has values {low:g} to {high:g}; expected 0 (black) to 255 (white)")


def with_channels(pixels: np.ndarray, channels: int) -> np.ndarray:
    """H x W, H x W x 1 or H x W x 3 pixels as H x W x `channels` (1 or 3), of the same dtype.

    Gray is replicated. RGB is converted to gray with rgb2gray's weights, rounded for uint8 pixels.
    Raises ShapeError for any other array.
    """
    planes = pixels[..., np.newaxis] if pixels.ndim == 2 else pixels
    if planes.ndim != 3 or planes.shape[2] not in (1, 3) or channels not in (1, 3) or planes.size == 0:
        raise ShapeError(
            f"the image has shape {pixels.shape} and channels is {channels}; "
            "expected H x W, H x W x 1 or H x W x 3, and 1 or 3 channels"
        )
    if planes.shape[2] == channels:
        return planes
    if channels == 3:
        return np.repeat(planes, 3, axis=2)
    gray = np.empty((*planes.shape[:2], 1), planes.dtype)
    rows = -(-_GRAY_AT_ONCE // planes.shape[1])
    for start in range(0, len(planes), rows):
        part = (planes[start : start + rows] @ np.array(GRAY_WEIGHTS))[..., np.newaxis]
        gray[start : start + rows] = np.floor(part + 0.5) if planes.dtype == np.uint8 else part
    return gray


def _check_size(name: str, size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels:
        raise DataError(
            f"{name}: the image has {width} x {height} = {width * height:,} pixels; expected at most {max_pixels:,}; "
            f"downscale it or raise the limit with {in_words('max_pixels', '--max-pixels')}"
        )


def _samples(image: Image) -> Image:
    """The first frame with 8 bits per sample, in mode L or RGB."""
    from PIL import Image as images

    if image.format == "EPS":
        raise ValueError("matnet does not run PostScript; convert the image to PNG")
    if image.mode.startswith("I"):
        return images.fromarray(_high_byte(np.asarray(image)))
    if image.mode == "F":
        raise ValueError("floating-point samples; save it with 8 bits per sample")
    wanted = "L" if image.mode in ("1", "L", "LA") else "RGB"
    image.load()
    if image.mode == wanted:
        return image
    image.info.pop("transparency", None)  # dropped like alpha; Pillow would warn about it
    return image.convert(wanted)


def _high_byte(samples: np.ndarray) -> np.ndarray:
    """16-bit samples as 8-bit, like libpng's stripping and Pillow's reading of 16-bit RGB."""
    wide: Any = samples.astype(np.int64)
    if wide.size and (wide.min() < 0 or wide.max() > 0xFFFF):
        raise ValueError("samples of more than 16 bits; save it with 8 bits per sample")
    return (wide >> 8).astype(np.uint8)


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())
    if isinstance(error, MemoryError):
        return "its size, or a size stored in it, exceeds the free memory"
    return "unknown format" if "cannot identify image file" in text else text or type(error).__name__
