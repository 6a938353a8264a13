"""Lists of labelled images: what is found, how labels meet a network's classes, and what is refused."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from matnet.datasets import ImageList
from matnet.errors import DataError
from tests.helpers import assert_line

WNIDS = ["n01440764", "n01443537", "n01484850", "n02012849", "n03126707"]
WORDS = [
    "tench, Tinca tinca",
    "goldfish, Carassius auratus",
    "great white shark, white shark, man-eater",
    "crane",
    "crane",
]


def tree(root: Path, *names: str) -> Path:
    """Empty files under `root`; nothing here decodes an image."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def listed(root: Path, text: str | bytes, *names: str) -> Path:
    tree(root, *names)
    file = root / "val.txt"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return file


def relative(images: ImageList) -> list[str]:
    return [path.relative_to(images.root).as_posix() for path in images.paths]


# --- class folders ---


def test_class_folders_are_sorted_and_read_to_the_bottom(tmp_path: Path) -> None:
    tree(tmp_path, "b/2.PNG", "b/deep/er/1.jpeg", "a/x.JPEG", "a/notes.txt", "a/.hidden.png", ".git/z.png", "top.png")
    images = ImageList.load(tmp_path)
    assert relative(images) == ["a/x.JPEG", "b/2.PNG", "b/deep/er/1.jpeg"]
    np.testing.assert_array_equal(images.labels, [0, 1, 1])
    assert (images.class_names, images.name, len(images)) == (("a", "b"), tmp_path.name, 3)
    expected = hashlib.sha256(b"a/x.JPEG a\nb/2.PNG b\nb/deep/er/1.jpeg b\n").hexdigest()
    assert images.list_sha256 == expected


def test_the_hash_is_of_the_list_and_not_of_its_place(tmp_path: Path) -> None:
    here, there = (ImageList.load(tree(tmp_path / name, "a/1.png", "b/2.png")) for name in ("here", "there"))
    other = ImageList.load(tree(tmp_path / "other", "a/1.png", "c/2.png"))
    assert here.list_sha256 == there.list_sha256 != other.list_sha256


def test_head_is_another_list(tmp_path: Path) -> None:
    images = ImageList.load(tree(tmp_path, "a/1.png", "a/2.png", "b/3.png"))
    head = images.head(2)
    assert relative(head) == ["a/1.png", "a/2.png"]
    assert head.list_sha256 != images.list_sha256
    assert head.notes == ("only the first 2 of 3 images",)
    assert images.head(3) is images


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a/1.png", "b/readme.txt", "c/none"], r"class folders without images \(2\).*\n  b\n  c"),
        (["1.png", "2.png"], "expected one folder per class, or a list file"),
    ],
)
def test_folders_that_cannot_be_used(names: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        ImageList.load(tree(tmp_path, *names))


def test_a_missing_folder_or_list_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="absent: no such"):
        ImageList.load(tmp_path / "absent")


# --- list files ---


@pytest.mark.parametrize(
    "text",
    [
        "a.png 3\nb c.png 0\n",
        "3 a.png\n0 b c.png\n",
        "a.png\t3\r\nb c.png\t0",
        '\ufeff"a.png" 3\n"b c.png" 0\n',
        "# path label\n\n  a.png 3   # a comment\nb c.png    0\n",
        "a.png,3\nb c.png,0\n",
        "3;'a.png'\n0;'b c.png'\n",
    ],
)
def test_list_files_in_many_hands(text: str, tmp_path: Path) -> None:
    images = ImageList.load(listed(tmp_path, text, "a.png", "b c.png"))
    assert relative(images) == ["a.png", "b c.png"]
    np.testing.assert_array_equal(images.labels, [3, 0])
    assert images.class_names is None
    assert images.list_sha256 == hashlib.sha256(b"a.png 3\nb c.png 0\n").hexdigest()


def test_where_both_orders_fit_the_existing_file_decides(tmp_path: Path) -> None:
    """`7 9` is image 7 of class 9, or image 9 of class 7."""
    assert relative(ImageList.load(listed(tmp_path / "a", "7 9\n", "7"))) == ["7"]
    assert relative(ImageList.load(listed(tmp_path / "b", "7 9\n", "9"))) == ["9"]


def test_root_and_windows_paths(tmp_path: Path) -> None:
    tree(tmp_path / "images", "x/a.png")
    file = listed(tmp_path / "lists", "x\\a.png 0\n", "other.png")
    assert relative(ImageList.load(file, root=tmp_path / "images")) == ["x/a.png"]


def test_a_flat_folder_with_its_labels(tmp_path: Path) -> None:
    tree(tmp_path, "a.JPEG", "b.JPEG")
    (tmp_path / "labels.txt").write_text("10 a.JPEG\n0 b.JPEG\n")
    images = ImageList.load(tmp_path)
    np.testing.assert_array_equal(images.labels, [10, 0])
    assert images.name == tmp_path.name
    assert_line(images.notes, "labels.txt")


def test_class_folders_win_over_a_list_and_say_so(tmp_path: Path) -> None:
    tree(tmp_path, "cat/1.png", "labels.txt")
    (note,) = ImageList.load(tmp_path).notes
    assert_line(note, "labels.txt", "not used", "folders")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.png 0\nb.png zero\nwhat\n", r"not 'path label'.* \(2\):\n  line 2: b.png zero\n  line 3: what"),
        ("a.png 0\nc.png 1\nd.png 1\n", r"2 of 3 images are missing.*\n  .*c.png\n  .*d.png"),
        ("a.png 0\na.png 1\n", r"listed with two labels \(1\):\n  .*a.png: 0 and 1"),
        ("a.png -1\n", "labels start at 0"),
        ("# nothing\n", "no entries"),
        ("", "is empty"),
        ("a" + " " * 100_000 + "b", r"not 'path label'.* \(1\)"),
        (b"\xff\xfe\x00\x01", "not a text file"),
    ],
)
def test_lists_that_cannot_be_used(text: str | bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        ImageList.load(listed(tmp_path, text, "a.png", "b.png"))


def test_images_listed_twice_with_one_label_are_counted_in_a_note(tmp_path: Path) -> None:
    images = ImageList.load(listed(tmp_path, "a.png 0\nb.png 1\nx/../a.png 0\na.png 0\n", "a.png", "b.png", "x/c.png"))
    assert len(images) == 4
    assert_line(images.notes, "2 of 4 lines repeat an image")
    with pytest.raises(DataError, match=r"two labels \(1\):\n  .*a.png: 0 and 1"):
        ImageList.load(listed(tmp_path, "a.png 0\nx/../a.png 1\n"))


def test_long_reports_are_cut(tmp_path: Path) -> None:
    file = listed(tmp_path, "".join(f"{k}.png 0\n" for k in range(500)))
    with pytest.raises(DataError) as error:
        ImageList.load(file)
    assert "500 of 500 images are missing" in str(error.value)
    assert str(error.value).endswith("... and 480 more")


# --- the network's classes ---


def folders(root: Path, *names: str) -> ImageList:
    return ImageList.load(tree(root, *(f"{name}/1.png" for name in names)))


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["n01443537", "n01484850"], [1, 2]),
        (["n01440764_tench", "n02012849_crane", "n03126707-crane"], [0, 3, 4]),
        (["Carassius auratus", "Great_White_Shark", "tench"], [1, 2, 0]),
        (["man-eater", "tinca_TINCA"], [2, 0]),
    ],
)
@pytest.mark.parametrize("joined", [False, True], ids=["wnids-and-words", "one-line"])
def test_class_folders_meet_classes_by_name(
    names: list[str], expected: list[int], joined: bool, tmp_path: Path
) -> None:
    """Classes as WordNet ids with descriptions apart, or as lines of synset_words.txt."""
    lines = [f"{wnid} {words}" for wnid, words in zip(WNIDS, WORDS, strict=True)]
    images = folders(tmp_path, *names)
    aligned = images.align(lines) if joined else images.align(WNIDS, WORDS)
    np.testing.assert_array_equal(aligned.labels, expected)
    assert (aligned.notes, aligned.list_sha256) == ((), images.list_sha256)
    assert aligned.class_names == tuple(lines if joined else WNIDS)


def test_exact_names_come_first(tmp_path: Path) -> None:
    """`cat` is a class and a synonym of another; `Cat` is neither, and so could be both."""
    classes = ["wild animal, cat", "cat"]
    np.testing.assert_array_equal(folders(tmp_path / "a", "cat").align(classes).labels, [1])
    with pytest.raises(DataError, match=r"Cat: could be any of classes 0 .*, 1 \(cat\)"):
        folders(tmp_path / "b", "Cat").align(classes)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            ["tench", "goldfisch", "moon"],
            r"class folders that do not match.* \(2\):\n  goldfisch: no such.*\n  moon: no such",
        ),
        (["crane", "tench"], r"crane: could be any of classes 3 \(n02012849\), 4 \(n03126707\)"),
        (["tench", "Tinca tinca"], r"Tinca tinca, tench: all are class 0"),
        (["sun", "moon"], r"none of the 2 class folders \(moon, sun, ...\) is one of the network's 5 classes"),
    ],
)
def test_folders_without_a_class_are_all_named(names: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        folders(tmp_path, *names).align(WNIDS, WORDS)


@pytest.mark.parametrize(
    ("names", "classes", "expected", "note"),
    [
        (["0", "2", "10"], [f"class {k}" for k in range(11)], [0, 10, 2], "class numbers from 0"),
        (["1", "2", "3"], ["one", "two", "three"], [0, 1, 2], "class numbers from 1"),
        (["1", "2"], ["one", "two", "three"], [1, 2], "class numbers from 0"),
        (["3", "7"], [], [3, 7], "class numbers from 0"),
        (["3", "7"], ["7", "3"], [1, 0], None),
        (["sun", "moon"], ["soleil", "lune"], [0, 1], "sorted order, because their names match no class"),
        (["sun", "moon"], [], [0, 1], "sorted order, because the network has no class names"),
    ],
)
def test_position_only_for_want_of_names(
    names: list[str], classes: list[str], expected: list[int], note: str | None, tmp_path: Path
) -> None:
    """Folders in sorted order (0, 10, 2; moon, sun); a note says that their names were not what decided."""
    aligned = folders(tmp_path, *names).align(classes)
    np.testing.assert_array_equal(aligned.labels, expected)
    assert bool(aligned.notes) == (note is not None)
    assert all(note in text for text in aligned.notes if note)


@pytest.mark.parametrize(
    ("labels", "message"),
    [((0, 5), "labels run from 0 to 5, but the network's from 0 to 4$"), ((1, 5), "1-based: subtract 1")],
)
def test_labels_beyond_the_classes(labels: tuple[int, int], message: str, tmp_path: Path) -> None:
    images = ImageList.load(listed(tmp_path, "a.png {}\nb.png {}\n".format(*labels), "a.png", "b.png"))
    with pytest.raises(DataError, match=message):
        images.align(WNIDS)


def test_list_labels_are_taken_as_they_are(tmp_path: Path) -> None:
    images = ImageList.load(listed(tmp_path, "a.png 4\n", "a.png"))
    np.testing.assert_array_equal(images.align(WNIDS, WORDS).labels, [4])
    assert images.align(WNIDS).class_names == tuple(WNIDS)
    assert images.align([]) == images


# --- real layouts ---


def test_imagenet100_as_it_is(real_data: Path) -> None:
    """A flat folder with labels.txt (`label file`); the reference scores are in the same order."""
    images = ImageList.load(real_data / "images" / "imagenet100")
    with np.load(real_data / "reference" / "squeezenet_imagenet100.npz") as file:
        np.testing.assert_array_equal(images.labels, file["labels"])
        assert relative(images) == file["files"].tolist()


def test_cifar300_as_it_is(real_data: Path) -> None:
    images = ImageList.load(real_data / "images" / "cifar300")
    assert images.class_names is not None
    assert images.class_names[:3] == ("airplane", "automobile", "bird")
    np.testing.assert_array_equal(np.bincount(images.labels), np.full(10, 30))
