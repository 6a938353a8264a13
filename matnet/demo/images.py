"""The results of a network for an uploaded image: its best classes, and pictures of the intermediate steps."""

from __future__ import annotations

import io
import secrets
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from matnet import plots
from matnet.answers.classes import ORDERS
from matnet.answers.detect import ImageDetections, detect, drawn
from matnet.answers.pictures import Picture
from matnet.arguments import numbers_in
from matnet.demo.folder import safe_name
from matnet.demo.limits import IMAGES, LONGEST_SIDE, MOST_STATED, check_work
from matnet.demo.models import Kept
from matnet.demo.views import png, table_for
from matnet.engines import EngineOptions
from matnet.errors import DataError, MatnetError, NetworkError, program
from matnet.evaluation.detectors import LEAST, LIMITS, detector_of, detects
from matnet.evaluation.scores import score_variable
from matnet.images import Preprocessing
from matnet.images.decode import decode_uint8
from matnet.images.doubts import doubts
from matnet.images.pillow import from_array

TOP = 5
MOST_OBJECTS = 20
LARGEST_MEAN = float(np.finfo(np.float32).max)
LEAST_MAP = 8
"""A score map with fewer rows or columns is that of a classifier on a larger image, not a segmentation."""


class Upload(io.BytesIO):
    """The bytes of an image, and its name for messages."""

    def __init__(self, name: str, content: bytes) -> None:
        super().__init__(content)
        self.name = name


@dataclass(frozen=True)
class Dropped:
    """An image in memory."""

    name: str
    content: bytes

    def opened(self) -> Upload:
        return Upload(self.name, self.content)


class DemoImages:
    """The latest images by unguessable tokens. Thread-safe."""

    def __init__(self) -> None:
        self._images: OrderedDict[str, Dropped] = OrderedDict()
        self._lock = threading.Lock()

    def add(self, name: str, content: bytes) -> str:
        token = secrets.token_urlsafe(16)
        with self._lock:
            self._images[token] = Dropped(safe_name(name), content)
            while len(self._images) > IMAGES:
                self._images.popitem(last=False)
        return token

    def get(self, token: str) -> Dropped:
        """The image of a token. Raises DataError if it is no longer kept."""
        with self._lock:
            if token in self._images:
                self._images.move_to_end(token)
                return self._images[token]
        raise DataError("this image is no longer kept here; drop it again")


def stated(query: Mapping[str, str]) -> dict[str, Any]:
    """The fields of Preprocessing that a visitor overrides: size=HxW, mean=R,G,B, color=rgb|bgr."""
    found: dict[str, Any] = {}
    size, mean, color = (query.get(name, "").strip() for name in ("size", "mean", "color"))
    if size:
        parts = size.lower().split("x")
        if len(parts) != 2 or not all(part.isdecimal() and len(part) < 6 for part in parts):
            raise DataError(f"the size is {size[:40]!r}; expected height x width, such as 224x224")
        found["image_size"] = (int(parts[0]), int(parts[1]))
        if int(parts[0]) * int(parts[1]) > MOST_STATED:
            raise DataError(f"the size is {size}; the page's limit is {MOST_STATED:,} pixels, such as 1024x1024")
    if mean:
        values = numbers_in(mean)
        if values is None or len(values) not in (1, 3) or max(map(abs, values)) > LARGEST_MEAN:
            raise DataError(f"the mean is {mean[:40]!r}; expected one number, or three as R,G,B")
        found["mean"] = values
    if color:
        found["color"] = color
    return found


def stated_order(query: Mapping[str, str]) -> str | None:
    """The order of ImageNet's classes that a visitor chose; None: the file's class names. Never a file name."""
    order = query.get("classes", "").strip()
    if order and order not in ORDERS:
        raise DataError(f"unknown class order {order[:40]!r}; expected one of {', '.join(ORDERS)}")
    return order or None


def answers(
    kept: Kept, image: Dropped, given: Mapping[str, Any], classes: str | None, engine: EngineOptions
) -> dict[str, Any]:
    """The best classes of an image, or an `error`; and whether the network segments images."""
    how = preparation(kept, given)
    segments = classes_of_maps(kept, how) is not None
    decode_uint8(image.opened(), how.channels, how.max_pixels, how.exif)  # fails for files that are not images
    found: dict[str, Any] = {"name": image.name, "segments": segments, "steps": how.steps(), "top": [], "notes": []}
    found["detects"] = detects(kept.net)
    if segments:
        return found
    if found["detects"]:
        return {**found, **_objects(kept, image, how, classes, engine)}
    try:
        predicted = kept.net.classify([image.opened()], top=TOP, classes=classes, preprocessing=how, options=engine)
    except MatnetError as error:
        return {**found, "error": kept.text(str(error))}
    rows = predicted.records()[0].get("top", [])
    values = [float(row[predicted.measure]) for row in rows]
    finite = [value if np.isfinite(value) else None for value in values]  # JSON has no NaN
    top = [{"class": row["class"], "value": value} for row, value in zip(rows, finite, strict=True)]
    return {**found, "measure": predicted.measure, "top": top, "notes": [kept.text(note) for note in predicted.notes]}


def _objects(
    kept: Kept, image: Dropped, how: Preprocessing, classes: str | None, engine: EngineOptions
) -> dict[str, Any]:
    """The objects in an image with their boxes, or an `error`."""
    try:
        listed = detections(kept, image, how, classes, engine).record()["detections"]
    except MatnetError as error:
        return {"detects": False, "error": kept.text(str(error))}
    boxes = ["{:.0f}, {:.0f} to {:.0f}, {:.0f}".format(*row["box"]) for row in listed]
    top = [{"class": f"{row['class']} ({box})", "value": row["score"]} for row, box in zip(listed, boxes, strict=True)]
    notes = [kept.text(note) for note in doubts(kept.net, how)]
    notes += [] if top else [f"no object with a score of {LEAST} or more"]
    return {"measure": "probability", "top": top, "notes": notes}


def detections(
    kept: Kept, image: Dropped, how: Preprocessing, classes: str | None, engine: EngineOptions
) -> ImageDetections:
    """The objects that a detector finds. Raises MatnetError for a detector that needs proposed boxes."""
    detector = detector_of(kept.net)
    if detector.takes_proposals:
        raise NetworkError(
            f"{kept.name}: needs proposed boxes as input {detector.boxes!r}, which this page does not support; "
            f"`{program('eval')} --task detection` reads them from a file"
        )
    if not detector.lists:
        check_work(kept.name, table_for(kept, (how.channels, LIMITS.longest, LIMITS.longest)))
    (found,) = detect(kept.net, image.opened(), how, engine, top=MOST_OBJECTS, classes=classes)
    if found.error:
        raise DataError(found.error)
    return replace(found, picture=Picture(image.name, image.opened()))


def objects_picture(
    kept: Kept, image: Dropped, given: Mapping[str, Any], classes: str | None, engine: EngineOptions
) -> bytes:
    """The image with the boxes of its objects, as PNG."""
    how = preparation(kept, given)
    return drawn(detections(kept, image, how, classes, engine), how)


def preparation(kept: Kept, given: Mapping[str, Any]) -> Preprocessing:
    """The preprocessing. Raises DataError if it is unknown, or the network is too large for this page."""
    how = Preprocessing.of(kept.net, **given)
    check_work(kept.name, table_for(kept, how.shape))
    return how


def steps_picture(kept: Kept, image: Dropped, given: Mapping[str, Any]) -> bytes:
    """The preprocessing step by step, as PNG."""
    return png(plots.preprocessing(kept.net, image.opened(), preparation(kept, given)))


def maps_picture(kept: Kept, image: Dropped, layer: str, given: Mapping[str, Any], engine: EngineOptions) -> bytes:
    """The feature maps of a layer, as PNG."""
    how = preparation(kept, given)
    return png(plots.feature_maps(kept.net, image.opened(), layer, preprocessing=how, options=engine))


# -- segmentation -----------------------------------------------------------------------------------


def classes_of_maps(kept: Kept, how: Preprocessing) -> int | None:
    """The number of classes in the network's score map; None for a network that does not segment."""
    shapes = {row.name: row.shape for row in table_for(kept, how.shape).variables}
    try:
        inference = kept.net.for_inference()
        shape = shapes.get(inference.resolve(score_variable(kept.net)))
    except MatnetError:
        return None
    return shape[1] if shape and len(shape) == 4 and min(shape[2:]) >= LEAST_MAP and shape[1] > 1 else None


def segmentation_picture(kept: Kept, image: Dropped, given: Mapping[str, Any], engine: EngineOptions) -> bytes:
    """The classes of the pixels as an overlay of the image, as PNG.

    The image keeps its own size, as in an evaluation, but at most LONGEST_SIDE; a smaller map is enlarged by
    nearest-neighbour interpolation.
    """
    how = preparation(kept, given)
    if classes_of_maps(kept, how) is None:
        raise NetworkError(f"{kept.name}: no segmentation: the network scores whole images, not pixels")
    pixels = decode_uint8(image.opened(), 3, how.max_pixels, how.exif)
    picture = from_array(pixels)
    picture.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    if how.mean is not None and how.mean.ndim == 3:  # a mean image fits only one size
        picture = picture.resize(how.image_size[::-1])
    small = np.asarray(picture)
    x = replace(how, image_size=small.shape[:2], crop_fraction=(1.0, 1.0), crops=1).apply(small)[np.newaxis]
    check_work(kept.name, table_for(kept, x.shape[1:]))
    variable = score_variable(kept.net)
    scores = kept.net.for_inference().forward(x, [variable], options=engine)[variable]
    labels = scores[0].argmax(axis=0)
    if labels.shape != small.shape[:2]:
        rows, columns = (np.arange(want) * have // want for want, have in zip(small.shape, labels.shape, strict=False))
        labels = labels[np.ix_(rows, columns)]
    return png(plots.segmentation(small, labels, _class_names(kept, scores.shape[1])))


def _class_names(kept: Kept, count: int) -> list[str] | None:
    """The class names in the file, else those of the model card's order."""
    names = list(kept.net.classes)
    if len(names) == count:
        return names
    from matnet.datasets import VOC_CLASSES
    from matnet.evaluation.tasks.segmentation import VOC21
    from matnet.zoo import card_of

    card = card_of(kept.net.source.path) if kept.net.source.path else None
    in_order = card is not None and card.labels.get("order") == VOC21 and len(VOC_CLASSES) == count
    return list(VOC_CLASSES) if in_order else None
