"""Region proposals of Faster R-CNN and R-FCN, from scores and offsets of anchors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from matnet.errors import NetworkError, NoBoxError, ShapeError
from matnet.ops.arrays import on_host
from matnet.ops.base import Array, Op, register
from matnet.ops.extensions.common import as_count, as_values
from matnet.ops.extensions.suppression import PIXELS, keep_best
from matnet.ops.fields import choice, of
from matnet.shapes import Shape, text

Rounding = Callable[[float], float]


def half_up(value: float) -> float:
    """Round half up, as C++ layers round positive numbers."""
    return float(np.floor(value + 0.5))


def anchors_of(
    base: float, ratios: Sequence[float], scales: Sequence[float], nearest: Rounding = np.rint
) -> tuple[float, ...]:
    """xmin, ymin, xmax, ymax of each anchor of the cell at pixels 0 to base - 1.

    Source: py-faster-rcnn, generate_anchors. For each ratio (height / width), a box with the cell's area and integer
    sides is multiplied by each scale. nearest: rounding of the sides (half to even in Python).

    >>> anchors_of(16, [2], [8, 16])
    (-36.0, -80.0, 51.0, 95.0, -80.0, -168.0, 95.0, 183.0)
    """
    centre = (base - 1) / 2
    found: list[float] = []
    for ratio in ratios:
        width = float(nearest((base * base / ratio) ** 0.5))
        height = float(nearest(width * ratio))
        for scale in scales:
            across, down = (width * scale - 1) / 2, (height * scale - 1) / 2
            found += [centre - across, centre - down, centre + across, centre + down]
    return tuple(found)


def moved(boxes: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Boxes (... x 4) moved by offsets dx, dy of their centres and resized by exp(dw), exp(dh).

    Source: py-faster-rcnn, bbox_transform_inv. Input sizes are xmax - xmin + 1, but the corners of the result are half
    a size from its centre.
    """
    size = boxes[..., 2:] - boxes[..., :2] + np.float32(1)
    centre = offsets[..., :2] * size + (boxes[..., :2] + np.float32(0.5) * size)
    half = np.float32(0.5) * (np.exp(offsets[..., 2:]) * size)
    return np.concatenate([centre - half, centre + half], axis=-1)


def clipped(boxes: np.ndarray, height: float, width: float) -> Array:
    """Boxes clipped to an image."""
    greatest = np.array([width - 1, height - 1, width - 1, height - 1], np.float32)
    return np.maximum(np.minimum(boxes, greatest), np.float32(0))


@register("dagnn.Proposal")
@dataclass(frozen=True, kw_only=True)
class Proposal(Op):
    """The best boxes of a region proposal network (py-faster-rcnn, rpn/proposal_layer.py; PVANet's Caffe layer).

    Inputs: probabilities N x 2A x H x W, background first, then A anchors; offsets N x 4A x H x W (dx, dy, dw, dh of
    each anchor); the image size, 1 or N rows of height, width, scale [, horizontal scale]. anchors: 4A pixel
    coordinates around the first cell; cells are featStride pixels apart. Boxes are moved and clipped to the image.
    Boxes with a side below minSize times the scale are dropped, or kept with score 0 for smallBoxes "zero", as in the
    C++ layers. Of the preNmsTopN best (0: all), those that overlap a better one by more than nmsThreshold are
    suppressed; the postNmsTopN best (0: all) remain. Outputs: R x 5 x 1 x 1 (image, and 0-based pixels xmin, ymin,
    xmax, ymax) and, with withScores, the scores R x 1 x 1 x 1.
    """

    input_count: ClassVar[tuple[int, int | None]] = (3, 3)
    uses_host: ClassVar[bool] = True
    sizes_depend_on_values = True
    family = "result"
    pixelwise = False
    anchors: tuple[float, ...] = of(as_values, anchors_of(16, (0.5, 1, 2), (8, 16, 32)))
    featStride: int = of(as_count, 16)
    minSize: float = 16.0
    smallBoxes: str = of(choice("drop", "zero"), "drop")
    preNmsTopN: int = 6000
    postNmsTopN: int = 300
    nmsThreshold: float = 0.7
    withScores: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.anchors or len(self.anchors) % 4:
            raise NetworkError(f"field 'anchors' has {len(self.anchors)} numbers; expected 4 per anchor")

    def output_shapes(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> list[Shape]:
        scores, offsets, sizes = inputs
        count = len(self.anchors) // 4
        for what, shape, channels in (("scores", scores, 2 * count), ("offsets", offsets, 4 * count)):
            if shape != (scores[0], channels, *scores[2:]):
                wanted = text((scores[0], channels, *scores[2:]))
                raise ShapeError(f"the {what} are {text(shape)}; expected {wanted} for {count} anchors")
        if sizes[0] not in (1, scores[0]) or np.prod(sizes[1:]) < 3:
            raise ShapeError(f"the image size is {text(sizes)}; expected 1 or {scores[0]} rows of height, width, scale")
        boxes = count * scores[2] * scores[3]
        each = min(self.postNmsTopN or boxes, self.preNmsTopN or boxes, boxes)
        most = scores[0] * each
        shapes: list[Shape] = [(most, 5, 1, 1), (most, 1, 1, 1)]
        return shapes[: 1 + self.withScores]

    def forward(self, xp: Any, inputs: Sequence[Array], params: Any) -> list[Array]:
        scores, offsets, sizes = (on_host(x) for x in inputs)
        images, _, height, width = scores.shape
        sizes = np.broadcast_to(sizes.reshape(len(sizes), -1), (images, sizes[0].size))
        grid = self._grid(height, width)
        rows = []
        for image in range(images):
            score = scores[image, len(self.anchors) // 4 :].transpose(1, 2, 0).ravel()
            offset = offsets[image].transpose(1, 2, 0).reshape(-1, 4)
            boxes, kept = self._best(clipped(moved(grid, offset), *sizes[image, :2]), score, sizes[image])
            numbers = np.full((len(boxes), 1), image, np.float32)
            rows.append(np.concatenate([numbers, boxes, kept[:, None]], axis=1))
        found = np.concatenate(rows)
        if not len(found):
            raise NoBoxError(f"no box found: all boxes have a side below minSize ({self.minSize:g}) times the scale")
        outputs = [found[:, :5], found[:, 5:]][: 1 + self.withScores]
        return [xp.asarray(np.ascontiguousarray(part)[..., None, None]) for part in outputs]

    def _grid(self, height: int, width: int) -> np.ndarray:
        """The anchors of all cells, (H W A) x 4, grouped by cell."""
        down, across = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
        corner = np.stack([across, down, across, down], axis=-1)[:, :, None] * self.featStride
        anchors = np.asarray(self.anchors, np.float64).reshape(-1, 4)
        return (corner + anchors).astype(np.float32).reshape(-1, 4)

    def _best(self, boxes: np.ndarray, scores: np.ndarray, size: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The remaining boxes of one image, best first, with their scores."""
        scale = np.array([size[-1 if len(size) == 3 else 3], size[2]], np.float32)  # horizontal, vertical
        large = (boxes[:, 2:] - boxes[:, :2] + np.float32(1) >= np.float32(self.minSize) * scale).all(axis=1)
        if self.smallBoxes == "drop":
            boxes, scores = boxes[large], scores[large]
        else:
            scores = scores * large
        order = np.argsort(-scores, kind="stable")[: self.preNmsTopN or None]
        kept = order[keep_best(boxes[order], self.nmsThreshold, PIXELS, self.postNmsTopN or None)]
        return boxes[kept], scores[kept]
