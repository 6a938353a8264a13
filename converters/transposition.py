"""Width first: a network whose images are W x H, as MatConvNet's importer makes it with --no-transpose."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from matnet.errors import UnsupportedLayersError, listing
from matnet.layout import pad_to_4d
from matnet.network import Layer, Network
from matnet.ops.base import Op

# fmt: off
UNCHANGED = frozenset((
    "dagnn.ReLU", "dagnn.Sigmoid", "dagnn.SoftMax", "dagnn.DropOut", "dagnn.LRN", "dagnn.BatchNorm", "dagnn.Sum",
    "dagnn.TanH", "dagnn.ELU", "dagnn.BNLL", "dagnn.AbsVal", "dagnn.Power", "dagnn.Exp", "dagnn.Log",
    "dagnn.Threshold", "dagnn.Clip", "dagnn.Swish", "dagnn.Max", "dagnn.Axpy", "dagnn.MVN", "dagnn.BatchStatNorm",
    "dagnn.Normalize", "dagnn.WithinChannelLRN", "dagnn.GlobalPooling", "dagnn.ChannelShuffle"
))
# fmt: on
"""Layers to which rows and columns are the same."""


def swap_rows_and_columns(net: Network) -> None:
    """Exchange height and width in every layer, param and input shape of `net`.

    Raises UnsupportedLayersError listing the layers for which that would change the result.
    """
    refused = [
        f"layer {layer.name!r} ({layer.type_name})"
        for layer in net.layers.values()
        if layer.op.dagnn not in UNCHANGED and layer.op.dagnn not in CHANGES
    ]
    if refused:
        raise UnsupportedLayersError(
            listing(f"{net.source}: without transposition these layers would compute something else:", refused)
        )
    done: set[str] = set()
    for layer in net.layers.values():
        layer.op = CHANGES.get(layer.op.dagnn, _same)(layer.op)
        for name in _spatial_params(layer):
            if name in net.params and name not in done:
                value = pad_to_4d(np.atleast_2d(net.params[name].value))
                net.params[name] = replace(net.params[name], value=value.transpose(1, 0, 2, 3))
                done.add(name)
    net.input_shapes = {name: (n, c, w, h) for name, (n, c, h, w) in net.input_shapes.items()}


def _spatial_params(layer: Layer) -> list[str]:
    """The params that have rows and columns: filters, and all of a Scale's."""
    if layer.op.dagnn in ("dagnn.Conv", "dagnn.ConvTranspose"):
        return layer.params[:1]
    return layer.params if layer.op.dagnn == "dagnn.Scale" else []


def _same(op: Op) -> Op:
    return op


def _swapped(*names: str) -> Callable[[Any], Op]:
    """Change an op by exchanging the first two of each field's numbers, or top/bottom and left/right of a pad."""

    def change(op: Any) -> Op:
        return replace(op, **{name: _exchange(name, getattr(op, name)) for name in names})

    return change


def _exchange(name: str, value: tuple[Any, ...]) -> tuple[Any, ...]:
    if name in ("pad", "crop") and len(value) == 4:
        top, bottom, left, right = value
        return left, right, top, bottom
    return (value[1], value[0], *value[2:]) if len(value) > 1 else value


def _concat(op: Any) -> Op:
    return replace(op, dim={1: 2, 2: 1}.get(op.dim, op.dim))


def _interp(op: Any) -> Op:
    return replace(op, height=op.width, width=op.height)


CHANGES: dict[str, Callable[[Any], Op]] = {
    "dagnn.Conv": _swapped("size", "pad", "stride", "dilate"),
    "dagnn.ConvTranspose": _swapped("size", "crop", "upsample"),
    "dagnn.Pooling": _swapped("poolSize", "stride", "pad"),
    "dagnn.SpatialNorm": _swapped("param"),
    "dagnn.Crop": _swapped("crop"),
    "dagnn.Scale": _swapped("size"),
    "dagnn.Concat": _concat,
    "dagnn.Interp": _interp,
}
