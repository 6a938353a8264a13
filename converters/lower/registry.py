"""The lowering function of each Caffe layer type, and the allowed numbers of bottoms and tops."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from matnet.converters.graph.netdef import LayerDef
from matnet.errors import NetworkError

if TYPE_CHECKING:
    from matnet.converters.lower.builder import Builder

Function = Callable[[LayerDef, "Builder"], None]
Count = int | tuple[int, int | None]
"""An exact number, or a range (None: no upper limit)."""


@dataclass(frozen=True)
class Lowering:
    """The lowering of one Caffe type."""

    function: Function
    bottoms: Count
    tops: Count

    def __call__(self, layer: LayerDef, net: Builder) -> None:
        """Add the layer to the network. Raises NetworkError for a wrong number of bottoms or tops."""
        _refuse_count("bottoms", layer.bottoms, self.bottoms)
        _refuse_count("tops", layer.tops, self.tops)
        self.function(layer, net)


LOWERINGS: dict[str, Lowering] = {}
"""Caffe type (V2 name) -> its lowering."""


def lowers(*types: str, bottoms: Count = 1, tops: Count = 1) -> Callable[[Function], Function]:
    """Decorator: register a lowering function for these Caffe types."""

    def enter(function: Function) -> Function:
        for name in types:
            assert name not in LOWERINGS, f"Caffe type {name!r} is registered twice"
            LOWERINGS[name] = Lowering(function, bottoms, tops)
        return function

    return enter


def _refuse_count(what: str, blobs: Sequence[str], allowed: Count) -> None:
    fewest, most = (allowed, allowed) if isinstance(allowed, int) else allowed
    if len(blobs) < fewest or (most is not None and len(blobs) > most):
        wanted = str(fewest) if most == fewest else f"{fewest} or more" if most is None else f"{fewest} to {most}"
        raise NetworkError(f"has {len(blobs)} {what} ({', '.join(blobs) or 'none'}); expected {wanted}")
