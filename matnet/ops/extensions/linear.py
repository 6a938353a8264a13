"""Matrix products along any axis, and table lookup: Caffe's InnerProduct and Embed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, ClassVar

from matnet.errors import ShapeError
from matnet.ops.arrays import as_vector
from matnet.ops.base import Array, InputKind, Op, register
from matnet.ops.extensions.common import as_axis, as_matrix, require_count, require_indices
from matnet.ops.fields import of
from matnet.shapes import Shape, text, to_4d


@dataclass(frozen=True, kw_only=True)
class _Table(Op):
    """Base of ops with a matrix and, with hasBias, a bias vector."""

    family = "convolution"
    pixelwise = False
    param_count: ClassVar[tuple[int, int]] = (1, 2)
    implied_fields = frozenset({"hasBias"})
    hasBias: bool = True

    def prepare(self, xp: Any, params: Sequence[Array]) -> Any:
        return as_matrix(xp, params[0]), as_vector(xp, params[1]) if self.hasBias else None

    def _require_bias(self, params: Sequence[Shape], outputs: int) -> None:
        if len(params) != 1 + self.hasBias:
            raise ShapeError(f"has {len(params)} params; expected {1 + self.hasBias} with hasBias {self.hasBias}")
        if self.hasBias:
            require_count(params[1], (outputs,), "the bias")


@register("dagnn.InnerProduct")
@dataclass(frozen=True, kw_only=True)
class InnerProduct(_Table):
    """y = W x + b over all axes from `axis` on, in C, H, W order (BVLC Caffe, inner_product layer).

    Params: W (outputs x inputs) and b. The axes before `axis` are kept. A stock dagnn.Conv is equivalent for axis 1 and
    a known map size.
    """

    axis: int = of(as_axis, 1)

    @property
    def images_independent(self) -> bool:
        return self.axis > 0

    def output_shapes(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> list[Shape]:
        taken = prod(inputs[0][self.axis :])
        if not params[0]:
            raise ShapeError("weights are missing, so the number of outputs is unknown")
        outputs = params[0][0]
        if prod(params[0][1:]) != taken:
            raise ShapeError(f"the weights are {text(params[0])}; expected {taken} columns for the input")
        self._require_bias(params, outputs)
        return [to_4d((*inputs[0][: self.axis], outputs))]

    def multiply_adds(self, inputs: Sequence[Shape], params: Sequence[Shape], outputs: Sequence[Shape]) -> int:
        return prod(inputs[0]) * params[0][0]

    def forward(self, xp: Any, inputs: Sequence[Array], params: Any) -> list[Array]:
        x, (weights, bias) = inputs[0], params
        y = x.reshape(prod(x.shape[: self.axis]), -1) @ weights.T
        if bias is not None:
            y = y + bias
        return [y.reshape(to_4d((*x.shape[: self.axis], weights.shape[0])))]


@register("dagnn.Embed")
@dataclass(frozen=True, kw_only=True)
class Embed(_Table):
    """Row int(x) of a table, plus a bias, along a new axis (BVLC Caffe, embed layer).

    axis: position of the new axis, which is the number of axes of the indices. Params: the table (indices x outputs)
    and the bias. Raises ShapeError for an index outside the table.
    """

    uses_host: ClassVar[bool] = True
    input_kinds: ClassVar = {0: InputKind.INDICES}
    axis: int = of(as_axis, 1)

    @property
    def images_independent(self) -> bool:
        return self.axis > 0

    def output_shapes(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> list[Shape]:
        if any(size != 1 for size in inputs[0][self.axis :]):
            raise ShapeError(f"the indices are {text(inputs[0])}; expected size 1 from axis {self.axis} on")
        outputs = prod(params[0][1:])
        self._require_bias(params, outputs)
        return [to_4d((*inputs[0][: self.axis], outputs))]

    def forward(self, xp: Any, inputs: Sequence[Array], params: Any) -> list[Array]:
        x, (table, bias) = inputs[0], params
        index = x.reshape(-1).astype(xp.int64)
        require_indices(index, table.shape[0], "the table")
        y = table[index] if bias is None else table[index] + bias
        return [y.reshape(to_4d((*x.shape[: self.axis], table.shape[1])))]
