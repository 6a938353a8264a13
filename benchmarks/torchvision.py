"""torchvision as a peer of what matnet computes with boxes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from matnet.errors import EngineError


def torchvision_ops() -> tuple[Any, Any]:
    """torch, which computes in one thread from now on, and torchvision.ops; EngineError where they are missing."""
    try:
        import torch
        import torchvision
    except ImportError as error:
        raise EngineError(
            f"the peer is torchvision ({error}); install it with `python -m pip install torchvision`"
        ) from None
    torch.set_num_threads(1)
    return torch, torchvision.ops


def seconds(function: Callable[[np.ndarray, np.ndarray], Any], first: np.ndarray, second: np.ndarray) -> float:
    """How long a function of two arrays takes."""
    began = time.perf_counter()
    function(first, second)
    return time.perf_counter() - began
