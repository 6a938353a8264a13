"""COCO's objects: the images of an instances_*.json file, with a box and a class for each object."""

from __future__ import annotations

import json
import os
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from matnet.datasets.objects import CocoTruth, DetectionSet, ImageObjects, object_notes
from matnet.datasets.scan import digest_lines, is_there
from matnet.errors import DataError, FileFormatError, in_words, listing
from matnet.files import existing_file

PREFIX = "instances_"

COUNTS = {"train2014": 82783, "val2014": 40504, "minival2014": 5000, "train2017": 118287, "val2017": 5000}
"""The number of images in each part of COCO."""

LONGEST_SIDE = 10**6  # pixels, of images and boxes
LARGEST_AREA = LONGEST_SIDE**2


def annotation_files(folder: Path) -> list[Path]:
    """The files instances_*.json in a folder or its subfolder `annotations`."""
    return sorted(file for place in (folder, folder / "annotations") for file in place.glob(f"{PREFIX}*.json"))


def is_coco(path: str | os.PathLike[str]) -> bool:
    """Whether a path is a COCO data set: a JSON file, or a folder with instances_*.json."""
    path = Path(path)
    return path.suffix == ".json" or (path.is_dir() and bool(annotation_files(path)))


def load_coco_objects(
    path: str | os.PathLike[str], split: str | None = None, proposals: str | os.PathLike[str] | None = None
) -> DetectionSet:
    """The images of a COCO annotation file with their objects, sorted by id.

    path: the file instances_*.json, or the folder that holds it or `annotations`. split: val2017 for
    instances_val2017.json; optional if there is only one file. proposals: a .mat file with the names of the images, see
    `read_proposals`. The images lie in the folder of their part, beside `annotations` or in `images`.

    Raises DataError that lists missing images and unusable annotations. Notes report objects that exceed their image.
    """
    file = _annotation_file(Path(path), split)
    record = _record(file)
    part = file.stem.removeprefix(PREFIX)
    rows = sorted(record["images"], key=lambda image: image["id"])
    images = _image_files(file, part, [image["file_name"] for image in rows])
    categories = {category["id"]: str(category["name"]) for category in record["categories"]}
    truth, objects = _objects(file, rows, record["annotations"], sorted(categories))
    names = [Path(image["file_name"]).stem for image in rows]
    notes = object_notes(names, objects, COUNTS.get(part), f"COCO {part}")
    sha256 = digest_lines(f"{image['id']} {image['file_name']}" for image in rows)
    classes = tuple(categories[number] for number in sorted(categories))
    found = DetectionSet(images, objects, None, 0, file, f"COCO {part}", sha256, classes, tuple(notes), truth)
    return found.with_proposals(proposals)


def _annotation_file(path: Path, split: str | None) -> Path:
    if path.suffix == ".json":
        part = path.stem.removeprefix(PREFIX)
        if split not in (None, part):
            stated = in_words(f"split={split!r}", f"--split {split}")
            raise DataError(f"{path}: holds {part}, but {stated} is another part; leave it out, or give the folder")
        return path
    found = annotation_files(path)
    parts = {file.stem.removeprefix(PREFIX): file for file in found}
    if split is None and len(found) == 1:
        return found[0]
    if split in parts:
        return parts[split]
    held = "several files" if split is None else f"no {PREFIX}{split}.json"
    raise DataError(f"{path}: has {held}; give {in_words('split=', '--split')} {', or '.join(parts)}")


def _record(file: Path) -> dict[str, Any]:
    """The lists of an annotation file, with the required fields checked. Raises DataError for anything else."""
    try:
        record = json.loads(existing_file(file, "annotation file").read_bytes())
    except FileFormatError as error:
        raise DataError(str(error)) from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{file}: is not JSON ({error})") from None
    lists: dict[str, Fields] = {"images": IMAGE, "annotations": OBJECT, "categories": CATEGORY}
    missing = [name for name in lists if not isinstance(record, dict) or not isinstance(record.get(name), list)]
    if missing:
        raise DataError(f"{file}: has no list of {' or '.join(missing)}; expected COCO's instances_*.json")
    faults = [
        f"{name}, item {place}: " + (f"its {field} is {item[field]!r:.60}" if field in item else f"has no {field}")
        if isinstance(item, dict)
        else f"{name}, item {place}: {item!r:.60}"
        for name, fields in lists.items()
        for place, item in enumerate(record[name], start=1)
        for field, kinds in fields.items()
        if not isinstance(item, dict) or not isinstance(item.get(field), kinds) or isinstance(item[field], bool)
    ]
    for name in lists:
        if not record[name]:
            faults.append(f"{name}: none")
    faults = faults or [*_repeated(record), *_sizes(record["images"])]
    if faults:
        raise DataError(listing(f"{file}: errors in its lists ({len(faults)}):", faults))
    return dict(record)


def _repeated(record: Mapping[str, Any]) -> list[str]:
    """Items of a list that share a value that must be unique."""
    own = {"images": ("id", "file_name"), "categories": ("id", "name"), "annotations": ("id",)}
    return [
        f"{name}: {times} have the {field} {value}"
        for name, fields in own.items()
        for field in fields
        for value, times in Counter(repr(item[field]) for item in record[name] if field in item).items()
        if times > 1
    ]


def _sizes(images: Sequence[Mapping[str, Any]]) -> list[str]:
    """Images with an impossible height or width."""
    wrong = (item for item in images if not all(0 < item[side] <= LONGEST_SIDE for side in ("height", "width")))
    return [f"images: {item['file_name']} has the size {item['width']} x {item['height']}" for item in wrong]


Fields = dict[str, type | tuple[type, ...]]
IMAGE: Fields = {"id": int, "file_name": str, "height": int, "width": int}
OBJECT: Fields = {"image_id": int, "category_id": int, "bbox": list, "area": (int, float)}
CATEGORY: Fields = {"id": int, "name": str}
"""The required fields of each item, and their types."""


def _image_files(file: Path, part: str, names: Sequence[str]) -> tuple[Path, ...]:
    """The image files. Raises DataError that lists missing images and names that lead out of the folder."""
    astray = [name for name in names if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts]
    if astray:
        raise DataError(listing(f"{file}: image names that are not plain file names ({len(astray)}):", astray))
    root = file.parent.parent if file.parent.name == "annotations" else file.parent
    # The part in names such as COCO_val2014_000000000042.jpg, which lists other than val2014's also hold.
    own = names[0].split("_")[1] if names[0].count("_") == 2 else part
    folders = [root / "images" / part, root / part, root / "images" / own, root / own, root / "images", root]
    folder = next((place for place in folders if is_there(place / names[0])), folders[1])
    missing = [name for name in names if not is_there(folder / name)]
    if missing:
        raise DataError(listing(f"{folder}: {len(missing)} of {len(names):,} images are missing:", missing))
    return tuple(folder / name for name in names)


def _objects(
    file: Path, images: Sequence[Mapping[str, Any]], annotations: Sequence[Mapping[str, Any]], categories: list[int]
) -> tuple[CocoTruth, tuple[ImageObjects, ...]]:
    """The annotations as in the file, and by image. Raises DataError that lists unusable ones."""
    faults = []
    known, places = {image["id"] for image in images}, {number: place for place, number in enumerate(categories)}
    of_image: dict[int, list[Mapping[str, Any]]] = defaultdict(list)
    for place, item in enumerate(annotations, start=1):
        box = item["bbox"]
        fits = len(box) == 4 and all(isinstance(value, (int, float)) and abs(value) < LONGEST_SIDE for value in box)
        if item["image_id"] not in known:
            faults.append(f"annotation {place}: its image {item['image_id']} is not listed")
        elif item["category_id"] not in places:
            faults.append(f"annotation {place}: its category {item['category_id']} is not listed")
        elif not fits or min(box[2:]) < 0:
            faults.append(f"annotation {place}: its bbox is {box}; expected x, y, width, height")
        elif not 0 <= item["area"] < LARGEST_AREA:
            faults.append(f"annotation {place}: its area is {item['area']}; expected a number of pixels")
        elif item.get("iscrowd", 0) not in (0, 1):
            faults.append(f"annotation {place}: its iscrowd is {item['iscrowd']!r}; expected 0 or 1")
        else:
            of_image[item["image_id"]].append(item)
    if faults:
        raise DataError(listing(f"{file}: unusable annotations ({len(faults)}):", faults))
    objects = tuple(_image_objects(image, of_image[image["id"]], places) for image in images)
    return CocoTruth(tuple(image["id"] for image in images), tuple(categories), tuple(annotations)), objects


def _image_objects(
    image: Mapping[str, Any], items: Sequence[Mapping[str, Any]], places: dict[int, int]
) -> ImageObjects:
    """COCO's 0-based x, y, width, height as 1-based, inclusive pixels; crowds count as VOC's difficult objects."""
    boxes = np.array([item["bbox"] for item in items], np.float64).reshape(-1, 4)
    corners = np.concatenate([boxes[:, :2] + 1, boxes[:, :2] + boxes[:, 2:]], axis=1)
    return ImageObjects(
        (image["height"], image["width"]),
        corners.astype(np.float32),
        np.array([places[item["category_id"]] for item in items], np.int64),
        np.array([bool(item.get("iscrowd", 0)) for item in items], bool),
    )
