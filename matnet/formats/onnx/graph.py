"""The graph under construction, and LayerWriter, the interface of exporters to it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from matnet.errors import NetworkError
from matnet.formats.onnx.model import FLOAT, Attribute, Constant, Node
from matnet.formats.onnx.sizes import Axes
from matnet.network import Layer


class NotExpressible(NetworkError):
    """A layer that ONNX cannot compute. The text is the reason, without the layer's name."""


class NeedsFixedSize(NotExpressible):
    """A layer that ONNX can compute only for inputs of fixed size."""


@dataclass(frozen=True)
class ExportOptions:
    """Choices between equivalent ONNX forms of a layer, which differ in speed between runtimes.

    native_lrn: ONNX's LRN operator instead of a composition. product_as_conv: matrix products as convolutions, for one
    image always, for several images if the matrix is large. product_by_columns: matrix products with transposed
    weights. winograd: the batch size for which convolutions use Winograd's algorithm if it is likely to be faster;
    0: never.
    """

    native_lrn: bool = False
    product_as_conv: bool = False
    product_by_columns: bool = False
    winograd: int = 0


@dataclass
class Graph:
    """Nodes and constants so far. axes: the known sizes of the network's variables."""

    axes: Mapping[str, Axes]
    nodes: list[Node] = field(default_factory=list)
    constants: dict[str, Constant] = field(default_factory=dict)
    taken: set[str] = field(default_factory=set)
    options: ExportOptions = ExportOptions()

    def fresh(self, hint: str) -> str:
        """An unused value name."""
        name, number = hint, 1
        while name in self.taken:
            number += 1
            name = f"{hint}_{number}"
        self.taken.add(name)
        return name


class LayerWriter:
    """Writes one layer into the graph.

    `inputs` and `outputs`: value names. `axes`: the sizes of the inputs, None for a dynamic axis. `params`: the layer's
    arrays in MatConvNet's shapes.
    """

    def __init__(self, graph: Graph, layer: Layer, params: Sequence[np.ndarray]) -> None:
        self.graph, self.layer, self.params = graph, layer, list(params)
        self.inputs, self.outputs = layer.inputs, layer.outputs
        self.axes = [graph.axes[name] for name in layer.inputs]

    def prepared(self) -> Any:
        """The layer's params, validated and prepared by its op."""
        return self.layer.op.prepare(np, self.params)

    def node(self, op_type: str, *inputs: str, to: str | None = None, **attributes: Attribute) -> str:
        """Append a node with one output, `to` or a new name; returns the output's name."""
        output = to or self.graph.fresh(f"{self.layer.name}/{op_type}")
        name = self.graph.fresh(f"{self.layer.name}/{op_type}/node")
        self.graph.nodes.append(Node(op_type, inputs, (output,), attributes, name))
        return output

    def cast(self, value: str) -> str:
        """`value` as float32."""
        output = self.graph.fresh(f"{self.layer.name}/Cast")
        name = self.graph.fresh(f"{self.layer.name}/Cast/node")
        self.graph.nodes.append(Node("Cast", [value], [output], {"to": FLOAT}, name))
        return output

    def constant(self, array: np.ndarray | float, what: str = "constant", shape: tuple[int, ...] | None = None) -> str:
        """Append a float32 constant, optionally reshaped (row-major)."""
        name = self.graph.fresh(f"{self.layer.name}/{what}")
        self.graph.constants[name] = Constant.of(np.asarray(array, dtype=np.float32), shape)
        return name

    def integers(self, values: Iterable[int], what: str = "integers") -> str:
        """Append an int64 vector."""
        name = self.graph.fresh(f"{self.layer.name}/{what}")
        self.graph.constants[name] = Constant.of(np.asarray(list(values), dtype=np.int64))
        return name

    def size(self, axis: int, which: int = 0) -> int:
        """The size of an axis of input `which`. Raises NeedsFixedSize if it is dynamic."""
        found = self.axes[which][axis]
        if found is None:
            raise NeedsFixedSize(f"needs a fixed {('batch', 'depth', 'height', 'width')[axis]}")
        return found

    def reshape(self, value: str, axes: Axes, to: str | None = None) -> str:
        """Reshape `value`; one axis may be unknown."""
        if sum(length is None for length in axes) > 1:
            raise NeedsFixedSize("needs a fixed height and width")
        lengths = [-1 if length is None else length for length in axes]
        return self.node("Reshape", value, self.integers(lengths, "shape"), to=to)

    def output_axes(self) -> Axes:
        """The known sizes of the first output."""
        return self.graph.axes[self.outputs[0]]
