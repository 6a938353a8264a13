"""Detectors: their inputs, and the decoding of their outputs to objects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np

from matnet.errors import MatnetError, NetworkError, in_words
from matnet.meta import image_input
from matnet.network import Layer, Network
from matnet.ops.base import InputKind
from matnet.ops.combine import Scale
from matnet.ops.extensions.suppression import PIXELS, keep_best

BACKGROUND = ("background", "__background__")
"""Names of the class that is none."""


@dataclass(frozen=True)
class DetectionLimits:
    """The test settings of Fast R-CNN (its test.py and config.py).

    shorter: the shorter side of a resized image in pixels. longest: the largest longer side. least: only scores above
    it count. overlap: the threshold of non-maximum suppression. most: most detections per image, over all classes.
    """

    shorter: int = 600
    longest: int = 1000
    least: float = 0.05
    overlap: float = 0.3
    most: int = 100


GREATEST_CLASS = 1 << 24
"""The limit up to which float32 holds every integer."""
LIMITS = DetectionLimits()
LEAST = 0.5
"""The lowest score that `matnet predict` lists."""


@dataclass(frozen=True)
class Found:
    """Detections in one image: boxes R x 4 float32 in 1-based pixels, inclusive; the network's class and score of each.

    finite: whether all outputs of the network were finite.
    """

    boxes: np.ndarray
    classes: np.ndarray
    scores: np.ndarray
    finite: bool = True


@dataclass(frozen=True)
class Detector:
    """The variables of a detector. image: its input of images.

    scores: R x K, or with `lists` the rows of a detection layer, whose corners are relative to the image. offsets: of
    the boxes, R x 4 K, or R x 8 where all classes have the same. boxes: the variable of the boxes; `proposes`: whether
    the network makes it. first: the number of the first pixel and image in boxes that are fed, or of the first pixel in
    rows that are listed. sizes: the input of height, width and scale, if there is one. classes: of a detection layer,
    how many it counts and which one is the background. reads: what a detection layer reads, in which NaN and infinite
    values are visible; the list omits them.
    """

    image: str
    scores: str
    offsets: str | None = None
    boxes: str | None = None
    proposes: bool = False
    first: int = 0
    sizes: str | None = None
    lists: bool = False
    classes: tuple[int, int] | None = None
    reads: tuple[str, ...] = ()

    @property
    def wanted(self) -> tuple[str, ...]:
        """The variables that `found` needs, in its order."""
        made = self.boxes if self.proposes else None
        return tuple(name for name in (self.scores, self.offsets, made, *self.reads) if name is not None)

    @property
    def feeds(self) -> tuple[str, ...]:
        """The names of the inputs that `inputs` returns."""
        fed = None if self.proposes else self.boxes
        return tuple(name for name in (self.image, fed, self.sizes) if name is not None)

    @property
    def takes_proposals(self) -> bool:
        return self.boxes is not None and not self.proposes

    def inputs(self, image: np.ndarray, factor: float, proposals: np.ndarray | None) -> dict[str, np.ndarray]:
        """The network's inputs: an image 1 x C x H x W resized by `factor`, and 1-based boxes of the original."""
        fed = {self.image: image}
        if self.takes_proposals:
            assert self.boxes is not None and proposals is not None
            rows = np.full((len(proposals), 5, 1, 1), self.first, np.float32)
            rows[:, 1:, 0, 0] = (proposals.astype(np.float64) - 1) * factor + self.first
            fed[self.boxes] = rows
        if self.sizes is not None:
            fed[self.sizes] = np.array([*image.shape[2:], factor], np.float32).reshape(1, 3, 1, 1)
        return fed

    def found(
        self,
        values: Sequence[np.ndarray],
        size: tuple[int, int],
        factor: float,
        proposals: np.ndarray | None,
        background: int,
        limits: DetectionLimits = LIMITS,
    ) -> Found:
        """The detections in an image of height and width `size`, from the values of `wanted`, best first in each class.

        background: the index of the background class. Raises NetworkError if shapes do not fit.
        """
        if self.lists:
            found = listed(values[0], size, self.first)
            return replace(found, finite=found.finite and all(np.isfinite(value).all() for value in values[1:]))
        scores = values[0].reshape(len(values[0]), -1)
        if self.proposes:
            boxes = values[-1].reshape(len(values[-1]), -1)[:, -4:] / factor
        else:
            assert proposals is not None
            boxes = proposals.astype(np.float64) - 1
        offsets = None if self.offsets is None else values[1].reshape(len(values[1]), -1)
        if len(boxes) != len(scores) or (offsets is not None and len(offsets) != len(boxes)):
            raise NetworkError(f"{self.scores!r} holds scores of {len(scores)} boxes; expected {len(boxes)}")
        # Box sizes of Faster R-CNN are one pixel larger than those of Fast R-CNN.
        moved = moved_boxes(boxes, offsets, scores.shape[1], size, 1.0 if self.proposes else 0.0)
        finite = bool(np.isfinite(scores).all() and np.isfinite(moved).all())
        return best(scores, np.nan_to_num(moved), background, limits, finite)


def listed(rows: np.ndarray, size: tuple[int, int], first: int = 1) -> Found:
    """The rows of a detection layer (image, class, score, corners relative to the image), in its order.

    Relative corners are those of SSD's annotations, divided by the image size. first: 1 for 1-based pixels (VOC); 0 for
    corners between pixels (COCO). Raises NetworkError for an invalid class number.
    """
    table = rows.reshape(-1, 7)
    finite = bool(np.isfinite(table).all())
    numbers = table[np.isfinite(table[:, 1]), 1]
    wrong = numbers[(numbers != np.rint(numbers)) | (numbers < -1) | (numbers > GREATEST_CLASS)]
    if wrong.size:
        raise NetworkError(f"lists a detection of class {wrong[0]:g}; expected an integer from 0")
    table = table[np.isin(table[:, 1], numbers[numbers >= 0])]  # a row of -1 means no detection
    height, width = size
    with np.errstate(over="ignore", invalid="ignore"):
        boxes = table[:, 3:] * np.array([width, height, width, height], np.float32)
        boxes[:, :2] += 1 - first
    finite &= bool(np.isfinite(boxes).all())
    return Found(boxes, table[:, 1].astype(np.int64), table[:, 2], finite)


def moved_boxes(
    boxes: np.ndarray, offsets: np.ndarray | None, classes: int, size: tuple[int, int], plus: float
) -> np.ndarray:
    """The boxes of each class, R x K x 4, 0-based: the proposals moved by `offsets` and clipped to the image.

    offsets: dx, dy in units of the box size, and log scales of width and height; for all classes, or for background
    and object. Source: Girshick, Fast R-CNN, ICCV 2015; `plus` is 1 in Faster R-CNN. Raises NetworkError if the number
    of offsets is wrong.
    """
    count = len(boxes)
    if offsets is None:
        moved = np.repeat(boxes[:, np.newaxis], classes, axis=1)
    elif offsets.shape[1] not in (4 * classes, 8, 4):
        raise NetworkError(f"{offsets.shape[1]} offsets for each box; expected 4 for each of {classes} classes")
    else:
        shares = offsets.reshape(count, -1, 4).astype(np.float64)
        shares = shares if shares.shape[1] == classes else np.repeat(shares[:, -1:], classes, axis=1)
        extent = (boxes[:, 2:] - boxes[:, :2] + plus)[:, np.newaxis]
        centre = shares[..., :2] * extent + boxes[:, np.newaxis, :2] + extent / 2
        with np.errstate(over="ignore"):
            half = np.exp(shares[..., 2:]) * extent / 2
        moved = np.concatenate([centre - half, centre + half], axis=-1)
    greatest = np.array([size[1] - 1, size[0] - 1] * 2)
    return np.clip(moved, 0, greatest)


def best(scores: np.ndarray, boxes: np.ndarray, background: int, limits: DetectionLimits, finite: bool = True) -> Found:
    """Non-maximum suppression by class of scores R x K and 0-based boxes R x K x 4; then the best of the image."""
    parts = []
    for k in range(scores.shape[1]):
        if k == background:
            continue
        likely = np.flatnonzero(scores[:, k] > limits.least)
        likely = likely[np.argsort(-scores[likely, k], kind="stable")]
        mine = boxes[likely, k].astype(np.float32)
        kept = keep_best(mine, limits.overlap, PIXELS)
        parts.append((mine[kept] + 1, np.full(len(kept), k), scores[likely[kept], k]))
    if not parts:
        raise NetworkError(f"{scores.shape[1]} score for each box; expected a background and at least one class")
    places, classes, values = (np.concatenate(column) for column in zip(*parts, strict=True))
    if len(values) > limits.most:
        good = values >= np.sort(values)[-limits.most]
        places, classes, values = places[good], classes[good], values[good]
    return Found(places, classes.astype(np.int64), values, finite)


def detector_of(net: Network, asked: str | None = None) -> Detector:
    """The detector in a network: a detection layer (SSD), or scores and offsets of boxes.

    The boxes are an input (Fast R-CNN) or proposed by the network (Faster R-CNN, R-FCN). asked: the variable of the
    scores or the detections. Raises NetworkError for other networks.
    """
    from matnet.evaluation.scores import score_variable

    inference = net.for_inference()
    image = image_input(inference)
    if image is None:
        raise NetworkError(f"{net.source}: no input takes an image")
    rows = [layer for layer in inference.layers.values() if layer.op.lists_detections]
    if rows:
        named = rows[-1].outputs[0] if asked is None else asked
        layer = next((layer for layer in rows if inference.resolve(named) in layer.outputs), None)
        if layer is None:
            lists = ", ".join(repr(layer.outputs[0]) for layer in rows)
            raise NetworkError(
                f"{net.source}: {named!r} is not a list of detections; {in_words('scores=', '--scores')} must be "
                f"{lists}"
            )
        written = {name for layer in inference.layers.values() for name in layer.outputs}
        reads = tuple(name for name in dict.fromkeys(layer.inputs) if name in written)
        counted, first = layer.op.listed_classes, layer.op.listed_from
        return Detector(image, named, first=first, lists=True, classes=counted, reads=reads)
    pooling = next((layer for layer in inference.layers.values() if _boxes_of(layer) is not None), None)
    if pooling is None:
        raise NetworkError(
            f"{net.source}: not a detector; it has neither a detection layer (SSD's DetectionOutput) nor a layer that "
            "pools boxes (Fast R-CNN's ROIPooling)"
        )
    scores = asked or score_variable(net)
    if asked is not None and inference.resolve(asked) == "bbox_pred":
        raise NetworkError(
            f"{net.source}: {asked!r} holds box offsets, not class scores; leave out "
            f"{in_words('scores=', '--scores')}, or name the variable of the scores, such as {score_variable(net)!r}"
        )
    offsets = [name for name in inference.outputs if name != inference.resolve(scores)]
    offsets = [name for name in offsets if name == "bbox_pred"] or offsets
    if len(offsets) > 1:
        raise NetworkError(f"{net.source}: cannot tell which of the outputs {', '.join(offsets)} holds the box offsets")
    boxes, from_zero = _source_of_boxes(inference, pooling)
    fed = boxes in inference.data_inputs()
    others = [name for name in inference.data_inputs() if name not in (image, boxes)]
    if len(others) > 1:
        raise NetworkError(f"{net.source}: cannot feed the inputs {', '.join(others)}; expected only image and boxes")
    moves = offsets[0] if offsets else None
    return Detector(image, scores, moves, boxes, not fed, 0 if from_zero else 1, others[0] if others else None)


def scored_classes(net: Network, detector: Detector, channels: int) -> int | None:
    """How many classes a detector scores; None if that depends on values. channels: of an image."""
    if detector.lists:
        return None if detector.classes is None else detector.classes[0]
    inference = net.for_inference()
    sizes = {detector.image: (1, channels, LIMITS.shorter, LIMITS.longest)}
    if detector.takes_proposals and detector.boxes is not None:
        sizes[detector.boxes] = (1, 5, 1, 1)
    if detector.sizes is not None:
        sizes[detector.sizes] = (1, 3, 1, 1)
    try:
        name = inference.resolve(detector.scores)
        return prod(inference.infer_shapes(sizes, [name])[name][1:])
    except (MatnetError, KeyError):
        return None


def detects(net: Network) -> bool:
    """Whether a network has a detection layer or a layer that pools boxes."""
    return any(layer.op.lists_detections or _boxes_of(layer) is not None for layer in net.layers.values())


def _boxes_of(layer: Layer) -> str | None:
    """The variable of the boxes that a layer pools; None for other layers."""
    place = next((place for place, kind in layer.op.input_kinds.items() if kind.is_boxes), None)
    return None if place is None or place >= len(layer.inputs) else layer.inputs[place]


def _source_of_boxes(net: Network, pooling: Layer) -> tuple[str, bool]:
    """The variable of the boxes, and whether they are 0-based: a layer adds 1, or only Caffe has the pooling layer."""
    name = _boxes_of(pooling)
    assert name is not None
    makers = {output: layer for layer in net.layers.values() for output in layer.outputs}
    maker = makers.get(name)
    if maker is not None and isinstance(maker.op, Scale):
        return maker.inputs[0], True
    return name, InputKind.BOXES in pooling.op.input_kinds.values()


# -- the names of classes ---------------------------------------------------------------------------


def with_background(net: Network, detector: Detector, names: Sequence[str], count: int | None) -> Sequence[str]:
    """The names with "background" among them, where they are one less than the `count` classes and name none, and the
    detection layer, or the names in the network's file, state which class that is; else as they are.
    """
    place = background_of(net, detector, names, count)
    if place is None or count != len(names) + 1 or background_among(names) is not None:
        return names
    return (*names[:place], BACKGROUND[0], *names[place:])


def background_of(net: Network, detector: Detector, names: Sequence[str], count: int | None) -> int | None:
    """Which class is the background: as the detection layer states, or the names; None if neither does."""
    if detector.classes is not None:
        return detector.classes[1]
    of_file = net.classes if len(net.classes) == count else ()
    return next((place for known in (names, of_file) if (place := background_among(known)) is not None), None)


def background_among(names: Sequence[str]) -> int | None:
    return next((place for place, name in enumerate(names) if name.casefold().strip() in BACKGROUND), None)
