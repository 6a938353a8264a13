"""Engines: Network -> something that runs. `compile_network` picks one by name."""

from __future__ import annotations

from collections.abc import Sequence
from inspect import signature
from typing import Any

from matnet.engines.base import Engine, wanted_variables
from matnet.errors import EngineError, nearest
from matnet.network import Network

BACKENDS = ("auto", "numpy", "onnx")

__all__ = ["BACKENDS", "Engine", "choose_backend", "compile_network", "wanted_variables"]


def choose_backend() -> str:
    """What `auto` means here: `onnx` where ONNX Runtime is installed, else `numpy`."""
    from matnet.engines.runtime import available

    return "onnx" if available() else "numpy"


def engine_class(backend: str) -> type[Engine]:
    """The class behind a name of BACKENDS; EngineError for any other."""
    if backend not in BACKENDS:
        hint = nearest(backend, BACKENDS)
        raise EngineError(f"no backend is called {backend!r}{hint}; there is {', '.join(BACKENDS)}")
    if (choose_backend() if backend == "auto" else backend) == "onnx":
        from matnet.engines.onnx_engine import OnnxEngine

        return OnnxEngine
    from matnet.engines.numpy_engine import NumpyEngine

    return NumpyEngine


def compile_network(
    net: Network, outputs: Sequence[str] | None = None, backend: str = "numpy", **options: Any
) -> Engine:
    """An engine for `outputs` (variable, layer or blob names; default: the network's outputs).

    The engine is called with one array or a dict of arrays N x C x H x W and returns a dict; its `backend`
    says what `auto` chose. Options that are None count as not given. Raises NetworkError for a graph that
    cannot run, EngineError for an unknown backend, one that is not installed, or an option it does not take.
    """
    engine = engine_class(backend)
    given = {name: value for name, value in options.items() if value is not None}
    unknown = given.keys() - signature(engine).parameters.keys()
    if unknown:
        raise EngineError(f"backend {engine.backend!r} takes no option {', '.join(sorted(unknown))}")
    return engine(net, outputs, **given)
