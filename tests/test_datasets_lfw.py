"""LFW's pairs: folds, folders and lists as they are given out, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from matnet.datasets import PairSet, load, load_lfw
from matnet.errors import DataError
from tests.stand_ins import lfw, moved


def faces(pairs: PairSet) -> list[tuple[str, str]]:
    return [(first.stem, second.stem) for first, second in pairs.pairs]


def test_pairs_and_folds(tmp_path: Path) -> None:
    """Two folds of two and two, as the stand-in lists them."""
    pairs = load_lfw(lfw(tmp_path, folds=2, each=2))
    people = [f"Person_A{letter}" for letter in "abcdefgh"]
    expected = []
    for a, b, c, d in (people[:4], people[4:]):
        expected += [(f"{a}_0001", f"{a}_0002"), (f"{b}_0001", f"{b}_0002")]
        expected += [(f"{a}_0002", f"{c}_0001"), (f"{b}_0002", f"{d}_0001")]
    assert faces(pairs) == expected
    np.testing.assert_array_equal(pairs.same, [True, True, False, False] * 2)
    np.testing.assert_array_equal(pairs.fold, [0] * 4 + [1] * 4)
    assert (pairs.name, len(pairs), len(pairs.images)) == ("LFW pairs", 8, 12)
    assert all(image.is_file() for image in pairs.images)
    assert "8 pairs; LFW's pairs.txt has 6,000" in pairs.notes


@pytest.mark.parametrize(
    ("folder", "ending"),
    [
        ("lfw", "jpg"),
        ("lfw-funneled", "jpg"),
        ("lfw_funneled", "jpg"),
        ("lfw-deepfunneled", "jpg"),
        ("lfw_aligned", "png"),
    ],
)
@pytest.mark.parametrize("inner", [False, True], ids=["above", "itself"])
def test_folders_as_they_are_given_out(folder: str, ending: str, inner: bool, tmp_path: Path) -> None:
    root = lfw(tmp_path / "data", folds=2, each=1, folder=folder, ending=ending)
    pairs = load_lfw(root / folder if inner else root)
    assert pairs.root == root / folder
    assert {image.suffix for image in pairs.images} == {f".{ending}"}
    assert pairs.list_sha256 == load_lfw(lfw(tmp_path / "other", folds=2, each=1)).list_sha256


def test_a_folder_in_a_folder_of_its_name(tmp_path: Path) -> None:
    lfw(tmp_path, folds=2, each=1, folder="lfw-deepfunneled")
    moved(tmp_path / "lfw-deepfunneled", tmp_path / "x" / "lfw-deepfunneled")
    moved(tmp_path / "x", tmp_path / "lfw-deepfunneled")
    assert load_lfw(tmp_path).root == tmp_path / "lfw-deepfunneled" / "lfw-deepfunneled"


def test_the_development_list_is_one_fold(tmp_path: Path) -> None:
    root = lfw(tmp_path, folds=1, each=3)
    lines = (root / "pairs.txt").read_text().splitlines()
    (root / "pairs.txt").unlink()
    (root / "pairsDevTest.txt").write_text("\n".join(["3", *lines[1:]]))
    for pairs in (load_lfw(root), load_lfw(root, "pairsDevTest"), load_lfw(root / "lfw", root / "pairsDevTest.txt")):
        assert (len(pairs), pairs.name) == (6, "LFW pairsDevTest")
        np.testing.assert_array_equal(pairs.fold, [0] * 6)


@pytest.mark.parametrize("given", ["folder", "images", "list"])
def test_pairs_are_recognised(given: str, tmp_path: Path) -> None:
    root = lfw(tmp_path, folds=2, each=1)
    path = {"folder": root, "images": root / "lfw", "list": root / "pairs.txt"}[given]
    pairs = load(path)
    assert isinstance(pairs, PairSet)
    assert len(pairs) == 4
    assert pairs.notes[-1].startswith("read as lfw: ")


# --- what is refused ---


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1\t1\nAnn\t1\t2\nAnn\t2\tBob\n", r"not 'name i j'.* \(1\):\n  line 3: Ann\t2\tBob"),
        ("1\t1\nAnn\tone\t2\n../Ann\t1\tBob\t1\n", r"\(2\):"),
        ("ten\nAnn\t1\t2\n", "first line is 'ten'; expected folds"),
        ("Ann\t1\t2\nAnn\t2\tBob\t1\n", "first line is 'Ann"),
        ("2\t1\nAnn\t1\t2\nAnn\t2\tBob\t1\n", "has 2 pairs, but .* 2 x 2 x 1"),
        ("1\t1\nAnn\t1\tBob\t1\nAnn\t1\t2\n", "expected 1 pairs of the same person and then 1 of different people"),
        ("1\t0\n", "first line is"),
        ("", "is empty"),
        ("1\t1\nAnn\t1\t2\nAnn\t3\tCleo\t1\n", r"images of pairs.txt .*missing \(2\):\n  Ann_0003\n  Cleo_0001"),
    ],
)
def test_lists_that_cannot_be_used(text: str, message: str, tmp_path: Path) -> None:
    for name in ("Ann/Ann_0001.jpg", "Ann/Ann_0002.jpg", "Bob/Bob_0001.jpg"):
        (tmp_path / "lfw" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "lfw" / name).touch()
    (tmp_path / "pairs.txt").write_text(text)
    with pytest.raises(DataError, match=message):
        load_lfw(tmp_path)


def test_a_list_that_is_not_there_and_too_many_folders(tmp_path: Path) -> None:
    root = lfw(tmp_path / "data", folds=2, each=1)
    (root / "pairs.txt").unlink()
    with pytest.raises(DataError, match=r"no pairs.txt or pairsDevTest.txt or pairsDevTrain.txt in it or beside it"):
        load_lfw(root)
    with pytest.raises(DataError, match="no such list of pairs"):
        load_lfw(root, root / "mine" / "pairs.txt")
    (root / "lfw_aligned").mkdir()
    with pytest.raises(DataError, match="lfw, lfw_aligned"):
        load_lfw(root)
