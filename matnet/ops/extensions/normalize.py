"""Extension normalizations: Caffe's LRN within a channel, MVN, batch statistics, L2."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from matnet.errors import NetworkError
from matnet.ops.arrays import as_vector, longest_axis
from matnet.ops.base import Array, Channels, Op, register
from matnet.ops.extensions.common import as_count, require_count
from matnet.ops.extensions.pooling import Windows, average_pool
from matnet.ops.fields import of
from matnet.shapes import ReceptiveField, Shape, window_field


@register("dagnn.WithinChannelLRN")
@dataclass(frozen=True, kw_only=True)
class WithinChannelLRN(Op):
    """x (1 + alpha A) ^ -beta with A the mean of x^2 over the surrounding size x size cells.

    Source: BVLC Caffe, lrn layer, WITHIN_CHANNEL. Cells outside the map count as 0, the divisor is always size^2, and
    Caffe's k has no effect.
    """

    family = "normalisation"
    images_independent = True
    channels = Channels.SEPARATE
    axes_alike = True
    size: int = of(as_count, 5)
    alpha: float = 1.0
    beta: float = 0.75

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.size % 2 == 0:
            raise NetworkError(f"field 'size' is {self.size}; expected an odd number")

    def receptive_fields(self, inputs: Sequence[Shape]) -> list[ReceptiveField | None]:
        return [window_field((self.size, self.size), (1, 1), (self.size // 2,) * 4)]

    def forward(self, xp: Any, inputs: Sequence[Array], params: Any) -> list[Array]:
        x = inputs[0]
        half = self.size // 2
        windows = Windows((self.size, self.size), (1, 1), (half, half), x.shape[2:])
        return [x * xp.power(1 + self.alpha * average_pool(xp, x * x, windows), xp.float32(-self.beta))]


@register("dagnn.MVN")
@dataclass(frozen=True, kw_only=True)
class MVN(Op):
    """(x - mean) / (sigma + eps) per channel, or per item with acrossChannels (BVLC Caffe, mvn layer).

    sigma is the biased standard deviation; eps is added outside the root. Without normalizeVariance, only the mean is
    subtracted.
    """

    family = "normalisation"
    images_independent = True
    axes_alike = True
    pixelwise = False
    normalizeVariance: bool = True
    acrossChannels: bool = False
    eps: float = 1e-9

    @property
    def channels(self) -> Channels:
        return Channels.PERMUTABLE if self.acrossChannels else Channels.SEPARATE

    def forward(self, xp: Any, inputs: Sequence[Array], params: Any) -> list[Array]:
        x = inputs[0]
        axes = (1, 2, 3) if self.acrossChannels else (2, 3)
        centred = x - x.mean(axis=axes, keepdims=True)
        if not self.normalizeVariance:
            return [centred]
        sigma = xp.sqrt((centred * centred).mean(axis=axes, keepdims=True))
        return [centred / (sigma + self.eps)]


@register("dagnn.BatchStatNorm")
@dataclass(frozen=True, kw_only=True)
class BatchStatNorm(Op):
    """(x - mean) / sqrt(variance + epsilon) with the biased statistics of the batch, per channel.

    Source: BVLC Caffe, batch_norm layer with use_global_stats false.
    """

    family = "normalisation"
    channels = Channels.SEPARATE
    axes_alike = True
    pixelwise = False
    epsilon: float = 1e-5

    def forward(self, xp: Any, inputs: Sequence[Array], params: Any) -> list[Array]:
        x = inputs[0]
        centred = x - x.mean(axis=(0, 2, 3), keepdims=True)
        variance = (centred * centred).mean(axis=(0, 2, 3), keepdims=True)
        return [centred / xp.sqrt(variance + self.epsilon)]


@register("dagnn.Normalize")
@dataclass(frozen=True, kw_only=True)
class Normalize(Op):
    """x / (sqrt(sum x^2 + eps) + margin), times a learned scale.

    Source: ParseNet and SSD forks of Caffe, normalize layer; mcnSSD. The sum is over the channels, or with
    acrossSpatial over C x H x W. Param: the scale, 1 x 1 x C in MATLAB, or a scalar. mcnSSD's Normalize has neither
    these fields nor eps. Only the fork for surface normals has a margin.
    """

    family = "normalisation"
    images_independent = True
    channels = Channels.PERMUTABLE
    axes_alike = True
    param_count: ClassVar[tuple[int, int]] = (1, 1)
    acrossSpatial: bool = False
    eps: float = 1e-10
    margin: float = 0.0

    def channel_axes(self, params: Sequence[Shape]) -> list[int]:
        return [longest_axis(shape) for shape in params]

    def output_shapes(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> list[Shape]:
        require_count(params[0], (inputs[0][1], 1), "the scale")
        return [inputs[0]]

    def receptive_fields(self, inputs: Sequence[Shape]) -> list[ReceptiveField | None]:
        return [None if self.acrossSpatial else ReceptiveField()]

    def prepare(self, xp: Any, params: Sequence[Array]) -> Any:
        return as_vector(xp, params[0]).reshape(1, -1, 1, 1)

    def forward(self, xp: Any, inputs: Sequence[Array], params: Any) -> list[Array]:
        x = inputs[0]
        axes = (1, 2, 3) if self.acrossSpatial else (1,)
        norm = xp.sqrt((x * x).sum(axis=axes, keepdims=True) + self.eps) + xp.float32(self.margin)
        return [x / norm * params]
