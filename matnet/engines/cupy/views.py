"""Views of device memory: axes and addresses."""

from __future__ import annotations

from typing import Any

Array = Any  # cupy.ndarray


def channels_last(x: Array) -> Array:
    """An N x C x H x W view of channels-last memory as N x H x W x C."""
    return x.transpose(0, 2, 3, 1)


def address(x: Array) -> int:
    """The array's address in device memory."""
    return int(x.data.ptr)
