"""Preprocessing as the meta of a network states it: sizes, means, crops, and fields that cannot be used."""

from __future__ import annotations

import numpy as np
import pytest

from matnet.errors import DataError
from matnet.images import Preprocessing, imresize
from tests.image_inputs import COLOR, SIXTEEN, meta


@pytest.mark.parametrize(
    ("size", "expected", "channels"),
    [
        ([[24, 20]], (24, 20), 3),
        ([[24, 20, 3]], (24, 20), 3),
        ([[24], [20], [1]], (24, 20), 1),
        ([[24, 20, 3, 10]], (24, 20), 3),
        ([[24]], (24, 24), 3),
    ],
)
@pytest.mark.parametrize("dtype", [np.float64, np.uint8])
def test_image_size_in_every_shape(size: object, expected: object, channels: int, dtype: type) -> None:
    given = {} if np.size(size) > 2 else {"channels": channels}  # meta alone does not tell them
    prepared = Preprocessing.from_meta(meta(imageSize=np.array(size, dtype)), **given)
    assert (prepared.image_size, prepared.channels) == (expected, channels)


@pytest.mark.parametrize(
    "average",
    [COLOR, COLOR.T, COLOR.reshape(1, 1, 3), COLOR.astype(np.float32), COLOR.reshape(1, 1, 3, 1)],
    ids=["1x3", "3x1", "1x1x3", "single", "1x1x3x1"],
)
@pytest.mark.parametrize("field", ["averageImage", "rgbMean"])
def test_mean_colour_in_every_shape(average: np.ndarray, field: str) -> None:
    prepared = Preprocessing.from_meta(meta(**{field: average}))
    np.testing.assert_allclose(prepared.mean, COLOR[0], rtol=1e-6)


@pytest.mark.parametrize("absent", [np.zeros((0, 0)), "", None, []])
def test_an_empty_mean_is_none(absent: object) -> None:
    assert Preprocessing.from_meta(meta(averageImage=absent)).mean is None


def test_mean_of_one_number_and_of_gray_networks() -> None:
    np.testing.assert_array_equal(Preprocessing.from_meta(meta(averageImage=np.array([[7.0]]))).mean, [7, 7, 7])
    gray = meta(imageSize=np.array([[4.0, 4, 1]]), averageImage=SIXTEEN)
    np.testing.assert_array_equal(Preprocessing.from_meta(gray).mean, SIXTEEN[..., np.newaxis])


def test_mean_image_is_resized_where_its_size_differs() -> None:
    """cnn_imagenet_evaluate: imresize (bicubic) of the single image, if the size is not right."""
    image = np.random.default_rng(5).uniform(90, 130, (24, 20, 3))
    np.testing.assert_array_equal(Preprocessing.from_meta(meta(averageImage=image)).mean, image.astype(np.float32))
    larger = np.random.default_rng(5).uniform(90, 130, (32, 28, 3)).astype(np.float32)
    found = Preprocessing.from_meta(meta(averageImage=larger)).mean
    np.testing.assert_array_equal(found, imresize(larger, (24, 20)))


def test_caffe_cuts_the_centre_of_its_mean_image() -> None:
    """Caffe subtracts the whole mean image and then crops, so the crop's centre counts (offset 4 and 6)."""
    image = np.random.default_rng(5).uniform(90, 130, (32, 32, 3)).astype(np.float32)
    fields = meta(averageImage=image, border=np.array([[8.0, 12]]))
    found = Preprocessing.from_meta(fields, "caffe")
    np.testing.assert_array_equal(found.mean, image[4:28, 6:26])


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, (1.0, 1.0)),
        ({"cropSize": np.array([[0.875]])}, (0.875, 0.875)),
        ({"cropSize": np.array([[0.75, 0.5]])}, (0.75, 0.5)),
        ({"border": np.array([[8.0, 12]])}, (0.75, 0.625)),
        ({"border": np.array([[0.0, 0]])}, (1.0, 1.0)),
        ({"border": np.array([[8]], np.uint8)}, (0.75, 20 / 28)),
        ({"border": np.array([[8.0, 12]]), "cropSize": np.array([[0.9, 0.9]])}, (0.9, 0.9)),
    ],
)
def test_crop_fraction_from_crop_size_or_border(fields: dict[str, object], expected: tuple[float, float]) -> None:
    """cropSize wins; without it imageSize ./ (imageSize + border), as vl_simplenn_tidy fills it in."""
    assert Preprocessing.from_meta(meta(**fields)).crop_fraction == pytest.approx(expected)


def test_size_from_elsewhere_in_meta() -> None:
    sizes = {
        "inputs": {"name": "data", "size": np.array([[24.0, 20, 3, 10]])},
        "normalization": {"averageImage": COLOR},
    }
    assert Preprocessing.from_meta(sizes).image_size == (24, 20)
    single = {"inputSize": np.array([[125.0]]), "normalization": {"averageImage": COLOR}}
    assert Preprocessing.from_meta(single).image_size == (125, 125)
    image = {"normalization": {"averageImage": np.ones((6, 5, 3))}}
    assert Preprocessing.from_meta(image).image_size == (6, 5)


@pytest.mark.parametrize("nothing", [{}, None, {"normalization": np.zeros((0, 0))}])
def test_missing_normalization_says_what_to_pass(nothing: object) -> None:
    with pytest.raises(DataError, match=r"meta.normalization is missing.*pass image_size=\(height, width\)"):
        Preprocessing.from_meta(nothing)
    given = Preprocessing.from_meta(nothing, image_size=(24, 20), mean=(1, 2, 3))
    np.testing.assert_array_equal(given.mean, [1, 2, 3])


def test_all_unusable_fields_are_told_together() -> None:
    fields = meta(
        imageSize=np.array([[24.5, 20]]),
        averageImage=np.ones((4, 5, 2)),
        cropSize=np.array([[np.nan]]),
        keepAspect="yes",
        border=[np.ones((1, 2)), "both"],
        scale=np.array([[1.0, 2]]),
        interpolation=np.ones((2, 2)),
    )
    with pytest.raises(DataError) as error:
        Preprocessing.from_meta(fields)
    for name in ("imageSize", "averageImage", "cropSize", "keepAspect", "scale", "interpolation", "border"):
        assert f"  {name} " in str(error.value)


def test_matnet_additions_are_read_from_meta() -> None:
    fields = meta(scale=np.array([[0.017]]), colorOrder="bgr", resize="opencv", border=np.array([[8.0, 12]]))
    found = Preprocessing.from_meta(fields)
    assert (found.scale, found.color, found.resize) == (0.017, "bgr", "opencv")
    assert (
        found.describe()
        == "24x20 BGR, opencv bilinear to 32x32 (aspect kept), centre crop, no mean, times 0.017 [meta]"
    )
    overridden = Preprocessing.from_meta(fields, mean=(3, 2, 1), image_size=(24, 20), crops=10)
    assert overridden.describe().endswith("times 0.017 [meta, given mean and image size]")
