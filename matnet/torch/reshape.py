"""Reshaping, reordering, reductions and constants in torch."""

from __future__ import annotations

import numpy as np

from matnet.ops.extensions.constant import DummyData, Parameter
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
from matnet.ops.fields import AXIS_OF_DIM
from matnet.torch.registry import translation
from matnet.torch.writer import LayerWriter, call, number


@translation(CaffeFlatten)
def write_caffe_flatten(writer: LayerWriter, op: CaffeFlatten) -> None:
    ones = ", ".join(["None"] * (op.endAxis - op.axis))
    writer.write(f"{writer.x}.flatten({op.axis}, {op.endAxis})" + (f"[..., {ones}]" if ones else ""))


@translation(CaffeReshape)
def write_caffe_reshape(writer: LayerWriter, op: CaffeReshape) -> None:
    """0 copies a size, -1 is inferred; ones are appended up to four axes."""
    stop = 4 if op.numAxes == -1 else op.axis + op.numAxes
    sizes = [f"{writer.x}.shape[{op.axis + place}]" if size == 0 else str(size) for place, size in enumerate(op.shape)]
    kept = [f"{writer.x}.shape[{axis}]" for axis in range(4)]
    shape = [*kept[: op.axis], *sizes, *kept[stop:], "1", "1", "1"]
    writer.write(f"{writer.x}.reshape({', '.join(shape[:4])})")


@translation(Flatten)
def write_flatten(writer: LayerWriter, op: Flatten) -> None:
    sizes = {2: "1", 3: "1", 1: "1"} | {AXIS_OF_DIM[op.axis]: "-1"}
    writer.write(call("matlab_reshape", writer.x, sizes[2], sizes[3], sizes[1]))


@translation(Reshape)
def write_reshape(writer: LayerWriter, op: Reshape) -> None:
    sizes = [
        f"{writer.x}.shape[{axis}]" if size == 0 else str(size)
        for size, axis in zip(op.shape or (0, 0, 0), (2, 3, 1), strict=True)
    ]
    writer.write(call("matlab_reshape", writer.x, *sizes))


@translation(Permute)
def write_permute(writer: LayerWriter, op: Permute) -> None:
    writer.write(f"{writer.x}.permute({', '.join(map(str, op.axes()))})")


@translation(PermuteAxes)
def write_permute_axes(writer: LayerWriter, op: PermuteAxes) -> None:
    (shape,) = op.output_shapes(writer.shapes, [])
    writer.write(f"{writer.x}.reshape({tuple(op.shape)}).permute({tuple(op.order)}).reshape({shape})")


@translation(Reverse)
def write_reverse(writer: LayerWriter, op: Reverse) -> None:
    writer.write(f"{writer.x}.flip({tuple(sorted(set(op.axis)))})")


@translation(Reorg)
def write_reorg(writer: LayerWriter, op: Reorg) -> None:
    writer.write(call("reorg_back" if op.reverse else "reorg", writer.x, op.stride))


@translation(ChannelShuffle)
def write_channel_shuffle(writer: LayerWriter, op: ChannelShuffle) -> None:
    writer.write(f"{writer.x}.unflatten(1, ({op.group}, -1)).transpose(1, 2).flatten(1, 2)")


@translation(Reduction)
def write_reduction(writer: LayerWriter, op: Reduction) -> None:
    terms = {"asum": f"{writer.x}.abs()", "sumsq": f"({writer.x} ** 2)"}.get(op.operation, writer.x)
    fold = "mean" if op.operation == "mean" else "sum"
    total = f"{terms}.{fold}({tuple(range(op.axis, 4))}, keepdim=True)"
    writer.write(total if op.coeff == 1 else f"{number(op.coeff)} * {total}")


@translation(ArgMax)
def write_arg_max(writer: LayerWriter, op: ArgMax) -> None:
    """Ties: last first, as in Caffe, by a stable sort of the reversed axis."""
    if op.axis >= 0:
        place = 1 if op.outMaxVal else 0
        writer.write(f"greatest({writer.x}, {op.axis}, {op.topK})[{place}]")
        return
    found = f"greatest({writer.x}.flatten(1), 1, {op.topK})"
    writer.write(f"torch.stack({found}, dim=1)[..., None]" if op.outMaxVal else f"{found}[0][:, None, :, None]")


@translation(Parameter)
def write_parameter(writer: LayerWriter, op: Parameter) -> None:
    value = writer.prepared()
    writer.write(f"{writer.module(call('Learned', tuple(value.shape)), value=value)}()")


@translation(DummyData)
def write_dummy_data(writer: LayerWriter, op: DummyData) -> None:
    ((n, c, h, w),) = op.output_shapes([], [])
    writer.write(f"{writer.first}.new_full({(n, c, h, w)}, {float(np.float32(op.value))!r})")
