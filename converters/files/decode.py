"""The wire reader: from the bytes of a mapped file to messages of the merged schema."""

from __future__ import annotations

from typing import Any

import numpy as np

from matnet.converters.files import layer_types
from matnet.converters.files.message import Message
from matnet.converters.files.schema import Field, MessageType, float32, message_type
from matnet.converters.files.wire import DELIMITED, EIGHT, FOUR, VARINT, Piece, Wire

STRUCTURE = ("NetParameter", "LayerParameter", "V1LayerParameter", "V0LayerParameter", "BlobProto",
             "BlobShape")
"""Messages whose numbers mean the same in every fork: a wrong wire type in them is damage, not a dialect."""


def decode(wire: Wire, type: MessageType, start: int, end: int,
           skip: tuple[str, ...] = ("blobs",)) -> Message:
    """The message in `data[start:end]`, by the schema; fields named in `skip` are stepped over.

    Unknown fields are stepped over. In the messages of STRUCTURE a wrong wire type is an error; in parameter
    messages, which forks have changed, it makes the field an unknown one.
    """
    message = Message(type, wire.source, start)
    _decode_into(wire, message, start, end, skip)
    return message


def _decode_into(wire: Wire, message: Message, start: int, end: int, skip: tuple[str, ...]) -> None:
    is_layer = message.type.name == "LayerParameter"
    fields = _fields_of_layer(wire, start, end) if is_layer else message.type.by_number
    for piece in wire.pieces(start, end):
        field = fields.get(piece.number)
        if field is None or field.name in skip or not _fits(wire, message, field, piece):
            continue
        if field.message is not None:
            _decode_submessage(wire, message, field, piece, skip)
        elif field.repeated:
            for value in _scalars(wire, field, piece):
                message.append(field.name, value, piece.key)
        else:
            message.set(field.name, _scalar(wire, field, piece), piece.key)


def _fields_of_layer(wire: Wire, start: int, end: int) -> dict[int, Field]:
    """Number -> field for one V2 layer: what every layer has, and the parameters that its type reads.

    Numbers from 102 on are reused by forks. BVLC's types have BVLC's numbers; a fork's type carries one
    parameter message, under whatever number its fork gave it.
    """
    type = message_type("LayerParameter")
    of_type, numbers = "", []
    for piece in wire.pieces(start, end):
        if piece.number == 2 and piece.wire == DELIMITED:
            of_type = wire.text(piece)
        elif piece.number > 101 and piece.wire == DELIMITED:
            numbers.append(piece.number)
    fields = {number: field for number, field in type.by_number.items() if number <= 101}
    names = layer_types.PARAMETERS.get(of_type, ())
    fields.update({number: field for number, field in type.by_number.items() if field.name in names})
    forks = layer_types.FORK_PARAMETERS.get(of_type, ())
    if len(forks) == 1 or len(numbers) == 1:  # else nothing tells which message is which
        for name in forks:
            fields.update({number: type.field(name) for number in numbers})
    return fields


_WIRES = {"f32": FOUR, "f64": EIGHT, "str": DELIMITED, "bytes": DELIMITED, "message": DELIMITED}


def _fits(wire: Wire, message: Message, field: Field, piece: Piece) -> bool:
    """Whether the field is encoded as the schema says.

    V0's number 22 is `k` as 4 bytes and VGG's `img_aug_type` as a varint; the latter is stepped over.
    """
    own = _WIRES.get(field.kind, VARINT)
    allowed = (own, DELIMITED) if field.repeated and own != DELIMITED else (own,)
    image_augmentation = message.type.name == "V0LayerParameter" and piece.number == 22
    if message.type.name in STRUCTURE and not image_augmentation:
        wire.expect(piece, allowed, f"{message.type.name}.{field.name}")
    return piece.wire in allowed


def _decode_submessage(wire: Wire, message: Message, field: Field, piece: Piece,
                       skip: tuple[str, ...]) -> None:
    """A repeated message is one more; a singular one that comes twice is merged, as protobuf does."""
    assert field.message is not None
    if field.repeated:
        message.append(field.name, decode(wire, field.message, piece.start, piece.end, skip), piece.key)
    elif message.has(field.name):
        _decode_into(wire, message.get(field.name), piece.start, piece.end, skip)
    else:
        message.set(field.name, decode(wire, field.message, piece.start, piece.end, skip), piece.key)


def _scalar(wire: Wire, field: Field, piece: Piece) -> Any:
    if field.kind == "str":
        return wire.text(piece)
    if field.kind == "bytes":
        return bytes(wire.data[piece.start:piece.end])
    if piece.wire == VARINT:
        return _of_varint(field, piece.value)
    dtype = "<f4" if piece.wire == FOUR else "<f8"
    return _of_float(field, np.frombuffer(wire.data, dtype, 1, piece.start)[0])


def _scalars(wire: Wire, field: Field, piece: Piece) -> list[Any]:
    """The values of one piece of a repeated scalar: a packed run, or one unpacked value."""
    if field.kind in ("str", "bytes") or piece.wire != DELIMITED:
        return [_scalar(wire, field, piece)]
    wire.spend((piece.end - piece.start) // 4, piece.key)
    if field.kind in ("f32", "f64"):
        dtype = np.dtype("<f4" if field.kind == "f32" else "<f8")
        return [_of_float(field, value) for value in wire.packed(piece, dtype)]
    values: list[Any] = []
    at = piece.start
    while at < piece.end:
        value, at = wire.varint(at, piece.end)
        values.append(_of_varint(field, value))
    return values


def _of_float(field: Field, value: Any) -> float:
    return float32(value) if field.kind == "f32" else float(value)


def _of_varint(field: Field, value: int) -> Any:
    """A varint as its field means it; negative numbers are stored as 64-bit two's complement."""
    if field.kind == "bool":
        return value != 0
    if field.kind == "u32":
        return value & 0xFFFFFFFF
    if field.kind == "i64":
        return value - (1 << 64) if value >> 63 else value
    value &= 0xFFFFFFFF
    value = value - (1 << 32) if value >> 31 else value
    return field.enum.names.get(value, value) if field.enum is not None else value
