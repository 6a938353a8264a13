"""Max and average pooling in torch, with torch's own modules if their windows are the same for all map sizes."""

from __future__ import annotations

from matnet.ops.extensions.pooling import SPP, CaffePooling, GlobalPooling
from matnet.ops.extensions.reshape import Im2col
from matnet.ops.extensions.upsampling import Upsample
from matnet.ops.pooling import Pooling
from matnet.torch.convolution import sides
from matnet.torch.registry import translation
from matnet.torch.writer import LayerWriter, NotExpressible, call, pair

KINDS = {"max": "MaxPool2d", "avg": "AvgPool2d"}


def _same_windows(op: Pooling) -> bool | None:
    """The ceil_mode with which torch has exactly these windows for any map size; None if there is none.

    torch pads both sides equally, by at most half a window. Rounding sizes up is equivalent to a trailing pad larger by
    stride - 1: no window then starts beyond the leading pad and the image, where torch would drop it.
    """
    top, bottom, left, right = op.pad
    if any(2 * before > size for before, size in zip((top, left), op.poolSize, strict=True)):
        return None
    further = bottom - top, right - left
    if further == (0, 0):
        return False
    return True if further == (op.stride[0] - 1, op.stride[1] - 1) else None


@translation(Pooling)
def write_pooling(writer: LayerWriter, op: Pooling) -> None:
    """Padding is ignored by the maximum and not counted in the average."""
    ceil = _same_windows(op)
    arguments = pair(op.poolSize), pair(op.stride)
    if ceil is None:
        writer.through(call(f"Padded{KINDS[op.method]}", *arguments, sides(op.pad)))
        return
    pads = (op.pad[0], op.pad[2])
    counted = False if op.method == "avg" and (any(pads) or ceil) else None
    keywords = {"padding": pair(pads) if any(pads) else None, "ceil_mode": ceil or None, "count_include_pad": counted}
    writer.through(call(f"nn.{KINDS[op.method]}", *arguments, **keywords))


@translation(GlobalPooling)
def write_global_pooling(writer: LayerWriter, op: GlobalPooling) -> None:
    writer.through(call(f"nn.Adaptive{KINDS[op.method]}", 1))


@translation(CaffePooling)
def write_caffe_pooling(writer: LayerWriter, op: CaffePooling) -> None:
    """torch rounds up like Caffe, but drops windows outside the image; these need strides larger than the window."""
    pads = (op.pad[0], op.pad[2])
    ceil = op.roundMode == "ceil"
    inside = not ceil or any(pads) or all(s <= k for s, k in zip(op.stride, op.poolSize, strict=True))
    exact = inside and all(2 * before <= size for before, size in zip(pads, op.poolSize, strict=True))
    if op.mask and not exact:
        raise NotExpressible("torch has no mask for windows outside the input or for pads of more than half a window")
    if op.method == "stochastic":
        writer.write(call("stochastic_pool2d", writer.x, op.poolSize, op.stride, ceil_mode=ceil))
    elif not exact:
        writer.write(call("caffe_pool2d", writer.x, repr(op.method), op.poolSize, op.stride, pads, ceil_mode=ceil))
    else:
        keywords = {"padding": pair(pads) if any(pads) else None, "ceil_mode": ceil or None}
        keywords["return_indices"] = True if op.mask else None
        module = writer.module(call(f"nn.{KINDS[op.method]}", pair(op.poolSize), pair(op.stride), **keywords))
        if op.mask:
            writer.write_together(f"with_mask({module}({writer.x}))")
        else:
            writer.write(f"{module}({writer.x})")


@translation(SPP)
def write_spp(writer: LayerWriter, op: SPP) -> None:
    writer.write(call("spatial_pyramid", writer.x, repr(op.method), op.pyramidHeight))


@translation(Im2col)
def write_im2col(writer: LayerWriter, op: Im2col) -> None:
    value = call("F.pad", writer.x, sides(op.pad)) if any(op.pad) else writer.x
    writer.write(call("image_to_columns", value, op.kernelSize, op.stride, op.dilate))


@translation(Upsample)
def write_upsample(writer: LayerWriter, op: Upsample) -> None:
    rows, columns = op.scale
    writer.write(f"{writer.x}.repeat_interleave({rows}, 2).repeat_interleave({columns}, 3)")
