"""Activations (ReLU, Sigmoid, SoftMax), and DropOut, which is the identity in test mode."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from matnet.ops.arrays import softmax
from matnet.ops.base import Array, Channels, Elementwise, Op, register
from matnet.ops.fields import as_float, of


@register("dagnn.ReLU", simplenn="relu", stock=True)
@dataclass(frozen=True, kw_only=True)
class ReLU(Elementwise):
    """max(x, 0), or with a leak: x for x > 0, otherwise leak * x (vl_nnrelu).

    Without a leak NaN becomes 0, because MATLAB's max ignores NaN.
    """

    half_precision = True
    opts_fields: ClassVar = {"leak": "leak"}
    inert_properties = frozenset({"useShortCircuit"})
    leak: float = of(as_float, 0.0)

    def forward(self, xp: Any, inputs: Sequence[Array], params: Any) -> list[Array]:
        x = inputs[0]
        if self.leak == 0:
            return [xp.fmax(x, xp.float32(0))]
        return [xp.where(x > 0, x, xp.float32(self.leak) * x)]


@register("dagnn.Sigmoid", simplenn="sigmoid", stock=True)
@dataclass(frozen=True, kw_only=True)
class Sigmoid(Elementwise):
    """1 / (1 + exp(-x)) (vl_nnsigmoid)."""

    def forward(self, xp: Any, inputs: Sequence[Array], params: Any) -> list[Array]:
        result = xp.exp(-inputs[0])
        result += 1
        return [xp.reciprocal(result, out=result)]


@register("dagnn.SoftMax", simplenn="softmax", stock=True)
@dataclass(frozen=True, kw_only=True)
class SoftMax(Op):
    """exp(x - m) / sum exp(x - m) over the channels of each pixel, where m is their maximum (vl_nnsoftmax)."""

    family = "result"
    images_independent = True
    channels = Channels.PERMUTABLE
    axes_alike = True
    probabilities = True

    def forward(self, xp: Any, inputs: Sequence[Array], params: Any) -> list[Array]:
        return [softmax(xp, inputs[0], 1)]


@register("dagnn.DropOut", simplenn="dropout", stock=True)
@dataclass(frozen=True, kw_only=True)
class DropOut(Elementwise):
    """The identity in test mode; MatConvNet scales by 1 / (1 - rate) in training (vl_nndropout)."""

    family = "other"
    inert_properties = frozenset({"frozen"})
    implied_fields = frozenset({"rate"})
    rate: float = of(as_float, 0.5)

    def forward(self, xp: Any, inputs: Sequence[Array], params: Any) -> list[Array]:
        return [inputs[0]]
