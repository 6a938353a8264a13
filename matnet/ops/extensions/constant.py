"""Ops without inputs: Caffe's Parameter (a learned array) and DummyData (a constant)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from matnet.errors import NetworkError
from matnet.ops.arrays import as_activation
from matnet.ops.base import Array, Op, register
from matnet.ops.fields import as_size, of
from matnet.shapes import Shape, swapped


@register("dagnn.Parameter")
@dataclass(frozen=True, kw_only=True)
class Parameter(Op):
    """Outputs its param (BVLC Caffe, parameter layer).

    The param is H x W x C x N in MATLAB; trailing singletons may be missing.
    """

    images_independent = True
    axes_alike = True
    spatial_params = frozenset({0})
    input_count: ClassVar[tuple[int, int | None]] = (0, 0)
    param_count: ClassVar[tuple[int, int]] = (1, 1)

    def output_shapes(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> list[Shape]:
        h, w, c, n = (*params[0], 1, 1, 1, 1)[:4]
        return [(n, c, h, w)]

    def prepare(self, xp: Any, params: Sequence[Array]) -> Any:
        return as_activation(xp, params[0])

    def forward(self, xp: Any, inputs: Sequence[Array], params: Any) -> list[Array]:
        return [params.copy()]


@register("dagnn.DummyData")
@dataclass(frozen=True, kw_only=True)
class DummyData(Op):
    """An array of size [H W C N] filled with `value` (BVLC Caffe, dummy_data layer with a constant filler)."""

    images_independent = True
    input_count: ClassVar[tuple[int, int | None]] = (0, 0)
    size: tuple[int, ...] = of(as_size, (1, 1, 1, 1))
    value: float = 0.0

    def with_axes_swapped(self) -> Op | None:
        return replace(self, size=swapped(self.size))

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.size) != 4 or min(self.size) < 1:
            raise NetworkError(f"field 'size' is {list(self.size)}; expected four sizes >= 1 (H W C N)")

    def output_shapes(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> list[Shape]:
        h, w, c, n = self.size
        return [(n, c, h, w)]

    def forward(self, xp: Any, inputs: Sequence[Array], params: Any) -> list[Array]:
        return [xp.full(self.output_shapes([], [])[0], self.value, dtype=xp.float32)]
