"""What a model's metadata_props carry: how to prepare an image, the class names, and where the network came from."""

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

LARGEST_MEAN = 4096  # numbers; a larger mean image is replaced by its mean colour and its size


def metadata(net: Network, inputs: Mapping[str, Shape] | None = None) -> dict[str, str]:
    """Keys `preprocessing`, `classes`, `class_descriptions`, each JSON, and `source`; what is unknown is left out.

    inputs: the shapes N x C x H x W that the model is written for, where they are not those of the file.
    """
    found: dict[str, Any] = {
        "preprocessing": preprocessing(net, inputs or {}),
        "classes": class_names(net),
        "class_descriptions": class_descriptions(net),
    }
    props = {key: json.dumps(value, ensure_ascii=False) for key, value in found.items() if value}
    return {"source": display_name(net), **props}


def preprocessing(net: Network, inputs: Mapping[str, Shape]) -> dict[str, Any]:
    """How an image is prepared: the fields of meta.normalization, as matnet reads them, as JSON values.

    `imageSize` [H W C] is that of the image input. `averageImage`, `imageStd`, `inputRange`, `scale` and `colorOrder`
    are what `images.Preprocessing` applies, whatever the file calls them. Other fields that are numbers or text stand
    under their own names, arrays as nested lists in MATLAB's order of dimensions. A mean image is replaced by
    `averageColour`, its mean over the pixels, and `averageImageSize`.
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
    with suppress(DataError):  # a file whose normalization cannot be used keeps its fields as they are
        read = normalization_of(net)
        found.update({"inputRange": list(read.input_range), "scale": read.scale, "colorOrder": read.color})
        for name, planes in (("averageImage", read.average), ("imageStd", read.std)):
            found.pop(name, None)
            if planes is not None:
                found.update(_plain(name, planes))
    return found


def _plain(name: str, value: Any) -> dict[str, Any]:
    """One field as JSON values; nothing for an array that is too large, and for what is neither numbers nor text."""
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
