"""The protocols of preprocessing: what each takes from meta, and the pixels it gives."""

from __future__ import annotations

import numpy as np
import pytest

from matnet.errors import DataError
from matnet.images import PROTOCOLS, Preprocessing
from tests.image_inputs import COLOR, PHOTO, meta


@pytest.mark.parametrize(
    ("protocol", "fields", "expected"),
    [
        ("meta", {}, ("vl_imreadjpeg", "bicubic", True, (1, 1))),
        (
            "meta",
            {"interpolation": "bilinear", "keepAspect": np.array([[False]])},
            ("vl_imreadjpeg", "bilinear", False, (1, 1)),
        ),
        ("meta", {"resize": "pillow"}, ("pillow", "bilinear", True, (1, 1))),
        (
            "published",
            {"interpolation": "bilinear", "cropSize": np.array([[0.5]])},
            ("vl_imreadjpeg", "bicubic", True, (24 / 256,) * 2),
        ),
        ("published-2016", {"interpolation": "bicubic"}, ("imresize", "bicubic", True, (24 / 256, 20 / 256))),
        ("legacy", {"border": np.array([[8.0, 12]])}, ("imresize", "bilinear", True, (0.75, 0.625))),
        ("legacy", {}, ("imresize", "bilinear", True, (24 / 53, 20 / 49))),
        ("caffe", {"interpolation": "bicubic"}, ("opencv", "bilinear", False, (1, 1))),
        ("caffe", {"resize": "pillow", "interpolation": "bicubic"}, ("pillow", "bicubic", False, (1, 1))),
    ],
)
def test_protocols(protocol: str, fields: dict[str, object], expected: tuple[object, ...]) -> None:
    """Expected: getImageBatch and cnn_imagenet_evaluate of both eras; Caffe's data layer."""
    found = Preprocessing.from_meta(meta(**fields), protocol)
    assert (found.resize, found.interpolation, found.keep_aspect) == expected[:3]
    assert found.crop_fraction == pytest.approx(expected[3])
    assert f"[{protocol}]" in found.describe()


def test_unknown_protocols_are_answered_with_the_nearest() -> None:
    with pytest.raises(DataError, match="nearest: published"):
        Preprocessing.from_meta(meta(), "publisht")


@pytest.mark.parametrize("protocol", ["published", "published-2016"])
@pytest.mark.parametrize("net", [224, 227])
def test_shrunk_images_are_cropped_and_nothing_else(protocol: str, net: int) -> None:
    """On images of short side 256 both eras cut the centre at floor((dim - crop) / 2); pixels stay exact."""
    fields = meta(imageSize=np.array([[net, net, 3.0]]), averageImage=np.array([[10.0, 20, 30]]))
    top, left = (256 - net) // 2, (341 - net) // 2
    expected = PHOTO[top : top + net, left : left + net].astype(np.float32) - np.float32([10, 20, 30])
    found = Preprocessing.from_meta(fields, protocol).apply(PHOTO)
    np.testing.assert_array_equal(found, expected.transpose(2, 0, 1))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_protocol_gives_the_input_size(protocol: str) -> None:
    prepared = Preprocessing.from_meta(meta(averageImage=COLOR, border=np.array([[8.0, 12]])), protocol)
    found = prepared.apply(PHOTO[:60, :90])
    assert (found.shape, found.dtype) == ((3, 24, 20), np.float32)
    assert np.isfinite(found).all()
