"""Generates preprocess.py, which runs a network's preprocessing with only numpy and Pillow.

The code is copied from the modules of `matnet.images`, so that the results are bit-identical.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from matnet.torch.code import names_in

if TYPE_CHECKING:
    from matnet.images import Preprocessing

PACKAGE = Path(__file__).parents[1]
SOURCES = (
    "errors.py",
    "images/crop.py",
    "images/decode.py",
    "images/resize.py",
    "images/pillow.py",
    "images/opencv.py",
)
OWN = frozenset({"DataError", "ShapeError", "sparse", "resampled", "_Window"})  # simplified in HEAD

HEAD = '''"""Preprocessing of images for {name}, written by matnet; requires only numpy and Pillow.

{steps}
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

IMAGE_SIZE = {size}  # height, width
CHANNELS = {channels}
COVERED = {covered}  # size of the whole resized image
CROP_FRACTION = {fraction}
KEEP_ASPECT = {aspect}
INTERPOLATION = {interpolation!r}
CROPS = {crops}  # 10: four corners and the centre, and their mirror images
EXIF = {exif}  # whether to apply the EXIF orientation
COLOR = {color!r}
INPUT_RANGE = {range}  # of black and white
MEAN = {mean}
STD = {std}
SCALE = {scale!r}


class DataError(ValueError):
    """An unusable image or value."""


class ShapeError(DataError):
    """An array of an unexpected shape."""


class _Window(NamedTuple):
    """Weights of the input pixels first..last (exclusive); None leaves the pixels unchanged."""

    matrix: Any
    first: int
    last: int


def sparse(taps: np.ndarray, weights: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Output x tap tables of input indices and weights, without all-zero taps."""
    used = weights.any(axis=0)
    return taps[:, used], weights[:, used]


def resampled(pixels: np.ndarray, axis: int, matrix: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """H x W x C pixels with weighted sums along one axis, in the precision of the weights and the order of the taps."""
    taps, weights = matrix
    moved = np.moveaxis(pixels, axis, 0).astype(weights.dtype)
    total = np.zeros((len(taps), *moved.shape[1:]), weights.dtype)
    for index, weight in zip(taps.T, weights.T, strict=True):
        total += weight[:, None, None] * moved[index]
    return np.moveaxis(total, 0, axis)
'''

TAIL = '''

def prepare(source: Any) -> np.ndarray:
    """The input for an image file, an open file or a Pillow image: N x C x H x W float32; N is 1, or 10 for crops."""
    if isinstance(source, Image.Image):
        return views(_oriented(source.copy(), EXIF))
    with Image.open(source) as image:
        return views(_oriented(image, EXIF))


def views(image: Image.Image) -> np.ndarray:
    """The centre crop, or five crops and their mirror images."""
    placed = place(image)
    if CROPS != 1:
        placed = [*placed, *(view[:, ::-1] for view in placed)]
    return np.stack([normalized(view) for view in placed])


def normalized(pixels: np.ndarray) -> np.ndarray:
    """H x W x C pixels as C x H x W: range, mean, standard deviation, scale, colour order."""
    planes = np.empty((CHANNELS, *pixels.shape[:2]), np.float32)
    ordered = planes[::-1] if COLOR == "bgr" else planes
    ordered[...] = pixels.transpose(2, 0, 1)
    if INPUT_RANGE != (0.0, 255.0):
        ordered *= np.float32(INPUT_RANGE[1] - INPUT_RANGE[0])
        ordered /= np.float32(255)
        ordered += np.float32(INPUT_RANGE[0])
    if MEAN is not None:
        ordered -= channels_first(MEAN)
    if STD is not None:
        ordered /= channels_first(STD)
    if SCALE != 1:
        planes *= np.float32(SCALE)
    return planes


def channels_first(planes: np.ndarray) -> np.ndarray:
    """A colour, or an H x W x C image, as C x 1 x 1 or C x H x W."""
    return (planes if planes.ndim == 3 else planes.reshape(1, 1, -1)).transpose(2, 0, 1)


def suited(image: Image.Image) -> np.ndarray:
    """H x W x C pixels with the network's channels; gray pixels are replicated later."""
    pixels = np.atleast_3d(np.asarray(image))
    return with_channels(pixels, 1 if pixels.shape[2] == 1 else CHANNELS)


def boxes_of(image: Size, size: Size) -> list[Box]:
    """The boxes of the crops of `size` in an image."""
    return [centre_box(image, size)] if CROPS == 1 else five_boxes(image, size)


def cut(size: Size, part: Callable[[Box], np.ndarray]) -> list[np.ndarray]:
    """The crops of an image of `size`; `part` returns the pixels of a box."""
    boxes = boxes_of(size, IMAGE_SIZE)
    if len(boxes) == 1:
        return [part(boxes[0])]
    whole = part(Box(0, 0, *size))
    return [box.cut(whole) for box in boxes]


def place(image: Image.Image) -> list[np.ndarray]:
    """The image resized and cropped to the input's size."""
'''

RESIZED = """    image_size = (image.height, image.width)
    factors = scale_factors(image_size, COVERED, KEEP_ASPECT)
    scaled = scaled_size(image_size, factors)
"""
BODIES = {
    "vl_imreadjpeg": """    pixels = suited(image)
    box = imreadjpeg_box(pixels.shape[:2], IMAGE_SIZE, CROP_FRACTION, KEEP_ASPECT)
    boxes = boxes_of(pixels.shape[:2], (box.height, box.width))
    return [imreadjpeg_resample(pixels, each, IMAGE_SIZE, INTERPOLATION) for each in boxes]
""",
    "imresize": RESIZED
    + """    pixels = suited(image)
    return cut(scaled, lambda box: imresize_crop(pixels, factors, box, INTERPOLATION))
""",
    "pillow": RESIZED
    + """    if image.mode != "L" and CHANNELS == 1:
        image = from_array(suited(image))
    return cut(scaled, lambda box: pillow_crop(image, scaled, box, INTERPOLATION))
""",
    "opencv": RESIZED
    + """    pixels = suited(image)
    if scaled == image_size:
        return cut(scaled, lambda box: box.cut(pixels))
    return cut(scaled, lambda box: opencv_crop(pixels, scaled, box, INTERPOLATION))
""",
    "opencv-float": RESIZED
    + """    pixels = suited(image)
    if scaled != image_size:
        pixels = opencv_resize_float(pixels, scaled, INTERPOLATION)
    return cut(scaled, lambda box: box.cut(pixels))
""",
}


def preprocess_text(chain: Preprocessing, name: str) -> str:
    """The text of preprocess.py; it reads mean and deviation images from mean.npy and std.npy in its folder."""
    from matnet.images.crop import covered_size

    head = HEAD.format(
        name=name,
        steps="\n".join(f"{number}. {step}" for number, step in enumerate(chain.steps(), 1)),
        size=tuple(map(int, chain.image_size)),
        channels=chain.channels,
        covered=covered_size(chain.image_size, chain.crop_fraction),
        fraction=tuple(map(float, chain.crop_fraction)),
        aspect=chain.keep_aspect,
        interpolation=chain.interpolation,
        crops=chain.crops,
        exif=chain.exif,
        color=chain.color,
        range=tuple(map(float, chain.input_range)),
        mean=_planes("mean", chain.mean),
        std=_planes("std", chain.std),
        scale=float(chain.scale),
    )
    tail = TAIL + BODIES[chain.resize]
    return "\n".join([head, *_needed(tail), tail.lstrip("\n")])


def _planes(name: str, planes: object) -> str:
    import numpy as np

    if planes is None:
        return "None"
    array = np.asarray(planes, np.float32)
    if array.ndim == 1:
        return f"np.array({[float(value) for value in array]}, np.float32)"
    return f'np.load(Path(__file__).with_name("{name}.npy"))'


@lru_cache(maxsize=1)
def _definitions() -> dict[str, tuple[str, set[str]]]:
    """Every definition of the sources by name: its text with decorators, and the names it uses."""
    found: dict[str, tuple[str, set[str]]] = {}
    for path in SOURCES:
        source = (PACKAGE / path).read_text(encoding="utf-8")
        lines = source.splitlines()
        for node in ast.parse(source).body:
            if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
                first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
                names = [node.name]
            elif isinstance(node, ast.Assign):
                first, names = node.lineno, [each.id for each in node.targets if isinstance(each, ast.Name)]
            else:
                continue
            text = "\n".join(lines[first - 1 : node.end_lineno])
            found |= {name: (text, _mentioned(node)) for name in names if name not in OWN}
    return found


def _mentioned(node: ast.AST) -> set[str]:
    """The names used in a definition, except its own name."""
    return names_in(node) - {node.name if isinstance(node, (ast.ClassDef, ast.FunctionDef)) else ""}


def _needed(text: str) -> Iterator[str]:
    """The definitions that a text uses, directly or indirectly, in the order of the sources."""
    known = _definitions()
    waiting, used = names_in(ast.parse(text)) & known.keys(), set()
    while waiting:
        name = waiting.pop()
        used.add(name)
        waiting |= (known[name][1] & known.keys()) - used
    for name, (source, _) in known.items():
        if name in used:
            yield f"\n{source}\n" if source.startswith(("def ", "class ", "@")) else f"{source}\n"
