"""Fusion of convolutions with a following sum and ReLU, for engines with such kernels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from matnet.engines.plan.uses import Uses
from matnet.network import Layer, Network
from matnet.ops.activation import ReLU
from matnet.ops.base import Array, Op, computes_as
from matnet.ops.combine import Sum
from matnet.ops.convolution import Conv
from matnet.shapes import ReceptiveField, Shape


@dataclass(frozen=True, kw_only=True)
class FusedConv(Op):
    """relu(conv(x) + other): a convolution, the sum with a second input if there is one, and a ReLU if any.

    Inputs: x for `conv`, and with `residual` the other term, of the output's shape. Params are those of `conv`. `relu`:
    None, or a ReLU that may have a leak. Exists only in planned networks, not in files.
    """

    input_count: ClassVar[tuple[int, int | None]] = (1, 2)
    param_count: ClassVar[tuple[int, int]] = Conv.param_count
    conv: Conv = field(default_factory=Conv)
    relu: ReLU | None = None
    residual: bool = False

    def output_shapes(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> list[Shape]:
        shapes = self.conv.output_shapes(inputs[:1], params)
        return Sum().output_shapes([*shapes, *inputs[1:]], [])

    def receptive_fields(self, inputs: Sequence[Shape]) -> list[ReceptiveField | None]:
        return [*self.conv.receptive_fields(inputs[:1]), *[ReceptiveField()] * len(inputs[1:])]

    def multiply_adds(self, inputs: Sequence[Shape], params: Sequence[Shape], outputs: Sequence[Shape]) -> int:
        return self.conv.multiply_adds(inputs[:1], params, outputs)

    def prepare(self, xp: Any, params: Sequence[Array]) -> Any:
        return self.conv.prepare(xp, params)

    def forward(self, xp: Any, inputs: Sequence[Array], params: Any) -> list[Array]:
        results = self.conv.forward(xp, inputs[:1], params)
        if self.residual:
            results = Sum().forward(xp, [*results, inputs[1]], [])
        return self.relu.forward(xp, results, []) if self.relu else results


def fuse(net: Network, wanted: Sequence[str]) -> Network:
    """Fuse each convolution with a following sum of two terms and ReLU, if these are the only readers.

    If two convolutions are summed, the sum is fused into the later one, so that the other term is available.
    """
    planned = net.copy()
    for layer in reversed(planned.execution_order()):
        if not computes_as(layer.op, Conv):
            continue
        uses = Uses.of(planned, wanted)
        op, follower = FusedConv(conv=layer.op), _only_reader(uses, layer)
        if follower and computes_as(follower.op, Sum) and len(follower.inputs) == 2:
            layer.inputs += [name for name in follower.inputs if name != layer.outputs[0]]
            op = replace(op, residual=True)
            follower = _merge(planned, uses, layer, follower)
        if follower and computes_as(follower.op, ReLU):
            op = replace(op, relu=follower.op)
            _merge(planned, uses, layer, follower)
        if op.relu or op.residual:
            layer.op = op
    return planned


def _only_reader(uses: Uses, layer: Layer) -> Layer | None:
    """The only layer that reads the layer's output; None if the output is wanted or has several readers."""
    link = uses.only_link(layer.outputs[0])
    return link[1] if link else None


def _merge(net: Network, uses: Uses, layer: Layer, follower: Layer) -> Layer | None:
    """Replace the layer's output by its follower's, and remove the follower; returns the only reader of that output."""
    layer.outputs = list(follower.outputs)
    del net.layers[follower.name]
    return _only_reader(uses, follower)
