"""Preprocessing from decoded pixels to a network's input: resize, crop, mean, colour order."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from matnet.errors import DataError, ShapeError, in_words, nearest
from matnet.images import crop, resize, words
from matnet.images.crop import Box, Size
from matnet.images.decode import MAX_PIXELS, checked_pixels, decode_uint8, name_of, opened, with_channels
from matnet.images.opencv import opencv_crop, opencv_resize_float
from matnet.images.pillow import from_array, pillow_crop
from matnet.images.protocols import CAFFES, IMREADJPEG, IMRESIZE, PILLOW, PROTOCOLS, RESAMPLERS
from matnet.keywords import FACTOR, FLAG, TEXT, Kind, choice, faults, is_number, is_whole, pair, plain, unknown, whole
from matnet.meta import Normalization, normalization_of, read_normalization
from matnet.meta.normalization import BYTES, given_planes

if TYPE_CHECKING:
    from PIL.Image import Image

    from matnet.network import Network

KINDS = {
    "image_size": pair(is_whole, "(height, width), positive integers"),
    "channels": whole(),
    "scale": FACTOR,
    "color": choice("rgb", "bgr"),
    "resize": choice(*RESAMPLERS),
    "interpolation": TEXT,
    "keep_aspect": FLAG,
    "crop_fraction": pair(lambda part: is_number(part) and part > 0, "(height, width), the fractions to keep"),
    "protocol": TEXT,
    "crops": Kind(
        lambda value: is_whole(value) and value in (1, 10), "1 (centre) or 10 (corners and centre, mirrored)"
    ),
    "input_range": Kind(lambda value: _is_range(value), "the values of black and of white, (low, high)"),
    "exif": FLAG,
    "max_pixels": whole(),
}
"""The kinds of the fields of Preprocessing, except the arrays mean and std."""
READ_FROM_META = ("image_size", "channels", "mean", "std", "input_range")
"""Fields of Preprocessing that override values read from meta."""


@dataclass(frozen=True, eq=False, repr=False)
class Preprocessing:
    """The preprocessing of an image to a network's input: C x H x W float32, (pixels - mean) / std * scale.

    image_size: height and width of the input; channels: 1 (gray) or 3.
    input_range: pixels are first mapped to these values of black and white; (0, 255) leaves them unchanged.
    mean: None, one value, one value per channel, or an H x W x C image of the input size, in input_range; its order is
    R, G, B whatever `color` is. std: the divisor, of the same shapes; None: 1. scale: multiplies the result.
    color: `rgb`, or `bgr` for networks that take B, G, R.
    resize: `vl_imreadjpeg` crops the central region and resamples it to image_size; the others (`imresize`, `pillow`,
    `opencv`, `opencv-float`) resize the whole image to image_size / crop_fraction and crop its centre.
    keep_aspect: false resizes without keeping the aspect ratio. crop_fraction: the kept fractions of height and width.
    interpolation: bilinear, bicubic, box, lanczos2, lanczos3 or nearest, if the resampler supports it. An image that
    already has the right size is not interpolated.
    crops: 1 for the centre; 10 for the four corners, the centre and their mirror images, with averaged scores
    (Krizhevsky et al., NIPS 2012; pycaffe's oversample; MatConvNet's transformation f5). The corners are those of the
    whole resized image. Crops are mirrored before the mean is subtracted; the mean is not mirrored.
    exif: whether to apply the EXIF orientation, which the original software ignored. max_pixels: larger images are
    rejected. Raises DataError for inconsistent values.
    """

    image_size: Size
    channels: int = 3
    mean: Any = None
    scale: float = 1.0
    color: str = "rgb"
    resize: str = IMREADJPEG
    interpolation: str = "bicubic"
    keep_aspect: bool = True
    crop_fraction: tuple[float, float] = (1.0, 1.0)
    protocol: str = "custom"
    crops: int = 1
    std: Any = None
    input_range: tuple[float, float] = BYTES
    exif: bool = False
    max_pixels: int = MAX_PIXELS

    def __new__(cls, *_: Any, **given: Any) -> Preprocessing:
        _require(given)  # before Python's own error for unknown keywords
        return super().__new__(cls)

    def __post_init__(self) -> None:
        _require(vars(self))
        for name in KINDS:
            object.__setattr__(self, name, plain(getattr(self, name)))
        for name in ("mean", "std"):
            if getattr(self, name) is not None:
                planes = given_planes(name, getattr(self, name))
                object.__setattr__(self, name, np.repeat(planes, self.channels) if planes.size == 1 else planes)
        problems = list(self._problems())
        if problems:
            raise DataError(f"preprocessing: {'; '.join(problems)}")

    @classmethod
    def of(cls, net: Network, protocol: str = "meta", **overrides: Any) -> Preprocessing:
        """The preprocessing stated by a network's file, under one of PROTOCOLS.

        The size and the channels are those of the network's image input (matnet.meta). `overrides` are fields of this
        class that replace values from the file. A network that lists detections gets `whole` images. Raises
        DataError if the normalization is unusable, or missing without image_size or mean in `overrides`; it lists every
        such field and what to pass instead.
        """
        if not net.data_inputs():
            raise DataError(f"{net.source}: the network has no image input")
        _require({"protocol": protocol, **overrides})
        overrides = {name: plain(value) if name in KINDS else value for name, value in overrides.items()}
        try:
            found = cls._stated(normalization_of(net, **_read_from_meta(overrides)), protocol, overrides)
            return found.whole() if any(layer.op.lists_detections for layer in net.layers.values()) else found
        except DataError as error:
            raise DataError(f"{net.source}: {error}") from None

    @classmethod
    def from_meta(cls, meta: Any, protocol: str = "meta", **overrides: Any) -> Preprocessing:
        """As `of`, but from `meta` alone, without the network's first filters.

        Also raises DataError if neither meta nor `overrides` state the channels.
        """
        _require({"protocol": protocol, **overrides})
        overrides = {name: plain(value) if name in KINDS else value for name, value in overrides.items()}
        return cls._stated(read_normalization(meta, **_read_from_meta(overrides)), protocol, overrides)

    @classmethod
    def _stated(cls, stated: Normalization, protocol: str, overrides: dict[str, Any]) -> Preprocessing:
        if protocol not in PROTOCOLS:
            hint = nearest(protocol, PROTOCOLS)
            raise DataError(f"unknown protocol '{protocol}'{hint}; expected {', '.join(PROTOCOLS)}")
        fields: dict[str, Any] = {
            "image_size": stated.image_size,
            "channels": stated.channels,
            "input_range": stated.input_range,
            "scale": stated.scale,
            "color": stated.color if stated.channels > 1 else "rgb",
            **PROTOCOLS[protocol](stated),
            **overrides,
            "protocol": label_of(protocol, overrides),
        }
        covered = crop.covered_size(fields["image_size"], fields["crop_fraction"])
        for name, planes in (("mean", stated.average), ("std", stated.std)):
            if name not in overrides:
                fields[name] = fitted_mean(planes, fields["image_size"], covered, fields["resize"])
        return cls(**fields)

    def whole(self) -> Preprocessing:
        """The same without a crop, for detectors whose boxes are relative to the whole image.

        Source: Liu et al., SSD (ECCV 2016), whose code resizes images to the input size without keeping the aspect
        ratio. Raises DataError for a mean image or std image of cropped images.
        """
        if not self.keep_aspect and self.crop_fraction == (1.0, 1.0):
            return self
        if any(planes is not None and planes.ndim == 3 for planes in (self.mean, self.std)):
            raise DataError(
                "the mean image or std image is for cropped images, but a detector that lists boxes takes whole images"
                f"; give one value per channel with {in_words('mean=(R, G, B)', '--mean R G B')}"
            )
        return replace(self, keep_aspect=False, crop_fraction=(1.0, 1.0))

    @property
    def views(self) -> int:
        """The number of inputs per image, 1 or 10; the scores of an image are the mean over its views."""
        return self.crops

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape `apply` and `load` return for one image: C x H x W, or views x C x H x W if views > 1."""
        planes = (self.channels, *self.image_size)
        return planes if self.crops == 1 else (self.crops, *planes)

    def apply(self, image: Any, out: np.ndarray | None = None) -> np.ndarray:
        """An image as the network's float32 input, of `shape`: C x H x W, or views x C x H x W.

        image: H x W, H x W x 1 or H x W x 3, uint8 or float, RGB, 0..255; or any source that `load` accepts. The result
        is written to `out` if given. N images are a batch of N * views: `batch.reshape(N, *shape)`; their scores are
        `scores.reshape(N, views, ...).mean(axis=1)`. The order of the views is top left, top right, bottom left, bottom
        right, centre, and the mirror images of these. Raises ShapeError for other arrays.
        """
        if not isinstance(image, np.ndarray):
            return self.load(image, out)
        return self._views(self._placed(self._suited(checked_pixels(image))), out)

    def load(self, source: Any, out: np.ndarray | None = None) -> np.ndarray:
        """The result of `apply` for an image from a path, bytes, an open file, a Pillow image or an array.

        Raises DataError with the name of an unusable image.
        """
        if isinstance(source, np.ndarray):
            return self.apply(source, out)
        with opened(source, self.max_pixels, self.exif) as image:
            try:
                return self.put(image, out)
            except (DataError, ShapeError) as error:
                raise DataError(f"{name_of(source)}: {error}") from None

    def put(self, image: Image, out: np.ndarray | None = None) -> np.ndarray:
        """As `apply`, for a Pillow image of mode L or RGB, as from `decode.opened`."""
        # Pillow resizes the decoded image directly; arrays would need two more copies.
        if self.resize == PILLOW and (image.mode == "L" or self.channels == 3):
            return self._views(self._placed_by_pillow(image), out)
        return self._views(self._placed(self._suited(np.atleast_3d(np.asarray(image)))), out)

    def native(self, path: str | os.PathLike[str]) -> np.ndarray:
        """An image file at its own size, 1 x C x H x W float32, for networks that take any size (FCN).

        The image is not resized or cropped; mean, scale and colour order are applied. A mean image applies only to
        images of its size. Raises DataError for an unusable file or a mean of another size.
        """
        pixels = decode_uint8(path, self.channels, self.max_pixels, self.exif)
        mean = self.mean
        if mean is not None and mean.ndim == 3 and mean.shape[:2] != pixels.shape[:2]:
            raise DataError(
                f"{path}: the image is {pixels.shape[0]}x{pixels.shape[1]}, but the mean is an image of "
                f"{mean.shape[0]}x{mean.shape[1]}; for images at their own size use a colour: mean=(R, G, B)"
            )
        planes = np.empty((1, self.channels, *pixels.shape[:2]), np.float32)
        self._write(pixels, planes[0])
        return planes

    def within(self, source: Any, shorter: int, longest: int) -> tuple[np.ndarray, float, Size]:
        """An image resized for a detector: 1 x C x H x W float32, the factor, and the image's height and width.

        The shorter side becomes `shorter` pixels, unless the longer side would exceed `longest`. Takes the sources of
        `load`. Resizes with OpenCV if `resize` says so, as in Fast R-CNN; else with MATLAB's imresize without
        antialiasing, as in MatConvNet. Mean, scale and colour order are applied. Raises DataError like `native`.
        """
        if isinstance(source, np.ndarray):
            pixels = with_channels(checked_pixels(source), self.channels)
        else:
            pixels = decode_uint8(source, self.channels, self.max_pixels, self.exif)
        size: Size = pixels.shape[:2]
        factor = shorter / min(size)
        if round(factor * max(size)) > longest:
            factor = longest / max(size)
        if self.resize in ("opencv", "opencv-float"):
            scaled = opencv_resize_float(pixels, (round(factor * size[0]), round(factor * size[1])), factor=factor)
        else:
            single = pixels.astype(np.float32)
            scaled = resize.imresize(single, scale=factor, method=self.interpolation, antialias=False)
        planes = np.empty((1, self.channels, *scaled.shape[:2]), np.float32)
        self._write(scaled, planes[0])
        return planes, factor, size

    def _suited(self, image: np.ndarray) -> np.ndarray:
        """H x W x C pixels with the network's channels; gray pixels are replicated only in `_write`."""
        return with_channels(image, 1 if image.ndim == 2 or image.shape[2:] == (1,) else self.channels)

    def _views(self, placed: Sequence[np.ndarray], out: np.ndarray | None) -> np.ndarray:
        """The centre crop, or five crops and their mirror images, as float32 planes."""
        planes = np.empty(self.shape, np.float32) if out is None else out
        if self.crops == 1:
            return self._write(placed[0], planes)
        for place, view in enumerate([*placed, *(view[:, ::-1] for view in placed)]):
            self._write(view, planes[place])
        return planes

    def _write(self, pixels: np.ndarray, planes: np.ndarray) -> np.ndarray:
        """Writes H x W x C pixels to C x H x W `planes`: colour order, range, mean, standard deviation, scale."""
        ordered = planes[::-1] if self.color == "bgr" else planes
        ordered[...] = pixels.transpose(2, 0, 1)
        if tuple(self.input_range) != BYTES:
            low, high = self.input_range
            ordered *= np.float32(high - low)  # the division comes second, for bit-identical results
            ordered /= np.float32(BYTES[1])
            ordered += np.float32(low)
        if self._mean_planes is not None:
            ordered -= self._mean_planes
        if self._std_planes is not None:
            ordered /= self._std_planes
        if self.scale != 1:
            planes *= np.float32(self.scale)
        return planes

    def steps(self) -> list[str]:
        """The steps of the preprocessing in words."""
        return words.steps(self)

    def __repr__(self) -> str:
        lines = [f"  {number}. {step}" for number, step in enumerate(self.steps(), start=1)]
        return "\n".join([f"<Preprocessing ({self.protocol}):", *lines]) + ">"

    def _repr_html_(self) -> str:
        from html import escape

        items = "".join(f"<li>{escape(step)}</li>" for step in self.steps())
        return f"<div><b>Preprocessing</b> ({escape(self.protocol)})<ol>{items}</ol></div>"

    def describe(self) -> str:
        """The preprocessing in one readable line."""
        return words.line(self)

    def describe_sized(self, sized: str) -> str:
        """The same for images resized by another rule, described by `sized`."""
        return words.sized_line(self, sized)

    @cached_property
    def _mean_planes(self) -> np.ndarray | None:
        return _channels_first(self.mean)

    @cached_property
    def _std_planes(self) -> np.ndarray | None:
        return _channels_first(self.std)

    def _placed(self, image: np.ndarray) -> list[np.ndarray]:
        """The image resized and cropped to H x W x C of the input's size: the centre, or five crops."""
        size: Size = image.shape[:2]
        if self.resize == IMREADJPEG:
            box = crop.imreadjpeg_box(size, self.image_size, self.crop_fraction, self.keep_aspect)
            boxes = self._boxes(size, (box.height, box.width))
            return [resize.imreadjpeg_resample(image, box, self.image_size, self.interpolation) for box in boxes]
        scaled, factors = self._scaled(size)
        if self.resize == IMRESIZE:
            return self._cut(scaled, lambda box: resize.imresize_crop(image, factors, box, self.interpolation))
        if scaled == size:
            return self._cut(scaled, lambda box: box.cut(image))
        if self.resize == PILLOW:
            return self._placed_by_pillow(from_array(image))
        if self.resize == "opencv":
            return self._cut(scaled, lambda box: opencv_crop(image, scaled, box, self.interpolation))
        resized = opencv_resize_float(image, scaled, self.interpolation)
        return self._cut(scaled, lambda box: box.cut(resized))

    def _placed_by_pillow(self, image: Image) -> list[np.ndarray]:
        scaled, _ = self._scaled((image.height, image.width))
        return self._cut(scaled, lambda box: pillow_crop(image, scaled, box, self.interpolation))

    def _cut(self, size: Size, part: Callable[[Box], np.ndarray]) -> list[np.ndarray]:
        """The crops of an image of `size`; `part` returns the pixels of a box."""
        boxes = self._boxes(size, self.image_size)
        if len(boxes) == 1:
            return [part(boxes[0])]
        whole = part(Box(0, 0, *size))
        return [box.cut(whole) for box in boxes]

    def _scaled(self, size: Size) -> tuple[Size, tuple[float, float]]:
        """The size of the whole resized image, and the factors; DataError if it is too large."""
        covered = crop.covered_size(self.image_size, self.crop_fraction)
        factors = crop.scale_factors(size, covered, self.keep_aspect)
        scaled = crop.scaled_size(size, factors)
        if scaled[0] * scaled[1] > MAX_PIXELS:
            raise DataError(
                f"the image of {size[0]}x{size[1]} would be resized to {scaled[0]}x{scaled[1]}, "
                f"more than {MAX_PIXELS:,} pixels; crop it first"
            )
        return scaled, factors

    def _boxes(self, image: Size, size: Size) -> list[Box]:
        """The boxes of the crops of `size` in an image."""
        return [crop.centre_box(image, size)] if self.crops == 1 else crop.five_boxes(image, size)

    def _problems(self) -> Iterator[str]:
        if np.prod(self.image_size) > MAX_PIXELS:
            yield f"image_size is {self.image_size}; expected (height, width) of at most {MAX_PIXELS:,} pixels"
        if self.channels not in (1, 3):
            yield f"the network takes {self.channels} channels; images have 1 (gray) or 3"
        else:
            for what, planes in (("mean", self.mean), ("standard deviation", self.std)):
                if planes is not None and planes.shape not in ((self.channels,), (*self.image_size, self.channels)):
                    expected = f"({self.channels},) or {(*self.image_size, self.channels)}"
                    yield f"the {what} has shape {planes.shape}; expected {expected}"
        if self.std is not None and not (self.std > 0).all():
            yield "the standard deviation contains values <= 0"
        if self.color == "bgr" and self.channels == 1:
            yield "color is 'bgr' for one gray channel; expected 'rgb'"
        if max(self.crop_fraction) > 1 and self.resize != IMREADJPEG:
            yield f"crop_fraction is {self.crop_fraction}; expected fractions in (0, 1]"
        resize.kernel_named(self.interpolation)


def _require(values: Mapping[str, Any]) -> None:
    """Raises DataError for unknown or invalid fields of Preprocessing."""
    own = list(Preprocessing.__dataclass_fields__)
    wrong = [*unknown((name for name in values if not name.startswith("_")), own), *faults(values, KINDS)]
    if wrong:
        raise DataError(f"preprocessing: {'; '.join(wrong)}")


def label_of(protocol: str, given: Iterable[str]) -> str:
    """A protocol's name, with the fields that replace what the file states."""
    replaced = [name.replace("_", " ") for name in given if name not in ("protocol", "crops", "exif", "max_pixels")]
    return f"{protocol}, given {' and '.join(replaced)}" if replaced else protocol


def _is_range(value: Any) -> bool:
    """Whether the value is two increasing numbers."""
    return pair(is_number, "").accepts(value) and value[0] < value[1]


def _channels_first(planes: np.ndarray | None) -> np.ndarray | None:
    """A colour or an H x W x C image as C x 1 x 1 or C x H x W."""
    if planes is None:
        return None
    image = planes if planes.ndim == 3 else planes.reshape(1, 1, -1)
    return np.ascontiguousarray(image.transpose(2, 0, 1))


def _read_from_meta(overrides: dict[str, Any]) -> dict[str, Any]:
    return {name: overrides[name] for name in READ_FROM_META if overrides.get(name) is not None}


def fitted_mean(average: np.ndarray | None, image_size: Size, covered: Size, resampler: str) -> np.ndarray | None:
    """A mean colour unchanged, or a mean image at the input size.

    A mean image of the size of the whole resized image is cropped to its centre for Caffe's resamplers, because Caffe
    subtracts before cropping. Otherwise it is resized by bicubic imresize, as in cnn_imagenet_evaluate.
    """
    if average is None or average.ndim == 1 or average.shape[:2] == image_size:
        return average
    if resampler in CAFFES and average.shape[:2] == covered:
        return crop.centre_box(covered, image_size).cut(average)
    return resize.imresize(average, size=image_size)
