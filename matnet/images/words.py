"""Describes a preprocessing in words: as steps, and in one line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from matnet.images import crop
from matnet.images.protocols import IMREADJPEG
from matnet.meta.normalization import BYTES

if TYPE_CHECKING:
    from matnet.images.prepare import Preprocessing


def steps(prepared: Preprocessing) -> list[str]:
    """As `Preprocessing.steps`."""
    height, width = prepared.image_size
    colours = "gray" if prepared.channels == 1 else "RGB"
    turned = "EXIF orientation applied" if prepared.exif else "EXIF orientation ignored"
    found = [f"read as {colours}, values 0..255, {turned}"]
    aspect = "keeping the aspect ratio" if prepared.keep_aspect else "without keeping the aspect ratio"
    rows, columns = prepared.crop_fraction
    if prepared.resize == IMREADJPEG:
        part = "whole" if rows == columns == 1 else f"central {100 * rows:.4g}%"
        found.append(f"take the {part} of the image, {aspect}")
        found.append(f"resize it to {height}x{width} ({prepared.resize}, {prepared.interpolation})")
    else:
        full = crop.covered_size(prepared.image_size, prepared.crop_fraction)
        found.append(f"resize to {full[0]}x{full[1]}, {aspect} ({prepared.resize}, {prepared.interpolation})")
        if full != tuple(prepared.image_size):
            found.append(f"crop the central {height}x{width}")
    if prepared.crops != 1:
        found.append("repeat for the four corners, the centre and their mirror images")
    if tuple(prepared.input_range) != BYTES:
        found.append("map 0..255 to {:g}..{:g}".format(*prepared.input_range))
    if prepared.mean is not None:
        found.append(_planes_text(prepared, "subtract the mean", prepared.mean))
    if prepared.std is not None:
        found.append(_planes_text(prepared, "divide by the standard deviation", prepared.std))
    if prepared.scale != 1:
        found.append(f"multiply by {prepared.scale:.6g}")
    order = "one gray plane" if prepared.channels == 1 else ", ".join(prepared.color.upper())
    found.append(f"channels first: {prepared.channels} x {height} x {width} ({order}), float32")
    return found


def line(prepared: Preprocessing) -> str:
    """As `Preprocessing.describe`."""
    height, width = prepared.image_size
    aspect = "aspect kept" if prepared.keep_aspect else "squashed"
    if prepared.resize == IMREADJPEG:
        rows, columns = (f"{100 * part:.4g}%" for part in prepared.crop_fraction)
        part = rows if rows == columns else f"{rows} x {columns}"
        which = "central" if prepared.crops == 1 else "ten crops of"
        way = f"{which} {part} ({aspect}), {prepared.resize} {prepared.interpolation}"
    else:
        covered = crop.covered_size(prepared.image_size, prepared.crop_fraction)
        which = "centre crop" if prepared.crops == 1 else "ten crops"
        way = f"{prepared.resize} {prepared.interpolation} to {covered[0]}x{covered[1]} ({aspect}), {which}"
    return f"{', '.join([f'{height}x{width} {_colour(prepared)}', way, *_values(prepared)])} [{prepared.protocol}]"


def sized_line(prepared: Preprocessing, sized: str) -> str:
    """As `Preprocessing.describe_sized`."""
    return ", ".join([sized, _colour(prepared), *_values(prepared)])


def _colour(prepared: Preprocessing) -> str:
    return "gray" if prepared.channels == 1 else prepared.color.upper()


def _values(prepared: Preprocessing) -> list[str]:
    """The operations on pixel values, in order."""
    steps = []
    if tuple(prepared.input_range) != BYTES:
        steps.append("pixels from {:g} to {:g}".format(*prepared.input_range))
    steps.append("no mean" if prepared.mean is None else _planes_text(prepared, "minus mean", prepared.mean))
    if prepared.std is not None:
        steps.append(_planes_text(prepared, "divided by", prepared.std))
    if prepared.scale != 1:
        steps.append(f"times {prepared.scale:.6g}")
    if prepared.exif:
        steps.append("EXIF orientation applied")
    return steps


def _planes_text(prepared: Preprocessing, what: str, planes: np.ndarray) -> str:
    average = planes.reshape(-1, prepared.channels).mean(axis=0, dtype=np.float64)
    values = ", ".join(f"{value:.6g}" for value in average)
    return f"{what} {'image averaging ' if planes.ndim == 3 else ''}({values})"
