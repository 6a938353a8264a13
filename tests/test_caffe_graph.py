"""What a conversion makes of a graph: names, in-place chains, merges, crops, sharing, training definitions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import matnet
from matnet.converters.files.caffe_write import write_caffemodel
from matnet.converters.files.text import parse_text
from matnet.errors import FileFormatError, MatnetError, NetworkError, ShapeError, UnsupportedLayersError
from matnet.network import Network
from tests.caffe_nets import (
    C6,
    P6,
    TOLERANCE,
    X,
    blob_values,
    caffe_files,
    check,
    converted,
    layer,
    per_channel,
    reloaded,
    softmax,
)
from tests.conftest import assert_close
from tests.helpers import assert_line

ONE = np.ones(1, np.float32)


def conv(name: str, bottom: str, top: str, outputs: int = 6, param: str = "kernel_size: 1") -> str:
    return layer(name, "Convolution", bottom, top, f"convolution_param {{ num_output: {outputs} {param} }}")


def filters(outputs: int, channels: int, size: int = 1, seed: int = 1) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    weights = random.standard_normal((outputs, channels, size, size)).astype(np.float32)
    return [weights, random.standard_normal(outputs).astype(np.float32)]


def mixed(x: np.ndarray, blobs: list[np.ndarray]) -> np.ndarray:
    """A 1 x 1 convolution."""
    return np.einsum("oc,ncij->noij", blobs[0][:, :, 0, 0], x) + blobs[1].reshape(1, -1, 1, 1)


# -- names -----------------------------------------------------------------------------------------

CHAIN = (
    conv("conv1", "x", "conv1")
    + layer("bn", "BatchNorm", "conv1", "conv1")
    + layer("scale", "Scale", "conv1", "conv1", "scale_param { bias_term: true }")
    + layer("relu", "ReLU", "conv1", "conv1")
    + layer("drop", "Dropout", "conv1", "conv1")
    + conv("score-fr", "conv1", "score-fr", 4)
)
CHAIN_BLOBS = {"conv1": filters(6, 6), "bn": [C6, P6, ONE], "scale": [P6, C6], "score-fr": filters(4, 6, seed=2)}


def test_a_chain_in_place_leaves_its_last_value_under_the_blobs_name(tmp_path: Path) -> None:
    net = converted(tmp_path, CHAIN, {"x": X.shape}, CHAIN_BLOBS)
    assert net.variables == [
        "x", "conv1_before_bn", "conv1_before_relu", "conv1_before_drop", "conv1", "score-fr"
    ]  # fmt: skip
    assert list(net.layers) == ["conv1", "bn", "relu", "drop", "score-fr"]
    assert list(net.params) == [
        "conv1_filter", "conv1_bias", "bn_mult", "bn_bias", "bn_moments", "score-fr_filter", "score-fr_bias"
    ]  # fmt: skip


def test_the_importers_names_on_request(tmp_path: Path) -> None:
    """conv1 -> BatchNorm conv1x -> Scale conv1xx -> ReLU conv1xxx; `-` becomes `_` (import-caffe.py).

    A layer that is taken out gives its output the name of its input: of a joined Scale, the BatchNorm's conv1x.
    """
    net = converted(tmp_path, CHAIN, {"x": X.shape}, CHAIN_BLOBS, names="upstream", merge_batchnorm="always",
                    remove_dropout=True)  # fmt: skip
    assert net.variables == ["x", "conv1", "conv1x", "conv1xxx", "score_fr"]
    assert list(net.layers) == ["conv1", "bn", "relu", "score_fr"]
    assert net.aliases["score-fr"] == "score_fr"


TWINS = "".join(
    layer(name, kind, bottom, top)
    for name, kind, bottom, top in [
        ("twin", "ReLU", "x", "a"), ("twin-a", "Sigmoid", "a", "b"), ("twin", "ReLU", "b", "c"),
        ("twin", "Sigmoid", "c", "d"),
    ]
)  # fmt: skip


@pytest.mark.parametrize(
    "scheme, names",
    [("caffe", ["twin", "twin-a", "twin_2", "twin_3"]), ("upstream", ["twin", "twin_a", "twinx", "twinxx"])],
)
def test_layers_of_one_name_under_either_scheme(scheme: str, names: list[str], tmp_path: Path) -> None:
    """As in FCN-8s, whose three layers `crop` MatConvNet's importer calls crop, cropx and cropxx."""
    net = converted(tmp_path, TWINS, {"x": X.shape}, {}, names=scheme)
    assert list(net.layers) == names
    assert all(any(f"renamed to {name}" in note for note in net.source.notes) for name in names[2:])


@pytest.mark.parametrize("options", [{}, {"merge_batchnorm": "never"}, {"remove_dropout": True}], ids=str)
def test_the_chain_computes_the_same_in_every_form(options: dict[str, object], tmp_path: Path) -> None:
    first = mixed(X, CHAIN_BLOBS["conv1"])
    normal = (first - per_channel(C6)) / np.sqrt(per_channel(P6) + 1e-5) * per_channel(P6) + per_channel(C6)
    net = reloaded(converted(tmp_path, CHAIN, {"x": X.shape}, CHAIN_BLOBS, **options), tmp_path)
    found = blob_values(net, ["conv1", "score-fr"], {"x": X})
    assert_close(found["conv1"], np.maximum(normal, 0), TOLERANCE, "conv1")
    assert_close(found["score-fr"], mixed(np.maximum(normal, 0), CHAIN_BLOBS["score-fr"]), TOLERANCE, "score-fr")


SEPARATE = (
    layer("bn", "BatchNorm", "x", "b")
    + layer("scale", "Scale", "b", "s", "scale_param { bias_term: true }")
    + layer("relu", "ReLU", "s", "y")
)


@pytest.mark.parametrize(("rule", "layers"), [
    ("auto", ["bn", "scale", "relu"]), ("always", ["bn", "relu"]), ("never", ["bn", "scale", "relu"])
])  # fmt: skip
def test_batchnorm_and_scale_join_only_where_no_blob_is_lost(rule: str, layers: list[str], tmp_path: Path) -> None:
    net = converted(tmp_path, SEPARATE, {"x": X.shape}, {"bn": [C6, P6, ONE], "scale": [P6, C6]}, merge_batchnorm=rule)
    assert list(net.layers) == layers
    assert ("b" in net.variables) == (rule != "always")
    normal = (X - per_channel(C6)) / np.sqrt(per_channel(P6) + 1e-5) * per_channel(P6) + per_channel(C6)
    assert_close(blob_values(net, ["y"], {"x": X})["y"], np.maximum(normal, 0), TOLERANCE, rule)


def test_layers_of_one_name_are_told_apart(tmp_path: Path) -> None:
    text = layer("r", "ReLU", "x", "a") + layer("r", "AbsVal", "x", "b")
    net = converted(tmp_path, text, {"x": X.shape}, {})
    found = blob_values(net, ["a", "b"], {"x": X})
    assert_close(found["a"], np.maximum(X, 0), TOLERANCE, "a")
    assert_close(found["b"], np.abs(X), TOLERANCE, "b")


def test_several_bottoms_share_the_filters_of_one_layer(tmp_path: Path) -> None:
    net = converted(tmp_path, conv("c", "x z", "y w"), {"x": X.shape, "z": X.shape}, {"c": filters(6, 6)})
    found = blob_values(reloaded(net, tmp_path), ["y", "w"], {"x": X, "z": -X})
    assert len(net.params) == 2
    assert_close(found["y"], mixed(X, filters(6, 6)), TOLERANCE, "y")
    assert_close(found["w"], mixed(-X, filters(6, 6)), TOLERANCE, "w")


def test_shared_params_are_one_param(tmp_path: Path) -> None:
    share = 'param { name: "w" } param { name: "b" }'
    text = conv("c", "x", "y").replace("convolution_param", f"{share} convolution_param")
    text += conv("c_p", "z", "w").replace("convolution_param", f"{share} convolution_param")
    net = converted(tmp_path, text, {"x": X.shape, "z": X.shape}, {"c": filters(6, 6), "c_p": filters(6, 6)})
    assert list(net.params) == ["c_filter", "c_bias"]
    assert net.layers["c_p"].params == ["c_filter", "c_bias"]


# -- crop alignment --------------------------------------------------------------------------------


def vgg(stages: int) -> str:
    """The trunk of VGG-16 as FCN has it: pad 100 first, pools of 2, fc6 of 7 x 7."""
    text, bottom = "", "data"
    for stage in range(1, stages + 1):
        pad = 100 if stage == 1 else 1
        text += conv(f"conv{stage}", bottom, f"conv{stage}", 2, f"kernel_size: 3 pad: {pad}")
        text += layer(
            f"pool{stage}", "Pooling", f"conv{stage}", f"pool{stage}", "pooling_param { kernel_size: 2 stride: 2 }"
        )
        bottom = f"pool{stage}"
    return text + conv("fc6", bottom, "fc6", 2, "kernel_size: 7") + conv("score", "fc6", "score", 2)


def up(name: str, bottom: str, kernel: int, stride: int) -> str:
    param = f"convolution_param {{ num_output: 2 kernel_size: {kernel} stride: {stride} bias_term: false }}"
    return layer(name, "Deconvolution", bottom, name, param)


FCN = {
    "32s": (up("up", "score", 64, 32) + layer("crop", "Crop", "up data", "crop"), {"crop": (19, 19)}),
    "16s": (
        up("up2", "score", 4, 2) + conv("s4", "pool4", "s4", 2) + layer("crop4", "Crop", "s4 up2", "crop4")
        + layer("fuse", "Eltwise", "up2 crop4", "fuse") + up("up", "fuse", 32, 16)
        + layer("crop", "Crop", "up data", "crop"),
        {"crop4": (5, 5), "crop": (27, 27)},
    ),
    "8s": (
        up("up2", "score", 4, 2) + conv("s4", "pool4", "s4", 2) + layer("crop4", "Crop", "s4 up2", "crop4")
        + layer("fuse", "Eltwise", "up2 crop4", "fuse") + up("up4", "fuse", 4, 2) + conv("s3", "pool3", "s3", 2)
        + layer("crop3", "Crop", "s3 up4", "crop3") + layer("fuse3", "Eltwise", "up4 crop3", "fuse3")
        + up("up", "fuse3", 16, 8) + layer("crop", "Crop", "up data", "crop"),
        {"crop4": (5, 5), "crop3": (9, 9), "crop": (31, 31)},
    ),
}  # fmt: skip


@pytest.mark.parametrize("model", sorted(FCN))
def test_crops_without_offsets_align_as_in_the_published_fcns(model: str, tmp_path: Path) -> None:
    """Offsets 19; 5 and 27; 5, 9 and 31 are those of the later FCN releases, which state them."""
    head, expected = FCN[model]
    (tmp_path / "deploy.prototxt").write_text(
        layer("data", "Input", "", "data", "input_param { shape { dim: 1 dim: 3 dim: 500 dim: 500 } }") + vgg(5) + head
    )
    net = matnet.convert_caffe(tmp_path / "deploy.prototxt")
    assert {name: net.layers[name].op.crop for name in expected} == expected


def test_a_crop_of_unrelated_blobs_cuts_at_the_corner(tmp_path: Path) -> None:
    net = converted(tmp_path, layer("c", "Crop", "x b", "y"), {"x": X.shape, "b": (2, 6, 3, 5)}, {})
    found = blob_values(net, ["y"], {"x": X, "b": X[:, :, :3, :5]})
    assert_close(found["y"], X[:, :, :3, :5], TOLERANCE, "y")
    assert any("no common blob" in note for note in net.source.notes)


def test_a_crop_that_cannot_be_aligned_cuts_at_the_corner_as_caffe(tmp_path: Path) -> None:
    """BVLC's Crop cuts at its offset, 0 by default; only the fork for dense networks aligned the two blobs."""
    text = conv("c", "x", "c", 6, "kernel_size: 3 stride: 2") + layer("k", "Crop", "x c", "y")
    net = converted(tmp_path, text, {"x": X.shape}, {"c": filters(6, 6, 3)})
    found = blob_values(net, ["y", "c"], {"x": X})
    assert_close(found["y"], X[:, :, : found["c"].shape[2], : found["c"].shape[3]], TOLERANCE, "y")
    assert any("'k'" in note and "different scales" in note for note in net.source.notes)


# -- training definitions --------------------------------------------------------------------------

DATA = """layer { name: "data" type: "Data" top: "data" top: "label" include { phase: TEST }
                  transform_param { crop_size: 7 mean_value: 104 mean_value: 117 mean_value: 123 scale: 0.5 } }
          layer { name: "data" type: "Data" top: "data" top: "label" include { phase: TRAIN } }
"""


def trained(tmp_path: Path, text: str, blobs: dict[str, list[np.ndarray]], **options: object) -> Network:
    prototxt, caffemodel = tmp_path / "train_val.prototxt", tmp_path / "net.caffemodel"
    prototxt.write_text(text)
    write_caffemodel(caffemodel, parse_text(text, "test", lenient=True), blobs)
    return matnet.convert_caffe(prototxt, caffemodel, **options)


LOSSES = [
    ("SoftmaxWithLoss", "loss", ["prob"], "SoftMax"),
    ("SigmoidCrossEntropyLoss", "loss", ["sigmoid"], "Sigmoid"),
    ("EuclideanLoss", "loss", ["c"], None),
    ("HingeLoss", "loss", ["c"], None),
    ("SoftmaxWithLoss", "loss probabilities", ["probabilities"], "SoftMax"),
]


@pytest.mark.parametrize(("kind", "tops", "outputs", "form"), LOSSES, ids=[f"{case[0]} {case[1]}" for case in LOSSES])
def test_losses_become_what_they_apply(
    kind: str, tops: str, outputs: list[str], form: str | None, tmp_path: Path
) -> None:
    text = (
        DATA
        + conv("c", "data", "c", 4)
        + layer("loss", kind, "c label", tops)
        + layer("acc", "Accuracy", "c label", "acc")
    )
    net = trained(tmp_path, text, {"c": filters(4, 3)})
    assert net.outputs == outputs
    assert [made.op.dagnn for made in net.layers.values()][1:] == ([f"dagnn.{form}"] if form else [])
    assert net.input_shapes == {"data": (1, 3, 7, 7)}
    assert any("'acc' (Accuracy)" in note for note in net.source.notes)


def test_losses_can_be_left_out_and_a_softmax_asked_for(tmp_path: Path) -> None:
    text = DATA + conv("c", "data", "c", 4) + layer("loss", "SoftmaxWithLoss", "c label", "loss")
    assert trained(tmp_path, text, {"c": filters(4, 3)}, remove_loss=True).outputs == ["c"]
    net = trained(tmp_path, text, {"c": filters(4, 3)}, remove_loss=True, append_softmax=["c"])
    assert (list(net.layers), net.outputs) == (["c", "softmax"], ["prob"])
    with pytest.raises(NetworkError, match=r"Softmax.*'cc'; nearest: c"):
        trained(tmp_path, text, {"c": filters(4, 3)}, append_softmax=["cc"])


def test_branches_that_only_prepare_labels_go_with_the_loss(tmp_path: Path) -> None:
    text = (
        DATA + conv("c", "data", "c", 4)
        + layer("s", "Slice", "label", "l1 l2", "slice_param { axis: 0 slice_point: 1 }")
        + layer("quiet", "Silence", "l2", "").replace('top: ""', "")
        + layer("loss", "SoftmaxWithLoss", "c l1", "loss")
    )  # fmt: skip
    net = trained(tmp_path, text, {"c": filters(4, 3)})
    assert (list(net.layers), net.inputs) == (["c", "loss"], ["data"])


def test_an_unknown_size_comes_from_the_user_or_the_weights(tmp_path: Path) -> None:
    text = """layer { name: "data" type: "Data" top: "data" top: "label" }
    layer { name: "p" type: "Pooling" bottom: "data" top: "p" pooling_param { kernel_size: 2 stride: 2 } }
    layer { name: "c" type: "Convolution" bottom: "p" top: "c" convolution_param { num_output: 4 kernel_size: 3 } }
    layer { name: "i" type: "InnerProduct" bottom: "c" top: "i" inner_product_param { num_output: 5 } }"""
    weights = [np.ones((5, 4 * 9), np.float32), np.zeros(5, np.float32)]
    blobs = {"c": filters(4, 1, 3), "i": weights}
    net = trained(tmp_path, text, blobs)
    assert net.params["i_filter"].value.shape == (3, 3, 4, 5)
    assert net.input_shapes == {}
    assert trained(tmp_path, text, blobs, input_size=(10, 10)).input_shapes == {"data": (1, 1, 10, 10)}
    with pytest.raises(FileFormatError, match=r"'i' \(InnerProduct\), blob 0: the file has 5x36 .* needs 5x60"):
        trained(tmp_path, text, blobs, input_size=(9, 14))


def test_stages_and_levels_choose_layers(tmp_path: Path) -> None:
    text = (
        layer("a", "ReLU", "x", "y", 'include { stage: "deploy" }')
        + layer("b", "AbsVal", "x", "y", 'include { not_stage: "deploy" }')
        + layer("c", "Power", "y", "z", "include { min_level: 2 } power_param { scale: 3 }")
    )
    assert list(converted(tmp_path, text, {"x": X.shape}, {}, stages=["deploy"]).layers) == ["a"]
    net = converted(tmp_path, text, {"x": X.shape}, {}, level=2)
    assert net.outputs == ["z"]


def test_constant_data_beside_real_inputs_is_part_of_the_network(tmp_path: Path) -> None:
    text = """layer { name: "d" type: "DummyData" top: "b" dummy_data_param { shape { dim: 2 dim: 6 dim: 7 dim: 11 }
              data_filler { type: "constant" value: 2.5 } } }""" + layer("e", "Eltwise", "x b", "y")
    net = reloaded(converted(tmp_path, text, {"x": X.shape}, {}), tmp_path)
    assert net.inputs == ["x"]
    assert_close(blob_values(net, ["y"], {"x": X})["y"], X + 2.5, TOLERANCE, "y")


# -- what is refused -------------------------------------------------------------------------------


def test_unknown_types_are_all_told_at_once(tmp_path: Path) -> None:
    text = layer("a", "Warp", "x", "a") + layer("b", "ReLU", "a", "b") + layer("c", "Convolutoin", "b", "c")
    with pytest.raises(UnsupportedLayersError) as caught:
        converted(tmp_path, text, {"x": X.shape}, {})
    message = str(caught.value)
    assert "2 layers" in message and "'a' (Warp)" in message
    assert "'c' (Convolutoin); nearest: Convolution" in message


def test_all_misshapen_weights_are_told_at_once(tmp_path: Path) -> None:
    text = (
        conv("c", "x", "c")
        + conv("d", "c", "d")
        + layer("i", "InnerProduct", "d", "i", "inner_product_param { num_output: 3 }")
    )
    blobs = {"c": filters(6, 5), "d": filters(6, 6), "i": [np.ones((3, 7), np.float32), np.ones(3, np.float32)]}
    with pytest.raises(FileFormatError) as caught:
        converted(tmp_path, text, {"x": X.shape}, blobs)
    message = str(caught.value)
    assert_line(message, "weights", "(2)")
    assert_line(message, "'c' (Convolution)", "blob 0", "6x5x1x1", "30", "6x6x1x1")
    assert_line(message, "'i' (InnerProduct)", "blob 0", "3x7", "21", "3x462")


def test_names_in_the_caffemodel_that_no_layer_takes_are_each_told_once(tmp_path: Path) -> None:
    """A name that another layer takes is no advice: `c1` is near to `c2`, but has its layer."""
    stored = conv("c1", "x", "c1") + conv("ip1", "c1", "ip1") + conv("score", "ip1", "score", 4)
    blobs = {"c1": filters(6, 6), "ip1": filters(6, 6), "score": filters(4, 6)}
    _, caffemodel = caffe_files(tmp_path, stored, {"x": X.shape}, blobs)
    text = layer("x", "Input", "", "x", "input_param { shape { dim: 2 dim: 6 dim: 7 dim: 11 } }")
    text += conv("c1", "x", "c1") + conv("c2", "c1", "c2") + conv("ip_1", "c2", "ip_1")
    (tmp_path / "other.prototxt").write_text(text)
    with pytest.raises(FileFormatError) as caught:
        matnet.convert_caffe(tmp_path / "other.prototxt", caffemodel)
    lines = str(caught.value).splitlines()
    assert [line for line in lines if "ip1" in line.split()] == [line for line in lines if "'ip_1'" in line]
    assert [line for line in lines if "score" in line] == lines[-1:]
    assert "c1" not in str(caught.value).replace(".prototxt", "").split()


def test_a_prototxt_alone_says_how_to_give_its_weights(tmp_path: Path) -> None:
    prototxt, _ = caffe_files(tmp_path, conv("c1", "x", "c1") + conv("c2", "c1", "c2"), {"x": X.shape}, {})
    with pytest.raises(NetworkError, match=r"deploy\.prototxt: no weights.*2 layers.*c1, c2.*caffemodel"):
        matnet.load(prototxt)(X)


@pytest.mark.parametrize(
    ("head", "form"),
    [
        ("input: 'im'", "'im': (C, H, W)"),
        ("layer { name: 'd' type: 'Data' top: 'im' }", "'im': (H, W)"),
        ("layer { name: 'd' type: 'HDF5Data' top: 'im' }", "'im': (C, H, W)"),
    ],
)
def test_a_message_about_sizes_names_the_input_and_what_is_unknown(head: str, form: str, tmp_path: Path) -> None:
    text = conv("c", "im", "c") + layer("ip", "InnerProduct", "c", "ip", "inner_product_param { num_output: 3 }")
    (tmp_path / "net.prototxt").write_text(head + text)
    with pytest.raises(ShapeError) as caught:
        matnet.convert_caffe(tmp_path / "net.prototxt")
    assert f"input_size={{{form}}}" in str(caught.value)
    sizes = (6, 7, 11) if "C" in form else (7, 11)
    net = matnet.convert_caffe(tmp_path / "net.prototxt", input_size={"im": sizes}, placeholders=True)
    assert net.input_shapes["im"] == (1, *((3,) if len(sizes) == 2 else ()), *sizes)


def test_missing_weights_are_an_error(tmp_path: Path) -> None:
    text = layer("x", "Input", "", "x", "input_param { shape { dim: 2 dim: 6 dim: 7 dim: 11 } }") + conv("c", "x", "c")
    _, caffemodel = caffe_files(tmp_path, conv("c", "x", "c"), {"x": X.shape}, {"c": filters(6, 6)})
    (tmp_path / "longer.prototxt").write_text(text + conv("d", "c", "d") + conv("e", "d", "e"))
    with pytest.raises(FileFormatError) as caught:
        matnet.convert_caffe(tmp_path / "longer.prototxt", caffemodel)
    for name in "de":
        assert_line(str(caught.value), f"'{name}' (Convolution)", "no layer")


REFUSED: list[tuple[str, type[MatnetError], str]] = [
    (conv("c", "x", "y", 6, "kernel_size: 9"), ShapeError, r"window of 9x9 does not fit in an input of 7x11"),
    (conv("c", "x", "y", 6, "kernel_size: 3 stride: 0"), NetworkError, r"stride 0x0 has a zero"),
    (conv("c", "x", "y", 6, "stride: 1"), NetworkError, r"has no kernel_size"),
    (conv("c", "x", "y", 6, "kernel_size: 3 group: 4"), ShapeError, "6 input channels .* 4 groups"),
    (conv("c", "x", "y", 0), NetworkError, r"num_output is missing or 0"),
    (conv("c", "x", "y", 6, "kernel_size: 3 kernel_h: 3"), NetworkError, r"both kernel_size and kernel_h"),
    (
        layer("p", "Pooling", "x", "y", "pooling_param { kernel_size: 2 pad: 2 }"),
        NetworkError,
        r"pad 2x2 is not smaller",
    ),
    (layer("p", "Pooling", "x", "y", "pooling_param { kernel_size: 2 global_pooling: true }"), NetworkError, "both"),
    (layer("n", "LRN", "x", "y", "lrn_param { local_size: 4 }"), NetworkError, r"local_size is 4"),
    (layer("s", "Slice", "x", "p q", "slice_param { slice_point: 6 }"), ShapeError, r"\[6\] must increase"),
    (layer("s", "Slice", "x", "p q r s", ""), ShapeError, r"6 channels cannot be (cut|split) into 4 equal parts"),
    (layer("r", "Reshape", "x", "y", "reshape_param { shape { dim: 5 dim: -1 } }"), ShapeError, r"2x6x7x11"),
    (layer("e", "Eltwise", "x", "y"), NetworkError, r"has 1 bottoms \(x\); expected 2 or more"),
    (layer("r", "ReLU", "x", "y z"), NetworkError, r"has 2 tops \(y, z\); expected 1"),
    (layer("r", "LSTM", "x", "y"), NetworkError, r"has 1 bottoms \(x\); expected 2 to 5"),
    (layer("e", "Eltwise", "x b", "y"), ShapeError, r"'b' is 2x6x3x5, 'x' is 2x6x7x11"),
    (layer("c", "Concat", "x b", "y"), ShapeError, r"except in C"),
    (layer("c", "Crop", "x b", "y", "crop_param { offset: 5 }"), ShapeError, r"crop of 3 at 5 along axis 2"),
    (layer("f", "Flatten", "x", "y", "flatten_param { axis: 7 }"), NetworkError, r"axis 7 does not exist"),
    (layer("p", "Permute", "x", "y", "permute_param { order: 1 order: 1 }"), NetworkError, r"must list different axes"),
    (layer("r", "ReLU6", "x", "y", "relu_param { negative_slope: 1 }"), UnsupportedLayersError, r"negative_slope"),
]


@pytest.mark.parametrize(("text", "error", "message"), REFUSED, ids=[message for _, _, message in REFUSED])
def test_definitions_that_make_no_sense(text: str, error: type[MatnetError], message: str, tmp_path: Path) -> None:
    (tmp_path / "deploy.prototxt").write_text(
        layer("x", "Input", "", "x", "input_param { shape { dim: 2 dim: 6 dim: 7 dim: 11 } }")
        + layer("b", "Input", "", "b", "input_param { shape { dim: 2 dim: 6 dim: 3 dim: 5 } }")
        + text
    )
    with pytest.raises(error, match=message) as caught:
        matnet.convert_caffe(tmp_path / "deploy.prototxt")
    assert f"deploy.prototxt, line 3, column 1, layer {text.split(chr(34))[1]!r}" in str(caught.value)


def test_all_layers_that_cannot_be_lowered_are_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "deploy.prototxt").write_text(
        layer("x", "Input", "", "x", "input_param { shape { dim: 2 dim: 6 dim: 7 dim: 11 } }")
        + conv("c", "x", "c", 6, "kernel_size: 9")
        + layer("n", "LRN", "x", "n", "lrn_param { local_size: 4 }")
    )
    with pytest.raises(NetworkError) as caught:
        matnet.convert_caffe(tmp_path / "deploy.prototxt")
    assert "2 layers cannot be converted" in str(caught.value)


# -- users' layers ---------------------------------------------------------------------------------


def test_a_registered_layer_type_is_used(tmp_path: Path) -> None:
    from dataclasses import dataclass

    from matnet.ops.base import REGISTRY, Op, register

    @register("mylab.Gain", caffe="Gain")
    @dataclass(frozen=True, kw_only=True)
    class Gain(Op):
        factor: float = 1.0

        def forward(self, xp, inputs, params):  # type: ignore[no-untyped-def]
            return [self.factor * inputs[0]]

    try:
        check(tmp_path, "Gain", "gain_param { factor: 2.5 }", {"x": X}, 2.5 * X)
    finally:
        REGISTRY.remove(Gain)


def test_softmax_after_a_merged_blob_is_over_all_values(tmp_path: Path) -> None:
    text = layer("f", "Flatten", "x", "f") + layer("s", "Softmax", "f", "y")
    net = reloaded(converted(tmp_path, text, {"x": X.shape}, {}), tmp_path)
    assert_close(blob_values(net, ["y"], {"x": X})["y"], softmax(X.reshape(2, -1), 1), TOLERANCE, "y")


@pytest.mark.process
@pytest.mark.parametrize("axes", [(1, -1), (2, 3), (0, -1)], ids=str)
def test_a_flattened_blob_has_caffes_sizes_also_where_a_layer_reads_it(axes: tuple[int, int], tmp_path: Path) -> None:
    """The readers take the values as they are; who asks for the blob gets its axes merged, in every engine and file."""
    onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    kind = f"flatten_param {{ axis: {axes[0]} end_axis: {axes[1]} }}"
    text = layer("r", "ReLU", "x", "r") + layer("f", "Flatten", "r", "flat", kind)
    text += layer("g", "Power", "flat", "g", "power_param { scale: 3 }")
    net = converted(tmp_path, text, {"x": X.shape}, {})
    rectified = np.maximum(X, 0)
    expected = rectified.reshape({0: (-1,), 1: (2, -1), 2: (2, 6, -1)}[axes[0]])
    four = expected.reshape(expected.shape + (1,) * (4 - expected.ndim))
    for found in (net, reloaded(net, tmp_path)):
        for backend in ("numpy", "onnx"):
            values = found.forward(X, ["flat", "r", "g"], backend=backend)
            np.testing.assert_array_equal(values["flat"], four)
            np.testing.assert_array_equal(values["r"], rectified)
        found.to_onnx(tmp_path / "flat.onnx", outputs=["flat"], size=X.shape[2:])
        (value,) = onnxruntime.InferenceSession(str(tmp_path / "flat.onnx")).run(["flat"], {found.inputs[0]: X})
        np.testing.assert_array_equal(value, four)


READERS = {
    "": "",
    "InnerProduct": "inner_product_param { num_output: 3 bias_term: false }",
    "Tile": "tile_param { axis: 1 tiles: 2 }",
}


@pytest.mark.parametrize("top", ["flat", "other"])
@pytest.mark.parametrize("reader", READERS)
def test_a_function_of_a_flattened_blob_has_caffes_sizes(top: str, reader: str, tmp_path: Path) -> None:
    """In place or not, whether a layer reads it or not, and whether that layer needs the merged axes (Tile) or not."""
    text = layer("f", "Flatten", "x", "flat") + layer("r", "ReLU", "flat", top)
    if reader:
        text += layer("i", reader, top, "i", READERS[reader])
    values = np.maximum(X, 0).reshape(2, -1)
    weights = np.cos(np.arange(3 * values.shape[1], dtype=np.float32)).reshape(3, -1)
    net = converted(tmp_path, text, {"x": X.shape}, {"i": [weights]} if reader == "InnerProduct" else {})
    for found in (net, reloaded(net, tmp_path)):
        np.testing.assert_array_equal(found.forward(X, [top])[top], values[:, :, None, None])
        if reader:
            answer = found.forward(X, ["i"])["i"][..., 0, 0]
            expected = np.tile(values, (1, 2)) if reader == "Tile" else values @ weights.T
            np.testing.assert_allclose(answer, expected, rtol=1e-4, atol=1e-4)
