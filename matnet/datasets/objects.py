"""Images with objects (a box and a class each) and proposed boxes, and the loader for PASCAL VOC."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar
from xml.etree import ElementTree

import numpy as np

from matnet.datasets.base import DataSet
from matnet.datasets.proposals import inside, read_proposals
from matnet.datasets.scan import digest_lines, first_few, require_files, require_size
from matnet.datasets.voc import EDITION, VOC_CLASSES, read_names, voc_home
from matnet.errors import DataError, FileFormatError, in_words, listing
from matnet.files import existing_file

OBJECT_CLASSES = VOC_CLASSES[1:]
"""The classes of objects, without the background."""

OBJECTS = ("JPEGImages", "Annotations")
"""The subfolders that identify a VOC folder with boxes."""

CORNERS = ("xmin", "ymin", "xmax", "ymax")

COUNTS = {
    ("2007", "test"): 4952,
    ("2007", "trainval"): 5011,
    ("2007", "train"): 2501,
    ("2007", "val"): 2510,
    ("2010", "val"): 5105,
    ("2012", "train"): 5717,
    ("2012", "val"): 5823,
    ("2012", "trainval"): 11540,
}
"""The number of images in VOC's lists for detection, by year and part."""

SAMPLES_2007 = 2007
"""The last year with the average precision at eleven recall levels; later, it is the area under the curve."""

LARGEST_ANNOTATION = 1 << 22  # bytes


@dataclass(frozen=True)
class ImageObjects:
    """The objects in one image. size: height, width.

    boxes: R x 4 float32: xmin, ymin, xmax, ymax in 1-based pixels, inclusive. classes: indices of the data set's
    classes. difficult: objects that count neither as found nor as missed (in COCO, crowds).
    """

    size: tuple[int, int]
    boxes: np.ndarray
    classes: np.ndarray
    difficult: np.ndarray


@dataclass(frozen=True, eq=False)
class CocoTruth:
    """The input of pycocotools: the ids of images and classes, in the data set's order, and COCO's annotations."""

    images: tuple[int, ...]
    categories: tuple[int, ...]
    annotations: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, eq=False)
class DetectionSet(DataSet):
    """Images and their objects, in a fixed order.

    proposals: for each image R x 4 float32 as in ImageObjects; None for networks that propose boxes themselves.
    year: the year of VOC, which decides the rule of average precision. list_sha256: hash of the image names and the
    proposals. coco: set if COCO's rules apply; without annotations in a part.
    """

    per_image: ClassVar[tuple[str, ...]] = ("images", "objects", "proposals")
    lacking: ClassVar[str] = "without objects that count"
    images: tuple[Path, ...]
    objects: tuple[ImageObjects, ...]
    proposals: tuple[np.ndarray, ...] | None
    year: int
    root: Path
    name: str
    list_sha256: str
    class_names: tuple[str, ...] = OBJECT_CLASSES
    notes: tuple[str, ...] = ()
    coco: CocoTruth | None = None

    def part(self, first: int, stop: int) -> DetectionSet:
        some = super().part(first, stop)
        return some if some.coco is None else replace(some, coco=replace(some.coco, annotations=()))

    def _some(self, first: int, stop: int) -> DetectionSet:
        coco = None if self.coco is None else replace(self.coco, images=self.coco.images[first:stop])
        return replace(super()._some(first, stop), coco=coco)

    def with_proposals(self, file: str | os.PathLike[str] | None) -> DetectionSet:
        """The set with the boxes in a file (see `read_proposals`), if one is given."""
        if file is None:
            return self
        found = read_proposals(file)
        boxes = found.for_images([path.stem for path in self.images], [item.size for item in self.objects])
        sha256 = hashlib.sha256(f"{self.list_sha256} {found.sha256}".encode()).hexdigest()
        notes = (*self.notes, f"{sum(map(len, boxes)):,} proposals from {found.path}")
        return replace(self, proposals=boxes, list_sha256=sha256, notes=notes)

    def _unannotated(self, index: int) -> str:
        image = self.images[index]
        require_size(image, self.objects[index].size, f"annotation of {image}")
        return image.stem if self.objects[index].difficult.all() else ""


def load_voc_objects(
    folder: str | os.PathLike[str],
    year: str | None = None,
    split: str = "test",
    proposals: str | os.PathLike[str] | None = None,
) -> DetectionSet:
    """The images of one part of PASCAL VOC with their objects; reads all annotations.

    folder: VOC2007 or another year, its parent VOCdevkit, or the parent of that. year: optional if the folder holds
    only one. split: the name of a list in ImageSets/Main, or a file of image names. proposals: a .mat file of R-CNN or
    Fast R-CNN (see `read_proposals`).

    Raises DataError that lists missing images and annotations, unusable annotations, and proposals that do not fit the
    images. Notes report objects that exceed their image.
    """
    home = voc_home(Path(folder), year, OBJECTS)
    named = EDITION.fullmatch(home.name)
    edition = named[1] if named else year or ""
    if not edition.isdecimal():
        option = in_words("year=", "--year")
        raise DataError(f"{home}: the folder's name has no year, which decides the average precision; give {option}")
    file = Path(split) if Path(split).suffix == ".txt" else home / "ImageSets" / "Main" / f"{split}.txt"
    names = read_names(file)
    images = tuple(home / "JPEGImages" / f"{name}.jpg" for name in names)
    require_files(home, [*images, *(home / "Annotations" / f"{name}.xml" for name in names)])
    objects, faults = _annotations(home, names)
    if faults:
        raise DataError(listing(f"{home}: unusable annotations ({len(faults)}):", faults))
    part = Path(split).stem
    notes = object_notes(names, objects, COUNTS.get((edition, part)), f"VOC {edition} {part}")
    title, sha256 = f"VOC {edition} {part}", digest_lines(names)
    found = DetectionSet(images, objects, None, int(edition), home, title, sha256, notes=tuple(notes))
    return found.with_proposals(proposals)


def _annotations(home: Path, names: Sequence[str]) -> tuple[tuple[ImageObjects, ...], list[str]]:
    found, faults = [], []
    for name in names:
        try:
            found.append(read_annotation(home / "Annotations" / f"{name}.xml"))
        except DataError as error:
            faults.append(str(error))
    return tuple(found), faults


def read_annotation(path: str | os.PathLike[str]) -> ImageObjects:
    """An annotation of VOC. Raises DataError if the size is missing, a class is not VOC's, or a box has no area."""
    root = _parsed(Path(path))
    height, width = (_number(path, root, f"size/{name}") for name in ("height", "width"))
    if min(height, width) < 1 or not (height.is_integer() and width.is_integer()):
        raise DataError(f"{path}: its size is {width:g} x {height:g} pixels; expected the size of the image")
    boxes, classes, difficult, faults = [], [], [], []
    for item in root.findall("object"):
        name = (item.findtext("name") or "").strip()
        box = [_number(path, item, f"bndbox/{corner}") for corner in CORNERS]
        hard = (item.findtext("difficult") or "0").strip()
        if name not in OBJECT_CLASSES:
            faults.append(f"an object of class {name!r}, which is not one of VOC's 20")
        elif not (box[0] <= box[2] and box[1] <= box[3]):
            faults.append(f"a {name} at {' '.join(f'{value:g}' for value in box)}, which has no area")
        elif hard not in ("0", "1"):
            faults.append(f"a {name} with difficult {hard!r}; expected 0 or 1")
        else:
            boxes.append(box)
            classes.append(OBJECT_CLASSES.index(name))
            difficult.append(hard == "1")
    if faults:
        raise DataError(f"{path}: has {'; '.join(faults[:3])}")
    return ImageObjects(
        (int(height), int(width)),
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(classes, np.int64),
        np.array(difficult, bool),
    )


def _parsed(path: Path) -> Any:
    try:
        size = existing_file(path, "annotation").stat().st_size
        if size > LARGEST_ANNOTATION:
            raise DataError(f"{path}: {size:,} bytes are too many for an annotation")
        text = path.read_bytes()
        plain = text.replace(b"\0", b"")  # of UTF-16
        if b"<!DOCTYPE" in plain or b"<!ENTITY" in plain:
            raise DataError(f"{path}: declares a document type, unlike VOC's annotations")
        return ElementTree.fromstring(text)
    except FileFormatError as error:
        raise DataError(str(error)) from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    except (ElementTree.ParseError, ValueError) as error:
        raise DataError(f"{path}: not an XML annotation ({error})") from None


def _number(path: str | os.PathLike[str], item: Any, name: str) -> float:
    text = item.findtext(name)
    try:
        value = float(text)
    except (TypeError, ValueError):
        value = float("nan")
    if not abs(value) < 1e6:
        found = "missing" if text is None else repr(text)
        raise DataError(f"{path}: {name} is {found}; expected a number of pixels")
    return value


def _touching(boxes: np.ndarray, height: int, width: int) -> np.ndarray:
    """Whether a part of each box is in the image or at its edge; 1-based pixels (COCO's boxes lie between pixels)."""
    low, high = boxes[:, :2] <= np.array([width, height]) + 1, boxes[:, 2:] >= 0
    return np.asarray(low.all(axis=1) & high.all(axis=1))


def object_notes(names: Sequence[str], objects: Sequence[ImageObjects], expected: int | None, title: str) -> list[str]:
    """Notes: an unexpected number of images, and objects that exceed their image.

    Raises DataError if objects lie outside their image as a whole.
    """
    notes = []
    if expected is not None and len(names) != expected:
        notes.append(f"{len(names):,} images; {title} has {expected:,}")
    pairs = list(zip(names, objects, strict=True))
    lost = [name for name, item in pairs if not _touching(item.boxes, *item.size).all()]
    if lost:
        raise DataError(listing(f"{title}: images with objects completely outside ({len(lost)}):", lost))
    outside = [name for name, item in pairs if not inside(item.boxes, *item.size).all()]
    if outside:
        notes.append(f"images with objects that exceed the image ({len(outside)}): {first_few(outside)}")
    return notes
