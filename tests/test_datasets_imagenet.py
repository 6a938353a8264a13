"""ImageNet in the layouts that people have: one list whatever the layout, labels by WordNet id, faults named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from matnet.datasets import ImageList, class_order, load, load_imagenet, load_images
from matnet.datasets.ilsvrc2012 import synsets
from matnet.datasets.synsets import read_synsets
from matnet.errors import DataError
from matnet.formats.mat import write_mat
from tests import stand_ins
from tests.helpers import assert_line
from tests.stand_ins import DEVKIT, IMAGENET, WNIDS, labels_of, val_images, val_names


def wnids(images: ImageList) -> list[str]:
    assert images.class_names is not None
    return [images.class_names[label] for label in images.labels]


def truth(count: int) -> list[str]:
    return [WNIDS[label] for label in labels_of(count)]


def touched(folder: Path, *names: str) -> Path:
    """Empty files: nothing here decodes an image."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


# --- the layouts ---


@pytest.mark.process
@pytest.mark.parametrize("layout", IMAGENET)
def test_every_layout_gives_the_same_list(layout: str, tmp_path: Path) -> None:
    images = load_imagenet(IMAGENET[layout](tmp_path / "here", 12))
    other = load_imagenet(IMAGENET["class folders"](tmp_path / "there", 12))
    assert [path.name for path in images.paths] == val_names(12)
    assert all(path.is_file() for path in images.paths)
    assert wnids(images) == truth(12)
    assert images.class_names == tuple(sorted(images.class_names or ()))
    assert (images.name, images.list_sha256) == ("ILSVRC-2012 val", other.list_sha256)
    assert "12 of the 50,000 images of ILSVRC-2012 val" in images.notes


@pytest.mark.process
@pytest.mark.parametrize("layout", IMAGENET)
@pytest.mark.parametrize("order", [WNIDS, DEVKIT, WNIDS[::-1]], ids=["sorted", "development kit", "reversed"])
def test_labels_count_in_the_networks_order(layout: str, order: tuple[str, ...], tmp_path: Path) -> None:
    aligned = load_imagenet(IMAGENET[layout](tmp_path, 12)).align(order)
    assert [order[label] for label in aligned.labels] == truth(12)


@pytest.mark.process
@pytest.mark.parametrize(
    ("layout", "inner"),
    [("development kit", "val"), ("caffe", "val"), ("matconvnet", "images/val"), ("class folders", "val")],
)
def test_the_folder_of_the_images_itself_will_do(layout: str, inner: str, tmp_path: Path) -> None:
    IMAGENET[layout](tmp_path, 12)
    if layout == "matconvnet":
        stand_ins.moved(tmp_path / "ILSVRC2014_devkit", tmp_path / "images" / "ILSVRC2014_devkit")
    assert wnids(load_imagenet(tmp_path / inner)) == truth(12)


def test_labels_and_classes_from_elsewhere(tmp_path: Path) -> None:
    IMAGENET["caffe"](tmp_path / "a", 12)
    lists = stand_ins.moved(tmp_path / "a" / "ilsvrc12", tmp_path / "far" / "lists")
    synsets = stand_ins.moved(lists / "synset_words.txt", tmp_path / "farther" / "classes.txt")
    for labels in (lists, lists / "val.txt"):
        assert wnids(load_imagenet(tmp_path / "a", labels=labels, synsets=synsets)) == truth(12)


@pytest.mark.process
def test_labels_that_were_named_go_before_others(tmp_path: Path) -> None:
    root = IMAGENET["development kit"](tmp_path, 3)
    (root / "mine").mkdir()
    (root / "mine" / "val.txt").write_text("".join(f"{name} {WNIDS[5]}\n" for name in val_names(3)))
    assert wnids(load_imagenet(root)) == truth(3)
    assert wnids(load_imagenet(root, labels=root / "mine")) == [WNIDS[5]] * 3


def test_tensorflows_list_of_ids(tmp_path: Path) -> None:
    val_images(tmp_path / "val", 5)
    (tmp_path / "imagenet_2012_validation_synset_labels.txt").write_text("\n".join(truth(5)))
    assert wnids(load_imagenet(tmp_path)) == truth(5)


def test_images_that_are_named_by_their_class(tmp_path: Path) -> None:
    """As in the training set, and in collections of one image per class."""
    images = load_imagenet(touched(tmp_path, "n00000007_10.JPEG", "n00000014_toilet_tissue.JPEG", "n00000007_2.JPEG"))
    assert wnids(images) == ["n00000007", "n00000007", "n00000014"]


def test_the_training_set_and_names_after_ids(tmp_path: Path) -> None:
    touched(tmp_path / "train", "n01440764_tench/n01440764_10026.JPEG", "n01443537/n01443537_2.JPEG")
    images = load_imagenet(tmp_path, split="train")
    assert (wnids(images), images.name) == (["n01440764", "n01443537"], "ILSVRC-2012 train")


@pytest.mark.process
def test_a_caffe_list_without_its_own_classes_counts_in_sorted_ones(tmp_path: Path) -> None:
    """Caffe's order is sorted by WordNet id, and so it is however the development kit beside it counts."""
    IMAGENET["caffe"](tmp_path, 12)
    (tmp_path / "ilsvrc12" / "synset_words.txt").unlink()
    stand_ins.devkit(tmp_path / "ILSVRC2012_devkit_t12", 12)
    (tmp_path / "ILSVRC2012_devkit_t12" / "data" / "ILSVRC2012_validation_ground_truth.txt").unlink()
    assert wnids(load_imagenet(tmp_path)) == truth(12)


@pytest.mark.process
def test_the_blacklist_is_left_out_as_in_matconvnet(tmp_path: Path) -> None:
    IMAGENET["matconvnet"](tmp_path, 6)
    (tmp_path / "ILSVRC2014_devkit" / "data" / "ILSVRC2014_clsloc_validation_blacklist.txt").write_text("2\n5\n")
    images = load_imagenet(tmp_path)
    kept = [0, 2, 3, 5]
    assert [path.name for path in images.paths] == [val_names(6)[k] for k in kept]
    assert wnids(images) == [truth(6)[k] for k in kept]
    assert_line(images.notes, "2 images", "blacklist")


@pytest.mark.process
def test_a_part_of_the_images_with_the_whole_ground_truth(tmp_path: Path) -> None:
    """The number in an image's name tells its line, not its place among those that are there."""
    IMAGENET["development kit"](tmp_path, 12)
    for name in val_names(12)[:4]:
        (tmp_path / "val" / name).unlink()
    assert wnids(load_imagenet(tmp_path)) == truth(12)[4:]


def test_a_list_of_a_part_of_the_images(tmp_path: Path) -> None:
    IMAGENET["caffe"](tmp_path, 12)
    lines = (tmp_path / "ilsvrc12" / "val.txt").read_text().splitlines()
    (tmp_path / "ilsvrc12" / "val.txt").write_text("\n".join(lines[3:7]))
    images = load_imagenet(tmp_path)
    assert wnids(images) == truth(12)[3:7]
    assert_line(images.notes, "8 images", "list")


# --- what is refused ---


def no_labels(root: Path) -> None:
    val_images(root / "val", 2)


def no_classes(root: Path) -> None:
    IMAGENET["caffe"](root, 3)
    (root / "ilsvrc12" / "synset_words.txt").unlink()


def no_meta(root: Path) -> None:
    IMAGENET["development kit"](root, 3)
    (root / "ILSVRC2012_devkit_t12" / "data" / "meta.mat").unlink()


def sorted_classes_for_the_kit(root: Path) -> None:
    no_meta(root)
    (root / "map_clsloc.txt").write_text("".join(f"{wnid} {k} x\n" for k, wnid in enumerate(WNIDS, 1)))


def missing_images(root: Path) -> None:
    IMAGENET["caffe"](root, 6)
    for name in val_names(6)[1:3]:
        (root / "val" / name).unlink()


def out_of_range(root: Path) -> None:
    IMAGENET["caffe"](root, 3)
    names = val_names(3)
    (root / "ilsvrc12" / "val.txt").write_text(f"{names[0]} 0\n{names[1]} 1000\n{names[2]} 1001\n")


def kit_out_of_range(root: Path) -> None:
    IMAGENET["development kit"](root, 3)
    (root / "ILSVRC2012_devkit_t12" / "data" / "ILSVRC2012_validation_ground_truth.txt").write_text("1\n0\n1000\n")


def no_line_for_an_image(root: Path) -> None:
    IMAGENET["development kit"](root, 4)
    touched(root / "val", "ILSVRC2012_val_00000005.JPEG")


def other_names(root: Path) -> None:
    IMAGENET["development kit"](root, 4)
    touched(root / "val", "holiday.jpg")


def two_labels(root: Path) -> None:
    IMAGENET["caffe"](root, 3)
    name = val_names(3)[0]
    (root / "ilsvrc12" / "val.txt").write_text(f"{name} 0\nval/{name} 1\n")


def not_a_list(root: Path) -> None:
    IMAGENET["caffe"](root, 3)
    (root / "ilsvrc12" / "val.txt").write_text(f"{val_names(1)[0]} 0\nnothing\nhere either\n")


def empty_classes(root: Path) -> None:
    IMAGENET["class folders"](root, 3)
    for name in ("n00000001", "n00000002_x"):
        (root / "val" / name).mkdir()


def twice_a_class(root: Path) -> None:
    touched(root / "val", "n00000001/a.jpg", "n00000001_fish/b.jpg")


def nothing(root: Path) -> None:
    touched(root / "val", "cats/1.png")


REFUSED = [
    (no_labels, "no labels for its images: found none of LOC_val_solution.csv"),
    (no_classes, r"val.txt: labels are numbers.*put synsets.txt or synset_words.txt"),
    (no_meta, r"ground_truth.txt: labels are the development kit's numbers.*put meta_clsloc.mat"),
    (sorted_classes_for_the_kit, "map_clsloc.txt: sorted by WordNet id, but ILSVRC2012_validation_ground_truth"),
    (missing_images, r"val.txt: 2 of its 6 images are not in .*\n  ILSVRC2012_val_00000002\n  ILSVRC2012_val_00000003"),
    (out_of_range, r"not 0 to 999 \(2\):\n.*2.JPEG: 1000\n.*3.JPEG: 1001"),
    (kit_out_of_range, r"not 1 to 1000 \(1\):\n.*2.JPEG: 0"),
    (no_line_for_an_image, r"4 labels; .*\(1\):\n.*5.JPEG"),
    (other_names, "5 images, but .* has 4 labels"),
    (two_labels, r"two labels \(1\):\n.*1: 0 and 1"),
    (not_a_list, r"not 'image label' \(2\):\n  nothing\n  here either"),
    (empty_classes, r"class folders \(2\):\n  n00000001: no images\n  n00000002_x"),
    (twice_a_class, r"n00000001: .* same WordNet id\n  n00000001_fish: .* same WordNet id"),
    (nothing, "no images and no class folders named by WordNet ids"),
]


@pytest.mark.process
@pytest.mark.parametrize(("build", "message"), REFUSED, ids=[build.__name__ for build, _ in REFUSED])
def test_what_cannot_be_used_is_named(build: Callable[[Path], None], message: str, tmp_path: Path) -> None:
    build(tmp_path)
    with pytest.raises(DataError, match=message):
        load_imagenet(tmp_path)


@pytest.mark.parametrize(("split", "message"), [("val/..", "unknown part of ImageNet"), ("val", "no such folder")])
def test_folders_and_parts_that_are_not_there(split: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        load_imagenet(tmp_path / ("absent" if split == "val" else ""), split=split)


# --- the orders of the classes ---


@pytest.mark.process
@pytest.mark.parametrize("layout", ["development kit", "matconvnet"])
def test_the_development_kits_order(layout: str, tmp_path: Path) -> None:
    """meta.mat holds more than the classes; its numbers 1 to 1000 are they."""
    root = IMAGENET[layout](tmp_path, 2)
    assert class_order("ilsvrc12-devkit", root) == DEVKIT
    assert class_order("ilsvrc12-sorted", root) == WNIDS


def test_the_order_of_the_vgg_networks_is_the_kits(tmp_path: Path) -> None:
    (tmp_path / "vgg_synset_words.txt").write_text("".join(f"{wnid} words, words\n" for wnid in DEVKIT))
    assert class_order("ilsvrc12-devkit", tmp_path) == DEVKIT
    assert class_order("ilsvrc12-devkit", tmp_path / "vgg_synset_words.txt") == DEVKIT


def test_numbers_beside_the_ids_decide(tmp_path: Path) -> None:
    lines = sorted(f"{wnid} {k} some_thing" for k, wnid in enumerate(DEVKIT, 1))
    (tmp_path / "map_clsloc.txt").write_text("\n".join(lines))
    assert read_synsets(tmp_path / "map_clsloc.txt") == DEVKIT


@pytest.mark.process
def test_a_thousand_class_folders_state_the_sorted_order(tmp_path: Path) -> None:
    for wnid in WNIDS:
        (tmp_path / "train" / wnid).mkdir(parents=True)
    assert class_order("ilsvrc12-sorted", tmp_path) == WNIDS


@pytest.mark.parametrize(
    ("order", "names", "message"),
    [("ilsvrc12-sort", [], "nearest: ilsvrc12-sorted"), ("ilsvrc12-sorted", [], "lists 2 classes, expected 1000")],
)
def test_orders_that_cannot_be_used(order: str, names: list[str], message: str, tmp_path: Path) -> None:
    (tmp_path / "synsets.txt").write_text("n00000001\nn00000002\n")
    with pytest.raises(DataError, match=message):
        class_order(order, touched(tmp_path, *names))


def test_the_orders_that_come_with_matnet(tmp_path: Path) -> None:
    """First and last classes of Caffe's synsets.txt and of the development kit's map_clsloc.txt, and two between."""
    ordered, kit = class_order("ilsvrc12-sorted", tmp_path), class_order("ilsvrc12-devkit", tmp_path)
    assert (ordered[0], ordered[-1], len(set(ordered))) == ("n01440764", "n15075141", 1000)
    assert ordered == tuple(sorted(kit))
    assert (kit[0], kit[994], kit[999]) == ("n02119789", "n03355925", "n03255030")
    assert synsets()[1] == ("n01443537", 450, "goldfish, Carassius auratus")


def test_a_few_class_folders_state_no_order(tmp_path: Path) -> None:
    touched(tmp_path, "val/n00000001/a.png", "val/n00000002/a.png", "val/other/b.png")
    assert class_order("ilsvrc12-sorted", tmp_path) == class_order("ilsvrc12-sorted")
    assert_line(load_imagenet(tmp_path).notes, "without a WordNet id", "(1): other")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("synsets.txt", "n00000001\nfish\n", r"WordNet id \(1\):\n  line 2: fish"),
        ("synsets.txt", "n00000002\nn00000001\nn00000002\n", r"WordNet ids \(1\):\n  n00000002"),
        ("map_clsloc.txt", "n00000001 1 a\nn00000002 3 b\n", "class numbers are not 1 to 2"),
        ("synsets.txt", "", "is empty"),
        ("meta.mat", "", "is empty"),
        ("meta.mat", "no MAT file at all, but long enough to be read as one, " * 9, "meta.mat"),
    ],
)
def test_lists_of_classes_that_cannot_be_used(name: str, text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=message):
        read_synsets(tmp_path / name)


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"other": np.ones((1, 1))}, "no variable `synsets` with a field WNID"),
        ({"synsets": np.ones((2, 3))}, "no variable `synsets` with a field WNID"),
        ({"synsets": {"WNID": "fish", "ILSVRC2012_ID": np.ones((1, 1))}}, "not WordNet ids numbered from 1:\n  1"),
        ({"synsets": {"WNID": "n00000001", "ILSVRC2012_ID": np.array([[4.0]])}}, "numbered from 1"),
    ],
)  # fmt: skip
def test_kits_that_cannot_be_used(variables: dict[str, object], message: str, tmp_path: Path) -> None:
    write_mat(tmp_path / "meta.mat", variables)
    with pytest.raises(DataError, match=message):
        read_synsets(tmp_path / "meta.mat")


# --- which data set is it? ---


@pytest.mark.process
@pytest.mark.parametrize("layout", IMAGENET)
def test_imagenet_is_recognised(layout: str, tmp_path: Path) -> None:
    images = load(IMAGENET[layout](tmp_path, 12))
    assert isinstance(images, ImageList)
    assert wnids(images) == truth(12)
    assert images.notes[-1].startswith("read as imagenet: ")


@pytest.mark.parametrize("kind", ["imagenet", None])
def test_a_list_of_imagenet_beside_its_classes(kind: str | None, tmp_path: Path) -> None:
    root = IMAGENET["caffe"](tmp_path, 12)
    listed = load(root / "ilsvrc12" / "val.txt", kind=kind, root=root)
    assert isinstance(listed, ImageList)
    assert wnids(listed) == truth(12)


def test_a_list_without_classes_is_a_plain_list(tmp_path: Path) -> None:
    root = IMAGENET["caffe"](tmp_path, 3)
    (root / "ilsvrc12" / "synset_words.txt").unlink()
    listed = load(root / "ilsvrc12" / "val.txt", root=root / "val")
    assert isinstance(listed, ImageList)
    np.testing.assert_array_equal(listed.labels, labels_of(3))
    assert (listed.class_names, listed.notes) == (None, ())


@pytest.mark.parametrize(("path", "kind"), [("absent", None), ("absent", "images"), ("absent", "imagenet")])
def test_what_is_not_there(path: str, kind: str | None, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="absent: no such"):
        load(tmp_path / path, kind)


def test_unknown_kinds(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="'imagnet'; nearest: imagenet"):
        load(tmp_path, "imagnet")


def test_plain_folders_stay_as_they_are(tmp_path: Path) -> None:
    images = load(touched(tmp_path, "b/2.png", "a/1.png"))
    assert isinstance(images, ImageList)
    assert (images.class_names, images.notes) == (("a", "b"), ())
    assert images.list_sha256 == ImageList.load(tmp_path).list_sha256


@pytest.mark.process
def test_only_labelled_images_are_labelled_images(tmp_path: Path) -> None:
    assert wnids(load_images(IMAGENET["caffe"](tmp_path / "a", 3))) == truth(3)
    with pytest.raises(DataError, match=r"b: .*SegmentationClass.* segmentation"):
        load_images(stand_ins.voc(tmp_path / "b"))


def test_a_list_beside_images_named_by_wordnet_id_gives_their_labels(tmp_path: Path) -> None:
    """Few of the classes are there, so that a name alone does not tell the number of its class."""
    for seed, name in enumerate(["n01440764_tench.JPEG", "n01530575_brambling.JPEG"]):
        stand_ins.save_photo(tmp_path / name, seed)
    assert load_images(tmp_path).labels.tolist() == [0, 1]
    (tmp_path / "labels.txt").write_text("10 n01530575_brambling.JPEG\n0 n01440764_tench.JPEG\n")
    assert load_images(tmp_path).labels.tolist() == [10, 0]
