"""What each layer is: one frozen dataclass per op, one module per family; `register` adds further ones.

The module of a family is imported when one of its layer types is asked for; `modules` says where each one is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from matnet.lazy import lazy
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

__getattr__, __dir__, __all__ = lazy(
    __name__, {"": "activation combine convolution extensions normalization pooling roi sampling training"}
)
__all__ += ["REGISTRY", "Op", "Unknown", "register"]
