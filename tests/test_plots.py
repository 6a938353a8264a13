"""`matnet.plots`: what the figures show, read back from their axes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import matnet
from matnet import plots
from matnet.errors import DataError, NetworkError, ShapeError
from matnet.figures import LONGEST_SHOWN
from matnet.metrics import RocCurve
from matnet.network import Network
from tests.tiny_models import colours

pytest.importorskip("matplotlib", reason="matplotlib is not installed")

ROOT = Path(__file__).resolve().parents[1]
DIGITS = ROOT / "models" / "digits-lenet"
SEVEN = sorted((DIGITS / "test" / "7").glob("*.png"))[0]


@pytest.fixture(scope="module")
def digits() -> Network:
    return matnet.load(DIGITS / "digits-lenet.mat")


@pytest.fixture
def tricolour() -> Network:
    net = colours()
    net.classes = ["red", "green", "blue"]
    return net


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """2 x 2 pixels of one colour, (200, 50, 100)."""
    Image.new("RGB", (2, 2), (200, 50, 100)).save(tmp_path / "a.png")
    return tmp_path / "a.png"


def shown(figure: Any, axes: int = 0) -> np.ndarray:
    return np.ma.getdata(figure.axes[axes].images[0].get_array())


@pytest.mark.process
def test_filters_are_tiles_in_colour(tricolour: Network, tmp_path: Path) -> None:
    """Filter k is positive in channel k alone: its tile is bright there, and gray in the others."""
    figure = plots.filters(tricolour, columns=3)
    tiles = shown(figure)
    assert tiles.shape == (2, 8, 3)
    for k in range(3):
        np.testing.assert_allclose(tiles[:, 3 * k : 3 * k + 2], np.broadcast_to(0.5 + 0.5 * np.eye(3)[k], (2, 2, 3)))
    figure.savefig(tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.process
def test_filters_of_many_channels_are_refused(digits: Network) -> None:
    assert shown(plots.filters(digits)).ndim == 2  # gray
    with pytest.raises(NetworkError, match="conv2"):
        plots.filters(digits, "conv2")


@pytest.mark.process
def test_feature_maps_are_those_of_the_layer(digits: Network) -> None:
    values = digits.features(SEVEN, "conv1")[0]
    tiles = shown(plots.feature_maps(digits, SEVEN, "conv1", most=4))
    height, width = values.shape[1:]
    scaled = (values - values.min()) / (values.max() - values.min())
    np.testing.assert_allclose(tiles[:height, :width], scaled[0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(tiles[-height:, -width:], scaled[3], rtol=1e-5, atol=1e-6)


@pytest.mark.process
def test_large_pictures_are_reduced_before_they_are_drawn(digits: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every k-th row and column of the values; the title has the size of all."""
    maps = np.random.default_rng(0).normal(size=(1, 9, 900, 1500)).astype(np.float32)
    monkeypatch.setattr(type(digits), "features", lambda *given, **options: maps)
    figure = plots.feature_maps(digits, SEVEN, "conv1")
    tiles = shown(figure)
    assert "900x1500" in figure.axes[0].get_title()
    assert max(tiles.shape) < 2 * LONGEST_SHOWN
    first = (maps[0, 0, ::4, ::4] - maps.min()) / (maps.max() - maps.min())  # 3 * 1500 // 1000
    np.testing.assert_allclose(tiles[: first.shape[0], : first.shape[1]], first, atol=1e-6)
    how = matnet.images.Preprocessing(image_size=(1300, 2100), mean=[1, 2, 3])
    for axes in plots.preprocessing(digits, SEVEN, how).axes:
        assert max(axes.images[0].get_array().shape) < 2 * LONGEST_SHOWN


def test_many_numbers_share_bars_that_reach_from_the_least_to_the_largest(
    digits: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = np.random.default_rng(0).normal(size=(1, 10 * plots.MOST_BARS + 3)).astype(np.float32)
    monkeypatch.setattr(type(digits), "features", lambda *given, **options: values)
    (bars, *_) = plots.feature_maps(digits, SEVEN, "ip1").axes[0].collections
    segments = np.array(bars.get_segments())
    assert len(segments) <= plots.MOST_BARS
    np.testing.assert_allclose(segments[1, :, 1], [min(values[0, 11:22].min(), 0), max(values[0, 11:22].max(), 0)])


def test_numbers_of_a_layer_without_maps_are_bars(digits: Network) -> None:
    values = digits.features(SEVEN, "ip1")[0]
    (bars, *_) = plots.feature_maps(digits, SEVEN, "ip1").axes[0].collections
    tops = [segment[1, 1] for segment in bars.get_segments()]
    np.testing.assert_allclose(tops, values, rtol=1e-6)


@pytest.mark.process
def test_preprocessing_ends_in_the_input(digits: Network) -> None:
    figure = plots.preprocessing(digits, SEVEN)
    final = digits.preprocessing.load(SEVEN)[0]
    reach = np.abs(final).max()
    np.testing.assert_allclose(shown(figure, -1)[..., 0], 0.5 + final / (2 * reach), rtol=1e-5, atol=1e-6)


@pytest.mark.process
def test_bars_are_the_probabilities(tricolour: Network, photo: Path) -> None:
    figure = plots.top5(tricolour, photo)
    bars = figure.axes[1]
    expected = np.exp([2, 1, 0.5]) / np.exp([2, 1, 0.5]).sum()
    np.testing.assert_allclose([bar.get_width() for bar in bars.patches], expected, rtol=1e-5)
    assert [label.get_text() for label in bars.get_yticklabels()] == ["red", "blue", "green"]
    np.testing.assert_allclose(shown(figure) * 255, np.full((2, 2, 3), (200, 50, 100)))


def test_a_segmentation_names_its_classes_by_size() -> None:
    """VOC's palette: class 1 is (128, 0, 0), 2 is (0, 128, 0)."""
    image = np.full((4, 5, 3), 100, np.uint8)
    labels = np.full((4, 5), 2)
    labels[0] = 1
    figure = plots.segmentation(image, labels, ["background", "aeroplane", "bicycle"])
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert [text.split(",")[0] for text in texts] == ["bicycle", "aeroplane"]
    assert "75.0" in texts[0]
    red, green = shown(figure)[0, 0], shown(figure)[1, 0]
    assert red.argmax() == 0
    assert green.argmax() == 1
    with pytest.raises(ShapeError, match="5, 4"):
        plots.segmentation(image, labels.T)
    with pytest.raises(DataError, match="300"):
        plots.segmentation(image, labels + 298)
    with pytest.raises(DataError, match="fractions"):
        plots.segmentation(image, labels + 0.5)
    again = shown(plots.segmentation(image, labels.astype(np.float32)))
    np.testing.assert_array_equal(again, shown(plots.segmentation(image, labels)))


@pytest.mark.process
def test_occlusion_finds_what_a_class_hangs_on(tmp_path: Path) -> None:
    """The red score is the average of the red pixels, of which only the lower right one is bright."""
    pixels = np.zeros((2, 2, 3), np.uint8)
    pixels[1, 1] = (200, 0, 0)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    net = colours(softmax=False)
    figure = plots.occlusion(net, tmp_path / "a.png", index=0, size=1, stride=1)
    np.testing.assert_allclose(figure.axes[1].images[1].get_array(), [[0, 0], [0, 0.5]], atol=1e-6)


@pytest.mark.parametrize(
    ("given", "fact"), [({"index": 10}, "0 to 9"), ({"index": -1}, "0 to 9"), ({"stride": -1}, "stride")]
)
def test_classes_and_squares_that_do_not_exist_are_refused(given: dict[str, int], fact: str, digits: Network) -> None:
    with pytest.raises(DataError, match=fact):
        plots.occlusion(digits, SEVEN, **given)  # type: ignore[arg-type]


def test_a_pattern_is_no_single_layer(digits: Network) -> None:
    with pytest.raises(NetworkError, match="such as 'conv1'"):
        plots.feature_maps(digits, SEVEN, "conv*")


def test_a_roc_curve_states_its_errors() -> None:
    curve = RocCurve.of(np.array([0.1, 0.2, 0.3, 0.4]), np.array([True, True, False, False]))
    figure = plots.roc({"faces": curve})
    line, diagonal = figure.axes[0].lines
    np.testing.assert_array_equal(line.get_ydata(), curve.true_accepts)
    assert "faces" in line.get_label()
    assert "100.00" in line.get_label()
    assert diagonal.get_label()


def test_gradients_raise_what_they_follow(photo: Path) -> None:
    """Towards blue, blue pixels grow most; needs torch."""
    pytest.importorskip("torch", reason="torch is not installed")
    net = colours()
    net.meta["normalization"]["averageImage"] = np.array([100.0, 100, 100]).reshape(1, 1, 3)
    picture = shown(plots.class_image(net, 2, steps=12))
    assert picture[..., 2].mean() > picture[..., :2].mean() + 0.1
    before = np.array([200, 50, 100]) / 255
    after = shown(plots.dream(net, photo, "fc", steps=5)).mean(axis=(0, 1))
    assert np.abs(after - 100 / 255).sum() > np.abs(before - 100 / 255).sum()


@pytest.mark.process
def test_a_notebook_shows_a_figure_as_a_picture(tricolour: Network) -> None:
    """IPython asks objects for `_repr_png_`; it knows matplotlib's own class only where pyplot was imported."""
    assert plots.filters(tricolour)._repr_png_().startswith(b"\x89PNG")
