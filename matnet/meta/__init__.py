"""Reads the conventions of `meta`: input sizes, class names, preprocessing.

Files store meta in many forms, and no network needs it to run. The functions for sizes and classes omit what they
cannot read; `normalization_of` raises DataError, since a wrong guess would change the results. Values have the types of
matnet.formats.mat.values.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from matnet.meta.classes import class_descriptions, class_names
from matnet.meta.inputs import contradictions, declared_input_shapes, image_input, image_size, input_channels
from matnet.meta.normalization import Normalization, normalization_notes, normalization_of, read_normalization
from matnet.meta.summary import preprocessing_summary
from matnet.meta.values import MEAN_FIELDS, display_name, normalization

if TYPE_CHECKING:
    from matnet.network import Network

__all__ = [
    "MEAN_FIELDS", "Normalization", "class_descriptions", "class_names", "contradictions", "declared_input_shapes",
    "display_name", "image_input", "image_size", "input_channels", "normalization", "normalization_notes",
    "normalization_of", "notes", "preprocessing_summary", "read_normalization",
]  # fmt: skip


def notes(net: Network) -> list[str]:
    """Notes on the network's meta: contradictions, ignored fields, assumptions."""
    return [*contradictions(net), *normalization_notes(net)]
