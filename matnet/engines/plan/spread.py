"""Replacement of a convolution of concatenated channels by a sum of convolutions, which avoids the copy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from matnet.engines.plan.uses import Uses
from matnet.layout import pad_to_4d
from matnet.network import Layer, Network
from matnet.ops.base import Channels, computes_as
from matnet.ops.combine import Sum
from matnet.ops.convolution import Conv
from matnet.params import Param


def spread_concat(net: Network, wanted: Sequence[str]) -> Network:
    """Split the only convolution that reads a concatenation (also through pooling) into one per concatenated input.

    Only if the additions involve fewer channels than the copy.
    """
    planned = net.copy()
    for concat in net.layers.values():
        if concat.op.joins_channels and len(concat.inputs) > 1:
            between, conv = _way_to_conv(planned, wanted, concat)
            depths = [_channels(planned, wanted, name) for name in concat.inputs]
            if conv is not None and _pays(planned, conv, depths):
                _spread(planned, planned.layers[concat.name], between, conv, [depth or 0 for depth in depths])
    return planned


def _way_to_conv(net: Network, wanted: Sequence[str], concat: Layer) -> tuple[list[Layer], Layer | None]:
    """The layers between a concatenation and the following convolution, and this convolution or None."""
    uses, between, last = Uses.of(net, wanted), list[Layer](), concat
    while True:
        link = uses.only_link(last.outputs[0])
        if link is None or len(link[1].outputs) != 1:
            return between, None
        last = link[1]
        if last.op.channels < Channels.SEPARATE or len(last.inputs) > 1 or last.params:
            return between, last if type(last.op) is Conv else None  # a subclass may compute something else
        between.append(last)


def _channels(net: Network, wanted: Sequence[str], name: str) -> int | None:
    """The number of channels of a variable computed by a convolution; None if unknown."""
    uses = Uses.of(net, wanted)
    while True:
        writers = uses.writers.get(name, [])
        if len(writers) != 1:
            return None
        layer = writers[0]
        if computes_as(layer.op, Conv):
            filters = net.params[layer.params[0]].value
            count = pad_to_4d(filters).shape[3] if filters.size else 1
            return count if count > 1 else None  # a layer in between may broadcast one channel to many
        if layer.op.channels < Channels.COUNT:
            return None
        name = layer.inputs[0]


def _pays(net: Network, conv: Layer, depths: Sequence[int | None]) -> bool:
    """Whether the filters read exactly these channels and the additions involve fewer."""
    depth, count = pad_to_4d(net.params[conv.params[0]].value).shape[2:]
    return None not in depths and depth == sum(depth or 0 for depth in depths) and count * (len(depths) - 1) <= depth


def _spread(net: Network, concat: Layer, between: Sequence[Layer], conv: Layer, depths: Sequence[int]) -> None:
    """Apply `between` and a slice of the filters to each part, and add the results pairwise."""
    for layer in (concat, *between, conv):
        del net.layers[layer.name]
    assert isinstance(conv.op, Conv)
    filters, bias = pad_to_4d(net.params[conv.params[0]].value), conv.params[1:]
    bounds = np.cumsum([0, *depths])
    total = ""
    for number, part in enumerate(concat.inputs):
        for layer in between:
            name = _unused(net, f"{layer.name}:{number}")
            net.add(replace(layer, name=name, inputs=[part], outputs=[name]))
            part = name
        name = _unused(net, f"{conv.name}:{number}")
        share = filters[:, :, bounds[number] : bounds[number + 1]]
        net.params[f"{name} filters"] = Param(share)
        # Add the bias only to the first part.
        op = replace(conv.op, size=share.shape, hasBias=conv.op.hasBias and not number)
        net.add(Layer(name, op, [part], [name], [f"{name} filters", *(bias if op.hasBias else ())]))
        total = name if not number else _add(net, conv, total, name, last=number + 1 == len(depths))


def _unused(net: Network, name: str) -> str:
    """The name, with primes appended until no layer, variable or param has it."""
    variables = {value for layer in net.layers.values() for value in (*layer.inputs, *layer.outputs)}
    while name in net.layers or name in variables or f"{name} filters" in net.params:
        name += "'"
    return name


def _add(net: Network, conv: Layer, one: str, other: str, last: bool) -> str:
    output = conv.outputs[0] if last else _unused(net, f"{other} sum")
    net.add(Layer(conv.name if last else output, Sum(), [one, other], [output]))
    return output
