"""SSD's prior boxes: boxes of several sizes and shapes around each cell of a feature map."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from matnet.errors import NetworkError
from matnet.ops.base import Array, Op, register
from matnet.ops.extensions.common import as_integers, as_values
from matnet.ops.fields import of
from matnet.shapes import Shape

SQUARE = 1e-6  # ratios this close to 1 are skipped, because every size has a square box


def expanded_ratios(ratios: Sequence[float], flip: bool) -> list[float]:
    """The aspect ratios other than 1 in the order of the SSD fork: each new one, followed by its inverse if `flip`.

    >>> expanded_ratios([1, 2, 3, 2], flip=True) == [2.0, 0.5, 3.0, float(np.float32(1 / 3))]
    True
    """
    found = [1.0]
    for ratio in ratios:
        if all(abs(ratio - known) >= SQUARE for known in found):
            found += [ratio, float(np.float32(1 / ratio))] if flip else [ratio]
    return found[1:]


def _as_max_sizes(value: Any) -> tuple[float, ...]:
    """Any number of sizes; no sizes become a single 0, as in mcnSSD."""
    return as_values(value) or (0.0,)


def _as_steps(value: Any) -> tuple[float, ...]:
    """One or two numbers; two equal ones become one, because mcnSSD supports only one."""
    steps = as_values(value)
    return steps[:1] if len(steps) == 2 and steps[0] == steps[1] else steps


@register("dagnn.PriorBox")
@dataclass(frozen=True, kw_only=True)
class PriorBox(Op):
    """Boxes around each cell of a feature map (SSD fork of Caffe, prior_box layer; mcnSSD).

    Inputs: the feature map and the image (only its size is used). Output 1 x 2 x 4K x 1: xmin, ymin, xmax, ymax of each
    box relative to the image, and its four variances. Boxes are ordered by row, column and size. For each size: a
    square of side minSize, a square of side sqrt(minSize maxSize) unless maxSize is 0, and a box for each aspect ratio
    r with width minSize sqrt(r) and height minSize / sqrt(r). flip appends the inverses after all ratios, as in mcnSSD;
    `from_ssd` uses the order of the SSD fork. Sizes and pixelStep (one number, or vertical and horizontal) are in
    pixels; pixelStep 0 means image size / map size. imageSize [h w] replaces the image's size. A single variance
    applies to all four coordinates.
    """

    images_independent = True
    pixelwise = False
    input_count: ClassVar[tuple[int, int | None]] = (1, 2)
    size_only_inputs: ClassVar[frozenset[int]] = frozenset({0, 1})
    uses_host: ClassVar[bool] = True
    minSize: tuple[float, ...] = of(as_values, ())
    maxSize: tuple[float, ...] = of(_as_max_sizes, (0.0,))
    aspectRatios: tuple[float, ...] = of(as_values, ())
    variance: tuple[float, ...] = of(as_values, (0.1,))
    pixelStep: tuple[float, ...] = of(_as_steps, (0.0,))
    flip: bool = False
    clip: bool = False
    offset: float = 0.5
    imageSize: tuple[int, ...] = of(as_integers, ())
    usePriorCaching: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.minSize or min(self.minSize) <= 0:
            raise NetworkError(f"field 'minSize' is {list(self.minSize)}; expected one or more sizes > 0")
        larger = self._larger()
        if larger and len(larger) != len(self.minSize):
            raise NetworkError(f"field 'maxSize' is {list(larger)}; expected {len(self.minSize)} sizes")
        if any(high <= low for low, high in zip(self.minSize, larger, strict=False)):
            raise NetworkError(f"field 'maxSize' is {list(larger)}; expected more than minSize {list(self.minSize)}")
        if any(ratio <= 0 for ratio in self.aspectRatios):
            raise NetworkError(f"field 'aspectRatios' is {list(self.aspectRatios)}; expected positive numbers")
        for name, lengths in (("variance", (1, 4)), ("pixelStep", (1, 2)), ("imageSize", (0, 2))):
            found = getattr(self, name)
            if len(found) not in lengths or any(value < 0 for value in found):
                wanted = f"expected {lengths[0]} or {lengths[1]} numbers >= 0"
                raise NetworkError(f"field {name!r}: {wanted}, found {list(found)}")

    @classmethod
    def from_ssd(
        cls,
        min_size: Sequence[float],
        max_size: Sequence[float] = (),
        aspect_ratio: Sequence[float] = (),
        flip: bool = True,
        **fields: Any,
    ) -> PriorBox:
        """The op for the SSD fork's parameters: sizes truncated to integers, ratios in its order."""
        return cls(
            minSize=tuple(float(int(size)) for size in min_size),
            maxSize=tuple(float(int(size)) for size in max_size),
            aspectRatios=tuple(expanded_ratios(aspect_ratio, flip)),
            **fields,
        )

    def _larger(self) -> tuple[float, ...]:
        """maxSize, or () if all are 0."""
        return self.maxSize if any(self.maxSize) else ()

    def _ratios(self) -> list[float]:
        flipped = [1 / ratio for ratio in self.aspectRatios] if self.flip else []
        return [ratio for ratio in (*self.aspectRatios, *flipped) if abs(ratio - 1) >= SQUARE]

    def _extents(self) -> Iterator[tuple[float, float]]:
        """Width and height of each box of a cell, in pixels."""
        larger = self._larger()
        for index, low in enumerate(self.minSize):
            yield low, low
            if larger:
                side = math.sqrt(low * larger[index])
                yield side, side
            for ratio in self._ratios():
                yield low * math.sqrt(ratio), low / math.sqrt(ratio)

    def output_shapes(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> list[Shape]:
        if len(inputs) < 2 and not self.imageSize:
            raise NetworkError("has neither a second input nor 'imageSize'; give the image as input 2, or its size")
        boxes = len(list(self._extents())) * inputs[0][2] * inputs[0][3]
        return [(1, 2, 4 * boxes, 1)]

    def forward(self, xp: Any, inputs: Sequence[Array], params: Any) -> list[Array]:
        image = self.imageSize or inputs[1].shape[2:]
        centres = [self._centres(axis, inputs[0].shape[2 + axis], image[axis]) for axis in (0, 1)]
        extents = np.array(list(self._extents()), dtype=np.float32).astype(np.float64)
        y, x = centres[0][:, None, None], centres[1][None, :, None]
        half = extents / 2  # the fork halves and divides in double precision
        corners = (x - half[:, 0], y - half[:, 1], x + half[:, 0], y + half[:, 1])
        boxes = np.stack(np.broadcast_arrays(*corners), axis=-1) / (image[1], image[0], image[1], image[0])
        boxes = boxes.astype(np.float32).reshape(-1, 4)
        if self.clip:
            boxes = boxes.clip(0, 1)
        variances = np.broadcast_to(np.array(self.variance, dtype=np.float32), boxes.shape)
        return [xp.asarray(np.stack([boxes, variances]).reshape(1, 2, -1, 1))]

    def _centres(self, axis: int, cells: int, pixels: int) -> Array:
        step = np.float32(self.pixelStep[axis % len(self.pixelStep)] or pixels / cells)
        return ((np.arange(cells, dtype=np.float32) + np.float32(self.offset)) * step).astype(np.float64)
