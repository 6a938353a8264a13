"""The usual errors in preprocessing, each as the change that corrects it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from matnet.errors import DataError, program
from matnet.images import Preprocessing

KNOBS = ("channel order", "mean", "scale", "transposed", "resize rule", "interpolation", "crop")
IMAGENET_MEAN = (123.68, 116.779, 103.939)
"""The mean colour of ILSVRC-2012, R, G, B (VGG; Caffe's imagenet_mean averages 122.7, 116.7, 104.0)."""
IMAGENET_UNIT = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Mean and standard deviation of pixels 0..1, R, G, B (torchvision, fb.resnet.torch)."""
BYTES = (0.0, 255.0)
ALIKE = 4.0
"""Means that differ by less (in levels of 0..255) count as equal."""


@dataclass(frozen=True)
class Preparation:
    """The preprocessing of a trial. transposed: whether rows and columns of pixels are exchanged first."""

    preprocessing: Preprocessing
    transposed: bool = False


@dataclass(frozen=True)
class ImageChange:
    """One change of the preprocessing. knob: one of KNOBS. what: its description. remedy: how to make it permanent."""

    knob: str
    what: str
    variant: Preparation
    remedy: str


def image_changes(
    base: Preprocessing, knobs: Sequence[str] = KNOBS, colour: np.ndarray | None = None, color_format: str | None = None
) -> list[ImageChange]:
    """The changes of these knobs that differ from `base`. colour: the mean of the given images.

    color_format: the one that the conversion of the Caffe files did not use; None for other networks.
    """
    makers = {
        "channel order": _channel_order(base, color_format),
        "mean": _means(base, colour),
        "scale": _scales(base),
        "transposed": _transposed(base),
        "resize rule": _resize_rules(base),
        "interpolation": _kernels(base),
        "crop": _crops(base),
    }
    return [change for knob, changes in makers.items() if knob in knobs for change in changes]


def _change(
    base: Preprocessing, knob: str, what: str, remedy: str, transposed: bool = False, **fields: Any
) -> Iterator[ImageChange]:
    """The change; nothing if the fields do not fit together (a kernel that a resampler lacks)."""
    try:
        prepared = replace(base, protocol="custom", **fields)
    except DataError:
        return
    yield ImageChange(knob, what, Preparation(prepared, transposed), remedy)


def in_python(**fields: object) -> str:
    """The Python call for a preprocessing with these fields."""
    return f"Preprocessing.of(net, {', '.join(f'{name}={value!r}' for name, value in fields.items())})"


def _channel_order(base: Preprocessing, color_format: str | None) -> Iterator[ImageChange]:
    if base.channels == 3:
        other = "bgr" if base.color == "rgb" else "rgb"
        order = ", ".join(other.upper())
        remedy = f"--color {other}"
        yield from _change(base, "channel order", f"the network takes {order}", remedy, color=other)
        colour = None if base.mean is None else base.mean.reshape(-1, 3).mean(axis=0)
        if colour is not None and abs(colour[0] - colour[2]) >= 1e-3:
            shown = " ".join(f"{value:.5g}" for value in colour[::-1])
            words = f"the network takes {order}, and the mean has the opposite colour order too"
            remedy += f" --mean {shown}"
            if other == "bgr" and color_format:
                remedy += f"; or convert the Caffe files with `{program('convert')} ... --color-format {color_format}`"
            yield from _change(base, "channel order", words, remedy, color=other, mean=base.mean[..., ::-1].copy())


def _means(base: Preprocessing, colour: np.ndarray | None) -> Iterator[ImageChange]:
    """No mean, the mean in the opposite colour order, ImageNet's mean, 255 times the mean, the given images' mean."""
    mean = None if base.mean is None else base.mean.reshape(-1, base.channels).mean(axis=0)
    unit = np.asarray(base.input_range) / BYTES[1]
    white = unit[1] - unit[0]
    tried: list[np.ndarray] = [np.zeros(base.channels) if mean is None else mean]

    def new(colour: np.ndarray) -> bool:
        if any(np.abs(colour - known).max() < ALIKE * white for known in tried):
            return False
        tried.append(colour)
        return True

    if mean is not None and new(np.zeros(base.channels)):
        yield from _change(base, "mean", "no mean", f"--mean {' '.join(['0'] * base.channels)}", mean=None)
    if mean is not None and base.channels == 3 and new(mean[::-1]):
        flipped = base.mean[..., ::-1].copy()
        shown = " ".join(f"{value:.5g}" for value in mean[::-1])
        yield from _change(base, "mean", "the mean in the opposite colour order", f"--mean {shown}", mean=flipped)
    usual = np.asarray(IMAGENET_MEAN if base.channels == 3 else (np.mean(IMAGENET_MEAN),)) * white + unit[0]
    if new(usual):
        shown = " ".join(f"{value:.5g}" for value in usual)
        what = "the mean colour of ImageNet" if base.channels == 3 else "the mean grey of ImageNet"
        yield from _change(base, "mean", what, f"--mean {shown}", mean=usual.astype(np.float32))
    if mean is not None and white == 1 and 0 < np.abs(mean).max() <= 1:
        scaled = base.mean * BYTES[1]
        shown = " ".join(f"{value:.5g}" for value in mean * BYTES[1])
        yield from _change(base, "mean", "255 times the mean", f"--mean {shown}", mean=scaled)
    if colour is not None and new(colour):
        shown = " ".join(f"{value:.4g}" for value in colour)
        yield from _change(base, "mean", "the mean of these images", f"--mean {shown}", mean=colour.astype(np.float32))


def _scales(base: Preprocessing) -> Iterator[ImageChange]:
    """Pixels of 0..1 instead of 0..255, and the reverse; the mean is scaled with the pixels."""
    for factor, words in ((1 / 255, "1/255 of the values"), (255.0, "255 times the values")):
        scale = base.scale * factor
        yield from _change(base, "scale", words, f"--scale {scale:.6g}", scale=scale)
    for factor, words in ((1 / 128, "1/128 of the values, about -1..1"), (128.0, "128 times the values")):
        scale = base.scale * factor
        if 0.9 < scale < 1.1:
            yield from _change(base, "scale", words, f"--scale {scale:.6g}", scale=scale)
    if base.std is None and base.channels == 3 and base.scale == 1:
        mean, std = (np.asarray(values, np.float32) for values in IMAGENET_UNIT)
        words = "pixels 0..1, the mean and standard deviation of ImageNet"
        remedy = "--input-range 0 1 --mean 0.485 0.456 0.406 --std 0.229 0.224 0.225"
        yield from _change(base, "scale", words, remedy, input_range=(0.0, 1.0), mean=mean, std=std)


def _transposed(base: Preprocessing) -> Iterator[ImageChange]:
    remedy = "--write FIXED.mat, which transposes the network; or a conversion without --no-transpose"
    yield from _change(base, "transposed", "rows and columns of the images exchanged", remedy, transposed=True)


def _resize_rules(base: Preprocessing) -> Iterator[ImageChange]:
    aspect = not base.keep_aspect
    words = "keep the aspect ratio" if aspect else "do not keep the aspect ratio (squash)"
    yield from _change(base, "resize rule", words, in_python(keep_aspect=aspect), keep_aspect=aspect)
    for resampler, hint in (("vl_imreadjpeg", "--protocol published"), ("opencv", "--protocol caffe")):
        if resampler == base.resize or (resampler == "opencv" and base.resize in ("pillow", "opencv-float")):
            continue
        fields: dict[str, Any] = {"resize": resampler}
        if resampler == "opencv" and base.interpolation not in ("bilinear", "bicubic", "nearest"):
            fields["interpolation"] = "bilinear"
        yield from _change(
            base, "resize rule", f"resample like {resampler}", f"--resize {resampler}, or {hint}", **fields
        )


def _kernels(base: Preprocessing) -> Iterator[ImageChange]:
    for kernel in ("bilinear", "bicubic", "nearest"):
        if kernel != base.interpolation:
            remedy = in_python(interpolation=kernel)
            yield from _change(base, "interpolation", kernel, remedy, interpolation=kernel)


def _crops(base: Preprocessing) -> Iterator[ImageChange]:
    height, width = base.image_size
    usual = [(1.0, 1.0), (height / 256, width / 256), (0.875, 0.875)]
    tried = [base.crop_fraction]
    for fraction in usual:
        distances = [max(abs(a - b) for a, b in zip(fraction, known, strict=True)) for known in tried]
        if max(fraction) > 1 or min(fraction) < 0.5 or min(distances) < 0.03:
            continue
        tried.append(fraction)
        rounded = tuple(round(part, 6) for part in fraction)
        words = "the whole image" if min(fraction) == 1 else f"the central {100 * fraction[0]:.4g} % of the image"
        yield from _change(base, "crop", words, in_python(crop_fraction=rounded), crop_fraction=fraction)
