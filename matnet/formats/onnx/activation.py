"""ONNX exporters of elementwise activations, softmax and dropout (an identity)."""

from __future__ import annotations

from matnet.formats.onnx.graph import LayerWriter
from matnet.formats.onnx.registry import exporter
from matnet.ops.activation import DropOut, ReLU, Sigmoid, SoftMax
from matnet.ops.base import Op

SAME_IN_ONNX: dict[type[Op], str] = {Sigmoid: "Sigmoid", DropOut: "Identity"}


@exporter(*SAME_IN_ONNX)
def write_same(writer: LayerWriter, op: Op) -> None:
    writer.node(SAME_IN_ONNX[type(op)], writer.inputs[0], to=writer.outputs[0])


@exporter(ReLU)
def write_relu(writer: LayerWriter, op: ReLU) -> None:
    """NaN stays NaN, whereas MATLAB's max gives 0: replacing NaN in ONNX would need another pass."""
    if op.leak == 0:
        writer.node("Relu", writer.inputs[0], to=writer.outputs[0])
    else:
        writer.node("LeakyRelu", writer.inputs[0], to=writer.outputs[0], alpha=op.leak)


@exporter(SoftMax)
def write_softmax(writer: LayerWriter, op: SoftMax) -> None:
    writer.node("Softmax", writer.inputs[0], to=writer.outputs[0], axis=1)


