"""Segmentation data sets other than PASCAL VOC: SIFT Flow, NYUDv2 and PASCAL-Context, in their published layouts."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from matnet.datasets.scan import digest_lines, repeated, require_files, text_lines
from matnet.datasets.voc import VOC_CLASSES, VOID, MatLabels, SegmentationSet, load_voc, read_names, voc_home
from matnet.errors import DataError, listing

SCENES = "spatial_envelope_256x256_static_8outdoorcategories"
"""The subfolder of SIFT Flow's images, and of each kind of labels."""
SIFT_FLOW = {
    "semantic": (
        "awning", "balcony", "bird", "boat", "bridge", "building", "bus", "car", "cow", "crosswalk", "desert", "door",
        "fence", "field", "grass", "moon", "mountain", "person", "plant", "pole", "river", "road", "rock", "sand",
        "sea", "sidewalk", "sign", "sky", "staircase", "streetlight", "sun", "tree", "window",
    ),
    "geometric": ("sky", "horizontal", "vertical"),
}  # fmt: skip
"""The classes of SIFT Flow's two kinds of labels, in the order of its files, from 1."""
SIFT_FLOW_FILES = {"semantic": ("SemanticLabels", "score_sem"), "geometric": ("GeoLabels", "score_geo")}
"""The folder of each kind of labels, and FCN's variable with its scores."""

NYUD_CLASSES = (
    "wall", "floor", "cabinet", "bed", "chair", "sofa", "table", "door", "window", "bookshelf", "picture", "counter",
    "blinds", "desk", "shelves", "curtain", "dresser", "pillow", "mirror", "floor mat", "clothes", "ceiling", "books",
    "refridgerator", "television", "paper", "towel", "shower curtain", "box", "whiteboard", "person", "night stand",
    "toilet", "sink", "lamp", "bathtub", "bag", "otherstructure", "otherfurniture", "otherprop",
)  # fmt: skip
"""NYUDv2's 40 classes (Gupta et al.), in the order of its files, from 1."""

CONTEXT_CLASSES = (
    *VOC_CLASSES,
    "bag", "bed", "bench", "book", "building", "cabinet", "ceiling", "clothes", "computer", "cup", "door", "fence",
    "floor", "flower", "food", "grass", "ground", "keyboard", "light", "mountain", "mouse", "curtain", "platform",
    "sign", "plate", "road", "rock", "shelves", "sidewalk", "sky", "snow", "bedcloth", "track", "tree", "truck",
    "wall", "water", "window", "wood",
)  # fmt: skip
"""PASCAL-Context's 59 classes after the background, in the order of FCN's outputs."""
CONTEXT_NAMES = {"diningtable": "table", "bedcloth": "bedclothes", "clothes": "cloth"}
"""Classes with another name in the data set's labels.txt."""

COUNTS = {"SIFT Flow test": 198, "NYUDv2 test": 654, "PASCAL-Context val": 5105}
"""The number of images on which FCN was measured."""
_LABEL = re.compile(r"(\d{1,4}):\s*(\S.*)")


def load_segmentations(
    folder: str | os.PathLike[str],
    year: str | None = None,
    split: str | None = None,
    sbd: str | os.PathLike[str] | None = None,
    kind: str | None = None,
) -> SegmentationSet:
    """SIFT Flow, NYUDv2, PASCAL-Context or PASCAL VOC, as detected in a folder.

    split: a list of images (default: test, test, val, val). kind: for SIFT Flow the labels, `semantic` or `geometric`;
    for NYUDv2 the images, `color` or `hha`. Raises DataError as the data set's loader does.
    """
    root = Path(folder)
    if (root / SIFT_FLOW_FILES["semantic"][0]).is_dir():
        return load_sift_flow(root, split or "test", kind or "semantic")
    if (root / "segmentation").is_dir() and (root / "data" / "images").is_dir():
        return load_nyud(root, split or "test", kind or "color")
    if (root / "59_labels.txt").is_file() or ((root / "labels.txt").is_file() and (root / "trainval").is_dir()):
        return load_context(root, split or "val")
    if kind is not None:
        raise DataError(f"{folder}: only SIFT Flow and NYUDv2 have kinds of labels or images; leave the kind out")
    return load_voc(root, year, split or "val", sbd)


def load_sift_flow(folder: str | os.PathLike[str], split: str = "test", labels: str = "semantic") -> SegmentationSet:
    """SIFT Flow (SiftFlowDataset.zip): `Images`, `SemanticLabels` and `GeoLabels`, each with a folder of scenes.

    split: a list of names: FCN's `test.txt` (198 images, without two unlabelled ones) or the archive's `TestSet1.txt`.
    Classes that are absent from the images do not count in means, as in the FCN paper.
    """
    root = Path(folder)
    if labels not in SIFT_FLOW:
        raise DataError(f"unknown kind of SIFT Flow labels '{labels}'; known: {', '.join(SIFT_FLOW)}")
    place, scored = SIFT_FLOW_FILES[labels]
    classes = SIFT_FLOW[labels]
    values = {0: VOID, **({-1: VOID} if labels == "geometric" else {}), **{k + 1: k for k in range(len(classes))}}
    list_file = _list_file(root, split, {"test": ("test.txt", "TestSet1.txt")})
    names = [Path(name.replace("\\", "/")).stem for name in _names(list_file)]
    return _made(
        root,
        f"SIFT Flow {Path(split).stem}",
        [root / "Images" / SCENES / f"{name}.jpg" for name in names],
        [root / place / SCENES / f"{name}.mat" for name in names],
        classes,
        MatLabels("S", values, present_only=True, scored=scored),
        names,
        f"{labels} labels",
    )


def load_nyud(folder: str | os.PathLike[str], split: str = "test", images: str = "color") -> SegmentationSet:
    """NYUDv2 as packed by FCN's authors (nyud.tar.gz): `data/images`, `data/hha`, `segmentation`, lists of numbers.

    images: `color`, or `hha` (depth in three channels, Gupta et al.) for networks that take only depth. A network with
    the inputs `color` and `hha` takes the color images, and the hha images in `beside`.
    """
    root = Path(folder)
    places = {"color": "images", "hha": "hha"}
    if images not in places:
        raise DataError(f"unknown kind of NYUDv2 images '{images}'; known: {', '.join(places)}")
    names = _names(_list_file(root, split, {}))
    found = _made(
        root,
        f"NYUDv2 {Path(split).stem}",
        [root / "data" / places[images] / f"img_{name}.png" for name in names],
        [root / "segmentation" / f"img_{name}.mat" for name in names],
        NYUD_CLASSES,
        MatLabels("segmentation", {0: VOID, **{k + 1: k for k in range(40)}}),
        names,
        f"{images} images",
    )
    beside = tuple(root / "data" / "hha" / f"img_{name}.png" for name in names)
    return replace(found, beside=beside) if images == "color" else found


def load_context(folder: str | os.PathLike[str], split: str = "val") -> SegmentationSet:
    """PASCAL-Context: `trainval` with a .mat file per image, `labels.txt`; and VOC2010 in or beside the folder.

    The 59 classes of the task count. All other classes are background, which is also a class, as in FCN's data layer.
    """
    root = Path(folder)
    numbers = {name: number for number, name in _numbered(root / "labels.txt").items()}
    wanted = {CONTEXT_NAMES.get(name, name): k for k, name in enumerate(CONTEXT_CLASSES) if k}
    missing = [name for name in wanted if name not in numbers]
    if missing:
        raise DataError(listing(f"{root / 'labels.txt'}: {len(missing)} of the 59 classes are missing:", missing))
    values = {0: 0, **{number: wanted.get(name, 0) for name, number in numbers.items()}}
    home = _voc2010(root)
    file = Path(split) if Path(split).suffix == ".txt" else home / "ImageSets" / "Main" / f"{split}.txt"
    names = read_names(file)
    return _made(
        root,
        f"PASCAL-Context {Path(split).stem}",
        [home / "JPEGImages" / f"{name}.jpg" for name in names],
        [root / "trainval" / f"{name}.mat" for name in names],
        CONTEXT_CLASSES,
        MatLabels("LabelMap", values),
        names,
        f"images of {home}",
    )


def _voc2010(root: Path) -> Path:
    for place in (root, root.parent):
        try:
            return voc_home(place, "2010", ("JPEGImages", "ImageSets/Main"))
        except DataError:
            continue
    raise DataError(f"{root}: found no VOC2010 with JPEGImages and ImageSets/Main in it or beside it")


def _numbered(file: Path) -> Mapping[int, str]:
    """Lines `number: name` of labels.txt, with spaces removed from names."""
    lines = text_lines(file, "list of classes", "'number: name'")
    found = [(line, _LABEL.fullmatch(text)) for line, text in lines]
    wrong = [f"line {line}" for line, match in found if match is None]
    if wrong:
        raise DataError(listing(f"{file}: lines that are not 'number: name' ({len(wrong)}):", wrong))
    numbered = [(match[1], match[2].replace(" ", "")) for _, match in found if match is not None]
    if twice := repeated(number for number, _ in numbered):
        raise DataError(listing(f"{file}: numbers of several classes ({len(twice)}):", twice))
    return {int(number): name for number, name in numbered}


def _list_file(root: Path, split: str, known: Mapping[str, Sequence[str]]) -> Path:
    if Path(split).suffix == ".txt":
        return Path(split)
    names = known.get(split, (f"{split}.txt",))
    found = next((root / name for name in names if (root / name).is_file()), None)
    if found is None:
        raise DataError(f"{root}: found no {' or '.join(names)} (the list of {split} images)")
    return found


def _names(file: Path) -> list[str]:
    return [text for _, text in text_lines(file, "list of images", "of one image's name")]


def _made(
    root: Path,
    title: str,
    images: Sequence[Path],
    labels: Sequence[Path],
    classes: tuple[str, ...],
    stored: MatLabels,
    names: Sequence[str],
    note: str,
) -> SegmentationSet:
    """The data set. Raises DataError that lists missing files and repeated names."""
    if twice := repeated(names):
        raise DataError(listing(f"{root}: images of {title} listed more than once ({len(twice)}):", twice))
    require_files(root, [*images, *labels])
    notes = [note]
    if title in COUNTS and len(names) != COUNTS[title]:
        notes.append(f"{len(names)} images; FCN was measured on {COUNTS[title]}")
    sha256 = digest_lines([*names, note.split(" of ")[0]])
    return SegmentationSet(
        tuple(images), tuple(labels), classes, root, title, sha256, notes=tuple(notes), stored=stored
    )
