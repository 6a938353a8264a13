"""The size of an input and the values of an image, the same in every place of the product."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import matnet
from matnet.command_line import run_command
from matnet.errors import DataError
from matnet.eval import main as evaluate
from matnet.formats.mat import write_mat
from matnet.formats.mat.values import Cell
from matnet.formats.onnx import to_onnx_model
from matnet.images import Preprocessing
from matnet.meta import notes
from matnet.network import Layer, Network, Source
from matnet.ops.convolution import Conv
from matnet.params import Param
from matnet.show import input_shapes
from tests.conftest import DATA
from tests.example_nets import row

ROOT = Path(__file__).resolve().parents[1]


def network(meta: dict[str, Any], channels: int = 3) -> Network:
    """One convolution of 4 filters, 3 x 5 pixels and `channels` deep, on an input called data."""
    net = Network(meta, Source(format="dagnn"))
    net.params["f"] = Param(np.ones((3, 5, channels, 4), np.float32))
    net.add(Layer("conv", Conv(hasBias=False), ["data"], ["x"], ["f"]))
    return net


# In the order in which they count, as docs/preprocessing.md has them.
PLACES: dict[str, tuple[int, int]] = {
    "definition": (27, 31), "inputs": (24, 29), "inputSize": (22, 25), "imageSize": (20, 23), "mean": (18, 21)
}  # fmt: skip


def stating(places: tuple[str, ...]) -> Network:
    meta: dict[str, Any] = {"normalization": {"interpolation": "bilinear"}}
    net = network(meta)
    for place in places:
        height, width = PLACES[place]
        if place == "definition":
            net.input_shapes["data"] = (1, 3, height, width)
        elif place == "inputs":
            meta["inputs"] = {"name": "data", "size": row(height, width, 3)}
        elif place == "inputSize":
            meta["inputSize"] = row(height, width, 3)
        elif place == "imageSize":
            meta["normalization"]["imageSize"] = row(height, width, 3)
        else:
            meta["normalization"]["averageImage"] = np.full((height, width, 3), 7.0)
    return net


COMBINATIONS = [c for count in range(1, 6) for c in itertools.combinations(PLACES, count)]


@pytest.mark.parametrize("places", COMBINATIONS, ids="+".join)
def test_every_place_of_the_product_takes_the_size_that_comes_first(places: tuple[str, ...]) -> None:
    net, expected = stating(places), PLACES[places[0]]
    assert input_shapes(net, 1, None, None) == {"data": (1, 3, *expected)}, "show"
    model = to_onnx_model(net, size=None)
    assert json.loads(model.metadata["preprocessing"])["imageSize"] == [*expected, 3], "metadata of ONNX"
    prepared = Preprocessing.of(net)
    assert (prepared.image_size, prepared.channels) == (expected, 3), "evaluation"
    if "definition" not in places:
        assert Preprocessing.from_meta(net.meta).image_size == expected, "meta alone"
    stated = [place for place in places if place != "mean"]
    said = notes(net)
    assert bool(said) == (len(stated) > 1)
    if said:
        for place in stated:
            assert "{}x{}".format(*PLACES[place]) in said[0]


def test_metadata_of_a_model_written_for_another_size_state_that_size() -> None:
    model = to_onnx_model(stating(("inputs", "imageSize")), size=(40, 50))
    assert json.loads(model.metadata["preprocessing"])["imageSize"] == [40, 50, 3]


@pytest.mark.parametrize("file", ["size", "none"])
def test_sizes_that_agree_are_no_note(file: str) -> None:
    size = row(24, 29, 3)
    meta = {"inputSize": size, "normalization": {"imageSize": size}} if file == "size" else {}
    assert notes(network(meta)) == []


@pytest.mark.parametrize(
    ("meta", "filters", "expected"),
    [
        ({"normalization": {"averageImage": row(7)}}, 1, 1),
        ({"normalization": {"imageSize": row(28, 28)}}, 1, 1),
        ({"normalization": {"imageSize": row(28, 28, 3)}}, 1, 1),  # filters are what is there
        ({"inputSize": row(28, 28, 1)}, 3, 3),
        ({"inputs": {"name": "data", "size": row(28, 28, 3)}}, 1, 3),  # a first layer of three groups
        ({"inputs": {"name": "data", "size": row(28, 28, 4)}}, 3, 3),  # no number of groups makes 3 of 4
        ({}, 3, 3),
    ],
)
def test_channels_come_from_the_first_filters(meta: dict[str, Any], filters: int, expected: int) -> None:
    """In the library as in the commands; a file that says otherwise is noted."""
    net = network(meta, filters)
    found = Preprocessing.of(net, image_size=(28, 29), mean=(7.0,) * expected)
    assert (found.channels, found.image_size) == (expected, (28, 29))
    assert net.default_input_shapes(1, (28, 29)) == {"data": (1, expected, 28, 29)}
    declared = str(meta).count("[28., 28., ")
    assert len([note for note in notes(net) if "channels" in note]) == declared


def test_meta_alone_never_guesses_the_channels() -> None:
    with pytest.raises(DataError, match="channels") as error:
        Preprocessing.from_meta(network({}, 1).meta, image_size=(28, 28))
    assert "Preprocessing.of(net)" in str(error.value)
    assert Preprocessing.from_meta({}, image_size=(28, 28), channels=1).channels == 1


# -- values: (pixel in the range - mean) / std * scale ----------------------------------------------

PIXELS = np.array([[[0, 51, 255], [102, 204, 153]]], np.uint8)
UNIT_MEAN, UNIT_STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


def prepared(**fields: Any) -> np.ndarray:
    size = {"imageSize": row(1, 2, 3), "cropSize": row(1)}
    return Preprocessing.of(network({"normalization": {**size, **fields}})).apply(PIXELS)


@pytest.mark.parametrize("mean", ["averageImage", "rgbMean", "imageMean", "mean"])
@pytest.mark.parametrize("std", ["imageStd", "std", "rgbStd"])
@pytest.mark.parametrize("factor", [1, 255])
def test_mean_and_deviation_under_every_name(mean: str, std: str, factor: float) -> None:
    """torchvision's formula, in float64; mean and deviation of pixels 0..1, or both 255 times as large."""
    expected = (PIXELS / 255 - UNIT_MEAN) / UNIT_STD
    found = prepared(**{mean: (UNIT_MEAN * factor).reshape(3, 1), std: (UNIT_STD * factor).reshape(1, 1, 3)})
    np.testing.assert_allclose(found, expected.transpose(2, 0, 1), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("mean", ["averageImage", "rgbMean", "imageMean"])
@pytest.mark.parametrize("place", ["beside layers", "beside net", "after meta"])
def test_a_mean_beside_the_network(mean: str, place: str, tmp_path: Path) -> None:
    """The practicals on characters save `imageMean` beside `layers`; a mean in meta comes first."""
    layers = Cell([{"type": "conv", "name": "c", "weights": Cell([np.ones((2, 2, 1, 3), np.float32)])}])
    stated = {"averageImage": row(7)} if place == "after meta" else {}
    net = {"layers": layers, "meta": {"normalization": {"imageSize": row(2, 2, 1), **stated}}}
    variables = {mean: row(107.5), **({"net": net} if place == "beside net" else net)}
    write_mat(tmp_path / "net.mat", variables)
    found = matnet.load(tmp_path / "net.mat")
    image = np.full((2, 2), 200, np.uint8)
    expected = 200 - (7 if place == "after meta" else 107.5)
    np.testing.assert_allclose(found.prepare(image), np.full((1, 1, 2, 2), expected))
    assert any(mean in note for note in found.source.notes)
    matnet.save(found, tmp_path / "saved.mat")
    np.testing.assert_allclose(matnet.load(tmp_path / "saved.mat").prepare(image), found.prepare(image))


@pytest.mark.parametrize(
    ("fields", "low", "high", "mean", "std", "scale"),
    [
        ({"inputRange": row(0, 1)}, 0, 1, 0, 1, 1),
        ({"inputRange": row(-1, 1)}, -1, 1, 0, 1, 1),
        ({"inputRange": row(0, 1), "averageImage": row(0.5)}, 0, 1, 0.5, 1, 1),
        ({"inputRange": row(0, 255), "averageImage": row(0.5), "imageStd": row(0.5)}, 0, 255, 0.5, 0.5, 1),
        ({"averageImage": row(100), "imageStd": row(50), "scale": row(2)}, 0, 255, 100, 50, 2),
        ({"averageImage": row(100), "imageStd": row(1)}, 0, 255, 100, 1, 1),
        ({"imageStd": row(0.25)}, 0, 1, 0, 0.25, 1),
        ({"scale": row(1 / 128)}, 0, 255, 0, 1, 1 / 128),
    ],
)
def test_range_and_scale(
    fields: dict[str, Any], low: float, high: float, mean: float, std: float, scale: float
) -> None:
    expected = ((PIXELS / 255 * (high - low) + low) - mean) / std * scale
    np.testing.assert_allclose(prepared(**fields), expected.transpose(2, 0, 1), rtol=1e-6, atol=1e-6)


def test_a_deviation_image_is_used_pixel_by_pixel() -> None:
    std = np.array([[[20.0, 30, 40], [50, 60, 70]]])
    mean = np.array([100.0, 110, 120])
    size = {"imageSize": row(1, 2, 3)}
    net = network({"normalization": {**size, "averageImage": mean}})
    found = Preprocessing.of(net, std=std).apply(PIXELS)
    np.testing.assert_allclose(found, ((PIXELS - mean) / std).transpose(2, 0, 1), rtol=1e-6)


@pytest.mark.parametrize(
    ("mean", "std"), [((123, 117, 104), (0.229, 0.224, 0.225)), ((0.5,), (60,)), ((100,), (0, 1, 1))]
)
def test_ranges_that_do_not_go_together_are_refused(mean: tuple[float, ...], std: tuple[float, ...]) -> None:
    with pytest.raises(DataError, match="deviation"):
        prepared(averageImage=row(*mean), imageStd=row(*std))


def test_a_mean_of_small_pixels_without_a_range_is_noted() -> None:
    said = notes(network({"normalization": {"averageImage": row(0.4), "imageSize": row(8, 9, 3)}}))
    assert len(said) == 1
    assert "inputRange" in said[0]


def test_fields_that_are_not_known_are_noted_together() -> None:
    fields = {"imageSize": row(8, 9, 3), "gamma": row(2), "whitening": "zca", "numAugments": row(1), "empty": row()}
    (said,) = notes(network({"normalization": fields}))
    assert "gamma" in said
    assert "whitening" in said
    assert "numAugments" not in said
    assert "empty" not in said


def test_two_means_that_differ_are_noted() -> None:
    fields = {"averageImage": row(120, 110, 100), "rgbMean": row(120, 110, 101), "imageMean": row(120, 110, 100)}
    (said,) = notes(network({"normalization": fields}))
    assert "averageImage and rgbMean" in said
    np.testing.assert_array_equal(Preprocessing.of(network({"normalization": fields}), image_size=(8, 9)).mean[2], 100)


def test_a_file_with_a_deviation() -> None:
    """Values of 0..1: the input is (pixel / 255 - mean) / std, for files and for what ONNX files say."""
    net = matnet.load(DATA / "meta" / "m_std.mat")
    image = np.random.default_rng(1).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    found = Preprocessing.of(net, crop_fraction=(1.0, 1.0)).apply(image)
    expected = ((image / 255 - UNIT_MEAN) / UNIT_STD).transpose(2, 0, 1)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert any("0..1" in note for note in net.source.notes)
    said = json.loads(to_onnx_model(net).metadata["preprocessing"])
    assert said["inputRange"] == [0, 1]
    np.testing.assert_allclose(said["averageImage"], UNIT_MEAN, rtol=1e-6)
    np.testing.assert_allclose(said["imageStd"], UNIT_STD, rtol=1e-6)


@pytest.mark.process
def test_a_missing_normalization_is_reported_in_the_words_that_were_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    net = network({})
    with pytest.raises(DataError, match=r"image_size=\(height, width\)"):
        Preprocessing.of(net)
    matnet.save(net, tmp_path / "net.mat")
    folder = ROOT / "models" / "digits-lenet" / "test"
    arguments = ["--model", str(tmp_path / "net.mat"), "--data", str(folder), "--quiet"]
    assert run_command(evaluate, arguments) == 2
    said = capsys.readouterr().err
    assert "net.mat" in said
    assert "--mean" in said
    assert "image_size=" not in said
