"""Folding of per-channel affine layers (batch normalization, Scale, Power) into an adjacent convolution.

y = a x + s after a convolution with filters W and bias b: filters a W, bias a b + s. Before a convolution without
padding: filters W a along the depth, bias b + W s. For batch normalization a = g / sigma, s = beta - a mu.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from matnet.engines.plan.uses import links
from matnet.layout import pad_to_4d
from matnet.network import Layer, Network
from matnet.ops.base import computes_as
from matnet.ops.convolution import Conv, ConvTranspose
from matnet.ops.normalization import BatchNorm
from matnet.params import Param, owned
from matnet.shapes import Shape


class Affine(NamedTuple):
    """y = factor * x + offset per channel, in double; one value for all channels, or one each."""

    factor: np.ndarray
    offset: np.ndarray


def fold_after(net: Network, wanted: Sequence[str]) -> Network:
    """Fold an affine layer into the preceding convolution, if it is the only reader of its output."""
    planned = net.copy()
    merged: dict[str, Layer] = {}  # folded layer -> its convolution
    for writer, layer in links(planned, wanted):
        conv = merged.get(writer.name, writer)
        if not (computes_as(conv.op, Conv) or computes_as(conv.op, ConvTranspose)) or not _has_filters(planned, conv):
            continue
        affine = affine_of(planned, layer)
        if affine is not None and _fits(affine, _output_channels(planned, conv)):
            _fold_after(planned, conv, affine)
            conv.outputs = list(layer.outputs)
            merged[layer.name] = conv
            del planned.layers[layer.name]
    return planned


def fold_before(net: Network, wanted: Sequence[str]) -> Network:
    """Fold an affine layer into the following convolution, if that is the only reader of its output.

    Not done for an offset in front of zero padding.
    """
    planned = net.copy()
    for layer, conv in links(planned, wanted):
        if not computes_as(conv.op, Conv) or not _has_filters(planned, conv):
            continue
        affine = affine_of(planned, layer)
        if affine is None or (any(conv.op.pad) and affine.offset.any()):
            continue
        depth = pad_to_4d(planned.params[conv.params[0]].value).shape[2]
        # Grouped filters see only some of the channels; a Scale may broadcast one channel to many.
        if not _fits(affine, depth if computes_as(layer.op, BatchNorm) else 1):
            continue
        _fold_before(planned, conv, affine, depth)
        conv.inputs = list(layer.inputs)
        del planned.layers[layer.name]
    return planned


def affine_of(net: Network, layer: Layer) -> Affine | None:
    """The layer's factor and offset if it is affine per channel with constant params, otherwise None."""
    params = [net.params[name].value for name in layer.params if name in net.params]
    if len(params) < len(layer.params) or len(layer.inputs) != 1 or len(layer.outputs) != 1:
        return None
    states_it = next(base for base in type(layer.op).__mro__ if "affine" in vars(base))
    affine = layer.op.affine(params) if computes_as(layer.op, states_it) else None
    return None if affine is None else Affine(*affine)


def _fits(affine: Affine, channels: int) -> bool:
    return all(vector.size in (1, channels) for vector in affine)


def _has_filters(net: Network, conv: Layer) -> bool:
    return all(name in net.params for name in conv.params) and net.params[conv.params[0]].value.size > 0


def _output_channels(net: Network, conv: Layer) -> int:
    shape: Shape = pad_to_4d(net.params[conv.params[0]].value).shape
    return shape[2] * conv.op.numGroups if computes_as(conv.op, ConvTranspose) else shape[3]


def _bias(net: Network, conv: Layer, channels: int) -> np.ndarray:
    has_bias = getattr(conv.op, "hasBias", False) and len(conv.params) > 1 and net.params[conv.params[1]].value.size
    return np.asarray(net.params[conv.params[1]].value, np.float64).ravel() if has_bias else np.zeros(channels)


def _replace_params(net: Network, conv: Layer, filters: np.ndarray, bias: np.ndarray) -> None:
    """Set new params under new names, because other layers may share the old ones."""
    conv.params = []
    for what, value in (("filters", filters), ("bias", bias)):
        name = f"{conv.name}/{what}"
        while name in net.params:
            name += "_folded"
        net.params[name] = Param(owned(value.astype(np.float32)))
        conv.params.append(name)
    assert isinstance(conv.op, (Conv, ConvTranspose))
    conv.op = replace(conv.op, hasBias=True)


def _fold_after(net: Network, conv: Layer, affine: Affine) -> None:
    filters = pad_to_4d(net.params[conv.params[0]].value)
    channels = _output_channels(net, conv)
    factor = np.broadcast_to(affine.factor, channels)
    if computes_as(conv.op, ConvTranspose):  # h x w x K x D: input D of group g makes output g K + k
        _, _, count, depth = filters.shape
        per_group = factor.reshape(conv.op.numGroups, count)
        scaled = filters * np.repeat(per_group, depth // conv.op.numGroups, axis=0).T
    else:
        scaled = filters * factor
    _replace_params(net, conv, scaled, factor * _bias(net, conv, channels) + affine.offset)


def _fold_before(net: Network, conv: Layer, affine: Affine, depth: int) -> None:
    filters = pad_to_4d(net.params[conv.params[0]].value).astype(np.float64)
    factor, offset = (np.broadcast_to(vector, depth)[:, np.newaxis] for vector in affine)
    bias = _bias(net, conv, filters.shape[3]) + (filters * offset).sum(axis=(0, 1, 2))
    _replace_params(net, conv, filters * factor, bias)
