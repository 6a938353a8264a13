"""Losses and error measures of training, and the distance layer of Siamese networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any, ClassVar

import numpy as np

from matnet.errors import NetworkError, ShapeError
from matnet.layout import hwcn_to_nchw
from matnet.ops import losses
from matnet.ops.activation import SoftMax
from matnet.ops.arrays import activation_shape, as_activation, on_host
from matnet.ops.base import Array, Op, register
from matnet.ops.fields import as_bool, as_float, as_int, as_text, of
from matnet.shapes import ReceptiveField, Shape, text

SCALAR: Shape = (1, 1, 1, 1)


def _as_options(value: Any) -> tuple[Any, ...]:
    """MatConvNet's option list (name, value, name, value ...), or a mapping."""
    items = [part for pair in value.items() for part in pair] if isinstance(value, Mapping) else list(value)
    if len(items) % 2:
        raise NetworkError(f"expected options as alternating names and values, found {len(items)} items")
    return tuple(as_text(item) if place % 2 == 0 else item for place, item in enumerate(items))


@register("dagnn.Loss", simplenn=("softmaxloss", "loss"), stock=True)
@dataclass(frozen=True, kw_only=True)
class Loss(Op):
    """A loss or error measure of scores and labels, summed and divided by the number of images (vl_nnloss).

    Inputs: scores N x D x H x W; labels N, N x 1 x H x W, or N x D x H x W for binary losses; further inputs are
    ignored. Output: 1 x 1 x 1 x 1. `opts` may have topK, threshold, normalise and instanceWeights. An unknown kind of
    loss can be loaded, but raises an error when it runs.
    """

    family = "result"
    pixelwise = False
    training_only: ClassVar[bool] = True
    input_count: ClassVar[tuple[int, int | None]] = (2, None)
    uses_host: ClassVar[bool] = True
    opts_fields: ClassVar = {"loss": "loss", "normalise": "normalise"}
    inert_properties = frozenset({"ignoreAverage"})
    loss: str = of(lambda value: as_text(value).lower(), "softmaxlog")
    normalise: bool = of(as_bool, True)
    # Not compared, because array values have no single truth value.
    opts: tuple[Any, ...] = field(default=(), compare=False, metadata={"convert": _as_options})

    def output_shapes(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> list[Shape]:
        (n, d, h, w), labels = inputs[:2]
        weighted = self.loss == "softmaxlog" and labels == (n, 2, h, w)  # SimpleNN: labels with weights
        expected = (n, d if self.loss in losses.BINARY else 1, h, w)
        known = self.loss in losses.BINARY or self.loss in losses.CATEGORICAL
        if known and prod(labels) != n and labels != expected and not weighted:
            raise ShapeError(f"the labels are {text(labels)}; expected {n} labels or {text(expected)}")
        return [SCALAR]

    def for_inference(self) -> Op | None:
        """SoftMax for `softmaxlog`; other losses are dropped."""
        return SoftMax() if self.loss == "softmaxlog" else None

    def forward(self, xp: Any, inputs: Sequence[Array], params: Any) -> list[Array]:
        scores, labels = (on_host(x) for x in inputs[:2])
        options = self._options()
        if self.loss == "softmaxlog" and labels.size != len(scores) and labels.shape[1] == 2:
            value = losses.softmaxloss(scores, labels, options["normalise"])
        else:
            value = losses.loss(self.loss, scores, labels, **options)
        return [xp.asarray(value)]

    def _options(self) -> dict[str, Any]:
        """The arguments of `losses.loss`; names are case-insensitive, as in vl_argparse."""
        given = {name.lower(): value for name, value in zip(self.opts[::2], self.opts[1::2], strict=True)}
        options: dict[str, Any] = {"normalise": as_bool(given.get("normalise", self.normalise))}
        if "topk" in given:
            options["topK"] = as_int(given["topk"])
        if "threshold" in given:
            options["threshold"] = as_float(given["threshold"])
        if np.size(given.get("instanceweights", ())):
            options["instance_weights"] = hwcn_to_nchw(np.asarray(given["instanceweights"], np.float32))
        return options


@register("dagnn.LossSmoothL1")
@dataclass(frozen=True, kw_only=True)
class LossSmoothL1(Op):
    """The smooth L1 loss of two inputs, weighted by the third, as a scalar (MatConvNet's Fast R-CNN example).

    With d = |x - x0|: d - 0.5 / sigma^2 where d > 1 / sigma^2, else 0.5 * sigma^2 * d^2.
    """

    family = "result"
    pixelwise = False
    training_only: ClassVar[bool] = True
    input_count: ClassVar[tuple[int, int | None]] = (2, 3)
    sigma: float = of(as_float, 1.0)

    def output_shapes(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> list[Shape]:
        for number, shape in enumerate(inputs[1:], 2):
            if prod(shape) != prod(inputs[0]):
                raise ShapeError(f"input {number} is {text(shape)}, input 1 is {text(inputs[0])}; they must be equal")
        return [SCALAR]

    def forward(self, xp: Any, inputs: Sequence[Array], params: Any) -> list[Array]:
        square = self.sigma**2
        distance = xp.abs(inputs[0] - inputs[1])
        terms = xp.where(distance > 1 / square, distance - 0.5 / square, 0.5 * square * distance * distance)
        total = (terms * inputs[2] if len(inputs) > 2 else terms).sum(dtype=xp.float64)
        return [total.astype(xp.float32).reshape(SCALAR)]


@register("dagnn.PDist", simplenn="pdist", stock=True)
@dataclass(frozen=True, kw_only=True)
class PDist(Op):
    """The Lp distance over channels between x and x0, N x 1 x H x W (vl_nnpdist); x0 may be a single pixel.

    The arguments (x, x0 and optional weights of the distances) are the inputs followed by the params; in SimpleNN, x0
    is the field `class`. noRoot: omit the final root. aggregate: sum all distances.
    """

    family = "result"
    axes_alike = True
    spatial_params = frozenset({0, 1})
    input_count: ClassVar[tuple[int, int | None]] = (1, 3)
    param_count: ClassVar[tuple[int, int]] = (0, 2)
    # Inherited from dagnn.Loss.
    inert_properties = frozenset({"loss", "ignoreAverage", "normalise", "opts"})
    dagnn_params = False
    implied_fields = frozenset({"epsilon"})
    p: float = of(as_float, 2.0)
    aggregate: bool = of(as_bool, True)
    noRoot: bool = of(as_bool, False)
    epsilon: float = of(as_float, 1e-6)  # of the gradient

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.p > 0:
            raise NetworkError(f"field 'p' is {self.p:g}; expected a number > 0")

    @property
    def images_independent(self) -> bool:
        return not self.aggregate

    def output_shapes(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> list[Shape]:
        arguments = [*inputs, *(activation_shape("a param", shape) for shape in params)]
        if len(arguments) not in (2, 3):
            raise ShapeError(f"has {len(arguments)} arguments; expected x, x0 and optional weights")
        x, x0, *weights = arguments
        n, _, h, w = x
        if x0[1] != x[1] or any(size not in (1, wanted) for size, wanted in zip(x0, x, strict=True)):
            raise ShapeError(f"x0 is {text(x0)}; expected {text(x)} as of x, or a single pixel or image")
        if weights and any(size not in (1, wanted) for size, wanted in zip(weights[0], (n, 1, h, w), strict=True)):
            raise ShapeError(f"the weights are {text(weights[0])}; expected {n}x1x{h}x{w}")
        return [SCALAR if self.aggregate else (n, 1, h, w)]

    def receptive_fields(self, inputs: Sequence[Shape]) -> list[ReceptiveField | None]:
        return [None if self.aggregate else ReceptiveField()] * len(inputs)

    def prepare(self, xp: Any, params: Sequence[Array]) -> list[Array]:
        return [as_activation(xp, param) for param in params]

    def forward(self, xp: Any, inputs: Sequence[Array], params: list[Array]) -> list[Array]:
        x, x0, *weights = [*inputs, *params]
        weight = weights[0] if weights else None
        return [losses.pdist(x, x0, self.p, self.noRoot, self.aggregate, weight, xp=xp)]

