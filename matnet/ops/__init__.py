"""What each layer is: one frozen dataclass per op, one module per family; `register` adds further ones.

Importing this package enters every op of MatConvNet into REGISTRY, under its DagNN and SimpleNN names. Those that
MatConvNet lacks are imported when a name is asked for that is not among them: see `base.Names`.
"""

from __future__ import annotations

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
from matnet.ops.base import REGISTRY, Op, Unknown, register

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
