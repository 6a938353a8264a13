"""Reading Caffe networks: `read_prototxt`, `read_weights`, `attach_weights`, `net_from_caffemodel`, `read_mean`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from matnet.converters.netdef import Blob, CaffeWeights, LayerDef, NetDef

__all__ = ["Blob", "CaffeWeights", "LayerDef", "NetDef", "BlobMatch", "attach_weights", "match_blob",
           "net_from_caffemodel", "read_mean", "read_prototxt", "read_weights"]


class BlobMatch(NamedTuple):
    """A blob brought to the shape that a layer expects, and a warning where Caffe would have refused it."""

    array: np.ndarray
    warning: str | None


def read_prototxt(path: str | os.PathLike[str], phase: str = "TEST", level: int = 0,
                  stages: Iterable[str] = (), lenient: bool = False) -> NetDef:
    """A prototxt of any generation (V0, V1, V2; deploy or train_val) as a wired NetDef.

    lenient: keep unknown and repeated singular fields, with a note, instead of refusing the file.
    Raises FileFormatError (with line and column) for what is not a prototxt, NetworkError for a graph that
    Caffe would refuse.
    """
    raise NotImplementedError


def net_from_caffemodel(path: str | os.PathLike[str], phase: str = "TEST", level: int = 0,
                        stages: Iterable[str] = ()) -> NetDef:
    """The graph that a caffemodel itself carries, without its weights; Caffe's own Split layers are aliased away."""
    raise NotImplementedError


def read_weights(path: str | os.PathLike[str]) -> CaffeWeights:
    """The weights of a .caffemodel of any generation or of a .caffemodel.h5, as views of the mapped file."""
    raise NotImplementedError


def attach_weights(net: NetDef, weights: CaffeWeights) -> None:
    """Give every layer of `net` its blobs, by name; shared blobs get one common Blob. Adds notes to `net.notes`.

    Raises FileFormatError listing every layer whose weights are missing or whose blob count is wrong.
    """
    raise NotImplementedError


def match_blob(blob: Blob, expected: tuple[int, ...]) -> BlobMatch:
    """`blob` in the shape `expected`, by Caffe's rule, or with a warning where only the element count agrees.

    Raises ShapeError naming both shapes where the counts differ; whoever calls adds file, layer and blob index.
    """
    raise NotImplementedError


def read_mean(path: str | os.PathLike[str],
              load_mat: Callable[[str], Mapping[str, Any]] | None = None) -> np.ndarray:
    """A mean file as C x H x W float32 in Caffe's channel order (BGR), 0-255.

    .binaryproto (a BlobProto), .npy (C x H x W, or C values), .mat with `load_mat` (VGG's mean.mat: `mean_img`,
    H x W x 3, RGB). Raises FileFormatError.
    """
    raise NotImplementedError
