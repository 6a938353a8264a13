"""One function per stock MatConvNet layer: the equivalent Caffe layer, or an error."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from matnet.converters.files.message import Message, build
from matnet.errors import NetworkError
from matnet.layout import filters_to_kchw, hwcn_to_nchw, pad_to_4d
from matnet.network import Layer, Network
from matnet.ops.fields import AXIS_OF_DIM
from matnet.shapes import Pad, Shape, caffe_pooled, windows


@dataclass(frozen=True, eq=False)
class CaffeLayer:
    """A Caffe layer to write: bottoms and tops are the network's variables; params: the names of the blobs."""

    name: str
    bottoms: Sequence[str]
    tops: Sequence[str]
    message: Message
    blobs: Sequence[np.ndarray] = ()
    params: Sequence[str] = field(default=())


@dataclass(frozen=True)
class Exporter:
    """The context of an export: the network, and the size of every variable."""

    net: Network
    sizes: Mapping[str, Shape]

    def value(self, layer: Layer, index: int) -> np.ndarray:
        """A param with MATLAB's shape, as float32."""
        return np.asarray(self.net.params[layer.params[index]].value, np.float32)

    def is_vector(self, variable: str) -> bool:
        """Whether Caffe's blob had only the axes N x C."""
        return self.net.blob_ranks.get(variable, 4) == 2


def caffe_layer(
    layer: Layer, kind: str, fields: Mapping[str, Any] | None = None, blobs: Sequence[np.ndarray] = ()
) -> CaffeLayer:
    """A Caffe layer with the layer's name, inputs and outputs."""
    params = layer.params[: len(blobs)]
    return _built(layer.name, kind, layer.inputs, layer.outputs[:1], blobs, params, **(fields or {}))


def _built(
    name: str,
    kind: str,
    bottoms: Sequence[str],
    tops: Sequence[str],
    blobs: Sequence[np.ndarray] = (),
    params: Sequence[str] = (),
    **fields: Any,
) -> CaffeLayer:
    return CaffeLayer(name, bottoms, tops, build("LayerParameter", name=name, type=kind, **fields), blobs, params)


def _convolution(layer: Layer, exporter: Exporter) -> list[CaffeLayer]:
    op: Any = layer.op
    filters = pad_to_4d(exporter.value(layer, 0))
    height, width, depth, outputs = filters.shape
    if filters.size == 0:
        raise NetworkError("has empty filters (copies pixels); Caffe has no such layer")
    size = exporter.sizes[layer.inputs[0]]
    blobs = [filters_to_kchw(filters), *_bias(layer, exporter)]
    has_bias = len(blobs) > 1
    if _is_inner_product(layer, exporter, filters.shape, size):
        blobs[0] = blobs[0].reshape(outputs, -1)
        return [caffe_layer(layer, "InnerProduct", {"inner_product_param": _counted(outputs, has_bias)}, blobs)]
    param = {**_counted(outputs, has_bias), **_kernel((height, width), op.stride)}
    param.update(_pads(_even_pad(op.pad, size[2:], (height, width), op.stride, op.dilate)))
    if size[1] != depth:
        param["group"] = size[1] // depth
    if op.dilate != (1, 1):
        param["dilation"] = list(op.dilate)
    return [caffe_layer(layer, "Convolution", {"convolution_param": param}, blobs)]


def _bias(layer: Layer, exporter: Exporter) -> list[np.ndarray]:
    values = exporter.value(layer, 1).reshape(-1) if len(layer.params) > 1 else np.empty(0)
    return [values] if layer.op.hasBias and values.size else []  # type: ignore[attr-defined]


def _is_inner_product(layer: Layer, exporter: Exporter, filters: Shape, size: Shape) -> bool:
    """By the blob's rank for a converted net; else if the kernel covers the whole input."""
    covers: bool = layer.op.covers(size, filters)  # type: ignore[attr-defined]
    return covers and ("caffe" not in exporter.net.meta or exporter.is_vector(layer.outputs[0]))


def _counted(outputs: int, has_bias: bool) -> dict[str, Any]:
    return {"num_output": outputs} if has_bias else {"num_output": outputs, "bias_term": False}


def _kernel(kernel: tuple[int, int], stride: tuple[int, int]) -> dict[str, Any]:
    fields: dict[str, Any] = (
        {"kernel_size": [kernel[0]]} if kernel[0] == kernel[1] else {"kernel_h": kernel[0], "kernel_w": kernel[1]}
    )
    if stride == (1, 1):
        return fields
    return fields | (
        {"stride": [stride[0]]} if stride[0] == stride[1] else {"stride_h": stride[0], "stride_w": stride[1]}
    )


def _pads(pad: tuple[int, int]) -> dict[str, Any]:
    if pad == (0, 0):
        return {}
    return {"pad": [pad[0]]} if pad[0] == pad[1] else {"pad_h": pad[0], "pad_w": pad[1]}


def _even_pad(
    pad: Pad, size: Sequence[int], kernel: tuple[int, int], stride: tuple[int, int], dilate: tuple[int, int]
) -> tuple[int, int]:
    """Pads of both axes; an uneven pad only if an even pad has the same output."""
    found = []
    for axis, (before, after) in enumerate(((pad[0], pad[1]), (pad[2], pad[3]))):
        span = (kernel[axis] - 1) * dilate[axis] + 1
        wanted = windows(size[axis], before, after, span, stride[axis])
        if windows(size[axis], before, before, span, stride[axis]) != wanted:
            raise NetworkError(f"pads {before} before and {after} after; Caffe supports only equal pads on both sides")
        found.append(before)
    return found[0], found[1]


def _deconvolution(layer: Layer, exporter: Exporter) -> list[CaffeLayer]:
    op: Any = layer.op
    filters = pad_to_4d(exporter.value(layer, 0))
    height, width, depth, _ = filters.shape
    top, bottom, left, right = op.crop
    pads = min(top, bottom), min(left, right)
    blobs = [filters_to_kchw(filters), *_bias(layer, exporter)]
    param = {**_counted(depth * op.numGroups, len(blobs) > 1), **_kernel((height, width), op.upsample)}
    param.update(_pads(pads))
    if op.numGroups != 1:
        param["group"] = op.numGroups
    made = caffe_layer(layer, "Deconvolution", {"convolution_param": param}, blobs)
    if (top, left) == (bottom, right):
        return [made]
    return _cropped(made, (top - pads[0], left - pads[1]), exporter.sizes[layer.outputs[0]][2:])


def _cropped(layer: CaffeLayer, offset: tuple[int, int], size: Sequence[int]) -> list[CaffeLayer]:
    """The layer, followed by a Crop at `offset` to the height and width of a DummyData layer.

    Caffe's Deconvolution can only crop opposite sides equally.
    """
    whole, reference, crop = (f"{layer.name}_{part}" for part in ("whole", "size", "crop"))
    filler = {"shape": [{"dim": [1, 1, *size]}], "data_filler": [{"type": "constant"}]}
    return [
        replace(layer, tops=[whole]),
        _built(reference, "DummyData", [], [reference], dummy_data_param=filler),
        _built(crop, "Crop", [whole, reference], layer.tops, crop_param={"axis": 2, "offset": list(offset)}),
    ]


def _pooling(layer: Layer, exporter: Exporter) -> list[CaffeLayer]:
    op: Any = layer.op
    top, bottom, left, right = op.pad
    size = exporter.sizes[layer.inputs[0]][2:]
    if op.method == "avg" and (top or left):
        raise NetworkError("averages only the image's own pixels along a padded border; Caffe includes the zeros")
    pool = {"pool": "MAX" if op.method == "max" else "AVE"}
    param = {
        name: value[0] if isinstance(value, list) else value for name, value in _kernel(op.poolSize, op.stride).items()
    }
    param |= {name: value[0] if isinstance(value, list) else value for name, value in _pads((top, left)).items()}
    axes = [(size[0], op.poolSize[0], op.stride[0], top, bottom), (size[1], op.poolSize[1], op.stride[1], left, right)]
    if all(_rounds_up(*axis, clip=bool(top or left)) for axis in axes):
        return [caffe_layer(layer, "Pooling", {"pooling_param": {**pool, **param}})]
    if (top, left) == (bottom, right):
        return [caffe_layer(layer, "Pooling", {"pooling_param": {**pool, **param, "round_mode": "FLOOR"}})]
    raise NetworkError(f"pads [top bottom left right] = {list(op.pad)} do not fit Caffe's rounding rules")


def _rounds_up(size: int, kernel: int, stride: int, before: int, after: int, clip: bool) -> bool:
    """Whether Caffe's ceil rule yields these windows for this input size."""
    return caffe_pooled(size, kernel, stride, before, clip=clip) == windows(size, before, after, kernel, stride)


def _lrn(layer: Layer, exporter: Exporter) -> list[CaffeLayer]:
    op: Any = layer.op
    size, kappa, alpha, beta = op.param
    if size % 2 == 0:
        raise NetworkError(f"normalizes over {size:g} channels; Caffe supports only odd sizes")
    param = {"local_size": int(size), "alpha": float(np.float32(alpha * size)), "beta": beta, "k": kappa}
    return [caffe_layer(layer, "LRN", {"lrn_param": param})]


def _batch_norm(layer: Layer, exporter: Exporter) -> list[CaffeLayer]:
    """BatchNorm with Caffe's statistics, followed by a Scale for multipliers and biases."""
    op: Any = layer.op
    factor, offset, mean, sigma = op.statistics([exporter.value(layer, index) for index in range(len(layer.params))])
    epsilon, variance = _variance(sigma, float(op.epsilon))
    name, scale = layer.name, f"{layer.name}_scale"
    between = [f"{layer.outputs[0]}_before_{scale}"]
    blobs, params = [mean, variance, np.ones(1, np.float32)], [f"{name}:{index}" for index in range(3)]
    statistics = _built(name, "BatchNorm", layer.inputs, between, blobs, params, batch_norm_param={"eps": epsilon})
    affine, tops = [factor, offset], layer.outputs[:1]
    return [
        statistics,
        _built(scale, "Scale", between, tops, affine, layer.params[:2], scale_param={"bias_term": True}),
    ]


def _variance(sigma: np.ndarray, epsilon: float) -> tuple[float, np.ndarray]:
    """eps and variances with sqrt(variance + eps) == sigma to the last bit, as computed by the conversion."""
    square = sigma.astype(np.float64) ** 2
    epsilon = float(np.float32(min(epsilon, square.min(initial=np.inf) / 2)))
    best = (square - epsilon).astype(np.float32)
    for _ in range(4):
        found = np.sqrt(best.astype(np.float64) + epsilon).astype(np.float32)
        best = np.where(found < sigma, np.nextafter(best, np.float32(np.inf)), best)
        best = np.where(found > sigma, np.nextafter(best, np.float32(0)), best)
    return epsilon, best


def _scale(layer: Layer, exporter: Exporter) -> list[CaffeLayer]:
    op: Any = layer.op
    if len(layer.inputs) == 2 and not layer.params:
        sizes = [exporter.sizes[name] for name in layer.inputs]
        if sizes[0] == sizes[1]:
            return [caffe_layer(layer, "Eltwise", {"eltwise_param": {"operation": "PROD"}})]
        if sizes[1] == (*sizes[0][:2], 1, 1):
            flat, shape = f"{layer.name}_factor", {"shape": {"dim": [0, 0]}}
            bottoms = [layer.inputs[0], flat]
            return [
                _built(flat, "Reshape", layer.inputs[1:], [flat], reshape_param=shape),
                _built(layer.name, "Scale", bottoms, layer.outputs[:1], scale_param={"axis": 0}),
            ]
    if len(layer.inputs) != 1 or len(layer.params) != 1 + op.hasBias:
        raise NetworkError("has a multiplier that Caffe's Scale does not support")
    values = [hwcn_to_nchw(exporter.value(layer, index)) for index in range(len(layer.params))]
    axis, count, blobs = _spans(values, exporter.sizes[layer.inputs[0]])
    param: dict[str, Any] = {} if axis == 1 else {"axis": axis}
    param |= ({} if count == 1 else {"num_axes": count}) | ({"bias_term": True} if op.hasBias else {})
    return [caffe_layer(layer, "Scale", {"scale_param": param}, blobs)]


def _spans(values: list[np.ndarray], size: Shape) -> tuple[int, int, list[np.ndarray]]:
    """The axes [axis, axis + count) that all params span, and the params reduced to them."""
    sizes = [max(value.shape[axis] for value in values) for axis in range(4)]
    spanned = [axis for axis in range(4) if sizes[axis] != 1]
    first, last = (spanned[0], spanned[-1]) if spanned else (1, 0)
    if not spanned and size[1] == 1:
        first, last = 1, 1
    shape = size[first : last + 1]
    blobs = [np.broadcast_to(value, (1,) * first + shape + (1,) * (3 - last)).reshape(shape) for value in values]
    return first, last - first + 1, blobs


def _concat(layer: Layer, exporter: Exporter) -> list[CaffeLayer]:
    axis = AXIS_OF_DIM[layer.op.dim]  # type: ignore[attr-defined]
    return [caffe_layer(layer, "Concat", {} if axis == 1 else {"concat_param": {"axis": axis}})]


def _crop(layer: Layer, exporter: Exporter) -> list[CaffeLayer]:
    offsets = layer.op.offsets([exporter.sizes[name] for name in layer.inputs])  # type: ignore[attr-defined]
    return [caffe_layer(layer, "Crop", {"crop_param": {"axis": 2, "offset": list(offsets)}})]


def _relu(layer: Layer, exporter: Exporter) -> list[CaffeLayer]:
    leak = layer.op.leak  # type: ignore[attr-defined]
    return [caffe_layer(layer, "ReLU", {"relu_param": {"negative_slope": leak}} if leak else {})]


def _dropout(layer: Layer, exporter: Exporter) -> list[CaffeLayer]:
    return [caffe_layer(layer, "Dropout", {"dropout_param": {"dropout_ratio": layer.op.rate}})]  # type: ignore[attr-defined]


def _roi_pooling(layer: Layer, exporter: Exporter) -> list[CaffeLayer]:
    """ROIPooling, after subtracting 1, because boxes are 0-based in Caffe."""
    op: Any = layer.op
    scale = np.ravel(op.transform)
    if op.method != "max" or op.flatten or scale.size != 1:
        raise NetworkError("averages, flattens, or maps boxes by a matrix, which Caffe's ROIPooling does not support")
    param = {"pooled_h": op.subdivisions[0], "pooled_w": op.subdivisions[1], "spatial_scale": float(scale[0])}
    boxes = f"{layer.name}_boxes"
    return [
        _built(boxes, "Power", layer.inputs[1:], [boxes], power_param={"shift": -1.0}),
        _built(layer.name, "ROIPooling", [layer.inputs[0], boxes], layer.outputs[:1], roi_pooling_param=param),
    ]


def _plain(kind: str) -> Callable[[Layer, Exporter], list[CaffeLayer]]:
    return lambda layer, exporter: [caffe_layer(layer, kind)]


def _dummy_data(layer: Layer, exporter: Exporter) -> list[CaffeLayer]:
    op: Any = layer.op
    height, width, channels, batch = op.size
    rank = exporter.net.blob_ranks.get(layer.outputs[0], 4)
    shape = {"dim": [batch, channels, height, width][:rank]}
    param = {"shape": [shape], "data_filler": [{"type": "constant", "value": op.value}]}
    return [caffe_layer(layer, "DummyData", {"dummy_data_param": param})]


EXPORTS: dict[str, Callable[[Layer, Exporter], list[CaffeLayer]]] = {
    "dagnn.Conv": _convolution,
    "dagnn.ConvTranspose": _deconvolution,
    "dagnn.Pooling": _pooling,
    "dagnn.LRN": _lrn,
    "dagnn.BatchNorm": _batch_norm,
    "dagnn.Scale": _scale,
    "dagnn.Sum": _plain("Eltwise"),
    "dagnn.Concat": _concat,
    "dagnn.Crop": _crop,
    "dagnn.ReLU": _relu,
    "dagnn.Sigmoid": _plain("Sigmoid"),
    "dagnn.SoftMax": _plain("Softmax"),
    "dagnn.DropOut": _dropout,
    "dagnn.ROIPooling": _roi_pooling,
    "dagnn.DummyData": _dummy_data,
}
"""DagNN class -> its export function."""
