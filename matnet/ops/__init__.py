"""What each layer is: one frozen dataclass per op, one module per family; `register` adds further ones.

The module of a family is imported when one of its layer types is asked for; `modules` says where each one is.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from matnet.ops.base import REGISTRY, Op, Unknown, register

if TYPE_CHECKING:
    from matnet.ops import (
        activation,
        combine,
        convolution,
        extensions,
        normalization,
        pooling,
        roi,
        sampling,
        training,
    )

__all__ = [
    "REGISTRY",
    "Op",
    "Unknown",
    "activation",
    "combine",
    "convolution",
    "extensions",
    "normalization",
    "pooling",
    "register",
    "roi",
    "sampling",
    "training",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return import_module(f"{__name__}.{name}")
