"""Oxford's 102 flowers in the layout of its page: labels from 1 in imagelabels.mat, numbers of images in setid.mat."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from matnet.datasets import load_images
from matnet.errors import DataError
from matnet.formats.mat import write_mat
from tests.tiny_models import gray


def flowers(root: Path, valid: list[int]) -> Path:
    (root / "jpg").mkdir()
    for number in range(1, 6):
        gray(10 * number).save(root / "jpg" / f"image_{number:05d}.jpg")
    write_mat(root / "imagelabels.mat", {"labels": np.array([[7, 1, 102, 7, 3]], np.uint8)})
    parts = {"trnid": np.array([[1]]), "valid": np.array([valid]), "tstid": np.array([[2]])}
    write_mat(root / "setid.mat", parts)
    return root


def test_the_images_called_valid_with_labels_from_0(tmp_path: Path) -> None:
    images = load_images(flowers(tmp_path, [5, 3, 4]))
    assert [path.name for path in images.paths] == ["image_00003.jpg", "image_00004.jpg", "image_00005.jpg"]
    np.testing.assert_array_equal(images.labels, [101, 6, 2])


def test_missing_images_and_numbers_without_label_are_named(tmp_path: Path) -> None:
    flowers(tmp_path, [5, 3])
    (tmp_path / "jpg" / "image_00003.jpg").unlink()
    with pytest.raises(DataError, match=r"1 of 2 images are missing:\n.*image_00003.jpg"):
        load_images(tmp_path)
    for numbers, fault in (([6], "6"), ([5, 1, 5], "5: it is listed more than once")):
        write_mat(tmp_path / "setid.mat", {"valid": np.array([numbers])})
        with pytest.raises(DataError, match=rf"without a label.* \(1\):\n.*{fault}"):
            load_images(tmp_path)
    for wrong in ({"other": np.array([[6]])}, {"valid": np.array([[1e30]])}, {"valid": np.array([[np.inf]])}):
        write_mat(tmp_path / "setid.mat", wrong)
        with pytest.raises(DataError, match="no variable `valid` of integers"):
            load_images(tmp_path)
