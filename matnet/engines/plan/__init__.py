"""Graph passes that make a network faster without changing its wanted outputs.

A pass is a function (Network, wanted variables) -> Network. It works on a copy and changes no arrays. `plan_network`
applies the passes useful for every engine; `fuse` is for engines with fused convolution kernels, and `to_products` for
known input sizes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from matnet.engines.plan.fold import fold_after, fold_before
from matnet.engines.plan.fuse import FusedConv, fuse
from matnet.engines.plan.padding import fold_padding
from matnet.engines.plan.products import FullyConnected, to_products
from matnet.engines.plan.prune import drop_dropout, keep_needed
from matnet.network import Network

Pass = Callable[[Network, Sequence[str]], Network]
PASSES: tuple[Pass, ...] = (keep_needed, drop_dropout, fold_padding, fold_after, fold_before)

__all__ = [
    "PASSES", "FullyConnected", "FusedConv", "Pass", "drop_dropout", "fold_after", "fold_before", "fold_padding",
    "fuse", "keep_needed", "plan_network", "to_products",
]  # fmt: skip


def plan_network(net: Network, wanted: Sequence[str]) -> Network:
    """`net` after all passes, as engines run it; `wanted` variables keep their names."""
    for apply in PASSES:
        net = apply(net, wanted)
    return net
