"""Weights meet layers: conformance and real files, Caffe's shape rule, missing, misshapen and shared blobs.

Shapes of the conformance networks are worked by hand from their prototxt; the rule is Blob::ShapeEquals and
Net::CopyTrainedLayersFrom of BVLC Caffe.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from matnet.converters.caffemodel import (
    Blob,
    NetDef,
    attach_weights,
    blob_counts,
    match_blob,
    net_from_caffemodel,
    read_mean,
    read_prototxt,
    read_weights,
)
from matnet.converters.files.caffe_write import write_caffemodel, write_prototxt
from matnet.converters.files.message import build
from matnet.errors import FileFormatError, ShapeError
from tests.caffe_bytes import blob, number, part
from tests.conftest import DATA, conformance_cases
from tests.helpers import assert_line


def shapes(net: NetDef) -> dict[str, list[tuple[int, ...]]]:
    return {layer.name: [found.shape for found in layer.blobs] for layer in net.layers if layer.blobs}


@pytest.mark.parametrize("case", conformance_cases("caffe"))
def test_every_conformance_net_gets_its_weights(case: str) -> None:
    """Also: what Caffe computed has a value for every blob that the wiring names."""
    folder = DATA / "caffe" / case
    net, weights = read_prototxt(folder / "deploy.prototxt"), read_weights(folder / "weights.caffemodel")
    attach_weights(net, weights)
    stored = {name: len(blobs) for name, blobs in weights.layers.items() if blobs}
    assert {layer.name: len(layer.blobs) for layer in net.layers if layer.blobs} == stored
    assert all(np.isfinite(found.data).all() for layer in net.layers for found in layer.blobs)
    with np.load(folder / "io.npz") as recorded:
        known = {name.split("__", 1)[1] for name in recorded.files}
    blobs = {top for layer in net.layers for top in layer.tops} | set(net.inputs)
    assert known == {name.replace("/", "__") for name in blobs}


@pytest.mark.parametrize(("case", "expected"), [
    ("lstm", {"r": [(12, 4), (12,), (12, 3)]}),
    ("prelu", {"r": [(6,)]}),
    ("v0_net_padding", {"conv1": [(6, 3, 5, 5), (1, 1, 1, 6)], "conv2": [(8, 3, 3, 3), (1, 1, 1, 8)],
                        "fc3": [(1, 1, 7, 240), (1, 1, 1, 7)]}),
    ("v1_conv_group", None),
    ("deconv_pad_group", None),
])
def test_shapes_of_some_nets(case: str, expected: dict[str, list[tuple[int, ...]]] | None) -> None:
    folder = DATA / "caffe" / case
    net = read_prototxt(folder / "deploy.prototxt")
    attach_weights(net, read_weights(folder / "weights.caffemodel"))
    if expected is None:
        convolution = net.layers[0].params.get("convolution_param")
        channels = net.inputs["data"][1]  # type: ignore[index]
        outputs, group = convolution.get("num_output"), convolution.get("group")
        first = (channels, outputs // group) if net.layers[0].type == "Deconvolution" else (outputs, channels // group)
        assert [found.shape[:2] for found in net.layers[0].blobs[:1]] == [first]
    else:
        assert shapes(net) == expected


LEGACY, EXACT = True, False


@pytest.mark.parametrize(("legacy", "stored", "expected", "fits"), [
    (LEGACY, (1, 1, 4, 6), (4, 6), True), (LEGACY, (1, 1, 1, 4), (4,), True),
    (LEGACY, (1, 1, 1, 1), (), True),
    (LEGACY, (4, 2, 3, 1), (4, 2, 3, 1), True), (LEGACY, (1, 4, 2, 3), (4, 2, 3), True),
    (LEGACY, (4, 6, 1, 1), (4, 6), False), (LEGACY, (4, 1, 1, 1), (4,), False),
    (LEGACY, (1, 1, 2, 3), (1, 1, 1, 2, 3), False),
    (EXACT, (4, 6), (4, 6), True), (EXACT, (), (), True), (EXACT, (1, 1, 4, 6), (4, 6), False),
    (EXACT, (4, 6, 1, 1), (4, 6), False), (EXACT, (1,), (), False), (EXACT, (6, 4), (4, 6), False),
])
def test_the_shape_rule(legacy: bool, stored: tuple[int, ...], expected: tuple[int, ...], fits: bool) -> None:
    """Where only the counts agree the values are kept in their order, with a warning."""
    data = np.arange(np.prod(stored, dtype=int), dtype=np.float32).reshape(stored)
    array, warning = match_blob(Blob(stored, legacy, data), expected)
    np.testing.assert_array_equal(array, data.reshape(expected))
    assert (warning is None) is fits
    assert fits or "Caffe would reject" in str(warning)


def test_shapes_that_cannot_be_matched() -> None:
    found = Blob((2, 3), False, np.zeros((2, 3), np.float32))
    with pytest.raises(ShapeError, match=r"2x3 \(6.*7x1 \(7"):
        match_blob(found, (7, 1))


def test_a_legacy_net_matches_its_layers() -> None:
    folder = DATA / "caffe" / "v1_net_alexnet"
    net = read_prototxt(folder / "deploy.prototxt")
    attach_weights(net, read_weights(folder / "weights.caffemodel"))
    for layer in net.layers:
        if layer.type == "InnerProduct":
            weights, bias = layer.blobs
            assert weights.legacy and weights.shape[:2] == (1, 1)
            assert match_blob(weights, weights.shape[2:]).warning is None
            assert match_blob(bias, bias.shape[3:]).warning is None


# -- counts --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("layer", "counts"), [
    ("type: 'Convolution'", (2,)), ("type: 'Convolution' convolution_param { bias_term: false }", (1,)),
    ("type: 'Deconvolution' convolution_param { bias_term: false }", (1,)), ("type: 'InnerProduct'", (2,)),
    ("type: 'Embed' embed_param { bias_term: false }", (1,)), ("type: 'BatchNorm'", (3,)),
    ("type: 'Scale'", (1,)), ("type: 'Scale' scale_param { bias_term: true }", (2,)),
    ("type: 'Scale' bottom: 'x'", (0,)), ("type: 'Scale' bottom: 'x' scale_param { bias_term: true }", (1,)),
    ("type: 'Bias'", (1,)), ("type: 'Bias' bottom: 'x'", (0,)), ("type: 'PReLU'", (1,)),
    ("type: 'LSTM' bottom: 'c'", (3,)), ("type: 'LSTM' bottom: 'c' bottom: 's'", (4,)),
    ("type: 'LSTM' bottom: 'c' bottom: 'h' bottom: 'k' recurrent_param { expose_hidden: true }", (3,)),
    ("type: 'RNN' bottom: 'c'", (5,)), ("type: 'RNN' bottom: 'c' bottom: 's'", (6,)),
    ("type: 'Normalize' norm_param {}", (1,)), ("type: 'Normalize'", (0, 1)), ("type: 'Lstm'", (3,)),
    ("type: 'BatchNorm' batch_norm_param { scale_bias: true }", (5,)),
    ("type: 'MultiStageMeanfield'", (3,)), ("type: 'ReLU'", (0,)),
    ("type: 'Permute'", (0,)), ("type: 'BN'", None), ("type: 'Python'", None), ("type: 'Odd'", None),
])
def test_blob_counts(tmp_path: Path, layer: str, counts: tuple[int, ...] | None) -> None:
    """Caffe 1.0's LayerSetUp of each type."""
    text = "".join(f"layer {{ type: 'Input' top: '{top}' }}" for top in "xcshk")
    file = tmp_path / "net.prototxt"
    file.write_text(text + f"layer {{ name: 'l' bottom: 'x' {layer} top: 'y' }}")
    assert blob_counts(read_prototxt(file).layers[0]) == counts


# -- attaching -----------------------------------------------------------------------------------

TEXT = """
    input: 'data' input_shape { dim: 1 dim: 3 dim: 7 dim: 5 }
    layer { name: 'c' type: 'Convolution' bottom: 'data' top: 'c' convolution_param { num_output: 2 } }
    layer { name: 'r' type: 'ReLU' bottom: 'c' top: 'c' }
    layer { name: 'up' type: 'Deconvolution' bottom: 'c' top: 'up'
            convolution_param { bias_term: false weight_filler { type: 'bilinear' } } }
    layer { name: 'ip' type: 'InnerProduct' bottom: 'up' top: 'ip' }"""


def floats(*shape: int, start: float = 0) -> np.ndarray:
    return np.arange(start, start + np.prod(shape, dtype=int), dtype=np.float32).reshape(shape)


def attached(folder: Path, text: str, layers: dict[str, list[np.ndarray]]) -> NetDef:
    file = folder / "net.prototxt"
    file.write_text(text)
    graph = build("NetParameter", layer=[{"name": name, "type": "Any"} for name in layers])
    write_caffemodel(folder / "net.caffemodel", graph, layers)
    net = read_prototxt(file)
    attach_weights(net, read_weights(folder / "net.caffemodel"))
    return net


ALL = {"data": [], "c": [floats(2, 3, 1, 1), floats(2)], "r": [], "up": [floats(2, 2, 3, 3)],
       "ip": [floats(4, 9), floats(4)], "unused": [floats(5)]}


def test_one_caffemodel_serves_a_smaller_net(tmp_path: Path) -> None:
    net = attached(tmp_path, TEXT, ALL)
    assert shapes(net) == {"c": [(2, 3, 1, 1), (2,)], "up": [(2, 2, 3, 3)], "ip": [(4, 9), (4,)]}
    np.testing.assert_array_equal(net.layers[0].blobs[0].data, ALL["c"][0])
    assert_line(net.notes, "1 layers", "prototxt", "unused")


def test_a_bilinear_filler_stands_in_for_weights(tmp_path: Path) -> None:
    net = attached(tmp_path, TEXT, {name: blobs for name, blobs in ALL.items() if name != "up"})
    assert net.layers[2].blobs == () and any("bilinear filler" in note for note in net.notes)


def test_all_layers_without_weights_are_listed(tmp_path: Path) -> None:
    layers = {"conv": ALL["c"], "r": [floats(3)], "ip": ALL["ip"][:1], "up": ALL["up"] * 2, "tail": ALL["c"]}
    with pytest.raises(FileFormatError) as caught:
        attached(tmp_path, TEXT, layers)
    lines = str(caught.value).splitlines()
    assert "(4)" in lines[0] and "wrong or missing weights" in lines[0]
    assert lines[5].endswith(": tail"), "weights that nobody takes, perhaps of a layer with another name"
    for line, fragment in zip(lines[1:5], [
            "layer 'c' (Convolution): the file has no layer with this name; nearest unused names: conv",
            "layer 'r' (ReLU): the file has 1 blobs (3), but the layer needs 0",
            "layer 'up' (Deconvolution): the file has 2 blobs (2x2x3x3, 2x2x3x3), but the layer needs 1",
            "layer 'ip' (InnerProduct): the file has 1 blobs (4x9), but the layer needs 2"], strict=True):
        assert line.strip() == fragment


def test_a_layer_that_is_there_without_blobs(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match=r"'c' .*no weights.*2 blobs"):
        attached(tmp_path, TEXT, {**ALL, "c": []})


def test_only_the_first_layer_of_a_name_is_filled(tmp_path: Path) -> None:
    text = TEXT + " layer { name: 'ip' type: 'InnerProduct' bottom: 'ip' top: 'ip2' }"
    with pytest.raises(FileFormatError, match=r"layer 'ip_2' \(InnerProduct\): the file has no weights"):
        attached(tmp_path, text, ALL)


SIAMESE = """
    input: 'x' input_shape { dim: 1 dim: 9 }
    layer { name: 'a' type: 'InnerProduct' bottom: 'x' top: 'a' param { name: 'w' } param { name: 'b' } }
    layer { name: 'b' type: 'InnerProduct' bottom: 'a' top: 'b' param { name: 'w' %s } param { } }"""


def test_shared_blobs_are_one_and_the_last_copy_wins(tmp_path: Path) -> None:
    layers = {"a": [floats(9, 9), floats(9)], "b": [floats(9, 9, start=100), floats(9, start=200)]}
    first, second = attached(tmp_path, SIAMESE % "", layers).layers
    assert (first.share_names, second.share_names) == (("w", "b"), ("w", ""))
    assert first.blobs[0] is second.blobs[0]
    np.testing.assert_array_equal(first.blobs[0].data, layers["b"][0])
    np.testing.assert_array_equal(first.blobs[1].data, layers["a"][1])
    np.testing.assert_array_equal(second.blobs[1].data, layers["b"][1])


def test_sharing_between_shapes(tmp_path: Path) -> None:
    layers = {"a": [floats(6, 9), floats(6)], "b": [floats(9, 6, start=100), floats(9)]}
    with pytest.raises(FileFormatError, match=r"'b' .*blob 0.*9x6.*'w'.*6x9"):
        attached(tmp_path, SIAMESE.replace("{ name: 'w' }", "{ name: 'w' share_mode: STRICT }") % "", layers)
    text = SIAMESE.replace("{ name: 'w' }", "{ name: 'w' share_mode: PERMISSIVE }") % "share_mode: PERMISSIVE"
    first, second = attached(tmp_path, text, layers).layers
    assert (first.blobs[0].shape, second.blobs[0].shape) == ((6, 9), (9, 6))
    np.testing.assert_array_equal(first.blobs[0].data, layers["b"][0].reshape(6, 9))
    layers["b"][0] = floats(9, 7)
    with pytest.raises(FileFormatError, match="shared blob 'w' has shape 9x7"):
        attached(tmp_path, text, layers)


@pytest.mark.parametrize(("stored", "complete"), [({"1": 9}, True), ({}, False), ({"0": 81, "1": 9}, True)])
def test_hdf5_stores_shared_blobs_with_their_owner(tmp_path: Path, stored: dict[str, int], complete: bool) -> None:
    (tmp_path / "net.prototxt").write_text(SIAMESE % "")
    with h5py.File(tmp_path / "net.caffemodel.h5", "w") as out:
        out["data/a/0"], out["data/a/1"] = floats(9, 9), floats(9)
        group = out.create_group("data/b")
        for name, size in stored.items():
            group[name] = floats(size, start=300).reshape((9, 9) if name == "0" else (9,))
    net = read_prototxt(tmp_path / "net.prototxt")
    weights = read_weights(tmp_path / "net.caffemodel.h5")
    if not complete:
        with pytest.raises(FileFormatError, match=r"layer 'b' \(InnerProduct\): the file has no weights"):
            attach_weights(net, weights)
        return
    attach_weights(net, weights)
    assert net.layers[0].blobs[0] is net.layers[1].blobs[0]
    expected = floats(9, 9, start=300 if "0" in stored else 0)
    np.testing.assert_array_equal(net.layers[0].blobs[0].data, expected)


# -- there and back ------------------------------------------------------------------------------


@pytest.mark.parametrize("case", conformance_cases("caffe"))
def test_written_and_read_again(case: str, tmp_path: Path) -> None:
    """Prototxt and caffemodel, written from what was read, give the same layers and the same bits."""
    folder = DATA / "caffe" / case
    net = read_prototxt(folder / "deploy.prototxt")
    attach_weights(net, read_weights(folder / "weights.caffemodel"))
    write_prototxt(tmp_path / "again.prototxt", net)
    arrays = {layer.name: [found.data for found in layer.blobs] for layer in net.layers if layer.blobs}
    write_caffemodel(tmp_path / "again.caffemodel", net, arrays)
    for again in (read_prototxt(tmp_path / "again.prototxt"), net_from_caffemodel(tmp_path / "again.caffemodel")):
        assert (again.inputs, again.outputs) == (net.inputs, net.outputs)
        assert [wiring(layer) for layer in again.layers] == [wiring(layer) for layer in net.layers]
        attach_weights(again, read_weights(tmp_path / "again.caffemodel"))
        for ours, theirs in zip(again.layers, net.layers, strict=True):
            for our, their in zip(ours.blobs, theirs.blobs, strict=True):
                assert our.data.tobytes() == their.data.tobytes() and our.shape == their.shape
    first = (tmp_path / "again.caffemodel").read_bytes()
    write_caffemodel(tmp_path / "again.caffemodel", net, arrays)
    assert (tmp_path / "again.caffemodel").read_bytes() == first
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again.caffemodel", "again.prototxt"]


def wiring(layer: Any) -> tuple[Any, ...]:
    return layer.name, layer.type, layer.inputs, layer.outputs, layer.bottoms, layer.tops, layer.params


def test_a_caffemodel_of_more_than_two_gigabytes(tmp_path: Path) -> None:
    huge = np.broadcast_to(np.float32(0), (1 << 15, 1 << 15))
    net = build("NetParameter", layer=[{"name": "a", "type": "InnerProduct"}])
    with pytest.raises(ShapeError, match=r"4294967296 bytes.*2147483647"):
        write_caffemodel(tmp_path / "net.caffemodel", net, {"a": [huge]})
    assert not list(tmp_path.iterdir())


# -- real files ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("folder", "prototxt", "caffemodel", "parameters", "outputs"), [
    ("lenet_v1_everpeace", "lenet.prototxt", "lenet_iter_10000.caffemodel", 431_080, ["prob"]),
    ("lenet_v1_everpeace", "lenet_train_test.prototxt", "lenet_iter_10000.caffemodel", 431_080,
     ["accuracy", "loss"]),
    ("squeezenet", "SqueezeNet_deploy.prototxt", "decompressed_SqueezeNet.caffemodel", 1_248_424,
     ["pool_final"]),
    ("mtcnn_det1", "det1.prototxt", "det1.caffemodel", 6_632, ["conv4-2", "prob1"]),
    ("mtcnn_det2", "det2.prototxt", "det2.caffemodel", 100_178, ["conv5-2", "prob1"]),
    ("mtcnn_det3", "det3.prototxt", "det3.caffemodel", 389_040, ["conv6-2", "conv6-3", "prob1"]),
    ("resnet20_cifar10", "res20_cifar_train_test.prototxt", "ResNet_20.caffemodel", None,
     ["Accuracy1", "SoftmaxWithLoss1"]),
])
def test_real_files(real_data: Path, folder: str, prototxt: str, caffemodel: str, parameters: int | None,
                    outputs: list[str]) -> None:
    """LeNet has 20*25+20 + 50*20*25+50 + 800*500+500 + 5010 parameters; SqueezeNet 1.0 has 1,248,424."""
    net = read_prototxt(real_data / "caffe" / folder / prototxt)
    attach_weights(net, read_weights(real_data / "caffe" / folder / caffemodel))
    assert net.outputs == outputs
    count = sum(found.data.size for layer in net.layers for found in layer.blobs)
    assert parameters is None or count == parameters
    assert all(layer.blobs for layer in net.layers if layer.type in ("Convolution", "InnerProduct", "BatchNorm"))


def test_a_real_mean_file(real_data: Path) -> None:
    mean = read_mean(real_data / "caffe" / "resnet20_cifar10" / "mean.binaryproto")
    assert mean.shape == (3, 32, 32) and mean.dtype == np.float32
    # The published channel means of CIFAR-10; Caffe's CIFAR database keeps its planes in the order R, G, B.
    np.testing.assert_allclose(mean.mean(axis=(1, 2)), [125.3, 123.0, 113.9], atol=0.1)


def test_a_caffemodel_of_another_net(real_data: Path) -> None:
    net = read_prototxt(real_data / "caffe" / "squeezenet" / "SqueezeNet_deploy.prototxt")
    with pytest.raises(FileFormatError, match=r"layers of .*squeezenet.*\(25\)"):
        attach_weights(net, read_weights(real_data / "caffe" / "mtcnn_det1" / "det1.caffemodel"))


def test_a_blob_of_a_v1_file_written_by_hand(tmp_path: Path) -> None:
    legacy = b"".join(number(i, size) for i, size in enumerate((1, 1, 4, 9), start=1))
    file = tmp_path / "net.caffemodel"
    file.write_bytes(part(2, part(4, "ip"), number(5, 14), part(6, legacy + part(5, floats(4, 9).tobytes())),
                          part(6, blob(floats(4).tobytes(), 4))))
    weights, bias = read_weights(file).layers["ip"]
    assert weights is not None and bias is not None
    assert (weights.legacy, weights.shape, bias.legacy, bias.shape) == (True, (1, 1, 4, 9), False, (4,))
    np.testing.assert_array_equal(match_blob(weights, (4, 9)).array, floats(4, 9))
