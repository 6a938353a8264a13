"""ONNX exporters of reshaping, reordering, resizing, reductions and constants."""

from __future__ import annotations

from typing import Any

import numpy as np

from matnet.formats.onnx.graph import LayerWriter, NotExpressible
from matnet.formats.onnx.registry import exporter
from matnet.ops.base import Op
from matnet.ops.extensions.constant import DummyData, Parameter
from matnet.ops.extensions.interp import Interp
from matnet.ops.extensions.reduce import ArgMax, Reduction
from matnet.ops.extensions.reshape import (
    CaffeFlatten,
    CaffeReshape,
    ChannelShuffle,
    Flatten,
    Permute,
    PermuteAxes,
    Reorg,
    Reshape,
    Reverse,
)
from matnet.ops.extensions.upsampling import Upsample


@exporter(CaffeFlatten, CaffeReshape)
def write_reshape(writer: LayerWriter, op: Op) -> None:
    writer.reshape(writer.inputs[0], writer.output_axes(), to=writer.outputs[0])


@exporter(Flatten, Reshape)
def write_matlab_reshape(writer: LayerWriter, op: Op) -> None:
    """In MATLAB rows vary fastest, so rows and columns are transposed before and after."""
    turned = writer.node("Transpose", writer.inputs[0], perm=[0, 1, 3, 2])
    n, channels, height, width = writer.output_axes()
    shaped = writer.reshape(turned, (n, channels, width, height))
    writer.node("Transpose", shaped, to=writer.outputs[0], perm=[0, 1, 3, 2])


@exporter(Permute)
def write_permute(writer: LayerWriter, op: Permute) -> None:
    writer.node("Transpose", writer.inputs[0], to=writer.outputs[0], perm=list(op.axes()))


@exporter(PermuteAxes)
def write_permute_axes(writer: LayerWriter, op: PermuteAxes) -> None:
    whole = writer.reshape(writer.inputs[0], op.shape)
    exchanged = writer.node("Transpose", whole, perm=list(op.order))
    writer.reshape(exchanged, writer.output_axes(), to=writer.outputs[0])


@exporter(Reverse)
def write_reverse(writer: LayerWriter, op: Reverse) -> None:
    bounds = ([-1] * len(op.axis), [-(1 << 31)] * len(op.axis), op.axis, [-1] * len(op.axis))
    writer.node("Slice", writer.inputs[0], *[writer.integers(values) for values in bounds], to=writer.outputs[0])


@exporter(Reorg)
def write_reorg(writer: LayerWriter, op: Reorg) -> None:
    channels, height, width = (writer.size(axis) for axis in (1, 2, 3))
    s, maps = op.stride, writer.size(1) // op.stride**2
    if op.reverse:
        sizes, perm = (s, s, maps, height, width), [0, 3, 4, 1, 5, 2]
    else:
        sizes, perm = (maps, height, s, width, s), [0, 3, 5, 1, 2, 4]
    parts = writer.reshape(writer.inputs[0], (None, *sizes))
    moved = writer.node("Transpose", parts, perm=perm)
    (shape,) = op.output_shapes([(1, channels, height, width)], [])
    writer.reshape(moved, (None, *shape[1:]), to=writer.outputs[0])


@exporter(Upsample)
def write_upsample(writer: LayerWriter, op: Upsample) -> None:
    scales = writer.constant(np.array([1, 1, *op.scale], np.float32), "scales")
    attributes: dict[str, Any] = {
        "coordinate_transformation_mode": "asymmetric",
        "mode": "nearest",
        "nearest_mode": "floor",
    }
    writer.node("Resize", writer.inputs[0], "", scales, to=writer.outputs[0], **attributes)


@exporter(ChannelShuffle)
def write_channel_shuffle(writer: LayerWriter, op: ChannelShuffle) -> None:
    order = np.arange(writer.size(1)).reshape(op.group, -1).T.ravel()
    writer.node("Gather", writer.inputs[0], writer.integers(order, "order"), to=writer.outputs[0], axis=1)


@exporter(Reduction)
def write_reduction(writer: LayerWriter, op: Reduction) -> None:
    axes = list(range(op.axis, 4))
    if op.operation == "sum":
        total = writer.node("ReduceSum", writer.inputs[0], writer.integers(axes, "axes"), keepdims=1)
    else:
        kind = {"asum": "ReduceL1", "sumsq": "ReduceSumSquare", "mean": "ReduceMean"}[op.operation]
        total = writer.node(kind, writer.inputs[0], axes=axes, keepdims=1)
    writer.node("Mul", total, writer.constant(op.coeff, "coeff"), to=writer.outputs[0])


@exporter(ArgMax)
def write_arg_max(writer: LayerWriter, op: ArgMax) -> None:
    if op.topK > 1:
        raise NotExpressible("ONNX does not define the order of equal values in a top-k")
    value = writer.inputs[0]
    if op.axis < 0:
        value = writer.node("Flatten", value, axis=1)
    axis = max(op.axis, 1) if op.axis < 0 else op.axis
    kinds = ["index", "value"] if op.axis < 0 and op.outMaxVal else ["value" if op.outMaxVal else "index"]
    found = [_greatest(writer, value, axis, kind) for kind in kinds]
    if op.axis >= 0:
        writer.node("Identity", found[0], to=writer.outputs[0])
        return
    joined = writer.node("Concat", *found, axis=1)
    writer.reshape(joined, writer.output_axes(), to=writer.outputs[0])


def _greatest(writer: LayerWriter, value: str, axis: int, kind: str) -> str:
    """The greatest value along an axis, or the index of its last occurrence, as float32."""
    if kind == "value":
        return writer.node("ReduceMax", value, axes=[axis], keepdims=1)
    index = writer.node("ArgMax", value, axis=axis, keepdims=1, select_last_index=1)
    return writer.cast(index)


@exporter(Interp)
def write_interp(writer: LayerWriter, op: Interp) -> None:
    height, width = writer.size(2), writer.size(3)
    start, value = -op.padBeg, writer.inputs[0]
    if op.padBeg or op.padEnd:
        ends = [height + op.padEnd, width + op.padEnd]
        bounds = [writer.integers(values) for values in ([start, start], ends, [2, 3])]
        value = writer.node("Slice", value, *bounds)
    like = [(1, 1, writer.size(2, which), writer.size(3, which)) for which in range(1, len(writer.inputs))]
    wanted = op.output_shapes([(1, 1, height, width), *like], [])[0][2:]
    batch_and_channels = writer.node("Shape", writer.inputs[0], start=0, end=2)
    sizes = writer.node("Concat", batch_and_channels, writer.integers(wanted, "size"), axis=0)
    attributes: dict[str, Any] = {"coordinate_transformation_mode": "align_corners", "mode": "linear"}
    writer.node("Resize", value, "", "", sizes, to=writer.outputs[0], **attributes)


@exporter(Parameter)
def write_parameter(writer: LayerWriter, op: Parameter) -> None:
    writer.node("Identity", writer.constant(writer.prepared(), "value"), to=writer.outputs[0])


@exporter(DummyData)
def write_dummy_data(writer: LayerWriter, op: DummyData) -> None:
    (value,) = op.forward(np, [], [])
    writer.node("Identity", writer.constant(value, "value"), to=writer.outputs[0])
