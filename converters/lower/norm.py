"""Normalization: LRN, BatchNorm and forks' BN, Scale and Bias, MVN, Normalize."""

from __future__ import annotations

import numpy as np

from matnet.converters.graph.attach import scales_itself
from matnet.converters.graph.netdef import LayerDef
from matnet.converters.lower.builder import Builder, ParamBlob, own_fields
from matnet.converters.lower.conv import zero_padded
from matnet.converters.lower.registry import lowers
from matnet.converters.lower.sizes import Sizes
from matnet.errors import NetworkError, UnsupportedLayersError
from matnet.layout import nchw_to_hwcn
from matnet.network import Layer
from matnet.ops import extensions
from matnet.ops.combine import Crop, Scale, Sum
from matnet.ops.normalization import LRN, BatchNorm, SpatialNorm


@lowers("LRN")
def lrn(layer: LayerDef, net: Builder) -> None:
    """LRN with alpha divided by the window size, because MatConvNet uses a sum and Caffe a mean."""
    param = layer.params.get("lrn_param")
    size, alpha, beta = param.get("local_size"), param.get("alpha"), param.get("beta")
    if size < 1 or size % 2 == 0:
        raise NetworkError(f"local_size is {size}; Caffe supports only odd sizes")
    if param.get("norm_region") == "WITHIN_CHANNEL":
        _within_channel(layer, net, size, alpha, beta)
    else:
        net.finish(layer, LRN(param=(size, param.get("k"), alpha / size, beta)))


def _within_channel(layer: LayerDef, net: Builder, size: int, alpha: float, beta: float) -> None:
    """SpatialNorm of the zero-padded image, then cropped, so that every mean divides by size^2, as in Caffe.

    SpatialNorm alone would average only the image's own pixels, which differs along the border.
    """
    variable, channels = net.operand(layer.inputs[0]), net.channels(layer)
    half = size // 2
    wide = zero_padded(layer, net, variable, channels, (half, half, half, half))
    wide = net.step(layer, "wide", SpatialNorm(param=(size, size, alpha, beta)), [wide])
    net.finish(layer, Crop(crop=(half, half)), [wide, variable])


@lowers("BatchNorm")
def batch_norm(layer: LayerDef, net: Builder) -> None:
    """BatchNorm with multipliers 1 and biases 0; MatConvNet stores sigma (including epsilon), Caffe stores sums."""
    param = layer.params.get("batch_norm_param")
    own = scales_itself(layer)
    if param.has("use_global_stats") and not param.get("use_global_stats"):
        net.note(layer, "normalizes by the statistics of each batch (use_global_stats: false)")
        _normalise_batch(layer, net, param.get("eps"), (3, 4) if own else ())
        return
    channels = 1 if len(net.shape(layer.inputs[0])) == 1 else net.channels(layer)
    mean, variance = net.weight(layer, 0, (channels,)), net.weight(layer, 1, (channels,))
    factor = net.weight(layer, 2, (1,))
    scale_and_offset = [net.weight(layer, index, (channels,)) for index in (3, 4)] if own else []
    if not net.with_weights:
        moments = np.broadcast_to(np.float32(0), (channels, 2))
        _normalise(layer, net, param.get("eps"), moments, (mean, variance, factor), *scale_and_offset)
        return
    share = np.float64(factor.array[0])
    share = 1 / share if share != 0 else share
    sigma2 = variance.array.astype(np.float64) * share + param.get("eps")
    if not (sigma2 > 0).all():
        raise NetworkError(f"a variance is {sigma2.min() - param.get('eps'):g}; variance + eps must be positive")
    moments = np.stack([mean.array.astype(np.float64) * share, np.sqrt(sigma2)], axis=1).astype(np.float32)
    _normalise(layer, net, param.get("eps"), moments, (mean, variance, factor), *scale_and_offset)


def _normalise_batch(layer: LayerDef, net: Builder, epsilon: float, blobs: tuple[int, ...]) -> None:
    """Normalize by the statistics of the batch, then apply a scale and a bias if `blobs` has their indices."""
    if not blobs:
        net.finish(layer, extensions.BatchStatNorm(epsilon=epsilon))
        return
    factor, offset = (net.weight(layer, index, (net.channels(layer),)) for index in blobs)
    variable = net.step(layer, "normalised", extensions.BatchStatNorm(epsilon=epsilon), [net.operand(layer.inputs[0])])
    _multiply(layer, net, 1, factor, offset, variable)


@lowers("BN")
def fork_batch_norm(layer: LayerDef, net: Builder) -> None:
    """Forks' BN: slope, bias, mean and variance (means, not sums); SegNet's has only slope and bias.

    An older one (ChenglongChen's caffe-windows, bn_layer.cpp) has var_eps instead of eps, and uses batch statistics
    unless moving_average is true.
    """
    param = layer.params.get("bn_param")
    fillers = param.has("scale_filler") or param.has("shift_filler")
    if len(layer.blobs) == 2 or (not layer.blobs and (param.has("bn_mode") or fillers)):
        _segnet_batch_norm(layer, net)
        return
    if len(layer.blobs) not in (0, 4):
        raise UnsupportedLayersError(f"has {len(layer.blobs)} blobs; expected slope, bias, mean and variance")
    older = any(param.has(name) for name in ("var_eps", "moving_average", "decay"))
    epsilon = param.get("var_eps" if older else "eps")
    if older and not param.get("moving_average"):
        net.note(layer, "normalizes by the statistics of each batch (moving_average: false)")
        _normalise_batch(layer, net, epsilon, (0, 1))
        return
    channels = net.channels(layer)
    slope, bias, mean, variance = (net.weight(layer, index, (channels,)) for index in range(4))
    sigma = np.sqrt(variance.array.astype(np.float64) + epsilon)
    moments = np.stack([mean.array.astype(np.float64), sigma], axis=1).astype(np.float32)
    _normalise(layer, net, epsilon, moments, (mean, variance), slope, bias)


def _segnet_batch_norm(layer: LayerDef, net: Builder) -> None:
    """SegNet's BN: with bn_mode INFERENCE a scale and bias that include the statistics, else batch statistics."""
    param = layer.params.get("bn_param")
    if param.get("bn_mode") != "INFERENCE":
        net.note(layer, "normalizes by the statistics of each batch (bn_mode: LEARN)")
        _normalise_batch(layer, net, param.get("var_eps"), (0, 1))
        return
    factor, offset = (net.weight(layer, index, (net.channels(layer),)) for index in (0, 1))
    _multiply(layer, net, 1, factor, offset)


def _normalise(
    layer: LayerDef,
    net: Builder,
    epsilon: float,
    moments: np.ndarray,
    sources: tuple[ParamBlob, ...],
    slope: ParamBlob | None = None,
    bias: ParamBlob | None = None,
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
    """Scale by learned multipliers, or by the second bottom; merged into the BatchNorm before it if possible."""
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
    """A Scale by 1 with a bias; a second bottom is added."""
    param = layer.params.get("bias_param")
    axis = net.axis(layer, param.get("axis"))
    if len(layer.inputs) == 2:
        _add_input(layer, net, axis)
        return
    offset = net.weight(layer, 0, _span(axis, param.get("num_axes"), net.shape(layer.inputs[0])))
    _multiply(layer, net, axis, None, offset)


def _add_input(layer: LayerDef, net: Builder, axis: int) -> None:
    """A Sum if the second bottom has the same size; else Scale's third argument, after a multiplier of 1."""
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
    """A second bottom reshaped so that its first axis is at the input's axis `axis`."""
    if axis == 0 or all(size == 1 for size in net.shape(layer.inputs[1])):
        return variable
    return net.step(layer, "factor", extensions.CaffeReshape(shape=(1,) * axis, axis=0, numAxes=0), [variable])


def _multiply(
    layer: LayerDef,
    net: Builder,
    axis: int,
    factor: ParamBlob | None,
    offset: ParamBlob | None,
    variable: str | None = None,
) -> None:
    ones = np.ones((1, 1), np.float32)
    mult = aligned(factor.array, axis) if factor is not None else ones
    params = [net.param(layer, "mult", mult, *((factor,) if factor is not None else ()))]
    if offset is not None:
        params.append(net.param(layer, "bias", aligned(offset.array, axis), offset))
    size = (*mult.shape, 1, 1, 1, 1)[:4]
    inputs = None if variable is None else [variable]
    net.finish(layer, Scale(size=size, hasBias=offset is not None), inputs, params=params)


def aligned(values: np.ndarray, axis: int) -> np.ndarray:
    """A blob over the axes of N x C x H x W from `axis` on, as MATLAB's H x W x C x N with ones elsewhere."""
    shape = (1,) * axis + values.shape
    return nchw_to_hwcn(values.reshape(shape + (1,) * (4 - len(shape))))


def _span(axis: int, count: int, shape: Sizes) -> Sizes:
    """The sizes of axes [axis, axis + count); count -1 means all remaining axes, 0 a single number."""
    stop = len(shape) if count == -1 else axis + count
    if stop > len(shape):
        raise NetworkError(f"covers axes {axis} to {stop - 1} of a blob with {len(shape)} axes; reduce num_axes")
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


def _joins(layer: LayerDef, net: Builder, axis: int, factor: ParamBlob) -> bool:
    """Whether the multipliers can be merged into the BatchNorm before, without losing a blob unless requested."""
    variable = layer.inputs[0]
    rule = net.options.merge_batchnorm
    producer = _batch_norm_before(net, variable)
    if rule == "never" or producer is None or axis != 1 or factor.array.ndim != 1 or net.readers[variable] != 1:
        return False
    return rule == "always" or not net.is_last_value(variable)


def _batch_norm_before(net: Builder, variable: str) -> Layer | None:
    """The BatchNorm layer that writes a variable, if its multipliers are 1."""
    for other in net.graph.layers:
        if variable in other.outputs and other.type == "BatchNorm":
            found = net.net.layers.get(other.name)
            return found if found is not None and isinstance(found.op, BatchNorm) else None
    return None


def _join(layer: LayerDef, net: Builder, factor: ParamBlob, offset: ParamBlob | None) -> None:
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
    net.finish(layer, extensions.MVN(**own_fields(extensions.MVN, layer.params.get("mvn_param"))))


@lowers("Normalize")
def normalize(layer: LayerDef, net: Builder) -> None:
    """An extension (ParseNet and SSD forks); without norm_param and weights, happynear's, to unit length."""
    if not layer.params.has("norm_param") and not layer.blobs:
        _to_unit_length(layer, net)
        return
    param = layer.params.get("norm_param")
    factor = net.weight(layer, 0, () if param.get("channel_shared") else (net.channels(layer),))
    values = factor.array.reshape(1, 1, -1)
    op = extensions.Normalize(acrossSpatial=param.get("across_spatial"), eps=param.get("eps"))
    net.finish(layer, op, params=[net.param(layer, "scale", values, factor)])


def _to_unit_length(layer: LayerDef, net: Builder) -> None:
    """x / sqrt(sum x^2 + 1e-6) over the channels (happynear's caffe-windows, normalize_layer.cpp)."""
    kind = layer.params.get("normalize_param").get("normalize_type")
    if kind != "L2":
        raise UnsupportedLayersError(f"normalize_type {kind!r} is not supported; expected L2")
    _normalise_length(layer, net, 1e-6)


@lowers("L2Normalization")
def l2_normalization(layer: LayerDef, net: Builder) -> None:
    """x / sqrt(sum x^2) over the channels (a fork for descriptors, l2_normalization_layer.cpp).

    All forks with a layer of this name agree on N x C; on maps some sum all values of an item instead.
    """
    if any(size != 1 for size in net.shape(layer.inputs[0])[2:]):
        net.note(layer, "divides each pixel by its norm over channels; some forks use the norm of the whole map")
    _normalise_length(layer, net, 0.0)


@lowers("L2Normalize")
def l2_normalize(layer: LayerDef, net: Builder) -> None:
    """x / sqrt(sum x^2 + 1e-7) over all values of an item (compact bilinear pooling, l2_normalize_layer.cpp)."""
    _normalise_length(layer, net, 1e-7, across=True)


@lowers("SimpleNormalize")
def simple_normalize(layer: LayerDef, net: Builder) -> None:
    """x / sqrt(sum x^2) over all values of an item (happynear's first Normalize; face forks)."""
    _normalise_length(layer, net, 0.0, across=True)


@lowers("SurfaceNorm")
def surface_norm(layer: LayerDef, net: Builder) -> None:
    """x / (sqrt(sum x^2) + 1e-6) over the channels (V1 NORM of the fork for surface normals, norm_layer.cpp)."""
    _normalise_length(layer, net, 0.0, margin=1e-6)


def _normalise_length(layer: LayerDef, net: Builder, epsilon: float, across: bool = False, margin: float = 0.0) -> None:
    scale = net.param(layer, "scale", np.ones((1, 1), np.float32))
    net.finish(layer, extensions.Normalize(acrossSpatial=across, eps=epsilon, margin=margin), params=[scale])
