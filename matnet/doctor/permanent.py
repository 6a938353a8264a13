"""Make a change permanent: write a network with the preprocessing and classes that the search found."""

from __future__ import annotations

import numpy as np

from matnet.doctor.image_changes import ImageChange
from matnet.doctor.label_changes import LabelChange
from matnet.errors import DataError
from matnet.images import Preprocessing
from matnet.meta.normalization import COLOR_FIELDS, OTHER_FIELDS, STD_FIELDS
from matnet.meta.values import MEAN_FIELDS, normalization
from matnet.network import Network


def write_preprocessing(net: Network, preprocessing: Preprocessing) -> None:
    """Store a preprocessing in `net.meta.normalization`, so that `Preprocessing.of` returns it."""
    replaced = {*MEAN_FIELDS, *STD_FIELDS, *COLOR_FIELDS, *OTHER_FIELDS}
    fields = {name: value for name, value in normalization(net.meta).items() if name not in replaced}
    channels = preprocessing.channels
    mean = np.zeros(channels, np.float32) if preprocessing.mean is None else preprocessing.mean
    fields |= {
        "imageSize": np.array([[*preprocessing.image_size, channels]], np.float64),
        "averageImage": mean.reshape(1, 1, -1) if mean.ndim == 1 else mean,
        "interpolation": preprocessing.interpolation,
        "keepAspect": np.array([[preprocessing.keep_aspect]]),
        "cropSize": np.array([preprocessing.crop_fraction], np.float64),
        "inputRange": np.array([preprocessing.input_range], np.float64),
        "resize": preprocessing.resize,
        "colorOrder": preprocessing.color,
    }
    if preprocessing.std is not None:
        std = preprocessing.std
        fields["imageStd"] = std.reshape(1, 1, -1) if std.ndim == 1 else std
    if preprocessing.scale != 1:
        fields["scale"] = np.array([[preprocessing.scale]])
    net.meta = {**net.meta, "normalization": fields}


def mended(net: Network, base: Preprocessing, image: ImageChange | None, label: LabelChange | None) -> Network:
    """A copy of the network with the change.

    Raises DataError for a change of labels without an equivalent class order: the user must correct the labels.
    """
    from matnet.converters.transposition import swap_rows_and_columns

    if image is None and (label is None or not label.classes):
        what = f" ({label.what}): correct the labels" if label else ""
        raise DataError(f"nothing to write: the error is not in the network{what}")
    found = net.copy()
    write_preprocessing(found, base if image is None else image.variant.preprocessing)
    if image is not None and image.variant.transposed:
        swap_rows_and_columns(found)
    if label is not None and label.classes:
        found.classes = label.classes if isinstance(label.classes, str) else list(label.classes)
    return found
