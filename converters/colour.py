"""Convert BGR inputs to RGB: follow the channel order through the network to the first weights that mix channels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from matnet.converters.lower.conv import selection
from matnet.layout import pad_to_4d
from matnet.names import RESTORED
from matnet.network import Layer, Network
from matnet.ops.base import Channels
from matnet.ops.convolution import Conv
from matnet.params import Param
from matnet.shapes import Shape

Order = tuple[int, ...]
"""For each channel of a variable, the index of that channel in Caffe: (2, 1, 0) for a flipped image."""

FLIPPED: Order = (2, 1, 0)


class Direction(NamedTuple):
    """The new order of an input, its old order, and the owner of the old order, for notes."""

    new: str
    old: str
    owner: str


FROM_CAFFE = Direction("R, G, B", "B, G, R", "Caffe")
TO_CAFFE = Direction("B, G, R", "R, G, B", "the network")


class _Edit(NamedTuple):
    """A param to reorder: its layer, its position in the layer, and the axis."""

    layer: str
    place: int
    axis: int
    order: Order


def reorder_inputs(
    net: Network,
    images: Iterable[str],
    sizes: Mapping[str, Shape | tuple[int | None, ...]],
    direction: Direction = FROM_CAFFE,
) -> list[str]:
    """Reverse the three channels of `images`, and change params so that results stay the same.

    The order is followed through layers that keep channels separate (their params are reordered), joins and
    concatenations, up to ungrouped convolutions (their filters are reordered). Before any other layer, a 1 x 1
    convolution restores the order. sizes: those of all variables. Changes `net`, and returns one note per decision.
    """
    orders: dict[str, Order] = dict.fromkeys(images, FLIPPED)
    edits: list[_Edit] = []
    restored: dict[str, str] = {}
    for layer in list(net.execution_order()):
        for_size = layer.op.size_only_inputs
        reads = [None if place in for_size else orders.get(name) for place, name in enumerate(layer.inputs)]
        if not any(reads):
            continue
        passed = _pass_on(net, layer, reads, sizes, edits)
        if passed is None:
            layer.inputs = [_restore(net, name, orders, restored) for name in layer.inputs]
        elif passed:
            orders.update(dict.fromkeys(layer.outputs, passed))
    _apply(net, edits)
    return _notes(net, [name for name in net.outputs if name in orders], edits, restored, direction)


def _notes(
    net: Network, outputs: Sequence[str], edits: Sequence[_Edit], restored: Mapping[str, str], direction: Direction
) -> list[str]:
    """One note per decision."""
    new, old, owner = direction.new, direction.old, direction.owner
    notes = [
        f"layer {edit.layer!r}: its filters now take {new} instead of {owner}'s {old}"
        for edit in edits
        if edit.place == 0 and net.layers[edit.layer].op.input_channel_axis == edit.axis
    ]
    notes += [
        f"layer {layer!r} added; it restores {owner}'s channel order of {variable!r}"
        for variable, layer in restored.items()
    ]
    if outputs:
        notes.append(f"outputs also in {new} order instead of {owner}'s {old}: {', '.join(outputs)}")
    return notes


def _pass_on(
    net: Network,
    layer: Layer,
    reads: list[Order | None],
    sizes: Mapping[str, Shape | tuple[int | None, ...]],
    edits: list[_Edit],
) -> Order | None:
    """The channel order of the layer's outputs, () for Caffe's; None if the layer cannot take another order."""
    op, params = layer.op, net.param_shapes(layer)
    if op.joins_channels:
        return _joined(layer, reads, sizes)
    given = [order for place, order in enumerate(reads) if place not in op.size_only_inputs]
    order = given[0]
    if order is None or any(other != order for other in given):
        return None
    if op.input_channel_axis is not None:
        if len(given) > 1 or op.channels_read(params) != len(order):  # grouped filters take fewer
            return None
        edits.append(_Edit(layer.name, 0, op.input_channel_axis, order))
        return ()
    reverses = order == tuple(reversed(range(len(order))))
    if op.channels < (Channels.REVERSIBLE if reverses else Channels.PERMUTABLE):
        return None
    edits += [_Edit(layer.name, place, axis, order) for place, axis in enumerate(op.channel_axes(params))]
    return order


def _joined(
    layer: Layer, reads: list[Order | None], sizes: Mapping[str, Shape | tuple[int | None, ...]]
) -> Order | None:
    """The concatenated channel orders of the inputs; None if a number of channels is unknown."""
    order: list[int] = []
    for name, own in zip(layer.inputs, reads, strict=True):
        channels = sizes[name][1]
        if channels is None:
            return None
        order += [len(order) + index for index in (own or range(channels))]
    return tuple(order)


def _restore(net: Network, variable: str, orders: Mapping[str, Order], restored: dict[str, str]) -> str:
    """A copy of the variable in Caffe's order by a 1 x 1 convolution, shared by all its readers."""
    order = orders.get(variable)
    if order is None:
        return variable
    if variable not in restored:
        name = variable + RESTORED
        while name in net.layers or name in net.variables:
            name += "x"
        places = [order.index(channel) for channel in range(len(order))]
        net.params[f"{name}_filter"] = Param(selection(len(order), places))
        op = Conv(size=(1, 1, len(order), len(order)), hasBias=False)
        _insert_first(net, Layer(name, op, [variable], [name], [f"{name}_filter"]))
        restored[variable] = name
    return restored[variable]


def _insert_first(net: Network, layer: Layer) -> None:
    """Insert a layer right after its inputs, so that the file's order stays an execution order."""
    names = list(net.layers)
    writers = [name for name in names if layer.inputs[0] in net.layers[name].outputs]
    place = names.index(writers[0]) + 1 if writers else 0
    items = list(net.layers.items())
    items.insert(place, (layer.name, layer))
    net.layers.clear()
    net.layers.update(items)


def _apply(net: Network, edits: list[_Edit]) -> None:
    """Reorder params; a param shared with layers that need another order is copied for them."""
    users: dict[str, set[tuple[str, int]]] = {}
    for layer in net.layers.values():
        for place, name in enumerate(layer.params):
            users.setdefault(name, set()).add((layer.name, place))
    grouped: dict[tuple[str, int, Order], list[_Edit]] = {}
    for edit in edits:
        name = net.layers[edit.layer].params[edit.place]
        grouped.setdefault((name, edit.axis, edit.order), []).append(edit)
    for (name, axis, order), same in grouped.items():
        if name not in net.params:
            continue
        original = net.params[name]
        changed = replace(original, value=_reordered(original.value, axis, order))
        if users[name] == {(edit.layer, edit.place) for edit in same}:
            net.params[name] = changed
            continue
        copy = f"{name}_rgb"
        while copy in net.params:
            copy += "x"
        net.params[copy] = changed
        for edit in same:
            net.layers[edit.layer].params[edit.place] = copy


def _reordered(value: np.ndarray, axis: int, order: Order) -> np.ndarray:
    """The reordered param; a view for a plain reversal, so that large filters are not copied."""
    whole = value if axis < value.ndim else pad_to_4d(value)
    if whole.shape[axis] == 1:
        return value
    index: slice | list[int] = slice(None, None, -1) if order == tuple(reversed(range(len(order)))) else list(order)
    return whole[(slice(None),) * axis + (index,)]
