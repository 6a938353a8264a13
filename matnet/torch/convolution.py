"""Conv, ConvTranspose and matrix products in torch; filters are K x c x h x w."""

from __future__ import annotations

import numpy as np

from matnet.layout import filters_to_kchw, pad_to_4d
from matnet.ops.arrays import as_vector
from matnet.ops.convolution import Conv, ConvTranspose
from matnet.ops.extensions.linear import Embed, InnerProduct
from matnet.shapes import Pad
from matnet.torch.registry import translation
from matnet.torch.writer import LayerWriter, call, pair


def sides(pad: Pad) -> tuple[int, int, int, int]:
    """The pad in torch's order: left, right, top, bottom."""
    top, bottom, left, right = pad
    return left, right, top, bottom


def _bias(writer: LayerWriter, has_bias: bool) -> dict[str, np.ndarray]:
    if not has_bias or len(writer.params) < 2 or not writer.params[1].size:
        return {}
    return {"bias": as_vector(np, writer.params[1])}


@translation(Conv)
def write_conv(writer: LayerWriter, op: Conv) -> None:
    """Asymmetric pads are applied separately, before the convolution."""
    writer.prepared()  # raises an error for invalid filters
    filters = pad_to_4d(writer.params[0])
    if not filters.size:
        _write_picked(writer, op)
        return
    top, bottom, left, right = op.pad
    even = (top, left) == (bottom, right)
    bias = _bias(writer, op.hasBias)
    channels = writer.shapes[0][1]
    constructor = call(
        "nn.Conv2d",
        channels,
        filters.shape[3],
        pair(filters.shape[:2]),
        stride=pair(op.stride) if op.stride != (1, 1) else None,
        padding=pair((top, left)) if even and any(op.pad) else None,
        dilation=pair(op.dilate) if op.dilate != (1, 1) else None,
        groups=channels // filters.shape[2] if channels != filters.shape[2] else None,
        bias=None if bias else False,
    )
    module = writer.module(constructor, weight=filters_to_kchw(filters), **bias)
    writer.write(call(module, writer.x if even else call("F.pad", writer.x, sides(op.pad))))


def _write_picked(writer: LayerWriter, op: Conv) -> None:
    """Empty filters: every stride-th pixel of the padded input, plus the bias."""
    value = call("F.pad", writer.x, sides(op.pad)) if any(op.pad) else writer.x
    if op.stride != (1, 1):
        value = f"{value}[:, :, ::{op.stride[0]}, ::{op.stride[1]}]"
    for bias in _bias(writer, op.hasBias).values():
        value = f"{value} + {writer.module(call('Learned', (bias.size, 1, 1)), value=bias.reshape(-1, 1, 1))}()"
    writer.write(value)


@translation(ConvTranspose)
def write_conv_transpose(writer: LayerWriter, op: ConvTranspose) -> None:
    """Asymmetric crops are applied separately, as a negative pad."""
    writer.prepared()
    filters = pad_to_4d(writer.params[0])  # h x w x K x D; torch has D first
    top, bottom, left, right = op.crop
    even = (top, left) == (bottom, right)
    bias = _bias(writer, op.hasBias)
    constructor = call(
        "nn.ConvTranspose2d",
        filters.shape[3],
        filters.shape[2] * op.numGroups,
        pair(filters.shape[:2]),
        stride=pair(op.upsample) if op.upsample != (1, 1) else None,
        padding=pair((top, left)) if even and any(op.crop) else None,
        groups=op.numGroups if op.numGroups > 1 else None,
        bias=None if bias else False,
    )
    value = call(writer.module(constructor, weight=filters_to_kchw(filters), **bias), writer.x)
    writer.write(value if even else call("F.pad", value, tuple(-side for side in sides(op.crop))))


@translation(InnerProduct)
def write_inner_product(writer: LayerWriter, op: InnerProduct) -> None:
    weights, bias = writer.prepared()
    state = {"weight": weights} if bias is None else {"weight": weights, "bias": bias}
    keywords = {"bias": False} if bias is None else {}
    module = writer.module(call("nn.Linear", weights.shape[1], weights.shape[0], **keywords), **state)
    value = f"{module}({writer.x}.flatten({op.axis}))"
    writer.write(f"{value}[..., {', '.join(['None'] * (3 - op.axis))}]" if op.axis < 3 else value)


@translation(Embed)
def write_embed(writer: LayerWriter, op: Embed) -> None:
    table, bias = writer.prepared()
    rows, outputs = table.shape
    value = f"{writer.module(call('nn.Embedding', rows, outputs), weight=table)}({writer.x}.flatten().long())"
    if bias is not None:
        value += f" + {writer.module(call('Learned', (outputs,)), '_bias', value=bias)}()"
    sizes = [f"{writer.x}.shape[{axis}]" for axis in range(op.axis)] + [str(outputs)] + ["1"] * (3 - op.axis)
    writer.write(f"({value}).reshape({', '.join(sizes)})")
