"""torchvision as a peer for operations on boxes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from matnet.errors import EngineError


def torchvision_ops() -> tuple[Any, Any]:
    """torch, set to one thread, and torchvision.ops; EngineError if they are not installed."""
    try:
        import torch
        import torchvision
    except ImportError as error:
        raise EngineError(
            f"the peer torchvision is missing ({error}); install it with `python -m pip install torchvision`"
        ) from None
    torch.set_num_threads(1)
    return torch, torchvision.ops


def seconds(function: Callable[[np.ndarray, np.ndarray], Any], first: np.ndarray, second: np.ndarray) -> float:
    """The time of a function of two arrays."""
    began = time.perf_counter()
    function(first, second)
    return time.perf_counter() - began
