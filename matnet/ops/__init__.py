"""Layer types: one frozen dataclass per op, one module per family. `register` adds user-defined ops.

A module is imported when one of its layer types is first used; `modules` maps types to modules.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from matnet.lazy import lazy
from matnet.ops.base import REGISTRY, Op, Unknown, register

if TYPE_CHECKING:
    from matnet.ops import activation, combine, convolution, extensions, normalization, pooling, roi, sampling, training

__getattr__, __dir__, __all__ = lazy(
    __name__, {"": "activation combine convolution extensions normalization pooling roi sampling training"}
)
__all__ += ["REGISTRY", "Op", "Unknown", "register"]
