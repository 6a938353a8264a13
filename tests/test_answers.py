"""What a network answers: classes, layers, predictions, features, prepared images, drawings."""

from __future__ import annotations

import io
import logging
import re
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from PIL import Image

import matnet
from matnet.answers.classes import Classes
from matnet.answers.classify import nameless
from matnet.datasets.ilsvrc2012 import in_devkit_order, synsets
from matnet.errors import DataError, MatnetError, NetworkError, ShapeError
from matnet.images import Preprocessing
from matnet.meta import class_names
from matnet.network import Layer, Network
from matnet.ops.activation import SoftMax
from tests.tiny_models import colours

ROOT = Path(__file__).resolve().parents[1]
DIGITS = ROOT / "models" / "digits-lenet"
SEVENS = sorted((DIGITS / "test" / "7").glob("*.png"))


@pytest.fixture(scope="module")
def digits() -> Network:
    return matnet.load(DIGITS / "digits-lenet.mat")


def flat(*rgb: int) -> Image.Image:
    return Image.new("RGB", (2, 2), rgb)


# -- classify ---------------------------------------------------------------------------------------


def test_one_image_is_a_table_of_classes() -> None:
    """Softmax of (2, 0.5, 1), worked out by hand."""
    net = colours()
    net.classes = ["red", "green", "blue"]
    found = net.classify(flat(200, 50, 100))
    rows = found.to_dicts()
    assert [row["class"] for row in rows] == ["red", "blue", "green"]
    expected = np.exp([2, 1, 0.5]) / np.exp([2, 1, 0.5]).sum()
    np.testing.assert_allclose([row["probability"] for row in rows], expected, rtol=1e-5)
    assert len(found) == 3
    for text in (str(found), found._repr_html_()):
        assert text.index("red") < text.index("blue") < text.index("green")
        assert f"{expected[0]:.4f}" in text
    assert not found.notes


@pytest.mark.process
def test_a_folder_has_a_row_per_image(digits: Network) -> None:
    found = digits.classify(DIGITS / "test" / "7", top=3, batch_size=8)
    rows = found.to_dicts()
    assert [row["image"] for row in rows] == [str(path) for path in SEVENS]
    scores = digits(np.stack([digits.preprocessing.load(path) for path in SEVENS]))[:, :, 0, 0]
    assert [row["index"] for row in rows] == scores.argmax(axis=1).tolist()
    np.testing.assert_allclose([row["probability"] for row in rows], scores.max(axis=1), rtol=1e-4)
    assert all(len(row["top"]) == 3 for row in rows)
    assert str(found).count("\n") == len(SEVENS) + 1
    assert found._repr_html_().count("<tr>") == len(SEVENS) + 1


class Tensor(list):  # type: ignore[type-arg]
    """A tensor of another library: it is iterable, and an array on request."""

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return np.array(list(self), np.uint8)


SINGLE = ["path", "bytes", "open file", "Pillow", "array", "tensor"]
SEVERAL = ["list", "tensors", "array of paths", "N x H x W x C"]


@pytest.mark.parametrize("kind", SINGLE + SEVERAL)
def test_images_of_every_kind(kind: str, digits: Network) -> None:
    path, pixels = SEVENS[0], np.asarray(Image.open(SEVENS[0]))
    images = {
        "path": str(path), "bytes": path.read_bytes(), "open file": io.BytesIO(path.read_bytes()),
        "Pillow": Image.open(path), "array": pixels, "list": [path], "N x H x W x C": pixels[None, :, :, None],
        "tensor": Tensor(pixels), "tensors": [Tensor(pixels)], "array of paths": np.array([str(path)]),
    }[kind]  # fmt: skip
    expected = digits.preprocessing.load(path)[None]
    np.testing.assert_array_equal(digits.prepare(images), expected)
    assert len(digits.classify(images, top=2)) == (1 if kind in SEVERAL else 2)


@pytest.mark.parametrize(
    ("scale", "shift", "values"), [(1 / 255, 0, "0 to 1"), (1 / 127.5, -1, "-1 to 1"), (257, 0, "65535")]
)
@pytest.mark.parametrize("way", ["prepare", "classify", "features"])
def test_arrays_of_another_range_are_refused(
    way: str, scale: float, shift: float, values: str, digits: Network
) -> None:
    """As matplotlib, torchvision and 16-bit files give them; a black image has no other range."""
    pixels = np.linspace(0, 255, 28 * 28).reshape(28, 28)
    ask = {"prepare": digits.prepare, "classify": digits.classify, "features": lambda x: digits.features(x, "ip1")}[way]
    with pytest.raises(DataError, match=f"{values}; expected 0"):
        ask(pixels * scale + shift)
    for image in (pixels, np.zeros((28, 28)), np.ones((28, 28))):
        ask(image)


@pytest.mark.process
def test_unreadable_images_are_named_and_the_others_go_on(digits: Network, tmp_path: Path, caplog: Any) -> None:
    bad, absent = tmp_path / "bad.png", tmp_path / "absent.png"
    bad.write_bytes(SEVENS[0].read_bytes()[:60])
    (tmp_path / "empty.png").write_bytes(b"")
    images = [SEVENS[0], bad, SEVENS[1], absent, tmp_path / "empty.png"]
    found = digits.classify(images)
    assert [("error" in row) for row in found.to_dicts()] == [False, True, False, True, True]
    assert len(found.unreadable) == 3
    for name, fault in zip(("bad.png", "absent.png", "empty.png"), found.unreadable, strict=True):
        assert name in fault
    assert "3 of 5" in str(found)
    assert "bad.png" in caplog.text
    values = digits.features(images, "ip1")
    assert np.isnan(values).all(axis=1).tolist() == [False, True, False, True, True]
    with pytest.raises(DataError, match=r"bad\.png"):
        digits.classify(bad)


def test_folders_and_lists_without_images_are_refused(digits: Network, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=re.escape(str(tmp_path))):
        digits.classify(tmp_path)
    with pytest.raises(DataError, match="no image"):
        digits.classify([])


def test_exif_is_noted_and_applied_on_request(digits: Network) -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    buffer = io.BytesIO()
    Image.open(SEVENS[0]).save(buffer, "PNG", exif=exif)
    plain, turned = digits.classify(buffer.getvalue()), digits.classify(buffer.getvalue(), exif=True)
    assert any("ignored" in note for note in plain.notes)
    assert any("applied" in note for note in turned.notes)
    upright = digits.prepare(SEVENS[0])
    np.testing.assert_array_equal(digits.prepare(buffer.getvalue(), exif=True), upright[:, :, ::-1, ::-1])
    assert not digits.classify(SEVENS[0]).notes


def test_scores_without_softmax_are_called_so_and_nameless_classes_numbered() -> None:
    found = colours(softmax=False).classify(flat(200, 50, 100))
    assert [row["class"] for row in found.to_dicts()] == ["0", "2", "1"]
    np.testing.assert_allclose([row["score"] for row in found.to_dicts()], [2, 1, 0.5], rtol=1e-5)
    assert any("net.classes" in note and "ilsvrc12" not in note for note in found.notes)
    assert [count for count in (None, 3, 999, 1000, 1001) if "ilsvrc12" in nameless(count)] == [1000]


@pytest.mark.parametrize("classes", [["a", "b"], "no-such-file.txt", "ilsvrc12"])
def test_classes_that_do_not_fit_are_refused(classes: Any) -> None:
    with pytest.raises(MatnetError, match="class"):
        colours().classify(flat(1, 2, 3), classes=classes)


def test_maps_of_scores_are_refused_by_name() -> None:
    net = colours()
    with pytest.raises(NetworkError, match="'p'"):
        net.classify(flat(1, 2, 3), preprocessing=Preprocessing((5, 7)))


def test_scores_that_are_not_finite_are_noted(caplog: Any) -> None:
    net = colours(softmax=False)
    net.params["f"].value = net.params["f"].value * np.float32(np.nan)
    found = net.classify([flat(1, 2, 3)])
    assert any("NaN or infinite" in note for note in found.notes)
    assert "NaN or infinite" in caplog.text


def test_a_network_without_preprocessing_says_what_to_give() -> None:
    net = colours()
    net.meta.pop("normalization")
    with pytest.raises(DataError, match=r"image_size=.*mean="):
        net.classify(flat(1, 2, 3))
    assert net.classify(flat(1, 2, 3), preprocessing=Preprocessing((2, 2))).to_dicts()[0]["index"] == 2


@pytest.mark.parametrize("given", [{}, {"preprocessing": Preprocessing((5, 7))}])
def test_fields_of_the_preprocessing_are_keywords(given: dict[str, Any]) -> None:
    """Averages minus (50, 60, 70), over 100: (1.5, -0.1, 0.3); they replace what the file, or preprocessing, says."""
    net, stated = colours(softmax=False), {"image_size": (2, 2), "mean": (50, 60, 70)}
    if not given:
        net.meta.pop("normalization")
    image = flat(200, 50, 100)
    np.testing.assert_allclose(net.features(image, "s", **given, **stated), [[1.5, -0.1, 0.3]], rtol=1e-5)
    scores = [row["score"] for row in net.classify(image, **given, **stated).to_dicts()]
    np.testing.assert_allclose(scores, [1.5, 0.3, -0.1], rtol=1e-5)
    with pytest.raises(DataError, match=r"image_size is 8; expected \(height, width\)"):
        net.classify(image, **given, image_size=8)
    with pytest.raises(DataError, match="mean is 'x'; expected numbers"):
        net.classify(image, **given, image_size=(2, 2), mean="x")
    with pytest.raises(MatnetError, match="colour_order"):
        net.classify(image, **stated, colour_order="rgb")


@pytest.mark.parametrize(("channels", "scale", "doubted"), [(3, 1.0, True), (1, 1.0, True), (1, 1 / 256, False)])
def test_a_network_from_caffe_without_a_mean_is_doubted(channels: int, scale: float, doubted: bool) -> None:
    """BVLC's LeNet, of gray images, scales by 1/256 and subtracts none."""
    net = colours(channels=channels)
    net.meta["caffe"] = {"flipped": []}
    found = net.classify(flat(1, 2, 3), preprocessing=Preprocessing((2, 2), channels, scale=scale))
    assert any("--mean" in note or "mean=" in note for note in found.notes) == doubted


def test_gray_images_serve_rgb_networks_and_the_reverse() -> None:
    gray = Image.new("L", (2, 2), 150)
    np.testing.assert_allclose(colours(softmax=False).features(gray, "s"), [[1.5, 1.5, 1.5]], rtol=1e-6)
    one = colours(outputs=1, softmax=False, channels=1)
    np.testing.assert_allclose(one.features(flat(0, 0, 255), "s"), [[0.29]], rtol=1e-6)  # 0.114 x 255, rounded


# -- features ---------------------------------------------------------------------------------------


@pytest.mark.process
def test_features_of_layers_and_variables(digits: Network) -> None:
    found = digits.features(SEVENS, ["conv2", "ip1"], batch_size=8)
    inputs = digits.prepare(SEVENS)
    expected = digits.forward(inputs, ["conv2", "ip1"])
    np.testing.assert_allclose(found["conv2"], expected["conv2"], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found["ip1"], expected["ip1"][:, :, 0, 0], rtol=1e-4, atol=1e-4)
    assert digits.features(SEVENS[0], "ip1").shape == (1, 64)


@pytest.mark.process
def test_ten_crops_are_averaged(digits: Network) -> None:
    crops = Preprocessing((8, 8), 1, mean=(73,), crops=10, resize="pillow", interpolation="bilinear")
    assert digits.prepare(SEVENS[:2], preprocessing=crops).shape == (20, 1, 8, 8)
    found = digits.features(SEVENS[:2], "ip1", preprocessing=crops)
    every = digits.forward(digits.prepare(SEVENS[:2], preprocessing=crops), ["ip1"])["ip1"]
    np.testing.assert_allclose(found, every.reshape(2, 10, -1).mean(axis=1), rtol=1e-4, atol=1e-4)


def test_an_unknown_layer_of_features(digits: Network) -> None:
    with pytest.raises(NetworkError, match="nearest: ") as error:
        digits.features(SEVENS[0], "ip11")
    named = str(error.value).split("nearest: ")[1].split(", ")
    assert len(set(named)) == len(named)


def test_images_do_not_depend_on_each_other_where_layers_combine_them() -> None:
    """An op that subtracts the mean of the batch gives zeros for each image by itself."""
    from dataclasses import dataclass

    @dataclass(frozen=True)
    class Centred(SoftMax):
        images_independent = False

        def forward(self, xp: Any, inputs: Any, params: Any) -> Any:
            return [inputs[0] - inputs[0].mean(axis=0, keepdims=True)]

    net = colours(softmax=False)
    net.add(Layer("centred", Centred(), ["s"], ["c"]))
    found = net.features([flat(200, 50, 100), flat(1, 2, 3), flat(9, 8, 7)], "c", backend="numpy")
    np.testing.assert_array_equal(found, np.zeros((3, 3)))


# -- classes ----------------------------------------------------------------------------------------


def test_the_order_of_imagenets_classes() -> None:
    """Facts that several networks' documents state; and each order holds each class once."""
    names = {synset.wnid: synset.names for synset in synsets()}
    assert len(names) == 1000
    assert [synset.wnid for synset in synsets()] == sorted(names)
    assert [synset.names for synset in synsets()][:2] == ["tench, Tinca tinca", "goldfish, Carassius auratus"]
    assert (synsets()[281].wnid, synsets()[281].names.split(",")[0]) == ("n02123045", "tabby")
    assert sorted(synset.devkit for synset in synsets()) == list(range(1, 1001))
    assert in_devkit_order()[0].wnid == "n02119789"  # kit fox is ILSVRC2012_ID 1


def test_the_order_against_a_real_networks_labels(real_data: Path) -> None:
    """100 images whose names state the id, with the output that the network has for their class."""
    lines = (real_data / "images" / "imagenet100" / "labels.txt").read_text().split()
    pairs = list(zip(lines[::2], lines[1::2], strict=True))
    assert len(pairs) == 100
    for label, file in pairs:
        assert synsets()[int(label)].wnid == file[:9]


@pytest.mark.parametrize(
    ("meta", "names", "ids"),
    [
        ({"name": ["n01440764", "n01443537"], "description": ["a fish", "another"]}, ["a fish", "another"], True),
        ({"name": ["n01440764", "n01443537"]}, ["tench, Tinca tinca", "goldfish, Carassius auratus"], True),
        ({"name": ["cat", "dog"]}, ["cat", "dog"], False),
        ({"name": ["c", "d"], "description": ["cat", "dog"]}, ["cat", "dog"], False),
    ],
)
def test_classes_of_a_file(meta: dict[str, list[str]], names: list[str], ids: bool) -> None:
    from matnet.formats.mat.values import Cell

    found = colours(meta={"classes": {name: Cell(value) for name, value in meta.items()}}).classes
    assert list(found) == names
    assert found.wordnet_ids == (tuple(meta["name"]) if ids else None)


def test_classes_are_named_by_a_list_a_file_or_an_order(tmp_path: Path) -> None:
    net = colours()
    assert len(net.classes) == 0
    assert "no names" in repr(net.classes)
    (tmp_path / "labels.txt").write_text("n02123045 tabby\nn02123159 tiger cat\nn02123394 Persian cat\n")
    net.classes = tmp_path / "labels.txt"
    assert net.classes == ["tabby", "tiger cat", "Persian cat"]
    assert net.classes.wordnet_ids == ("n02123045", "n02123159", "n02123394")
    matnet.save(net, tmp_path / "net.mat")
    assert matnet.load(tmp_path / "net.mat").classes == net.classes
    net = colours(outputs=1000)
    net.classes = "ilsvrc12"
    assert (len(net.classes), class_names(net)[0]) == (1000, "n01440764")  # type: ignore[index]
    assert isinstance(net.classes, Classes)


def test_the_order_of_the_models_card_names_the_classes(tmp_path: Path) -> None:
    """imagenet-caffe-alex's card states the sorted order; a file of another name has none."""
    net = colours(outputs=1000)
    net.source.path = tmp_path / "imagenet-caffe-alex.mat"
    assert net.classes[0] == "tench, Tinca tinca"
    net.source.path = tmp_path / "mine.mat"
    assert not net.classes


# -- layers, and the network itself -----------------------------------------------------------------


def test_a_layer_by_name(digits: Network) -> None:
    layer = digits["conv1"]
    assert layer.filters is not None
    assert layer.biases is not None
    assert layer.filters.shape == (3, 3, 1, 16)
    assert layer.biases.size == 16
    assert (layer.inputs, layer.op) == (["input"], digits.layers["conv1"].op)
    assert "conv1" in repr(layer)
    assert "conv1" in digits
    for name in ("conv11", "CONV1"):
        with pytest.raises(KeyError, match="nearest: conv1") as error:
            digits[name]
        assert isinstance(error.value, MatnetError)
        assert str(error.value).count("conv1,") <= 1
    with pytest.raises(KeyError, match="slice"):
        digits[0:2]  # type: ignore[index]


def test_assigning_filters_changes_the_network() -> None:
    net = colours(softmax=False)
    before = net.features(flat(200, 50, 100), "s")
    net["fc"].filters = 2 * net["fc"].filters
    np.testing.assert_allclose(net.features(flat(200, 50, 100), "s"), 2 * before, rtol=1e-6)
    with pytest.raises(NetworkError, match="new array"):
        net["fc"].filters = np.zeros((1, 1, 3, 3))


def test_preprocessing_says_the_chain_in_words(digits: Network) -> None:
    for text in (repr(digits.preprocessing), digits.preprocessing._repr_html_()):
        places = [text.index(word) for word in ("gray", "8x8", "subtract the mean (73)", "channels first: 1 x 8 x 8")]
        assert places == sorted(places)


@pytest.mark.process
def test_one_name_of_an_output_is_no_list_of_letters(digits: Network, tmp_path: Path) -> None:
    for outputs in ("ip1", ["ip1"]):
        digits.to_onnx(tmp_path / "a.onnx", outputs=outputs)
        session = onnxruntime.InferenceSession(tmp_path / "a.onnx")
        assert [output.shape[1:] for output in session.get_outputs()] == [[64, 1, 1]]


def test_summary_drawing_and_files(digits: Network, tmp_path: Path) -> None:
    assert "conv1" in digits.summary()
    drawing = digits.draw()
    assert drawing._repr_svg_().lstrip().startswith(("<svg", "<?xml"))
    assert drawing.save(tmp_path / "net.svg").read_text() == drawing.svg
    digits.save(tmp_path / "net.mat", format="dagnn")
    assert matnet.load(tmp_path / "net.mat").source.format == "dagnn"
    assert [path.name for path in digits.to_onnx(tmp_path / "net.onnx")] == ["net.onnx"]


def test_an_array_with_channels_last_is_refused(digits: Network) -> None:
    net = colours()
    net(np.zeros((2, 3, 2, 2), np.float32))
    for array in (np.zeros((2, 5, 7, 3), np.float32), np.zeros((2, 5, 7, 3))):
        with pytest.raises(ShapeError, match=r"transpose\(0, 3, 1, 2\)"):
            net(array)


@pytest.mark.parametrize("image", ["photo.png", Path("photo.png")])
def test_an_image_in_place_of_an_array_is_answered_with_prepare(image: Any, digits: Network) -> None:
    with pytest.raises(ShapeError, match=r"net\.prepare\(image\)"):
        digits(image)


@pytest.mark.parametrize("outputs", [3, [3], ["p", None], object()])
def test_outputs_that_are_no_names_are_refused(outputs: Any) -> None:
    with pytest.raises(NetworkError, match="names"):
        colours()(np.zeros((1, 3, 2, 2)), outputs)


def test_one_output_is_an_array_and_compile_gives_a_dict() -> None:
    net, x = colours(), np.zeros((1, 3, 2, 2), np.float32)
    assert isinstance(net(x), np.ndarray)
    assert list(net.compile()(x)) == ["p"]
    assert list(net(x, ["s", "p"])) == ["s", "p"]


@pytest.mark.process
def test_the_pages_examples_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    page = (ROOT / "docs" / "answers.md").read_text()
    names: dict[str, Any] = {}
    for block in re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL):
        exec(block, names)
    assert names["net"].source.path


@pytest.fixture(autouse=True)
def log_everything(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "matnet")
