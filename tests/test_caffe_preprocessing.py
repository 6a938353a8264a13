"""Colours, means and meta of converted networks: a pixel goes the way it went in Caffe."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

import matnet
from matnet.converters.caffemodel import read_mean
from matnet.converters.means import corner_to_corner
from matnet.converters.preprocessing import read_labels
from matnet.errors import DataError, FileFormatError, NetworkError
from matnet.formats.mat import write_mat
from matnet.images.prepare import Preprocessing
from matnet.network import Network
from tests.caffe_bytes import binaryproto
from tests.caffe_nets import TOLERANCE, blob_values, caffe_files, converted, reloaded
from tests.conftest import assert_close

RANDOM = np.random.default_rng(31)
IMAGE = RANDOM.random((5, 7, 3)).astype(np.float32) * 255  # H x W x (R, G, B)
BGR = np.ascontiguousarray(IMAGE.transpose(2, 0, 1)[None, ::-1])
SHAPE = {"data": (1, 3, 5, 7)}
C3 = RANDOM.standard_normal(3).astype(np.float32)
P3 = (RANDOM.random(3) + 0.5).astype(np.float32)
ONE = np.ones(1, np.float32)

CONV = """layer { name: "c" type: "Convolution" bottom: "%s" top: "y"
          convolution_param { num_output: 4 kernel_size: 3 pad: 1 bias_term: false } }"""
FILTERS = RANDOM.standard_normal((4, 3, 3, 3)).astype(np.float32)


# -- colours ---------------------------------------------------------------------------------------

BEFORE = {
    "nothing": ("data", "", {}),
    "BatchNorm": ("b", 'layer { name: "b" type: "BatchNorm" bottom: "data" top: "b" }', {"b": [C3, P3, ONE]}),
    "Scale": (
        "s", 'layer { name: "s" type: "Scale" bottom: "data" top: "s" scale_param { bias_term: true } }',
        {"s": [P3, C3]},
    ),
    "Power and ReLU": (
        "r", """layer { name: "p" type: "Power" bottom: "data" top: "p" power_param { scale: 0.01 shift: -1 } }
                layer { name: "r" type: "ReLU" bottom: "p" top: "r" }""", {}
    ),
    "LRN and Pooling": (
        "q", """layer { name: "n" type: "LRN" bottom: "data" top: "n" lrn_param { local_size: 3 alpha: 1e-4 } }
                layer { name: "q" type: "Pooling" bottom: "n" top: "q" pooling_param { kernel_size: 2 } }""", {}
    ),
    "PReLU": ("r", 'layer { name: "r" type: "PReLU" bottom: "data" top: "r" }', {"r": [C3]}),
    "depthwise": (
        "d", """layer { name: "d" type: "Convolution" bottom: "data" top: "d"
                convolution_param { num_output: 3 group: 3 kernel_size: 1 } }""",
        {"d": [P3.reshape(3, 1, 1, 1), C3]},
    ),
    "Slice and Concat": (
        "k", """layer { name: "s" type: "Slice" bottom: "data" top: "s1" top: "s2" slice_param { slice_point: 1 } }
                layer { name: "k" type: "Concat" bottom: "s2" bottom: "s1" top: "k" }""", {}
    ),
    "Eltwise": (
        "e", """layer { name: "s" type: "Scale" bottom: "data" top: "s" }
                layer { name: "e" type: "Eltwise" bottom: "data" bottom: "s" top: "e" }""", {"s": [P3]}
    ),
    "an extension": ("m", 'layer { name: "m" type: "MVN" bottom: "data" top: "m" }', {}),
    "Normalize": (
        "m", 'layer { name: "m" type: "Normalize" bottom: "data" top: "m" norm_param { channel_shared: false } }',
        {"m": [P3]},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(BEFORE))
def test_a_flipped_network_computes_the_same_of_the_flipped_image(name: str, tmp_path: Path) -> None:
    """Whatever stands before the first convolution, R, G, B in the new network is B, G, R in the old one."""
    blob, text, blobs = BEFORE[name]
    prototxt, caffemodel = caffe_files(tmp_path, text + CONV % blob, SHAPE, {**blobs, "c": [FILTERS]})
    caffe = matnet.convert_caffe(prototxt, caffemodel, color_format="rgb")
    flipped = reloaded(matnet.convert_caffe(prototxt, caffemodel), tmp_path)
    expected = blob_values(caffe, ["y"], {"data": BGR})["y"]
    found = blob_values(flipped, ["y"], {"data": BGR[:, ::-1]})["y"]
    assert_close(found, expected, TOLERANCE, name)
    assert np.abs(blob_values(flipped, ["y"], {"data": BGR})["y"] - expected).max() > 0.01 * np.abs(expected).max()


def test_channels_concatenated_with_others_are_followed_to_their_places(tmp_path: Path) -> None:
    text = """layer { name: "k" type: "Concat" bottom: "depth" bottom: "data" top: "k" }
              layer { name: "c" type: "Convolution" bottom: "k" top: "y"
                      convolution_param { num_output: 4 kernel_size: 3 bias_term: false } }"""
    shapes = {"data": (1, 3, 5, 7), "depth": (1, 2, 5, 7)}
    filters = RANDOM.standard_normal((4, 5, 3, 3)).astype(np.float32)
    depth = RANDOM.standard_normal((1, 2, 5, 7)).astype(np.float32)
    prototxt, caffemodel = caffe_files(tmp_path, text, shapes, {"c": [filters]})
    caffe = matnet.convert_caffe(prototxt, caffemodel, color_format="rgb")
    flipped = matnet.convert_caffe(prototxt, caffemodel)
    expected = blob_values(caffe, ["y"], {"data": BGR, "depth": depth})["y"]
    assert_close(blob_values(flipped, ["y"], {"data": BGR[:, ::-1], "depth": depth})["y"], expected, TOLERANCE, "y")
    assert list(flipped.layers) == ["k", "c"]


def test_twins_that_share_their_first_filters_are_flipped_together(tmp_path: Path) -> None:
    share = 'param { name: "w" }'
    text = "".join(
        f"""layer {{ name: "c{n}" type: "Convolution" bottom: "{blob}" top: "y{n}" {share}
            convolution_param {{ num_output: 4 kernel_size: 3 bias_term: false }} }}"""
        for n, blob in ((1, "data"), (2, "other"))
    )
    shapes = {"data": (1, 3, 5, 7), "other": (1, 3, 5, 7)}
    net = converted(tmp_path, text, shapes, {"c1": [FILTERS], "c2": [FILTERS]}, color_format="bgr")
    assert list(net.params) == ["c1_filter"]
    np.testing.assert_array_equal(net.params["c1_filter"].value, FILTERS.transpose(2, 3, 1, 0)[:, :, ::-1])


def test_grey_and_other_inputs_are_not_flipped(tmp_path: Path) -> None:
    filters = RANDOM.standard_normal((4, 1, 3, 3)).astype(np.float32)
    net = converted(tmp_path, CONV % "data", {"data": (1, 1, 5, 7)}, {"c": [filters]}, color_format="bgr")
    np.testing.assert_array_equal(net.params["c_filter"].value, filters.transpose(2, 3, 1, 0))


# -- means -----------------------------------------------------------------------------------------

MEAN = RANDOM.random((3, 9, 12)).astype(np.float32) * 255  # B, G, R x H x W, larger than the input by 4 and 5


def network_with(tmp_path: Path, **options: object) -> Network:
    return reloaded(converted(tmp_path, CONV % "data", SHAPE, {"c": [FILTERS]}, **options), tmp_path)


def mean_file(tmp_path: Path, suffix: str) -> Path:
    path = tmp_path / f"mean{suffix}"
    if suffix == ".binaryproto":
        path.write_bytes(binaryproto(MEAN))
    elif suffix == ".npy":
        np.save(path, MEAN)
    else:
        write_mat(path, {"mean_img": MEAN[::-1].transpose(1, 2, 0)})
    return path


@pytest.mark.parametrize("suffix", [".binaryproto", ".npy", ".mat"])
def test_a_mean_image_is_cut_at_its_centre(suffix: str, tmp_path: Path) -> None:
    """Caffe subtracts the whole mean and then crops: offsets floor(4 / 2) = 2 and floor(5 / 2) = 2."""
    net = network_with(tmp_path, color_format="bgr", mean=mean_file(tmp_path, suffix))
    average = net.meta["normalization"]["averageImage"]
    np.testing.assert_array_equal(average, MEAN[::-1, 2:7, 2:9].transpose(1, 2, 0))


def test_a_mean_file_that_is_not_what_its_header_says_takes_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "mean.npy"
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": (3, 9, 11)})
        file.truncate(2**28)  # takes no place on the disk
    tracemalloc.start()
    try:
        with pytest.raises(FileFormatError, match=r"mean\.npy: .*\(3, 9, 11\)"):
            read_mean(path)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_a_mean_file_of_a_network_that_takes_rgb_is_taken_as_it_is(tmp_path: Path) -> None:
    net = network_with(tmp_path, color_format="rgb", mean=mean_file(tmp_path, ".binaryproto"))
    np.testing.assert_array_equal(net.meta["normalization"]["averageImage"], MEAN[:, 2:7, 2:9].transpose(1, 2, 0))
    net = network_with(tmp_path, color_format="rgb", mean=mean_file(tmp_path, ".mat"))  # always R, G, B
    np.testing.assert_array_equal(net.meta["normalization"]["averageImage"], MEAN[::-1, 2:7, 2:9].transpose(1, 2, 0))


def test_a_mean_image_is_shrunk_as_the_importer_does(tmp_path: Path) -> None:
    """Samples from corner to corner: row 1 of 5 lies at 2 of 9, column 1 of 7 at 11 / 6 of 12."""
    net = network_with(tmp_path, color_format="bgr", mean=mean_file(tmp_path, ".npy"), mean_treatment="resize")
    average = net.meta["normalization"]["averageImage"]
    assert average.shape == (5, 7, 3)
    np.testing.assert_allclose(average[0, 0], MEAN[::-1, 0, 0], rtol=1e-6)
    np.testing.assert_allclose(average[4, 6], MEAN[::-1, 8, 11], rtol=1e-6)
    np.testing.assert_allclose(average[1, 1], MEAN[::-1, 2, 1] / 6 + MEAN[::-1, 2, 2] * 5 / 6, rtol=1e-5)


def test_resampling_keeps_a_ramp_a_ramp() -> None:
    ramp = np.arange(9.0).reshape(9, 1, 1) + np.zeros((1, 12, 2))
    np.testing.assert_allclose(corner_to_corner(ramp, (5, 7))[:, 3, 1], [0, 2, 4, 6, 8])


@pytest.mark.parametrize(("values", "expected"), [((123, 117, 104), [123, 117, 104]), ((50,), [50, 50, 50])])
def test_mean_values_are_in_rgb_order(values: tuple[float, ...], expected: list[float], tmp_path: Path) -> None:
    net = network_with(tmp_path, color_format="bgr", mean_values=values)
    np.testing.assert_array_equal(net.meta["normalization"]["averageImage"], np.float32(expected).reshape(1, 1, 3))


def test_the_input_goes_the_way_it_went_in_caffe(tmp_path: Path) -> None:
    """(pixel - mean) * scale in B, G, R there; whatever evaluation makes of meta here, the first blob is the same."""
    values = np.float32([123, 117, 104])
    prototxt, caffemodel = caffe_files(tmp_path, CONV % "data", SHAPE, {"c": [FILTERS]})
    caffe = matnet.convert_caffe(prototxt, caffemodel, color_format="rgb")
    fed = (BGR - values[::-1].reshape(1, 3, 1, 1)) * np.float32(0.017)
    expected = blob_values(caffe, ["y"], {"data": fed})["y"]
    net = reloaded(matnet.convert_caffe(prototxt, caffemodel, mean_values=values, scale=0.017), tmp_path)
    prepared = Preprocessing.of(net).apply(IMAGE)
    assert_close(blob_values(net, ["y"], {"data": prepared[None]})["y"], expected, TOLERANCE, "y")


TRAIN_VAL = """layer { name: "d" type: "Data" top: "data" top: "label" transform_param { crop_size: 5 scale: 0.25
               mean_value: 104 mean_value: 117 mean_value: 123 } }"""


def test_the_prototxts_transform_is_honoured(tmp_path: Path) -> None:
    _, caffemodel = caffe_files(tmp_path, CONV % "data", SHAPE, {"c": [FILTERS]})
    (tmp_path / "train_val.prototxt").write_text(TRAIN_VAL + CONV % "data")
    net = matnet.convert_caffe(tmp_path / "train_val.prototxt", caffemodel)
    normalization = net.meta["normalization"]
    np.testing.assert_array_equal(normalization["averageImage"].ravel(), [123, 117, 104])
    np.testing.assert_array_equal(normalization["imageSize"], [[5, 5, 3]])
    np.testing.assert_array_equal(normalization["scale"], [[0.25]])


def test_a_mean_image_tells_the_size_that_a_data_layer_does_not(tmp_path: Path) -> None:
    _, caffemodel = caffe_files(tmp_path, CONV % "data", SHAPE, {"c": [FILTERS]})
    (tmp_path / "train_val.prototxt").write_text('layer { name: "d" type: "Data" top: "data" }' + CONV % "data")
    net = matnet.convert_caffe(tmp_path / "train_val.prototxt", caffemodel, mean=mean_file(tmp_path, ".npy"))
    assert net.input_shapes == {"data": (1, 3, 9, 12)}
    np.testing.assert_array_equal(net.meta["normalization"]["border"], [[0, 0]])


REFUSED = [
    ({"mean": ".npy", "input_size": (20, 7)}, FileFormatError, "mean.*9x12.*20x7"),
    ({"mean_values": (1, 2)}, NetworkError, "mean values.*2.*3 channels"),
    ({"mean": ".npy", "mean_values": (1,)}, NetworkError, "mean file.*mean values"),
    ({"full_image_size": (0, 5)}, NetworkError, "full_image_size is"),
    ({"color_format": "grb"}, NetworkError, "color_format.*'grb'.*'bgr'.*'rgb'"),
    ({"colour_format": "bgr"}, NetworkError, "'colour_format'; nearest: color_format"),
    ({"input_size": {"dat": (5, 7)}}, NetworkError, "'dat'.*nearest: data"),
    ({"input_size": (5,)}, NetworkError, "1 numbers"),
    ({"input_size": (3, 0)}, NetworkError, "3x0.* below 1"),
]


@pytest.mark.parametrize(("options", "error", "message"), REFUSED, ids=[message for _, _, message in REFUSED])
def test_options_that_make_no_sense(
    options: dict[str, object], error: type[Exception], message: str, tmp_path: Path
) -> None:
    given = {**options, **({"mean": mean_file(tmp_path, ".npy")} if "mean" in options else {})}
    with pytest.raises(error, match=message):
        converted(tmp_path, CONV % "data", SHAPE, {"c": [FILTERS]}, **given)


@pytest.mark.parametrize("transpose", [True, False])
def test_a_full_size_is_height_and_width_of_the_image(transpose: bool, tmp_path: Path) -> None:
    """It must hold the input, whatever axis comes first in the network; one number is the shorter side."""
    shape = {"data": (1, 3, 20, 28)}
    for full in ((19, 40), (40, 27), (28, 20), (19,)):
        with pytest.raises(NetworkError, match="x".join(map(str, full))):
            converted(tmp_path, CONV % "data", shape, {"c": [FILTERS]}, full_image_size=full, transpose=transpose)
    net = converted(tmp_path, CONV % "data", shape, {"c": [FILTERS]}, full_image_size=(20, 28), transpose=transpose)
    norm = net.meta["normalization"]
    full = np.ravel(norm["imageSize"])[:2] + np.ravel(norm["border"])  # as the file's own axes stand
    assert full.tolist() == ([20, 28] if transpose else [28, 20])


def test_a_grey_mean_does_not_fit_a_colour_network(tmp_path: Path) -> None:
    np.save(tmp_path / "grey.npy", MEAN[:1])
    with pytest.raises(FileFormatError, match=r"mean.*1 channels.*input.*3"):
        converted(tmp_path, CONV % "data", SHAPE, {"c": [FILTERS]}, mean=tmp_path / "grey.npy")


# -- meta ------------------------------------------------------------------------------------------

# options, input -> imageSize, border, cropSize (the importer's rules; sizes as height, width)
SIZES = [
    ({}, (227, 227), [227, 227], [29, 29], [227 / 256, 227 / 256]),
    ({}, (300, 224), [300, 224], [0, 32], [1, 224 / 256]),
    ({}, (28, 28), [28, 28], [0, 0], [1, 1]),
    ({"full_image_size": (500,)}, (500, 500), [500, 500], [0], [1]),
    ({"full_image_size": (600,)}, (224, 224), [224, 224], [376], [224 / 600]),
    ({"full_image_size": (320, 256)}, (224, 224), [224, 224], [96, 32], [224 / 320, 224 / 256]),
]


@pytest.mark.parametrize(("options", "size", "image", "border", "crop"), SIZES)
def test_sizes_of_images(
    options: dict[str, object], size: tuple[int, int], image: list[float], border: list[float], crop: list[float],
    tmp_path: Path,
) -> None:  # fmt: skip
    net = converted(tmp_path, CONV % "data", {"data": (10, 3, *size)}, {"c": [FILTERS]}, **options)
    normalization = net.meta["normalization"]
    np.testing.assert_array_equal(normalization["imageSize"], [[*image, 3]])
    np.testing.assert_array_equal(normalization["border"], [border])
    np.testing.assert_allclose(normalization["cropSize"], [crop])
    np.testing.assert_array_equal(net.meta["inputs"]["size"], [[*size, 3, 10]])


IMAGE_LAYERS = [
    ("Data", "transform_param { crop_size: 224 }", (224, 224), (256, 256)),
    ("Data", "", (224, 224), (224, 224)),
    ("AnnotatedData", "transform_param { resize_param { height: 200 width: 240 } }", (200, 240), (200, 240)),
    ("AnnotatedData", "transform_param { resize_param { resize_mode: FIT_LARGE_SIZE_AND_PAD height: 90 width: 80 } }",
     (90, 80), (90, 80)),
    ("ImageData", "transform_param { crop_size: 224 } image_data_param { new_height: 320 new_width: 300 }",
     (224, 224), (320, 300)),
    ("VideoData", "transform_param { crop_size: 112 } video_data_param { new_height: 128 new_width: 171 }",
     (112, 112), (128, 171)),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "param", "size", "full"), IMAGE_LAYERS)
def test_a_data_layer_resizes_whole_images_and_then_crops(
    kind: str, param: str, size: tuple[int, int], full: tuple[int, int], tmp_path: Path
) -> None:
    """BVLC Caffe, image_data_layer.cpp; SSD fork, data_transformer.cpp. Without a size: 256, or no crop."""
    text = f'layer {{ name: "d" type: "{kind}" top: "data" top: "label" {param} }} '
    net = converted(tmp_path, text + CONV % "data", {}, {"c": [FILTERS]}, input_size=size)
    found = net.meta["normalization"]
    assert tuple(np.ravel(found["imageSize"])[:2]) == size
    assert tuple(np.ravel(found["imageSize"])[:2] + np.ravel(found["border"])) == full
    assert ("resize_mode FIT_LARGE_SIZE_AND_PAD" in " ".join(net.source.notes)) == ("PAD" in param)


def test_preprocessing_is_that_of_the_images_data_layer(tmp_path: Path) -> None:
    """Mean and scale of a second data layer, which reads targets, are not those of the image."""
    layers = "".join(
        f'layer {{ name: "{name}" type: "ImageData" top: "{name}" transform_param {{ crop_size: 9 {fields} }} }} '
        for name, fields in (("truth", "scale: 0.5 mean_value: 9"), ("data", "mean_value: 3"))
    )
    loss = ' layer { name: "l" type: "EuclideanLoss" bottom: "y" bottom: "truth" top: "l" }'
    net = converted(tmp_path, layers + CONV % "data" + loss, {}, {"c": [FILTERS]})
    found = net.meta["normalization"]
    np.testing.assert_array_equal(found["averageImage"], np.full((1, 1, 3), 3))
    assert "scale" not in found


@pytest.mark.parametrize(("variant", "interpolation", "keeps"), [
    ("squash", "bilinear", False),
    ("caffe", "bicubic", False),
    ("vgg-caffe", "bilinear", True),
    ("fcn", "bilinear", True),
])  # fmt: skip
def test_preprocessing_variants(variant: str, interpolation: str, keeps: bool, tmp_path: Path) -> None:
    normalization = network_with(tmp_path, preprocessing=variant).meta["normalization"]
    assert normalization["interpolation"] == interpolation
    assert bool(normalization["keepAspect"][0, 0]) is keeps


def test_labels_and_class_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labels = tmp_path / "synset_words.txt"
    labels.write_text("n01440764 tench, Tinca tinca\nn01443537 goldfish\nn02105855 sheepdog\nn02109961 husky\n\n")
    classes = network_with(tmp_path, labels=labels).meta["classes"]
    assert list(classes["name"]) == ["n01440764", "n01443537", "n02105855", "n02109961"]
    assert list(classes["description"]) == ["tench, Tinca tinca", "goldfish", "sheepdog", "husky"]
    classes = network_with(tmp_path, class_names=["background", "cat", "dog", "cow"]).meta["classes"]
    assert list(classes["name"]) == list(classes["description"]) == ["background", "cat", "dog", "cow"]
    monkeypatch.chdir(tmp_path)
    Path("ilsvrc12").mkdir()  # of images, perhaps
    with pytest.raises(DataError, match="1000 classes"):
        network_with(tmp_path, labels="ilsvrc12")


LABELS = {
    "numbered from 0": (["/a/abbey 0", "/b/bar\t1", "/c/ice cream 2"], ["/a/abbey", "/b/bar", "/c/ice cream"]),
    "numbered from 1, in another order": (["cat 3", "bat 1", "ant 2"], ["bat", "ant", "cat"]),
    "numbers that tell classes apart": (["digit 0", "digit 1"], ["digit 0", "digit 1"]),
    "ages": (["0 2", "4 6", "8 12"], ["0 2", "4 6", "8 12"]),
    "not all numbered": (["a 0", "b 1", "c"], ["a 0", "b 1", "c"]),
    "a number twice": (["a 0", "b 1", "c 1"], ["a 0", "b 1", "c 1"]),
    "bare numbers": (["0", "1", "2"], ["0", "1", "2"]),
}


@pytest.mark.parametrize("case", LABELS)
def test_numbers_behind_labels(case: str, tmp_path: Path) -> None:
    """categoryIndex_places205.csv has lines from `/a/abbey 0` to `/y/yard 204`."""
    lines, names = LABELS[case]
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    assert read_labels(tmp_path / "labels.csv") == (names, names)


@pytest.mark.parametrize("way", ["class_names", "labels"])
def test_a_wrong_number_of_classes_is_refused(way: str, tmp_path: Path) -> None:
    (tmp_path / "two.txt").write_text("cat\ndog\n")
    given = ["cat", "dog"] if way == "class_names" else tmp_path / "two.txt"
    with pytest.raises(DataError, match=r"2 classes .* 'y' has 4") as error:
        converted(tmp_path, CONV % "data", SHAPE, {"c": [FILTERS]}, **{way: given})
    assert ("two.txt" in str(error.value)) == (way == "labels")


def test_without_transposition_images_are_width_first(tmp_path: Path) -> None:
    """--no-transpose: the same network on W x H images, colours as in Caffe (import-caffe.py)."""
    text = """layer { name: "c" type: "Convolution" bottom: "data" top: "c" convolution_param { num_output: 4
                kernel_h: 3 kernel_w: 2 stride_h: 1 stride_w: 2 pad_h: 2 pad_w: 1 } }
              layer { name: "p" type: "Pooling" bottom: "c" top: "p" pooling_param { kernel_h: 2 kernel_w: 3 } }
              layer { name: "i" type: "InnerProduct" bottom: "p" top: "y" inner_product_param { num_output: 6 } }"""
    filters = RANDOM.standard_normal((4, 3, 3, 2)).astype(np.float32)
    matrix = RANDOM.standard_normal((6, 4 * 6 * 2)).astype(np.float32)
    blobs = {"c": [filters, np.ones(4, np.float32)], "i": [matrix, np.ones(6, np.float32)]}
    caffe = converted(tmp_path, text, SHAPE, blobs)
    turned = converted(tmp_path, text, SHAPE, blobs, transpose=False, color_format="bgr")
    assert turned.input_shapes == {"data": (1, 3, 7, 5)}
    turned = reloaded(turned, tmp_path)
    expected = blob_values(caffe, ["p", "y"], {"data": BGR})
    found = blob_values(turned, ["p", "y"], {"data": BGR.transpose(0, 1, 3, 2)})
    assert_close(found["p"], expected["p"].transpose(0, 1, 3, 2), TOLERANCE, "p")
    assert_close(found["y"], expected["y"], TOLERANCE, "y")
