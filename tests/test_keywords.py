"""Keywords of a wrong type or value end in one sentence with the keyword's name, whichever method takes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import matnet
from matnet.engines import EngineOptions
from matnet.errors import MatnetError
from matnet.images import Preprocessing

IMAGE = Path(matnet.__file__).parent / "models" / "digits-lenet" / "test" / "7" / "0007.png"
NAN = float("nan")

OF_IMAGES: dict[str, list[Any]] = {
    "image_size": [5, "x", None, (1,), (0, 8), (2.5, 3), (8, 8, 1), (-8, 8), (True, 8)],
    "channels": ["x", None, 0, 2, 1.0, -1, True],
    "mean": ["x", [1, 2], {}, NAN, 1e300, 10**400],
    "std": ["x", 0, -1, [0]],
    "scale": ["x", None, 0, NAN, True, [1]],
    "input_range": [5, "x", None, (1,), (2, 1), (0, "a"), (0, NAN)],
    "color": ["x", None, 5, "bgr"],
    "resize": ["x", None, 5],
    "interpolation": ["x", None, 5],
    "keep_aspect": ["x", None, 2],
    "crop_fraction": [5, "x", None, (0, 0), (1,)],
    "crops": [5, "x", None, True],
    "exif": ["x", None, 1],
    "max_pixels": ["x", None, 0, -3, 1.5],
    "imagesize": [(8, 8)],
}
OF_ENGINES: dict[str, list[Any]] = {
    "batch_size": [-1, 0, "x", 1.5],
    "threads": [-1, "x"],
    "backend": ["x", 5],
    "device": ["x", 5],
    "precision": ["x", 5],
    "runtime": ["x", 5],
    "strict": ["x"],
    "options": [5, "x"],
    "preprocessing": [5, "x"],
    "batchsize": [4],
}
OF_CLASSIFY: dict[str, list[Any]] = {
    "top": [0, -1, "x", 1.5, None, True],
    "scores": ["x", "", 5],
    "classes": [5, "x", [], [1, 2], ["a"]],
    "progress": [5],
}
OF_FEATURES: dict[str, list[Any]] = {
    "layers": [5, [5], [], None, "x", ["x"], ""],
    "pool": ["x", None, 5],
    "workers": [0, -1, "x", None],
    "resume": ["x", None],
    "out": [5, ""],
}
OF_CONVERSION: dict[str, list[Any]] = {
    "input_size": ["8x10", 8, (8.5, 10), {"data": None}, {"data": "8x10"}, (True, 8)],
    "mean_values": ["1,2,3", 5, (1, "a", 2), (NAN, 1, 1), ()],
    "mean": [5, ""],
    "labels": [5, ""],
    "scale": ["x", NAN, (1,)],
    "full_image_size": [16, "x", (16.5, 16), ()],
    "class_names": [5, "x", [1, 2], []],
    "append_softmax": ["ip", 5, [5]],
    "stages": ["deploy", 5, None],
    "level": ["a", None, 1.5],
    "lenient": ["x", None, 1],
    "transpose": ["x", None],
    "phase": ["VAL", 5, None],
    "crop": ["x", None],
}


def each(*tables: dict[str, list[Any]]) -> list[tuple[str, Any]]:
    return [(name, value) for table in tables for name, values in table.items() for value in values]


@pytest.fixture(scope="module")
def net() -> matnet.Network:
    return matnet.load("digits-lenet")


def named(keyword: str, error: pytest.ExceptionInfo[MatnetError]) -> None:
    """Words that stand for the keyword in sentences that other modules speak."""
    words = {"std": "standard deviation", "classes": "classes", "image_size": "image_size", "scores": "variable",
             "layers": "layer"}  # fmt: skip
    text = str(error.value)
    assert keyword in text or words.get(keyword, keyword) in text
    assert "--" not in text


@pytest.mark.parametrize(("keyword", "value"), each(OF_IMAGES, OF_ENGINES, OF_CLASSIFY))
def test_classify(keyword: str, value: Any, net: matnet.Network) -> None:
    with pytest.raises(MatnetError) as error:
        net.classify(IMAGE, **{keyword: value})
    named(keyword, error)


@pytest.mark.parametrize(("keyword", "value"), each(OF_IMAGES, OF_ENGINES, OF_FEATURES))
def test_features(keyword: str, value: Any, net: matnet.Network) -> None:
    with pytest.raises(MatnetError) as error:
        net.features(IMAGE, **{"layers": "ip1", keyword: value})
    named(keyword, error)


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize(("keyword", "value"), each(OF_IMAGES))
def test_prepare(keyword: str, value: Any, own: bool, net: matnet.Network) -> None:
    with pytest.raises(MatnetError) as error:
        net.prepare(IMAGE, **({"preprocessing": net.preprocessing} if own else {}), **{keyword: value})
    named(keyword, error)


@pytest.mark.parametrize(("keyword", "value"), each(OF_IMAGES))
def test_preprocessing(keyword: str, value: Any) -> None:
    with pytest.raises(MatnetError) as error:
        Preprocessing(**{"image_size": (8, 8), "channels": 1, keyword: value})
    named(keyword, error)


@pytest.mark.parametrize(("keyword", "value"), each(OF_CONVERSION))
def test_convert_caffe(keyword: str, value: Any) -> None:
    """A text is not a list of its letters: stages="deploy" would be seven stages that no layer names."""
    prototxt = IMAGE.parents[2] / "deploy.prototxt"
    with pytest.raises(MatnetError) as error:
        matnet.convert_caffe(prototxt, placeholders=True, **{keyword: value})
    named(keyword, error)


OF_LOADING: dict[str, list[Any]] = {
    "lenient": ["x", None], "mmap": [5], "name": [5], "nane": ["net"], "input_size": [(8, 8)], "phase": ["TEST"],
    "color_format": ["rgb"],
}  # fmt: skip


@pytest.mark.parametrize(("keyword", "value"), each(OF_LOADING))
def test_load_of_a_mat_file(keyword: str, value: Any) -> None:
    with pytest.raises(MatnetError) as error:
        matnet.load(IMAGE.parents[2] / "digits-lenet.mat", **{keyword: value})
    named(keyword, error)


@pytest.mark.parametrize(
    "keywords",
    [{"workers": 2}, {"resume": False}, {"options": EngineOptions(), "backend": "numpy"}, {"protocol": "published"}],
)
def test_keywords_that_cannot_act(keywords: dict[str, Any], net: matnet.Network) -> None:
    """Two that say the same, one that another answers already, and those of a file that is not written."""
    own = {"preprocessing": net.preprocessing} if "protocol" in keywords else {}
    with pytest.raises(MatnetError) as error:
        net.features(IMAGE, "ip1", **own, **keywords)
    named(next(iter(keywords)), error)


def test_numbers_of_numpy_are_numbers(net: matnet.Network) -> None:
    size = np.array([8, 8])
    found = net.classify(
        IMAGE, top=np.int64(2), image_size=size, scale=np.float32(1), exif=np.bool_(False), batch_size=np.int64(3)
    )
    assert len(found) == 2
    assert type(Preprocessing(size, channels=np.int64(1)).image_size[0]) is int


@pytest.mark.parametrize("image", [5, None, "", object(), {}, [], [None], b"", np.zeros((8, 8), np.int32)])
def test_what_is_no_image(image: Any, net: matnet.Network) -> None:
    for answer in (net.classify, net.prepare, lambda given: net.features(given, "ip1")):
        with pytest.raises(MatnetError):
            answer(image)


def test_the_name_of_a_blob_that_simplenn_does_not_keep(net: matnet.Network) -> None:
    """The tenth layer of digits-lenet is `prob`; a SimpleNN file calls what it computes `layer10`."""
    assert net.source.format == "simplenn"
    results = net.forward(np.zeros((1, 1, 8, 8), np.float32), backend="numpy")
    (name,) = results
    with pytest.raises(KeyError, match=f"'prob' is named '{name}'"):
        results["prob"]
    with pytest.raises(KeyError, match="prop"):
        results["prop"]
    asked = net.forward(np.zeros((1, 1, 8, 8), np.float32), ["prob"], backend="numpy")
    np.testing.assert_array_equal(asked["prob"], results[name])
