"""Preprocessing protocols for evaluation: older and newer MatConvNet, Caffe, and the file's own settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from matnet.meta import Normalization

IMREADJPEG = "vl_imreadjpeg"
IMRESIZE = "imresize"
PILLOW = "pillow"
CAFFES = (PILLOW, "opencv", "opencv-float")
"""Caffe's resamplers for whole images, bilinear by default."""

RESAMPLERS = (IMREADJPEG, IMRESIZE, *CAFFES)


def _meta_protocol(stated: Normalization) -> dict[str, Any]:
    """As stated in the file; by default bicubic, with the aspect ratio kept and no border."""
    bilinear = stated.resize in CAFFES
    return {
        "resize": stated.resize or IMREADJPEG,
        "interpolation": stated.interpolation or ("bilinear" if bilinear else "bicubic"),
        "keep_aspect": stated.keep_aspect is not False,
        "crop_fraction": stated.crop_fraction or (1.0, 1.0),
    }


def _published_protocol(stated: Normalization) -> dict[str, Any]:
    """cnn_imagenet_evaluate since beta21: always bicubic and crop max(imageSize) / 256."""
    return {
        "resize": IMREADJPEG,
        "interpolation": "bicubic",
        "keep_aspect": stated.keep_aspect is not False,
        "crop_fraction": (max(stated.image_size) / 256,) * 2,
    }


def _legacy_protocol(stated: Normalization) -> dict[str, Any]:
    """cnn_imagenet_get_batch up to beta20, with the file's border (default: 29 pixels)."""
    height, width = stated.image_size
    return {
        "resize": IMRESIZE,
        "interpolation": stated.interpolation or "bilinear",
        "keep_aspect": stated.keep_aspect is not False,
        "crop_fraction": stated.crop_fraction or (height / (height + 29), width / (width + 29)),
    }


def _published_2016_protocol(stated: Normalization) -> dict[str, Any]:
    """cnn_imagenet_evaluate of beta16 to beta20: as legacy, but with a border of 256 - imageSize."""
    height, width = stated.image_size
    return {**_legacy_protocol(stated), "crop_fraction": (height / 256, width / 256)}


def _caffe_protocol(stated: Normalization) -> dict[str, Any]:
    """convert_imageset and Caffe's data layer: resize to a fixed size by OpenCV (or `resize`), centre crop."""
    return {
        "resize": stated.resize or "opencv",
        "interpolation": (stated.interpolation if stated.resize else None) or "bilinear",
        "keep_aspect": stated.keep_aspect is True,
        "crop_fraction": stated.crop_fraction or (1.0, 1.0),
    }


PROTOCOLS: dict[str, Callable[[Normalization], dict[str, Any]]] = {
    "meta": _meta_protocol,
    "published": _published_protocol,
    "published-2016": _published_2016_protocol,
    "legacy": _legacy_protocol,
    "caffe": _caffe_protocol,
}
"""Evaluation protocols by name: a function from the file's normalization to fields of Preprocessing."""


@dataclass(frozen=True)
class Measured:
    """How a published figure was measured: protocol, crops per image (1 or 10), or images at their own size."""

    protocol: str
    crops: int = 1
    native: bool = False


def protocol_for(source: str, how: str = "") -> Measured | None:
    """How the figures in a row of a model card were measured; None if not supported.

    source: who published them; how: the row's `protocol`. MatConvNet's figures of spring 2016 come from release beta19
    (`published-2016`), those from September 2016 on from beta21 (`published`); all others come from Caffe. Multi-scale
    and dense evaluation are not supported.
    """
    text = how.lower()
    if "dense" in text or "scales" in text:
        return None
    if "own size" in text or text.endswith("argmax"):
        return Measured("meta", native=True)
    crops = 10 if any(word in text for word in ("ten crop", "10 crop", "10-crop", "ten-crop")) else 1
    if "matconvnet" in source.lower():
        return Measured("published" if "september 2016" in source.lower() else "published-2016", crops)
    return Measured("caffe", crops)


def card_meta(fields: Mapping[str, Any], average: np.ndarray | None = None) -> dict[str, Any]:
    """A `meta` for Preprocessing.from_meta with the normalization in a model card's field `preprocessing`.

    fields: image_size, mean (R, G, B), interpolation, keep_aspect, border. average: the mean image, H x W x C, if the
    card names a file for it.
    """
    found: dict[str, Any] = {}
    if fields.get("image_size"):
        found["imageSize"] = np.array([fields["image_size"]], dtype=np.float64)
    mean = fields.get("mean")
    if average is not None:
        found["averageImage"] = average
    elif isinstance(mean, (list, tuple)):
        found["averageImage"] = np.array(mean, dtype=np.float64).reshape(1, 1, -1)
    if fields.get("interpolation"):
        found["interpolation"] = fields["interpolation"]
    if fields.get("keep_aspect") is not None:
        found["keepAspect"] = np.array([[bool(fields["keep_aspect"])]])
    if fields.get("border"):
        found["border"] = np.array([fields["border"]], dtype=np.float64)
    return {"normalization": found}
