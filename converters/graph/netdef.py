"""A Caffe network before lowering: its layers, blobs, inputs and weights, as plain records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from matnet.converters.files.message import Message


@dataclass(frozen=True, eq=False)
class Blob:
    """One parameter blob of a Caffe layer.

    shape: that of the file; (num, channels, height, width) if `legacy` is set.
    data: float32 in C order, of that shape; read-only and, for a packed file, a view of the mapped
    file that need not be aligned (any numpy operation accepts it; `np.require(x, requirements="A")` aligns).
    """

    shape: tuple[int, ...]
    legacy: bool
    data: np.ndarray


@dataclass(eq=False)
class LayerDef:
    """One layer of an upgraded (V2), filtered and wired Caffe network.

    bottoms, tops: Caffe's blob names. inputs, outputs: the same blobs as variables that are written once; they differ
    from Caffe's names only if an in-place layer overwrites the blob: the value after the last in-place layer keeps
    Caffe's name, the value that layer L overwrites is `<blob>_before_<L>`. params: the whole LayerParameter
    (`params.get("convolution_param").get("num_output")`). share_names: ParamSpec names by blob index, "" if there is
    none; blobs with the same name are one parameter. blobs: filled by `attach_weights`; empty before, and for layers
    that use their filler's values.
    """

    name: str
    type: str
    bottoms: tuple[str, ...]
    tops: tuple[str, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    params: Message
    share_names: tuple[str, ...] = ()
    blobs: tuple[Blob, ...] = ()

    @property
    def place(self) -> str:
        """The position of the layer, for errors: `deploy.prototxt, line 12, column 1`."""
        return self.params.place()


@dataclass(eq=False)
class NetDef:
    """A Caffe network ready for lowering: V2 layers, filtered by phase, wired, in file order.

    layers: without Input and data layers, and without Split layers inserted by Caffe. inputs: blob name -> shape in the
    file (N x C x H x W, or any rank), None if unknown, for every top of an Input or data layer (including labels, which
    are dropped with the losses). input_variables: blob name -> variable name; they differ only if an in-place layer
    overwrites the input. data_layers: the Input, Data, ImageData, ... layers, for their transform_param and fillers.
    outputs: blobs that no layer reads, sorted as in Caffe. notes: one line per decision (upgrades, dropped layers,
    inputs from data layers). message: the upgraded and filtered NetParameter.
    """

    path: str
    name: str
    layers: list[LayerDef]
    inputs: dict[str, tuple[int | None, ...] | None]
    input_variables: dict[str, str]
    data_layers: list[LayerDef]
    outputs: list[str]
    notes: list[str]
    message: Message


@dataclass(frozen=True, eq=False)
class CaffeWeights:
    """The weights of a caffemodel (binary or HDF5), by layer name and in file order.

    layers: name -> blobs; an empty tuple for layers without blobs. A blob is None only in an HDF5 file, which stores a
    shared blob only with its owner. types: name -> V2 type string ("" if the file has none). notes: decisions while
    reading (a layer stored twice).
    """

    path: str
    layers: Mapping[str, tuple[Blob | None, ...]]
    types: Mapping[str, str]
    notes: list[str] = field(default_factory=list)
