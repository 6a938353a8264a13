"""matnet: load, convert, run and evaluate pretrained MatConvNet and Caffe networks in Python.

>>> import matnet
>>> net = matnet.load("imagenet-vgg-f.mat")                      # doctest: +SKIP
>>> scores = net(images)                                         # doctest: +SKIP
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

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
from matnet.lazy import lazy as _lazy

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

# Loaded at first use, so that `import matnet` costs next to nothing.
__getattr__, __dir__, _ = _lazy(
    __name__,
    {
        "": "ops",
        "converters": "convert_caffe",
        "formats": "save=save_network",
        "loading": "load",
        "network": "Layer Network",
        "params": "Param",
    },
)
# Written out for type checkers, which take other names of the package as private.
__all__ = [
    "DataError", "DownloadError", "EngineError", "FileFormatError", "Layer", "MatnetError", "Network", "NetworkError",
    "OutOfMemoryError", "Param", "ShapeError", "UnsupportedLayersError", "convert_caffe", "load", "ops", "save",
]  # fmt: skip
