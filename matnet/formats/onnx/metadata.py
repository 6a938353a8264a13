"""What a model's metadata_props carry: how to prepare an image, the class names, and where the network came from."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from matnet.formats.mat.values import Cell
from matnet.meta import class_descriptions, class_names, display_name, normalization
from matnet.network import Network

LARGEST_MEAN = 4096  # numbers; a mean image is told by its mean colour and its size


def metadata(net: Network) -> dict[str, str]:
    """Keys `preprocessing`, `classes`, `class_descriptions`, each JSON, and `source`; what is unknown is left out."""
    found: dict[str, Any] = {
        "preprocessing": preprocessing(net),
        "classes": class_names(net),
        "class_descriptions": class_descriptions(net),
    }
    props = {key: json.dumps(value, ensure_ascii=False) for key, value in found.items() if value}
    return {"source": display_name(net), **props}


def preprocessing(net: Network) -> dict[str, Any]:
    """The fields of meta.normalization that are numbers or text, under their own names, as JSON values.

    Arrays become nested lists in MATLAB's order of dimensions. A mean image is replaced by
    `averageColour`, its mean over the pixels, and `averageImageSize`.
    """
    found: dict[str, Any] = {}
    for name, value in normalization(net.meta).items():
        if isinstance(value, np.ndarray) and value.dtype.kind in "fiub" and value.size:
            if value.size > LARGEST_MEAN and name == "averageImage":
                found["averageColour"] = np.asarray(value, np.float64).mean(axis=(0, 1)).ravel().tolist()
                found["averageImageSize"] = list(value.shape)
            elif value.size <= LARGEST_MEAN:
                found[name] = np.squeeze(value).tolist()
        elif isinstance(value, (str, bool, int, float)):
            found[name] = value
        elif isinstance(value, Cell) and value and all(isinstance(item, str) for item in value):
            found[name] = list(value)
    return found
