"""The prototxt writer: a message in protobuf's text format, reproducible."""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite, isnan
from typing import Any

from matnet.converters.files.message import Identifier, Message

_ESCAPES = {"\n": "\\n", "\r": "\\r", "\t": "\\t", '"': '\\"', "\\": "\\\\"}


def to_text(message: Message) -> str:
    """The set fields of the message, one per line, in the schema's order, with sub-messages indented by two spaces.

    32-bit floats are written as their shortest decimals. Reading the text yields an equal message.
    """
    return "".join(f"{line}\n" for line in _lines(message, ""))


def _lines(message: Message, indent: str) -> Iterator[str]:
    for name, value in message.items():
        field = message.type.fields.get(name)
        bare = field is not None and field.kind == "enum"
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, Message):
                yield f"{indent}{name} {{"
                yield from _lines(item, indent + "  ")
                yield f"{indent}}}"
            else:
                yield f"{indent}{name}: {item if bare else _scalar(item)}"


def _scalar(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return _float(value)
    if isinstance(value, Identifier) or not isinstance(value, (str, bytes)):
        return str(value)
    text = value.decode("latin-1") if isinstance(value, bytes) else value
    return f'"{"".join(_character(c, isinstance(value, bytes)) for c in text)}"'


def _character(character: str, of_bytes: bool) -> str:
    escaped = _ESCAPES.get(character)
    if escaped is None and (character < " " or (of_bytes and character > "~")):
        escaped = f"\\{ord(character):03o}"
    return escaped or character


def _float(value: float) -> str:
    if not isfinite(value):
        return "nan" if isnan(value) else "inf" if value > 0 else "-inf"
    text = repr(value)
    return text[:-2] if text.endswith(".0") and text != "-0.0" else text
