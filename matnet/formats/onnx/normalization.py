"""ONNX exporters of normalization layers, composed of fast operators."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from matnet.formats.onnx.convolution import onnx_pads
from matnet.formats.onnx.graph import LayerWriter
from matnet.formats.onnx.registry import exporter
from matnet.ops.normalization import LRN, BatchNorm, NormalizeLp, NormOffset, SpatialNorm

WIDEST_BAND = 2048  # maximum number of channels to express LRN's window as a matrix
BLOCK = 16  # channels summed by one filter bank; 8 and 32 were slower in ONNX Runtime


def write_divided(writer: LayerWriter, x: str, base: str, power: float, to: str | None = None) -> str:
    """x / base^power; common powers use square roots, which runtimes vectorize."""
    root = writer.node("Sqrt", base) if power in (0.25, 0.5, 0.75) else base
    if power == 0.75:
        root = writer.node("Mul", root, writer.node("Sqrt", root))
    elif power == 0.25:
        root = writer.node("Sqrt", root)
    elif power not in (0.5, 1.0):
        root = writer.node("Pow", base, writer.constant(power, "power"))
    return writer.node("Div", x, root, to=to)


def square(writer: LayerWriter, value: str | None = None) -> str:
    value = value or writer.inputs[0]
    return writer.node("Mul", value, value)


def summed(writer: LayerWriter, value: str, axes: Sequence[int]) -> str:
    return writer.node("ReduceSum", value, writer.integers(axes, "axes"), keepdims=1)


@exporter(LRN)
def write_lrn(writer: LayerWriter, op: LRN) -> None:
    """LRN with the sum over neighbouring channels as a convolution of the squares, with kappa as its bias.

    ONNX's LRN has the same window, also for an even length, but takes a third of a network's time in some runtimes.
    """
    length, kappa, alpha, beta = op.param
    channels = writer.size(1)
    if writer.graph.options.native_lrn or channels > WIDEST_BAND:
        attributes: dict[str, Any] = {"alpha": alpha * length, "beta": beta, "bias": kappa, "size": int(length)}
        writer.node("LRN", writer.inputs[0], to=writer.outputs[0], **attributes)
    elif channels % BLOCK == 0 and BLOCK + int(length) - 1 < channels:
        _write_lrn_by_blocks(writer, op, channels)
    else:
        band = alpha * _band(channels, channels, int(length), (int(length) - 1) // 2)
        weights = writer.constant(band.reshape(channels, channels, 1, 1), "band")
        bias = writer.constant(np.full(channels, kappa), "kappa")
        base = writer.node("Conv", square(writer), weights, bias, kernel_shape=[1, 1])
        write_divided(writer, writer.inputs[0], base, beta, writer.outputs[0])


def _band(count: int, seen: int, length: int, below: int) -> np.ndarray:
    """count x seen, 1 where channel j is in the window of channel i, which starts `below` channels before i."""
    offsets = np.arange(seen) - np.arange(count)[:, np.newaxis]
    return (offsets >= -below) & (offsets < length - below)


def _write_lrn_by_blocks(writer: LayerWriter, op: LRN, channels: int) -> None:
    """LRN by a convolution with the channels as rows, one filter per channel of a block, and the block size as stride.

    A filter covers its block and the reach of its windows, a tenth of the products of a full channel matrix.
    """
    length, kappa, alpha, beta = op.param
    below = (int(length) - 1) // 2
    above = int(length) - 1 - below
    rows = writer.node("Reshape", writer.inputs[0], writer.integers([0, 1, channels, -1], "shape"))
    band = alpha * _band(BLOCK, BLOCK + below + above, int(length), 0)
    weights = writer.constant(band[:, np.newaxis, :, np.newaxis], "band")
    bias = writer.constant(np.full(BLOCK, kappa), "kappa")
    shape: dict[str, Any] = {"kernel_shape": [band.shape[1], 1], "strides": [BLOCK, 1], "pads": [below, 0, above, 0]}
    sums = writer.node("Conv", square(writer, rows), weights, bias, **shape)  # N x BLOCK x blocks x pixels
    base = writer.node("Transpose", sums, perm=[0, 2, 1, 3])
    blocks = writer.integers([0, channels // BLOCK, BLOCK, -1], "shape")
    divided = write_divided(writer, writer.node("Reshape", writer.inputs[0], blocks), base, beta)
    writer.node("Reshape", divided, writer.node("Shape", writer.inputs[0]), to=writer.outputs[0])


@exporter(BatchNorm)
def write_batch_norm(writer: LayerWriter, op: BatchNorm) -> None:
    """The factor already includes sigma, because its square as a variance could underflow."""
    coef, mean, offset = (np.ravel(factor) for factor in writer.prepared())
    params = {"factor": coef, "offset": offset, "mean": mean, "variance": np.ones_like(mean)}
    names = [writer.constant(value, what) for what, value in params.items()]
    writer.node("BatchNormalization", writer.inputs[0], *names, to=writer.outputs[0], epsilon=0.0)


@exporter(SpatialNorm)
def write_spatial_norm(writer: LayerWriter, op: SpatialNorm) -> None:
    window: dict[str, Any] = {"kernel_shape": list(op.window), "pads": onnx_pads(op.pad)}
    mean = writer.node("AveragePool", square(writer), strides=[1, 1], **window)
    scaled = writer.node("Mul", mean, writer.constant(op.param[2], "alpha"))
    base = writer.node("Add", scaled, writer.constant(1.0, "one"))
    write_divided(writer, writer.inputs[0], base, op.param[3], writer.outputs[0])


@exporter(NormOffset)
def write_norm_offset(writer: LayerWriter, op: NormOffset) -> None:
    length = writer.node("Max", summed(writer, square(writer), [1]), writer.constant(1e-8, "least"))
    power = writer.node("Pow", length, writer.constant(op.param[1], "power"))
    offset = writer.node("Mul", power, writer.constant(op.param[0], "factor"))
    writer.node("Sub", writer.inputs[0], offset, to=writer.outputs[0])


@exporter(NormalizeLp)
def write_normalize_lp(writer: LayerWriter, op: NormalizeLp) -> None:
    x = writer.inputs[0]
    powers = square(writer) if op.p == 2 else writer.node("Pow", x, writer.constant(op.p, "p"))
    total = summed(writer, powers, [2, 3] if op.spatial else [1])
    base = writer.node("Add", total, writer.constant(op.epsilon, "epsilon"))
    write_divided(writer, x, base, 1 / op.p, writer.outputs[0])


