"""Normalization across channels, over neighbouring pixels, or by recorded statistics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any, ClassVar, NamedTuple

import numpy as np

from matnet.errors import NetworkError
from matnet.ops.arrays import as_vector, longest_axis, on_host, require_elements
from matnet.ops.base import Array, Channels, Op, register
from matnet.ops.fields import LARGEST, as_bool, as_float, as_floats, of
from matnet.ops.pooling import average_pool
from matnet.shapes import Pad, ReceptiveField, Shape, swapped, window_field

SHIFTED_SUMS = 16  # longest window summed by shifts; longer ones use a cumulative sum


def _window_and_three(value: Any) -> tuple[float, ...]:
    """[N kappa alpha beta] with an integer N >= 1."""
    found = as_floats(4)(value)
    if not 1 <= found[0] <= LARGEST or found[0] != int(found[0]):
        raise NetworkError(f"N of [N kappa alpha beta] is {found[0]:g}; expected an integer >= 1")
    return found


@register("dagnn.LRN", simplenn=("lrn", "normalize"), stock=True)
@dataclass(frozen=True, kw_only=True)
class LRN(Op):
    """x * (kappa + alpha * sum x^2)^(-beta) with the sum over N neighbouring channels (vl_nnnormalize).

    The window starts floor((N - 1) / 2) channels before the channel, and is clipped at the first and last channel.
    alpha is per element (Caffe divides it by N). The power is exact, as on the GPU.
    """

    family = "normalisation"
    images_independent = True
    axes_alike = True
    half_precision = True
    param: tuple[float, ...] = of(_window_and_three, (5.0, 1.0, 2e-5, 0.75))

    @property
    def channels(self) -> Channels:
        return Channels.REVERSIBLE if self.param[0] % 2 else Channels.COUNT

    def forward(self, xp: Any, inputs: Sequence[Array], params: Any) -> list[Array]:
        length, kappa, alpha, beta = self.param
        result = xp.empty_like(inputs[0])
        for image, target in zip(inputs[0], result, strict=True):  # one image at a time, to stay in the cache
            scale = _window_sums(xp, image * image, int(length))
            scale *= xp.float32(alpha)
            scale += xp.float32(kappa)
            xp.multiply(image, _inverse_power(xp, scale, beta), out=target)
        return [result]


def _window_sums(xp: Any, squares: Array, length: int) -> Array:
    """Sums of C x H x W over a window of channels around each channel."""
    channels = len(squares)
    below = min((length - 1) // 2, channels - 1)
    above = min(length - 1 - (length - 1) // 2, channels - 1)
    if below + above + 1 > SHIFTED_SUMS:
        # In double, because differences of cumulative sums in single lose accuracy.
        running = xp.zeros((channels + 1, *squares.shape[1:]), dtype=xp.float64)
        running[1:] = xp.cumsum(squares, axis=0, dtype=xp.float64)
        first = xp.maximum(xp.arange(channels) - below, 0)
        end = xp.minimum(xp.arange(channels) + above + 1, channels)
        return (running[end] - running[first]).astype(squares.dtype)
    sums = squares.copy()
    for shift in range(1, above + 1):
        sums[:-shift] += squares[shift:]
    for shift in range(1, below + 1):
        sums[shift:] += squares[:-shift]
    return sums


def _inverse_power(xp: Any, base: Array, beta: float) -> Array:
    """base^(-beta); the usual exponent 0.75 uses square roots, which are exact and fast."""
    if beta == 0.75:
        root = xp.sqrt(base)
        root *= xp.sqrt(root)
        return xp.reciprocal(root, out=root)
    return base ** xp.float32(-beta)


class Moments(NamedTuple):
    """Per-channel factors of `coef * (x - mean) + offset`, each C x 1 x 1."""

    coef: Array
    mean: Array
    offset: Array


@register("dagnn.BatchNorm", simplenn="bnorm", stock=True)
@dataclass(frozen=True, kw_only=True)
class BatchNorm(Op):
    """g / sigma * (x - mu) + b per channel, with the recorded moments (vl_nnbnorm in test mode).

    Params: g and b, C numbers each, and moments C x 2: the means, then sigma = sqrt(variance + epsilon).
    `epsilon` is already included in sigma; it is used only in training.
    """

    family = "normalisation"
    images_independent = True
    channels = Channels.SEPARATE
    axes_alike = True
    half_precision = True
    param_count: ClassVar[tuple[int, int]] = (0, 3)
    opts_fields: ClassVar = {"epsilon": "epsilon", "moments": 2}
    inert_properties = frozenset({"numChannels"})
    recorded_params = frozenset({2})
    implied_fields = frozenset({"epsilon"})
    epsilon: float = of(as_float, 1e-5)

    def channels_read(self, params: Sequence[Shape]) -> int | None:
        return (prod(params[0]) or None) if params and params[0] else None

    def channel_axes(self, params: Sequence[Shape]) -> list[int]:
        return [*(longest_axis(shape) for shape in params[:2]), 0][: len(params)]

    def output_shapes(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> list[Shape]:
        channels = inputs[0][1]
        parts = ("the multiplier g", channels), ("the offset b", channels), ("moments", 2 * channels)
        for shape, (what, count) in zip(params, parts, strict=False):
            require_elements(what, shape, count)
        return [inputs[0]]

    @staticmethod
    def statistics(params: Sequence[Array]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Multiplier, offset, mean and sigma, C values each. Raises NetworkError if any is missing or invalid.

        Moments may have any shape with 2 C elements; in MATLAB's memory order the means come first.
        """
        if len(params) < 3:
            raise NetworkError(f"has {len(params)} params; expected 3 (g, b, moments) in test mode")
        coef, offset, moments = (as_vector(np, on_host(param)) for param in params)
        if coef.size != offset.size or moments.size != 2 * coef.size:
            raise NetworkError(
                f"g, b and moments have {coef.size}, {offset.size} and {moments.size} elements; expected C, C and 2C"
            )
        mean, sigma = moments[: coef.size], moments[coef.size :]
        _refuse_unusable(mean, sigma)
        return coef, offset, mean, sigma

    def affine(self, params: Sequence[Array]) -> tuple[np.ndarray, np.ndarray] | None:
        try:
            statistics = self.statistics(params)
        except NetworkError:
            return None  # running the layer will report the error
        coef, offset, mean, sigma = (values.astype(np.float64) for values in statistics)
        return coef / sigma, offset - coef / sigma * mean

    def prepare(self, xp: Any, params: Sequence[Array]) -> Moments:
        coef, offset, mean, sigma = self.statistics(params)
        factors = (coef / sigma, mean, offset)
        return Moments(*(xp.asarray(factor.reshape(-1, 1, 1)) for factor in factors))

    def forward(self, xp: Any, inputs: Sequence[Array], params: Moments) -> list[Array]:
        result = inputs[0] - params.mean
        result *= params.coef
        result += params.offset
        return [result]


def _refuse_unusable(mean: np.ndarray, sigma: np.ndarray) -> None:
    wrong = int((~np.isfinite(mean) | ~np.isfinite(sigma)).sum())
    if wrong:
        raise NetworkError(f"the moments of {wrong} of {mean.size} channels are NaN or infinite")
    zeros = int((sigma == 0).sum())
    if zeros:
        raise NetworkError(
            f"the moments are unknown: sigma is 0 in {zeros} of {sigma.size} channels, as in networks that were never "
            "trained, or saved by old versions without moments; set [mean sigma] from data first"
        )


@register("dagnn.SpatialNorm", simplenn="spnorm", stock=True)
@dataclass(frozen=True, kw_only=True)
class SpatialNorm(Op):
    """x * (1 + alpha * mean x^2)^(-beta), the mean over a window of pixels clipped at the border (vl_nnspnorm).

    param = [height width alpha beta]; an even window extends one pixel further to the bottom and right.
    """

    family = "normalisation"
    images_independent = True
    channels = Channels.SEPARATE
    param: tuple[float, ...] = of(as_floats(4), (2.0, 2.0, 10.0, 2.0))

    def with_axes_swapped(self) -> Op | None:
        return replace(self, param=swapped(self.param))

    def __post_init__(self) -> None:
        super().__post_init__()
        if any(not 1 <= size <= LARGEST or size != int(size) for size in self.param[:2]):
            raise NetworkError(f"field 'param': the window is {self.param[:2]}; expected integers >= 1")

    @property
    def window(self) -> tuple[int, int]:
        """Height and width of the window."""
        return int(self.param[0]), int(self.param[1])

    @property
    def pad(self) -> Pad:
        """The pad that preserves the size: top, bottom, left, right."""
        (h, w) = self.window
        return (h - 1) // 2, h - 1 - (h - 1) // 2, (w - 1) // 2, w - 1 - (w - 1) // 2

    def receptive_fields(self, inputs: Sequence[Shape]) -> list[ReceptiveField | None]:
        return [window_field(self.window, (1, 1), self.pad)]

    def forward(self, xp: Any, inputs: Sequence[Array], params: Any) -> list[Array]:
        x = inputs[0]
        scale = average_pool(xp, x * x, self.window, (1, 1), self.pad)
        scale *= xp.float32(self.param[2])
        scale += xp.float32(1)
        return [x * scale ** xp.float32(-self.param[3])]


@register("dagnn.NormOffset", simplenn="noffset", stock=True)
@dataclass(frozen=True, kw_only=True)
class NormOffset(Op):
    """x - a * L^b with L = max(sum over channels of x^2, 1e-8) at each pixel; param = [a b] (vl_nnnoffset)."""

    family = "normalisation"
    images_independent = True
    channels = Channels.PERMUTABLE
    axes_alike = True
    param: tuple[float, ...] = of(as_floats(2), (1.0, 0.5))

    def forward(self, xp: Any, inputs: Sequence[Array], params: Any) -> list[Array]:
        x = inputs[0]
        length = xp.maximum((x * x).sum(axis=1, keepdims=True), xp.float32(1e-8))
        return [x - xp.float32(self.param[0]) * length ** xp.float32(self.param[1])]


@register(simplenn="normalize_lp")
@dataclass(frozen=True, kw_only=True)
class NormalizeLp(Op):
    """x / (sum x^p + epsilon)^(1/p) with the sum over channels or, with `spatial`, over pixels (vl_nnnormalizelp).

    MatConvNet has the function but no layer; third-party files use this SimpleNN type. The powers are of x, not of |x|,
    so only an even p is meaningful.
    """

    family = "normalisation"
    images_independent = True
    axes_alike = True
    p: float = of(as_float, 2.0)
    epsilon: float = of(as_float, 0.01)
    spatial: bool = of(as_bool, False)

    @property
    def channels(self) -> Channels:
        return Channels.SEPARATE if self.spatial else Channels.PERMUTABLE

    def receptive_fields(self, inputs: Sequence[Shape]) -> list[ReceptiveField | None]:
        return [None if self.spatial else ReceptiveField()]

    def forward(self, xp: Any, inputs: Sequence[Array], params: Any) -> list[Array]:
        x = inputs[0]
        powers = x * x if self.p == 2 else x ** xp.float32(self.p)
        total = powers.sum(axis=(2, 3) if self.spatial else 1, keepdims=True)
        total += xp.float32(self.epsilon)
        return [x / total ** xp.float32(1 / self.p)]
