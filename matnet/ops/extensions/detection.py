"""The last layer of SSD and RefineDet: decodes predictions relative to prior boxes into detections."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, ClassVar

import numpy as np

from matnet.errors import NetworkError, ShapeError
from matnet.ops.arrays import on_host
from matnet.ops.base import Array, Op, register
from matnet.ops.extensions.common import as_count
from matnet.ops.fields import choice, of
from matnet.shapes import Shape, text


def decode(predicted: np.ndarray, priors: np.ndarray, variances: np.ndarray | None, code: str) -> Array:
    """Boxes (xmin, ymin, xmax, ymax in the last axis) from predictions p relative to prior boxes, all ... x 4.

    corner: prior + v p; corner_size: prior + v p (width or height of the prior); center_size: centre + v p size,
    size exp(v p). variances: v, or None if the predictions already include them (v = 1).
    """
    offsets = predicted if variances is None else variances * predicted
    if code == "corner":
        return priors + offsets
    low, high = priors[..., :2], priors[..., 2:]
    size = high - low
    if code == "corner_size":
        return priors + offsets * np.concatenate([size, size], axis=-1)
    centre = offsets[..., :2] * size + (low + high) / 2
    half = np.exp(offsets[..., 2:]) * size / 2
    return np.concatenate([centre - half, centre + half], axis=-1)


def areas(boxes: np.ndarray) -> np.ndarray:
    """Width times height of each box; 0 if a maximum is less than its minimum."""
    size = boxes[..., 2:] - boxes[..., :2]
    return np.where((size < 0).any(axis=-1), 0, size[..., 0] * size[..., 1])


def overlaps(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Intersection over union of one box with each of the others; 0 if they only touch."""
    size = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    shared = np.where((size > 0).all(axis=-1), size[:, 0] * size[:, 1], np.float32(0))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(shared > 0, shared / (areas(box) + areas(others) - shared), 0)


def suppress(
    boxes: np.ndarray, scores: np.ndarray, confidence: float, overlap: float, top_k: int = -1, eta: float = 1.0
) -> list[int]:
    """Greedy non-maximum suppression: indices of the kept boxes, best score first.

    Uses the best `top_k` boxes (-1: all; ties in order) with scores > `confidence`. A box is dropped if it overlaps a
    kept box by more than `overlap`. While this limit exceeds 0.5, it is multiplied by `eta` after each kept box.
    """
    candidates = np.flatnonzero(scores > np.float32(confidence))
    candidates = candidates[np.argsort(-scores[candidates], kind="stable")]
    limit = np.float32(overlap)
    kept: list[int] = []
    for index in candidates[: top_k if top_k >= 0 else None]:
        if kept and overlaps(boxes[index], boxes[kept]).max() > limit:
            continue
        kept.append(int(index))
        if eta < 1 and limit > 0.5:
            limit = np.float32(limit * np.float32(eta))
    return kept


@register("dagnn.DetectionOutput")
@dataclass(frozen=True, kw_only=True)
class DetectionOutput(Op):
    """Decodes, suppresses and ranks SSD's predictions (SSD fork of Caffe, detection_output layer).

    Inputs: locations N x 4KL (L = 1, or numClasses without shareLocation), confidences N x K numClasses, and priors
    1 x 2 x 4K x 1. Output 1 x 1 x D x 7, one row per detection: image, class (0-based), score, xmin, ymin, xmax, ymax,
    sorted by image, class and descending score. Each class except backgroundLabel is suppressed separately; the
    keepTopK best detections per image remain (-1: all). Without any detection there is one row per image: its number,
    followed by six -1. `output_shapes` returns the maximum number of rows.
    firstPixel changes no value. It is the pixel origin of the annotations used in training (PASCAL VOC: 1, COCO: 0):
    the rows' corners are annotation coordinates divided by the image size.

    RefineDet has two more inputs: N x 2K, scores of background and object per prior, and locations N x 4K, which refine
    the priors first. A prior with an object score below objectnessScore becomes background: score 1 for
    backgroundLabel, 0 for all other classes (RefineDet fork of Caffe; OpenVINO, DetectionOutput-8).
    """

    family = "result"
    pixelwise = False
    lists_detections: ClassVar[bool] = True
    sizes_depend_on_values = True
    input_count: ClassVar[tuple[int, int | None]] = (3, 5)
    uses_host: ClassVar[bool] = True
    numClasses: int = of(as_count, 21)
    shareLocation: bool = True
    backgroundLabel: int = 0
    codeType: str = of(choice("corner", "center_size", "corner_size"), "corner")
    varianceEncodedInTarget: bool = False
    nmsThreshold: float = 0.3
    nmsTopK: int = -1
    nmsEta: float = 1.0
    confidenceThreshold: float = float(np.finfo(np.float32).min)
    keepTopK: int = -1
    objectnessScore: float = 0.0
    firstPixel: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.nmsThreshold < 0:
            raise NetworkError(f"field 'nmsThreshold' is {self.nmsThreshold}; expected a number >= 0")
        if not 0 < self.nmsEta <= 1:
            raise NetworkError(f"field 'nmsEta' is {self.nmsEta}; expected a number in (0, 1]")

    @property
    def listed_classes(self) -> tuple[int, int] | None:
        return (self.numClasses, self.backgroundLabel) if 0 <= self.backgroundLabel < self.numClasses else None

    @property
    def listed_from(self) -> int:
        return self.firstPixel

    def output_shapes(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> list[Shape]:
        locations, _, priors, *refining = inputs
        if len(refining) == 1:
            raise ShapeError("has 4 inputs; expected 3, or 5 with object scores and locations that refine the priors")
        if refining and not self.shareLocation:
            raise NetworkError("field 'shareLocation' is false; expected true with refined priors")
        count = priors[2] // 4
        if priors != (1, 2, 4 * count, 1):
            raise ShapeError(f"the priors are {text(priors)}; expected 1x2x(4 per box)x1")
        expected = (4 * count * (1 if self.shareLocation else self.numClasses), count * self.numClasses)
        given = [*zip(("locations", "confidences"), inputs, expected, strict=False)]
        given += zip(("object scores", "refining locations"), refining, (2 * count, 4 * count), strict=False)
        for what, shape, values in given:
            if prod(shape[1:]) != values or shape[0] != locations[0]:
                raise ShapeError(
                    f"the {what} are {text(shape)}; expected {locations[0]}x{values} "
                    f"for {count} prior boxes and {self.numClasses} classes"
                )
        most = count * self.numClasses if self.nmsTopK < 0 else min(self.nmsTopK, count) * self.numClasses
        kept = most if self.keepTopK < 0 else min(self.keepTopK, most)
        return [(1, 1, locations[0] * max(1, kept), 7)]

    def forward(self, xp: Any, inputs: Sequence[Array], params: Any) -> list[Array]:
        locations, confidences, given, *refining = (on_host(x) for x in inputs)
        images = locations.shape[0]
        priors, variances = given.reshape(2, -1, 1, 4)
        scores = confidences.reshape(images, -1, self.numClasses)
        predicted = locations.reshape(images, len(priors), -1, 4)
        stated = None if self.varianceEncodedInTarget else variances
        if refining:
            scores = self._without_background(scores, refining[0].reshape(images, -1, 2)[..., 1])
            priors = decode(refining[1].reshape(images, -1, 1, 4), priors, stated, self.codeType)
        boxes = decode(predicted, priors, stated, self.codeType)
        rows = [row for image in range(images) for row in self._image_rows(image, boxes[image], scores[image])]
        if not rows:
            rows = [[image, -1, -1, -1, -1, -1, -1] for image in range(images)]
        return [xp.asarray(np.array(rows, dtype=np.float32)[None, None])]

    def _without_background(self, scores: np.ndarray, objects: np.ndarray) -> np.ndarray:
        """Scores N x K x numClasses with priors of low object score (objects: N x K) set to background."""
        background = np.zeros(self.numClasses, scores.dtype)
        if 0 <= self.backgroundLabel < self.numClasses:
            background[self.backgroundLabel] = 1
        return np.where(objects[..., None] < np.float32(self.objectnessScore), background, scores)

    def _image_rows(self, image: int, boxes: np.ndarray, scores: np.ndarray) -> list[list[float]]:
        """The detections of one image. boxes: K x L x 4. scores: K x numClasses."""
        found = []
        for label in range(self.numClasses):
            if label == self.backgroundLabel:
                continue
            own, score = boxes[:, 0 if self.shareLocation else label], scores[:, label]
            kept = suppress(own, score, self.confidenceThreshold, self.nmsThreshold, self.nmsTopK, self.nmsEta)
            found += [[image, label, score[index], *own[index]] for index in kept]
        if 0 <= self.keepTopK < len(found):
            best = sorted(range(len(found)), key=lambda place: -found[place][2])[: self.keepTopK]
            found = [found[place] for place in sorted(best)]
        return found
