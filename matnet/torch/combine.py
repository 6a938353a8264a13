"""Merges, slices, crops and distances in torch."""

from __future__ import annotations

from itertools import pairwise

from matnet.ops.combine import Concat, ConcatMap, Crop, Scale, SubP, Sum
from matnet.ops.extensions.combine import Axpy, BatchReindex, CaffeCrop, Eltwise, Filter, Max, Slice, Tile
from matnet.ops.fields import AXIS_OF_DIM
from matnet.ops.training import PDist
from matnet.torch.registry import translation
from matnet.torch.writer import LayerWriter, call, number


@translation(Sum)
def write_sum(writer: LayerWriter, op: Sum) -> None:
    writer.write(" + ".join(writer.inputs))


@translation(Max)
def write_max(writer: LayerWriter, op: Max) -> None:
    greatest = writer.x
    for value in writer.inputs[1:]:
        greatest = f"torch.maximum({greatest}, {value})"
    writer.write(greatest)


@translation(Eltwise)
def write_eltwise(writer: LayerWriter, op: Eltwise) -> None:
    if op.operation == "prod":
        writer.write(" * ".join(writer.inputs))
        return
    weights = op.coeff or (1.0,) * len(writer.inputs)
    pairs = zip(writer.inputs, weights, strict=True)
    writer.write(" + ".join(value if weight == 1 else f"{number(weight)} * {value}" for value, weight in pairs))


@translation(Axpy)
def write_axpy(writer: LayerWriter, op: Axpy) -> None:
    scale, x, y = writer.inputs
    writer.write(f"{scale} * {x} + {y}")


@translation(Concat)
def write_concat(writer: LayerWriter, op: Concat) -> None:
    writer.write(f"torch.cat([{', '.join(writer.inputs)}], dim={AXIS_OF_DIM[op.dim]})")


@translation(ConcatMap)
def write_concat_map(writer: LayerWriter, op: ConcatMap) -> None:
    x, levels = writer.inputs
    writer.write(f"torch.cat([{x}, {levels}.expand({x}.shape[0], -1, *{x}.shape[2:])], dim=1)")


@translation(Scale)
def write_scale(writer: LayerWriter, op: Scale) -> None:
    """The multiplier, the bias or both are parameters of the submodule unless they are inputs."""
    needed = 3 if op.hasBias else 2
    given = list(writer.inputs)[:needed]
    learned = writer.prepared()[: needed - len(given)]
    if not learned:
        x, multiplier, *bias = given
        writer.write(" + ".join([f"{x} * {multiplier}", *bias]))
        return
    names = ("weight", "bias")[len(given) - 1 : needed - 1]
    state = dict(zip(names, learned, strict=True))
    shapes = {name: tuple(array.shape) for name, array in state.items()}
    writer.write(call(writer.module(call("Scale", **shapes), **state), *given))


@translation(Crop)
def write_crop(writer: LayerWriter, op: Crop) -> None:
    writer.write(call("crop_like", *writer.inputs, *op.crop))


@translation(CaffeCrop)
def write_caffe_crop(writer: LayerWriter, op: CaffeCrop) -> None:
    starts = {axis: op.offset[axis - op.axis] if axis - op.axis < len(op.offset) else 0 for axis in range(op.axis, 4)}
    writer.write(call("cut_like", *writer.inputs, starts))


@translation(SubP)
def write_sub_pixels(writer: LayerWriter, op: SubP) -> None:
    writer.write(call("channels_to_pixels" if op.scale > 1 else "pixels_to_channels", writer.x, op.factor))


@translation(Slice)
def write_slice(writer: LayerWriter, op: Slice) -> None:
    """Pieces beyond the number of outputs are dropped."""
    before = ":, " * op.axis
    if op.points:
        bounds = ["", *(str(point) for point in op.points), ""]
        for place, (low, high) in enumerate(list(pairwise(bounds))[: len(writer.layer.outputs)]):
            writer.write(f"{writer.x}[{before}{low}:{high}]", place)
        return
    pieces = f"{writer.x}.unflatten({op.axis}, ({op.parts}, -1)).unbind({op.axis})"
    outputs = len(writer.layer.outputs)
    if outputs == 1:
        writer.write(f"{pieces}[0]")
    else:
        writer.write_together(pieces if outputs == op.parts else f"{pieces}[:{outputs}]")


@translation(Tile)
def write_tile(writer: LayerWriter, op: Tile) -> None:
    repeats = ", ".join(str(op.tiles if axis == op.axis else 1) for axis in range(4))
    writer.write(f"{writer.x}.repeat({repeats})")


@translation(BatchReindex)
def write_batch_reindex(writer: LayerWriter, op: BatchReindex) -> None:
    x, index = writer.inputs
    writer.write(f"{x}[{index}.flatten().long()]")


@translation(Filter)
def write_filter(writer: LayerWriter, op: Filter) -> None:
    *data, selector = writer.inputs
    for place, value in enumerate(data[: len(writer.layer.outputs)]):
        writer.write(f"{value}[{selector}.flatten() != 0]", place)


@translation(PDist)
def write_pdist(writer: LayerWriter, op: PDist) -> None:
    params = [
        f"{writer.module(call('Learned', tuple(param.shape)), suffix, value=param)}()"
        for param, suffix in zip(writer.prepared(), ("", "_weights"), strict=False)
    ]
    x, x0, *weights = [*writer.inputs, *params]
    keywords = {"root": None if not op.noRoot else False, "weights": weights[0] if weights else None}
    writer.write(call("distance", x, x0, number(op.p), **keywords, total=True if op.aggregate else None))
