"""matnet: load, convert, run and evaluate pretrained MatConvNet and Caffe networks in Python.

>>> import matnet
>>> net = matnet.load("imagenet-vgg-f.mat")                      # doctest: +SKIP
>>> scores = net(images)                                         # doctest: +SKIP
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from matnet.errors import (
    DataError,
    DownloadError,
    EngineError,
    FileFormatError,
    MatnetError,
    NetworkError,
    OutOfMemoryError,
    ShapeError,
    UnsupportedLayersError,
)

if TYPE_CHECKING:
    from matnet import ops
    from matnet.converters import convert_caffe
    from matnet.formats import save_network as save
    from matnet.loading import load
    from matnet.network import Layer, Network
    from matnet.params import Param

__version__ = "0.2.0"

# In a checkout without symbolic links (Windows), `converters` here is a small text file. Search for the linked folders
# beside the package instead.
if not os.path.isdir(os.path.join(__path__[0], "converters")):
    __path__.append(os.path.dirname(__path__[0]))

__all__ = [
    "DataError",
    "DownloadError",
    "EngineError",
    "FileFormatError",
    "Layer",
    "MatnetError",
    "Network",
    "NetworkError",
    "OutOfMemoryError",
    "Param",
    "ShapeError",
    "UnsupportedLayersError",
    "convert_caffe",
    "load",
    "ops",
    "save",
]

# Loaded at first use, so that `import matnet` costs next to nothing.
_LAZY = {
    "Layer": ("matnet.network", "Layer"),
    "Network": ("matnet.network", "Network"),
    "Param": ("matnet.params", "Param"),
    "convert_caffe": ("matnet.converters", "convert_caffe"),
    "load": ("matnet.loading", "load"),
    "ops": ("matnet.ops", ""),
    "save": ("matnet.formats", "save_network"),
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'matnet' has no attribute {name!r}")
    module, attribute = _LAZY[name]
    found = import_module(module)
    found = getattr(found, attribute) if attribute else found
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted([*globals(), *_LAZY])
