"""Engines: Network -> something that runs. `compile_network` picks one by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matnet.engines.base import Engine, wanted_variables
from matnet.errors import EngineError, nearest
from matnet.network import Network

BACKENDS = ("numpy",)

__all__ = ["BACKENDS", "Engine", "compile_network", "wanted_variables"]


def compile_network(
    net: Network, outputs: Sequence[str] | None = None, backend: str = "numpy", **options: Any
) -> Engine:
    """An engine for `outputs` (variable, layer or blob names; default: the network's outputs).

    The engine is called with one array or a dict of arrays N x C x H x W and returns a dict. Raises
    NetworkError for a graph that cannot run, EngineError for an unknown backend or option.
    """
    if backend not in BACKENDS:
        hint = nearest(backend, BACKENDS)
        raise EngineError(f"no backend is called {backend!r}{hint}; there is {', '.join(BACKENDS)}")
    if options:
        raise EngineError(f"backend {backend!r} takes no option {', '.join(options)}")
    from matnet.engines.numpy_engine import NumpyEngine

    return NumpyEngine(net, outputs)
