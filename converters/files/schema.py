"""The merged Caffe schema: every message, field, number, type, default and enum of all dialects, by name.

One table serves the text reader, the wire reader and the writers, for V0, V1, V2 and the forks. Text fields are found
by name, so forks do not collide there. On the wire, forks reuse each other's field numbers for layer parameters, and
the layer's type string decides (`decode.decode`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import numpy as np

from matnet.converters.files import schema_forks, schema_tables

UNNUMBERED = (1 << 24) + 1
"""The LayerParameter field in matnet's caffemodels that holds, as prototxt, fields without a fixed number."""

INTEGERS = {"i32": (-(1 << 31), (1 << 31) - 1), "i64": (-(1 << 63), (1 << 63) - 1), "u32": (0, (1 << 32) - 1)}
FLOATS = ("f32", "f64")
SCALARS = (*INTEGERS, *FLOATS, "bool", "str", "bytes")
ENUMS = {**schema_tables.ENUMS, **schema_forks.ENUMS}


def float32(value: float) -> float:
    """The value of a 32-bit float field, as its shortest decimal.

    So text (`0.1`) and binary (0.100000001490116...) yield the same number: 0.1.
    """
    with np.errstate(over="ignore"):
        return float(str(np.float32(value)))


@dataclass(frozen=True)
class EnumType:
    """An enum: identifier -> number. If several identifiers share a number, the first is its name.

    A negative number marks a fork's identifier that occurs only in text.
    """

    name: str
    numbers: dict[str, int]

    @cached_property
    def names(self) -> dict[int, str]:
        """Number -> identifier."""
        return {number: name for name, number in reversed(self.numbers.items()) if number >= 0}

    __hash__ = object.__hash__


@dataclass(frozen=True)
class Field:
    """One field of a message.

    number: None for a field with different numbers in different forks (text only). kind: one of SCALARS, "enum" or
    "message". type_name: the enum or message. default: None for a message.
    """

    name: str
    number: int | None
    kind: str
    type_name: str
    repeated: bool
    packed: bool
    required: bool
    default: Any

    @property
    def message(self) -> MessageType | None:
        """The type of a sub-message; None for a scalar or enum."""
        return message_type(self.type_name) if self.kind == "message" else None

    @property
    def enum(self) -> EnumType | None:
        """The type of an enum; None for anything else."""
        return enum_type(self.type_name) if self.kind == "enum" else None


@dataclass(frozen=True)
class MessageType:
    """A message: its fields by name and, for the wire, by number."""

    name: str
    fields: dict[str, Field]

    @cached_property
    def by_number(self) -> dict[int, Field]:
        """Number -> field, for fields with a fixed number."""
        return {field.number: field for field in self.fields.values() if field.number is not None}

    def field(self, name: str) -> Field:
        """The field `name`. Raises KeyError, with the message's name, if it does not exist."""
        try:
            return self.fields[name]
        except KeyError:
            raise KeyError(f"Caffe's {self.name} has no field {name!r}") from None

    __hash__ = object.__hash__


OPEN = MessageType("(unknown message)", {})
"""The type of an unknown sub-message, which accepts any field."""


@cache
def message_type(name: str) -> MessageType:
    """The type of the message `name` (`LayerParameter`, `V1LayerParameter`, `BlobProto`, ...)."""
    if name not in schema_tables.MESSAGES and name not in schema_forks.FIELDS:
        raise KeyError(f"the schema has no message {name!r}")
    tables = [table[name] for table in (schema_tables.MESSAGES, schema_forks.FIELDS) if name in table]
    fields = [_parse_field(text) for text in ";".join(tables).split(";")]
    names = [field.name for field in fields]
    assert len(set(names)) == len(names), f"a field of {name} is listed twice"
    return MessageType(name, {field.name: field for field in fields})


@cache
def enum_type(name: str) -> EnumType:
    """The type of the enum `name` (`PoolMethod`, `V1LayerType`, ...)."""
    return EnumType(name, {key: int(number) for key, number in re.findall(r"(\w+)=(-?\d+)", ENUMS[name])})


_FIELD = re.compile(r"(?P<number>\d+|-) (?P<label>[+!]{0,2})(?P<name>\w+) (?P<type>\w+)"
                    r"(?:=(?P<default>\S*))?")


def _parse_field(text: str) -> Field:
    match = _FIELD.fullmatch(text.strip())
    assert match, f"a field of the schema cannot be read: {text!r}"
    label, type_name = match["label"], match["type"]
    kind = type_name if type_name in SCALARS else "enum" if type_name in ENUMS else "message"
    number = None if match["number"] == "-" else int(match["number"])
    return Field(name=match["name"], number=number, kind=kind, type_name=type_name,
                 repeated="+" in label, packed=label == "++", required=label == "!",
                 default=_default(kind, type_name, match["default"]))


def _default(kind: str, type_name: str, text: str | None) -> Any:
    if kind == "enum":
        return text or next(iter(enum_type(type_name).numbers))
    if kind in INTEGERS:
        return int(text or 0)
    if kind in FLOATS:
        return float(text or 0)
    return {"bool": text == "true", "str": text or "", "bytes": b"", "message": None}[kind]
