"""Convolutions that are matrix products for inputs of one size, marked as such in the network planned for that size."""

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
    """A Conv whose one window is the whole input: N x (C H W) times (C H W) x K, each weight read once for all images.

    Exists alone in networks planned for inputs of one size: no file format knows it.
    """


def to_products(net: Network, axes: Mapping[str, Sequence[int | None]]) -> Network:
    """Each convolution that `Conv.covers` its input becomes a FullyConnected, by itself or inside a FusedConv.

    `axes`: the variables' sizes N x C x H x W, None where one is not fixed. The last pass, and the only one that
    needs sizes.
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
    if type(op) is not Conv or not op.covers(axes, filters):  # a subclass may mean something else
        return op
    return FullyConnected(**{item.name: getattr(op, item.name) for item in fields(op)})
