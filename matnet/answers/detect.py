"""`net.detect`: the boxes, classes and scores of the objects in images, also drawn on them."""

from __future__ import annotations

import io
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from matnet.answers.classes import Classes, stated_classes
from matnet.answers.classify import KINDS as CLASSIFYING
from matnet.answers.classify import nameless
from matnet.answers.pictures import Picture, pictures_of
from matnet.answers.running import chosen
from matnet.engines import compile_network
from matnet.errors import DataError, FileFormatError, NetworkError, NoBoxError, ShapeError, in_words, program
from matnet.evaluation.detectors import (
    LEAST,
    LIMITS,
    Detector,
    Found,
    background_among,
    background_of,
    detector_of,
    scored_classes,
    with_background,
)
from matnet.files import atomic_write
from matnet.images.doubts import doubts
from matnet.keywords import Kind, is_number, require, whole

if TYPE_CHECKING:
    from matnet.engines import Engine, EngineOptions
    from matnet.images import Preprocessing
    from matnet.network import Network

log = logging.getLogger(__name__)
KINDS = {
    **CLASSIFYING,
    "least": Kind(lambda value: is_number(value) and 0 <= value <= 1, "a number from 0 to 1"),
    "top": whole().or_none(),
}
"""The accepted values of the keywords of `detections`."""
COLOURS = ("#e6194b", "#3cb44b", "#4363d8", "#f58231", "#911eb4", "#008080", "#9a6324", "#808000")
DRAWN = "matnet predict --draw"
"""The software field of the PNG files; a file with it may be replaced."""


@dataclass(frozen=True)
class ImageDetections:
    """The detections in one image, best first; `error` says why there are none.

    boxes: R x 4 float32: left, top, right, bottom in pixels from the top left corner. names: the classes.
    not_finite: whether scores or boxes were NaN or infinite; otherwise, an image with `error` is unreadable.
    """

    picture: Picture
    names: tuple[str, ...] = ()
    classes: tuple[int, ...] = ()
    scores: tuple[float, ...] = ()
    boxes: np.ndarray | None = None
    error: str = ""
    not_finite: bool = False

    def record(self) -> dict[str, Any]:
        """The image's name, and its detections or `error`, as plain JSON values."""
        if self.boxes is None:
            return {"image": self.picture.name, "error": self.error}
        rows = zip(self.names, self.scores, self.boxes.tolist(), self.classes, strict=True)
        found = [{"class": name, "score": score, "box": box, "index": index} for name, score, box, index in rows]
        return {"image": self.picture.name, "detections": found}


def detections(
    net: Network,
    images: Any,
    least: float = LEAST,
    top: int | None = None,
    classes: str | os.PathLike[str] | Sequence[str] | None = None,
    scores: str | None = None,
    preprocessing: Preprocessing | None = None,
    progress: Callable[[int], Any] | None = None,
    **keywords: Any,
) -> list[ImageDetections]:
    """The objects in each image: see `Network.detect`."""
    given: dict[str, Any] = {"least": least, "top": top, "classes": classes, "scores": scores, "progress": progress}
    require(given, KINDS)
    idle = [name for name in ("batch_size", "crops") if name in keywords]
    if idle:
        named = ", ".join(idle)
        raise DataError(f"{named}: {net.source} is a detector, which takes one whole image at a time; leave it out")
    detector_of(net, scores)  # fails for other networks before errors of their preprocessing
    prepared, options = chosen(net, preprocessing, keywords)
    found = list(detect(net, images, prepared, options, **given))
    faults = [image.error for image in found if image.error]
    if all(image.error and not image.not_finite for image in found):
        raise DataError(faults[0] if len(faults) == 1 else "\n".join(["no image could be read:", *faults[:20]]))
    for fault in faults:
        log.warning(fault)
    return found


def detect(
    net: Network,
    images: Any,
    preprocessing: Preprocessing,
    options: EngineOptions,
    *,
    least: float = LEAST,
    top: int | None = None,
    classes: str | os.PathLike[str] | Sequence[str] | None = None,
    scores: str | None = None,
    progress: Callable[[int], Any] | None = None,
) -> Iterator[ImageDetections]:
    """The objects in each image, one image after the other: scores of at least `least`, at most `top` objects.

    classes, scores: as for `Network.classify`; see `class_names_of` for the names. Images are resized as in the
    evaluation of detections. Before it reads an image, raises NetworkError if the network is not a detector or needs
    proposals, and DataError if the class names do not match the scores.
    """
    detector = detector_of(net, scores)
    if detector.takes_proposals:
        raise NetworkError(
            f"{net.source}: needs proposed boxes as input {detector.boxes!r}; evaluate it with "
            f"`{program('eval')} --task detection --proposals FILE` (boxes of selective search)"
        )
    known = net.classes if classes is None else stated_classes(classes)
    count = scored_classes(net, detector, preprocessing.channels)
    if count is not None and len(class_names_of(net, detector, known, count)) > len(known):
        place = background_of(net, detector, known, count)
        log.info("%s: the class names (%s) leave out class %s, the background", net.source, known.source, place)
    elif not detector.lists and background_of(net, detector, known, count) is None:
        log.info(
            "%s: the background class is unknown; class 0%s is used, as in Fast R-CNN's code",
            net.source,
            f" ({known[0]})" if known else "",
        )
    if not known:
        log.info(nameless(count))
    preprocessing = preprocessing.whole() if detector.lists else preprocessing
    doubts(net, preprocessing)
    engine = compile_network(net.for_inference(), list(detector.wanted), options)
    return _each(net, detector, engine, pictures_of(images)[0], preprocessing, known, least, top, progress)


def _each(
    net: Network,
    detector: Detector,
    engine: Engine,
    pictures: Sequence[Picture],
    preprocessing: Preprocessing,
    known: Classes,
    least: float,
    top: int | None,
    progress: Callable[[int], Any] | None,
) -> Iterator[ImageDetections]:
    for picture in pictures:
        try:
            image, factor, size = _read(detector, picture, preprocessing)
        except (DataError, FileFormatError, ShapeError) as error:
            text = str(error)
            yield ImageDetections(picture, error=text if picture.name in text else f"{picture.name}: {text}")
        else:
            inputs = detector.inputs(image, factor, None)
            found, names = _found(net, detector, engine, inputs, factor, size, known, least)
            yield _best(picture, found, names, least, top)
        if progress is not None:
            progress(1)


def _best(picture: Picture, found: Found, names: Sequence[str], least: float, top: int | None) -> ImageDetections:
    if not found.finite:
        error = f"{picture.name}: the network's scores or boxes are NaN or infinite"
        return ImageDetections(picture, error=error, not_finite=True)
    order = np.argsort(-found.scores, kind="stable")
    order = order[found.scores[order] >= least][:top]
    numbers = tuple(found.classes[order].tolist())
    boxes = found.boxes[order] - np.array([1, 1, 0, 0], np.float32)
    words = tuple(names[number] if names else str(number) for number in numbers)
    return ImageDetections(picture, words, numbers, tuple(found.scores[order].tolist()), boxes)


def _read(detector: Detector, picture: Picture, preprocessing: Preprocessing) -> tuple[np.ndarray, float, Any]:
    """The network's input for an image, the factor by which it was resized, and its original height and width."""
    if detector.lists:
        image = preprocessing.load(picture.source)[np.newaxis]
        return image, 1.0, picture_pixels(picture, preprocessing).shape[:2]
    return preprocessing.within(picture.source, LIMITS.shorter, LIMITS.longest)


def _found(
    net: Network,
    detector: Detector,
    engine: Engine,
    inputs: dict[str, np.ndarray],
    factor: float,
    size: tuple[int, int],
    known: Classes,
    least: float,
) -> tuple[Found, Sequence[str]]:
    """The detections in one image (none if the network proposes no box), and the class names."""
    try:
        values = engine(inputs)
    except NoBoxError:
        return Found(np.empty((0, 4), np.float32), np.empty(0, np.int64), np.empty(0, np.float32)), ()
    given = [values[name] for name in detector.wanted]
    count = None if detector.lists else prod(given[0].shape[1:])
    names = known if count is None else class_names_of(net, detector, known, count)
    if detector.lists and detector.classes is not None:
        names = class_names_of(net, detector, known, detector.classes[0])
    background = background_of(net, detector, known, count)
    # `best` keeps scores above its limit, and scores equal to `least` must stay.
    limits = replace(LIMITS, least=min(LIMITS.least, float(np.nextafter(np.float32(least), np.float32(-1)))))
    try:
        found = detector.found(given, size, factor, None, background or 0, limits)
    except NetworkError as error:
        scores = in_words("scores=", "--scores")
        raise NetworkError(f"{net.source}: {error}; {scores} names the variable of the scores") from None
    most = max(found.classes.tolist(), default=-1)
    if names and most >= len(names):
        raise DataError(
            f"{net.source}: {len(names)} class names ({known.source}), but {detector.scores!r} lists class {most}"
            f"; name every class, starting with class 0, with {in_words('classes=', '--classes')}"
        )
    return found, names


def class_names_of(net: Network, detector: Detector, known: Classes, count: int) -> Sequence[str]:
    """A name for each of `count` classes, including the background; empty if the classes have no names.

    The name of the background may be missing if the detection layer, or the names in the network's file, state which
    class it is. Raises DataError for another number of names, and for a background at another index than the layer's.
    """
    if not known:
        return known
    place, named = background_of(net, detector, known, count), background_among(known)
    if len(known) == count:
        if named is not None and detector.classes is not None and named != place:
            raise DataError(
                f"{net.source}: the class names ({known.source}) have {known[named]!r} as class {named}, but the "
                f"background of {detector.scores!r} is class {place}; give the names in the network's order with "
                f"{in_words('classes=', '--classes')}"
            )
        return known
    whole = with_background(net, detector, known, count)
    if len(whole) == count:
        return whole
    hint = ""
    if len(known) == count - 1 and named is None:
        hint = ", one of which is the background: add the name 'background' at its index"
    raise DataError(
        f"{net.source}: {len(known)} class names ({known.source}), but {detector.scores!r} scores {count}"
        f"{hint}; give {count} names with {in_words('classes=', '--classes')}, or another variable with "
        f"{in_words('scores=', '--scores')}"
    )


def picture_pixels(picture: Picture, preprocessing: Preprocessing) -> np.ndarray:
    """The pixels of an image: H x W x 3 uint8."""
    from matnet.images.decode import decode_uint8, with_channels

    if isinstance(picture.source, np.ndarray):
        return np.clip(np.rint(with_channels(picture.source, 3)), 0, 255).astype(np.uint8)
    return decode_uint8(picture.source, 3, preprocessing.max_pixels, preprocessing.exif)


def drawn_files(folder: Path, images: Sequence[Picture]) -> list[Path]:
    """The files of the drawn images: NAME.png in the folder.

    Raises DataError if two images have the same name, or if a file exists that `draw` did not write.
    """
    files = [folder / f"{Path(picture.name).stem}.png" for picture in images]
    twice = next((file for file, count in Counter(files).items() if count > 1), None)
    other = in_words("draw", "--draw FOLDER")
    if folder.exists() and not folder.is_dir():
        raise DataError(f"{folder}: is no folder; give one with {other}")
    if twice is not None:
        raise DataError(
            f"{twice.stem}: two images have this name and would both be written to {twice}; "
            f"draw them into different folders with {other}"
        )
    foreign = next((file for file in files if os.path.lexists(file) and not _is_drawn(file)), None)
    if foreign is not None:
        raise DataError(f"{foreign}: exists, and matnet did not draw it; give another folder with {other}")
    return files


def _is_drawn(file: Path) -> bool:
    """Whether `draw` wrote the file."""
    from PIL import Image

    try:
        with Image.open(file, formats=["PNG"]) as image:
            return image.info.get("Software") == DRAWN
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return False


def draw(found: ImageDetections, file: Path, preprocessing: Preprocessing) -> None:
    """Write the image with its boxes, classes and scores as PNG."""
    content = drawn(found, preprocessing)
    with atomic_write(file) as target:
        target.write(content)


def drawn(found: ImageDetections, preprocessing: Preprocessing) -> bytes:
    """The image with its boxes, classes and scores as PNG."""
    from PIL import Image, ImageDraw, ImageFont
    from PIL.PngImagePlugin import PngInfo

    image = Image.fromarray(picture_pixels(found.picture, preprocessing))
    pen, width = ImageDraw.Draw(image), max(1, round(min(image.size) / 200))
    font = ImageFont.load_default()
    assert found.boxes is not None
    rows = list(zip(found.names, found.classes, found.scores, found.boxes.tolist(), strict=True))
    edges = np.array([*image.size, *image.size]) + width  # the limit beyond which a frame is invisible
    for name, number, score, box in reversed(rows):  # the best one on top
        colour = COLOURS[number % len(COLOURS)]
        left, top, right, bottom = map(round, np.clip(box, -width, edges).tolist())
        corners = (left, top, max(left, right - 1), max(top, bottom - 1))
        pen.rectangle(corners, outline=colour, width=width)
        text = f"{name} {score:.2f}"
        at = (max(0, left), max(0, top - 12))
        pen.rectangle(pen.textbbox(at, text, font=font), fill=colour)
        pen.text(at, text, fill="white", font=font)
    written = io.BytesIO()
    stated = PngInfo()
    stated.add_text("Software", DRAWN)
    image.save(written, format="PNG", pnginfo=stated)
    return written.getvalue()
