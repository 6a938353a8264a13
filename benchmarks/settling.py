"""Scales random weights so that activations do not grow and scores differ, as with trained weights.

Otherwise a deep residual network overflows in FP16, and its softmax is 1 for one class, which hides errors.
"""

from __future__ import annotations

import numpy as np

from matnet.network import Layer, Network
from matnet.ops.activation import SoftMax
from matnet.ops.base import Array
from matnet.ops.convolution import Conv
from matnet.ops.normalization import BatchNorm

LEAST_DEVIATION = 1e-3


def settle(net: Network, output: str, x: dict[str, np.ndarray]) -> None:
    """Change random params in place, by running the layers once on these inputs.

    Batch normalization stores the moments of its input, as in training. The convolution before the softmax of `output`
    is scaled so that its scores have standard deviation 1.
    """
    layers = net.upto([output])
    if not any(isinstance(layer.op, (BatchNorm, SoftMax)) for layer in layers):
        return
    values: dict[str, Array] = dict(x)
    for layer in layers:
        inputs = [values[name] for name in layer.inputs]
        if isinstance(layer.op, BatchNorm):
            net.params[layer.params[2]].value = _moments(inputs[0])
        if isinstance(layer.op, SoftMax) and layer.outputs[0] == output:
            _scale(net, _writer(layers, layer.inputs[0]), 1 / max(float(inputs[0].std()), LEAST_DEVIATION))
            return
        prepared = layer.op.prepare(np, [net.params[name].value for name in layer.params])
        values.update(zip(layer.outputs, layer.op.forward(np, inputs, prepared), strict=False))


def _moments(x: np.ndarray) -> np.ndarray:
    """Means and standard deviations of the channels, C x 2."""
    deviations = np.maximum(x.std(axis=(0, 2, 3)), LEAST_DEVIATION)
    return np.asfortranarray(np.stack([x.mean(axis=(0, 2, 3)), deviations], axis=1), dtype=np.float32)


def _writer(layers: list[Layer], name: str) -> Layer | None:
    """The convolution that computes a variable, also through pooling; None if there is none."""
    while True:
        found = next((layer for layer in layers if name in layer.outputs), None)
        if found is None or isinstance(found.op, Conv) or len(found.inputs) != 1:
            return found if found is not None and isinstance(found.op, Conv) else None
        name = found.inputs[0]


def _scale(net: Network, layer: Layer | None, factor: float) -> None:
    for name in layer.params if layer else ():
        net.params[name].value = net.params[name].value * np.float32(factor)
