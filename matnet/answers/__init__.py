"""What a Network answers about images and about itself: classes, layers, predictions, features, drawings."""

from __future__ import annotations

from matnet.answers.classes import Classes, classes_of
from matnet.answers.classify import Predictions, classify
from matnet.answers.features import features
from matnet.answers.layers import LayerView, layer_view
from matnet.answers.pictures import Picture, pictures_of

__all__ = [
    "Classes",
    "LayerView",
    "Picture",
    "Predictions",
    "classes_of",
    "classify",
    "features",
    "layer_view",
    "pictures_of",
]
