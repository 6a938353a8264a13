"""Normalisation: LRN, BatchNorm and the fork's BN, Scale and Bias, MVN, Normalize."""

from __future__ import annotations

import numpy as np

from matnet.converters.graph.netdef import LayerDef
from matnet.converters.lower.builder import Builder, Weight
from matnet.converters.lower.conv import zero_padded
from matnet.converters.lower.registry import lowers
from matnet.converters.lower.sizes import Sizes
from matnet.errors import NetworkError, UnsupportedLayersError
from matnet.layout import nchw_to_hwcn
from matnet.network import Layer
from matnet.ops.combine import Crop, Scale, Sum
from matnet.ops.extensions.normalize import MVN, BatchStatNorm, Normalize
from matnet.ops.extensions.reshape import CaffeReshape
from matnet.ops.normalization import LRN, BatchNorm, SpatialNorm


@lowers("LRN")
def lrn(layer: LayerDef, net: Builder) -> None:
    """LRN with alpha divided by the window, as MatConvNet multiplies a sum where Caffe takes a mean."""
    param = layer.params.get("lrn_param")
    size, alpha, beta = param.get("local_size"), param.get("alpha"), param.get("beta")
    if size < 1 or size % 2 == 0:
        raise NetworkError(f"local_size is {size}; Caffe takes odd windows only")
    if param.get("norm_region") == "WITHIN_CHANNEL":
        _within_channel(layer, net, size, alpha, beta)
    else:
        net.finish(layer, LRN(param=(size, param.get("k"), alpha / size, beta)))


def _within_channel(layer: LayerDef, net: Builder, size: int, alpha: float, beta: float) -> None:
    """SpatialNorm on an image with zeros around, cut back: so every mean divides by size^2, as Caffe's does.

    SpatialNorm itself would average the image's own pixels only, which differs along the border.
    """
    variable, channels = net.operand(layer.inputs[0]), net.channels(layer)
    half = size // 2
    wide = zero_padded(layer, net, variable, channels, (half, half, half, half))
    wide = net.step(layer, "wide", SpatialNorm(param=(size, size, alpha, beta)), [wide])
    net.finish(layer, Crop(crop=(half, half)), [wide, variable])


@lowers("BatchNorm")
def batch_norm(layer: LayerDef, net: Builder) -> None:
    """BatchNorm with multipliers 1 and offsets 0; MatConvNet keeps sigma, epsilon included, where Caffe keeps sums."""
    param = layer.params.get("batch_norm_param")
    if param.has("use_global_stats") and not param.get("use_global_stats"):
        net.note(layer, "normalises by the statistics of each batch (use_global_stats: false)")
        net.finish(layer, BatchStatNorm(epsilon=param.get("eps")))
        return
    channels = 1 if len(net.shape(layer.inputs[0])) == 1 else net.channels(layer)
    mean, variance = net.weight(layer, 0, (channels,)), net.weight(layer, 1, (channels,))
    factor = net.weight(layer, 2, (1,))
    if not net.with_weights:
        _normalise(
            layer, net, param.get("eps"), np.broadcast_to(np.float32(0), (channels, 2)), (mean, variance, factor)
        )
        return
    share = np.float64(factor.array[0])
    share = 1 / share if share != 0 else share
    sigma2 = variance.array.astype(np.float64) * share + param.get("eps")
    if not (sigma2 > 0).all():
        raise NetworkError(f"a variance is {sigma2.min() - param.get('eps'):g}; with eps it must be positive")
    moments = np.stack([mean.array.astype(np.float64) * share, np.sqrt(sigma2)], axis=1).astype(np.float32)
    _normalise(layer, net, param.get("eps"), moments, (mean, variance, factor))


@lowers("BN")
def fork_batch_norm(layer: LayerDef, net: Builder) -> None:
    """The forks' BN: blobs slope, bias, mean and variance, which are means and not sums."""
    param = layer.params.get("bn_param")
    if len(layer.blobs) not in (0, 4):
        raise UnsupportedLayersError(f"has {len(layer.blobs)} blobs; expected slope, bias, mean and variance")
    channels = net.channels(layer)
    slope, bias, mean, variance = (net.weight(layer, index, (channels,)) for index in range(4))
    sigma = np.sqrt(variance.array.astype(np.float64) + param.get("eps"))
    moments = np.stack([mean.array.astype(np.float64), sigma], axis=1).astype(np.float32)
    _normalise(layer, net, param.get("eps"), moments, (mean, variance), slope, bias)


def _normalise(
    layer: LayerDef,
    net: Builder,
    epsilon: float,
    moments: np.ndarray,
    sources: tuple[Weight, ...],
    slope: Weight | None = None,
    bias: Weight | None = None,
) -> None:
    column = (len(moments), 1)
    mult = np.broadcast_to(np.float32(1), column) if slope is None else slope.array.reshape(column)
    offset = np.broadcast_to(np.float32(0), column) if bias is None else bias.array.reshape(column)
    params = [
        net.param(layer, "mult", mult, *((slope,) if slope else ())),
        net.param(layer, "bias", offset, *((bias,) if bias else ())),
        net.param(layer, "moments", moments, *sources),
    ]
    net.finish(layer, BatchNorm(epsilon=epsilon), params=params)


@lowers("Scale", bottoms=(1, 2))
def scale(layer: LayerDef, net: Builder) -> None:
    """Scale by a learned factor, or by the second bottom; joined with the BatchNorm in front where possible."""
    param = layer.params.get("scale_param")
    axis = net.axis(layer, param.get("axis"))
    if len(layer.inputs) == 2:
        _scale_by_input(layer, net, axis, param.get("bias_term"))
        return
    shape = net.shape(layer.inputs[0])
    span = _span(axis, param.get("num_axes"), shape)
    factor = net.weight(layer, 0, span)
    offset = net.weight(layer, 1, span) if param.get("bias_term") else None
    if _joins(layer, net, axis, factor):
        _join(layer, net, factor, offset)
    else:
        _multiply(layer, net, axis, factor, offset)


@lowers("Bias", bottoms=(1, 2))
def bias(layer: LayerDef, net: Builder) -> None:
    """A Scale by 1 with an offset; a second bottom is added as it is."""
    param = layer.params.get("bias_param")
    axis = net.axis(layer, param.get("axis"))
    if len(layer.inputs) == 2:
        _add_input(layer, net, axis)
        return
    offset = net.weight(layer, 0, _span(axis, param.get("num_axes"), net.shape(layer.inputs[0])))
    _multiply(layer, net, axis, None, offset)


def _add_input(layer: LayerDef, net: Builder, axis: int) -> None:
    """A Sum where the second bottom is as large; else Scale's third argument, behind a multiplier of 1."""
    if net.shape(layer.inputs[0]) == net.shape(layer.inputs[1]):
        net.finish(layer, Sum())
        return
    x, offset = net.operands(layer)
    offset = _moved_to_axis(layer, net, axis, offset)
    numbers = [np.zeros((1, 1), np.float32), np.ones((1, 1), np.float32)]
    params = [net.param(layer, f"one_{name}", value) for name, value in zip(("mult", "bias"), numbers, strict=True)]
    one = net.step(layer, "one", Scale(size=(1, 1, 1, 1), hasBias=True), [offset], params)
    net.finish(layer, Scale(hasBias=True), [x, one, offset])


def _moved_to_axis(layer: LayerDef, net: Builder, axis: int, variable: str) -> str:
    """A second bottom whose axes stand where it is to be applied: its first one at the input's axis `axis`."""
    if axis == 0 or all(size == 1 for size in net.shape(layer.inputs[1])):
        return variable
    return net.step(layer, "factor", CaffeReshape(shape=(1,) * axis, axis=0, numAxes=0), [variable])


def _multiply(layer: LayerDef, net: Builder, axis: int, factor: Weight | None, offset: Weight | None) -> None:
    ones = np.ones((1, 1), np.float32)
    mult = aligned(factor.array, axis) if factor is not None else ones
    params = [net.param(layer, "mult", mult, *((factor,) if factor is not None else ()))]
    if offset is not None:
        params.append(net.param(layer, "bias", aligned(offset.array, axis), offset))
    size = (*mult.shape, 1, 1, 1, 1)[:4]
    net.finish(layer, Scale(size=size, hasBias=offset is not None), params=params)


def aligned(values: np.ndarray, axis: int) -> np.ndarray:
    """A blob that spans the axes of N x C x H x W from `axis` on, as MATLAB's H x W x C x N with ones elsewhere."""
    shape = (1,) * axis + values.shape
    return nchw_to_hwcn(values.reshape(shape + (1,) * (4 - len(shape))))


def _span(axis: int, count: int, shape: Sizes) -> Sizes:
    """The sizes of axes [axis, axis + count); count -1 means all to the last, 0 a single number."""
    stop = len(shape) if count == -1 else axis + count
    if stop > len(shape):
        raise NetworkError(f"covers axes {axis} to {stop - 1} of a blob that has {len(shape)}; use a smaller num_axes")
    return shape[axis:stop]


def _scale_by_input(layer: LayerDef, net: Builder, axis: int, has_bias: bool) -> None:
    x, factor = net.operands(layer)
    span = net.shape(layer.inputs[1])
    factor = _moved_to_axis(layer, net, axis, factor)
    params = []
    if has_bias:
        offset = net.weight(layer, 0, span)
        params.append(net.param(layer, "bias", aligned(offset.array, axis), offset))
    net.finish(layer, Scale(hasBias=has_bias), [x, factor], params)


def _joins(layer: LayerDef, net: Builder, axis: int, factor: Weight) -> bool:
    """Whether the BatchNorm in front can take the factor in, and may: no blob's last value is lost unless asked."""
    variable = layer.inputs[0]
    rule = net.options.merge_batchnorm
    producer = _batch_norm_before(net, variable)
    if rule == "never" or producer is None or axis != 1 or factor.array.ndim != 1 or net.readers[variable] != 1:
        return False
    return rule == "always" or not net.is_last_value(variable)


def _batch_norm_before(net: Builder, variable: str) -> Layer | None:
    """The BatchNorm layer that writes a variable, if its multipliers are still 1."""
    for other in net.graph.layers:
        if variable in other.outputs and other.type == "BatchNorm":
            found = net.net.layers.get(other.name)
            return found if found is not None and isinstance(found.op, BatchNorm) else None
    return None


def _join(layer: LayerDef, net: Builder, factor: Weight, offset: Weight | None) -> None:
    lost = layer.inputs[0]
    before = _batch_norm_before(net, lost)
    assert before is not None
    channels = factor.array.size
    net.net.params[before.params[0]].value = factor.array.reshape(channels, 1)
    if offset is not None:
        net.net.params[before.params[1]].value = offset.array.reshape(channels, 1)
    net.write_instead(before, lost, layer)
    net.joined.append(layer.name)


@lowers("MVN")
def mvn(layer: LayerDef, net: Builder) -> None:
    """An extension."""
    param = layer.params.get("mvn_param")
    op = MVN(
        normalizeVariance=param.get("normalize_variance"),
        acrossChannels=param.get("across_channels"),
        eps=param.get("eps"),
    )
    net.finish(layer, op)


@lowers("Normalize")
def normalize(layer: LayerDef, net: Builder) -> None:
    """An extension (ParseNet and SSD forks)."""
    param = layer.params.get("norm_param")
    factor = net.weight(layer, 0, () if param.get("channel_shared") else (net.channels(layer),))
    values = factor.array.reshape(1, 1, -1)
    op = Normalize(acrossSpatial=param.get("across_spatial"), eps=param.get("eps"))
    net.finish(layer, op, params=[net.param(layer, "scale", values, factor)])
