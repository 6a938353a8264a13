"""PyTorch on a GPU in its fastest forms: channels last, cuDNN's search, CUDA graphs, max-autotune."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from matnet.benchmarks.peers.base import Factory, Runner, Subject, imported
from matnet.errors import EngineError

WARM_UP = 3  # runs before a graph is captured, for cuDNN's search and cuBLAS's workspace


class Placed:
    """A module and its input on the GPU, channels last; arrays are copied through page-locked memory.

    Values are converted on the GPU, since a converting copy would convert on the CPU.
    """

    def __init__(self, subject: Subject) -> None:
        self._torch, self._module, self._given = prepared(subject)
        self._prepare()
        self._staged = self._torch.empty(subject.shape, pin_memory=True)
        self._arrived = self._torch.empty(subject.shape, device="cuda")

    def _prepare(self) -> None:
        """Further preparation of the module, for subclasses."""

    def _place(self, x: np.ndarray) -> None:
        self._staged.copy_(self._torch.from_numpy(x))
        self._arrived.copy_(self._staged, non_blocking=True)
        self._given.copy_(self._arrived)


class GraphRunner(Placed):
    """The module captured as one CUDA graph: copy, replay, copy; or only the replay."""

    def __init__(self, subject: Subject) -> None:
        super().__init__(subject)
        torch, module = self._torch, self._module
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.inference_mode(), torch.cuda.stream(stream):
            for _ in range(WARM_UP):
                module(self._given)
        torch.cuda.current_stream().wait_stream(stream)
        self._graph = torch.cuda.CUDAGraph()
        with torch.inference_mode(), torch.cuda.graph(self._graph):
            self._result = module(self._given)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """A run from host memory to host memory."""
        self._place(x)
        self._graph.replay()
        return self._result.float().contiguous().cpu().numpy()

    def resident(self, x: np.ndarray) -> Callable[[], None]:
        """A run on what lies in device memory already, to its end."""
        self._place(x)

        def run() -> None:
            self._graph.replay()
            self._torch.cuda.synchronize()

        return run


class FusedGraphRunner(GraphRunner):
    """A GraphRunner with sums and ReLUs fused into cuDNN's convolutions, which torch does not do by default."""

    def _prepare(self) -> None:
        from matnet.benchmarks.peers.torch_fused import with_fused_convolutions

        self._module = with_fused_convolutions(self._module)


class CompiledRunner(Placed):
    """The module compiled by torch.compile with max-autotune, which captures its own CUDA graphs."""

    def __init__(self, subject: Subject) -> None:
        super().__init__(subject)
        self._torch._dynamo.reset()
        self._module = self._torch.compile(self._module, mode="max-autotune")
        with self._torch.inference_mode():
            for _ in range(WARM_UP):
                self._module(self._given)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        self._place(x)
        with self._torch.inference_mode():
            return self._module(self._given).float().contiguous().cpu().numpy()

    def resident(self, x: np.ndarray) -> Callable[[], None]:
        """A run on what lies in device memory already, to its end."""
        self._place(x)

        def run() -> None:
            with self._torch.inference_mode():
                self._module(self._given)
            self._torch.cuda.synchronize()

        return run


def prepared(subject: Subject) -> tuple[Any, Any, Any]:
    """torch, set to the precision; the module and its input on the GPU, both channels last."""
    torch = imported("torch", "torch")
    if not torch.cuda.is_available():
        raise EngineError(f"torch {torch.__version__} finds no GPU; install a build for CUDA")
    from matnet.benchmarks.peers.torch_network import torch_network

    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = subject.precision != "fp32"
    torch.backends.cuda.matmul.allow_tf32 = subject.precision != "fp32"
    kind = torch.float16 if subject.precision == "fp16" else torch.float32
    module: Any = torch_network(subject.net, subject.name, subject.output, subject.shape).eval()
    module = module.to(device="cuda", dtype=kind, memory_format=torch.channels_last)
    given = torch.empty(subject.shape, dtype=kind, device="cuda", memory_format=torch.channels_last)
    return torch, module, given.zero_()


def release() -> None:
    """Free cached device memory of torch for the next network."""
    torch = imported("torch", "torch")
    if "torch._dynamo" in sys.modules:  # importing it takes seconds
        torch._dynamo.reset()
    torch.cuda.empty_cache()


def _graph(subject: Subject) -> Runner:
    return GraphRunner(subject)


def _compiled(subject: Subject) -> Runner:
    return CompiledRunner(subject)


def _fused(subject: Subject) -> Runner:
    return FusedGraphRunner(subject)


TORCH_GPU_FORMS: dict[str, Factory] = {
    "torch-cuda-graph": _graph,
    "torch-cuda-graph-fused": _fused,
    "torch-compile-max-autotune": _compiled,
}
