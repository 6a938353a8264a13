"""Small data sets in the layouts of the real ones, made up: a few images each, of few pixels, with known labels."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from matnet.formats.mat import write_mat
from matnet.formats.mat.values import StructArray

# A thousand made-up WordNet ids, sorted, and in an order of the development kit that is another one.
WNIDS = tuple(f"n{10_000_000 + 7 * k:08d}" for k in range(1000))
DEVKIT = tuple(WNIDS[(617 * k + 333) % 1000] for k in range(1000))


def labels_of(count: int) -> list[int]:
    """The class (rank among the sorted ids) of each of `count` images: no order, hardly one twice."""
    return [(389 * k + 71) % 1000 for k in range(count)]


def photo(seed: int, height: int = 60, width: int = 80) -> Image.Image:
    """A smooth picture of blobs, as JPEG takes them, another one for each seed."""
    generator = np.random.default_rng(seed)
    coarse = generator.integers(0, 256, (5, 6, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def save_photo(path: Path, seed: int, height: int = 60, width: int = 80) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    photo(seed, height, width).save(path, quality=90)
    return path


# --- ImageNet ---


def val_names(count: int) -> list[str]:
    return [f"ILSVRC2012_val_{k:08d}.JPEG" for k in range(1, count + 1)]


def val_images(folder: Path, count: int) -> Path:
    """A flat folder of validation images."""
    for seed, name in enumerate(val_names(count)):
        save_photo(folder / name, seed)
    return folder


def devkit(folder: Path, count: int, classes: Sequence[str] = DEVKIT, year: int = 2012) -> Path:
    """A development kit: data/meta.mat (2014: meta_clsloc.mat), the ground truth of `count` images."""
    data = folder / "data"
    data.mkdir(parents=True, exist_ok=True)
    (data / ("meta.mat" if year == 2012 else "meta_clsloc.mat")).write_bytes(_synsets(tuple(classes), year))
    place = {wnid: k for k, wnid in enumerate(classes, 1)}
    truth = "".join(f"{place[WNIDS[label]]}\n" for label in labels_of(count))
    kind = "" if year == 2012 else "clsloc_"
    (data / f"ILSVRC{year}_{kind}validation_ground_truth.txt").write_text(truth)
    return folder


@cache
def _synsets(classes: tuple[str, ...], year: int) -> bytes:
    """The kit's MAT file: a struct array of 1001 x 1. What is above the classes in WordNet comes after them."""
    records = [
        {f"ILSVRC{year}_ID": np.array([[float(k)]]), "WNID": wnid, "words": words}
        for k, wnid, words in [*((k, wnid, "x") for k, wnid in enumerate(classes, 1)), (1001, "n00001740", "entity")]
    ]
    with tempfile.TemporaryDirectory() as folder:
        write_mat(Path(folder, "meta.mat"), {"synsets": StructArray(records, (1001, 1))})
        return Path(folder, "meta.mat").read_bytes()


def imagenet_class_folders(root: Path, count: int = 12) -> Path:
    """val/n01440764/ILSVRC2012_val_00000001.JPEG."""
    for seed, (name, label) in enumerate(zip(val_names(count), labels_of(count), strict=True)):
        save_photo(root / "val" / WNIDS[label] / name, seed)
    return root


def imagenet_devkit(root: Path, count: int = 12) -> Path:
    """A flat folder val/ and the development kit of 2012 beside it."""
    val_images(root / "val", count)
    devkit(root / "ILSVRC2012_devkit_t12", count)
    return root


def imagenet_caffe(root: Path, count: int = 12) -> Path:
    """A flat folder val/, and Caffe's val.txt and synset_words.txt in ilsvrc12/."""
    val_images(root / "val", count)
    lists = root / "ilsvrc12"
    lists.mkdir()
    rows = zip(val_names(count), labels_of(count), strict=True)
    (lists / "val.txt").write_text("".join(f"{name} {label}\n" for name, label in rows))
    (lists / "synset_words.txt").write_text("".join(f"{wnid} thing, some thing\n" for wnid in WNIDS))
    return root


def imagenet_matconvnet(root: Path, count: int = 12) -> Path:
    """MatConvNet's data folder: images/val and the development kit of 2014."""
    val_images(root / "images" / "val", count)
    devkit(root / "ILSVRC2014_devkit", count, year=2014)
    return root


def imagenet_kaggle(root: Path, count: int = 12) -> Path:
    """Kaggle's archive: ILSVRC/Data/CLS-LOC/val, LOC_val_solution.csv (in no order), LOC_synset_mapping.txt."""
    val_images(root / "ILSVRC" / "Data" / "CLS-LOC" / "val", count)
    rows = sorted(zip(val_names(count), labels_of(count), strict=True), key=lambda row: row[1])
    boxes = "".join(f"{name[:-5]},{WNIDS[label]} 85 1 499 272 \n" for name, label in rows)
    (root / "LOC_val_solution.csv").write_text(f"ImageId,PredictionString\n{boxes}")
    (root / "LOC_synset_mapping.txt").write_text("".join(f"{wnid} thing\n" for wnid in WNIDS))
    return root


IMAGENET = {
    "class folders": imagenet_class_folders,
    "development kit": imagenet_devkit,
    "caffe": imagenet_caffe,
    "matconvnet": imagenet_matconvnet,
    "kaggle": imagenet_kaggle,
}
"""ImageNet's layouts: name -> what builds one with `count` images in a folder."""


# --- PASCAL VOC ---


def truth_of(seed: int, height: int, width: int) -> np.ndarray:
    """Three classes in blocks, with a border of void between them."""
    generator = np.random.default_rng(1000 + seed)
    classes = np.zeros((height, width), np.uint8)
    first, second = (int(k) for k in generator.choice(np.arange(1, 21), 2, replace=False))
    classes[height // 4 : height // 2, width // 5 : width // 2] = first
    classes[height // 2 : -3, width // 3 : -5] = second
    classes[height // 2, :] = 255
    return classes


def voc_palette() -> list[int]:
    """VOC's colour of each value: three bits of it a round, red first, from the highest bit down."""
    colors = []
    for value in range(256):
        for channel in range(3):
            colors.append(sum(((value >> (3 * place + channel)) & 1) << (7 - place) for place in range(3)))
    return colors


def voc(root: Path, year: str = "2012", train: int = 3, val: int = 5) -> Path:
    """VOCdevkit/VOC<year> with JPEGImages, SegmentationClass and ImageSets/Segmentation; sizes differ."""
    home = root / "VOCdevkit" / f"VOC{year}"
    names = [f"2007_{33 + 9 * k:06d}" for k in range(train + val)]
    lists = {"train": names[:train], "val": names[train:], "trainval": names}
    for folder in ("SegmentationClass", "ImageSets/Segmentation", "ImageSets/Main"):
        (home / folder).mkdir(parents=True)
    for part, listed in lists.items():
        (home / "ImageSets" / "Segmentation" / f"{part}.txt").write_text("".join(f"{name}\n" for name in listed))
    (home / "ImageSets" / "Main" / "aeroplane_val.txt").write_text("".join(f"{name} -1\n" for name in names))
    for seed, name in enumerate(names):
        height, width = 40 + 3 * seed, 56 - 2 * seed
        save_photo(home / "JPEGImages" / f"{name}.jpg", seed, height, width)
        classes = Image.fromarray(truth_of(seed, height, width))
        classes.putpalette(voc_palette())
        classes.save(home / "SegmentationClass" / f"{name}.png")
    save_photo(home / "JPEGImages" / "2011_999999.jpg", 999)  # an image without a segmentation
    return root


def sbd(root: Path, train: Sequence[str], val: Sequence[str]) -> Path:
    """SBD's benchmark_RELEASE: its lists, and the folder of its segmentations."""
    dataset = root / "benchmark_RELEASE" / "dataset"
    (dataset / "cls").mkdir(parents=True)
    (dataset / "train.txt").write_text("".join(f"{name}\n" for name in train))
    (dataset / "val.txt").write_text("".join(f"{name}\n" for name in val))
    return root


# --- LFW ---


def lfw(root: Path, folds: int = 10, each: int = 2, folder: str = "lfw", ending: str = "jpg") -> Path:
    """lfw/Some_Name/Some_Name_0001.jpg and pairs.txt: `folds` folds of `each` pairs of one person, and of two."""
    people = [f"Person_{chr(65 + k // 26)}{chr(97 + k % 26)}" for k in range(2 * each * folds)]
    for seed, person in enumerate(people):
        for number in (1, 2):
            path = root / folder / person / f"{person}_{number:04d}.{ending}"
            save_photo(path, 10 * seed + number, 50, 50)
    lines = [f"{folds}\t{each}"]
    for fold in range(folds):
        mine = people[2 * each * fold : 2 * each * (fold + 1)]
        lines += [f"{person}\t1\t2" for person in mine[:each]]
        lines += [f"{mine[k]}\t2\t{mine[each + k]}\t1" for k in range(each)]
    (root / "pairs.txt").write_text("".join(f"{line}\n" for line in lines))
    return root


def moved(source: Path, target: Path) -> Path:
    """A data set under another name."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(source, target)
    return target
