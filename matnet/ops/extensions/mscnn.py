"""The box layers of MS-CNN and Cascade R-CNN: proposals from several maps, and boxes moved by their predictions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log, prod
from typing import Any, ClassVar

import numpy as np

from matnet.errors import NetworkError, ShapeError
from matnet.ops.arrays import on_host
from matnet.ops.base import Array, Op, register
from matnet.ops.extensions.common import as_values
from matnet.ops.extensions.roi import box_count
from matnet.ops.extensions.suppression import Overlap, keep_best
from matnet.ops.fields import as_floats, choice, of
from matnet.shapes import ReceptiveField, Shape, text

OVER = {"iou": "union", "iomu": "smaller", "iofu": "first"}
NO_BOX, NO_SCORE = np.array([[0, 1, 1, 10, 10]], np.float32), np.zeros((1, 6), np.float32)
"""What the forks give where there is no box at all."""


def _single(values: Sequence[float]) -> np.ndarray:
    return np.asarray(values, np.float32)


@dataclass(frozen=True, kw_only=True)
class _BoxHead(Op):
    """What BoxOutput and BoxGroupOutput share: fields, bounds of predictions, suppression, outputs."""

    input_count: ClassVar[tuple[int, int | None]] = (1, None)
    uses_host: ClassVar[bool] = True
    sizes_depend_on_values = True
    family = "result"
    fieldW: tuple[float, ...] = of(as_values, ())
    fieldH: tuple[float, ...] = of(as_values, ())
    downsampleRate: tuple[float, ...] = of(as_values, ())
    fgThreshold: float = 0.0
    iouThreshold: float = 0.5
    nmsType: str = of(choice(*OVER), "iou")
    fieldWHR: float = 2.0
    fieldXYR: float = 2.0
    maxNmsNum: int = 0
    maxPostNmsNum: int = 0
    minSize: float = 15.0
    bboxMean: tuple[float, ...] = of(as_floats(4), (0.0, 0.0, 0.0, 0.0))
    bboxStd: tuple[float, ...] = of(as_floats(4), (1.0, 1.0, 1.0, 1.0))
    withScores: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.fieldW) != len(self.fieldH):
            raise NetworkError(f"has {len(self.fieldW)} fieldW and {len(self.fieldH)} fieldH; expected as many")

    def receptive_fields(self, inputs: Sequence[Shape]) -> list[ReceptiveField | None]:
        return [None] * len(inputs)

    def _most(self, images: int, boxes: int) -> list[Shape]:
        """Sizes of the outputs for at most `boxes` boxes per image."""
        each = min(boxes, self.maxNmsNum or boxes, self.maxPostNmsNum or boxes)
        shapes: list[Shape] = [(max(1, images * each), 5, 1, 1), (max(1, images * each), 6, 1, 1)]
        return shapes[: 1 + self.withScores]

    def _bounded(self, offsets: np.ndarray) -> np.ndarray:
        """Predictions ... x 4 as they were before training normalised them, cut to the allowed range."""
        found = offsets * _single(self.bboxStd) + _single(self.bboxMean)
        place, size = 1 / self.fieldXYR, log(self.fieldWHR)
        bounds = _single((place, place, size, size))
        return np.minimum(np.maximum(found, -bounds), bounds)

    def _decoded(self, offsets: np.ndarray, field: tuple[float, float], rate: float) -> tuple[np.ndarray, ...]:
        """x, y of the first corner, width and height, each H x W, from H x W x 4 predictions about one field."""
        bounded = self._bounded(offsets)
        wide, high = (np.float32(value) for value in field)
        centre_y = ((np.arange(len(offsets), dtype=np.float32) + np.float32(0.5)) * np.float32(rate))[:, None]
        centre_x = (np.arange(offsets.shape[1], dtype=np.float32) + np.float32(0.5)) * np.float32(rate)
        width, height = wide * np.exp(bounded[..., 2]), high * np.exp(bounded[..., 3])
        x = bounded[..., 0] * wide + centre_x - width / 2
        y = bounded[..., 1] * high + centre_y - height / 2
        return x, y, width, height

    def _outputs(self, xp: Any, rows: list[np.ndarray]) -> list[Array]:
        """Boxes (image, xmin, ymin, xmax, ymax) and the same with scores, from rows of all six."""
        found = np.concatenate(rows) if rows else np.empty((0, 6), np.float32)
        outputs = [found[:, :5], found] if len(found) else [NO_BOX, NO_SCORE]
        kept = outputs[: 1 + self.withScores]
        return [xp.asarray(np.ascontiguousarray(part, np.float32)[..., None, None]) for part in kept]


@register("dagnn.BoxOutput")
@dataclass(frozen=True, kw_only=True)
class BoxOutput(_BoxHead):
    """Proposals from maps of scores and offsets (MS-CNN fork, box_output_layer.cpp).

    Inputs: N x (K + 4) x H x W maps, K class scores, background first, then x, y, w, h of a box relative to the
    field (fieldW x fieldH pixels) around the cell's centre; downsampleRate is the cell's size. A box counts where the
    best score exceeds the background's by fgThreshold or more. Offsets are multiplied by bboxStd, bboxMean is added;
    x and y are cut to 1 / fieldXYR, w and h to log fieldWHR either way. Boxes are clipped to the map and dropped
    where a side is below minSize. The maxNmsNum best (0: all; of equal ones the last first) are suppressed where they
    overlap a better one by more than iouThreshold, over the union ("iou"), the smaller area ("iomu") or the better
    box's ("iofu"); maxPostNmsNum remain. Outputs: R x 5 x 1 x 1 (image, xmin, ymin, xmin + width, ymin + height) and,
    with withScores, R x 6 x 1 x 1 with the score; without any box one row (0, 1, 1, 10, 10), and zeros.
    """

    def output_shapes(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> list[Shape]:
        if not len(self.fieldW) == len(self.downsampleRate) == len(inputs):
            raise ShapeError(
                f"has {len(inputs)} inputs, {len(self.fieldW)} fields and {len(self.downsampleRate)} rates; "
                "expected as many"
            )
        for index, shape in enumerate(inputs, 1):
            if shape[:2] != inputs[0][:2] or shape[1] < 6:
                raise ShapeError(f"input {index} is {text(shape)}; expected as many images and channels, 6 or more")
        return self._most(inputs[0][0], sum(prod(shape[2:]) for shape in inputs))

    def forward(self, xp: Any, inputs: Sequence[Array], params: Any) -> list[Array]:
        maps = [on_host(x) for x in inputs]
        rows = []
        for image in range(len(maps[0])):
            found = [self._candidates(x[image], index) for index, x in enumerate(maps)]
            boxes, scores = (np.concatenate(parts) for parts in zip(*found, strict=True))
            order = np.lexsort((-np.arange(len(scores)), -scores))[: self.maxNmsNum or None]
            boxes, scores = boxes[order], scores[order]
            corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:] - np.float32(1)], axis=1)
            overlap = Overlap(plus=1, ordered=True, over=OVER[self.nmsType])
            areas = boxes[:, 2] * boxes[:, 3]
            kept = keep_best(corners, self.iouThreshold, overlap, self.maxPostNmsNum or None, areas)
            ends = boxes[kept, :2] + boxes[kept, 2:]
            number = np.full((len(kept), 1), image, np.float32)
            rows.append(np.concatenate([number, boxes[kept, :2], ends, scores[kept, None]], axis=1))
        return self._outputs(xp, rows)

    def _candidates(self, x: np.ndarray, index: int) -> tuple[np.ndarray, np.ndarray]:
        """x, y, width, height and score of the boxes of one map that count."""
        classes, (height, width), rate = len(x) - 4, x.shape[1:], self.downsampleRate[index]
        score = (x[1:classes].max(axis=0) - x[0]).ravel()
        field = (self.fieldW[index], self.fieldH[index])
        left, top, wide, high = (part.ravel() for part in self._decoded(x[classes:].transpose(1, 2, 0), field, rate))
        left, top = np.maximum(left, 0), np.maximum(top, 0)
        wide = np.minimum(wide, np.float32(int(width * rate)) - left)
        high = np.minimum(high, np.float32(int(height * rate)) - top)
        counts = (score >= np.float32(self.fgThreshold)) & (wide >= self.minSize) & (high >= self.minSize)
        return np.stack([left, top, wide, high], axis=1)[counts], score[counts]


@register("dagnn.DecodeBBox")
@dataclass(frozen=True, kw_only=True)
class DecodeBBox(Op):
    """Boxes moved and resized by what a network predicts (MS-CNN and Cascade R-CNN forks, decode_bbox_layer.cpp).

    Inputs: predictions R x 8 x 1 x 1 (x, y, w, h of the background, which do not count, then of the object) and boxes
    R x 5 x 1 x 1 (image, xmin, ymin, xmax, ymax). Output: R x 5 x 1 x 1. Predictions are multiplied by bboxStd,
    bboxMean is added; with a box's size W = xmax - xmin + 1 and centre c = (xmin + xmax) / 2 the new centre is
    x W + c, the new size W exp(w), and xmin = centre - (size - 1) / 2, xmax = xmin + size - 1. What training does
    besides, dropping boxes, does not happen.
    """

    input_count: ClassVar[tuple[int, int | None]] = (2, 2)
    images_independent = True
    family = "result"
    bboxMean: tuple[float, ...] = of(as_floats(4), (0.0, 0.0, 0.0, 0.0))
    bboxStd: tuple[float, ...] = of(as_floats(4), (1.0, 1.0, 1.0, 1.0))

    def output_shapes(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> list[Shape]:
        if prod(inputs[0][1:]) != 8 or inputs[0][0] != box_count(inputs[1]):
            raise ShapeError(f"the predictions are {text(inputs[0])}, expected {inputs[1][0]} x 8")
        return [(inputs[1][0], 5, 1, 1)]

    def receptive_fields(self, inputs: Sequence[Shape]) -> list[ReceptiveField | None]:
        return [None, None]

    def forward(self, xp: Any, inputs: Sequence[Array], params: Any) -> list[Array]:
        offsets, boxes = inputs[0].reshape(-1, 8), inputs[1].reshape(-1, 5)
        scales = zip(self.bboxStd, self.bboxMean, strict=True)
        moved = xp.stack([offsets[:, 4 + k] * std + mean for k, (std, mean) in enumerate(scales)], axis=1)
        low, high = boxes[:, 1:3], boxes[:, 3:]
        size = high - low + xp.float32(1)
        new = size * xp.exp(moved[:, 2:])
        first = moved[:, :2] * size + xp.float32(0.5) * (high + low) - (new - 1) / 2
        found = xp.concatenate([boxes[:, :1], first, first + new - 1], axis=1)
        return [xp.ascontiguousarray(found).reshape(-1, 5, 1, 1)]
