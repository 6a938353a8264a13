"""Faults of data sets: named, counted, and refused by the command before the network computes an image."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np
import pytest
from PIL import Image

import matnet
from matnet import eval as eval_command
from matnet.command_line import run_command
from matnet.datasets import load_bsds, load_context, load_nyud, load_sift_flow, load_voc, load_voc_objects
from matnet.datasets.voc import VOC_CLASSES, SegmentationSet
from matnet.evaluation.label_images import write_label_image
from matnet.evaluation.runner import Runner
from matnet.formats.mat import read_mat, write_mat
from matnet.formats.mat.values import Cell
from tests.helpers import assert_line
from tests.small_sets import (
    BOXES,
    COCO_BOXES,
    LEVELS,
    PROPOSALS,
    annotation,
    bsds,
    cifar10,
    cifar10_lists,
    coco,
    context,
    nyud,
    sift_flow,
    voc2007,
    voc2011,
    write_proposals,
)
from tests.tiny_models import colour_detector, colour_hash, gray_edges, gray_segmenter

Change = Callable[[Path], object]


class Set(NamedTuple):
    """How a small set is made and evaluated; options in which DATA stands for its path."""

    made: Callable[[Path], Path]
    options: tuple[str, ...]
    net: Callable[[], Any]


def segmenter() -> Any:
    return gray_segmenter(LEVELS, VOC_CLASSES)


BOXED = ("--task", "detection", "--proposals", f"DATA/{PROPOSALS}")
SETS = {
    "VOC": Set(voc2011, ("--split", "rv-voc11"), segmenter),
    "SIFT Flow": Set(sift_flow, ("--task", "segmentation"), segmenter),
    "geometric": Set(sift_flow, ("--task", "segmentation", "--kind", "geometric"), segmenter),
    "NYUDv2": Set(nyud, ("--task", "segmentation"), segmenter),
    "PASCAL-Context": Set(context, ("--task", "segmentation"), segmenter),
    "VOC objects": Set(voc2007, BOXED, colour_detector),
    "COCO": Set(coco, BOXED, colour_detector),
    "BSDS500": Set(bsds, ("--task", "edges"), gray_edges),
    "CIFAR-10": Set(cifar10, ("--task", "retrieval"), colour_hash),
    "CIFAR-10 lists": Set(cifar10_lists, ("--task", "retrieval"), colour_hash),
}


def proposed(boxes: dict[str, Any]) -> Change:
    return lambda home: write_proposals(home / PROPOSALS, boxes)


def unnamed(count: int) -> Change:
    return lambda home: write_mat(home / PROPOSALS, {"boxes": Cell([np.ones((3, 4))] * count)})


def listed(file: str, text: str) -> Change:
    """The list of a split with further lines."""

    def change(root: Path) -> None:
        with (root / file).open("a") as lines:
            lines.write(text)

    return change


def labelled(pattern: str, variable: str, value: float) -> Change:
    """All pixels of the first label file are `value`."""

    def change(root: Path) -> None:
        file = next(root.rglob(pattern))
        write_mat(file, {variable: np.full_like(read_mat(file)[variable], value)})

    return change


def coloured(root: Path) -> None:
    """A label image of colours of which one is none of VOC's."""
    file = root / "VOC2011" / "SegmentationClass" / "2011_000002.png"
    Image.new("RGB", Image.open(file).size, (1, 2, 3)).save(file)


def valued(value: int) -> Change:
    def change(root: Path) -> None:
        file = next(root.rglob("2011_000002.png"))
        write_label_image(file, np.full_like(np.array(Image.open(file)), value))

    return change


def without_objects(*names: str) -> Change:
    def change(home: Path) -> None:
        for name in names:
            height, width = {"000001": (30, 40), "000002": (40, 30)}[name]
            (home / "VOC2007" / "Annotations" / f"{name}.xml").write_text(annotation(height, width, []))

    return change


def instances(change: Callable[[dict[str, Any]], object]) -> Change:
    def changed(home: Path) -> None:
        file = home / "annotations" / "instances_val2014.json"
        record = json.loads(file.read_text())
        change(record)
        file.write_text(json.dumps(record))

    return changed


def drawn(value: float, *names: str) -> Change:
    def change(root: Path) -> None:
        for name in names:
            people = Cell([{"Boundaries": np.full((100, 120), value)}])
            write_mat(root / "BSDS500" / "data" / "groundTruth" / "test" / f"{name}.mat", {"groundTruth": people})

    return change


def unlinked(pattern: str) -> Change:
    return lambda root: next(root.rglob(pattern)).unlink()


def zipped(pattern: str) -> Change:
    def change(root: Path) -> None:
        with zipfile.ZipFile(next(root.rglob(pattern)), "w") as archive:
            archive.writestr("a.txt", "a")

    return change


def dangling(place: str) -> Change:
    """A link to no file in the place of an image of VOC."""

    def change(home: Path) -> None:
        file = home / "VOC2007" / place
        file.unlink()
        file.symlink_to("nowhere.jpg")

    return change


def folder_of(place: str) -> Change:
    def change(home: Path) -> None:
        (home / "VOC2007" / place).unlink()
        (home / "VOC2007" / place).mkdir()

    return change


def sized(*texts: str) -> Change:
    """Each second text in the place of the one before it, in an annotation of VOC."""

    def change(home: Path) -> None:
        file = home / "VOC2007" / "Annotations" / "000001.xml"
        found = file.read_text()
        for before, after in zip(texts[::2], texts[1::2], strict=True):
            assert before in found
            found = found.replace(before, after)
        file.write_text(found)

    return change


def query_labels(root: Path) -> None:
    file = root / "cifar-10-batches-bin" / "test_batch.bin"
    file.write_bytes(b"\x07" + file.read_bytes()[1:])


FIRST, SECOND = COCO_BOXES
FAULTS: list[tuple[str, Change, tuple[str, ...]]] = [
    # --- proposals of another image set ---
    ("VOC objects", proposed({"000005": BOXES["000001"]}), ("this data set", "2 of 2 images", "000001")),
    ("VOC objects", unnamed(3), ("3 images", "the list has 2", "this data set")),
    ("COCO", proposed({"000005": BOXES["000001"], SECOND: COCO_BOXES[SECOND]}), ("this data set", "1 of 2", FIRST)),
    ("COCO", unnamed(1), ("1 images", "the list has 2", "this data set")),
    # --- boxes outside the image ---
    ("VOC objects", proposed({**BOXES, "000002": ((3, 5, 31, 14),)}), ("(1)", "000002: 1 of 1", "3 5 31 14")),
    ("VOC objects", proposed({**BOXES, "000002": ((0, 5, 3, 14),)}), ("(1)", "000002: 1 of 1", "0 5 3 14")),
    ("COCO", proposed({**COCO_BOXES, FIRST: ((1, 1, 41, 3), (1, 1, 2, 2))}), ("(1)", f"{FIRST}: 1 of 2")),
    ("VOC objects", sized("<xmin>11<", "<xmin>61<", "<xmax>20<", "<xmax>70<"), ("(1)", "000001")),
    ("COCO", instances(lambda record: record["annotations"][0].update(bbox=[1000, 1, 5, 5])), ("(1)", FIRST)),
    # --- empty proposal lists ---
    ("VOC objects", proposed({**BOXES, "000001": ()}), ("(1)", "000001: no proposals")),
    ("COCO", proposed({FIRST: (), SECOND: ()}), ("(2)", f"{FIRST}: no proposals", f"{SECOND}: no proposals")),
    # --- annotations without a single object ---
    ("VOC objects", without_objects("000001", "000002"), ("without objects that count: all 2", "VOC 2007 test")),
    (
        "VOC objects",
        lambda home: [without_objects("000002")(home), sized("<difficult>0", "<difficult>1")(home)],
        ("without objects that count: all 2", "VOC 2007 test"),
    ),
    ("COCO", instances(lambda record: record.update(annotations=[])), ("annotations: none",)),
    (
        "COCO",
        instances(lambda record: [item.update(iscrowd=1) for item in record["annotations"]]),
        ("without objects that count: all 2", "COCO val2014"),
    ),
    ("SIFT Flow", labelled("SemanticLabels/*/*.mat", "S", 0), ("only void pixels", "all 1", "SIFT Flow test")),
    ("geometric", labelled("GeoLabels/*/*.mat", "S", -1), ("only void pixels", "all 1", "SIFT Flow test")),
    ("NYUDv2", labelled("img_5001.mat", "segmentation", 0), ("only void pixels", "all 1", "NYUDv2 test")),
    ("BSDS500", drawn(False, "1", "2"), ("without boundaries: all 2", "BSDS500 test")),
    ("CIFAR-10", query_labels, ("(1)", "no database image has", "label 7")),
    ("CIFAR-10 lists", lambda root: (root / "test-label.txt").write_text("5\n5\n"), ("(2)", "label 5")),
    ("CIFAR-10 lists", lambda root: (root / "test-label.txt").write_text(f"0\n{'9' * 30}\n"), ("(1)", "line 2")),
    # --- label images with unknown colours ---
    ("VOC", coloured, ("(1)", "000002.png", "RGB")),
    ("VOC", valued(21), ("(1)", "000002.png", "pixel values 21")),
    ("SIFT Flow", labelled("SemanticLabels/*/*.mat", "S", 34), ("(1)", "coast_1.mat", "pixel values 34")),
    ("geometric", labelled("GeoLabels/*/*.mat", "S", 4), ("(1)", "coast_1.mat", "pixel values 4")),
    ("NYUDv2", labelled("img_5001.mat", "segmentation", 41), ("(1)", "img_5001.mat", "pixel values 41")),
    ("PASCAL-Context", labelled("2008_000001.mat", "LabelMap", 460), ("(1)", "2008_000001.mat", "values 460")),
    ("PASCAL-Context", listed("labels.txt", "2: zebra\n"), ("labels.txt", "several classes (1)", "2")),
    # --- files of another kind ---
    ("NYUDv2", zipped("img_5001.mat"), ("(1)", "img_5001.mat: is a zip archive", "variable segmentation")),
    ("VOC objects", zipped(PROPOSALS), (f"{PROPOSALS}: is a zip archive", "variable boxes")),
    # --- a split that lists missing images ---
    (
        "VOC",
        listed("VOC2011/ImageSets/Segmentation/seg11valid.txt", "\n000009\n"),
        ("(2)", "JPEGImages/000009.jpg", "SegmentationClass/000009.png"),
    ),
    ("VOC objects", listed("VOC2007/ImageSets/Main/test.txt", "000009\n"), ("(2)", "000009.jpg", "000009.xml")),
    ("COCO", unlinked("*000000000007.jpg"), ("1 of 2 images are missing", "000000000007.jpg")),
    ("SIFT Flow", listed("test.txt", "coast_2\n"), ("(2)", "coast_2.jpg", "coast_2.mat")),
    ("NYUDv2", listed("test.txt", "5002\n"), ("(2)", "img_5002.png", "img_5002.mat")),
    (
        "PASCAL-Context",
        listed("../VOCdevkit/VOC2010/ImageSets/Main/val.txt", "\n2008_000002\n"),
        ("(2)", "2008_000002.jpg", "2008_000002.mat"),
    ),
    ("BSDS500", unlinked("images/test/2.jpg"), ("boundary files without an image (1)", "2.mat")),
    ("BSDS500", unlinked("groundTruth/test/2.mat"), ("1 of 2 images have no boundaries", "2.jpg")),
    ("CIFAR-10", unlinked("data_batch_1.bin"), ("(1)", "label 0")),
    ("CIFAR-10 lists", unlinked("train2.png"), ("1 of 5 images are missing", "train2.png")),
    ("VOC objects", dangling("JPEGImages/000002.jpg"), ("(1)", "000002.jpg")),
    ("VOC objects", folder_of("JPEGImages/000001.jpg"), ("(1)", "000001.jpg")),
    # --- annotations of an image of another size ---
    ("VOC objects", sized("<height>30", "<height>31"), ("(1)", "000001.jpg", "40 x 31", "40 x 30")),
    (
        "COCO",
        instances(lambda record: [image.update(width=image["width"] + 1) for image in record["images"]]),
        ("(2)", f"{FIRST}.jpg: 41 x 30", f"{SECOND}.jpg: 31 x 40"),
    ),
    ("VOC objects", lambda home: (home / "VOC2007/JPEGImages/000002.jpg").write_bytes(b"x"), ("(1)", "000002.jpg")),
    # --- annotations of no image ---
    ("VOC objects", sized("<width>40", "<width>0"), ("(1)", "000001.xml", "0 x 30")),
    ("VOC objects", sized("<height>30", "<height>-30"), ("(1)", "000001.xml", "40 x -30")),
    ("VOC objects", sized("<width>40", "<width>40.5"), ("(1)", "000001.xml", "40.5 x 30")),
    ("VOC objects", sized("<difficult>1", "<difficult>yes"), ("(1)", "000001.xml", "'yes'")),
    ("BSDS500", drawn(float("nan"), "1"), ("(1)", "1.mat")),
    # --- a split that lists an image twice ---
    ("VOC", listed("VOC2011/ImageSets/Segmentation/seg11valid.txt", "\n2011_000002\n"), ("(1)", "2011_000002")),
    ("SIFT Flow", listed("test.txt", "coast_1\n"), ("(1)", "more than once", "coast_1")),
    ("NYUDv2", listed("test.txt", "5001\n"), ("(1)", "more than once", "5001")),
]


@pytest.mark.parametrize(("name", "change", "facts"), FAULTS)
def test_the_command_refuses_it_before_anything_runs(
    name: str,
    change: Change,
    facts: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def computes(*_: Any) -> NoReturn:
        raise AssertionError("an image was computed")

    monkeypatch.setattr(Runner, "count", computes)
    kind = SETS[name]
    matnet.save(kind.net(), tmp_path / "own.mat")
    data = kind.made(tmp_path / "data")
    change(data)
    options = [option.replace("DATA", str(data)) for option in kind.options]
    command = ["--model", str(tmp_path / "own.mat"), "--data", str(data), *options, "--backend", "numpy", "--quiet"]
    assert run_command(eval_command.main, command) == 2
    text = capsys.readouterr().err
    assert all(fact in text for fact in facts), text


def test_an_image_that_its_exif_data_turn_may_be_annotated_as_it_is_seen(tmp_path: Path) -> None:
    """With --exif; without it, the run says that this image has another size."""
    home = voc2007(tmp_path)
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    for name, kept in (("000001", {"exif": exif}), ("000002", {})):
        file = home / "VOC2007" / "JPEGImages" / f"{name}.jpg"
        Image.open(file).transpose(Image.Transpose.ROTATE_90).save(file, format="PNG", **kept)
    with pytest.raises(matnet.DataError, match=r"\(1\):\n.*000002.jpg"):
        load_voc_objects(home).check()


# --- what some images lack, and others do not, is a note ---


def two_in_nyud(root: Path) -> None:
    """A second image, none of whose pixels counts."""
    for name in ("data/images/img_5002.png", "segmentation/img_5002.mat"):
        (root / name).write_bytes((root / name.replace("5002", "5001")).read_bytes())
    labelled("img_5002.mat", "segmentation", 0)(root)
    listed("test.txt", "5002\n")(root)


@pytest.mark.parametrize(
    ("made", "change", "load", "fact"),
    [
        (voc2011, valued(255), lambda path: load_voc(path, split="rv-voc11"), "000002.png"),
        (nyud, two_in_nyud, load_nyud, "img_5002.mat"),
        (bsds, drawn(False, "2"), load_bsds, "2.jpg"),
    ],
)
def test_images_without_annotations_are_named_and_counted(
    made: Callable[[Path], Path], change: Change, load: Callable[[Path], Any], fact: str, tmp_path: Path
) -> None:
    root = made(tmp_path)
    before = load(root)
    assert before.check().notes == before.notes
    change(root)
    assert_line(load(root).check().notes[-1], "(1)", fact)


def test_context_counts_background_as_a_class(tmp_path: Path) -> None:
    """Also where all pixels are of classes that do not belong to the 59."""
    root = context(tmp_path)
    labelled("2008_000001.mat", "LabelMap", 1)(root)
    found: SegmentationSet = load_context(root).check()
    assert not any("no pixel" in note for note in found.notes)


def test_geometric_labels_count_what_is_no_class(tmp_path: Path) -> None:
    """Numbers -1 and 0 are no class in GeoLabels, and -1 is refused in SemanticLabels."""
    root = sift_flow(tmp_path)
    labelled("SemanticLabels/*/*.mat", "S", -1)(root)
    with pytest.raises(matnet.DataError, match="pixel values -1"):
        load_sift_flow(root).check()
