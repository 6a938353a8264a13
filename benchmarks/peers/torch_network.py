"""Converts a Network to a PyTorch module for benchmarks, with the usual optimizations for inference."""

from __future__ import annotations

from collections import Counter
from typing import Any

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from matnet.engines.plan import drop_dropout
from matnet.errors import EngineError, MatnetError
from matnet.network import Network
from matnet.ops.activation import ReLU
from matnet.ops.convolution import Conv, ConvTranspose
from matnet.ops.normalization import BatchNorm
from matnet.shapes import Shape
from matnet.torch import to_torch
from matnet.torch.names import OF_MODULES, identifiers

CONVOLUTIONS = (nn.Conv2d, nn.ConvTranspose2d)


def torch_network(net: Network, name: str, output: str, shape: Shape) -> Any:
    """One output of a network as a function of its only input, with this shape.

    Batch normalization is folded into the convolutions by torch's helper, convolutions over the whole map become
    Linear, and a ReLU works in place if it is the only reader of a convolution. EngineError for layers that torch
    lacks.
    """
    net = drop_dropout(net, [output])
    layers = net.upto([output])
    try:
        module = to_torch(net, [output], input_shapes={name: shape})
    except MatnetError as error:
        raise EngineError(str(error)) from None
    uses = Counter(read for layer in layers for read in layer.inputs)
    names = identifiers([layer.name for layer in layers], OF_MODULES)
    writers = {layer.outputs[0]: layer for layer in layers}
    shapes = net.infer_shapes({name: shape}, [output])
    for layer in layers:
        before = writers.get(layer.inputs[0]) if layer.inputs else None
        alone = before is not None and uses[layer.inputs[0]] == 1 and layer.inputs[0] != output
        if before and alone and isinstance(layer.op, BatchNorm) and isinstance(before.op, (Conv, ConvTranspose)):
            _fold(module, names[before.name], names[layer.name])
        elif (
            before and alone and isinstance(layer.op, ReLU) and isinstance(before.op, (Conv, ConvTranspose, BatchNorm))
        ):
            getattr(module, names[layer.name]).inplace = True
    for layer in layers:
        if isinstance(layer.op, Conv):
            _flatten(module, names[layer.name], layer.op, shapes[layer.inputs[0]])
    return module.requires_grad_(False)


def _fold(module: Any, convolution: str, normalization: str) -> None:
    """Fold the batch normalization into the convolution before it."""
    before = getattr(module, convolution, None)
    if isinstance(before, CONVOLUTIONS):
        transpose = isinstance(before, nn.ConvTranspose2d)
        setattr(module, convolution, fuse_conv_bn_eval(before, getattr(module, normalization), transpose))
        setattr(module, normalization, nn.Identity())


def _flatten(module: Any, name: str, op: Conv, shape: Shape) -> None:
    """Replace a convolution by a matrix product if its filters cover the whole input."""
    found = getattr(module, name, None)
    if not isinstance(found, nn.Conv2d) or any(op.pad) or tuple(found.weight.shape[1:]) != tuple(shape[1:]):
        return
    linear = nn.utils.skip_init(nn.Linear, found.weight[0].numel(), len(found.weight), bias=found.bias is not None)
    linear.weight = nn.Parameter(found.weight.detach().flatten(1).contiguous())
    linear.bias = found.bias
    count = len(found.weight)
    setattr(module, name, nn.Sequential(nn.Flatten(1), linear, nn.Unflatten(1, (count, 1, 1))))
