"""The metadata_props of an ONNX model: preprocessing, class names and source."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np

from matnet.errors import DataError
from matnet.formats.mat.values import Cell
from matnet.meta import (
    class_descriptions,
    class_names,
    display_name,
    image_input,
    image_size,
    normalization,
    normalization_of,
)
from matnet.network import Network
from matnet.shapes import Shape

LARGEST_MEAN = 4096  # values; a larger mean image is replaced by its mean colour and its size


def metadata(net: Network, inputs: Mapping[str, Shape] | None = None) -> dict[str, str]:
    """Keys `preprocessing`, `classes`, `class_descriptions` (as JSON) and `source`; unknown ones are omitted.

    inputs: the input shapes of the model, N x C x H x W, if they differ from the file.
    """
    found: dict[str, Any] = {
        "preprocessing": preprocessing(net, inputs or {}),
        "classes": class_names(net),
        "class_descriptions": class_descriptions(net),
    }
    props = {key: json.dumps(value, ensure_ascii=False) for key, value in found.items() if value}
    return {"source": display_name(net), **props}


def preprocessing(net: Network, inputs: Mapping[str, Shape]) -> dict[str, Any]:
    """The preprocessing as JSON values, by the field names of meta.normalization.

    `imageSize` is [H W C] of the image input. `averageImage`, `imageStd`, `inputRange`, `scale` and `colorOrder` have
    the values that `images.Preprocessing` uses, under these names in any case. Other numeric and text fields keep their
    names; arrays are nested lists in MATLAB's order of dimensions. A large mean image is replaced by `averageColour`,
    its mean over the pixels, and `averageImageSize`.
    """
    found: dict[str, Any] = {}
    for name, value in normalization(net.meta).items():
        found.update(_plain(name, value))
    if not found:
        return {}
    height, width, channels, _ = image_size(net)
    shape = inputs.get(image_input(net) or "")
    if shape is not None:
        _, channels, height, width = shape
    if height and width:
        found["imageSize"] = [height, width, *([channels] if channels else [])]
    with suppress(DataError):  # keep the fields of an invalid normalization unchanged
        read = normalization_of(net)
        found.update({"inputRange": list(read.input_range), "scale": read.scale, "colorOrder": read.color})
        for name, planes in (("averageImage", read.average), ("imageStd", read.std)):
            found.pop(name, None)
            if planes is not None:
                found.update(_plain(name, planes))
    return found


def _plain(name: str, value: Any) -> dict[str, Any]:
    """One field as JSON values; empty for large arrays and for values other than numbers and text."""
    if isinstance(value, np.ndarray) and value.dtype.kind in "fiub" and value.size:
        if value.size <= LARGEST_MEAN:
            return {name: np.squeeze(value).tolist()}
        if name == "averageImage":
            colour = np.asarray(value, np.float64).mean(axis=(0, 1)).ravel().tolist()
            return {"averageColour": colour, "averageImageSize": list(value.shape)}
    elif isinstance(value, (str, bool, int, float)):
        return {name: value}
    elif isinstance(value, Cell) and value and all(isinstance(item, str) for item in value):
        return {name: list(value)}
    return {}
