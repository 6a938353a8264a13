"""Folding of convolutions that only pad their input into the following convolution."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from matnet.engines.plan.uses import links
from matnet.layout import pad_to_4d
from matnet.network import Layer, Network
from matnet.ops.base import computes_as
from matnet.ops.convolution import Conv


def fold_padding(net: Network, wanted: Sequence[str]) -> Network:
    """Merge a convolution that only adds zero padding into the pad of the next convolution.

    This is exact, because both pad with zeros. Not done before pooling, which treats padding differently.
    """
    planned = net.copy()
    for padding, conv in links(planned, wanted):
        if _only_pads(planned, padding) and computes_as(conv.op, Conv) and _filter_size(planned, conv):
            assert isinstance(padding.op, Conv)
            top, bottom, left, right = (a + b for a, b in zip(padding.op.pad, conv.op.pad, strict=True))
            # This layer may be the first of the next pair, so edit it in place.
            conv.op, conv.inputs = replace(conv.op, pad=(top, bottom, left, right)), list(padding.inputs)
            del planned.layers[padding.name]
    return planned


def _filter_size(net: Network, layer: Layer) -> int:
    return net.params[layer.params[0]].value.size if layer.params[0] in net.params else 0


def _only_pads(net: Network, layer: Layer) -> bool:
    """Whether the layer is a convolution with stride 1, no bias, and empty filters or the 1 x 1 identity."""
    if not computes_as(layer.op, Conv) or layer.op.stride != (1, 1) or layer.params[0] not in net.params:
        return False
    if layer.op.hasBias and len(layer.params) > 1 and np.any(net.params[layer.params[1]].value):
        return False
    filters = pad_to_4d(np.asarray(net.params[layer.params[0]].value))
    if not filters.size:
        return True
    _, _, depth, count = filters.shape
    return filters.shape == (1, 1, count, count) and np.array_equal(filters[0, 0], np.eye(depth))
