"""The way back: networks written for Caffe, read again, and compared with what they came from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

import matnet
from matnet import convert
from matnet.command_line import run_command
from matnet.converters.caffemodel import read_prototxt, read_weights
from matnet.converters.export.to_caffe import CaffeNet, to_caffe
from matnet.errors import FileFormatError, NetworkError, UnsupportedLayersError
from matnet.network import Layer, Network
from matnet.ops.activation import ReLU
from matnet.ops.base import REGISTRY, Op, register
from matnet.ops.combine import Concat, Crop, Scale, Sum
from matnet.ops.convolution import Conv, ConvTranspose
from matnet.ops.normalization import LRN, BatchNorm, NormOffset
from matnet.ops.pooling import Pooling
from matnet.ops.roi import ROIPooling
from matnet.params import Param
from matnet.zoo.random_weights import random_params
from tests.caffe_bytes import protobuf_class
from tests.caffe_nets import TOLERANCE, X, blob_values, converted
from tests.conftest import DATA, assert_close, conformance_cases
from tests.extension_ops import seeded
from tests.helpers import assert_line

CASES = conformance_cases("caffe")


def written(net: Network, folder: Path, **options: object) -> tuple[Path, Path]:
    prototxt, caffemodel = folder / "back.prototxt", folder / "back.caffemodel"
    to_caffe(net, **options).write(prototxt, caffemodel)
    return prototxt, caffemodel


@pytest.mark.process
@pytest.mark.parametrize("color", ["bgr", "rgb"])
@pytest.mark.parametrize("case", CASES)
def test_caffe_to_mat_to_caffe_keeps_every_blob_bit_for_bit(case: str, color: str, tmp_path: Path) -> None:
    folder, target = DATA / "caffe" / case, tmp_path / "net.mat"
    files = ["--prototxt", str(folder / "deploy.prototxt"), "--caffemodel", str(folder / "weights.caffemodel")]
    assert convert.main([*files, "--color-format", color, "--out", str(target)]) == 0
    assert convert.main(["--to-caffe", str(target), "--out", str(tmp_path / "back")]) == 0
    stored = {name: blobs for name, blobs in read_weights(folder / "weights.caffemodel").layers.items() if blobs}
    found = read_weights(tmp_path / "back.caffemodel").layers if stored else {}
    assert [name for name, blobs in found.items() if blobs] == list(stored)
    for name, blobs in stored.items():
        for index, (blob, back) in enumerate(zip(blobs, found[name], strict=True)):
            shape = blob.shape if not blob.legacy else back.shape
            assert back.shape == shape, f"{name}, blob {index}"
            np.testing.assert_array_equal(back.data.reshape(-1), blob.data.reshape(-1), err_msg=f"{name}, blob {index}")


@pytest.mark.process
@pytest.mark.parametrize("case", ["bn_scale", "net_fcn", "net_googlenet", "net_mobilenet", "prelu", "lstm", "ip_chain"])
def test_the_prototxt_that_comes_back_is_the_one_that_went(case: str, tmp_path: Path) -> None:
    """Layers, types, blobs, in-place chains: all as they were, but for Input layers and stated crop offsets."""
    folder = DATA / "caffe" / case
    net = matnet.convert_caffe(folder / "deploy.prototxt", folder / "weights.caffemodel")
    matnet.save(net, tmp_path / "net.mat")
    prototxt, _ = written(matnet.load(tmp_path / "net.mat"), tmp_path)
    before, after = read_prototxt(folder / "deploy.prototxt"), read_prototxt(prototxt)
    assert [(layer.name, layer.type, layer.bottoms, layer.tops) for layer in after.layers] == [
        (layer.name, layer.type, layer.bottoms, layer.tops) for layer in before.layers
    ]
    assert after.inputs == before.inputs


def test_fields_that_were_ignored_are_not_written(tmp_path: Path) -> None:
    """What --lenient read must be readable without it."""
    param = "convolution_param { num_output: 2 kernel_size: 1 odd: 3 }"
    odd = f"layer {{ name: 'c' type: 'Convolution' bottom: 'data' top: 'y' {param} }}"
    weights = {"c": (np.ones((2, 3, 1, 1), np.float32), np.ones(2, np.float32))}
    converted(tmp_path, odd.replace("odd: 3", ""), {"data": (1, 3, 7, 9)}, weights)
    (tmp_path / "odd.prototxt").write_text(f"input: 'data' input_dim: 1 input_dim: 3 input_dim: 7 input_dim: 9 {odd}")
    net = matnet.convert_caffe(tmp_path / "odd.prototxt", tmp_path / "weights.caffemodel", lenient=True)
    back = matnet.convert_caffe(*written(net, tmp_path))
    x = seeded(1, 3, 7, 9)
    np.testing.assert_array_equal(back.forward(x)["y"], net.forward(x)["y"])


@pytest.mark.process
@pytest.mark.parametrize("case", CASES)
def test_a_definition_without_weights_comes_back_alone(case: str, tmp_path: Path) -> None:
    """Through a .mat file; with the original weights it then computes what Caffe did."""
    folder = DATA / "caffe" / case
    original, target, back = folder / "deploy.prototxt", tmp_path / "net.mat", tmp_path / "back"
    assert convert.main([str(original), str(target)]) == 0
    assert convert.main([str(target), "--to-caffe", str(back)]) == 0
    weights = [blobs for blobs in read_weights(folder / "weights.caffemodel").layers.values() if blobs]
    assert (tmp_path / "back.caffemodel").exists() == (not weights)
    io = dict(np.load(folder / "io.npz"))
    inputs = {name[4:]: value for name, value in io.items() if name.startswith("in__")}
    expected = {name[5:].replace("__", "/"): value for name, value in io.items() if name.startswith("out__")}
    net = matnet.convert_caffe(tmp_path / "back.prototxt", folder / "weights.caffemodel", color_format="rgb")
    for name, value in blob_values(net, list(expected), inputs).items():
        assert_close(value, expected[name], TOLERANCE, name)


@pytest.mark.parametrize("form", ["python", "mat"])
def test_a_definition_comes_back_where_some_filters_need_no_weights(form: str, tmp_path: Path) -> None:
    """A Slice becomes filters that pick channels, and has them also without a caffemodel."""
    (tmp_path / "p.prototxt").write_text("""input: "z" input_dim: 1 input_dim: 6 input_dim: 5 input_dim: 4
layer { name: "s" type: "Slice" bottom: "z" top: "z1" top: "z2" }
layer { name: "c" type: "Convolution" bottom: "z1" top: "y" convolution_param { num_output: 2 kernel_size: 3 } }
layer { name: "l" type: "InnerProduct" bottom: "z2" top: "w" inner_product_param { num_output: 2 axis: 2 } }""")
    net = matnet.convert_caffe(tmp_path / "p.prototxt")
    if form == "mat":
        net = matnet.load(matnet.save(net, tmp_path / "net.mat"))
    caffe = to_caffe(net)
    assert not caffe.has_weights
    types = [layer.get("type") for layer in caffe.message.get("layer")]
    assert types == ["Input", "Slice", "Convolution", "InnerProduct"]


def test_what_is_missing_is_named_without_an_option_that_to_caffe_does_not_take(tmp_path: Path) -> None:
    net = network(STOCK["groups"])
    del net.params["l_0"]
    with pytest.raises(NetworkError, match=r"l_0.*missing") as caught:
        to_caffe(net)
    assert "outputs" not in str(caught.value)


def test_no_caffemodel_is_written_without_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prototxt = DATA / "caffe" / "net_vgg" / "deploy.prototxt"
    files = [tmp_path / "b.prototxt", tmp_path / "b.caffemodel"]
    asked = ["--out-prototxt", str(files[0]), "--out-caffemodel", str(files[1])]
    assert run_command(convert.main, [str(prototxt), "--to-caffe", *asked]) == 2
    assert "b.caffemodel: the network has no weights" in capsys.readouterr().err
    assert not any(file.exists() for file in files)


WITHOUT_WEIGHTS = [
    "absval", "bn_scale", "conv_group", "crop", "deconv_pad_group", "eltwise_max", "flatten", "ip_chain", "log", "mvn",
    "net_fcn", "net_mobilenet", "prelu", "slice_channels", "v0_net_padding",
]  # fmt: skip


@pytest.mark.parametrize("color", ["bgr", "rgb"])
@pytest.mark.parametrize("case", WITHOUT_WEIGHTS)
def test_random_weights_go_to_caffe_and_come_back(case: str, color: str, tmp_path: Path) -> None:
    """Converted without weights, filled with random ones: what the file's weights told of layers is not needed."""
    options = {"color_format": color}
    net = matnet.convert_caffe(DATA / "caffe" / case / "deploy.prototxt", placeholders=True, **options)
    random_params(net, seed=3)
    inputs = {name: seeded(*shape) for name, shape in net.input_shapes.items()}
    back = matnet.convert_caffe(*written(net, tmp_path), **options)
    expected = net.forward(inputs)
    found = back.forward({back.resolve(name): value for name, value in inputs.items()}, list(expected))
    for name, value in expected.items():
        assert_close(found[name].ravel(), value.ravel(), TOLERANCE, name)


def test_a_changed_layer_is_written_as_it_is_now(tmp_path: Path) -> None:
    """What the conversion kept of BatchNorm counts only while its layer is what it was."""
    folder = DATA / "caffe" / "bn_scale"
    net = matnet.convert_caffe(folder / "deploy.prototxt", folder / "weights.caffemodel", color_format="rgb")
    param = net.params[net.layers["b"].params[0]]
    net.params[net.layers["b"].params[0]] = replace(param, value=2 * param.value)
    prototxt, caffemodel = written(net, tmp_path)
    again = matnet.convert_caffe(prototxt, caffemodel, color_format="rgb")
    x = np.load(folder / "io.npz")["in__data"]
    expected, found = (blob_values(n, ["y"], {"data": x})["y"] for n in (net, again))
    np.testing.assert_array_equal(found, expected)


# -- networks that never were Caffe's --------------------------------------------------------------

RANDOM = np.random.default_rng(41)


def network(layers: list[tuple[Layer, list[np.ndarray]]]) -> Network:
    net = Network()
    for layer, values in layers:
        layer.params = [f"{layer.name}_{index}" for index in range(len(values))]
        net.params.update(zip(layer.params, map(Param, values), strict=True))
        net.add(layer)
    net.input_shapes = {name: X.shape for name in net.inputs}
    return net


def normal(*shape: int) -> np.ndarray:
    return RANDOM.standard_normal(shape).astype(np.float32)


def layer(op: object, *inputs: str, name: str = "l") -> Layer:
    return Layer(name, op, list(inputs), ["y"])  # type: ignore[arg-type]


STOCK: dict[str, list[tuple[Layer, list[np.ndarray]]]] = {
    "groups": [(layer(Conv(pad=(1, 1, 2, 2), stride=(2, 3)), "x"), [normal(3, 5, 3, 4), normal(4, 1)])],
    "dilation, no bias": [(layer(Conv(hasBias=False, dilate=(2, 1)), "x"), [normal(2, 3, 6, 4)])],
    "a kernel over all": [(layer(Conv(), "x"), [normal(7, 11, 6, 5), normal(5, 1)])],
    "transposed": [
        (layer(ConvTranspose(upsample=(2, 3), crop=(1, 1, 0, 0), numGroups=2), "x"), [normal(4, 5, 2, 6), normal(4, 1)])
    ],
    "max pooling": [(layer(Pooling(poolSize=(3, 3), stride=(2, 2), pad=(0, 1, 0, 1)), "x"), [])],
    "padded pooling": [(layer(Pooling(poolSize=(3, 3), stride=(2, 2), pad=(1, 2, 1, 2)), "x"), [])],
    "pooling rounded down": [(layer(Pooling(poolSize=(2, 2), stride=(2, 2)), "x"), [])],
    "pooling whose windows lie apart": [(layer(Pooling(poolSize=(1, 3), stride=(4, 2)), "x"), [])],
    "average pooling": [(layer(Pooling(method="avg", poolSize=(7, 2), stride=(1, 2), pad=(0, 0, 0, 1)), "x"), [])],
    "normalisation": [(layer(LRN(param=(5, 2, 1e-4, 0.75)), "x"), [])],
    "batch normalisation": [
        (layer(BatchNorm(), "x"), [normal(6, 1), normal(6, 1), np.abs(normal(6, 2)) + np.float32(0.1)])
    ],
    "scale": [(layer(Scale(), "x"), [normal(1, 1, 6), normal(1, 1, 6)])],
    "scale of a map": [(layer(Scale(hasBias=False), "x"), [normal(7, 11, 6)])],
    "scale by an input": [(layer(Scale(hasBias=False), "x", "b"), [])],
    "transposed convolution, uneven crops": [
        (layer(ConvTranspose(crop=(1, 0, 2, 3), upsample=(2, 3)), "x"), [normal(4, 5, 4, 6), normal(4, 1)])
    ],
    "transposed convolution, crops of one side": [
        (layer(ConvTranspose(crop=(0, 2, 0, 0), numGroups=2), "x"), [normal(4, 3, 2, 6), normal(4, 1)])
    ],
    "sum": [(layer(Sum(), "x", "b"), [])],
    "concatenation": [(layer(Concat(dim=1), "x", "b"), [])],
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(STOCK))
def test_stock_layers_go_to_caffe_and_come_back(name: str, tmp_path: Path) -> None:
    net = network(STOCK[name])
    inputs = {variable: X if variable == "x" else X[:, ::-1] for variable in net.inputs}
    caffe = to_caffe(net)
    caffe.write(tmp_path / "p", tmp_path / "w")
    again = matnet.convert_caffe(tmp_path / "p", tmp_path / "w" if caffe.blobs else None, color_format="rgb")
    expected = net.forward(inputs, ["y"])["y"]
    assert_close(again.forward(inputs, ["y"])["y"], expected, TOLERANCE, name)


def test_boxes_that_count_from_one_still_do(tmp_path: Path) -> None:
    net = network([(layer(ROIPooling(subdivisions=(2, 3), transform=0.5), "x", "rois"), [])])
    boxes = np.float32([[2, 3, 5, 13, 11], [1, 7, 7, 7, 7]]).reshape(2, 5, 1, 1)
    net.input_shapes["rois"] = boxes.shape
    prototxt, _ = written(net, tmp_path)
    again = matnet.convert_caffe(prototxt, color_format="rgb")
    expected = net.forward({"x": X, "rois": boxes}, ["y"])["y"]
    np.testing.assert_array_equal(again.forward({"x": X, "rois": boxes}, ["y"])["y"], expected)


def test_a_shared_param_is_shared_in_caffe(tmp_path: Path) -> None:
    net = network([(Layer("a", Conv(hasBias=False), ["x"], ["ya"]), [normal(3, 3, 6, 4)])])
    net.add(Layer("b", Conv(hasBias=False), ["b"], ["yb"], ["a_0"]))
    net.input_shapes["b"] = X.shape
    again = matnet.convert_caffe(*written(net, tmp_path), color_format="rgb")
    assert list(again.params) == ["a_filter"]


def test_the_first_filters_of_an_rgb_network_are_flipped(tmp_path: Path) -> None:
    filters = normal(3, 3, 3, 4)
    net = network([(layer(Conv(hasBias=False), "data"), [filters])])
    net.input_shapes = {"data": (1, 3, 7, 11)}
    flipped = read_weights(written(net, tmp_path)[1]).layers["l"][0]
    np.testing.assert_array_equal(flipped.data, filters.transpose(3, 2, 0, 1)[:, ::-1])
    plain = read_weights(written(net, tmp_path, color_format="rgb")[1]).layers["l"][0]
    np.testing.assert_array_equal(plain.data, filters.transpose(3, 2, 0, 1))


def test_the_order_of_the_channels_is_told_in_the_direction_of_the_export(tmp_path: Path) -> None:
    net = network([(layer(Conv(hasBias=False), "data"), [normal(3, 3, 3, 4)])])
    net.input_shapes = {"data": (1, 3, 7, 11)}
    notes = to_caffe(net).notes
    assert_line(notes, "Caffe", "B, G, R", "network", "R, G, B", "'data'")
    assert_line(notes, "'l'", "B, G, R", "network", "R, G, B")
    assert any("keeps the network's channel order" in note for note in to_caffe(net, color_format="rgb").notes)


@pytest.mark.parametrize("name", ["input", "data"])
def test_a_size_by_the_name_that_the_file_has_or_that_is_written(name: str, tmp_path: Path) -> None:
    net = matnet.load(DATA / "mat_public" / "base.mat")
    for size, expected in (((3, 8, 6), [1, 3, 8, 6]), ((9, 7), [1, 3, 9, 7])):
        first = to_caffe(net, {name: size}).message.get("layer")[0]
        assert list(first.get("input_param").get("shape")[0].get("dim")) == expected


def test_moments_that_nobody_measured_are_refused() -> None:
    values = [normal(6, 1), normal(6, 1), np.zeros((6, 2), np.float32)]
    with pytest.raises(NetworkError, match=r"'l'.*moments"):
        to_caffe(network([(layer(BatchNorm(), "x"), values)]))


FORKS = {
    "relu6": "type: 'ReLU' relu_param { relu6: true }",
    "four pads": "type: 'Convolution' convolution_param { num_output: 4 kernel_size: 3 pad_l: 2 pad_t: 1 }",
    "an average without pads": "type: 'Pooling' pooling_param { pool: AVE_EXC_PAD kernel_size: 3 pad: 1 }",
    "a division": "bottom: 'b' type: 'Eltwise' eltwise_param { operation: DIV }",
    "holes": "type: 'Convolution' convolution_param { num_output: 4 kernel_size: 3 hole: 2 }",
    "a type of a fork": "type: 'Interp' interp_param { height: 5 width: 4 }",
    "a type with a message that no schema has": "type: 'Gain' gain_param { factor: 2.5 }",
}


@pytest.mark.parametrize("name", FORKS)
def test_a_caffemodel_alone_holds_what_forks_added(name: str, tmp_path: Path) -> None:
    """Forks number these fields differently: their values must come back from a binary file all the same."""

    @register("mylab.Gain", caffe="Gain")
    @dataclass(frozen=True, kw_only=True)
    class Gain(Op):
        factor: float = 1.0

        def forward(self, xp, inputs, params):  # type: ignore[no-untyped-def]
            return [self.factor * inputs[0]]

    try:
        blobs = {"l": [normal(4, 6, 3, 3), normal(4)]} if "Convolution" in FORKS[name] else {}
        text = f"layer {{ name: 'l' bottom: 'x' top: 'y' {FORKS[name]} }}"
        net = converted(tmp_path, text, {"x": X.shape, **({"b": X.shape} if "'b'" in text else {})}, blobs)
        inputs = {variable: X if variable == "x" else X[:, ::-1] + 3 for variable in net.inputs}
        expected = net.forward(inputs, ["y"])["y"]
        files = written(net, tmp_path)
        for given in (files, (None, files[1])):
            again = matnet.convert_caffe(*given, color_format="rgb")
            assert_close(again.forward(inputs, ["y"])["y"], expected, TOLERANCE, name)
    finally:
        REGISTRY.remove(Gain)


BEHIND_FORKS = """
layer { name: 'c' type: 'Convolution' bottom: 'x' top: 'c' convolution_param { num_output: 4 kernel_size: 3 hole: 2 } }
layer { name: 'n' type: 'Normalize' bottom: 'c' top: 'n' norm_param { across_spatial: false channel_shared: false } }
layer { name: 'p' type: 'Permute' bottom: 'n' top: 'p' permute_param { order: 0 order: 2 order: 3 order: 1 } }
layer { name: 'f' type: 'Flatten' bottom: 'p' top: 'f' }
layer { name: 'y' type: 'InnerProduct' bottom: 'f' top: 'y' inner_product_param { num_output: 5 } }"""


def fork_files(folder: Path) -> tuple[Network, tuple[Path, Path], dict[str, list[np.ndarray]]]:
    """A network whose layers have fields that forks added, its files written anew, and its blobs."""
    values = 4 * (X.shape[2] - 4) * (X.shape[3] - 4)
    blobs = {"c": [normal(4, X.shape[1], 3, 3), normal(4)], "n": [normal(4)], "y": [normal(5, values), normal(5)]}
    net = converted(folder, BEHIND_FORKS, {"x": X.shape}, blobs)
    return net, written(net, folder), blobs


def test_protobufs_own_reader_takes_a_caffemodel_with_fields_of_forks(tmp_path: Path) -> None:
    """They stand in a field that the schema does not have, which protobuf does not look into."""
    _, (_, caffemodel), blobs = fork_files(tmp_path)
    message = protobuf_class("NetParameter").FromString(caffemodel.read_bytes())
    assert {layer.name: layer.type for layer in message.layer}["n"] == "Normalize"
    found = {layer.name: [np.array(blob.data, np.float32) for blob in layer.blobs] for layer in message.layer}
    for name, arrays in blobs.items():
        for array, back in zip(arrays, found[name], strict=True):
            np.testing.assert_array_equal(back, array.ravel())


def test_opencv_computes_the_same_from_files_with_fields_of_forks(tmp_path: Path) -> None:
    cv2 = pytest.importorskip("cv2", reason="needs OpenCV 4")
    if not hasattr(cv2.dnn, "readNetFromCaffe"):
        pytest.skip("this OpenCV does not read Caffe's files")
    net, files, _ = fork_files(tmp_path)
    reader = cv2.dnn.readNetFromCaffe(*map(str, files))
    reader.setInput(X)
    assert_close(net.forward(X, ["y"])["y"].reshape(2, 5), reader.forward("y"), TOLERANCE, "y")


SIMPLENN = ["sn_conv_groups", "sn_alexnet", "sn_conv_fc", "sn_bnorm", "sn_pool_max", "sn_lrn", "sn_convt_crop"]


@pytest.mark.process
@pytest.mark.parametrize("case", SIMPLENN)
def test_simplenn_files(case: str, tmp_path: Path) -> None:
    """A file from MATLAB: written for Caffe and converted back it computes the same, or says which layers cannot."""
    net = matnet.load(DATA / "matconvnet" / case / "model.mat")
    with np.load(DATA / "matconvnet" / case / "io.npz") as io:
        x = io["in__x"]
    x = x.reshape(x.shape + (1,) * (4 - x.ndim)).transpose(3, 2, 0, 1)
    net.input_shapes = {name: x.shape for name in net.inputs}
    try:
        caffe = to_caffe(net, color_format="rgb")
    except UnsupportedLayersError as error:
        assert case in ("sn_pool_max", "sn_convt_crop")
        assert "Caffe" in str(error)
        return
    caffe.write(tmp_path / "p", tmp_path / "w")
    again = matnet.convert_caffe(tmp_path / "p", tmp_path / "w" if caffe.blobs else None, color_format="rgb")
    expected = net.forward(x)[net.outputs[0]]
    found = next(iter(again.forward(x).values()))
    assert_close(found, expected, TOLERANCE, case)


INEXPRESSIBLE = [
    (layer(Conv(pad=(1, 2, 0, 0)), "x"), [normal(3, 3, 6, 4), normal(4, 1)], "pads 1 before and 2 after"),
    (layer(Pooling(method="avg", poolSize=(3, 3), pad=(1, 1, 1, 1)), "x"), [], "includes the zeros"),
    (layer(LRN(param=(4, 1, 1e-4, 0.75)), "x"), [], "only odd sizes"),
    (layer(NormOffset(), "x"), [], "Caffe has no such layer"),
]


def test_all_layers_that_caffe_lacks_are_told_at_once() -> None:
    net = Network()
    for index, (one, values, _) in enumerate(INEXPRESSIBLE):
        names = [f"p{index}_{place}" for place in range(len(values))]
        net.params.update(zip(names, map(Param, values), strict=True))
        net.add(Layer(f"l{index}", one.op, ["x"], [f"y{index}"], names))
    net.input_shapes = {"x": X.shape}
    with pytest.raises(UnsupportedLayersError) as caught:
        to_caffe(net)
    for index, (one, _, message) in enumerate(INEXPRESSIBLE):
        assert any(
            f"'l{index}' ({one.op.dagnn})" in line and message in line for line in str(caught.value).splitlines()
        )


@pytest.mark.process
def test_the_command_writes_what_it_is_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = DATA / "caffe" / "ip_chain"
    net = matnet.convert_caffe(folder / "deploy.prototxt", folder / "weights.caffemodel")
    model = matnet.save(net, tmp_path / "net.mat")
    assert convert.main(["--to-caffe", str(model), "--out-prototxt", str(tmp_path / "p")]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net.mat", "p"]
    assert run_command(convert.main, ["--to-caffe", str(tmp_path / "none.mat"), "--out", str(tmp_path / "q")]) == 2
    assert "none.mat: no such" in capsys.readouterr().err


def test_crops_keep_their_offsets(tmp_path: Path) -> None:
    net = network([(layer(Crop(crop=(2, 3)), "x", "b"), [])])
    net.input_shapes["b"] = (2, 6, 3, 5)
    caffe: CaffeNet = to_caffe(net)
    crop = caffe.message.get("layer")[-1].get("crop_param")
    assert (crop.get("axis"), crop.get("offset")) == (2, [2, 3])


def test_a_grouped_first_layer_reads_channels_in_the_networks_order(tmp_path: Path) -> None:
    """One filter per channel takes no other order of channels; a layer before it restores the order."""
    net = network([(layer(Conv(pad=(1, 1, 1, 1)), "x"), [normal(3, 3, 1, 6), normal(6, 1)])])
    x = normal(2, 3, 7, 5)
    net.input_shapes = {"x": x.shape}
    again = matnet.convert_caffe(*written(net, tmp_path), color_format="rgb")
    expected = blob_values(net, ["y"], {"x": x})["y"]
    found = blob_values(again, ["y"], {"x": x[:, ::-1]})["y"]
    assert_close(found, expected, TOLERANCE, "y")


def test_two_layers_that_write_one_variable_are_refused() -> None:
    net = network([(layer(Conv(), "x", name="c"), [normal(1, 1, 3, 3), normal(3, 1)]), (layer(ReLU(), "x"), [])])
    with pytest.raises(NetworkError, match=r"'y'.*'c', 'l'"):
        to_caffe(net)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
def test_a_full_disk_leaves_both_files_as_they_were(tmp_path: Path) -> None:
    for full in ("prototxt", "caffemodel"):
        files = {name: tmp_path / f"own.{name}" for name in ("prototxt", "caffemodel")}
        for path in files.values():
            path.write_text("older")
        caffe = to_caffe(network(STOCK["groups"]))
        with pytest.raises(FileFormatError, match="/dev/full"):
            caffe.write(**{**files, full: Path("/dev/full")})
        assert [path.read_text() for path in files.values()] == ["older", "older"]
        assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("stem", ["new/", "folder/", "."])
def test_a_folder_is_no_stem(stem: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "folder").mkdir()
    model = matnet.save(network(STOCK["groups"]), tmp_path / "net.mat")
    assert run_command(convert.main, [str(model), "--to-caffe", f"{tmp_path}/{stem}"]) == 2
    assert_line(capsys.readouterr().err, f"{tmp_path}/{stem}", "is a folder")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["folder", "net.mat"]
