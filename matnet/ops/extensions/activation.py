"""Extension activations: elementwise layers of Caffe and its forks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from matnet.errors import NetworkError
from matnet.ops.arrays import as_vector, longest_axis
from matnet.ops.base import Array, Elementwise, register
from matnet.ops.extensions.common import require_count
from matnet.shapes import Shape


@register("dagnn.PReLU")
@dataclass(frozen=True, kw_only=True)
class PReLU(Elementwise):
    """max(x, 0) + a min(x, 0), with a learned slope a per channel or a shared one (BVLC Caffe, prelu layer).

    Param: the slopes, 1 x 1 x C in MATLAB, or a scalar.
    """

    param_count: ClassVar[tuple[int, int]] = (1, 1)
    implied_fields = frozenset({"useShortCircuit"})
    useShortCircuit: bool = True

    def channel_axes(self, params: Sequence[Shape]) -> list[int]:
        return [longest_axis(shape) for shape in params]

    def output_shapes(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> list[Shape]:
        require_count(params[0], (inputs[0][1], 1), "the slope")
        return [inputs[0]]

    def prepare(self, xp: Any, params: Sequence[Array]) -> Any:
        return as_vector(xp, params[0]).reshape(1, -1, 1, 1)

    def forward(self, xp: Any, inputs: Sequence[Array], params: Any) -> list[Array]:
        x = inputs[0]
        return [xp.maximum(x, 0) + params * xp.minimum(x, 0)]


@register("dagnn.ELU")
@dataclass(frozen=True, kw_only=True)
class ELU(Elementwise):
    """max(x, 0) + alpha (exp(min(x, 0)) - 1) (BVLC Caffe, elu layer)."""

    alpha: float = 1.0

    def forward(self, xp: Any, inputs: Sequence[Array], params: Any) -> list[Array]:
        x = inputs[0]
        return [xp.maximum(x, 0) + self.alpha * (xp.exp(xp.minimum(x, 0)) - 1)]


@register("dagnn.TanH", simplenn="tanh")
@dataclass(frozen=True, kw_only=True)
class TanH(Elementwise):
    """tanh x (BVLC Caffe, tanh layer)."""

    def forward(self, xp: Any, inputs: Sequence[Array], params: Any) -> list[Array]:
        return [xp.tanh(inputs[0])]


@register("dagnn.Tanh")
@dataclass(frozen=True, kw_only=True)
class Tanh(TanH):
    """tanh x under the name used by other contributed MATLAB blocks."""


@register("dagnn.BNLL")
@dataclass(frozen=True, kw_only=True)
class BNLL(Elementwise):
    """log(1 + exp x), computed as max(x, 0) + log(1 + exp(-|x|)) (BVLC Caffe, bnll layer)."""

    def forward(self, xp: Any, inputs: Sequence[Array], params: Any) -> list[Array]:
        x = inputs[0]
        return [xp.maximum(x, 0) + xp.log(1 + xp.exp(-xp.abs(x)))]


@register("dagnn.AbsVal")
@dataclass(frozen=True, kw_only=True)
class AbsVal(Elementwise):
    """|x| (BVLC Caffe, absval layer)."""

    def forward(self, xp: Any, inputs: Sequence[Array], params: Any) -> list[Array]:
        return [xp.abs(inputs[0])]


@register("dagnn.Power")
@dataclass(frozen=True, kw_only=True)
class Power(Elementwise):
    """(shift + scale x) ^ power (BVLC Caffe, power layer).

    If power or scale is 0, the result is constant, even for NaN: 1 for power 0, otherwise shift ^ power.
    """

    power: float = 1.0
    scale: float = 1.0
    shift: float = 0.0

    def affine(self, params: Sequence[Array]) -> tuple[np.ndarray, np.ndarray] | None:
        if self.power != 1 or self.scale == 0:
            return None
        return np.array([self.scale]), np.array([self.shift])

    def forward(self, xp: Any, inputs: Sequence[Array], params: Any) -> list[Array]:
        x = inputs[0]
        if self.power == 0:
            return [xp.ones_like(x)]
        if self.scale == 0:
            return [xp.full_like(x, float(np.power(np.float32(self.shift), np.float32(self.power))))]
        base = self.scale * x + self.shift
        return [base if self.power == 1 else xp.power(base, xp.float32(self.power))]


def _natural_log(base: float) -> float:
    """ln(base); base -1 means e. Raises NetworkError for a base that Caffe rejects."""
    if base == -1:
        return 1.0
    if not base > 0:
        raise NetworkError(f"field 'base' is {base}; expected a positive number, or -1 for e")
    return math.log(base)


@register("dagnn.Exp")
@dataclass(frozen=True, kw_only=True)
class Exp(Elementwise):
    """base ^ (shift + scale x); base -1 means e (BVLC Caffe, exp layer)."""

    base: float = -1.0
    scale: float = 1.0
    shift: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        _natural_log(self.base)

    def forward(self, xp: Any, inputs: Sequence[Array], params: Any) -> list[Array]:
        rate = _natural_log(self.base)
        return [float(np.exp(rate * self.shift)) * xp.exp((rate * self.scale) * inputs[0])]


@register("dagnn.Log")
@dataclass(frozen=True, kw_only=True)
class Log(Elementwise):
    """log_base(shift + scale x); base -1 means e (BVLC Caffe, log layer)."""

    base: float = -1.0
    scale: float = 1.0
    shift: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if _natural_log(self.base) == 0:
            raise NetworkError("field 'base' is 1, which is not a valid base of a logarithm")

    def forward(self, xp: Any, inputs: Sequence[Array], params: Any) -> list[Array]:
        return [xp.log(self.scale * inputs[0] + self.shift) * (1 / _natural_log(self.base))]


@register("dagnn.Threshold")
@dataclass(frozen=True, kw_only=True)
class Threshold(Elementwise):
    """1 for x > threshold, otherwise 0 (BVLC Caffe, threshold layer)."""

    threshold: float = 0.0

    def forward(self, xp: Any, inputs: Sequence[Array], params: Any) -> list[Array]:
        return [(inputs[0] > xp.float32(self.threshold)).astype(xp.float32)]


@register("dagnn.Clip")
@dataclass(frozen=True, kw_only=True)
class Clip(Elementwise):
    """max(min, x) then min(max, x) (BVLC Caffe, clip layer); 0 to 6 is ReLU6."""

    min: float = 0.0
    max: float = 6.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.min > self.max:
            raise NetworkError(f"field 'min': {self.min} is greater than max {self.max}")

    def forward(self, xp: Any, inputs: Sequence[Array], params: Any) -> list[Array]:
        return [xp.maximum(xp.minimum(inputs[0], xp.float32(self.max)), xp.float32(self.min))]


@register("dagnn.Swish")
@dataclass(frozen=True, kw_only=True)
class Swish(Elementwise):
    """x sigmoid(beta x), with sigmoid(z) = tanh(z / 2) / 2 + 1/2 (BVLC Caffe, swish layer)."""

    beta: float = 1.0

    def forward(self, xp: Any, inputs: Sequence[Array], params: Any) -> list[Array]:
        x = inputs[0]
        return [x * (0.5 * xp.tanh((0.5 * self.beta) * x) + 0.5)]


@register("dagnn.Mish")
@dataclass(frozen=True, kw_only=True)
class Mish(Elementwise):
    """x tanh(log(1 + exp x)) (YOLOv4 forks of Caffe, mish layer).

    With e = exp(-|x|), tanh(log(1 + exp x)) is (1 + 2 e) / (1 + 2 e + 2 e^2) for x >= 0 and
    (e^2 + 2 e) / (e^2 + 2 e + 2) for x < 0, which neither overflows nor loses precision. The forks approximate
    log(1 + exp x) by x above 20 and by exp x below -20, which differs by less than one part in 10^8.
    """

    def forward(self, xp: Any, inputs: Sequence[Array], params: Any) -> list[Array]:
        x = inputs[0]
        e = xp.exp(-xp.abs(x))
        above, below = 1 + 2 * e, e * (e + 2)
        return [x * xp.where(x >= 0, above / (above + 2 * e * e), below / (below + 2))]


@register("dagnn.HardSwish")
@dataclass(frozen=True, kw_only=True)
class HardSwish(Elementwise):
    """x max(0, min(1, x / 6 + 1/2)) (MobileNetV3 forks of Caffe, hardswish layer)."""

    def forward(self, xp: Any, inputs: Sequence[Array], params: Any) -> list[Array]:
        x = inputs[0]
        return [x * xp.maximum(xp.minimum(x / 6 + xp.float32(0.5), xp.float32(1)), xp.float32(0))]
