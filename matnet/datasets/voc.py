"""PASCAL VOC's segmentations: images, the class of each pixel, and the validation sets used in papers."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from matnet.datasets.base import DataSet
from matnet.datasets.scan import (
    digest_lines,
    image_sizes,
    mat_variables,
    repeated,
    require_files,
    require_size,
    text_lines,
)
from matnet.errors import DataError, FileFormatError, listing
from matnet.files import IMAGE_ERRORS, existing_file

VOC_CLASSES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
"""The class of pixel value k; 255 is void."""

VOID = 255

EDITION = re.compile(r"VOC(20[01]\d)")

SEGMENTATIONS = ("JPEGImages", "SegmentationClass")
"""The subfolders that identify a VOC folder with segmentations."""

COUNTS = {
    ("2011", "train"): 1112,
    ("2011", "val"): 1111,
    ("2011", "trainval"): 2223,
    ("2011", "rv-voc11"): 736,
    ("2012", "train"): 1464,
    ("2012", "val"): 1449,
    ("2012", "trainval"): 2913,
    ("2012", "rv-voc12"): 346,
}
"""The number of images with segmentations, by year and part."""

REDUCED = {"rv-voc11": ("2011", ("train.txt",)), "rv-voc12": ("2012", ("train.txt", "val.txt"))}
"""Validation sets without SBD's images: part -> year, and the lists of SBD that are excluded from val."""

_SBD = ("", "sbd", "SBD", "benchmark_RELEASE/dataset", "berkeley/benchmark_RELEASE/dataset")


@dataclass(frozen=True)
class MatLabels:
    """Labels in MAT files. variable: its name, H x W. values: number in the file -> class.

    present_only: whether means leave out classes without pixels. scored: the network's variable with scores for these
    labels, if it has several outputs.
    """

    variable: str
    values: Mapping[int, int]
    present_only: bool = False
    scored: str = ""

    def read(self, path: Path) -> np.ndarray:
        """The classes of an image's pixels. Raises DataError for a file without labels, or with unknown numbers."""
        found = mat_variables(path, self.variable).get(self.variable)
        if not isinstance(found, np.ndarray) or found.ndim != 2 or not found.size or found.dtype.kind not in "iuf":
            raise DataError(f"{path}: has no matrix `{self.variable}` (the labels of an image)")
        numbers, places = np.unique(found, return_inverse=True)
        unknown = [number for number in numbers.tolist() if number not in self.values]
        if unknown:
            known = f"{min(self.values)} to {max(self.values)}"
            shown = ", ".join(f"{number:g}" for number in unknown[:8])
            raise DataError(f"{path}: pixel values {shown}; expected {known}")
        classes = np.array([self.values[number] for number in numbers.tolist()], np.uint8)
        return classes[places].reshape(found.shape)


@dataclass(frozen=True)
class SegmentationSet(DataSet):
    """Images and the class of each pixel, in a fixed order.

    images, labels: files, one label image per image. class_names: the class of pixel value k. void: the value of
    pixels that do not count. list_sha256: hash of the image names. notes: decisions that the user should know. stored:
    the format of labels in MAT files; None for label images. beside: the second images, for networks with two inputs.
    """

    per_image: ClassVar[tuple[str, ...]] = ("images", "labels", "beside")
    lacking: ClassVar[str] = "with only void pixels"
    images: tuple[Path, ...]
    labels: tuple[Path, ...]
    class_names: tuple[str, ...]
    root: Path
    name: str
    list_sha256: str
    void: int = VOID
    notes: tuple[str, ...] = ()
    stored: MatLabels | None = None
    beside: tuple[Path, ...] = ()

    def truth(self, index: int) -> np.ndarray:
        """The classes of an image's pixels, H x W uint8. Raises DataError for another kind of file."""
        if self.stored is not None:
            return self.stored.read(self.labels[index])
        return read_labels(self.labels[index], len(self.class_names), self.void)

    def _unannotated(self, index: int) -> str:
        truth = self.truth(index)
        require_size(self.images[index], truth.shape, self.labels[index])
        return self.labels[index].name if (truth == self.void).all() else ""

    def check_beside(self) -> None:
        """Check the sizes of the images in `beside`. Raises DataError that lists missing images and other sizes."""
        missing = [str(path) for path in self.beside if not path.is_file()]
        if missing:
            which = "files for the network's second input"
            raise DataError(listing(f"{self.root}: {which} that are missing ({len(missing)}):", missing))
        faults = []
        for path, second in zip(self.images, self.beside, strict=True):
            try:
                require_size(path, image_sizes(second)[0], second)
            except DataError as error:
                faults.append(str(error))
        if faults:
            raise DataError(listing(f"{self.root}: unusable images for the second input ({len(faults)}):", faults))


def read_labels(path: str | os.PathLike[str], classes: int, void: int = VOID) -> np.ndarray:
    """A label image (a palette or gray PNG) as H x W uint8. Raises DataError for values that are not classes."""
    from PIL import Image

    try:
        with Image.open(existing_file(path, "label image"), formats=["PNG"]) as image:
            if image.mode not in ("P", "L"):
                raise DataError(f"{path}: has mode {image.mode}; expected a label image with a palette (P) or gray (L)")
            values = np.asarray(image)
    except FileFormatError as error:
        raise DataError(str(error)) from None
    except (*IMAGE_ERRORS, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: cannot be read as a label image ({error})") from None
    wrong = np.setdiff1d(np.flatnonzero(np.bincount(values.ravel(), minlength=256)), [*range(classes), void])
    if wrong.size:
        found = ", ".join(map(str, wrong[:8]))
        raise DataError(f"{path}: pixel values {found}; expected 0 to {classes - 1}, or {void} for void")
    return values


def load_voc(
    folder: str | os.PathLike[str],
    year: str | None = None,
    split: str | os.PathLike[str] = "val",
    sbd: str | os.PathLike[str] | None = None,
) -> SegmentationSet:
    """The images with segmentations of one part of PASCAL VOC.

    folder: VOC2012 or VOC2011, its parent VOCdevkit, or the parent of that. year: "2011" or "2012"; optional if the
    folder holds only one. split: train, val, trainval; `rv-voc11` (val of 2011 without SBD's train) and `rv-voc12` (val
    of 2012 without SBD's train and val), on which FCN was measured; or a text file of image names. The reduced parts
    need seg11valid.txt (in the folder, or given), or SBD's lists in `sbd` or near the folder. Raises DataError that
    lists what is missing.
    """
    if str(split) in REDUCED:
        year = year or REDUCED[str(split)][0]
    home = voc_home(Path(folder), year)
    named = EDITION.fullmatch(home.name)
    edition = named[1] if named else year or ""
    names, notes = _split_names(home, edition, split, Path(sbd) if sbd is not None else None)
    part = str(Path(split).stem)
    images = tuple(home / "JPEGImages" / f"{name}.jpg" for name in names)
    labels = tuple(home / "SegmentationClass" / f"{name}.png" for name in names)
    require_files(home, [*images, *labels])
    expected = COUNTS.get((edition, part))
    if expected is not None and len(names) != expected:
        notes.append(f"{len(names)} images; the part {part} of VOC {edition} has {expected}")
    title = part.upper() if part in REDUCED else f"VOC {edition} {part}"
    return SegmentationSet(images, labels, VOC_CLASSES, home, title, digest_lines(names), notes=tuple(notes))


def voc_home(folder: Path, year: str | None = None, holding: Sequence[str] = SEGMENTATIONS) -> Path:
    """The folder VOC2011 or VOC2012 at or below `folder` that has the subfolders `holding`.

    Raises DataError if there is none, or more than one.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; give VOCdevkit, or VOC{year or '2012'} in it")
    forms = ("VOC20[01][0-9]", "VOCdevkit/VOC20[01][0-9]", "TrainVal/VOCdevkit/VOC20[01][0-9]")
    homes = [folder] if _is_home(folder, holding) else sorted(home for form in forms for home in folder.glob(form))
    fitting = [
        home for home in homes if _is_home(home, holding) and (year is None or home.name in (f"VOC{year}", *_own(home)))
    ]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise DataError(f"{folder}: holds {', '.join(home.name for home in fitting)}; give the year")
    there = f"; it holds {', '.join(home.name for home in homes)}" if homes else ""
    raise DataError(f"{folder}: found no folder VOC{year or '2012'} with {', '.join(holding)} and ImageSets{there}")


def _own(home: Path) -> tuple[str, ...]:
    """A renamed folder counts as any requested year."""
    return () if EDITION.fullmatch(home.name) else (home.name,)


def _is_home(folder: Path, holding: Sequence[str] = SEGMENTATIONS) -> bool:
    return all((folder / name).is_dir() for name in holding)


def _split_names(home: Path, year: str, split: str | os.PathLike[str], sbd: Path | None) -> tuple[list[str], list[str]]:
    """The image names of a part, in its list's order, and notes."""
    sets = home / "ImageSets" / "Segmentation"
    if str(split) in REDUCED:
        return _reduced(home, sets, str(split), year, sbd)
    file = Path(split) if Path(split).suffix == ".txt" else sets / f"{split}.txt"
    return read_names(file), []


def _reduced(home: Path, sets: Path, split: str, year: str, sbd: Path | None) -> tuple[list[str], list[str]]:
    """Val without SBD's images: from the authors' list, or from SBD's lists."""
    wanted, lists = REDUCED[split]
    if year != wanted:
        raise DataError(f"{home}: {split} is a part of VOC {wanted}, not of VOC {year}")
    if split == "rv-voc11":
        ready = [place / "seg11valid.txt" for place in (sets, home, home.parent)]
        given = next((file for file in ready if file.is_file()), None)
        if given is not None:
            return read_names(given), [f"the list is {given}"]
    starts = [sbd] if sbd is not None else [home, home.parent, home.parent.parent]
    places = [start / inner for start in starts for inner in _SBD]
    # VOC's own folders hold lists of the same names, but without SBD's folder of segmentations.
    found = next(
        (place for place in places if all((place / name).is_file() for name in lists) and _is_sbd(place)), None
    )
    if found is None:
        own = " seg11valid.txt, or" if split == "rv-voc11" else ""
        raise DataError(
            f"{home}: {split} is VOC {wanted} val without SBD's images; neither its list nor SBD was found: put{own} "
            f"SBD's benchmark_RELEASE (with dataset/{' and dataset/'.join(lists)}) beside it, or give its path"
        )
    excluded = {name for file in lists for name in read_names(found / file)}
    names = [name for name in read_names(sets / "val.txt") if name not in excluded]
    return names, [f"val.txt without the images of SBD's {', '.join(lists)} in {found}"]


def _is_sbd(folder: Path) -> bool:
    return (folder / "cls").is_dir() or (folder / "img").is_dir() or "benchmark_RELEASE" in folder.parts


def read_names(file: Path) -> list[str]:
    """The image names in a list, one per line (VOC's lists of one class have a second column).

    Raises DataError for names that are repeated or contain a folder.
    """
    names = [text.split()[0] for _, text in text_lines(file, "list of images", "of one image's name")]
    wrong = [name for name in names if "/" in name or "\\" in name or name in (".", "..")]
    wrong += repeated(names)
    if wrong:
        raise DataError(listing(f"{file}: names that are repeated or contain folders ({len(wrong)}):", wrong))
    return names


def has_voc(folder: Path, holding: Sequence[str] = SEGMENTATIONS) -> bool:
    """Whether a VOC folder with these subfolders lies at or below `folder`."""
    forms: Sequence[str] = (".", "VOC20[01][0-9]", "VOCdevkit/VOC20[01][0-9]", "TrainVal/VOCdevkit/VOC20[01][0-9]")
    homes = (home for form in forms for home in (folder.glob(form) if form != "." else [folder]))
    return any(_is_home(home, holding) for home in homes)
