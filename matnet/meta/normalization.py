"""Reads `meta.normalization`, the preprocessing stated by a file, in every form found in files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from matnet.errors import DataError, in_words, listing
from matnet.meta.inputs import MEAN, Size, image_statements, merged, size_of
from matnet.meta.inputs import image_size as size_of_image
from matnet.meta.values import MEAN_FIELDS, normalization, number_array, numbers, text_of

if TYPE_CHECKING:
    from matnet.network import Network

STD_FIELDS = ("imageStd", "std", "rgbStd")
COLOR_FIELDS = ("colorOrder", "inputSpace")
OTHER_FIELDS = ("imageSize", "inputRange", "scale", "resize", "interpolation", "keepAspect", "border", "cropSize")
TRAINING_FIELDS = ("transformation", "numAugments", "numThreads", "prefetch", "rgbVariance")
"""Leftovers of MatConvNet's training scripts; they do not affect the preprocessing of test images."""
KNOWN_FIELDS = frozenset((*MEAN_FIELDS, *STD_FIELDS, *COLOR_FIELDS, *OTHER_FIELDS, *TRAINING_FIELDS))
BYTES, UNIT = (0.0, 255.0), (0.0, 1.0)
STATE_CHANNELS = (
    "pass channels=1 or channels=3, or the network with Preprocessing.of(net), which reads its first filters",
    "give --channels 1 or 3",
)
MISSING = "meta.normalization is missing, so the preprocessing is unknown; "


@dataclass(frozen=True)
class Normalization:
    """The preprocessing stated by a file; None for fields it does not state.

    The input is ((pixels 0..255 mapped to `input_range`) - average) / std * scale. `average` and `std` are float32 of
    shape (channels,), or H x W x channels with the size in the file. `crop_fraction` is (height, width), from the field
    cropSize or computed from the older field border. `notes` lists assumptions and ignored fields.
    """

    image_size: tuple[int, int]
    channels: int
    average: np.ndarray | None = None
    std: np.ndarray | None = None
    input_range: tuple[float, float] = BYTES
    interpolation: str | None = None
    keep_aspect: bool | None = None
    crop_fraction: tuple[float, float] | None = None
    scale: float = 1.0
    color: str = "rgb"
    resize: str | None = None
    notes: tuple[str, ...] = ()


def normalization_of(net: Network, **given: Any) -> Normalization:
    """The normalization of a network; `image_size` and `channels` default to those of its image input.

    Takes the arguments and raises the errors of `read_normalization`.
    """
    height, width, channels, _ = size_of_image(net)
    if height and width and (normalization(net.meta) or given.get("mean") is not None):
        given.setdefault("image_size", (height, width))
    if channels:
        given.setdefault("channels", channels)
    return read_normalization(net.meta, **given)


def read_normalization(
    meta: Any,
    image_size: tuple[int, int] | None = None,
    channels: int | None = None,
    mean: Any = None,
    std: Any = None,
    input_range: tuple[float, float] | None = None,
) -> Normalization:
    """The normalization in `meta`; each argument overrides the value in the file.

    Raises DataError that lists every missing or unusable field and what to pass instead.
    """
    found = normalization(meta)
    if not found and image_size is None and mean is None:
        way = "pass image_size=(height, width) and mean=(R, G, B)", "give --input-size HxW and --mean R G B (or FILE)"
        raise DataError(MISSING + in_words(*way))
    fields = _Fields(found)
    stated = _stated_size(meta, found)
    size = image_size or ((stated.height, stated.width) if stated.height and stated.width else None)
    if size is None:
        fields.problems.append(_no_size(found))
    planes = channels or stated.channels or (np.size(mean) if np.size(mean) in (1, 3) and mean is not None else None)
    if planes is None:
        fields.problems.append(f"meta does not state the number of channels; {in_words(*STATE_CHANNELS)}")
        planes = 3
    average = _planes(fields, MEAN_FIELDS, planes) if mean is None else given_planes("mean", mean)
    deviation = _planes(fields, STD_FIELDS, planes) if std is None else given_planes("std", std)
    if deviation is not None and (deviation <= 0).any():
        fields.problems.append(f"the standard deviation is {deviation.ravel()[:3].tolist()}; expected numbers above 0")
    notes = [*_ignored(found)]
    result = Normalization(
        image_size=size or (1, 1),
        channels=planes,
        average=average,
        std=deviation,
        input_range=input_range or _input_range(fields, average, deviation, notes),
        interpolation=fields.text("interpolation"),
        keep_aspect=fields.flag("keepAspect"),
        crop_fraction=_crop_fraction(fields, size or (1, 1)),
        scale=fields.number("scale", 1.0),
        color=next((text for text in map(fields.text, COLOR_FIELDS) if text), "rgb"),
        resize=fields.text("resize"),
        notes=tuple(notes),
    )
    if fields.problems:
        if not found and len(fields.problems) == 1:
            raise DataError(fields.problems[0])
        head = "meta.normalization cannot be used:" if found else "the preprocessing is unknown:"
        raise DataError(listing(head, fields.problems))
    return result


def _stated_size(meta: Any, found: Mapping[str, Any]) -> Size:
    """The size stated in meta; the size of the mean is ignored if imageSize is present but unusable."""
    unusable = _unusable_size(found)
    return merged(place.size for place in image_statements(meta) if place.place != MEAN or not unusable)


def given_planes(name: str, value: Any) -> np.ndarray:
    """A mean or standard deviation as float32; DataError if it is not numeric, or not finite in float32."""
    try:
        with np.errstate(over="ignore"):
            planes = np.asarray(value, dtype=np.float32)
    except (ValueError, TypeError, OverflowError):
        raise DataError(
            f"preprocessing: {name} is {value!r}; expected numbers: one, one per channel, or H x W x C"
        ) from None
    if not np.isfinite(planes).all():
        raise DataError(f"preprocessing: {name} contains values that are not finite in float32")
    return planes


def normalization_notes(net: Network) -> list[str]:
    """Notes on a network's normalization: ignored fields, and how the input range was determined.

    Errors are not reported here, since the network runs without preprocessing; they are raised when an image is
    prepared.
    """
    try:
        return list(normalization_of(net).notes)
    except DataError:
        return list(_ignored(normalization(net.meta)))


# -- single fields ----------------------------------------------------------------------------------


@dataclass
class _Fields:
    """Reads the fields of a MATLAB struct; an unusable field is listed in `problems` and treated as absent."""

    struct: Mapping[str, Any]
    problems: list[str] = field(default_factory=list)

    def array(self, name: str) -> np.ndarray | None:
        """An array of numbers, finite in float32, as float64; None if absent or empty."""
        value = self.struct.get(name)
        if value is None or (isinstance(value, (str, list)) and not value):
            return None
        if not isinstance(value, (np.ndarray, np.generic, int, float)) or np.asarray(value).dtype.kind not in "buif":
            self.problems.append(f"{name} is {type(value).__name__}; expected an array of numbers")
            return None
        numbers = np.asarray(value, dtype=np.float64)
        if not (np.abs(numbers) <= np.finfo(np.float32).max).all():
            self.problems.append(f"{name} contains NaN or infinite values")
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
        self.problems.append(f"{name} is {type(value).__name__}; expected text")
        return None


def _unusable_size(found: Mapping[str, Any]) -> bool:
    return number_array(found.get("imageSize")) is not None and size_of(found["imageSize"]).height is None


def _no_size(found: Mapping[str, Any]) -> str:
    if _unusable_size(found):
        values = numbers(found["imageSize"])
        return f"imageSize is {values}; expected positive integers [H W C N]; {_give_size()}"
    return f"{'imageSize is missing' if found else 'the input size is unknown'}; {_give_size()}"


def _give_size() -> str:
    return in_words("pass image_size=(height, width)", "give --input-size HxW")


def _planes(fields: _Fields, names: Sequence[str], channels: int) -> np.ndarray | None:
    """The first nonempty field of `names`, as float32 of shape (channels,) or H x W x channels.

    The field is a scalar, a colour in any orientation, or an image.
    """
    for name in names:
        array = fields.array(name)
        if array is not None:
            return _as_planes(name, array, channels, fields.problems)
    return None


def _as_planes(name: str, array: np.ndarray, channels: int, problems: list[str]) -> np.ndarray | None:
    if array.size == 1:
        return np.full(channels, array.ravel()[0], np.float32)
    if array.size == channels:
        return array.ravel().astype(np.float32)
    image = array.reshape(array.shape[:3]) if array.size == np.prod(array.shape[:3]) else array
    if image.ndim == 2:
        image = image[:, :, np.newaxis]
    if image.ndim == 3 and image.shape[2] in (1, channels) and min(image.shape[:2]) > 1:
        return np.repeat(image, channels // image.shape[2], axis=2).astype(np.float32)
    shape = "x".join(map(str, array.shape))
    problems.append(f"{name} is {shape}; expected {channels} values, or an image with as many channels")
    return None


def _input_range(
    fields: _Fields, average: np.ndarray | None, std: np.ndarray | None, notes: list[str]
) -> tuple[float, float]:
    """The pixel range of the mean and standard deviation: inputRange, else inferred from their values.

    For pixels 0..255, means are about 100 and standard deviations are tens; for pixels 0..1, both are below 1.
    """
    stated = fields.pair("inputRange", "the values of black and white")
    if stated is not None:
        low, high = (0.0, stated[1]) if stated[0] == stated[1] else stated
        if low >= high:
            fields.problems.append(f"inputRange is {stated}; expected (low, high) with low below high")
        return low, high
    largest = 0.0 if average is None else float(np.abs(average).max())
    if std is None or (std == 1).all():
        if 0 < largest <= 1:
            notes.append(
                f"the mean in meta.normalization is at most {largest:.4g}, as for pixels 0..1, but is subtracted from "
                "pixels 0..255 as the file states; to divide the pixels by 255, set inputRange = [0 1] in the file or "
                f"pass {in_words('input_range=(0, 1)', '--input-range 0 1')}"
            )
        return BYTES
    spread = float(std.max())
    if spread <= 1 and largest <= 1:
        notes.append("mean and standard deviation in meta.normalization are for pixels 0..1; pixels are divided by 255")
        return UNIT
    if spread > 1 and not 0 < largest <= 1:
        return BYTES
    fields.problems.append(
        f"the mean (up to {largest:.4g}) and the standard deviation (up to {spread:.4g}) are for different pixel "
        "ranges; "
        + in_words(
            "pass mean, std and input_range=(0, 1) or (0, 255)", "give --mean, --std and --input-range 0 1 or 0 255"
        )
    )
    return BYTES


def _ignored(found: Mapping[str, Any]) -> Iterator[str]:
    unknown = [name for name, value in found.items() if name not in KNOWN_FIELDS and _holds_anything(value)]
    if unknown:
        yield f"unknown fields of meta.normalization are ignored: {', '.join(unknown)}"
    for names in (MEAN_FIELDS, STD_FIELDS, COLOR_FIELDS):
        used, *rest = [name for name in names if _holds_anything(found.get(name))] or [""]
        differing = [name for name in rest if not _alike(found[used], found[name])]
        if differing:
            yield f"meta.normalization has {used} and {', '.join(differing)} with different values; using {used}"


def _holds_anything(value: Any) -> bool:
    if value is None or (isinstance(value, (str, list, dict)) and not value):
        return False
    return not (isinstance(value, np.ndarray) and value.size == 0)


def _alike(one: Any, other: Any) -> bool:
    first, second = text_of(one), text_of(other)
    if first is not None or second is not None:
        return first == second
    a, b = numbers(one), numbers(other)
    return len(a) == len(b) and bool(np.allclose(a, b, rtol=1e-6, atol=0))


def _crop_fraction(fields: _Fields, size: tuple[int, int]) -> tuple[float, float] | None:
    """cropSize, else imageSize / (imageSize + border), as in vl_simplenn_tidy."""
    fraction = fields.pair("cropSize", "fractions of the image's height and width")
    border = fields.pair("border", "pixels of height and width")
    if fraction is None and border is not None:
        sums = size[0] + border[0], size[1] + border[1]
        if min(sums) <= 0:
            fields.problems.append(f"border is {border}; expected less than the image size, {size[0]}x{size[1]}")
            return None
        fraction = size[0] / sums[0], size[1] / sums[1]
    if fraction is not None and min(fraction) <= 0:
        fields.problems.append(f"cropSize is {fraction}; expected fractions in (0, 1]")
        return None
    return fraction
