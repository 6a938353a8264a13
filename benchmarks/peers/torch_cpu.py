"""PyTorch on the CPU: eager, channels last, traced and optimized, compiled."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from matnet.benchmarks.peers.base import Factory, Runner, Subject, imported


def eager_runner(subject: Subject) -> Runner:
    """Eager, activations N x C x H x W."""
    torch, module, _ = _prepared(subject, channels_last=False)
    return _runner(torch, module)


def channels_last_runner(subject: Subject) -> Runner:
    """Eager, activations and filters in the order N x H x W x C."""
    torch, module, _ = _prepared(subject, channels_last=True)
    return _runner(torch, module, channels_last=True)


def optimized_runner(subject: Subject) -> Runner:
    """Traced, frozen, and optimized by torch.jit.optimize_for_inference."""
    torch, module, example = _prepared(subject, channels_last=False)
    with torch.inference_mode(False), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the trace intentionally has constant sizes
        traced = torch.jit.freeze(torch.jit.trace(module, example, check_trace=False))
        optimized = torch.jit.optimize_for_inference(traced)
    run = _runner(torch, optimized)
    for _ in range(2):  # the executor specializes in its first runs
        run(example.numpy())
    return run


def compiled_runner(subject: Subject) -> Runner:
    """torch.compile; needs a C++ compiler and up to a minute."""
    torch, module, example = _prepared(subject, channels_last=True)
    torch._dynamo.reset()
    run = _runner(torch, torch.compile(module), channels_last=True)
    run(example.numpy())
    return run


TORCH_FORMS: dict[str, Factory] = {
    "torch-eager": eager_runner,
    "torch-channels-last": channels_last_runner,
    "torch-optimized": optimized_runner,
    "torch-compile": compiled_runner,
}


def _prepared(subject: Subject, channels_last: bool) -> tuple[Any, Any, Any]:
    torch = imported("torch", "torch")
    from matnet.benchmarks.peers.torch_network import torch_network

    torch.set_num_threads(subject.threads)
    module: Any = torch_network(subject.net, subject.name, subject.output, subject.shape).eval()
    if channels_last:
        module = module.to(memory_format=torch.channels_last)
    return torch, module, torch.zeros(subject.shape)


def _runner(torch: Any, module: Any, channels_last: bool = False) -> Runner:
    def run(x: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            given = torch.from_numpy(x)
            if channels_last:
                given = given.contiguous(memory_format=torch.channels_last)
            return module(given).contiguous().numpy()

    return run
