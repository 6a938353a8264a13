"""`Message`: a light protobuf message: field values, which ones are set, and their positions in the file."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from typing import Any

from matnet.converters.files.schema import OPEN, MessageType, message_type


class FileText:
    """The file of a message; describes positions as text.

    text: the whole text of a prototxt, with positions as indices into it; None for a binary file, with positions as
    byte offsets.
    """

    def __init__(self, path: str, text: str | None = None) -> None:
        self.path = path
        self._text = text
        self._line_starts: list[int] | None = None

    def place(self, position: int | None) -> str:
        """`net.prototxt, line 3, column 5`, `net.caffemodel, byte 17`, or only the path for None."""
        if position is None:
            return self.path
        if self._text is None:
            return f"{self.path}, byte {position}"
        line, column = self.line_column(position)
        return f"{self.path}, line {line}, column {column}"

    def line_column(self, position: int) -> tuple[int, int]:
        """The 1-based line and column of a character, for text sources only."""
        assert self._text is not None
        if self._line_starts is None:
            starts, at = [0], self._text.find("\n")
            while at >= 0:
                starts.append(at + 1)
                at = self._text.find("\n", at + 1)
            self._line_starts = starts
        line = bisect_right(self._line_starts, position)
        return line, position - self._line_starts[line - 1] + 1


NOWHERE = FileText("(built in memory)")


class Identifier(str):
    """A word without quotes in an unknown field, most likely an enum value."""


class Message:
    """A protobuf message of the merged Caffe schema.

    Scalars are int, float, bool, str or bytes; an enum is its identifier (str), or an integer if the schema has no name
    for it; repeated fields are lists. `get` applies defaults and returns an empty message for an unset sub-message, so
    `layer.get("pooling_param").get("pool")` always works; `has` returns whether the field is set. Unknown fields (read
    leniently, or in a layer of an unknown type) are kept under their names, with values typed by their spelling, as a
    list if repeated; unknown sub-messages have type OPEN.
    """

    __slots__ = ("_positions", "_values", "position", "source", "type")

    def __init__(self, type: MessageType | str, source: FileText = NOWHERE, position: int | None = None) -> None:
        self.type = message_type(type) if isinstance(type, str) else type
        self.source = source
        self.position = position
        self._values: dict[str, Any] = {}
        self._positions: dict[str, int | None] = {}

    def has(self, name: str) -> bool:
        """Whether the field is set; for a repeated field, at least once."""
        return name in self._values

    def get(self, name: str) -> Any:
        """The field's value, or its default: [] if repeated, an empty message, or the schema's default."""
        if name in self._values:
            return self._values[name]
        field = self.type.field(name)
        if field.repeated:
            return []
        if field.message is not None:
            return Message(field.message, self.source, self.position)
        return field.default

    def set(self, name: str, value: Any, position: int | None = None) -> None:
        """Set a field's whole value (a list for a repeated field), replacing an earlier one."""
        self._values[name] = value
        self._positions[name] = position if position is not None else self.position

    def append(self, name: str, value: Any, position: int | None = None) -> None:
        """Add one value to a repeated field."""
        if name not in self._values:
            self.set(name, [], position)
        self._values[name].append(value)

    def clear(self, name: str) -> None:
        """Unset a field, if it is set."""
        self._values.pop(name, None)
        self._positions.pop(name, None)

    def items(self) -> Iterator[tuple[str, Any]]:
        """Names and values of the set fields: known ones in the schema's order, then unknown ones in file order."""
        for name in self.type.fields:
            if name in self._values:
                yield name, self._values[name]
        for name, value in self._values.items():
            if name not in self.type.fields:
                yield name, value

    def unknown(self) -> list[str]:
        """The names of the unknown fields."""
        return [] if self.type is OPEN else [name for name in self._values if name not in self.type.fields]

    def place(self, name: str | None = None) -> str:
        """The position of the message, or of its field `name`: `net.prototxt, line 3, column 5`."""
        return self.source.place(self.position if name is None else self._positions.get(name, self.position))

    def shallow_copy(self) -> Message:
        """A copy with copied lists and shared sub-messages."""
        twin = Message(self.type, self.source, self.position)
        twin._values = {name: list(value) if isinstance(value, list) else value for name, value in self._values.items()}
        twin._positions = dict(self._positions)
        return twin

    def having(self, **fields: Any) -> Message:
        """A shallow copy with these fields set."""
        twin = self.shallow_copy()
        for name, value in fields.items():
            twin.set(name, value)
        return twin

    def known_fields(self) -> Message:
        """A copy without unknown fields, also in sub-messages."""
        def known(value: Any) -> Any:
            return value.known_fields() if isinstance(value, Message) else value

        twin = self.shallow_copy()
        for name in self.unknown():
            twin.clear(name)
        for name, value in twin._values.items():
            twin._values[name] = [known(item) for item in value] if isinstance(value, list) else known(value)
        return twin

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Message) and self.type is other.type and self._values == other._values

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Message({self.type.name}, {self._values!r})"


class LayerParameters:
    """The whole definition of a layer, for a user's registered op: its messages, and the fields of all of them.

    `get("python_param")` returns a message, empty if absent; `get("scale")` returns the field with this name from any
    parameter message of the layer.
    """

    def __init__(self, layer: Message) -> None:
        self.layer = layer

    @property
    def messages(self) -> dict[str, Message]:
        """Name -> parameter message, for all messages in the file, known or unknown, in the file's order."""
        return {name: value for name, value in self.layer.items() if isinstance(value, Message)}

    def has(self, name: str) -> bool:
        """Whether the file has a message or field with this name."""
        return self.layer.has(name) or any(message.has(name) for message in self.messages.values())

    def get(self, name: str, default: Any = None) -> Any:
        """A message or field by name; if absent, the schema's default, an empty message or `default`."""
        if self.layer.has(name) or name in self.layer.type.fields:
            return self.layer.get(name)
        given = self.messages.values()
        found = next((message for message in given if message.has(name)), None)
        if found is None:
            found = next((message for message in given if name in message.type.fields), None)
        return default if found is None else found.get(name)

    def items(self) -> Iterator[tuple[str, Any]]:
        """Names and values of all fields in the parameter messages."""
        for message in self.messages.values():
            yield from message.items()


def build(type_name: MessageType | str, **fields: Any) -> Message:
    """A message from keywords; dicts become sub-messages, lists of dicts repeated ones.

    >>> build("LayerParameter", name="fc", inner_product_param={"num_output": 7}).get("name")
    'fc'
    """
    message = Message(type_name)
    for name, value in fields.items():
        inner = message.type.field(name).message
        if isinstance(value, Mapping) and inner is not None:
            value = build(inner, **value)
        elif isinstance(value, (list, tuple)):
            value = [build(inner, **v) if isinstance(v, Mapping) and inner is not None else v for v in value]
        message.set(name, value)
    return message
