"""Places205 and Salient Object Subitizing in their published layouts, made by hand.

Lines of val_places205.csv are `a/abbey/NAME.jpg 0` (trainvalsplit_places205.tar.gz); imgIdx.mat is a struct array with
name, label and istest beside the folder img.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import matnet
from matnet import eval as eval_command
from matnet.command_line import run_command
from matnet.datasets import load_images
from matnet.errors import DataError
from matnet.formats.mat import write_mat
from matnet.formats.mat.values import StructArray
from tests.tiny_models import CENTRES, gray, gray_classifier

# The gray network's output k is the gray CENTRES[k]; the second image is of another class than its label.
PLACES = {"a/abbey/gsun_1.jpg": (0, 0), "a/alley/gsun_2.jpg": (2, 3), "y/yard/gsun_3.jpg": (4, 4)}
"""Of each image the label, and the output that its gray is the level of."""
COCO = "COCO_COCO_train2014_000000000009.jpg"
OBJECTS = {"c.jpg": (1, 1, 1), COCO: (4, 4, 1), "a.jpg": (0, 2, 1), "t.jpg": (3, 0, 0)}
"""The same of the index of subitizing, and `istest`."""


def places205(root: Path, images: str = "data/vision/torralba/deeplearning/images256") -> Path:
    """The list in its folder, and the images as their archive unpacks them, or elsewhere."""
    for name, (_, output) in PLACES.items():
        (root / images / name).parent.mkdir(parents=True, exist_ok=True)
        gray(int(CENTRES[output])).save(root / images / name, quality=100)
    (root / "trainvalsplit_places205").mkdir()
    lines = "".join(f"{name} {label}\n" for name, (label, _) in PLACES.items())
    (root / "trainvalsplit_places205" / "val_places205.csv").write_text(lines)
    return root


def subitizing(root: Path, version: Any = "5", **changes: Any) -> Path:
    """imgIdx.mat and img; changes: other values of the fields of the first image."""
    (root / "img").mkdir(parents=True)
    rows = []
    for name, (label, output, test) in OBJECTS.items():
        gray(int(CENTRES[output])).save(root / "img" / name, quality=100)
        rows.append({"name": name, "label": np.array([[label]], float), "istest": np.array([[test]], bool)})
    rows[0].update(changes)
    write_mat(root / "imgIdx.mat", {"imgIdx": StructArray(rows)}, version=version)
    return root


@pytest.mark.process
@pytest.mark.parametrize(
    ("layout", "place", "dataset"),
    [
        (places205, "", "Places205 val"),
        (places205, "trainvalsplit_places205/val_places205.csv", "Places205 val"),
        (subitizing, "", "Salient Object Subitizing test"),
    ],
)
def test_the_command_reads_it(layout: Callable[[Path], Path], place: str, dataset: str, tmp_path: Path) -> None:
    """Two of three images are found in either."""
    matnet.save(gray_classifier(names=None), tmp_path / "own.mat")
    data = layout(tmp_path / "data") / place
    command = ["--model", str(tmp_path / "own.mat"), "--data", str(data), "--backend", "numpy", "--quiet"]
    assert run_command(eval_command.main, [*command, "--json", str(tmp_path / "a.json")]) == 0
    row = json.loads((tmp_path / "a.json").read_text())
    assert (row["dataset"], row["images"], row["status"]) == (dataset, 3, "ok")
    np.testing.assert_allclose(row["top1_error"], 100 / 3)


@pytest.mark.parametrize("images", ["", "images256", "trainvalsplit_places205"])
def test_images_of_places_in_other_folders(images: str, tmp_path: Path) -> None:
    if images == "trainvalsplit_places205":
        places205(tmp_path)
        (tmp_path / "data" / "vision" / "torralba" / "deeplearning" / "images256").rename(tmp_path / "images256")
    else:
        places205(tmp_path, images)
    found = load_images(tmp_path)
    np.testing.assert_array_equal(found.labels, [0, 2, 4])
    assert "3 images; Places205 val has 20,500" in found.notes


def test_images_of_places_in_a_folder_of_ones_own(tmp_path: Path) -> None:
    places205(tmp_path, "mine")
    file = tmp_path / "trainvalsplit_places205" / "val_places205.csv"
    assert load_images(file, tmp_path / "mine").paths[0].is_file()
    with pytest.raises(DataError, match=r"3 of 3 images are missing(.|\n)*gsun_1.jpg"):
        load_images(file)


def test_labels_beyond_places_are_refused(tmp_path: Path) -> None:
    root = places205(tmp_path)
    file = root / "trainvalsplit_places205" / "val_places205.csv"
    file.write_text(file.read_text().replace("jpg 2", "jpg 205"))
    with pytest.raises(DataError, match="label 205; labels of Places205 are 0 to 204"):
        load_images(root)


@pytest.mark.parametrize("version", ["5", "7.3"])
def test_images_to_test_on_in_the_order_of_their_names(version: Any, tmp_path: Path) -> None:
    found = load_images(subitizing(tmp_path, version))
    assert [path.name for path in found.paths] == [COCO, "a.jpg", "c.jpg"]
    np.testing.assert_array_equal(found.labels, [4, 0, 1])


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"label": np.array([[5.0]])}, r"images of the index \(1\):\n.*c.jpg: its label"),
        ({"label": np.array([[1.5]])}, "c.jpg: its label"),
        ({"istest": np.zeros((0, 0))}, "c.jpg: its istest"),
        ({"name": "../c.jpg"}, r"image 1: its name is '\.\./c.jpg'"),
        ({"name": "a.jpg"}, r"images \(1\):\n.*a.jpg"),
        ({"name": "absent.jpg"}, r"1 of 3 images are missing:\n.*absent.jpg"),
    ],
)
def test_an_index_that_cannot_be_used_is_refused(changes: dict[str, Any], expected: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=expected):
        load_images(subitizing(tmp_path, **changes))


def test_an_index_of_another_kind_is_refused(tmp_path: Path) -> None:
    write_mat(tmp_path / "imgIdx.mat", {"imgIdx": np.ones((2, 2))})
    with pytest.raises(DataError, match="no struct array `imgIdx`"):
        load_images(tmp_path)
    row = {"name": "a.jpg", "label": np.array([[1]]), "istest": np.array([[0]])}
    write_mat(tmp_path / "imgIdx.mat", {"imgIdx": StructArray([row, row])})
    with pytest.raises(DataError, match="no image has `istest` 1"):
        load_images(tmp_path)
