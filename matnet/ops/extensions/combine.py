"""Caffe's layers that join, split, repeat, crop and select: Eltwise, Slice, Tile, Crop and others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, ClassVar

from matnet.errors import NetworkError, ShapeError
from matnet.ops.arrays import require_equal
from matnet.ops.base import Array, Channels, Elementwise, Op, register
from matnet.ops.extensions.common import (
    RANK,
    AlongAxis,
    FromAxis,
    as_axis,
    as_count,
    as_integers,
    as_values,
    require_indices,
)
from matnet.ops.fields import choice, of
from matnet.shapes import ReceptiveField, Shape, text


@register("dagnn.Eltwise")
@dataclass(frozen=True, kw_only=True)
class Eltwise(Elementwise):
    """The sum of its inputs, weighted by `coeff` if given, or their product (BVLC Caffe, eltwise layer)."""

    family = "joining"
    input_count: ClassVar[tuple[int, int | None]] = (2, None)
    operation: str = of(choice("sum", "prod"), "sum")
    coeff: tuple[float, ...] = of(as_values, ())

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.coeff and self.operation == "prod":
            raise NetworkError("field 'coeff': not supported for a product")

    def output_shapes(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> list[Shape]:
        require_equal(inputs)
        if self.coeff and len(self.coeff) != len(inputs):
            raise ShapeError(f"has {len(self.coeff)} coefficients; expected {len(inputs)}, one per input")
        return [inputs[0]]

    def forward(self, xp: Any, inputs: Sequence[Array], params: Any) -> list[Array]:
        weights = self.coeff or (1.0,) * len(inputs)
        total = inputs[0] if weights[0] == 1 else weights[0] * inputs[0]
        for weight, x in zip(weights[1:], inputs[1:], strict=True):
            total = total * x if self.operation == "prod" else total + (x if weight == 1 else weight * x)
        return [total]


@register("dagnn.Max")
@dataclass(frozen=True, kw_only=True)
class Max(Elementwise):
    """The elementwise maximum of its inputs (mcnExtraLayers' Max; BVLC Caffe, eltwise layer with MAX)."""

    family = "joining"
    input_count: ClassVar[tuple[int, int | None]] = (1, None)

    def output_shapes(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> list[Shape]:
        require_equal(inputs)
        return [inputs[0]]

    def forward(self, xp: Any, inputs: Sequence[Array], params: Any) -> list[Array]:
        greatest = inputs[0]
        for x in inputs[1:]:
            greatest = xp.maximum(greatest, x)
        return [greatest]


@register("dagnn.Axpy")
@dataclass(frozen=True, kw_only=True)
class Axpy(Elementwise):
    """a x + y, with a of shape N x C x 1 x 1 (mcnExtraLayers' vl_nnaxpy; SENet fork of Caffe, axpy layer)."""

    family = "joining"
    input_count: ClassVar[tuple[int, int | None]] = (3, 3)

    def output_shapes(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> list[Shape]:
        require_equal(inputs[1:], first=2)
        if inputs[0] != (*inputs[1][:2], 1, 1):
            raise ShapeError(f"the scale is {text(inputs[0])}; expected {text((*inputs[1][:2], 1, 1))}")
        return [inputs[1]]

    def receptive_fields(self, inputs: Sequence[Shape]) -> list[ReceptiveField | None]:
        return [None, ReceptiveField(), ReceptiveField()]

    def forward(self, xp: Any, inputs: Sequence[Array], params: Any) -> list[Array]:
        return [inputs[0] * inputs[1] + inputs[2]]


@register("dagnn.Slice")
@dataclass(frozen=True, kw_only=True)
class Slice(AlongAxis):
    """Splits one axis into consecutive slices, one per output (BVLC Caffe, slice layer).

    `points` are the strictly increasing 0-based start indices of slices 2, 3, ...; without points, the axis is split
    into `parts` equal slices.
    """

    family = "joining"
    points: tuple[int, ...] = of(as_integers, ())
    parts: int = of(as_count, 1)

    def _bounds(self, size: int) -> list[int]:
        if not self.points:
            if size % self.parts:
                raise ShapeError(f"an axis of size {size} cannot be split into {self.parts} equal parts")
            return list(range(0, size + 1, size // self.parts))
        bounds = [0, *self.points, size]
        if any(low >= high for low, high in pairwise(bounds)):
            raise ShapeError(f"slice points are {list(self.points)}; expected increasing indices below {size}")
        return bounds

    def output_shapes(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> list[Shape]:
        shape, bounds = inputs[0], self._bounds(inputs[0][self.axis])
        return [(*shape[: self.axis], high - low, *shape[self.axis + 1 :]) for low, high in pairwise(bounds)]

    def forward(self, xp: Any, inputs: Sequence[Array], params: Any) -> list[Array]:
        x, bounds = inputs[0], self._bounds(inputs[0].shape[self.axis])
        rows = xp.moveaxis(x, self.axis, 0)
        return [xp.ascontiguousarray(xp.moveaxis(rows[low:high], 0, self.axis)) for low, high in pairwise(bounds)]


@register("dagnn.Tile")
@dataclass(frozen=True, kw_only=True)
class Tile(AlongAxis):
    """Repeats its input `tiles` times along one axis (BVLC Caffe, tile layer)."""

    family = "joining"
    tiles: int = of(as_count, 1)

    def output_shapes(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> list[Shape]:
        shape = inputs[0]
        return [(*shape[: self.axis], shape[self.axis] * self.tiles, *shape[self.axis + 1 :])]

    def forward(self, xp: Any, inputs: Sequence[Array], params: Any) -> list[Array]:
        return [xp.concatenate([inputs[0]] * self.tiles, axis=self.axis)]


@register("dagnn.CaffeCrop")
@dataclass(frozen=True, kw_only=True)
class CaffeCrop(FromAxis, Op):
    """Crops its first input to the size of the second in all axes from `axis` on (BVLC Caffe, crop layer).

    `offset`: start of the crop, one number per axis from `axis` on; missing ones are 0. Stock dagnn.Crop does this for
    H and W only.
    """

    family = "joining"
    input_count: ClassVar[tuple[int, int | None]] = (2, 2)
    size_only_inputs: ClassVar[frozenset[int]] = frozenset({1})
    axis: int = of(as_axis, 2)
    offset: tuple[int, ...] = of(as_integers, ())

    def with_axes_swapped(self) -> Op | None:
        if self.axis > 2:  # crops only columns; no op crops only rows
            return None
        *others, top, left = self._starts()
        return replace(self, offset=(*others, left, top)[self.axis :])

    def _starts(self) -> list[int]:
        return ([0] * self.axis + list(self.offset) + [0] * RANK)[:RANK]

    def output_shapes(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> list[Shape]:
        x, like = inputs
        wanted = (*x[: self.axis], *like[self.axis :])
        places = zip(self._starts(), wanted, x, strict=True)
        if any(start < 0 or start + size > have for start, size, have in places):
            raise ShapeError(f"a crop of {text(wanted)} at {self._starts()} is outside the input of {text(x)}")
        return [wanted]

    def receptive_fields(self, inputs: Sequence[Shape]) -> list[ReceptiveField | None]:
        top, left = self._starts()[2:]
        return [ReceptiveField(offset=(1.0 + top, 1.0 + left)), None]

    def forward(self, xp: Any, inputs: Sequence[Array], params: Any) -> list[Array]:
        x, like = inputs
        wanted = (*x.shape[: self.axis], *like.shape[self.axis :])
        cut = tuple(slice(start, start + size) for start, size in zip(self._starts(), wanted, strict=True))
        return [xp.ascontiguousarray(x[cut])]


@register("dagnn.BatchReindex")
@dataclass(frozen=True, kw_only=True)
class BatchReindex(Op):
    """Selects x[index[i]] as item i; input 2 has the 0-based indices (BVLC Caffe, batch_reindex layer)."""

    channels = Channels.COUNT
    axes_alike = True
    input_count: ClassVar[tuple[int, int | None]] = (2, 2)
    uses_host: ClassVar[bool] = True

    def output_shapes(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> list[Shape]:
        x, index = inputs
        if index[1:] != (1, 1, 1):
            raise ShapeError(f"the indices are {text(index)}; expected one number per item (Rx1x1x1)")
        return [(index[0], *x[1:])]

    def receptive_fields(self, inputs: Sequence[Shape]) -> list[ReceptiveField | None]:
        return [ReceptiveField(), None]

    def forward(self, xp: Any, inputs: Sequence[Array], params: Any) -> list[Array]:
        x = inputs[0]
        index = inputs[1].reshape(-1).astype(xp.int64)
        require_indices(index, x.shape[0], "the batch")
        return [x[index]]


@register("dagnn.Filter")
@dataclass(frozen=True, kw_only=True)
class Filter(Op):
    """Keeps the items with a non-zero selector, the last input, N x 1 x 1 x 1 (BVLC Caffe, filter layer).

    The number of kept items depends on the values; `output_shapes` returns the maximum.
    """

    sizes_depend_on_values = True
    input_count: ClassVar[tuple[int, int | None]] = (2, None)
    uses_host: ClassVar[bool] = True
    axes_alike = True

    def output_shapes(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> list[Shape]:
        *data, selector = inputs
        for shape in data:
            if selector != (shape[0], 1, 1, 1):
                raise ShapeError(f"the selector is {text(selector)}; expected {text((shape[0], 1, 1, 1))}")
        return list(data)

    def receptive_fields(self, inputs: Sequence[Shape]) -> list[ReceptiveField | None]:
        return [*[ReceptiveField()] * (len(inputs) - 1), None]

    def forward(self, xp: Any, inputs: Sequence[Array], params: Any) -> list[Array]:
        *data, selector = inputs
        kept = selector.reshape(-1) != 0
        return [x[kept] for x in data]
