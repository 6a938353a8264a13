"""Read the weights of a caffemodel: layer name -> blobs, for every generation and for HDF5."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import NamedTuple

from matnet.converters.files import layer_types
from matnet.converters.files.blobs import read_blob
from matnet.converters.files.hdf5_weights import is_hdf5, read_hdf5_weights
from matnet.converters.files.schema import enum_type
from matnet.converters.files.wire import DELIMITED, VARINT, Piece, WireReader, open_wire
from matnet.converters.graph.netdef import Blob, CaffeWeights
from matnet.errors import FileFormatError, ShapeError, listing
from matnet.files import existing_file

_NET_FIELDS = {1: (DELIMITED,), 2: (DELIMITED,), 3: (DELIMITED,), 4: (VARINT, DELIMITED), 5: (VARINT,),
               6: (DELIMITED,), 7: (VARINT,), 8: (DELIMITED,), 100: (DELIMITED,)}
"""The wire types of NetParameter's fields, the same in every generation."""


class _Numbers(NamedTuple):
    """A generation's field numbers for weights."""

    name: int
    type: int
    blobs: int


_V2, _V1, _V0 = _Numbers(1, 2, 7), _Numbers(4, 5, 6), _Numbers(1, 2, 50)
_V1_NESTED_V0 = 1


@dataclass
class _Collected:
    """The layers and problems found so far."""

    layers: dict[str, tuple[Blob | None, ...]] = field(default_factory=dict)
    types: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def add(self, name: str, type: str, blobs: list[Blob]) -> None:
        """Add a layer; of layers with the same name the last with blobs counts, because Caffe loads them in turn."""
        before = self.layers.get(name, ())
        if before and blobs:
            self.notes.append(f"layer {name!r} is stored twice; its last weights are used")
        if blobs or not before:
            self.layers[name] = tuple(blobs)
            self.types[name] = type


def read_weights(path: str | os.PathLike[str]) -> CaffeWeights:
    """The weights of a .caffemodel of any generation or of a .caffemodel.h5, as views of the mapped file.

    Only names, types and blobs are read, so a fork's own fields do not matter. Only unpacked, double and float16 values
    are copied. Raises FileFormatError (with a byte offset) for files that are not caffemodels, are truncated or
    damaged, and lists every blob whose shape and values do not agree.
    """
    file = existing_file(path, "caffemodel")
    if is_hdf5(file):
        return read_hdf5_weights(file)
    wire = open_wire(file, "caffemodel")
    found = _Collected()
    count = 0
    for piece in wire.pieces(0, len(wire.data)):
        if piece.number in _NET_FIELDS:
            wire.expect(piece, _NET_FIELDS[piece.number], f"field {piece.number} of a network")
        if piece.number == 100:
            count += 1
            _read_layer(wire, piece, _V2, found)
        elif piece.number == 2:
            count += 1
            _read_layer(wire, piece, _V1, found)
    if not count:
        raise FileFormatError(f"{file}: no layers in its {len(wire.data)} bytes; expected a caffemodel")
    if found.problems:
        raise FileFormatError(listing(f"{file}: damaged blobs: {len(found.problems)} (download the file again)",
                                      found.problems))
    return CaffeWeights(str(file), found.layers, found.types, notes=found.notes)


def _read_layer(wire: WireReader, layer: Piece, numbers: _Numbers, found: _Collected) -> None:
    name, type, blobs = "", "", []
    for piece in wire.pieces(layer.start, layer.end):
        if numbers is _V1 and piece.number == _V1_NESTED_V0:
            wire.expect(piece, (DELIMITED,), "V1LayerParameter.layer")
            _read_layer(wire, piece, _V0, found)
            return
        if piece.number == numbers.name:
            wire.expect(piece, (DELIMITED,), "a layer's name")
            name = wire.text(piece)
        elif piece.number == numbers.type:
            type = _type_of(wire, piece, numbers)
        elif piece.number == numbers.blobs:
            wire.expect(piece, (DELIMITED,), "a layer's blobs")
            blobs.append(piece)
    found.add(name, type, _read_blobs(wire, name, blobs, found.problems))


def _read_blobs(wire: WireReader, name: str, pieces: list[Piece], problems: list[str]) -> list[Blob]:
    blobs = []
    for index, piece in enumerate(pieces):
        try:
            blobs.append(read_blob(wire, piece.start, piece.end))
        except ShapeError as error:
            problems.append(f"layer {name!r}, blob {index} (byte {piece.start}): {error}")
    return blobs


def _type_of(wire: WireReader, piece: Piece, numbers: _Numbers) -> str:
    """The layer's V2 type string; for an unknown number, its digits."""
    if numbers is _V1:
        wire.expect(piece, (VARINT,), "a V1 layer's type")
        known = enum_type("V1LayerType").names.get(piece.value)
        return layer_types.V1_TO_V2[known] if known else str(piece.value)
    wire.expect(piece, (DELIMITED,), "a layer's type")
    type = wire.text(piece)
    return layer_types.V1_TO_V2.get(layer_types.V0_TO_V1.get(type, ""), type) if numbers is _V0 else type
