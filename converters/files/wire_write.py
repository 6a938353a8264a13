"""The wire writer: messages and parameter blobs in protobuf's wire format, streamed and reproducible."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO

import numpy as np

from matnet.converters.files.message import Message
from matnet.converters.files.schema import UNNUMBERED, Field
from matnet.converters.files.text_write import to_text
from matnet.protobuf import delimited, raw_data, varint

_LAYER, _BLOBS, _DATA, _SHAPE, _DIM = 100, 7, 5, 7, 1
"""Field numbers: NetParameter.layer, LayerParameter.blobs, BlobProto.data and shape, BlobShape.dim."""


def encode(message: Message) -> bytes:
    """The set fields of the message in the order of their numbers; repeated scalars packed as in the schema.

    Fields and enum values without a fixed number (forks give them different ones) are stored as prototxt in one field
    of their layer, which Caffe skips and `decode` reads.
    """
    return b"".join(data for _, data in _numbered(message))


def _numbered(message: Message) -> list[tuple[int, bytes]]:
    """(field number, encoded field) for every set field, in the order of the numbers."""
    parts = []
    for name, value in message.items():
        field = message.type.fields.get(name)
        if field is not None and _has_number(field, value):
            assert field.number is not None
            parts.append((field.number, _field(field, field.number, value)))
    rest = _without_numbers(message) if message.type.name == "LayerParameter" else None
    if rest is not None:
        rest.set("type", message.get("type"))
        text = to_text(rest).encode()
        parts.append((UNNUMBERED, delimited(UNNUMBERED, len(text)) + text))
    return sorted(parts, key=lambda part: part[0])


def _has_number(field: Field, value: Any) -> bool:
    """Whether a field, and its enum value if any, has one number in BVLC's schema or in all forks."""
    if field.enum is not None and isinstance(value, str) and field.enum.numbers.get(value, -1) < 0:
        return False
    return field.number is not None


def _without_numbers(message: Message) -> Message | None:
    """The fields without numbers, in messages of the same types; None if there are none."""
    rest = Message(message.type)
    for name, value in message.items():
        field = message.type.fields.get(name)
        if field is None or not _has_number(field, value):
            rest.set(name, value)
        elif isinstance(value, Message):
            inner = _without_numbers(value)
            if inner is not None:
                rest.set(name, inner)
    return rest if any(True for _ in rest.items()) else None


def _field(field: Field, number: int, value: Any) -> bytes:
    if field.packed:
        run = b"".join(_scalar(field, item) for item in value)
        return delimited(number, len(run)) + run
    values = value if field.repeated else [value]
    return b"".join(_one(field, number, item) for item in values)


def _one(field: Field, number: int, value: Any) -> bytes:
    if field.message is not None:
        body = encode(value)
    elif field.kind in ("str", "bytes"):
        body = value.encode() if isinstance(value, str) else value
    else:
        wire_type = {"f32": 5, "f64": 1}.get(field.kind, 0)
        return varint(number << 3 | wire_type) + _scalar(field, value)
    return delimited(number, len(body)) + body


def _scalar(field: Field, value: Any) -> bytes:
    if field.kind == "f32":
        return np.float32(value).astype("<f4").tobytes()
    if field.kind == "f64":
        return struct.pack("<d", value)
    if field.enum is not None and isinstance(value, str):
        return varint(field.enum.numbers[value])
    return varint(int(value))


def write_net(file: BinaryIO, net: Message, blobs: Mapping[str, Sequence[np.ndarray]]) -> None:
    """Write a V2 NetParameter with parameter blobs, layer by layer, without a copy of all weights.

    blobs: layer name -> arrays; each is written as float32 with its own shape (`shape`, packed `data`).
    """
    for number, data in _numbered(net):
        if number != _LAYER:
            file.write(data)
    for layer in net.get("layer"):
        _write_layer(file, layer, blobs.get(layer.get("name"), ()))


def _write_layer(file: BinaryIO, layer: Message, arrays: Sequence[np.ndarray]) -> None:
    fields = [(number, data) for number, data in _numbered(layer) if number != _BLOBS]
    before = b"".join(data for number, data in fields if number < _BLOBS)
    behind = b"".join(data for number, data in fields if number > _BLOBS)
    heads = [_blob_head(array) for array in arrays]
    length = sum(map(len, (before, behind, *heads))) + sum(4 * array.size for array in arrays)
    file.write(delimited(_LAYER, length) + before)
    for head, array in zip(heads, arrays, strict=True):
        file.write(head)
        file.write(raw_data(np.asarray(array, np.float32)))
    file.write(behind)


def _blob_head(array: np.ndarray) -> bytes:
    """A `blobs` field up to its numbers: keys, lengths and the shape."""
    dims = b"".join(varint(size) for size in array.shape)
    packed = delimited(_DIM, len(dims)) + dims if dims else b""
    data_key = delimited(_DATA, 4 * array.size)
    shape = delimited(_SHAPE, len(packed)) + packed
    # protobuf writes data (5) before shape (7), but any order is legal; with the shape first, the numbers
    # can be streamed last.
    return delimited(_BLOBS, len(shape) + len(data_key) + 4 * array.size) + shape + data_key
