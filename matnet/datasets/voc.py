"""PASCAL VOC's segmentations: images, the class of each of their pixels, and the parts that papers report on."""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np

from matnet.datasets.scan import digest_lines, entries, first_few, image_size, text_lines
from matnet.errors import DataError, FileFormatError, listing
from matnet.files import IMAGE_ERRORS

VOC_CLASSES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
"""What a pixel of value k is; 255 is nothing that counts."""

VOID = 255

EDITION = re.compile(r"VOC(20[01]\d)")

SEGMENTATIONS = ("JPEGImages", "SegmentationClass")
"""The folders by which a folder of VOC with segmentations is known."""

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
"""Images with segmentations, by year and part."""

REDUCED = {"rv-voc11": ("2011", ("train.txt",)), "rv-voc12": ("2012", ("train.txt", "val.txt"))}
"""Validation sets without what SBD annotates: part -> year, and the lists of SBD whose images are left out of val."""

_SBD = ("", "sbd", "SBD", "benchmark_RELEASE/dataset", "berkeley/benchmark_RELEASE/dataset")


@dataclass(frozen=True)
class MatLabels:
    """Labels in MAT files. variable: that holds them, H x W. values: the class of each number that may stand there.

    present_only: whether classes that no pixel has are left out of means. scored: the variable that a network scores
    them by, where it has several outputs.
    """

    variable: str
    values: Mapping[int, int]
    present_only: bool = False
    scored: str = ""

    def read(self, path: Path) -> np.ndarray:
        """The classes of an image's pixels; DataError for a file without them, or with other numbers."""
        from matnet.formats.mat import read_mat

        try:
            found = read_mat(path, [self.variable]).get(self.variable)
        except FileFormatError as error:
            raise DataError(str(error)) from None
        if not isinstance(found, np.ndarray) or found.ndim != 2 or not found.size or found.dtype.kind not in "iuf":
            raise DataError(f"{path}: holds no matrix `{self.variable}`, the labels of an image")
        numbers, places = np.unique(found, return_inverse=True)
        unknown = [number for number in numbers.tolist() if number not in self.values]
        if unknown:
            known = f"{min(self.values)} to {max(self.values)}"
            shown = ", ".join(f"{number:g}" for number in unknown[:8])
            raise DataError(f"{path}: has pixels of {shown}; expected {known}")
        classes = np.array([self.values[number] for number in numbers.tolist()], np.uint8)
        return classes[places].reshape(found.shape)


@dataclass(frozen=True)
class SegmentationSet:
    """Images and the class of each of their pixels, in a fixed order.

    images, labels: files, one label image per image. class_names: what a pixel of value k is. void: the value of
    pixels that do not count. list_sha256: of the images' names. notes: decisions worth telling. stored: how labels lie
    in MAT files; None: they are images. beside: of each image a second one, for networks with two inputs.
    """

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
    unreadable: ClassVar[tuple[str, ...]] = ()  # a folder that cannot be read is an error

    def __len__(self) -> int:
        return len(self.images)

    def truth(self, index: int) -> np.ndarray:
        """The classes of an image's pixels, H x W uint8; DataError for a file that holds something else."""
        if self.stored is not None:
            return self.stored.read(self.labels[index])
        return read_labels(self.labels[index], len(self.class_names), self.void)

    def check(self) -> SegmentationSet:
        """Read every label image and every image's size; DataError lists all that cannot be used.

        Returns the set, with a note where images have no pixel that counts. Takes a few milliseconds an image, so that
        no network runs for hours before the first fault is found.
        """
        faults, empty = [], []
        for index, image in enumerate(self.images):
            try:
                truth = self.truth(index)
                rows, columns = truth.shape
                if (truth == self.void).all():
                    empty.append(self.labels[index].name)
                width, height = image_size(image)
            except DataError as error:
                faults.append(str(error))
                continue
            if (rows, columns) != (height, width):
                faults.append(f"{self.labels[index]}: is {columns} x {rows}, its image {width} x {height}")
        if faults:
            raise DataError(listing(f"{self.root}: {len(faults)} image(s) of {self.name} cannot be used:", faults))
        if empty and len(empty) == len(self):
            raise DataError(f"{self.root}: in none of the {len(self):,} label images of {self.name} does a pixel count")
        note = f"{len(empty)} image(s) have no pixel that counts: {first_few(empty)}"
        return replace(self, notes=(*self.notes, note)) if empty else self

    def head(self, count: int) -> SegmentationSet:
        """The first `count` images; the hash is made from the whole list's and `count`."""
        if count >= len(self):
            return self
        sha256 = hashlib.sha256(f"{self.list_sha256} first {count}".encode()).hexdigest()
        notes = (*self.notes, f"only the first {count} of {len(self)} images")
        return replace(self.part(0, count), list_sha256=sha256, notes=notes)

    def part(self, first: int, stop: int) -> SegmentationSet:
        """Some of the images."""
        images, labels, beside = (paths[first:stop] for paths in (self.images, self.labels, self.beside))
        return replace(self, images=images, labels=labels, beside=beside)

    def check_beside(self) -> None:
        """Read the sizes of the images in `beside`; DataError lists those that are missing, or of another size."""
        missing = [str(path) for path in self.beside if not path.is_file()]
        if missing:
            which = "file(s) of the network's second input"
            raise DataError(listing(f"{self.root}: {len(missing)} {which} are missing:", missing))
        faults = []
        for path, second in zip(self.images, self.beside, strict=True):
            try:
                (width, height), (columns, rows) = image_size(path), image_size(second)
            except DataError as error:
                faults.append(str(error))
                continue
            if (width, height) != (columns, rows):
                faults.append(f"{second}: is {columns} x {rows}, its image {width} x {height}")
        if faults:
            raise DataError(listing(f"{self.root}: {len(faults)} image(s) of the second input cannot be used:", faults))


def read_labels(path: str | os.PathLike[str], classes: int, void: int = VOID) -> np.ndarray:
    """A label image (a palette or gray PNG) as H x W uint8; DataError if values are no classes."""
    from PIL import Image

    try:
        with Image.open(path, formats=["PNG"]) as image:
            if image.mode not in ("P", "L"):
                raise DataError(f"{path}: is of mode {image.mode}; expected a label image with a palette (P), or gray")
            values = np.asarray(image)
    except (*IMAGE_ERRORS, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: cannot be read as a label image ({error})") from None
    wrong = np.setdiff1d(np.flatnonzero(np.bincount(values.ravel(), minlength=256)), [*range(classes), void])
    if wrong.size:
        found = ", ".join(map(str, wrong[:8]))
        raise DataError(f"{path}: has pixels of {found}; expected 0 to {classes - 1}, and {void} for none")
    return values


def load_voc(
    folder: str | os.PathLike[str],
    year: str | None = None,
    split: str | os.PathLike[str] = "val",
    sbd: str | os.PathLike[str] | None = None,
) -> SegmentationSet:
    """The images of PASCAL VOC that have segmentations, of one part.

    folder: VOC2012 or VOC2011 itself, the VOCdevkit above it, or the folder above that. year: "2011" or "2012"; may
    be left out where the folder holds one. split: train, val, trainval; `rv-voc11` (val of 2011 without SBD's train)
    and `rv-voc12` (val of 2012 without SBD's train and val), on which the FCN figures were measured; or a text file
    of image names. The reduced parts need seg11valid.txt (in the folder, or given), or SBD's lists, found in `sbd`
    or near the folder. Raises DataError, listing what is missing.
    """
    if str(split) in REDUCED:
        year = year or REDUCED[str(split)][0]
    home = voc_home(Path(folder), year)
    named = EDITION.fullmatch(home.name)
    edition = named[1] if named else year or ""
    names, notes = _split_names(home, edition, split, Path(sbd) if sbd is not None else None)
    lists = [("JPEGImages", ".jpg"), ("SegmentationClass", ".png")]
    present = [set(entries(home / kind)[0]) for kind, _ in lists]
    missing = [
        f"{kind}/{name}{ending}"
        for name in names
        for (kind, ending), found in zip(lists, present, strict=True)
        if f"{name}{ending}" not in found
    ]
    if missing:
        raise DataError(listing(f"{home}: {len(missing)} file(s) of the list are missing:", missing))
    part = str(Path(split).stem)
    images, labels = (tuple(home / kind / f"{name}{ending}" for name in names) for kind, ending in lists)
    expected = COUNTS.get((edition, part))
    if expected is not None and len(names) != expected:
        notes.append(f"{len(names)} images; the part {part} of VOC {edition} has {expected}")
    title = part.upper() if part in REDUCED else f"VOC {edition} {part}"
    return SegmentationSet(images, labels, VOC_CLASSES, home, title, digest_lines(names), notes=tuple(notes))


def voc_home(folder: Path, year: str | None = None, holding: Sequence[str] = SEGMENTATIONS) -> Path:
    """The folder VOC2011 or VOC2012 in, below or at `folder` that has the folders `holding`.

    DataError if there is none, or more than one.
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
        raise DataError(f"{folder}: holds {', '.join(home.name for home in fitting)}; say of which year")
    there = f"; it holds {', '.join(home.name for home in homes)}" if homes else ""
    raise DataError(f"{folder}: holds no folder VOC{year or '2012'} with {', '.join(holding)} and ImageSets{there}")


def _own(home: Path) -> tuple[str, ...]:
    """A folder that was renamed is of whatever year is asked for."""
    return () if EDITION.fullmatch(home.name) else (home.name,)


def _is_home(folder: Path, holding: Sequence[str] = SEGMENTATIONS) -> bool:
    return all((folder / name).is_dir() for name in holding)


def _split_names(home: Path, year: str, split: str | os.PathLike[str], sbd: Path | None) -> tuple[list[str], list[str]]:
    """The names of a part's images, in its list's order, and notes."""
    sets = home / "ImageSets" / "Segmentation"
    if str(split) in REDUCED:
        return _reduced(home, sets, str(split), year, sbd)
    file = Path(split) if Path(split).suffix == ".txt" else sets / f"{split}.txt"
    return read_names(file), []


def _reduced(home: Path, sets: Path, split: str, year: str, sbd: Path | None) -> tuple[list[str], list[str]]:
    """Val without what SBD annotates: from the authors' list, or from SBD's lists."""
    wanted, lists = REDUCED[split]
    if year != wanted:
        raise DataError(f"{home}: {split} is a part of VOC {wanted}, not of {year}")
    if split == "rv-voc11":
        ready = [place / "seg11valid.txt" for place in (sets, home, home.parent)]
        given = next((file for file in ready if file.is_file()), None)
        if given is not None:
            return read_names(given), [f"the list is {given}"]
    starts = [sbd] if sbd is not None else [home, home.parent, home.parent.parent]
    places = [start / inner for start in starts for inner in _SBD]
    # VOC's own folders hold lists of the same names, but not SBD's folder of segmentations beside them.
    found = next(
        (place for place in places if all((place / name).is_file() for name in lists) and _is_sbd(place)), None
    )
    if found is None:
        own = " seg11valid.txt, or" if split == "rv-voc11" else ""
        raise DataError(
            f"{home}: {split} is VOC {wanted} val without images of SBD, and neither it nor SBD was found; put{own} "
            f"SBD's benchmark_RELEASE (its dataset/{' and dataset/'.join(lists)}) beside it, or say where it is"
        )
    excluded = {name for file in lists for name in read_names(found / file)}
    names = [name for name in read_names(sets / "val.txt") if name not in excluded]
    return names, [f"val.txt without the images of SBD's {', '.join(lists)} in {found}"]


def _is_sbd(folder: Path) -> bool:
    return (folder / "cls").is_dir() or (folder / "img").is_dir() or "benchmark_RELEASE" in folder.parts


def read_names(file: Path) -> list[str]:
    """The image names of a list, one a line (VOC's lists of one class have a second column); each only once.

    Raises DataError for names that come twice or hold a folder.
    """
    names = [text.split()[0] for _, text in text_lines(file, "list of images", "of one image's name")]
    wrong = [name for name in names if "/" in name or "\\" in name or name in (".", "..")]
    wrong += sorted(name for name, times in Counter(names).items() if times > 1)
    if wrong:
        raise DataError(listing(f"{file}: {len(wrong)} name(s) hold folders, or come twice:", wrong))
    return names


def has_voc(folder: Path, holding: Sequence[str] = SEGMENTATIONS) -> bool:
    """Whether a folder of VOC that holds these folders lies in, below or at `folder`."""
    forms: Sequence[str] = (".", "VOC20[01][0-9]", "VOCdevkit/VOC20[01][0-9]", "TrainVal/VOCdevkit/VOC20[01][0-9]")
    homes = (home for form in forms for home in (folder.glob(form) if form != "." else [folder]))
    return any(_is_home(home, holding) for home in homes)
