"""PASCAL VOC's segmentations: parts, the reduced parts that FCN is measured on, and what is refused."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from matnet.datasets import SegmentationSet, load, load_voc
from matnet.errors import DataError
from tests.helpers import assert_line
from tests.stand_ins import moved, sbd, truth_of, voc, voc_palette

NAMES = [f"2007_{33 + 9 * k:06d}" for k in range(8)]  # of the stand-in: three to train, five to validate


def names(images: SegmentationSet) -> list[str]:
    return [path.stem for path in images.images]


@pytest.mark.parametrize(
    ("split", "expected"), [("train", NAMES[:3]), ("val", NAMES[3:]), ("trainval", NAMES)], ids=lambda value: str(value)
)
def test_parts(split: str, expected: list[str], tmp_path: Path) -> None:
    images = load_voc(voc(tmp_path), split=split)
    images.check()
    assert names(images) == expected == [path.stem for path in images.labels]
    assert (images.name, len(images), images.void) == (f"VOC 2012 {split}", len(expected), 255)
    assert images.list_sha256 == hashlib.sha256("".join(f"{name}\n" for name in expected).encode()).hexdigest()


def test_truth_is_the_value_and_not_the_colour(tmp_path: Path) -> None:
    images = load_voc(voc(tmp_path))
    for index in range(len(images)):
        found, seed = images.truth(index), index + 3
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found, truth_of(seed, 40 + 3 * seed, 56 - 2 * seed))


def test_the_stand_ins_palette_is_vocs() -> None:
    """Expected: the colours of VOC's documentation (aeroplane 128 0 0, ..., tvmonitor 0 64 128, void 224 224 192)."""
    palette = np.array(voc_palette()).reshape(256, 3)
    np.testing.assert_array_equal(
        palette[[0, 1, 2, 15, 20, 255]],
        [[0, 0, 0], [128, 0, 0], [0, 128, 0], [192, 128, 128], [0, 64, 128], [224, 224, 192]],
    )


@pytest.mark.parametrize("inner", ["", "VOCdevkit", "VOCdevkit/VOC2012"])
def test_from_whichever_folder(inner: str, tmp_path: Path) -> None:
    assert names(load_voc(voc(tmp_path) / inner)) == NAMES[3:]


def test_as_the_archive_of_2011_unpacks(tmp_path: Path) -> None:
    moved(voc(tmp_path / "x", year="2011") / "VOCdevkit", tmp_path / "TrainVal" / "VOCdevkit")
    assert load_voc(tmp_path).name == "VOC 2011 val"


def test_years_beside_each_other(tmp_path: Path) -> None:
    voc(tmp_path, year="2011", val=4)
    voc(tmp_path, year="2012", val=5)
    assert [len(load_voc(tmp_path, year=year)) for year in ("2011", "2012")] == [4, 5]
    with pytest.raises(DataError, match=r"VOC2011, VOC2012.*year"):
        load_voc(tmp_path)


def test_a_folder_under_another_name_is_of_the_year_that_is_asked_for(tmp_path: Path) -> None:
    home = moved(voc(tmp_path / "x", "2011") / "VOCdevkit" / "VOC2011", tmp_path / "VOC-copy")
    (home / "seg11valid.txt").write_text(f"{NAMES[3]}\n")
    assert [load_voc(home, year).name for year in ("2011", "2012")] == ["VOC 2011 val", "VOC 2012 val"]
    assert names(load_voc(home, split="rv-voc11")) == [NAMES[3]]


def test_a_list_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "some.txt").write_text(f"{NAMES[6]}\n{NAMES[1]}  1\n\n")
    images = load_voc(voc(tmp_path), split=tmp_path / "some.txt")
    assert (names(images), images.name) == ([NAMES[6], NAMES[1]], "VOC 2012 some")


@pytest.mark.process
def test_other_counts_are_told(tmp_path: Path) -> None:
    """Expected: VOC's own counts, 1449 of 2012 and 1111 of 2011; 736 in seg11valid, 346 in neither part of SBD."""
    told = {}
    for year, split in [("2012", "val"), ("2011", "val"), ("2011", "rv-voc11"), ("2012", "rv-voc12")]:
        root = tmp_path / f"{year}{split}"
        sbd(voc(root, year), NAMES[:5], [NAMES[5]])
        told[split, year] = load_voc(root, split=split).notes[-1].rpartition(" ")[2]
    assert told == {
        ("val", "2012"): "1449",
        ("val", "2011"): "1111",
        ("rv-voc11", "2011"): "736",
        ("rv-voc12", "2012"): "346",
    }


# --- the reduced parts ---


def test_rv_voc11_is_val_without_sbds_train(tmp_path: Path) -> None:
    sbd(voc(tmp_path, "2011"), train=[NAMES[1], NAMES[4], NAMES[6]], val=[NAMES[5]])
    images = load_voc(tmp_path, split="rv-voc11")
    assert names(images) == [NAMES[3], NAMES[5], NAMES[7]]
    assert images.name == "RV-VOC11"
    assert "SBD's train.txt" in images.notes[0]


def test_rv_voc12_is_val_without_sbds_train_and_val(tmp_path: Path) -> None:
    sbd(tmp_path / "elsewhere", train=[NAMES[4]], val=[NAMES[5]])
    voc(tmp_path, "2012")
    for place in ("elsewhere", "elsewhere/benchmark_RELEASE/dataset"):
        images = load_voc(tmp_path, split="rv-voc12", sbd=tmp_path / place)
        assert (names(images), images.name) == ([NAMES[3], NAMES[6], NAMES[7]], "RV-VOC12")


def test_the_authors_list_needs_no_sbd(tmp_path: Path) -> None:
    home = voc(tmp_path, "2011") / "VOCdevkit" / "VOC2011"
    (home / "ImageSets" / "Segmentation" / "seg11valid.txt").write_text(f"{NAMES[7]}\n{NAMES[3]}\n")
    assert names(load_voc(tmp_path, split="rv-voc11")) == [NAMES[7], NAMES[3]]


# --- what is refused ---


def no_sbd(root: Path, home: Path) -> None:
    (home / "ImageSets" / "Segmentation" / "seg11valid.txt").unlink(missing_ok=True)


def missing_files(root: Path, home: Path) -> None:
    (home / "JPEGImages" / f"{NAMES[3]}.jpg").unlink()
    (home / "SegmentationClass" / f"{NAMES[5]}.png").unlink()


def no_list(root: Path, home: Path) -> None:
    (home / "ImageSets" / "Segmentation" / "val.txt").unlink()


def strange_names(root: Path, home: Path) -> None:
    (home / "ImageSets" / "Segmentation" / "val.txt").write_text(f"../{NAMES[0]}\n{NAMES[1]}\n{NAMES[1]}\n")


def no_segmentations(root: Path, home: Path) -> None:
    moved(home / "SegmentationClass", root / "away")


REFUSED = [
    (no_sbd, {"split": "rv-voc11"}, r"rv-voc11 is VOC 2011 val without SBD.*put seg11valid.txt, or SBD's"),
    (no_sbd, {"split": "rv-voc12"}, "no folder VOC2012 with JPEGImages"),
    (no_sbd, {"split": "rv-voc12", "year": "2011"}, "rv-voc12 is a part of VOC 2012, not of VOC 2011"),
    (missing_files, {}, rf"missing \(2\):\n  JPEGImages/{NAMES[3]}.jpg\n  .*/{NAMES[5]}.png"),
    (no_list, {}, "val.txt: no such list of images"),
    (strange_names, {}, rf"folders \(2\):\n  ../{NAMES[0]}\n  {NAMES[1]}"),
    (no_segmentations, {}, "no folder VOC2012 with JPEGImages, SegmentationClass"),
    (no_sbd, {"split": "test"}, "test.txt: no such list of images"),
]


@pytest.mark.parametrize(("damage", "options", "message"), REFUSED)
def test_what_cannot_be_used_is_named(
    damage: Callable[[Path, Path], None], options: dict[str, str], message: str, tmp_path: Path
) -> None:
    damage(voc(tmp_path, "2011"), tmp_path / "VOCdevkit" / "VOC2011")
    with pytest.raises(DataError, match=message):
        load_voc(tmp_path, **options)


def test_label_images_are_checked_before_anything_runs(tmp_path: Path) -> None:
    images = load_voc(voc(tmp_path))
    high, size, colour, page = images.labels[:4]
    values = np.array(Image.open(high))
    values[0, :2] = [21, 200]
    Image.fromarray(values).save(high)
    Image.fromarray(np.array(Image.open(size))[:-1]).save(size)
    Image.open(colour).convert("RGB").save(colour)
    page.write_text("<html>")
    with pytest.raises(DataError) as error:
        images.check()
    lines = str(error.value).splitlines()
    for line, facts in zip(lines, (("VOC 2012 val", "(4)"), ("21, 200", "0 to 20", "255"), ("48 x 51", "48 x 52"),
                                   ("RGB",), ("cannot be read",)), strict=True):  # fmt: skip
        assert_line(line, *facts)


def test_head_and_recognition(tmp_path: Path) -> None:
    images = load(voc(tmp_path))
    assert isinstance(images, SegmentationSet)
    assert_line(images.notes[-1], "voc", "JPEGImages", "SegmentationClass")
    head = images.head(2)
    assert (names(head), head.notes[-1]) == (NAMES[3:5], "only the first 2 of 5 images")
    assert len(head.labels) == 2
    assert head.list_sha256 != images.list_sha256
    assert images.head(5) is images
