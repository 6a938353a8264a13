"""Image files, open files, bytes and Pillow's images as arrays of pixels, read as MATLAB's imread reads files."""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import IO, TYPE_CHECKING, Any, TypeAlias

import numpy as np

from matnet.errors import DataError, FileFormatError, ShapeError, in_words
from matnet.files import existing_file
from matnet.images.budget import DECODING

if TYPE_CHECKING:
    from PIL.Image import Image

    Source: TypeAlias = str | os.PathLike[str] | bytes | IO[bytes] | Image
    """What is read as one image."""

MAX_PIXELS = 1 << 26
"""Images of more pixels are refused before they are decoded, unless the caller allows more (8192 x 8192)."""

BYTES_PER_PIXEL = 32
"""What decoding and resizing take for each pixel of a file at their peak: measured, see docs/preprocessing.md."""

ORIENTATION = 0x0112
"""The tag of EXIF, and of TIFF, that says how a viewer should turn an image; 1 is upright."""

_TURN = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}
_TURN_BACK = {**_TURN, 6: 2, 8: 4}
"""Orientation -> the Image.Transpose that makes the image upright, and the one that undoes it."""

GRAY_WEIGHTS = (0.298936021293775, 0.587043074451121, 0.114020904255103)
"""Luma of R, G and B in MATLAB's rgb2gray: the first row of the inverse of its YIQ matrix (ITU-R 601)."""

_GRAY_AT_ONCE = 1 << 18
"""Pixels that become gray at once: in double precision they take 40 bytes each."""

# What Pillow's readers raise for damaged or hostile files; UnidentifiedImageError is an OSError. A PNG file that states
# a block of 4 GB is read in one piece.
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
    MemoryError,
    struct.error,
    zlib.error,
)


def decode(source: Source, channels: int = 3, max_pixels: int = MAX_PIXELS, exif: bool = False) -> np.ndarray:
    """An image as float32 H x W x `channels`, RGB (or gray for 1 channel), whole numbers 0..255.

    source: a path, the bytes of a file, an open binary file, or an image of Pillow's. Gray files are replicated to
    three channels; colour files become gray by rgb2gray's weights, rounded. Palettes are looked up, alpha is
    dropped, 16-bit samples keep their high byte, CMYK and YCCK are converted, an animation gives its first frame.
    The EXIF orientation is ignored, as imread does, unless `exif` is true. Raises DataError, naming the file, where
    it is missing, cut, no image, or larger than `max_pixels`.
    """
    return decode_uint8(source, channels, max_pixels, exif).astype(np.float32)


def decode_uint8(source: Source, channels: int = 3, max_pixels: int = MAX_PIXELS, exif: bool = False) -> np.ndarray:
    """The same pixels as `decode`, as uint8: a quarter of the memory, for pipelines that crop first."""
    with opened(source, max_pixels, exif) as image:
        return with_channels(np.asarray(image), channels)


@contextmanager
def opened(source: Source, max_pixels: int = MAX_PIXELS, exif: bool = False) -> Iterator[Image]:
    """The same pixels as an image of Pillow's: of mode L where the file is gray, else RGB.

    Until the block ends, its memory counts against the budget that all decoders share, with that of resizing it.
    `info["orientation"]` is what EXIF states (1: upright), whether it was applied or not. Raises DataError as
    `decode` does.
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
        raise DataError(f"{name}: {error}; scale the image down, or allow more with {more}") from None
    except _READER_ERRORS as error:
        raise DataError(f"{name}: cannot be read as an image ({_reason(error)}); replace or remove it") from None


def name_of(source: Any) -> str:
    """What to call an image in a message: its path where it has one, else what it is."""
    if isinstance(source, (str, os.PathLike)):
        return os.fspath(source)
    name = getattr(source, "filename", None) or getattr(source, "name", None)
    return name if isinstance(name, str) and name else f"image ({type(source).__name__})"


def _file(source: Source, max_pixels: int) -> Image:
    """The source as an image whose pixels are not decoded yet; what is no source at all raises DataError."""
    from PIL import Image

    if Image.MAX_IMAGE_PIXELS is not None and max_pixels > Image.MAX_IMAGE_PIXELS:
        Image.MAX_IMAGE_PIXELS = max_pixels  # Pillow has a limit of its own, for the whole process
    if isinstance(source, Image.Image):
        return source.copy()
    if isinstance(source, (bytes, bytearray, memoryview)):
        return Image.open(io.BytesIO(source))
    if isinstance(source, (str, os.PathLike)):
        return Image.open(existing_file(source, "image"))
    if hasattr(source, "read") and hasattr(source, "seek"):
        return Image.open(source)
    raise DataError(
        f"an image is a path, the bytes of a file, an open binary file, an image of Pillow's or an H x W x C array, "
        f"not {type(source).__name__}"
    )


def _oriented(image: Image, exif: bool) -> Image:
    """The decoded image as it is stored, or turned as EXIF states."""
    from PIL import Image

    stated = orientation(image)
    tiff = image.format == "TIFF"
    found = _samples(image)
    turned = tiff and stated > 1 and ORIENTATION not in getattr(image, "tag_v2", {})  # Pillow turns TIFF files itself
    if exif and stated > 1 and not turned:
        found = found.transpose(Image.Transpose(_TURN[stated]))
    elif turned and not exif:
        found = found.transpose(Image.Transpose(_TURN_BACK[stated]))
    found.info["orientation"] = stated
    return found


def orientation(image: Image) -> int:
    """The orientation that an image of Pillow's states, 1 to 8; 1 where it states none, or nonsense."""
    if "exif" not in image.info and image.format != "TIFF":
        return 1
    stated = image.getexif().get(ORIENTATION, 1)
    return stated if stated in range(1, 9) else 1


def checked_pixels(image: np.ndarray) -> np.ndarray:
    """An array as H x W, H x W x 1 or H x W x 3 pixels, uint8 or float; ShapeError for any other."""
    if image.ndim not in (2, 3) or image.size == 0 or image.shape[2:] not in ((), (1,), (3,)):
        hint = "; its channels seem to come first: use transpose(1, 2, 0)" if image.shape[:1] in ((1,), (3,)) else ""
        raise ShapeError(f"an image array must be H x W, H x W x 1 or H x W x 3, not {image.shape}{hint}")
    if image.dtype.kind not in "f" and image.dtype != np.uint8:
        raise ShapeError(f"an image array must be uint8 or floating-point, of values 0..255, not {image.dtype}")
    if image.dtype.kind == "f" and not np.isfinite(image).all():
        raise ShapeError("an image array holds NaN or infinite values")
    return image if image.dtype in (np.uint8, np.float32, np.float64) else image.astype(np.float32)


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
            f"{name}: the image is {width} x {height} = {width * height:,} pixels; at most {max_pixels:,} are "
            f"decoded; scale it down, or allow more with {in_words('max_pixels', '--max-pixels')}"
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
    if isinstance(error, MemoryError):
        return "its size, or one that it states, is larger than the free memory"
    return "unknown format" if "cannot identify image file" in text else text or type(error).__name__
