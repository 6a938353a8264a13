"""matnet: load, convert, run and evaluate pretrained MatConvNet and Caffe networks in Python.

>>> import matnet
>>> net = matnet.load("imagenet-vgg-f.mat")                      # doctest: +SKIP
>>> scores = net(images)                                         # doctest: +SKIP
"""

from __future__ import annotations

from typing import Any

from matnet import ops
from matnet.errors import (
    DataError,
    DownloadError,
    EngineError,
    FileFormatError,
    MatnetError,
    NetworkError,
    ShapeError,
    UnsupportedLayersError,
)
from matnet.formats import load_network as load
from matnet.formats import save_network as save
from matnet.network import Layer, Network, Param

__version__ = "0.1.0"

__all__ = [
    "DataError",
    "DownloadError",
    "EngineError",
    "FileFormatError",
    "Layer",
    "MatnetError",
    "Network",
    "NetworkError",
    "Param",
    "ShapeError",
    "UnsupportedLayersError",
    "convert_caffe",
    "load",
    "ops",
    "save",
]


def convert_caffe(*arguments: Any, **options: Any) -> Network:
    """A Network from a prototxt and a caffemodel: see matnet.converters.convert_caffe."""
    from matnet.converters import convert_caffe as convert  # Caffe's readers load only when needed

    return convert(*arguments, **options)
