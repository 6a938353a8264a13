"""ONNX exporters of Caffe's pooling layers, for maps of known size."""

from __future__ import annotations

from typing import Any

import numpy as np

from matnet.formats.onnx.graph import LayerWriter, NotExpressible
from matnet.formats.onnx.registry import exporter
from matnet.ops.extensions.pooling import SPP, CaffePooling, GlobalPooling, Windows


@exporter(GlobalPooling)
def write_global_pooling(writer: LayerWriter, op: GlobalPooling) -> None:
    kind = "GlobalMaxPool" if op.method == "max" else "GlobalAveragePool"
    writer.node(kind, writer.inputs[0], to=writer.outputs[0])


@exporter(CaffePooling)
def write_caffe_pooling(writer: LayerWriter, op: CaffePooling) -> None:
    if op.mask or op.method == "stochastic":
        raise NotExpressible("ONNX has neither pooling with a mask nor stochastic pooling")
    size = writer.size(2), writer.size(3)
    write_windows(writer, op._windows(size), op.method, writer.outputs[0])


@exporter(SPP)
def write_spp(writer: LayerWriter, op: SPP) -> None:
    height, width = writer.size(2), writer.size(3)
    levels = []
    for level in range(op.pyramidHeight):
        pooled = write_windows(writer, op._level((height, width), level), op.method)
        levels.append(writer.node("Flatten", pooled, axis=1))
    joined = writer.node("Concat", *levels, axis=1)
    writer.reshape(joined, writer.output_axes(), to=writer.outputs[0])


def write_windows(writer: LayerWriter, windows: Windows, method: str, to: str | None = None) -> str:
    """Pooling by Caffe's windows: explicit trailing pads, and averages with Caffe's divisors."""
    size = writer.size(2), writer.size(3)
    pads = [*windows.pad, *(_after(windows, size, axis) for axis in (0, 1))]
    attributes: dict[str, Any] = {"kernel_shape": list(windows.kernel), "strides": list(windows.stride), "pads": pads}
    if method == "max":
        return writer.node("MaxPool", writer.inputs[0], to=to, **attributes)
    divided = writer.node("AveragePool", writer.inputs[0], count_include_pad=1, **attributes)
    correction = np.prod(windows.kernel) / windows.areas(np, size)
    if (correction == 1).all() and to is None:
        return divided
    return writer.node("Mul", divided, writer.constant(correction, "divisors"), to=to)


def _after(windows: Windows, size: tuple[int, int], axis: int) -> int:
    """The trailing pad for exactly these windows. Raises NotExpressible if one lies outside the input."""
    end = int(windows.starts(np, axis)[-1]) + windows.kernel[axis]
    if end - windows.kernel[axis] >= size[axis] or end < size[axis] - windows.stride[axis] + 1:
        raise NotExpressible("a pooling window lies outside the input")
    return max(0, end - size[axis])
