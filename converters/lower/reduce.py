"""Layers along an axis: Softmax, Reduction, ArgMax."""

from __future__ import annotations

from matnet.converters.graph.netdef import LayerDef
from matnet.converters.lower.builder import Builder, own_fields
from matnet.converters.lower.registry import lowers
from matnet.ops.activation import SoftMax
from matnet.ops.extensions.reduce import ArgMax, Reduction, SoftMaxTranspose


@lowers("Softmax")
def softmax(layer: LayerDef, net: Builder) -> None:
    """SoftMax over channels; along other axes an extension."""
    axis = net.axis(layer, layer.params.get("softmax_param").get("axis"))
    net.finish(layer, SoftMax() if axis == 1 else SoftMaxTranspose.along(axis))


@lowers("Reduction")
def reduction(layer: LayerDef, net: Builder) -> None:
    """An extension that removes the axes from `axis` on."""
    param = layer.params.get("reduction_param")
    axis = net.axis(layer, param.get("axis"))
    net.finish(layer, Reduction(**own_fields(Reduction, param) | {"axis": axis}), rank=axis)


@lowers("MultiSoftmax")
def multi_softmax(layer: LayerDef, net: Builder) -> None:
    """A softmax over the channels of every pixel (MULTI_SOFTMAX of forks for surface normals and optical flow)."""
    net.finish(layer, SoftMax())


@lowers("ArgMax")
def argmax(layer: LayerDef, net: Builder) -> None:
    """An extension; without an axis, over all values of an item, with output N x 1 x k, or N x 2 x k with values."""
    param = layer.params.get("argmax_param")
    top, values = param.get("top_k"), param.get("out_max_val")
    if param.has("axis"):
        net.finish(layer, ArgMax(axis=net.axis(layer, param.get("axis")), topK=top, outMaxVal=values))
    else:
        rank = max(len(net.shape(layer.inputs[0])), 3)
        net.finish(layer, ArgMax(axis=-1, topK=top, outMaxVal=values), rank=rank)
