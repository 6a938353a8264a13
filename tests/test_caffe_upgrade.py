"""V0 -> V1 -> V2, and the forks' spellings.

Expected values are BVLC Caffe's rules (upgrade_proto.cpp), worked by hand.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from matnet.converters.caffemodel import net_from_caffemodel, read_prototxt
from matnet.converters.files import layer_types
from matnet.converters.files.message import Message, build
from matnet.converters.files.schema import enum_type
from matnet.converters.files.text import parse_text
from matnet.converters.files.text_write import to_text
from matnet.converters.graph.upgrade import upgrade
from matnet.errors import FileFormatError
from tests.caffe_bytes import number, part, single
from tests.helpers import assert_line


def upgraded(text: str) -> tuple[list[Message], list[str]]:
    """The V2 layers of a prototxt, and the notes."""
    notes: list[str] = []
    return upgrade(parse_text(text, "net.prototxt"), notes).get("layer"), notes


def field(layer: Message, path: str) -> object:
    value: Any = layer
    for name in path.split("."):
        assert value.has(name), f"{path} is not set"
        value = value.get(name)
    return value


# -- V0 ------------------------------------------------------------------------------------------


def v0(type: str, fields: str = "", wiring: str = "bottom: 'a' top: 'b'") -> str:
    return f"layers {{ layer {{ name: 'l' type: '{type}' {fields} }} {wiring} }} input: 'a'"


@pytest.mark.parametrize(("old", "new"), [
    ("accuracy", "Accuracy"), ("bnll", "BNLL"), ("concat", "Concat"), ("conv", "Convolution"),
    ("data", "Data"),
    ("dropout", "Dropout"), ("euclidean_loss", "EuclideanLoss"), ("flatten", "Flatten"),
    ("hdf5_data", "HDF5Data"), ("hdf5_output", "HDF5Output"), ("im2col", "Im2col"), ("images", "ImageData"),
    ("infogain_loss", "InfogainLoss"), ("innerproduct", "InnerProduct"), ("lrn", "LRN"),
    ("multinomial_logistic_loss", "MultinomialLogisticLoss"), ("pool", "Pooling"), ("relu", "ReLU"),
    ("sigmoid", "Sigmoid"), ("softmax", "Softmax"), ("softmax_loss", "SoftmaxWithLoss"), ("split", "Split"),
    ("tanh", "TanH"), ("window_data", "WindowData"), ("crop", "Crop"), ("unheard", "unheard"),
])
def test_v0_type_strings(old: str, new: str) -> None:
    assert upgraded(v0(old))[0][-1].get("type") == new


@pytest.mark.parametrize(("type", "given", "path", "expected"), [
    ("conv", "num_output: 6", "convolution_param.num_output", 6),
    ("innerproduct", "num_output: 6", "inner_product_param.num_output", 6),
    ("conv", "biasterm: false", "convolution_param.bias_term", False),
    ("innerproduct", "biasterm: false", "inner_product_param.bias_term", False),
    ("conv", "weight_filler { std: 0.5 }", "convolution_param.weight_filler.std", 0.5),
    ("innerproduct", "bias_filler { value: 2 }", "inner_product_param.bias_filler.value", 2.0),
    ("conv", "pad: 2", "convolution_param.pad", [2]), ("pool", "pad: 2", "pooling_param.pad", 2),
    ("conv", "kernelsize: 5", "convolution_param.kernel_size", [5]),
    ("pool", "kernelsize: 5", "pooling_param.kernel_size", 5),
    ("conv", "group: 2", "convolution_param.group", 2), ("conv", "stride: 4", "convolution_param.stride",
                                                         [4]),
    ("pool", "stride: 4", "pooling_param.stride", 4), ("pool", "pool: AVE", "pooling_param.pool", "AVE"),
    ("dropout", "dropout_ratio: 0.25", "dropout_param.dropout_ratio", 0.25),
    ("lrn", "local_size: 7", "lrn_param.local_size", 7), ("lrn", "alpha: 0.1", "lrn_param.alpha", 0.1),
    ("lrn", "beta: 0.1", "lrn_param.beta", 0.1), ("lrn", "k: 2", "lrn_param.k", 2.0),
    ("data", "source: 's'", "data_param.source", "s"),
    ("hdf5_data", "source: 's'", "hdf5_data_param.source", "s"),
    ("images", "source: 's'", "image_data_param.source", "s"),
    ("window_data", "source: 's'", "window_data_param.source", "s"),
    ("infogain_loss", "source: 's'", "infogain_loss_param.source", "s"),
    ("data", "scale: 0.5", "transform_param.scale", 0.5),
    ("images", "meanfile: 'm'", "transform_param.mean_file", "m"),
    ("window_data", "cropsize: 227", "transform_param.crop_size", 227),
    ("relu", "mirror: true", "transform_param.mirror", True),
    ("data", "batchsize: 9", "data_param.batch_size", 9),
    ("hdf5_data", "batchsize: 9", "hdf5_data_param.batch_size", 9),
    ("images", "batchsize: 9", "image_data_param.batch_size", 9),
    ("window_data", "batchsize: 9", "window_data_param.batch_size", 9),
    ("data", "rand_skip: 3", "data_param.rand_skip", 3), ("images", "rand_skip: 3",
                                                          "image_data_param.rand_skip", 3),
    ("window_data", "det_fg_threshold: 0.75", "window_data_param.fg_threshold", 0.75),
    ("window_data", "det_bg_threshold: 0.75", "window_data_param.bg_threshold", 0.75),
    ("window_data", "det_fg_fraction: 0.75", "window_data_param.fg_fraction", 0.75),
    ("window_data", "det_context_pad: 16", "window_data_param.context_pad", 16),
    ("window_data", "det_crop_mode: 'square'", "window_data_param.crop_mode", "square"),
    ("images", "new_height: 5", "image_data_param.new_height", 5),
    ("images", "new_width: 5", "image_data_param.new_width", 5),
    ("images", "shuffle_images: true", "image_data_param.shuffle", True),
    ("concat", "concat_dim: 0", "concat_param.concat_dim", 0),
    ("hdf5_output", "hdf5_output_param { file_name: 'f' }", "hdf5_output_param.file_name", "f"),
])
def test_v0_fields(type: str, given: str, path: str, expected: object) -> None:
    layers, notes = upgraded(v0(type, given))
    assert field(layers[-1], path) == expected
    assert "upgraded from the V0 format" in notes and not any("dropped" in note for note in notes)


def test_v0_names_and_learning_rates() -> None:
    layer = upgraded(v0("conv", "blobs_lr: 1 blobs_lr: 2 weight_decay: 0.5"))[0][-1]
    assert [layer.get(name) for name in ("name", "bottom", "top")] == ["l", ["a"], ["b"]]
    assert [(spec.get("lr_mult"), spec.get("decay_mult")) for spec in layer.get("param")] == [(1, 0.5), (2, 1)]


def test_a_v0_field_without_meaning_is_dropped_with_a_note() -> None:
    layers, notes = upgraded(v0("relu", "kernelsize: 3 new_num: 5"))
    assert set(dict(layers[-1].items())) == {"name", "type", "bottom", "top"}
    (note,) = (note for note in notes if "dropped" in note)
    assert_line(note, "'l'", "`kernelsize`", "'relu'")


PADDED = """
    input: 'data' input_dim: 1 input_dim: 3 input_dim: 9 input_dim: 8
    layers {{ layer {{ name: 'p' type: 'padding' pad: 2 }} bottom: 'data' top: 'padded' }}
    layers {{ layer {{ name: 'c' type: '{type}' kernelsize: 3 {pad} }} {wiring} }}"""


@pytest.mark.parametrize(("type", "path", "expected"), [
    ("conv", "convolution_param.pad", [2]), ("pool", "pooling_param.pad", 2)])
@pytest.mark.parametrize("pad", ["", "pad: 1"])
def test_padding_layers_are_folded(type: str, path: str, expected: object, pad: str) -> None:
    """The padding layer's pad overwrites that of its consumer, and its bottom becomes the consumer's."""
    layers, notes = upgraded(PADDED.format(type=type, pad=pad, wiring="bottom: 'padded' top: 'c'"))
    assert [layer.get("name") for layer in layers] == ["input", "c"]
    assert layers[1].get("bottom") == ["data"] and field(layers[1], path) == expected
    assert "padding layer 'p' folded into 'c'" in notes


@pytest.mark.parametrize(("type", "wiring", "fragment"), [
    ("relu", "bottom: 'padded' top: 'c'", "feeds 'c' of type 'relu'"),
    ("padding", "bottom: 'padded' top: 'c'", "feeds 'c' of type 'padding'"),
    ("conv", "bottom: 'padded' bottom: 'data' top: 'c'", "has 2 bottoms"),
    ("conv", "bottom: 'missing' top: 'c'", "reads 'missing'"),
])
def test_padding_layers_that_cannot_be_folded(type: str, wiring: str, fragment: str) -> None:
    with pytest.raises(FileFormatError, match=fragment):
        upgraded(PADDED.format(type=type, pad="", wiring=wiring))


@pytest.mark.parametrize(("fields", "expected"), [
    (single(22, 2), 2.0), (number(22, 7), 1.0), (single(116, 2), 2.0), (number(22, 7) + single(116, 2), 2.0)])
def test_number_22_of_v0_is_k_or_the_augmentation_type(tmp_path: Path, fields: bytes,
                                                       expected: float) -> None:
    """4 bytes are LRN's k; a varint is VGG's img_aug_type, whose k has the number 116."""
    file = tmp_path / "v0.caffemodel"
    file.write_bytes(part(2, part(1, part(1, "n"), part(2, "lrn"), fields), part(2, "x"), part(3, "y")))
    assert net_from_caffemodel(file).layers[0].params.get("lrn_param").get("k") == expected


# -- V1 ------------------------------------------------------------------------------------------


def test_every_v1_type_has_a_v2_name() -> None:
    assert set(layer_types.V1_TO_V2) == set(enum_type("V1LayerType").numbers)


@pytest.mark.parametrize(("number", "identifier", "v2"), [
    (4, "CONVOLUTION", "Convolution"), (5, "DATA", "Data"), (14, "INNER_PRODUCT", "InnerProduct"),
    (15, "LRN", "LRN"), (17, "POOLING", "Pooling"), (18, "RELU", "ReLU"), (20, "SOFTMAX", "Softmax"),
    (21, "SOFTMAX_LOSS", "SoftmaxWithLoss"), (23, "TANH", "TanH"), (25, "ELTWISE", "Eltwise"),
    (27, "SIGMOID_CROSS_ENTROPY_LOSS", "SigmoidCrossEntropyLoss"), (30, "ARGMAX", "ArgMax"),
    (34, "MVN", "MVN"), (35, "ABSVAL", "AbsVal"), (39, "DECONVOLUTION", "Deconvolution"),
    (40, "CROP", "Crop"),
    (42, "MULTI_STAGE_MEANFIELD", "MultiStageMeanfield"), (0, "NONE", ""), (99, "UNHEARD_OF", "UNHEARD_OF"),
])
def test_v1_types(number: int, identifier: str, v2: str) -> None:
    assert upgraded(f"layers {{ type: {identifier} }}")[0][0].get("type") == v2
    assert upgraded(f"layers {{ type: {number} }}")[0][0].get("type") == (v2 if number < 99 else "99")


def test_v1_fields_are_carried_over() -> None:
    layer = upgraded("""
        layers { name: 'l' type: CONVOLUTION bottom: 'a' top: 'b' loss_weight: 2
          param: 'w' blobs_lr: 1 blobs_lr: 2 weight_decay: 0.5 blob_share_mode: PERMISSIVE
          include { phase: TEST } loss_param { normalize: false }
          convolution_param { num_output: 6 } }""")[0][0]
    assert [(s.get("name"), s.get("share_mode"), s.get("lr_mult"),
             s.get("decay_mult")) for s in layer.get("param")
            ] == [("w", "PERMISSIVE", 1, 0.5), ("", "STRICT", 2, 1)]
    assert field(layer, "convolution_param.num_output") == 6 and field(layer, "loss_param.normalize") is False
    assert layer.get("include")[0].get("phase") == "TEST" and layer.get("loss_weight") == [2]


@pytest.mark.parametrize(("text", "operation"), [
    ("type: ELTWISE_PRODUCT", "PROD"), ("type: ELTWISE", "SUM"), ("type: 25", "SUM"),
    ("type: ELTWISE_PRODUCT eltwise_param { operation: MAX }", "PROD"),
    ("type: ELTWISE eltwise_param { operation: MAX }", "MAX"),
])
def test_the_product_of_early_v1(text: str, operation: str) -> None:
    layer = upgraded(f"layers {{ {text} }}")[0][0]
    assert (layer.get("type"), layer.get("eltwise_param").get("operation")) == ("Eltwise", operation)


@pytest.mark.parametrize(("type", "parameter"), [
    ("DATA", "data_param"), ("IMAGE_DATA", "image_data_param"), ("WINDOW_DATA", "window_data_param")])
def test_transform_fields_move(type: str, parameter: str) -> None:
    layer = upgraded(f"""layers {{ type: {type} top: 'x' transform_param {{ scale: 9 mean_value: 3 }}
        {parameter} {{ source: 's' scale: 0.5 mean_file: 'm' crop_size: 7 mirror: true }} }}""")[0][0]
    transform = layer.get("transform_param")
    assert [transform.get(name) for name in ("scale", "mean_file", "crop_size", "mirror", "mean_value")] == [
        0.5, "m", 7, True, [3]]
    assert [name for name, _ in layer.get(parameter).items()] == ["source"]


# -- steps for every generation ------------------------------------------------------------------


@pytest.mark.parametrize(("text", "shapes"), [
    ("input_dim: [2, 3, 7, 5] input_dim: 1 input_dim: 4 input_dim: 1 input_dim: 1",
     [[2, 3, 7, 5], [1, 4, 1, 1]]),
    ("input_shape { dim: 2 dim: 3 } input_shape { dim: 7 }", [[2, 3], [7]]),
    ("input_shape { dim: 2 } input_shape { } input_dim: 1", [[2], []]),
    ("", []),
])
def test_input_fields_become_a_layer(text: str, shapes: list[list[int]]) -> None:
    first = upgraded(f"input: 'a' input: 'b' {text} layer {{ type: 'ReLU' }}")[0][0]
    assert [first.get(name) for name in ("name", "type", "top")] == ["input", "Input", ["a", "b"]]
    assert [shape.get("dim") for shape in first.get("input_param").get("shape")] == shapes


@pytest.mark.parametrize(("text", "fragment"), [
    ("input: 'a' input_dim: 1 input_dim: 3", "2 input_dim values for 1 inputs"),
    ("input: 'a' input: 'b' input_shape { dim: 1 }", "1 input_shape blocks for 2 inputs"),
])
def test_input_fields_that_do_not_fit(text: str, fragment: str) -> None:
    with pytest.raises(FileFormatError, match=fragment):
        upgraded(text + " layer { type: 'ReLU' }")


def test_statistics_of_batch_norm_do_not_learn() -> None:
    text = "layer {{ type: 'BatchNorm' {} }}"
    three = upgraded(text.format("param { lr_mult: 1 } param { } param { }"))[0][0].get("param")
    assert [(spec.get("lr_mult"), spec.get("decay_mult")) for spec in three] == [(0, 0)] * 3
    assert upgraded(text.format("param { lr_mult: 1 }"))[0][0].get("param")[0].get("lr_mult") == 1


@pytest.mark.parametrize(("given", "expected"), [
    ("hole: 2", [2]), ("hole_h: 2 hole_w: 3", [2, 3]), ("hole_w: 3", [1, 3]), ("filter_stride: 4", [4]),
    ("dilation: 2 dilation: 5", [2, 5]), ("num_output: 1", []),
])
def test_the_forks_words_for_dilation(given: str, expected: list[int]) -> None:
    layer = upgraded(f"layer {{ type: 'Convolution' convolution_param {{ {given} }} }}")[0][0]
    assert layer.get("convolution_param").get("dilation") == expected


def test_dilation_given_twice() -> None:
    with pytest.raises(FileFormatError, match=r"the dilation \(dilation, hole\)"):
        upgraded("layer { type: 'Convolution' convolution_param { hole: 2 dilation: 2 } }")


@pytest.mark.parametrize(("given", "mode"), [
    ("ceil_mode: true", "CEIL"), ("ceil_mode: false", "FLOOR"), ("round_mode: FLOOR", "FLOOR"),
    ("pad: 1", "CEIL")])
def test_ceil_mode_and_round_mode(given: str, mode: str) -> None:
    layer = upgraded(f"layer {{ type: 'Pooling' pooling_param {{ {given} }} }}")[0][0]
    assert layer.get("pooling_param").get("round_mode") == mode


def test_an_upgraded_net_can_be_printed(tmp_path: Path) -> None:
    file = tmp_path / "net.prototxt"
    file.write_text(PADDED.format(type="conv", pad="num_output: 4", wiring="bottom: 'padded' top: 'c'"))
    found = read_prototxt(file)
    again = parse_text(to_text(found.message), "again.prototxt")
    assert again == found.message and upgrade(again, []).get("layer") == found.message.get("layer")


def test_absurdly_many_layers() -> None:
    net = build("NetParameter")
    net.set("layer", [build("LayerParameter")] * 100_001)
    with pytest.raises(FileFormatError, match=r"100001 layers.*100000"):
        upgrade(net, [])


def test_build_and_presence() -> None:
    layer = build("LayerParameter", name="p", pooling_param={"pool": "AVE"}, param=[{"lr_mult": 2.0}])
    assert (layer.get("pooling_param").get("pool"), layer.get("param")[0].get("decay_mult")) == ("AVE", 1)
    with pytest.raises(KeyError, match=r"PoolingParameter.*'size'"):
        build("PoolingParameter", size=3)
