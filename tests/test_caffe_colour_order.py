"""Which input of a Caffe network is an image, and whether its channels are put in R, G, B order: told, kept, undone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import matnet
from matnet.converters.export.to_caffe import to_caffe
from matnet.converters.files.caffe_write import write_caffemodel
from matnet.converters.files.text import parse_text
from matnet.errors import NetworkError
from matnet.network import Network
from tests.conftest import assert_close

CONVOLUTION = (
    'layer { name: "c" type: "Convolution" bottom: "%s" top: "c" convolution_param { num_output: 4 kernel_size: 3 } }'
)
LOSS = 'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "c" bottom: "%s" top: "loss" }'
RANDOM = np.random.default_rng(5)
FILTERS = RANDOM.standard_normal((4, 3, 3, 3)).astype(np.float32)
BIAS = RANDOM.standard_normal(4).astype(np.float32)
IMAGE = RANDOM.standard_normal((1, 3, 7, 9)).astype(np.float32)


def files(folder: Path, text: str, **blobs: Any) -> tuple[Path, Path]:
    folder.mkdir(exist_ok=True)
    prototxt, caffemodel = folder / "net.prototxt", folder / "net.caffemodel"
    prototxt.write_text(text)
    write_caffemodel(caffemodel, parse_text(text, "test"), blobs or {"c": (FILTERS, BIAS)})
    return prototxt, caffemodel


def filters_of(net: Network) -> np.ndarray:
    """The first convolution's filters as Caffe has them."""
    layer = next(layer for layer in net.layers.values() if layer.op.dagnn == "dagnn.Conv")
    return np.asarray(net.params[layer.params[0]].value).transpose(3, 2, 0, 1)


DATA_LAYERS = {
    "known": 'layer { name: "d" type: "Data" top: "data" top: "label" transform_param { crop_size: 7 } }',
    "unknown": 'layer { name: "d" type: "Data" top: "data" top: "label" data_param { source: "x" } }',
}


@pytest.mark.parametrize("size", DATA_LAYERS)
def test_the_flip_does_not_depend_on_the_size(size: str, tmp_path: Path) -> None:
    """A train_test prototxt of a Data layer that does not crop tells no size, and its filters have three channels."""
    net = matnet.convert_caffe(*files(tmp_path, f"{DATA_LAYERS[size]} {CONVOLUTION % 'data'} {LOSS % 'label'}"))
    np.testing.assert_array_equal(filters_of(net), FILTERS[:, ::-1])
    assert [note for note in net.source.notes if "R, G, B" in note and "'data'" in note]
    assert list(net.meta["caffe"]["flipped"]) == ["data"]


@pytest.mark.parametrize("size", DATA_LAYERS)
def test_there_and_back_keeps_the_filters(size: str, tmp_path: Path) -> None:
    prototxt, caffemodel = files(tmp_path, f"{DATA_LAYERS[size]} {CONVOLUTION % 'data'} {LOSS % 'label'}")
    net = matnet.load(matnet.save(matnet.convert_caffe(prototxt, caffemodel), tmp_path / "net.mat"))
    back = to_caffe(net, input_size=(7, 9))
    np.testing.assert_array_equal(back.blobs["c"][0], FILTERS)
    back.write(tmp_path / "back.prototxt", tmp_path / "back.caffemodel")
    again = matnet.convert_caffe(tmp_path / "back.prototxt", tmp_path / "back.caffemodel")
    np.testing.assert_array_equal(filters_of(again), filters_of(net))


def test_a_label_is_not_taken_for_the_image(tmp_path: Path) -> None:
    """Tops `label24`, `data24` of an HDF5Data layer: neither has a stated size, the convolution reads the second."""
    text = f"layer {{ name: 'd' type: 'HDF5Data' top: 'label24' top: 'data24' }} {CONVOLUTION % 'data24'}"
    net = matnet.convert_caffe(*files(tmp_path, text + LOSS % "label24"))
    np.testing.assert_array_equal(filters_of(net), FILTERS[:, ::-1])
    assert list(net.meta["caffe"]["flipped"]) == ["data24"]


BEFORE_FILTERS = {
    "nothing": "",
    "a factor": "layer { name: 's' type: 'Power' bottom: 'data24' top: 'data24s' power_param { scale: 0.5 } }",
    "a sum with another": "layer { name: 's' type: 'Eltwise' bottom: 'aside' bottom: 'data24' top: 'data24s' }",
}


@pytest.mark.parametrize("kind", ["HDF5Data", "Oddity"])
@pytest.mark.parametrize("tops", ["label24 data24 aside", "data24 label24 aside", "aside label24 data24"])
@pytest.mark.parametrize("before", BEFORE_FILTERS)
def test_a_top_that_filters_read_is_no_label_wherever_it_stands(
    before: str, tops: str, kind: str, tmp_path: Path
) -> None:
    """Also without weights, which would show that the convolution is no part of preparing labels."""
    path = tmp_path / "net.prototxt"
    read = "data24s" if "data24s" in BEFORE_FILTERS[before] else "data24"
    source = f"layer {{ name: 'd' type: '{kind}' {' '.join(f'top: {top!r}' for top in tops.split())} }}"
    path.write_text(f"{source} {BEFORE_FILTERS[before]} {CONVOLUTION % read} {LOSS % 'label24'}")
    sizes = {name: (3, 7, 9) for name in ("data24", "aside")}
    net = matnet.convert_caffe(path, placeholders=True, input_size=sizes)
    assert "data24" in net.inputs and "label24" not in net.inputs and "c" in net.layers


@pytest.mark.parametrize(
    ("options", "word"), [({"color_format": "rgb"}, "rgb"), ({"transpose": False}, "transposition")]
)
def test_a_note_says_why_the_order_stays(options: dict[str, Any], word: str, tmp_path: Path) -> None:
    text = f"input: 'data' input_dim: 1 input_dim: 3 input_dim: 7 input_dim: 9 {CONVOLUTION % 'data'}"
    net = matnet.convert_caffe(*files(tmp_path, text), **options)
    assert [note for note in net.source.notes if "order of the Caffe net" in note and word in note]
    assert list(net.meta["caffe"]["flipped"]) == []


def test_the_order_is_kept_without_weights(tmp_path: Path) -> None:
    text = f"input: 'data' input_dim: 1 input_dim: 3 input_dim: 7 input_dim: 9 {CONVOLUTION % 'data'}"
    prototxt, _ = files(tmp_path, text)
    assert list(matnet.convert_caffe(prototxt).meta["caffe"]["flipped"]) == ["data"]


def test_two_unknown_channel_counts_add_up_to_an_unknown_one(tmp_path: Path) -> None:
    """The convolution's 11 input channels are those of both inputs together, 5 and 6, which nothing else tells."""
    filters = RANDOM.standard_normal((4, 11, 3, 3)).astype(np.float32)
    text = (
        "input: 'a' input: 'b' layer { name: 'cat' type: 'Concat' bottom: 'a' bottom: 'b' top: 'ab' }"
        + CONVOLUTION % "ab"
    )
    prototxt, caffemodel = files(tmp_path, text, c=(filters, BIAS))
    net = matnet.convert_caffe(prototxt, caffemodel)
    a, b = (RANDOM.standard_normal((1, channels, 3, 3)).astype(np.float32) for channels in (5, 6))
    expected = np.einsum("kchw,nchw->nk", filters, np.concatenate([a, b], axis=1)) + BIAS
    assert_close(net.forward({"a": a, "b": b})["c"].reshape(1, 4), expected, 1e-5, "c")


def test_an_input_size_by_name_goes_to_caffe(tmp_path: Path) -> None:
    text = f"input: 'data' input_dim: 1 input_dim: 3 input_dim: 7 input_dim: 9 {CONVOLUTION % 'data'}"
    net = matnet.convert_caffe(*files(tmp_path, text))
    for given in ({"data": (11, 12)}, {"data": (2, 3, 11, 12)}, (11, 12)):
        shape = to_caffe(net, input_size=given).message.get("layer")[0].get("input_param").get("shape")[0]
        assert shape.get("dim")[-3:] == [3, 11, 12]
    with pytest.raises(NetworkError, match=r"'dat'.*nearest: data"):
        to_caffe(net, input_size={"dat": (11, 12)})


def test_a_matrix_takes_one_input_size(tmp_path: Path) -> None:
    """Caffe's InnerProduct has a matrix of one size: 4 channels of 5 x 7 pixels."""
    matrix = RANDOM.standard_normal((2, 140)).astype(np.float32)
    text = (
        f"input: 'data' input_dim: 1 input_dim: 3 input_dim: 7 input_dim: 9 {CONVOLUTION % 'data'}"
        "layer { name: 'fc' type: 'InnerProduct' bottom: 'c' top: 'fc' "
        "inner_product_param { num_output: 2 bias_term: false } }"
    )
    net = matnet.convert_caffe(*files(tmp_path, text, c=(FILTERS, BIAS), fc=(matrix,)))
    with pytest.raises(NetworkError, match=r"'fc' \(InnerProduct\).*5x4"):
        to_caffe(net, input_size=(11, 12))
    prototxt, caffemodel = tmp_path / "back.prototxt", tmp_path / "back.caffemodel"
    to_caffe(net, input_size=(7, 9)).write(prototxt, caffemodel)
    again = matnet.convert_caffe(prototxt, caffemodel)
    assert_close(again.forward(IMAGE)["fc"], net.forward(IMAGE)["fc"], 1e-6, "fc")
