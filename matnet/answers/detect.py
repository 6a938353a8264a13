"""Objects in photos: the boxes, classes and scores of a detector, as a table and drawn on the images."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from matnet.answers.classes import Classes, stated_classes
from matnet.answers.pictures import Picture, pictures_of
from matnet.engines import compile_network
from matnet.errors import DataError, FileFormatError, NetworkError, NoBoxError, in_words, program
from matnet.evaluation.detectors import LEAST, LIMITS, Detector, Found, detector_of
from matnet.files import atomic_write

if TYPE_CHECKING:
    from matnet.engines import EngineOptions
    from matnet.images import Preprocessing
    from matnet.network import Network

BACKGROUND = ("background", "__background__")
COLOURS = ("#e6194b", "#3cb44b", "#4363d8", "#f58231", "#911eb4", "#008080", "#9a6324", "#808000")


@dataclass(frozen=True)
class ImageDetections:
    """What was found in one image, best first, or why it could not be read.

    boxes: R x 4 float32, the edges left, top, right, bottom in pixels from the image's corner. names: the classes.
    """

    picture: Picture
    names: tuple[str, ...] = ()
    classes: tuple[int, ...] = ()
    scores: tuple[float, ...] = ()
    boxes: np.ndarray | None = None
    error: str = ""

    def record(self) -> dict[str, Any]:
        """The image's name, and its detections or `error`, as plain JSON values."""
        if self.boxes is None:
            return {"image": self.picture.name, "error": self.error}
        rows = zip(self.names, self.scores, self.boxes.tolist(), self.classes, strict=True)
        found = [{"class": name, "score": score, "box": box, "index": index} for name, score, box, index in rows]
        return {"image": self.picture.name, "detections": found}


def detect(
    net: Network,
    images: Any,
    preprocessing: Preprocessing,
    options: EngineOptions,
    *,
    least: float = LEAST,
    top: int | None = None,
    classes: str | Sequence[str] | None = None,
    scores: str | None = None,
    progress: Callable[[int], Any] | None = None,
) -> Iterator[ImageDetections]:
    """The objects in each image whose score is at least `least`, at most `top` of them, one image after the other.

    classes, scores: as for `Network.classify`. Images are resized as for the evaluation of detections. Raises
    NetworkError for a network that is no detector or takes proposed boxes.
    """
    detector = detector_of(net, scores)
    if detector.takes_proposals:
        raise NetworkError(
            f"{net.source}: takes boxes as {detector.boxes!r}, which an image alone does not give; "
            f"`{program('eval')} --task detection --proposals FILE` feeds those of selective search"
        )
    known = net.classes if classes is None else stated_classes(classes)
    engine = compile_network(net.for_inference(), list(detector.wanted), options)
    for picture in pictures_of(images)[0]:
        try:
            found = _found(detector, engine, picture, preprocessing, known)
        except (DataError, FileFormatError) as error:
            text = str(error)
            yield ImageDetections(picture, error=text if picture.name in text else f"{picture.name}: {text}")
        else:
            order = np.argsort(-found.scores, kind="stable")
            order = order[found.scores[order] >= least][:top]
            numbers = tuple(found.classes[order].tolist())
            names = tuple(known[number] if number < len(known) else str(number) for number in numbers)
            boxes = found.boxes[order] - np.array([1, 1, 0, 0], np.float32)
            yield ImageDetections(picture, names, numbers, tuple(found.scores[order].tolist()), boxes)
        if progress is not None:
            progress(1)


def _found(detector: Detector, engine: Any, picture: Picture, preprocessing: Preprocessing, known: Classes) -> Found:
    """The detections in one image; none where the network proposes no box."""
    if detector.lists:
        size = picture_pixels(picture, preprocessing).shape[:2]
        image, factor = preprocessing.load(picture.source)[np.newaxis], 1.0
    else:
        image, factor, size = preprocessing.within(picture.source, LIMITS.shorter, LIMITS.longest)
    background = next((k for k, name in enumerate(known) if name.casefold() in BACKGROUND), 0)
    try:
        values = engine(detector.inputs(image, factor, None))
    except NoBoxError:
        return Found(np.empty((0, 4), np.float32), np.empty(0, np.int64), np.empty(0, np.float32))
    found = detector.found([values[name] for name in detector.wanted], size, factor, None, background)
    if not found.finite:
        raise DataError(f"{picture.name}: the network's scores or boxes are not finite numbers")
    return found


def picture_pixels(picture: Picture, preprocessing: Preprocessing) -> np.ndarray:
    """H x W x 3 pixels of 0..255."""
    from matnet.images.decode import decode_uint8

    return decode_uint8(picture.source, 3, preprocessing.max_pixels, preprocessing.exif)


def drawn_files(folder: Path, images: Sequence[Picture]) -> list[Path]:
    """Where the drawn images go: NAME.png in the folder; DataError where two images have one name."""
    files = [folder / f"{Path(picture.name).stem}.png" for picture in images]
    twice = next((file for file in files if files.count(file) > 1), None)
    if twice is not None:
        raise DataError(
            f"{twice.stem}: two images have this name, and both would be drawn into {twice}; "
            f"draw them into folders of their own with {in_words('draw', '--draw FOLDER')}"
        )
    return files


def draw(found: ImageDetections, file: Path, preprocessing: Preprocessing) -> None:
    """Write the image as PNG with its boxes, each with class and score."""
    from PIL import Image, ImageDraw, ImageFont

    image = Image.fromarray(picture_pixels(found.picture, preprocessing))
    pen, width = ImageDraw.Draw(image), max(1, round(min(image.size) / 200))
    font = ImageFont.load_default()
    assert found.boxes is not None
    rows = list(zip(found.names, found.classes, found.scores, found.boxes.tolist(), strict=True))
    for name, number, score, (left, top, right, bottom) in reversed(rows):  # the best one on top
        colour = COLOURS[number % len(COLOURS)]
        corners = (round(left), round(top), max(round(left), round(right) - 1), max(round(top), round(bottom) - 1))
        pen.rectangle(corners, outline=colour, width=width)
        text = f"{name} {score:.2f}"
        at = (corners[0], max(0, corners[1] - 12))
        pen.rectangle(pen.textbbox(at, text, font=font), fill=colour)
        pen.text(at, text, fill="white", font=font)
    written = io.BytesIO()
    image.save(written, format="PNG")
    with atomic_write(file) as target:
        target.write(written.getvalue())
