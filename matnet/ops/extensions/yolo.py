"""The last layers of YOLO v2 and v3: activations per box, and decoding of maps into detections."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from matnet.errors import NetworkError, ShapeError
from matnet.ops.arrays import on_host, sigmoid, softmax
from matnet.ops.base import Array, Op, register
from matnet.ops.extensions.common import as_count, as_integers, as_values
from matnet.ops.extensions.suppression import Overlap, keep_best
from matnet.ops.fields import choice, of
from matnet.shapes import ReceptiveField, Shape, text


@register("dagnn.Region")
@dataclass(frozen=True, kw_only=True)
class Region(Op):
    """Sigmoid and softmax over the predictions of each box (YOLOv2 forks of Caffe, region layer).

    Input and output: N x num (coords + 1 + classes) x H x W; for each box, coords coordinates, the objectness and class
    scores. Layout "maps" (OpenVINO's fork, as in darknet): sigmoid of the first two coordinates and the objectness,
    softmax of the classes; surplus channels of a single image are unchanged. Layout "rows" (caffe_yolo_v2): values of
    an item are first reordered to H x W x C, without changing the shape; then sigmoid of entry 4 of each box, and, with
    `softmax`, softmax of the entries from 5 on.
    """

    family = "result"
    images_independent = True
    classes: int = of(as_count, 20)
    coords: int = of(as_count, 4)
    num: int = of(as_count, 5)
    layout: str = of(choice("maps", "rows"), "maps")
    softmax: bool = True

    def output_shapes(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> list[Shape]:
        n, c = inputs[0][:2]
        wanted = self.num * (self.coords + 1 + self.classes)
        if c < wanted or (c > wanted and (n > 1 or self.layout == "rows")):
            raise ShapeError(
                f"input 1 has {c} channels; expected {wanted} for {self.num} boxes with {self.coords} coordinates, "
                f"objectness and {self.classes} classes"
            )
        return [inputs[0]]

    def receptive_fields(self, inputs: Sequence[Shape]) -> list[ReceptiveField | None]:
        return [ReceptiveField() if self.layout == "maps" else None]

    def forward(self, xp: Any, inputs: Sequence[Array], params: Any) -> list[Array]:
        x = inputs[0]
        n, c, h, w = x.shape
        entries = self.coords + 1 + self.classes
        if self.layout == "rows":
            result = xp.ascontiguousarray(x.transpose(0, 2, 3, 1)).reshape(n, h * w * self.num, entries)
            result[:, :, 4] = sigmoid(xp, result[:, :, 4])
            if self.softmax:
                result[:, :, 5 : 5 + self.classes] = softmax(xp, result[:, :, 5 : 5 + self.classes], 2)
            return [result.reshape(n, c, h, w)]
        result = x.copy()
        boxes = result[:, : self.num * entries].reshape(n, self.num, entries, h, w)
        activated = [
            sigmoid(xp, boxes[:, :, :2]),
            boxes[:, :, 2 : self.coords],
            sigmoid(xp, boxes[:, :, self.coords : self.coords + 1]),
            softmax(xp, boxes[:, :, self.coords + 1 :], 2) if self.softmax else boxes[:, :, self.coords + 1 :],
        ]
        result[:, : self.num * entries] = xp.concatenate(activated, axis=2).reshape(n, -1, h, w)
        return [result]


@register("dagnn.YoloDetectionOutput")
@dataclass(frozen=True, kw_only=True)
class YoloDetectionOutput(Op):
    """Detections of YOLO v2 or v3 (MobileNet-YOLO fork of Caffe, yolo_ and yolov3_detection_output_layer.cpp).

    Inputs: one square map or more, 1 x numBox (5 + numClasses) x S x S: x, y, w, h, objectness, class scores. Output:
    1 x 1 x D x 7, one row per detection: 0, class (from 1), score, xmin, ymin, xmax, ymax relative to the image, best
    first; without detections, one row 0 and six times -1. x and y are sigmoids relative to the cell, w and h are
    exponentials times the anchor (`biases`, pairs of width and height). Version 2: anchors in cells, the same for all
    maps; the score is objectness times the maximum of the softmax over classes; detections need a score >=
    confidenceThreshold. Version 3: anchors in pixels, selected by numBox indices of `mask` per map, with anchorsScale
    pixels per cell; every class has a score, objectness times its sigmoid; detections need a score >
    confidenceThreshold. A detection is suppressed if it overlaps a better one, of any class, by nmsThreshold or more.
    Only one image is supported, because the fork assigns all detections to the first image.
    """

    input_count: ClassVar[tuple[int, int | None]] = (1, None)
    uses_host: ClassVar[bool] = True
    sizes_depend_on_values = True
    family = "result"
    pixelwise = False
    lists_detections: ClassVar[bool] = True
    version: int = 3
    numClasses: int = of(as_count, 20)
    numBox: int = of(as_count, 3)
    biases: tuple[float, ...] = of(as_values, ())
    mask: tuple[int, ...] = of(as_integers, ())
    anchorsScale: tuple[float, ...] = of(as_values, ())
    confidenceThreshold: float = 0.01
    nmsThreshold: float = 0.45

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.version not in (2, 3):
            raise NetworkError(f"field 'version' is {self.version}; expected 2 or 3")

    @property
    def listed_classes(self) -> tuple[int, int] | None:
        return self.numClasses + 1, 0  # classes start at 1

    def output_shapes(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> list[Shape]:
        anchors = len(self.biases) // 2
        if self.version == 3:
            if len(self.mask) < self.numBox * len(inputs) or len(self.anchorsScale) < len(inputs):
                raise ShapeError(
                    f"has {len(self.mask)} mask numbers and {len(self.anchorsScale)} anchorsScale; expected "
                    f"{self.numBox * len(inputs)} and {len(inputs)} for {len(inputs)} maps of {self.numBox} boxes"
                )
            if not all(0 <= number < anchors for number in self.mask):
                raise ShapeError(f"mask is {list(self.mask)}; expected indices of the {anchors} anchors in biases")
        elif anchors < self.numBox:
            raise ShapeError(f"has {anchors} pairs of biases; expected {self.numBox}, one per box")
        wanted = self.numBox * (5 + self.numClasses)
        for index, shape in enumerate(inputs, 1):
            if shape[:2] != (1, wanted) or shape[2] != shape[3]:
                raise ShapeError(f"input {index} is {text(shape)}; expected 1x{wanted} and a square map")
        cells = sum(shape[2] * shape[3] for shape in inputs)
        return [(1, 1, max(1, cells * self.numBox * (self.numClasses if self.version == 3 else 1)), 7)]

    def forward(self, xp: Any, inputs: Sequence[Array], params: Any) -> list[Array]:
        parts = [self._candidates(on_host(x), index) for index, x in enumerate(inputs)]
        sides, labels, scores = (np.concatenate(column) for column in zip(*parts, strict=True))
        order = np.argsort(-scores, kind="stable")
        half = sides[:, 2:] / np.float32(2)
        corners = np.concatenate([sides[:, :2] - half, sides[:, :2] + half], axis=1)[order]
        areas = (sides[:, 2] * sides[:, 3])[order]
        kept = keep_best(corners, self.nmsThreshold, Overlap(inclusive=True), areas=areas)
        found = order[kept]
        rows = np.concatenate(
            [np.zeros((len(kept), 1)), labels[found, None] + 1, scores[found, None], corners[kept]], axis=1
        ).astype(np.float32)
        if not len(rows):
            rows = np.array([[0, -1, -1, -1, -1, -1, -1]], np.float32)
        return [xp.asarray(rows[None, None])]

    def _candidates(self, x: np.ndarray, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Centre and size (x, y, w, h), class and score of each candidate, ordered by cell, box and class."""
        side = x.shape[2]
        boxes = x.reshape(self.numBox, 5 + self.numClasses, side * side).transpose(2, 0, 1)
        cell = np.arange(side * side)
        corner = np.stack([cell % side, cell // side], axis=1)[:, None].astype(np.float32)
        place = (corner + sigmoid(np, boxes[..., :2])) / np.float32(side)
        size = np.exp(boxes[..., 2:4]) * self._anchors(index) / np.float32(self._extent(side, index))
        sides = np.concatenate([place, size], axis=2)
        objectness = sigmoid(np, boxes[..., 4:5])
        if self.version == 3:
            scores = sigmoid(np, boxes[..., 5:]) * objectness
            where = np.nonzero(scores > np.float32(self.confidenceThreshold))
            return sides[where[:2]], where[2], scores[where]
        classes = softmax(np, boxes[..., 5:], 2)
        best = objectness[..., 0] * classes.max(axis=2)
        where = np.nonzero(best >= np.float32(self.confidenceThreshold))
        return sides[where], classes.argmax(axis=2)[where], best[where]

    def _anchors(self, index: int) -> np.ndarray:
        """Width and height of the anchors of a map's boxes."""
        anchors = np.asarray(self.biases, np.float32).reshape(-1, 2)
        if self.version == 2:
            return anchors[: self.numBox]
        return anchors[list(self.mask[index * self.numBox : (index + 1) * self.numBox])]

    def _extent(self, side: int, index: int) -> float:
        """The image's side in units of the anchors."""
        return side * self.anchorsScale[index] if self.version == 3 else side
