"""Engines, which run networks. `compile_network` selects one by its options."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matnet.lazy import lazy

if TYPE_CHECKING:
    from matnet.engines.base import Engine, wanted_variables
    from matnet.engines.choice import (
        Choice,
        choose,
        choose_backend,
        compile_network,
        engine_class,
        engine_options,
        for_batches,
    )
    from matnet.engines.device import parse_device
    from matnet.engines.options import EngineOptions

BACKENDS = ("auto", "numpy", "onnx", "cupy")
PRECISIONS = ("fp32", "tf32", "fp16")

# Lazy, because parsers of commands need only these names.
__getattr__, __dir__, _ = lazy(
    __name__,
    {
        "base": "Engine wanted_variables",
        "choice": "Choice choose choose_backend compile_network engine_class engine_options for_batches",
        "device": "parse_device",
        "options": "EngineOptions",
    },
)
__all__ = ["BACKENDS", "PRECISIONS", "Choice", "Engine", "EngineOptions", "choose", "choose_backend"]
__all__ += ["compile_network", "engine_class", "engine_options", "for_batches", "parse_device", "wanted_variables"]
