"""The engines that are compared: each turns a network into a function of one input array, on the CPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from matnet.engines.runtime import Session
from matnet.errors import EngineError
from matnet.layout import filters_to_kchw, pad_to_4d
from matnet.network import Layer, Network
from matnet.ops.activation import DropOut, ReLU, SoftMax
from matnet.ops.base import Op
from matnet.ops.combine import Concat, Sum
from matnet.ops.convolution import Conv
from matnet.ops.normalization import LRN, BatchNorm
from matnet.ops.pooling import Pooling

Runner = Callable[[np.ndarray], np.ndarray]


def matnet_runner(net: Network, output: str, threads: int) -> Runner:
    """matnet's CPU engine in ONNX Runtime."""
    engine = net.compile([output], backend="onnx", threads=threads)
    return lambda x: engine(x)[output]


def matnet_auto_runner(net: Network, output: str, threads: int) -> Runner:
    """matnet's CPU engine in the fastest of the runtimes that are installed, chosen anew for each shape."""
    engines: dict[tuple[int, ...], Any] = {}

    def run(x: np.ndarray) -> np.ndarray:
        if x.shape not in engines:
            engines[x.shape] = net.compile([output], backend="onnx", threads=threads, runtime="auto")
        return engines[x.shape](x)[output]

    return run


def onnxruntime_runner(net: Network, output: str, threads: int) -> Runner:
    """ONNX Runtime on a plain export: every layer as the ONNX operator of its name, LRN included."""
    from matnet.engines.runtime import OnnxRuntimeSession

    return _plain_export(OnnxRuntimeSession, net, output, threads)


def openvino_runner(net: Network, output: str, threads: int) -> Runner:
    """OpenVINO on the same plain export."""
    from matnet.engines.openvino_runtime import OpenVinoSession

    return _plain_export(OpenVinoSession, net, output, threads)


def _plain_export(session_class: type[Session], net: Network, output: str, threads: int) -> Runner:
    from matnet.formats.onnx import to_onnx_model

    model = to_onnx_model(net, [output], native_lrn=True)
    session, (name,) = session_class(model, threads), model.inputs
    return lambda x: session({name: x})[output]


def torch_runner(net: Network, output: str, threads: int) -> Runner:
    """PyTorch, eager, activations in NCHW."""
    return _torch_runner(net, output, threads, channels_last=False)


def torch_channels_last_runner(net: Network, output: str, threads: int) -> Runner:
    """PyTorch, eager, activations and filters in NHWC."""
    return _torch_runner(net, output, threads, channels_last=True)


PEERS: dict[str, dict[str, Callable[[Network, str, int], Runner]]] = {
    "onnxruntime": {"onnxruntime": onnxruntime_runner},
    "openvino": {"openvino": openvino_runner},
    "torch": {"torch": torch_runner, "torch-nhwc": torch_channels_last_runner},
}


def _torch_runner(net: Network, output: str, threads: int, channels_last: bool) -> Runner:
    try:
        import torch
    except ImportError as error:
        raise EngineError(f"peer torch is not installed ({error})") from None
    torch.set_num_threads(threads)
    steps = [(layer, _torch_step(torch, net, layer, channels_last)) for layer in net.upto([output])]

    def run(x: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            given = torch.from_numpy(x)
            values = {"data": given.contiguous(memory_format=torch.channels_last) if channels_last else given}
            for layer, step in steps:
                values[layer.outputs[0]] = step(*(values[name] for name in layer.inputs))
            return values[output].numpy()

    return run


def _torch_step(torch: Any, net: Network, layer: Layer, channels_last: bool) -> Callable[..., Any]:
    """One layer as a function of tensors; EngineError for ops that no benchmarked network has."""
    functional, op = torch.nn.functional, layer.op
    params = [net.params[name].value for name in layer.params]
    if isinstance(op, Conv):
        return _torch_conv(torch, op, params, channels_last)
    if isinstance(op, BatchNorm):
        g, b, moments = (np.ravel(param, order="F") for param in params)
        mean, sigma = np.split(moments, 2)
        tensors = [torch.from_numpy(np.ascontiguousarray(v)) for v in (mean, sigma**2, g, b)]
        return lambda x: functional.batch_norm(x, *tensors, eps=0.0)
    if isinstance(op, Pooling):
        return _torch_pooling(torch, op)
    if isinstance(op, LRN):
        length, kappa, alpha, beta = op.param
        return lambda x: functional.local_response_norm(x, int(length), alpha * length, beta, kappa)
    plain: dict[type[Op], Callable[..., Any]] = {
        ReLU: functional.relu,
        DropOut: lambda x: x,
        Sum: torch.add,
        Concat: lambda *parts: torch.cat(parts, dim=1),
        SoftMax: lambda x: functional.softmax(x, dim=1),
    }
    if type(op) not in plain:
        raise EngineError(f"peer torch has no form of layer {layer.name!r} ({layer.type_name})")
    return plain[type(op)]


def _torch_conv(torch: Any, op: Conv, params: list[np.ndarray], channels_last: bool) -> Callable[..., Any]:
    functional = torch.nn.functional
    filters = filters_to_kchw(pad_to_4d(params[0]))
    bias = torch.from_numpy(np.ravel(params[1])) if op.hasBias else None
    weights = torch.from_numpy(np.ascontiguousarray(filters))
    matrix = weights.reshape(len(weights), -1)
    if channels_last:
        weights = weights.contiguous(memory_format=torch.channels_last)
    top, _, left, _ = op.pad

    def conv(x: Any) -> Any:
        if x.shape[2:] == weights.shape[2:] and not any(op.pad):  # what nn.Linear computes
            return functional.linear(x.flatten(1), matrix, bias)[:, :, None, None]
        return functional.conv2d(x, weights, bias, op.stride, (top, left), groups=x.shape[1] // weights.shape[1])

    return conv


def _torch_pooling(torch: Any, op: Pooling) -> Callable[..., Any]:
    """MatConvNet's trailing pads are torch's ceil mode wherever the importer wrote them."""
    functional = torch.nn.functional
    top, bottom, left, _ = op.pad
    ceil = bottom > top
    if op.method == "max":
        return lambda x: functional.max_pool2d(x, op.poolSize, op.stride, (top, left), ceil_mode=ceil)
    return lambda x: functional.avg_pool2d(x, op.poolSize, op.stride, (top, left), ceil, count_include_pad=False)
