"""Decode protobuf's wire format in a mapped file to messages of the merged schema."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from matnet.converters.files import dialects, layer_types
from matnet.converters.files.dialects import Severity
from matnet.converters.files.message import Message
from matnet.converters.files.schema import UNNUMBERED, Field, MessageType, float32, message_type
from matnet.converters.files.text import parse_text
from matnet.converters.files.wire import DELIMITED, EIGHT, FOUR, VARINT, Piece, WireReader
from matnet.errors import FileFormatError, listing

STRUCTURE = ("NetParameter", "LayerParameter", "V1LayerParameter", "V0LayerParameter", "BlobProto", "BlobShape")
"""Messages with the same field numbers in every fork: a wrong wire type in them is damage, not a dialect."""
LAYERS = ("LayerParameter", "V1LayerParameter")
SKIPPED = ("blobs",)
"""Fields to skip."""


class Problem(NamedTuple):
    """An unknown field or value in a message of the graph."""

    text: str
    weight: Severity


def decode_graph(wire: WireReader, lenient: bool, notes: list[str]) -> Message:
    """The NetParameter of a whole file, without blobs.

    Raises one error for all unknown fields in the parameters of inference layers, or with `lenient` adds notes. Unknown
    enum values are always errors (see `dialects`). Fields of unknown layer types are skipped.
    """
    problems: list[Problem] = []
    net = decode(wire, message_type("NetParameter"), 0, len(wire.data), problems)
    limit = Severity.UNKNOWN if lenient else Severity.NEUTRAL
    refused = [problem for problem in problems if problem.weight > limit]
    if refused:
        way = dialects.lenient_hint([problem.weight for problem in refused], lenient)
        raise FileFormatError(listing(
            f"{wire.source.path}: unknown fields or values in its graph (give its prototxt{way}):",
            [problem.text for problem in refused]))
    notes += [f"{wire.source.path}: {problem.text}; ignored" for problem in problems]
    return net


def decode(wire: WireReader, type: MessageType, start: int, end: int, problems: list[Problem]) -> Message:
    """The message in `data[start:end]`, by the schema; blobs and unknown fields are skipped.

    A wrong wire type is an error in the messages of STRUCTURE; in parameter messages, which forks have changed, the
    field counts as unknown.
    """
    message = Message(type, wire.source, start)
    _decode_into(wire, message, start, end, problems)
    return message


def _decode_into(wire: WireReader, message: Message, start: int, end: int, problems: list[Problem]) -> None:
    first = len(problems)
    _decode_fields(wire, message, start, end, problems)
    if message.type.name in LAYERS:
        own = problems[first:]
        if dialects.only_trains(message) or not _is_known(message):
            own = [problem for problem in own if problem.weight is Severity.NEUTRAL]
        named = message.get("layer") if message.has("layer") else message  # V0: the layer inside the connection
        problems[first:] = [
            problem._replace(text=f"layer {named.get('name')!r} ({named.get('type')}): {problem.text}")
            for problem in own
        ]


def _is_known(layer: Message) -> bool:
    type = layer.get("type")
    return type in layer_types.V1_TO_V2 if layer.type.name == "V1LayerParameter" else layer_types.is_known(type)


def _decode_fields(wire: WireReader, message: Message, start: int, end: int, problems: list[Problem]) -> None:
    is_layer = message.type.name == "LayerParameter"
    fields = _fields_of_layer(wire, start, end) if is_layer else message.type.by_number
    for piece in wire.pieces(start, end):
        field = fields.get(piece.number)
        if field is not None and field.name in SKIPPED:
            continue
        if is_layer and piece.number == UNNUMBERED and piece.wire == DELIMITED:
            _merge(message, _unnumbered(wire, piece, problems))
        elif field is None or not _fits(wire, message, field, piece):
            _meet_unknown(message, piece, problems)
        elif field.message is not None:
            _decode_submessage(wire, message, field, piece, problems)
        elif field.repeated:
            for value in _scalars(wire, field, piece):
                message.append(field.name, value, piece.key)
        else:
            value = _scalar(wire, field, piece)
            if field.enum is not None and isinstance(value, int) and field.enum.name != "V1LayerType":
                text = f"`{field.name}` of {message.type.name} has the unknown value {value}"
                problems.append(Problem(text, dialects.weight_of_value(field.enum.name)))
            message.set(field.name, value, piece.key)


def _unnumbered(wire: WireReader, piece: Piece, problems: list[Problem]) -> Message:
    """The part of a layer stored as prototxt, because forks number its fields differently or not at all."""
    text, where = wire.text(piece), wire.source.place(piece.key)
    try:
        return parse_text(text, where, "LayerParameter")
    except FileFormatError as error:
        problems.append(Problem(str(error), Severity.UNKNOWN))
        return parse_text(text, where, "LayerParameter", lenient=True)


def _merge(message: Message, other: Message) -> None:
    """Add the fields of `other`; messages with the same name are merged."""
    for name, value in other.items():
        if isinstance(value, Message) and message.has(name):
            _merge(message.get(name), value)
        else:
            message.set(name, value)


def _meet_unknown(message: Message, piece: Piece, problems: list[Problem]) -> None:
    """Record an unknown field of a layer or its parameters; a known number in a layer belongs to another type."""
    name, number = message.type.name, piece.number
    if name in LAYERS:
        foreign = number not in message.type.by_number
    else:
        foreign = name not in STRUCTURE and dialects.weight_of_field(name, "") is not Severity.NEUTRAL
    if foreign:
        problems.append(Problem(f"unknown field {number} in {name}", Severity.UNKNOWN))


def _fields_of_layer(wire: WireReader, start: int, end: int) -> dict[int, Field]:
    """Number -> field for one V2 layer: the common fields, and the parameters of its type.

    Forks reuse numbers from 102 on. BVLC's types have BVLC's numbers; a fork's type has one parameter message, with any
    number.
    """
    type = message_type("LayerParameter")
    of_type, numbers = "", []
    for piece in wire.pieces(start, end):
        if piece.number == 2 and piece.wire == DELIMITED:
            of_type = wire.text(piece)
        elif 101 < piece.number < UNNUMBERED and piece.wire == DELIMITED:
            numbers.append(piece.number)
    fields = {number: field for number, field in type.by_number.items() if number <= 101}
    names = layer_types.PARAMETERS.get(of_type, ())
    fields.update({number: field for number, field in type.by_number.items() if field.name in names})
    forks = layer_types.FORK_PARAMETERS.get(of_type, ())
    if len(set(numbers)) == 1:  # otherwise the messages cannot be distinguished
        for name in forks:
            fields[numbers[0]] = type.field(name)
    return fields


_WIRES = {"f32": FOUR, "f64": EIGHT, "str": DELIMITED, "bytes": DELIMITED, "message": DELIMITED}


def _fits(wire: WireReader, message: Message, field: Field, piece: Piece) -> bool:
    """Whether the field has the encoding of the schema.

    V0's number 22 is `k` with 4 bytes, or VGG's `img_aug_type` with a varint, which is skipped.
    """
    own = _WIRES.get(field.kind, VARINT)
    allowed = (own, DELIMITED) if field.repeated and own != DELIMITED else (own,)
    image_augmentation = message.type.name == "V0LayerParameter" and piece.number == 22
    if message.type.name in STRUCTURE and not image_augmentation:
        wire.expect(piece, allowed, f"{message.type.name}.{field.name}")
    return piece.wire in allowed


def _decode_submessage(wire: WireReader, message: Message, field: Field, piece: Piece, problems: list[Problem]) -> None:
    """Append a repeated message, or merge a singular one that occurs twice, like protobuf."""
    assert field.message is not None
    if field.repeated:
        message.append(field.name, decode(wire, field.message, piece.start, piece.end, problems), piece.key)
    elif message.has(field.name):
        _decode_into(wire, message.get(field.name), piece.start, piece.end, problems)
    else:
        message.set(field.name, decode(wire, field.message, piece.start, piece.end, problems), piece.key)


def _scalar(wire: WireReader, field: Field, piece: Piece) -> Any:
    if field.kind == "str":
        return wire.text(piece)
    if field.kind == "bytes":
        return bytes(wire.data[piece.start:piece.end])
    if piece.wire == VARINT:
        return _of_varint(field, piece.value)
    dtype = "<f4" if piece.wire == FOUR else "<f8"
    return _of_float(field, np.frombuffer(wire.data, dtype, 1, piece.start)[0])


def _scalars(wire: WireReader, field: Field, piece: Piece) -> list[Any]:
    """The values in one piece of a repeated scalar: a packed run, or one unpacked value."""
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
    """The value of a varint for its field; negative numbers are stored as 64-bit two's complement."""
    if field.kind == "bool":
        return value != 0
    if field.kind == "u32":
        return value & 0xFFFFFFFF
    if field.kind == "i64":
        return value - (1 << 64) if value >> 63 else value
    value &= 0xFFFFFFFF
    value = value - (1 << 32) if value >> 31 else value
    return field.enum.names.get(value, value) if field.enum is not None else value
