"""A Network as a PyTorch module: the same weights, batch normalisation folded as torch's own helper does it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_weights

from matnet.engines.plan import drop_dropout
from matnet.errors import EngineError
from matnet.layout import filters_to_kchw, pad_to_4d
from matnet.network import Layer, Network
from matnet.ops.activation import ReLU, Sigmoid, SoftMax
from matnet.ops.base import Op
from matnet.ops.combine import Concat, Crop, Scale, Sum
from matnet.ops.convolution import Conv, ConvTranspose
from matnet.ops.normalization import LRN, BatchNorm
from matnet.ops.pooling import Pooling
from matnet.shapes import Pad, Shape, windows

Form = Callable[..., Any]
CHANNELS = 3  # MATLAB's number of the dimension of channels


class TorchNetwork(torch.nn.Module):
    """One output of a network as a function of its one input, of this shape.

    EngineError for layers that have no form here.
    """

    def __init__(self, net: Network, name: str, output: str, shape: Shape) -> None:
        super().__init__()
        self._input, self._output = name, output
        self._steps: list[tuple[Form, list[str], str]] = []
        net = drop_dropout(net, [output])
        layers = net.upto([output])
        shapes = net.infer_shapes({name: shape}, [output])
        uses = Counter(read for layer in layers for read in layer.inputs)
        convolutions: dict[str, Convolution] = {}  # by the variable that nothing else reads
        places: dict[str, str] = {}  # variables whose layer is merged into the one before
        for layer in layers:
            inputs = [places.get(read, read) for read in layer.inputs]
            before = convolutions.get(inputs[0])
            if before and isinstance(layer.op, BatchNorm) and uses[layer.inputs[0]] == 1 and layer.inputs[0] != output:
                before.fold(*_normalization(net, layer))
                places[layer.outputs[0]] = inputs[0]
                continue
            form = _form(net, layer, alone=uses[layer.inputs[0]] == 1 and layer.inputs[0] not in (name, output))
            if isinstance(form, Convolution):
                self.add_module(f"conv{len(self._steps)}", form)
                convolutions[layer.outputs[0]] = form
            self._steps.append((form, inputs, layer.outputs[0]))
        for convolved, form in convolutions.items():
            form.flatten_if_it_covers(next(shapes[layer.inputs[0]] for layer in layers if convolved in layer.outputs))
        self._output = places.get(output, output)

    def forward(self, x: Any) -> Any:
        values = {self._input: x}
        for form, inputs, output in self._steps:
            values[output] = form(*(values[name] for name in inputs))
        return values[self._output]


class Convolution(torch.nn.Module):
    """Conv or ConvTranspose; pads that differ from side to side are padded, or cut off, apart."""

    def __init__(self, op: Conv | ConvTranspose, params: list[np.ndarray]) -> None:
        super().__init__()
        self._op = op
        kernels = filters_to_kchw(pad_to_4d(params[0]))
        self.weight = _parameter(kernels)
        has_bias = op.hasBias and len(params) > 1 and params[1].size
        self.bias = _parameter(params[1].ravel(order="F")) if has_bias else None
        self._linear = False

    def flatten_if_it_covers(self, shape: Shape) -> None:
        """Become what nn.Linear is, weights in a matrix, where the filters cover an input of this shape."""
        if isinstance(self._op, Conv) and not any(self._op.pad) and self.weight.shape[1:] == shape[1:]:
            self._linear = True
            self.weight = torch.nn.Parameter(self.weight.flatten(1).contiguous(), requires_grad=False)

    def fold(self, mean: Any, variance: Any, factor: Any, offset: Any) -> None:
        """Take in the batch normalisation that follows."""
        self.weight, self.bias = fuse_conv_bn_weights(
            self.weight, self.bias, mean, variance, 0.0, factor, offset, transpose=isinstance(self._op, ConvTranspose)
        )

    def forward(self, x: Any) -> Any:
        op = self._op
        if isinstance(op, ConvTranspose):
            full = functional.conv_transpose2d(x, self.weight, self.bias, op.upsample, groups=op.numGroups)
            top, bottom, left, right = op.crop
            return full[:, :, top : full.shape[2] - bottom, left : full.shape[3] - right]
        if self._linear:
            return functional.linear(x.flatten(1), self.weight, self.bias)[:, :, None, None]
        groups = x.shape[1] // self.weight.shape[1]
        top, bottom, left, right = op.pad
        if (top, left) != (bottom, right):
            x, top, left = functional.pad(x, (left, right, top, bottom)), 0, 0
        return functional.conv2d(x, self.weight, self.bias, op.stride, (top, left), op.dilate, groups)


def _parameter(array: np.ndarray) -> Any:
    return torch.nn.Parameter(_tensor(array), requires_grad=False)


def _normalization(net: Network, layer: Layer) -> tuple[Any, Any, Any, Any]:
    """Mean, variance, factor and offset of a batch normalisation; epsilon is in the recorded deviation."""
    factor, offset, moments = (net.params[name].value.ravel(order="F") for name in layer.params)
    mean, deviation = np.split(moments, 2)
    return _tensor(mean), _tensor(deviation.astype(np.float64) ** 2), _tensor(factor), _tensor(offset)


def _tensor(values: np.ndarray) -> Any:
    return torch.from_numpy(np.array(values, dtype=np.float32, order="C"))


def _form(net: Network, layer: Layer, alone: bool) -> Form:
    """One layer as a function of tensors; `alone` says that nothing else reads its first input."""
    op = layer.op
    if isinstance(op, (Conv, ConvTranspose)):
        return Convolution(op, [net.params[name].value for name in layer.params])
    if isinstance(op, BatchNorm):
        moments = _Constants(_normalization(net, layer))
        return lambda x: _normalized(x, *moments.on(x))
    if isinstance(op, Scale):
        factors = op.prepare(np, [net.params[name].value for name in layer.params])
        constants = _Constants(tuple(map(_tensor, factors)))
        return lambda *inputs: _scaled(constants, op, *inputs)
    if isinstance(op, Pooling):
        return lambda x: pooled(op, x)
    if isinstance(op, LRN):
        length, kappa, alpha, beta = op.param
        return lambda x: functional.local_response_norm(x, int(length), alpha * length, beta, kappa)
    if isinstance(op, ReLU):
        return (lambda x: functional.leaky_relu(x, op.leak)) if op.leak else (lambda x: functional.relu(x, alone))
    if isinstance(op, Crop):
        return lambda x, reference: _cropped(op, x, reference)
    if isinstance(op, Concat) and op.dim == CHANNELS:
        return lambda *parts: torch.cat(parts, dim=1)
    plain: dict[type[Op], Form] = {
        Sum: lambda *parts: sum(parts[1:], start=parts[0]),
        SoftMax: lambda x: functional.softmax(x, dim=1),
        Sigmoid: torch.sigmoid,
    }
    if type(op) not in plain:
        raise EngineError(f"has no form of layer {layer.name!r} ({layer.type_name})")
    return plain[type(op)]


class _Constants:
    """Tensors that follow their input to its device and precision."""

    def __init__(self, tensors: tuple[Any, ...]) -> None:
        self._tensors = tensors

    def on(self, x: Any) -> tuple[Any, ...]:
        self._tensors = tuple(tensor.to(x.device, x.dtype) for tensor in self._tensors)
        return self._tensors


def _normalized(x: Any, mean: Any, variance: Any, factor: Any, offset: Any) -> Any:
    return functional.batch_norm(x, mean, variance, factor, offset, eps=0.0)


def _scaled(constants: _Constants, op: Scale, *inputs: Any) -> Any:
    x, factor, *offset = [*inputs, *constants.on(inputs[0])]
    return torch.addcmul(offset[0], x, factor) if op.hasBias else x * factor


def _cropped(op: Crop, x: Any, reference: Any) -> Any:
    top, left = op.offsets([tuple(x.shape), tuple(reference.shape)])
    return x[:, :, top : top + reference.shape[2], left : left + reference.shape[3]]


def pooled(op: Pooling, x: Any) -> Any:
    """Pooling as vl_nnpool does it: by torch's own pads and ceil mode where they give the same windows.

    torch pads both sides alike, by half a window at most, and rounds sizes up or down; other pads are made apart.
    """
    top, bottom, left, right = op.pad
    sizes = [
        windows(int(size), *pads, kernel, stride)
        for size, pads, kernel, stride in zip(
            x.shape[2:], ((top, bottom), (left, right)), op.poolSize, op.stride, strict=True
        )
    ]
    for ceil in (False, True):
        if 2 * max(top, left) <= min(op.poolSize) and _torch_sizes(op, x, ceil) == sizes:
            return _pool(op, x, (top, left), ceil)
    if op.method == "max":
        return _pool(op, functional.pad(x, _sides(op.pad), value=-float("inf")), (0, 0), False)
    inside = functional.pad(torch.ones_like(x[:1, :1]), _sides(op.pad))
    return _pool(op, functional.pad(x, _sides(op.pad)), (0, 0), False) / _pool(op, inside, (0, 0), False)


def _pool(op: Pooling, x: Any, pads: tuple[int, int], ceil: bool) -> Any:
    if op.method == "max":
        return functional.max_pool2d(x, op.poolSize, op.stride, pads, ceil_mode=ceil)
    return functional.avg_pool2d(x, op.poolSize, op.stride, pads, ceil, count_include_pad=False)


def _sides(pad: Pad) -> tuple[int, int, int, int]:
    top, bottom, left, right = pad
    return left, right, top, bottom


def _torch_sizes(op: Pooling, x: Any, ceil: bool) -> list[int]:
    """The output size of torch's pooling: rounded up, a window that would start in the far pad is left out."""
    sizes = []
    for size, pad, kernel, stride in zip(x.shape[2:], (op.pad[0], op.pad[2]), op.poolSize, op.stride, strict=True):
        room = int(size) + 2 * pad - kernel
        count = (-(-room // stride) if ceil else room // stride) + 1
        sizes.append(count - (ceil and (count - 1) * stride >= int(size) + pad))
    return sizes
