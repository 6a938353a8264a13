"""`meta.normalization`, `meta.inputs` and `meta.classes` of a converted network."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from matnet.converters.files.message import Message
from matnet.converters.graph.inputs import NO_IMAGES, cropped_size, resized_size
from matnet.converters.means import fitted_mean, given_values
from matnet.converters.options import ORDERS, ConversionOptions
from matnet.errors import DataError, FileFormatError, NetworkError, in_words
from matnet.files import existing_file
from matnet.formats.mat.values import Cell, StructArray, row
from matnet.network import Network
from matnet.shapes import Shape, text

USUAL_SIZE = 256
"""The size of Caffe's ImageNet images before cropping."""
SMALL = 128
"""Inputs up to this size are assumed to be whole images (MNIST, CIFAR), not crops."""


def inputs_struct(net: Network) -> Any:
    """`meta.inputs`: name and [H W C N] of every input of known size."""
    entries = [
        {"name": name, "size": row([h, w, c, n])}
        for name, (n, c, h, w) in net.input_shapes.items()
        if name in net.inputs
    ]
    return entries[0] if len(entries) == 1 else StructArray(entries, fields=("name", "size"))


def normalization_struct(
    net: Network, source: Message, shape: Shape, options: ConversionOptions, mean: np.ndarray | None
) -> dict[str, Any]:
    """`meta.normalization` for an image input of `shape` (N x C x H x W); `mean` is C x H x W in R, G, B order.

    source: the Input or data layer of the image.

    The fields are those of MatConvNet's importer, with sizes as height, width; scale: the factor of pixels after the
    mean is subtracted; resize: the resampler (see images.Preprocessing). Decisions are added to the network's notes.
    """
    _, channels, height, width = shape
    notes = net.source.notes
    transform = source.get("transform_param")
    average = _average(transform, channels, (height, width), options, mean, notes)
    factor = options.scale if options.scale is not None else float(transform.get("scale"))
    full = _full_size(source, (height, width), options, mean)
    squashed = options.preprocessing in ("squash", "caffe")
    struct: dict[str, Any] = {
        "imageSize": row([height, width, channels]),
        # Zeros rather than [], from which MATLAB's bsxfun(@minus, image, average) cannot subtract.
        "averageImage": np.zeros((1, 1, channels), np.float32) if average is None else average,
        "interpolation": "bicubic" if options.preprocessing == "caffe" else "bilinear",
        "keepAspect": np.array([[not squashed]]),
        **_border(full, (height, width)),
    }
    if options.preprocessing == "squash":  # Caffe's images are usually resized bilinearly beforehand
        struct["resize"] = "pillow"
    if factor != 1:
        struct["scale"] = row([factor])
    mode = transform.get("resize_param").get("resize_mode")
    if mode != "WARP":
        notes.append(f"resize_mode {mode} of the data layer is not applied: with it, images keep their aspect ratio")
    fate = "squashed" if squashed else "aspect ratio kept"
    notes.append(
        f"images: resized to {text(full) if len(full) > 1 else f'a shorter side of {full[0]}'} ({fate}), "
        f"centre {height}x{width}, {_mean_text(average)}{f', times {factor:g}' if factor != 1 else ''}"
    )
    return struct


def _average(
    transform: Message,
    channels: int,
    size: tuple[int, int],
    options: ConversionOptions,
    mean: np.ndarray | None,
    notes: list[str],
) -> np.ndarray | None:
    if mean is not None:
        if options.color_format == "bgr" and len(mean) == 3 and mean[0].mean() < mean[2].mean():
            option = in_words("color_format='rgb'", "--color-format rgb")
            notes.append(
                f"the mean is bluer than photographs: if the Caffe net takes R, G, B (as with CIFAR), use {option}"
            )
        return fitted_mean(mean, channels, size, options.mean_treatment, options.mean)
    values = given_values(options, transform, channels)
    if values is not None:
        return fitted_mean(values, channels, size, "crop", "mean values")
    if transform.get("mean_file"):
        named, option = transform.get("mean_file"), in_words("mean=", "--mean")
        notes.append(f"the prototxt names the mean file {named!r}; give it with {option}, or no mean is subtracted")
    return None


def _mean_text(average: np.ndarray | None) -> str:
    if average is None:
        return "no mean"
    values = ", ".join(f"{value:.6g}" for value in average.reshape(-1, average.shape[2]).mean(axis=0, dtype=np.float64))
    kind = "mean" if average.shape[:2] == (1, 1) else "mean image averaging"
    return f"minus {kind} ({values})"


def _full_size(
    source: Message, size: tuple[int, int], options: ConversionOptions, mean: np.ndarray | None
) -> tuple[int, ...]:
    """The size of a whole image before cropping: (height, width), or one number for the shorter side.

    By default that of the mean image, because Caffe subtracts it before cropping; else the input size for small inputs
    and for data layers that do not crop; else the size to which the data layer resizes; else 256 x 256.
    """
    if options.full_image_size is not None:
        given = tuple(int(number) for number in options.full_image_size)
        if len(given) not in (1, 2) or min(given) < 1:
            raise NetworkError(f"full_image_size is {list(given)}; expected one or two numbers of at least 1")
        rows, columns = size if options.transpose else size[::-1]  # of the image, as the size is given
        if given[0] < min(size) if len(given) == 1 else given[0] < rows or given[1] < columns:
            raise NetworkError(
                f"{in_words('full_image_size', '--full-image-size')} is {'x'.join(map(str, given))}, too small for a "
                f"crop of the input size {rows}x{columns}; give at least that size"
            )
        return given if options.transpose else given[::-1]
    if mean is not None and mean.shape[1:] != (1, 1):
        return max(mean.shape[1], size[0]), max(mean.shape[2], size[1])
    reads_images = source.get("type") not in (*NO_IMAGES, "Python")
    if reads_images and cropped_size(source) is None:
        return size
    stated = resized_size(source)
    usual = size if min(size) <= SMALL else (USUAL_SIZE, USUAL_SIZE)
    resized = usual if stated is None else stated if options.transpose else stated[::-1]
    return max(resized[0], size[0]), max(resized[1], size[1])


def _border(full: tuple[int, ...], size: tuple[int, int]) -> dict[str, np.ndarray]:
    """border and cropSize as in MatConvNet's importer: one number each for a full size of one number."""
    height, width = max(full[0], size[0]), max(full[-1], size[1])
    if len(full) == 1:
        return {
            "border": row([max(height - size[0], width - size[1])]),
            "cropSize": row([min(size[0] / height, size[1] / width)]),
        }
    return {"border": row([height - size[0], width - size[1]]), "cropSize": row([size[0] / height, size[1] / width])}


# -- classes ----------------------------------------------------------------------------------------


def classes_struct(net: Network, options: ConversionOptions, sizes: dict[str, Shape]) -> dict[str, Any] | None:
    """`meta.classes`: name and description cells in output order; None if no classes are given.

    Raises DataError if no output has as many channels as there are classes.
    """
    order = options.class_names if options.labels is None else str(options.labels)
    if order in ORDERS and (options.labels is None or not Path(order).is_file()):
        names, descriptions = _imagenet(str(order))
    elif options.labels is not None:
        names, descriptions = read_labels(options.labels)
    elif options.class_names is not None:
        names = descriptions = list(options.class_names)
    else:
        return None
    counts = {name: sizes[name][1] for name in net.outputs if name in sizes}
    if len(counts) == len(net.outputs) and len(names) not in counts.values():
        outputs = ", ".join(f"{name!r} has {count}" for name, count in counts.items())
        where = f"{options.labels}: " if options.labels is not None else ""
        raise DataError(
            f"{where}{len(names)} classes given, but no output has as many channels: {outputs}; give one per channel"
        )
    return {"name": Cell(names), "description": Cell(descriptions)}


def _imagenet(order: str) -> tuple[list[str], list[str]]:
    """The WordNet ids and names of ILSVRC-2012's classes in one of `ORDERS`."""
    from matnet.datasets.ilsvrc2012 import in_devkit_order, synsets

    found = in_devkit_order() if order == "devkit" else synsets()
    return [synset.wnid for synset in found], [synset.names for synset in found]


def read_labels(path: Any) -> tuple[list[str], list[str]]:
    """Names and descriptions from a file with one class per line: `n01440764 tench, Tinca tinca`, or just words.

    Without WordNet ids, the whole line is both. If all lines end with numbers that count from 0 or 1 (`/a/abbey 0`, as
    in the Places models), the numbers give the order. Raises FileFormatError for a file that is not text or is empty.
    """
    file: Path = existing_file(path, "label file")
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise FileFormatError(f"{file}: not a text file; expected one class per line") from None
    while lines and not lines[-1].strip():
        lines.pop()
    if not lines:
        raise FileFormatError(f"{file}: empty; expected one class per line")
    pairs = [_label(line) for line in _in_numbered_order([line.strip() for line in lines])]
    return [name for name, _ in pairs], [description for _, description in pairs]


def _in_numbered_order(lines: list[str]) -> list[str]:
    """The lines sorted by their final numbers, without these numbers.

    Unchanged if some line has no number, or if only the numbers distinguish the lines (`digit 0`, `digit 1`).
    """
    found = [re.fullmatch(r"(.*\S)\s+(\d{1,9})", line) for line in lines]
    numbered = {int(match[2]): match[1] for match in found if match}
    counted = set(numbered) in (set(range(len(lines))), set(range(1, len(lines) + 1)))
    if len(lines) < 2 or not counted or len(set(numbered.values())) < len(lines):
        return lines
    return [numbered[number] for number in sorted(numbered)]


def _label(line: str) -> tuple[str, str]:
    match = re.fullmatch(r"(n\d{8})\s+(.+)", line)
    return (match[1], match[2]) if match else (line, line)


def image_shape(net: Network, variable: str | None, declared: Sequence[int] | None) -> Shape | None:
    """The N x C x H x W of an image input with one or three channels; None if none has a known size."""
    if variable is None or declared is None or len(declared) != 4 or declared[1] not in (1, 3):
        return None
    return declared[0], declared[1], declared[2], declared[3]
