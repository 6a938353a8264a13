"""Ops along an axis: Caffe's Reduction and ArgMax, and softmax along any axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

from matnet.errors import ShapeError
from matnet.ops.arrays import softmax
from matnet.ops.base import Array, Channels, Op, register
from matnet.ops.extensions.common import RANK, FromAxis, as_axis, as_count
from matnet.ops.fields import AXIS_OF_DIM, DIM_OF_AXIS, as_dim, as_int, choice, of
from matnet.shapes import ReceptiveField, Shape, text


@register("dagnn.Reduction")
@dataclass(frozen=True, kw_only=True)
class Reduction(FromAxis, Op):
    """coeff times the sum of x, |x| or x^2, or the mean, over all axes from `axis` on (BVLC Caffe, reduction layer)."""

    pixelwise = False
    operation: str = of(choice("sum", "asum", "sumsq", "mean"), "sum")
    axis: int = of(as_axis, 0)
    coeff: float = 1.0

    def with_axes_swapped(self) -> Op | None:
        return self if self.axis < 3 else None

    def output_shapes(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> list[Shape]:
        return [(*inputs[0][: self.axis], *(1,) * (RANK - self.axis))]

    def forward(self, xp: Any, inputs: Sequence[Array], params: Any) -> list[Array]:
        x, axes = inputs[0], tuple(range(self.axis, RANK))
        terms = {"asum": xp.abs, "sumsq": xp.square}.get(self.operation, lambda values: values)(x)
        coeff = self.coeff / prod(x.shape[self.axis :]) if self.operation == "mean" else self.coeff
        return [coeff * terms.sum(axis=axes, keepdims=True)]


def _as_optional_axis(value: Any) -> int:
    return -1 if as_int(value) == -1 else as_axis(value)


@register("dagnn.ArgMax")
@dataclass(frozen=True, kw_only=True)
class ArgMax(Op):
    """The 0-based indices of the topK greatest values, greatest first; ties in descending order of index.

    Source: BVLC Caffe, argmax layer. axis -1 searches all of C x H x W of each item; the output is N x 1 x topK x 1, or
    with outMaxVal N x 2 x topK x 1: indices, then values. Any other axis is reduced to topK indices or, with outMaxVal,
    values.
    """

    family = "result"
    axis: int = of(_as_optional_axis, -1)
    topK: int = of(as_count, 1)
    outMaxVal: bool = False

    @property
    def images_independent(self) -> bool:
        return self.axis != 0

    @property
    def channels(self) -> Channels:
        return Channels.UNKNOWN if self.axis in (-1, 1) else Channels.SEPARATE

    def with_axes_swapped(self) -> Op | None:
        if self.axis < 0:  # indices count along rows
            return None
        return replace(self, axis={2: 3, 3: 2}.get(self.axis, self.axis))

    def output_shapes(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> list[Shape]:
        shape = inputs[0]
        length = prod(shape[1:]) if self.axis < 0 else shape[self.axis]
        if self.topK > length:
            raise ShapeError(f"topK is {self.topK}; expected at most {length} (input {text(shape)})")
        if self.axis < 0:
            return [(shape[0], 2 if self.outMaxVal else 1, self.topK, 1)]
        return [(*shape[: self.axis], self.topK, *shape[self.axis + 1 :])]

    def receptive_fields(self, inputs: Sequence[Shape]) -> list[ReceptiveField | None]:
        return [ReceptiveField() if self.axis in (0, 1) else None]

    def _greatest(self, xp: Any, rows: Array) -> tuple[Array, Array]:
        """Indices and values of the topK greatest along the last axis."""
        backwards = rows[..., ::-1]  # ties go to the larger index
        if self.topK == 1:
            place = backwards.argmax(axis=-1)[..., None]
        else:
            place = xp.argsort(-backwards, axis=-1, kind="stable")[..., : self.topK]
        return rows.shape[-1] - 1 - place, xp.take_along_axis(backwards, place, axis=-1)

    def forward(self, xp: Any, inputs: Sequence[Array], params: Any) -> list[Array]:
        x = inputs[0]
        if self.axis < 0:
            index, value = self._greatest(xp, x.reshape(x.shape[0], -1))
            rows = [index, value] if self.outMaxVal else [index]
            return [xp.stack(rows, axis=1)[..., None].astype(xp.float32)]
        index, value = self._greatest(xp, xp.moveaxis(x, self.axis, -1))
        found = xp.moveaxis(value if self.outMaxVal else index, -1, self.axis)
        return [xp.ascontiguousarray(found, dtype=xp.float32)]


@register("dagnn.SoftMaxTranspose")
@dataclass(frozen=True, kw_only=True)
class SoftMaxTranspose(Op):
    """Softmax along one of MATLAB's dimensions: 1 (H), 2 (W), 3 (C), 4 (N) (mcnSSD's vl_nnsoftmaxt)."""

    family = "result"
    dim: int = of(as_dim, 1)

    @property
    def images_independent(self) -> bool:
        return self.dim != 4

    @property
    def channels(self) -> Channels:
        return Channels.PERMUTABLE if self.dim == 3 else Channels.SEPARATE

    def with_axes_swapped(self) -> Op | None:
        return replace(self, dim={1: 2, 2: 1}.get(self.dim, self.dim))

    @classmethod
    def along(cls, axis: int) -> SoftMaxTranspose:
        """The op for an axis of N x C x H x W (BVLC Caffe, softmax layer with `axis`)."""
        return cls(dim=DIM_OF_AXIS[as_axis(axis)])

    def receptive_fields(self, inputs: Sequence[Shape]) -> list[ReceptiveField | None]:
        return [ReceptiveField() if self.dim > 2 else None]

    def forward(self, xp: Any, inputs: Sequence[Array], params: Any) -> list[Array]:
        return [softmax(xp, inputs[0], AXIS_OF_DIM[self.dim])]
