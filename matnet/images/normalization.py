"""Reading `meta.normalization`, in every shape that MatConvNet's files have given it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from matnet.errors import DataError, listing
from matnet.images.crop import Size


@dataclass(frozen=True)
class Normalization:
    """What a file says about its input; None where it says nothing.

    `average` is float32: (channels,), or H x W x channels of whatever size the file has. `crop_fraction` is
    (height, width): the field cropSize, or what an older border amounts to. `scale`, `color` and `resize`
    are matnet's additions (fields scale, colorOrder, resize), for networks that came from elsewhere.
    """

    image_size: Size
    channels: int
    average: np.ndarray | None = None
    interpolation: str | None = None
    keep_aspect: bool | None = None
    crop_fraction: tuple[float, float] | None = None
    scale: float = 1.0
    color: str = "rgb"
    resize: str | None = None


def read_normalization(meta: Any, image_size: Size | None = None, channels: int | None = None) -> Normalization:
    """The normalization of a network's `meta`; `image_size` and `channels` replace the file's where given.

    Raises DataError that names every field that is missing or cannot be used, and what to pass instead.
    """
    found = meta.get("normalization") if isinstance(meta, Mapping) else None
    if not isinstance(found, Mapping) and image_size is None:
        raise DataError(
            "meta.normalization is missing, so the size and the mean of the input are unknown; "
            "pass image_size=(height, width) and mean=(R, G, B)"
        )
    fields = _Fields(found if isinstance(found, Mapping) else {})
    average = fields.array("averageImage")
    if average is None:
        average = fields.array("rgbMean")
    size, depth = _input_size(meta, fields, average)
    size, depth = image_size or size, channels or depth
    if size is None and not any(problem.startswith("imageSize") for problem in fields.problems):
        fields.problems.append("imageSize is missing; pass image_size=(height, width)")
    result = Normalization(
        image_size=size or (1, 1),
        channels=depth,
        average=_average(average, depth, fields.problems),
        interpolation=fields.text("interpolation"),
        keep_aspect=fields.flag("keepAspect"),
        crop_fraction=_crop_fraction(fields, size or (1, 1)),
        scale=fields.number("scale", 1.0),
        color=fields.text("colorOrder") or "rgb",
        resize=fields.text("resize"),
    )
    if fields.problems:
        raise DataError(listing("meta.normalization cannot be used:", fields.problems))
    return result


@dataclass
class _Fields:
    """A MATLAB struct read field by field; what cannot be used is noted in `problems`, and read as absent."""

    struct: Mapping[str, Any]
    problems: list[str] = field(default_factory=list)

    def array(self, name: str) -> np.ndarray | None:
        """A non-empty array of finite numbers, as float64 of the file's shape; None where absent or empty."""
        value = self.struct.get(name)
        if value is None or (isinstance(value, (str, list)) and not value):
            return None
        if not isinstance(value, (np.ndarray, np.generic, int, float)) or np.asarray(value).dtype.kind not in "buif":
            self.problems.append(f"{name} is {type(value).__name__}, not an array of numbers")
            return None
        numbers = np.asarray(value, dtype=np.float64)
        if not np.isfinite(numbers).all():
            self.problems.append(f"{name} holds NaN or infinite values")
            return None
        return numbers if numbers.size else None

    def pair(self, name: str, what: str) -> tuple[float, float] | None:
        """One number for both axes, or two: (height, width)."""
        numbers = self.array(name)
        if numbers is None:
            return None
        if numbers.size > 2:
            self.problems.append(f"{name} has {numbers.size} elements; expected 1 or 2 ({what})")
            return None
        values = numbers.ravel()
        return float(values[0]), float(values[-1])

    def number(self, name: str, default: float) -> float:
        numbers = self.array(name)
        if numbers is not None and numbers.size != 1:
            self.problems.append(f"{name} has {numbers.size} elements; expected one number")
            return default
        return default if numbers is None else float(numbers.ravel()[0])

    def flag(self, name: str) -> bool | None:
        return None if self.array(name) is None else bool(self.number(name, 0.0))

    def text(self, name: str) -> str | None:
        value = self.struct.get(name)
        if value is None or isinstance(value, str) or (isinstance(value, np.ndarray) and value.size == 0):
            return value.strip().lower() or None if isinstance(value, str) else None
        self.problems.append(f"{name} is {type(value).__name__}, not text")
        return None


def _input_size(meta: Any, fields: _Fields, average: np.ndarray | None) -> tuple[Size | None, int]:
    """Height and width, and channels, from imageSize [H W], [H W C] or [H W C N], or what else tells them."""
    stated = fields.array("imageSize")
    if stated is None:
        stated = _stated_elsewhere(meta)
    depth = 1 if average is not None and average.ndim == 2 and min(average.shape) > 1 else 3
    if stated is None:
        is_image = average is not None and average.ndim >= 2 and min(average.shape[:2]) > 1
        return (average.shape[:2] if is_image and average is not None else None), depth
    values = stated.ravel()
    if (values < 1).any() or (values != np.floor(values)).any() or values.size > 4:
        fields.problems.append(f"imageSize is {values.tolist()}; expected positive whole numbers [H W C N]")
        return None, depth
    whole = [int(value) for value in values]
    size = (whole[0], whole[min(1, len(whole) - 1)])
    return size, whole[2] if len(whole) > 2 else depth


def _stated_elsewhere(meta: Any) -> np.ndarray | None:
    """meta.inputSize, or the size of the first of meta.inputs: they stand in for an absent imageSize."""
    struct = meta if isinstance(meta, Mapping) else {}
    inputs = struct.get("inputs")
    first = inputs[0] if isinstance(inputs, list) and inputs else inputs
    candidates = [_Fields(struct).array("inputSize")]
    if isinstance(first, Mapping):
        candidates.append(_Fields(first).array("size"))
    return next((value for value in candidates if value is not None), None)


def _average(average: np.ndarray | None, channels: int, problems: list[str]) -> np.ndarray | None:
    """An averageImage (scalar, colour in any orientation, or image) as (channels,) or H x W x channels."""
    if average is None:
        return None
    if average.size == 1:
        return np.full(channels, average.ravel()[0], np.float32)
    if average.size == channels:
        return average.ravel().astype(np.float32)
    image = average.reshape(average.shape[:3]) if average.size == np.prod(average.shape[:3]) else average
    if image.ndim == 2:
        image = image[:, :, np.newaxis]
    if image.ndim == 3 and image.shape[2] in (1, channels) and min(image.shape[:2]) > 1:
        return np.repeat(image, channels // image.shape[2], axis=2).astype(np.float32)
    shape = "x".join(map(str, average.shape))
    problems.append(f"averageImage is {shape}; expected {channels} values, or an image of {channels} channel(s)")
    return None


def _crop_fraction(fields: _Fields, size: Size) -> tuple[float, float] | None:
    """cropSize; where it is absent imageSize / (imageSize + border), as vl_simplenn_tidy has it."""
    fraction = fields.pair("cropSize", "fractions of the image's height and width")
    border = fields.pair("border", "pixels of height and width")
    if fraction is None and border is not None:
        sums = size[0] + border[0], size[1] + border[1]
        if min(sums) <= 0:
            fields.problems.append(f"border is {border} for an image of {size[0]}x{size[1]}; it must be smaller")
            return None
        fraction = size[0] / sums[0], size[1] / sums[1]
    if fraction is not None and min(fraction) <= 0:
        fields.problems.append(f"cropSize is {fraction}; expected fractions in (0, 1]")
        return None
    return fraction
