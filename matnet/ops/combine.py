"""Layers that combine arrays (Sum, Concat, Scale), crop them (Crop) or shuffle pixels (SubP)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from matnet.errors import NetworkError, ShapeError
from matnet.layout import pad_to_4d
from matnet.ops.arrays import activation_shape, as_activation, require_equal
from matnet.ops.base import Array, Channels, Elementwise, Op, register
from matnet.ops.fields import AXIS_OF_DIM, Pair, as_dim, as_float, as_offsets, as_size, of
from matnet.shapes import ReceptiveField, Shape, swapped, text, transposed_field, window_field


@register("dagnn.Sum", stock=True)
@dataclass(frozen=True, kw_only=True)
class Sum(Elementwise):
    """The sum of inputs of equal shape, added from left to right (dagnn.Sum)."""

    family = "joining"
    half_precision = True
    input_count: ClassVar[tuple[int, int | None]] = (1, None)
    removed_properties = frozenset({"numInputs"})

    def output_shapes(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> list[Shape]:
        require_equal(inputs)
        return [inputs[0]]

    def forward(self, xp: Any, inputs: Sequence[Array], params: Any) -> list[Array]:
        if len(inputs) == 1:
            return [inputs[0]]
        total = inputs[0] + inputs[1]
        for x in inputs[2:]:
            total += x
        return [total]


@register("dagnn.Concat", stock=True)
@dataclass(frozen=True, kw_only=True)
class Concat(Op):
    """Concatenation along MATLAB's dimension `dim`: 1 = H, 2 = W, 3 = C, 4 = N (vl_nnconcat)."""

    family = "joining"
    half_precision = True
    input_count: ClassVar[tuple[int, int | None]] = (1, None)
    removed_properties = frozenset({"numInputs"})
    dim: int = of(as_dim, 3)

    @property
    def images_independent(self) -> bool:
        return self.dim != 4

    @property
    def joins_channels(self) -> bool:
        return self.dim == 3

    @property
    def channels(self) -> Channels:
        return Channels.UNKNOWN if self.dim == 3 else Channels.SEPARATE

    def with_axes_swapped(self) -> Op | None:
        return replace(self, dim={1: 2, 2: 1}.get(self.dim, self.dim))

    def output_shapes(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> list[Shape]:
        axis = AXIS_OF_DIM[self.dim]
        others = [shape[:axis] + shape[axis + 1 :] for shape in inputs]
        for number, other in enumerate(others[1:], 2):
            if other != others[0]:
                raise ShapeError(
                    f"input {number} is {text(inputs[number - 1])}, input 1 is {text(inputs[0])}; "
                    f"expected equal sizes except in {'NCHW'[axis]}, the axis of concatenation"
                )
        return [(*inputs[0][:axis], sum(shape[axis] for shape in inputs), *inputs[0][axis + 1 :])]

    def receptive_fields(self, inputs: Sequence[Shape]) -> list[ReceptiveField | None]:
        return [ReceptiveField() if self.dim in (3, 4) else None] * len(inputs)

    def forward(self, xp: Any, inputs: Sequence[Array], params: Any) -> list[Array]:
        return [xp.concatenate(inputs, axis=AXIS_OF_DIM[self.dim])]


@register("dagnn.ConcatMap", simplenn="concat")
@dataclass(frozen=True, kw_only=True)
class ConcatMap(Op):
    """Appends a second input as further channels: FFDNet's map of noise levels (`concat` in its vl_simplenn).

    The map is N x M x H x W, or 1 x M x 1 x 1 or N x M x 1 x 1, broadcast to all pixels.
    """

    family = "joining"
    images_independent = True
    axes_alike = True
    input_count: ClassVar[tuple[int, int | None]] = (2, 2)

    def output_shapes(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> list[Shape]:
        (n, c, h, w), levels = inputs
        if levels[0] not in (1, n) or levels[2:] not in ((1, 1), (h, w)):
            raise ShapeError(
                f"the map is {text(levels)}, the first input {text(inputs[0])}; expected {n}x{levels[1]}x{h}x{w}, "
                "or a single pixel"
            )
        return [(n, c + levels[1], h, w)]

    def receptive_fields(self, inputs: Sequence[Shape]) -> list[ReceptiveField | None]:
        return [ReceptiveField(), ReceptiveField() if inputs[1][2:] == inputs[0][2:] else None]

    def forward(self, xp: Any, inputs: Sequence[Array], params: Any) -> list[Array]:
        x, levels = inputs
        spread = xp.broadcast_to(levels, (x.shape[0], levels.shape[1], *x.shape[2:]))
        return [xp.concatenate([x, spread], axis=1)]


@register("dagnn.Scale", simplenn="scale", stock=True)
@dataclass(frozen=True, kw_only=True)
class Scale(Op):
    """x * multiplier, plus a bias with `hasBias`, with broadcasting (dagnn.Scale).

    The arguments are the inputs followed by the params, so the multiplier may be an input or a param (in MATLAB's
    shape, usually 1 x 1 x C).
    """

    family = "joining"
    images_independent = True
    channels = Channels.SEPARATE
    spatial_params = frozenset({0, 1})
    half_precision = True
    input_count: ClassVar[tuple[int, int | None]] = (1, 3)
    param_count: ClassVar[tuple[int, int]] = (0, 2)
    implied_fields = frozenset({"size", "hasBias"})
    size: Shape = of(as_size, ())  # as declared in the file; the params take precedence
    hasBias: bool = True

    def channel_axes(self, params: Sequence[Shape]) -> list[int]:
        return [2] * len(params)

    def with_axes_swapped(self) -> Op | None:
        return replace(self, size=swapped(self.size))

    def affine(self, params: Sequence[Array]) -> tuple[np.ndarray, np.ndarray] | None:
        vectors = [np.asarray(param, np.float64) for param in params[: 2 if self.hasBias else 1]]
        if len(vectors) < (2 if self.hasBias else 1) or any(one.size != pad_to_4d(one).shape[2] for one in vectors):
            return None  # not constant over pixels or images
        return vectors[0].ravel(), vectors[1].ravel() if self.hasBias else np.zeros(1)

    def output_shapes(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> list[Shape]:
        declared = (activation_shape("a multiplier or bias", shape or self.size) for shape in params)
        arguments = [*inputs, *declared]
        if len(arguments) < self._needed:
            wanted = "x, multiplier and bias" if self.hasBias else "x and multiplier"
            raise ShapeError(f"has {len(arguments)} arguments (inputs and params); expected {self._needed}: {wanted}")
        try:
            return [np.broadcast_shapes(*arguments[: self._needed])]
        except ValueError:
            sizes = ", ".join(text(shape) for shape in arguments[: self._needed])
            raise ShapeError(f"x, multiplier and bias cannot be broadcast: {sizes} (N x C x H x W)") from None

    def receptive_fields(self, inputs: Sequence[Shape]) -> list[ReceptiveField | None]:
        whole = tuple(map(max, zip(*(shape[2:] for shape in inputs), strict=True)))
        return [ReceptiveField() if shape[2:] == whole else None for shape in inputs]

    @property
    def _needed(self) -> int:
        return 3 if self.hasBias else 2

    def prepare(self, xp: Any, params: Sequence[Array]) -> list[Array]:
        return [as_activation(xp, param) for param in params]

    def forward(self, xp: Any, inputs: Sequence[Array], params: list[Array]) -> list[Array]:
        x, *factors = [*inputs, *params][: self._needed]
        result = x * factors[0]
        return [result if len(factors) == 1 else result + factors[1]]


@register("dagnn.Crop", stock=True)
@dataclass(frozen=True, kw_only=True)
class Crop(Op):
    """Crops the first input to the size of the second, starting at `crop` = [rows columns] (dagnn.Crop).

    If the size difference is less than `crop`, all of it is cropped at the top and left; otherwise the remainder is
    cropped at the bottom and right.
    """

    family = "joining"
    images_independent = True
    channels = Channels.SEPARATE
    input_count: ClassVar[tuple[int, int | None]] = (2, 2)
    size_only_inputs: ClassVar[frozenset[int]] = frozenset({1})
    crop: Pair = of(as_offsets, (0, 0))

    def with_axes_swapped(self) -> Op | None:
        return replace(self, crop=swapped(self.crop))

    def output_shapes(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> list[Shape]:
        (n, c, h, w), (_, _, height, width) = inputs
        if height > h or width > w:
            raise ShapeError(f"the input is {h}x{w}; cannot crop it to the larger reference of {height}x{width}")
        if min(self.crop) < 0:
            raise ShapeError(f"crop is {list(self.crop)}; expected offsets >= 0")
        return [(n, c, height, width)]

    def receptive_fields(self, inputs: Sequence[Shape]) -> list[ReceptiveField | None]:
        return [ReceptiveField(offset=(1.0 + self.crop[0], 1.0 + self.crop[1])), None]

    def offsets(self, inputs: Sequence[Shape]) -> Pair:
        """Rows and columns cropped at the top and left for these input shapes."""
        (_, _, h, w), (_, _, height, width) = inputs
        return min(self.crop[0], h - height), min(self.crop[1], w - width)

    def forward(self, xp: Any, inputs: Sequence[Array], params: Any) -> list[Array]:
        x, reference = inputs
        top, left = self.offsets([x.shape, reference.shape])
        height, width = reference.shape[2:]
        return [xp.ascontiguousarray(x[:, :, top : top + height, left : left + width])]


@register("dagnn.SubP", simplenn="SubP")
@dataclass(frozen=True, kw_only=True)
class SubP(Op):
    """Pixel shuffle: channels to pixels for a scale s > 1, pixels to channels for 1 / s (FFDNet's vl_nnSubP).

    Up: N x C*s*s x H x W -> N x C x H*s x W*s; channel c*s*s + b*s + a goes to row a, column b of each s x s block
    (rows vary fastest, unlike PyTorch's pixel_shuffle). Down is the inverse.
    """

    family = "pooling"
    images_independent = True
    scale: float = of(as_float, 2.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.scale < np.inf or (self.scale > 1 and self.scale != int(self.scale)):
            raise NetworkError(f"field 'scale' is {self.scale:g}; expected an integer s or 1 / s")

    @property
    def factor(self) -> int:
        """The side s of the blocks, for either direction."""
        return int(self.scale) if self.scale > 1 else round(1 / self.scale)

    def output_shapes(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> list[Shape]:
        n, c, h, w = inputs[0]
        s = self.factor
        if self.scale > 1:
            if c % (s * s):
                raise ShapeError(f"the input has {c} channels; expected a multiple of {s}x{s} = {s * s}")
            return [(n, c // (s * s), h * s, w * s)]
        if h % s or w % s:
            raise ShapeError(f"the input is {h}x{w}; expected multiples of {s}; pad or crop the image")
        return [(n, c * s * s, h // s, w // s)]

    def receptive_fields(self, inputs: Sequence[Shape]) -> list[ReceptiveField | None]:
        block, none = (self.factor, self.factor), (0, 0, 0, 0)
        return [transposed_field(block, block, none) if self.scale > 1 else window_field(block, block, none)]

    def forward(self, xp: Any, inputs: Sequence[Array], params: Any) -> list[Array]:
        x, s = inputs[0], self.factor
        ((n, c, h, w),) = self.output_shapes([x.shape], [])
        if self.scale > 1:
            blocks = x.reshape(n, c, s, s, h // s, w // s).transpose(0, 1, 4, 3, 5, 2)
        else:
            blocks = x.reshape(n, c // (s * s), h, s, w, s).transpose(0, 1, 5, 3, 2, 4)
        return [blocks.reshape(n, c, h, w)]
