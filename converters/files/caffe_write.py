"""Writing Caffe files: prototxt, caffemodel and mean.binaryproto; atomic, and the same bytes every time."""

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
"""Bytes of the largest caffemodel that Caffe, which reads it as one protobuf message, can load."""


def write_prototxt(path: str | os.PathLike[str], net: Message | NetDef) -> None:
    """A NetParameter, or a NetDef's upgraded and filtered one, as a prototxt."""
    message = net.message if isinstance(net, NetDef) else net
    with atomic_write(path) as file:
        file.write(to_text(message).encode())


def write_caffemodel(path: str | os.PathLike[str], net: Message | NetDef,
                     blobs: Mapping[str, Sequence[np.ndarray]]) -> None:
    """A V2 network and its parameter blobs as a caffemodel, streamed: no second copy of the weights is made.

    blobs: layer name -> arrays in Caffe's order and shapes; each is written as float32 under its own shape.
    Every name must be a layer of `net`. Raises ShapeError for more than the 2 GiB that Caffe can load.
    """
    message = net.message if isinstance(net, NetDef) else net
    names = {layer.get("name") for layer in message.get("layer")}
    assert names.issuperset(blobs), f"blobs for layers that the net does not have: {set(blobs) - names}"
    size = sum(4 * array.size for arrays in blobs.values() for array in arrays)
    if size > LARGEST:
        raise ShapeError(f"{path}: the weights take {size} bytes, and Caffe can load at most {LARGEST}")
    with atomic_write(path) as file:
        write_net(file, message, blobs)
