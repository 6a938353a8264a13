"""Marks convolutions that are matrix products for inputs of a given size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace

from matnet.engines.plan.fuse import FusedConv
from matnet.network import Network
from matnet.ops.base import Op
from matnet.ops.convolution import Conv
from matnet.shapes import Shape


@dataclass(frozen=True, kw_only=True)
class FullyConnected(Conv):
    """A Conv with one window that covers the whole input: N x (C H W) times (C H W) x K; reads weights once per batch.

    Exists only in networks planned for inputs of one size, not in files.
    """


def to_products(net: Network, axes: Mapping[str, Sequence[int | None]]) -> Network:
    """Replace each convolution that `Conv.covers` its input, also inside a FusedConv, by FullyConnected.

    axes: sizes of variables, N x C x H x W; None: dynamic. This must be the last pass.
    """
    planned = net.copy()
    for layer in planned.layers.values():
        if layer.inputs and layer.inputs[0] in axes:
            filters = next(iter(planned.param_shapes(layer)), ())
            layer.op = _product(layer.op, axes[layer.inputs[0]], filters)
    return planned


def _product(op: Op, axes: Sequence[int | None], filters: Shape) -> Op:
    if isinstance(op, FusedConv):
        conv = _product(op.conv, axes, filters)
        return replace(op, conv=conv) if isinstance(conv, FullyConnected) else op
    if type(op) is not Conv or not op.covers(axes, filters):  # a subclass may compute something else
        return op
    return FullyConnected(**{item.name: getattr(op, item.name) for item in fields(op)})
