"""ONNX exporter of MatConvNet's max and average pooling."""

from __future__ import annotations

from matnet.formats.onnx.convolution import onnx_pads
from matnet.formats.onnx.graph import LayerWriter
from matnet.formats.onnx.registry import exporter
from matnet.ops.pooling import Pooling


@exporter(Pooling)
def write_pooling(writer: LayerWriter, op: Pooling) -> None:
    """Both ONNX operators ignore padding: the maximum starts at -inf, the average counts only pixels."""
    writer.node(
        "MaxPool" if op.method == "max" else "AveragePool",
        writer.inputs[0],
        to=writer.outputs[0],
        kernel_shape=list(op.poolSize),
        strides=list(op.stride),
        pads=onnx_pads(op.pad),
    )


