"""Which function lowers which Caffe layer type."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from matnet.converters.netdef import LayerDef

if TYPE_CHECKING:
    from matnet.converters.lower.builder import Builder

Lowering = Callable[[LayerDef, "Builder"], None]

LOWERINGS: dict[str, Lowering] = {}
"""Caffe type (V2 name) -> the function that adds its MatConvNet form to a network."""


def lowers(*types: str) -> Callable[[Lowering], Lowering]:
    """Decorator: enter a lowering function for these Caffe types."""

    def enter(function: Lowering) -> Lowering:
        for name in types:
            assert name not in LOWERINGS, f"Caffe type {name!r} is lowered twice"
            LOWERINGS[name] = function
        return function

    return enter
