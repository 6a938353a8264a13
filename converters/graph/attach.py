"""Attach weights to layers: match by name, blob count and Caffe's shape rule; resolve shared blobs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import NamedTuple

import numpy as np

from matnet.converters.files.message import Message
from matnet.converters.graph.netdef import Blob, CaffeWeights, LayerDef, NetDef
from matnet.errors import FileFormatError, ShapeError, listing, nearest_names


class BlobMatch(NamedTuple):
    """A blob in the shape that a layer expects, and a warning if Caffe would have rejected it."""

    array: np.ndarray
    warning: str | None


def match_blob(blob: Blob, expected: tuple[int, ...]) -> BlobMatch:
    """`blob` in the shape `expected`, by Caffe's rule, or with a warning if only the number of values agrees.

    Caffe's rule (Blob::ShapeEquals): a legacy blob fits if `expected`, padded with leading ones to four axes, equals
    its (num, channels, height, width); any other blob must match exactly. Values are never permuted. Raises ShapeError
    with both shapes if the counts differ; the caller adds file, layer and blob index.
    """
    if prod(expected) != blob.data.size:
        raise ShapeError(f"the file has {_text(blob.shape)} ({blob.data.size} values), but the layer needs "
                         f"{_text(expected)} ({prod(expected)} values)")
    padded = (1,) * (4 - len(expected)) + expected
    fits = padded == blob.shape if blob.legacy else expected == blob.shape
    warning = (f"the shape {_text(blob.shape)} in the file is read as {_text(expected)}; Caffe would reject the file")
    return BlobMatch(blob.data.reshape(expected), None if fits else warning)


def _text(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "a single value"


def blob_counts(layer: LayerDef) -> tuple[int, ...] | None:
    """The allowed numbers of parameter blobs of the layer in a caffemodel; None if its type does not decide it."""
    rule = _COUNTS.get(layer.type)
    if rule is not None:
        return rule(layer)
    return (0,) if layer.type in _WITHOUT_BLOBS else None


def attach_weights(net: NetDef, weights: CaffeWeights) -> None:
    """Attach blobs to the layers of `net`, by name. Adds notes to `net.notes`.

    As in Caffe, layers of the file that are not in the net are ignored, with a note; only the first layer with a name
    is filled; and of all copies of a shared blob, the last stored one is used. The weights of a Deconvolution with a
    bilinear filler may be missing, because the filler defines them. Raises FileFormatError that lists every layer with
    missing weights, a wrong number of blobs, or a shared blob of another shape.
    """
    net.notes.extend(weights.notes)
    shared = _shared_blobs(net, weights)
    seen: set[str] = set()
    own = {layer.params.get("name") for layer in net.layers}
    unused = [name for name, blobs in weights.layers.items() if blobs and name not in own]
    near: dict[str, None] = {}
    problems = []
    for layer in net.layers:
        name = layer.params.get("name")
        stored = () if name in seen else weights.layers.get(name, ())
        seen.add(name)
        wanted = blob_counts(layer)
        try:
            blobs = _with_shared(layer, stored, shared, max(wanted or (0,)))
        except ShapeError as error:
            problems.append(f"layer {layer.name!r} ({layer.type}): {error}")
            continue
        if None not in blobs and (wanted is None or len(blobs) in wanted):
            layer.blobs = tuple(blob for blob in blobs if blob is not None)
        elif not blobs and _filler_defines(layer):
            net.notes.append(f"layer {layer.name!r}: no weights in the file; its bilinear filler defines them")
        else:
            close = nearest_names(name, unused) if name not in weights.layers and len(problems) < 20 else []
            near.update(dict.fromkeys(close))
            problems.append(_complaint(layer, stored, wanted, weights, close))
    if problems:
        free = [name for name in unused if name not in near]
        more = f" and {len(free) - 10} more" if len(free) > 10 else ""
        left = f"\n{'Further unused' if near else 'Unused'} weights in the file: {', '.join(free[:10])}"
        raise FileFormatError(listing(
            f"{weights.path}: wrong or missing weights for layers of {net.path} ({len(problems)}):", problems
        ) + (left + more if free else ""))
    if unused:
        names = ", ".join(unused[:5]) + (", ..." if len(unused) > 5 else "")
        net.notes.append(f"ignored the weights of {len(unused)} layers that are not in the prototxt: {names}")


class _Shared(NamedTuple):
    """The blob of all layers with one share name, and its shape in its owner, the first of them."""

    blob: Blob
    shape: tuple[int, ...]


def _shared_blobs(net: NetDef, weights: CaffeWeights) -> dict[str, _Shared]:
    """Share name -> shared blob: the last of its copies in the file."""
    shared: dict[str, Blob] = {}
    names = {layer.params.get("name"): layer.share_names for layer in reversed(net.layers)}
    for stored, blobs in weights.layers.items():
        for share, blob in zip(names.get(stored, ()), blobs, strict=False):
            if share and blob is not None:
                shared[share] = blob
    shapes = {name: blob.shape for name, blob in shared.items()}
    for layer in reversed(net.layers):
        for share, own in zip(layer.share_names, weights.layers.get(layer.params.get("name"), ()), strict=False):
            if share and own is not None:
                shapes[share] = own.shape
    return {name: _Shared(blob, shapes[name]) for name, blob in shared.items()}


def _with_shared(layer: LayerDef, stored: tuple[Blob | None, ...], shared: dict[str, _Shared],
                 count: int) -> list[Blob | None]:
    """The layer's blobs, with shared ones replaced by their common blob."""
    names = [name if name in shared else "" for name in layer.share_names]
    reach = max([len(stored), *(i + 1 for i, name in enumerate(names[:count]) if name)])
    own = [*stored, *[None] * (reach - len(stored))]
    return [_common(layer, i, blob, shared[names[i]]) if i < len(names) and names[i] else blob
            for i, blob in enumerate(own)]


def _common(layer: LayerDef, index: int, own: Blob | None, shared: _Shared) -> Blob:
    """The shared blob in this layer's own shape, which may differ if the share mode is PERMISSIVE."""
    shape = shared.shape if own is None else own.shape
    strict = layer.params.get("param")[index].get("share_mode") == "STRICT"
    if (strict and shape != shared.shape) or prod(shape) != shared.blob.data.size:
        other = shared.blob.shape if shape == shared.shape else shared.shape
        raise ShapeError(f"blob {index} has shape {_text(shape)}, but the shared blob "
                         f"{layer.share_names[index]!r} has shape {_text(other)}")
    if shape == shared.blob.shape:
        return shared.blob
    return Blob(shape, shared.blob.legacy if own is None else own.legacy, shared.blob.data.reshape(shape))


def _filler_defines(layer: LayerDef) -> bool:
    convolution: Message = layer.params.get("convolution_param")
    return layer.type == "Deconvolution" and convolution.get("weight_filler").get("type") == "bilinear"


def _complaint(layer: LayerDef, stored: tuple[Blob | None, ...], wanted: tuple[int, ...] | None,
               weights: CaffeWeights, near: Sequence[str]) -> str:
    what = f"layer {layer.name!r} ({layer.type})"
    name = layer.params.get("name")
    count = " or ".join(map(str, wanted or ())) or "all"
    if name not in weights.layers:
        hint = f"; nearest unused names: {', '.join(near)}" if near else ""
        return f"{what}: the file has no layer with this name{hint}"
    if not any(blob is not None for blob in stored):
        return f"{what}: the file has no weights for it; it needs {count} blobs"
    shapes = ", ".join(_text(blob.shape) if blob else "none" for blob in stored)
    return f"{what}: the file has {len(stored)} blobs ({shapes}), but the layer needs {count}"


_Count = Callable[[LayerDef], tuple[int, ...]]


def _with_bias(parameter: str) -> _Count:
    return lambda layer: (1 + layer.params.get(parameter).get("bias_term"),)


def _has_static_input(layer: LayerDef, hidden: int) -> bool:
    exposed = hidden if layer.params.get("recurrent_param").get("expose_hidden") else 0
    return len(layer.bottoms) - exposed > 2


def scales_itself(layer: LayerDef) -> bool:
    """Whether a BatchNorm has its own scale and bias, as in NVIDIA's fork.

    There, a filler implies them; other forks accept the filler but still have three blobs.
    """
    param: Message = layer.params.get("batch_norm_param")
    filled = param.has("scale_filler") or param.has("bias_filler")
    return bool(param.get("scale_bias") or (filled and len(layer.blobs) != 3))


def _batch_norm_count(layer: LayerDef) -> tuple[int, ...]:
    if not scales_itself(layer):
        return (3,)
    return (5,) if layer.params.get("batch_norm_param").get("scale_bias") else (5, 3)


_COUNTS: dict[str, _Count] = {
    **dict.fromkeys(("Convolution", "Deconvolution", "DepthwiseConvolution", "ConvolutionDepthwise"),
                    _with_bias("convolution_param")),
    "InnerProduct": _with_bias("inner_product_param"),
    "Embed": _with_bias("embed_param"),
    "Scale": lambda layer: ((len(layer.bottoms) == 1) + layer.params.get("scale_param").get("bias_term"),),
    "Bias": lambda layer: (int(len(layer.bottoms) == 1),),
    "BatchNorm": _batch_norm_count,
    "Lstm": lambda layer: (3,),
    "PReLU": lambda layer: (1,),
    "Parameter": lambda layer: (1,),
    "LSTM": lambda layer: (3 + _has_static_input(layer, hidden=2),),
    "RNN": lambda layer: (5 + _has_static_input(layer, hidden=1),),
    "Normalize": lambda layer: (1,) if layer.params.has("norm_param") else (0, 1),
    "MultiStageMeanfield": lambda layer: (3,),
}
"""Layer type -> the allowed numbers of blobs."""

_WITHOUT_BLOBS = frozenset((
    "AbsVal", "Accuracy", "ArgMax", "Axpy", "BNLL", "BatchReindex", "BoxOutput", "Clip", "Concat",
    "ContrastiveLoss", "Crop", "DecodeBBox", "DetectionOutput", "Dropout", "ELU", "Eltwise", "EuclideanLoss",
    "Exp", "Filter", "Flatten", "HDF5Output", "HingeLoss", "Im2col", "Interp", "LRN", "Log", "MVN", "MergeCrop",
    "MultinomialLogisticLoss", "PSROIPooling", "Permute", "Pooling", "Power", "PriorBox", "Proposal",
    "ROIAlign", "ROIPooling", "ReLU", "ReLU6", "Reduction", "Reshape", "SPP", "ShuffleChannel", "Sigmoid",
    "SigmoidCrossEntropyLoss", "Silence", "Slice", "Softmax", "SoftmaxWithLoss", "Split", "Swish", "TanH",
    "Threshold", "Tile",
    "BoxGroupOutput", "CTCGreedyDecoder", "Flip", "FrcnnOutput", "HardSwish", "L2Normalization", "L2Normalize",
    "Mish", "MultiSoftmax", "Region", "Reorg", "Reverse", "SimpleNormalize", "Squeeze", "SurfaceNorm",
    "Transpose", "Unpooling", "Upsample", "YoloDetectionOutput", "Yolov3DetectionOutput"))
