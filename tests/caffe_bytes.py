"""Hand-encoding protobuf bytes for tests, and protobuf's own runtime with the schema, as an outside judge."""

from __future__ import annotations

import struct
from functools import cache
from typing import Any

import numpy as np
import pytest

from matnet.converters.files import schema_forks, schema_tables
from matnet.converters.files.schema import Field, MessageType, enum_type, message_type


def varint(value: int) -> bytes:
    """Base 128, low groups first; the protobuf documentation's example is 300 -> ac 02."""
    value %= 1 << 64
    return bytes([value]) if value < 128 else bytes([value % 128 + 128]) + varint(value // 128)


def number(field: int, value: int) -> bytes:
    """A varint field (wire type 0)."""
    return varint(field * 8) + varint(value)


def part(field: int, *payload: bytes | str) -> bytes:
    """A length-delimited field (wire type 2): text, bytes, or a message of the given parts."""
    body = b"".join(piece.encode() if isinstance(piece, str) else piece for piece in payload)
    return varint(field * 8 + 2) + varint(len(body)) + body


def binaryproto(mean: np.ndarray) -> bytes:
    """A mean of C x H x W (B, G, R, 0-255) as a BlobProto of 1 x C x H x W, which Caffe's tools write."""
    sizes = [number(field, size) for field, size in enumerate((1, *mean.shape), 1)]
    return b"".join(sizes) + part(5, mean.astype("<f4").tobytes())


def single(field: int, value: float) -> bytes:
    """A 4-byte float field (wire type 5)."""
    return varint(field * 8 + 5) + struct.pack("<f", value)


def floats(*values: float) -> bytes:
    """A packed run of 4-byte floats."""
    return struct.pack(f"<{len(values)}f", *values)


def blob(values: bytes, *shape: int) -> bytes:
    """A BlobProto of packed data and, as late files have it, `shape`."""
    return part(5, values) + part(7, part(1, *[varint(size) for size in shape]))


_TYPES = {"f64": 1, "f32": 2, "i64": 3, "i32": 5, "bool": 8, "str": 9, "message": 11, "bytes": 12, "u32": 13,
          "enum": 14}
"""FieldDescriptorProto.Type."""


@cache
def protobuf_class(name: str) -> Any:
    """The class of one message of the schema in Google's protobuf runtime."""
    descriptor_pb2 = pytest.importorskip("google.protobuf.descriptor_pb2", reason="needs protobuf")
    from google.protobuf import descriptor_pool, message_factory

    file = descriptor_pb2.FileDescriptorProto(name="caffe.proto", package="caffe", syntax="proto2")
    for enum_name in {**schema_tables.ENUMS, **schema_forks.ENUMS}:
        _add_enum(file, enum_name)
    for message_name in {**schema_tables.MESSAGES, **schema_forks.FIELDS}:
        _add_message(file, message_type(message_name))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"caffe.{name}"))


def _add_enum(file: Any, name: str) -> None:
    """An enum in a message of its own, for protobuf wants identifiers to be unique beside each other."""
    enum = file.message_type.add(name=f"Of{name}").enum_type.add(name=name)
    numbers = enum_type(name).numbers
    enum.options.allow_alias = len(set(numbers.values())) < len(numbers)
    for identifier, value in numbers.items():
        enum.value.add(name=identifier, number=value)


def _add_message(file: Any, type: MessageType) -> None:
    message = file.message_type.add(name=type.name)
    for field in type.by_number.values():
        _add_field(message, field)


def _add_field(message: Any, field: Field) -> None:
    label = 3 if field.repeated else 2 if field.required else 1
    added = message.field.add(name=field.name, number=field.number, label=label, type=_TYPES[field.kind])
    if field.kind in ("message", "enum"):
        prefix = f"Of{field.type_name}." if field.kind == "enum" else ""
        added.type_name = f".caffe.{prefix}{field.type_name}"
    if field.packed:
        added.options.packed = True
