"""Write Caffe files: prototxt, caffemodel and mean.binaryproto; atomic and reproducible."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import numpy as np

from matnet.converters.files.message import Message
from matnet.converters.files.text_write import to_text
from matnet.converters.files.wire_write import write_net
from matnet.converters.graph.netdef import NetDef
from matnet.errors import ShapeError
from matnet.files import atomic_write

LARGEST = (1 << 31) - 1
"""The largest caffemodel in bytes that Caffe can load, because it reads it as one protobuf message."""


def write_prototxt(path: str | os.PathLike[str], net: Message | NetDef) -> None:
    """Write a NetParameter, or the upgraded and filtered one of a NetDef, as a prototxt."""
    message = net.message if isinstance(net, NetDef) else net
    with atomic_write(path) as file:
        file.write(to_text(message).encode())


def write_caffemodel(path: str | os.PathLike[str], net: Message | NetDef,
                     blobs: Mapping[str, Sequence[np.ndarray]]) -> None:
    """Write a V2 network and its parameter blobs as a caffemodel, streamed without a second copy of the weights.

    blobs: layer name -> arrays in Caffe's order and shapes; each is written as float32 under its own shape.
    Every name must be a layer of `net`. Raises ShapeError for more than 2 GiB, which Caffe cannot load.
    """
    message = net.message if isinstance(net, NetDef) else net
    names = {layer.get("name") for layer in message.get("layer")}
    assert names.issuperset(blobs), f"blobs for layers that the net does not have: {set(blobs) - names}"
    size = sum(4 * array.size for arrays in blobs.values() for array in arrays)
    if size > LARGEST:
        raise ShapeError(f"{path}: the weights have {size} bytes, but Caffe can load at most {LARGEST}")
    with atomic_write(path) as file:
        write_net(file, message, blobs)
