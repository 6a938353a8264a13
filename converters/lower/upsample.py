"""Upsampling: Upsample of SegNet and of YOLO, DeconvNet's Unpooling."""

from __future__ import annotations

from matnet.converters.files.message import Message
from matnet.converters.graph.netdef import LayerDef
from matnet.converters.lower.builder import Builder
from matnet.converters.lower.registry import lowers
from matnet.converters.lower.sizes import SizeNeededError
from matnet.errors import NetworkError, UnsupportedLayersError
from matnet.ops.extensions.upsampling import Unpooling, Upsample


@lowers("Upsample", bottoms=(1, 2))
def upsample(layer: LayerDef, net: Builder) -> None:
    """With a mask (SegNet), values return to their positions; without (YOLOv3), each is repeated (default: once)."""
    param = layer.params.get("upsample_param")
    if len(layer.inputs) == 1:
        net.finish(layer, Upsample(scale=_pair(param, "scale", param.get("scale") if param.has("scale") else 1)))
        return
    size = (param.get("upsample_h"), param.get("upsample_w"))
    if all(size):
        net.finish(layer, Unpooling(outputSize=size))
        return
    scale = _pair(param, "scale", param.get("scale"))
    pad = (int(param.get("pad_out_h")), int(param.get("pad_out_w")))
    if any(cut and factor != 2 for cut, factor in zip(pad, scale, strict=True)):
        raise NetworkError(f"scale is {scale[0]}x{scale[1]}; pad_out needs a scale of 2")
    net.finish(layer, Unpooling(scale=scale, padOut=pad))


@lowers("Unpooling", bottoms=(1, 2))
def unpooling(layer: LayerDef, net: Builder) -> None:
    """DeconvNet's unpooling, method MAX: with a mask, or to the first cell of each window."""
    param = layer.params.get("unpooling_param")
    if param.get("unpool") != "MAX":
        raise UnsupportedLayersError(f"unpool {param.get('unpool')} is not supported; expected MAX")
    if param.get("pad") or param.get("pad_h") or param.get("pad_w"):
        raise NetworkError("has a pad, which the fork does not support; remove it")
    stride, kernel = _pair(param, "stride", param.get("stride")), _pair(param, "kernel", param.get("kernel_size"))
    size = _pair(param, "unpool", param.get("unpool_size"))
    if not all(size):
        shape = net.sizes[net.operand(layer.inputs[0])]
        if shape[2] is None or shape[3] is None:
            raise SizeNeededError("has no unpool_size, and its input size is unknown")
        given = (shape[2], shape[3])
        size = (_grown(given[0], kernel[0], stride[0]), _grown(given[1], kernel[1], stride[1]))
    net.finish(layer, Unpooling(scale=stride, outputSize=size))


def _grown(size: int, kernel: int, stride: int) -> int:
    return max((size - 1) * stride + kernel, size * stride + 1)


def _pair(param: Message, stem: str, one: int) -> tuple[int, int]:
    """(vertical, horizontal) from `<stem>_h` and `<stem>_w`, or one number for both."""
    if param.has(f"{stem}_h") or param.has(f"{stem}_w"):
        return param.get(f"{stem}_h"), param.get(f"{stem}_w")
    return one, one
