"""Convolution and convolution transpose as matrix products of filters and patches (vl_nnconv, vl_nnconvt)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any, ClassVar, NamedTuple

from matnet.errors import NetworkError, ShapeError
from matnet.layout import filters_to_rows, pad_to_4d
from matnet.ops.arrays import as_float32, as_vector, elements, require_elements
from matnet.ops.base import Array, Op, register
from matnet.ops.fields import Pair, as_int, as_pad, as_pair, as_size, of
from matnet.shapes import (
    Pad,
    ReceptiveField,
    Shape,
    extent,
    filtered,
    swapped,
    swapped_pad,
    text,
    to_4d,
    transposed,
    transposed_field,
    window_field,
)

PATCH_ELEMENTS = 1 << 22  # elements of patches at a time (16 MiB), but at least one output row


class Filters(NamedTuple):
    """Params prepared for `forward`. `shape`: the filters' four sizes in MATLAB's order."""

    rows: Array  # one row per fourth index: (c, w, h) with h fastest, MATLAB's memory order
    shape: Shape
    bias: Array | None  # K x 1 x 1


def prepare_filters(xp: Any, params: Sequence[Array], has_bias: bool) -> Filters:
    """Filters and bias as float32; no bias if it is empty or `has_bias` is false."""
    filters = pad_to_4d(as_float32(xp, params[0]))
    bias = as_vector(xp, params[1]).reshape(-1, 1, 1) if has_bias and len(params) > 1 else None
    rows = xp.ascontiguousarray(filters_to_rows(filters)) if filters.size else filters
    return Filters(rows, filters.shape, bias if bias is not None and bias.size else None)


@register("dagnn.Conv", simplenn="conv", stock=True)
@dataclass(frozen=True, kw_only=True)
class Conv(Op):
    """Correlation of the zero-padded input with K filters h x w x c, in C / c groups, plus a bias (vl_nnconv).

    N x C x H x W -> N x K x H' x W', H' = floor((H + top + bottom - (h - 1) * dilate - 1) / stride) + 1. Group g reads
    the c channels from g * c on and computes the g-th part of the K outputs. Params: filters h x w x c x K and, with
    `hasBias`, K biases. Empty filters copy every stride-th pixel.
    """

    family = "convolution"
    has_filters = True
    images_independent = True
    input_channel_axis = 2
    spatial_params = frozenset({0})
    input_count: ClassVar[tuple[int, int | None]] = (1, 1)
    param_count: ClassVar[tuple[int, int]] = (1, 2)
    opts_fields: ClassVar = {"pad": "pad", "stride": "stride", "dilate": "dilate"}
    implied_fields = frozenset({"size", "hasBias"})
    size: Shape = of(as_size, (0, 0, 0, 0))  # as declared in the file; the filters themselves decide
    hasBias: bool = True
    pad: Pad = of(as_pad, (0, 0, 0, 0))
    stride: Pair = of(as_pair, (1, 1))
    dilate: Pair = of(as_pair, (1, 1))

    def channels_read(self, params: Sequence[Shape]) -> int | None:
        return _length(params, self.size, 2)

    def with_axes_swapped(self) -> Op | None:
        size, pad = swapped(self.size), swapped_pad(self.pad)
        return replace(self, size=size, pad=pad, stride=swapped(self.stride), dilate=swapped(self.dilate))

    def output_shapes(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> list[Shape]:
        n, c, h, w = inputs[0]
        fh, fw, depth, count = self._filter_shape(params[0], c)
        bank = f"the filters are {fh}x{fw}x{depth}x{count}"
        if c % depth:
            raise ShapeError(f"{bank}; the input has {c} channels, expected a multiple of {depth}")
        if count % (c // depth):
            raise ShapeError(f"{bank}; the input has {c} channels, expected {depth}, or groups that divide {count}")
        require_bias(self.hasBias, params, count)
        return [(n, count, *filtered((h, w), (fh, fw), self.stride, self.pad, self.dilate))]

    def _filter_shape(self, shape: Shape, channels: int) -> Shape:
        if elements(shape):
            return to_4d(shape)
        if all(self.size):  # declared size of filters missing in the file
            return to_4d(self.size)
        if not shape:
            raise ShapeError("filters are missing in the file, so the output size is unknown")
        return (1, 1, 1, channels)

    def covers(self, axes: Sequence[int | None], filters: Shape) -> bool:
        """Whether one window covers the whole input N x C x H x W, so that the layer is a matrix product.

        False if an axis is dynamic (None), if filters are empty, missing (shape ()) or grouped, or with padding. The
        stride is irrelevant, because there is only one window.
        """
        return elements(filters) > 0 and not any(self.pad) and to_4d(filters)[:3] == (axes[2], axes[3], axes[1])

    def receptive_fields(self, inputs: Sequence[Shape]) -> list[ReceptiveField | None]:
        kernel = self.size[:2]
        return [window_field((kernel[0], kernel[1]), self.stride, self.pad, self.dilate) if all(kernel) else None]

    def multiply_adds(self, inputs: Sequence[Shape], params: Sequence[Shape], outputs: Sequence[Shape]) -> int:
        fh, fw, depth, _ = self._filter_shape(params[0], inputs[0][1])
        return prod(outputs[0]) * fh * fw * depth

    def prepare(self, xp: Any, params: Sequence[Array]) -> Filters:
        filters = prepare_filters(xp, params, self.hasBias)
        if not filters.rows.size and all(self.size):
            raise NetworkError(f"filters are empty, but declared as {text(self.size)}")
        return filters

    def forward(self, xp: Any, inputs: Sequence[Array], params: Filters) -> list[Array]:
        x = inputs[0]
        if not params.rows.size:
            picked = self._picked(xp, x)
            return [picked if params.bias is None else picked + params.bias]
        if params.shape[:2] == (1, 1):
            result = _product_per_group(xp, params, self._picked(xp, x))
        elif self.covers(x.shape, params.shape):
            result = _product_per_image(xp, params, x)
        else:
            result = self._product_per_patch(xp, params, x)
        if params.bias is not None:
            result += params.bias
        return [result]

    def _picked(self, xp: Any, x: Array) -> Array:
        """The pixels under a 1 x 1 window, including padding; the input itself if that is all of it."""
        padded = _with_zeros(xp, x, self.pad)
        return xp.ascontiguousarray(padded[:, :, :: self.stride[0], :: self.stride[1]])

    def _product_per_patch(self, xp: Any, params: Filters, x: Array) -> Array:
        """One product per group for the patches of several images, or of a strip of rows of a large image."""
        n, c = x.shape[:2]
        fh, fw, depth, count = params.shape
        height, width = filtered(x.shape[2:], (fh, fw), self.stride, self.pad, self.dilate)
        rows = params.rows.reshape(c // depth, -1, fh * fw * depth)
        row_elements = c * fh * fw * width  # patches of one output row
        images = min(n, max(1, PATCH_ELEMENTS // (row_elements * height)))
        strip = min(height, max(1, PATCH_ELEMENTS // row_elements))
        result = xp.empty((n, count, height, width), dtype=xp.float32)
        buffer = xp.empty(row_elements * strip * images, dtype=xp.float32)
        for first in range(0, n, images):
            patches = self._patches(xp, _with_zeros(xp, x[first : first + images], self.pad), (fh, fw))
            for top in range(0, height, strip):
                part = patches[..., top : top + strip, :]
                columns = buffer[: part.size].reshape(part.shape)
                columns[...] = part
                product = xp.matmul(rows, columns.reshape(len(rows), rows.shape[2], -1))
                product = product.reshape(count, *part.shape[3:]).swapaxes(0, 1)
                result[first : first + images, :, top : top + strip] = product
        return result

    def _patches(self, xp: Any, padded: Array, kernel: Pair) -> Array:
        """A view of padded images as C x w x h x N x H' x W'; the first axes match the rows of the filters."""
        spans = extent(kernel[0], self.dilate[0]), extent(kernel[1], self.dilate[1])
        windows = xp.lib.stride_tricks.sliding_window_view(padded, spans, axis=(2, 3))
        taken = windows[:, :, :: self.stride[0], :: self.stride[1], :: self.dilate[0], :: self.dilate[1]]
        return taken.transpose(1, 5, 4, 0, 2, 3)


def _length(params: Sequence[Shape], declared: Shape, axis: int) -> int | None:
    """The size of the filters (or else of the declared ones) along an axis; None if unknown."""
    shape = params[0] if params and elements(params[0]) else declared
    return to_4d(shape)[axis] if elements(shape) and prod(shape[4:]) == 1 else None


def require_bias(has_bias: bool, params: Sequence[Shape], count: int) -> None:
    """Raise ShapeError if the bias is used, not empty, and does not have `count` elements."""
    if has_bias and len(params) > 1 and elements(params[1]):
        require_elements("the bias", params[1], count)


def _with_zeros(xp: Any, x: Array, pad: Pad) -> Array:
    """Zero-padded images; the same array without padding."""
    if not any(pad):
        return x
    top, bottom, left, right = pad
    n, c, h, w = x.shape
    padded = xp.zeros((n, c, top + h + bottom, left + w + right), dtype=x.dtype)
    padded[:, :, top : top + h, left : left + w] = x
    return padded


def _product_per_group(xp: Any, params: Filters, x: Array) -> Array:
    """1 x 1 filters: the input is already the matrix of patches."""
    _, _, depth, count = params.shape
    n, c, h, w = x.shape
    groups = c // depth
    result = xp.matmul(params.rows.reshape(groups, count // groups, depth), x.reshape(n, groups, depth, h * w))
    return result.reshape(n, count, h, w)


def _product_per_image(xp: Any, params: Filters, x: Array) -> Array:
    """Filters that cover the whole input (fully connected): one product for the whole batch."""
    columns = x.transpose(0, 1, 3, 2).reshape(len(x), -1)
    return xp.matmul(columns, params.rows.T).reshape(len(x), -1, 1, 1)


@register("dagnn.ConvTranspose", simplenn="convt", stock=True)
@dataclass(frozen=True, kw_only=True)
class ConvTranspose(Op):
    """The adjoint of a convolution: each input pixel adds its weighted filters to the output (vl_nnconvt).

    N x D x H x W -> N x K * numGroups x H' x W', H' = upsample * (H - 1) + h - top - bottom (crops). Params: filters
    h x w x K x D (outputs before inputs) and, with `hasBias`, K * numGroups biases. Group g maps the g-th part of the D
    inputs to the K outputs from g * K on.
    """

    family = "convolution"
    has_filters = True
    images_independent = True
    spatial_params = frozenset({0})
    param_count: ClassVar[tuple[int, int]] = (1, 2)
    opts_fields: ClassVar = {"upsample": "upsample", "crop": "crop", "numgroups": "numGroups"}
    implied_fields = frozenset({"size", "hasBias"})
    size: Shape = of(as_size, (0, 0, 0, 0))  # as declared in the file; the filters themselves decide
    hasBias: bool = True
    upsample: Pair = of(as_pair, (1, 1))
    crop: Pad = of(as_pad, (0, 0, 0, 0))
    numGroups: int = of(as_int, 1)

    @property
    def input_channel_axis(self) -> int | None:
        return 3 if self.numGroups == 1 else None

    def channels_read(self, params: Sequence[Shape]) -> int | None:
        return _length(params, self.size, 3)

    def with_axes_swapped(self) -> Op | None:
        size, crop, upsample = swapped(self.size), swapped_pad(self.crop), swapped(self.upsample)
        return replace(self, size=size, crop=crop, upsample=upsample)

    def output_shapes(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> list[Shape]:
        n, c, h, w = inputs[0]
        fh, fw, count, depth = self._filter_shape(params[0])
        if c != depth:
            raise ShapeError(f"the filters are {fh}x{fw}x{count}x{depth}; the input has {c} channels, expected {depth}")
        if self.numGroups < 1 or depth % self.numGroups:
            raise ShapeError(f"{depth} input channels cannot be divided into {self.numGroups} groups")
        require_bias(self.hasBias, params, count * self.numGroups)
        return [(n, count * self.numGroups, *transposed((h, w), (fh, fw), self.upsample, self.crop))]

    def _filter_shape(self, shape: Shape) -> Shape:
        if not elements(shape) and not all(self.size):
            raise ShapeError("filters are empty or missing in the file, so the output size is unknown")
        return to_4d(shape if elements(shape) else self.size)

    def receptive_fields(self, inputs: Sequence[Shape]) -> list[ReceptiveField | None]:
        kernel = self.size[:2]
        return [transposed_field((kernel[0], kernel[1]), self.upsample, self.crop) if all(kernel) else None]

    def multiply_adds(self, inputs: Sequence[Shape], params: Sequence[Shape], outputs: Sequence[Shape]) -> int:
        fh, fw, count, _ = self._filter_shape(params[0])
        return prod(inputs[0]) * fh * fw * count

    def prepare(self, xp: Any, params: Sequence[Array]) -> Filters:
        filters = prepare_filters(xp, params, self.hasBias)
        if not filters.rows.size:
            raise NetworkError("filters are empty")
        return filters

    def forward(self, xp: Any, inputs: Sequence[Array], params: Filters) -> list[Array]:
        x = inputs[0]
        fh, fw, count, depth = params.shape
        n, _, h, w = x.shape
        groups = self.numGroups
        columns_from = params.rows.reshape(groups, depth // groups, -1).swapaxes(1, 2)  # group x (K w h) x D
        full = transposed((h, w), (fh, fw), self.upsample, (0, 0, 0, 0))
        result = xp.zeros((n, groups * count, *full), dtype=xp.float32)
        strip = max(1, min(h, PATCH_ELEMENTS // (groups * count * fh * fw * w)))
        for image, canvas in zip(x, result, strict=True):
            for top in range(0, h, strip):
                part = image[:, top : top + strip].reshape(groups, depth // groups, -1)
                patches = xp.matmul(columns_from, part).reshape(groups * count, fw, fh, -1, w)
                self._add_patches(canvas[:, top * self.upsample[0] :], patches)
        top, bottom, left, right = self.crop
        result = xp.ascontiguousarray(result[:, :, top : full[0] - bottom, left : full[1] - right])
        if params.bias is not None:
            result += params.bias
        return [result]

    def _add_patches(self, canvas: Array, patches: Array) -> None:
        """Add patches K x w x h x H x W to the canvas, one tap of all patches at a time."""
        _, fw, fh, h, w = patches.shape
        down, across = self.upsample
        for u in range(fh):
            for v in range(fw):
                canvas[:, u : u + down * (h - 1) + 1 : down, v : v + across * (w - 1) + 1 : across] += patches[:, v, u]
