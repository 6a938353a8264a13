"""An ONNX model as plain records (nodes, constants, inputs, outputs), and its serialization."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from matnet.protobuf import WireMessage, raw_data, raw_size

OPSET = 17
IR_VERSION = 8  # released with opset 17
FLOAT, INT64 = 1, 7  # TensorProto.DataType
ELEMENT_TYPES = {"f": FLOAT, "i": INT64}
ALIGNMENT = 4096  # of tensors in external data, so that they can be mapped

Attribute = int | float | str | Sequence[int] | Sequence[float]
Axis = int | str  # a size, or the name of a dynamic axis


@dataclass(frozen=True)
class Constant:
    """A constant array, row-major in `shape`; may be a view of a param, copied only when written."""

    array: np.ndarray
    shape: tuple[int, ...]

    @classmethod
    def of(cls, array: np.ndarray, shape: tuple[int, ...] | None = None) -> Constant:
        return cls(array, array.shape if shape is None else shape)

    def contiguous(self) -> np.ndarray:
        """The array as contiguous memory in its shape."""
        return np.ascontiguousarray(self.array).reshape(self.shape)


@dataclass(frozen=True)
class Node:
    """One operator of the default domain: type, inputs, outputs and attributes."""

    op_type: str
    inputs: Sequence[str]
    outputs: Sequence[str]
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    name: str = ""

    def __post_init__(self) -> None:
        """Raise OverflowError for an attribute beyond single precision."""
        struct.pack("<f", max((abs(v) for v in self.attributes.values() if isinstance(v, float)), default=0.0))

    def message(self) -> WireMessage:
        """The NodeProto."""
        message = WireMessage()
        for read in self.inputs:
            message.text(1, read)
        for written in self.outputs:
            message.text(2, written)
        if self.name:
            message.text(3, self.name)
        message.text(4, self.op_type)
        for name, value in self.attributes.items():
            message.message(5, _attribute(name, value))
        return message


def _attribute(name: str, value: Attribute) -> WireMessage:
    message = WireMessage().text(1, name)
    if isinstance(value, str):
        return message.text(4, value).integer(20, 3)
    if isinstance(value, int):
        return message.integer(3, value).integer(20, 2)
    if isinstance(value, float):
        return message.single(2, value).integer(20, 1)
    if all(isinstance(item, int) for item in value):
        return message.integers(8, [int(item) for item in value]).integer(20, 7)
    return message.singles(7, [float(item) for item in value]).integer(20, 6)


@dataclass
class OnnxModel:
    """A graph with its constants by name. `inputs` and `outputs`: float32 values -> axes.

    `metadata` becomes the model's metadata_props.
    """

    name: str
    nodes: list[Node]
    constants: dict[str, Constant]
    inputs: dict[str, tuple[Axis, ...]]
    outputs: dict[str, tuple[Axis, ...]]
    metadata: dict[str, str] = field(default_factory=dict)

    @property
    def weight_bytes(self) -> int:
        """The size of all constants, in bytes."""
        return sum(raw_size(constant.array) for constant in self.constants.values())

    def message(self, external: Mapping[str, Mapping[str, str]] | None = None) -> WireMessage:
        """The ModelProto. external: location of the constants that it does not contain."""
        graph = WireMessage()
        for node in self.nodes:
            graph.message(1, node.message())
        graph.text(2, self.name)
        for name, constant in self.constants.items():
            graph.message(5, _tensor(name, constant, (external or {}).get(name)))
        for number, values in ((11, self.inputs), (12, self.outputs)):
            for name, axes in values.items():
                graph.message(number, _value(name, axes))
        model = WireMessage().integer(1, IR_VERSION).text(2, "matnet").message(7, graph)
        model.message(8, WireMessage().text(1, "").integer(2, OPSET))
        for key, value in self.metadata.items():
            model.message(14, WireMessage().text(1, key).text(2, value))
        return model

    def to_bytes(self) -> bytes:
        """The serialized model with its weights; at most 2 GiB."""
        return b"".join(self.message().chunks())

    def external_layout(self, file_name: str) -> dict[str, dict[str, str]]:
        """The location, offset and length of each constant in a file of external data."""
        layout, offset = {}, 0
        for name, constant in self.constants.items():
            offset = -(-offset // ALIGNMENT) * ALIGNMENT
            length = raw_size(constant.array)
            layout[name] = {"location": file_name, "offset": str(offset), "length": str(length)}
            offset += length
        return layout

    def external_chunks(self) -> Iterator[bytes | memoryview]:
        """The bytes of the file of external data."""
        written = 0
        for constant in self.constants.values():
            padding = -written % ALIGNMENT
            yield bytes(padding)
            yield raw_data(constant.array)
            written += padding + raw_size(constant.array)


def _tensor(name: str, constant: Constant, external: Mapping[str, str] | None) -> WireMessage:
    kind = ELEMENT_TYPES[constant.array.dtype.kind]
    message = WireMessage().integers(1, constant.shape).integer(2, kind).text(8, name)
    if external is None:
        return message.array(9, constant.array)
    for key, value in external.items():
        message.message(13, WireMessage().text(1, key).text(2, value))
    return message.integer(14, 1)


def _value(name: str, axes: Sequence[Axis]) -> WireMessage:
    shape = WireMessage()
    for axis in axes:
        dim = WireMessage().text(2, axis) if isinstance(axis, str) else WireMessage().integer(1, axis)
        shape.message(1, dim)
    tensor = WireMessage().integer(1, FLOAT).message(2, shape)
    return WireMessage().text(1, name).message(2, WireMessage().message(1, tensor))
