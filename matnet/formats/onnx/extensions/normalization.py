"""ONNX exporters of normalization layers of Caffe and its forks."""

from __future__ import annotations

from typing import Any

from matnet.formats.onnx.graph import LayerWriter
from matnet.formats.onnx.normalization import square, summed, write_divided
from matnet.formats.onnx.registry import exporter
from matnet.ops.extensions.normalize import MVN, BatchStatNorm, Normalize, WithinChannelLRN


@exporter(WithinChannelLRN)
def write_within_channel_lrn(writer: LayerWriter, op: WithinChannelLRN) -> None:
    window: dict[str, Any] = {"kernel_shape": [op.size] * 2, "pads": [op.size // 2] * 4}
    mean = writer.node("AveragePool", square(writer), strides=[1, 1], count_include_pad=1, **window)
    scaled = writer.node("Mul", mean, writer.constant(op.alpha, "alpha"))
    base = writer.node("Add", scaled, writer.constant(1.0, "one"))
    write_divided(writer, writer.inputs[0], base, op.beta, writer.outputs[0])


@exporter(Normalize)
def write_normalize(writer: LayerWriter, op: Normalize) -> None:
    total = summed(writer, square(writer), [1, 2, 3] if op.acrossSpatial else [1])
    norm = writer.node("Sqrt", writer.node("Add", total, writer.constant(op.eps, "eps")))
    if op.margin:
        norm = writer.node("Add", norm, writer.constant(op.margin, "margin"))
    unit = writer.node("Div", writer.inputs[0], norm)
    writer.node("Mul", unit, writer.constant(writer.prepared(), "scale"), to=writer.outputs[0])


def _centred(writer: LayerWriter, axes: list[int], to: str | None = None) -> str:
    mean = writer.node("ReduceMean", writer.inputs[0], axes=axes, keepdims=1)
    return writer.node("Sub", writer.inputs[0], mean, to=to)


def _variance(writer: LayerWriter, centred: str, axes: list[int]) -> str:
    return writer.node("ReduceMean", square(writer, centred), axes=axes, keepdims=1)


@exporter(MVN)
def write_mvn(writer: LayerWriter, op: MVN) -> None:
    axes = [1, 2, 3] if op.acrossChannels else [2, 3]
    if not op.normalizeVariance:
        _centred(writer, axes, to=writer.outputs[0])
        return
    centred = _centred(writer, axes)
    sigma = writer.node("Sqrt", _variance(writer, centred, axes))
    divisor = writer.node("Add", sigma, writer.constant(op.eps, "eps"))
    writer.node("Div", centred, divisor, to=writer.outputs[0])


@exporter(BatchStatNorm)
def write_batch_stat_norm(writer: LayerWriter, op: BatchStatNorm) -> None:
    axes = [0, 2, 3]
    centred = _centred(writer, axes)
    base = writer.node("Add", _variance(writer, centred, axes), writer.constant(op.epsilon, "epsilon"))
    writer.node("Div", centred, writer.node("Sqrt", base), to=writer.outputs[0])
