"""V0 -> V1 -> V2, the forks' spellings, state filtering and wiring of Caffe networks.

Expected values are BVLC Caffe's rules (upgrade_proto.cpp, Net::StateMeetsRule, Net::Init), worked by hand.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from matnet.converters.caffemodel import NetDef, net_from_caffemodel, read_prototxt
from matnet.converters.files import layer_types
from matnet.converters.files.message import Message, build
from matnet.converters.files.schema import enum_type
from matnet.converters.files.text import parse_text
from matnet.converters.files.text_write import to_text
from matnet.converters.graph.assemble import NetState
from matnet.converters.graph.upgrade import upgrade
from matnet.errors import FileFormatError, NetworkError
from tests.caffe_bytes import number, part, single
from tests.helpers import assert_line


def upgraded(text: str) -> tuple[list[Message], list[str]]:
    """The V2 layers of a prototxt, and the notes."""
    notes: list[str] = []
    return upgrade(parse_text(text, "net.prototxt"), notes).get("layer"), notes


def net(folder: Path, text: str, **options: Any) -> NetDef:
    file = folder / "net.prototxt"
    file.write_text(text)
    return read_prototxt(file, **options)


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
    assert [(spec.get("lr_mult"), spec.get("decay_mult")) for spec in layer.get("param")] == [(1, 0.5),
                                                                                              (2, 1)]


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
    assert "padding layer 'p' is folded into 'c'" in notes


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
    with pytest.raises(FileFormatError, match=r"in several ways \(dilation, hole\)"):
        upgraded("layer { type: 'Convolution' convolution_param { hole: 2 dilation: 2 } }")


@pytest.mark.parametrize(("given", "mode"), [
    ("ceil_mode: true", "CEIL"), ("ceil_mode: false", "FLOOR"), ("round_mode: FLOOR", "FLOOR"),
    ("pad: 1", "CEIL")])
def test_ceil_mode_and_round_mode(given: str, mode: str) -> None:
    layer = upgraded(f"layer {{ type: 'Pooling' pooling_param {{ {given} }} }}")[0][0]
    assert layer.get("pooling_param").get("round_mode") == mode


def test_an_upgraded_net_can_be_printed(tmp_path: Path) -> None:
    found = net(tmp_path, PADDED.format(type="conv", pad="num_output: 4", wiring="bottom: 'padded' top: 'c'"))
    again = parse_text(to_text(found.message), "again.prototxt")
    assert again == found.message and upgrade(again, []).get("layer") == found.message.get("layer")


def test_absurdly_many_layers() -> None:
    net = build("NetParameter")
    net.set("layer", [build("LayerParameter")] * 100_001)
    with pytest.raises(FileFormatError, match=r"100001 layers.*100000"):
        upgrade(net, [])


# -- state ---------------------------------------------------------------------------------------

RULES = [
    ("", True), ("phase: TEST", True), ("phase: TRAIN", False), ("min_level: 2", True),
    ("min_level: 3", False),
    ("max_level: 2", True), ("max_level: 1", False), ("stage: 'a'", True), ("stage: 'a' stage: 'b'", True),
    ("stage: 'a' stage: 'c'", False), ("not_stage: 'c'", True), ("not_stage: 'a'", False),
    ("phase: TEST stage: 'c'", False), ("phase: TEST min_level: 1 max_level: 3 stage: 'b' not_stage: 'd'",
                                        True),
]


@pytest.mark.parametrize(("rule", "met"), RULES)
def test_rules(rule: str, met: bool) -> None:
    state = NetState("TEST", 2, frozenset("ab"))
    assert state.meets(parse_text(rule, "x", "NetStateRule")) is met
    layer = parse_text(f"include {{ {rule} }}", "x", "LayerParameter")
    assert state.keeps(layer) is met
    layer = parse_text(f"exclude {{ {rule} }}", "x", "LayerParameter")
    assert state.keeps(layer) is not met


@pytest.mark.parametrize(("rules", "kept"), [
    ("include { phase: TRAIN } include { stage: 'a' }", True), ("include { phase: TRAIN }", False),
    ("exclude { phase: TRAIN } exclude { stage: 'a' }", False), ("exclude { phase: TRAIN }", True),
    ("", True),
    ("phase: TRAIN", True),
])
def test_several_rules(rules: str, kept: bool) -> None:
    """Any rule of several counts; a layer's own `phase` is no filter."""
    assert NetState(stages=frozenset("a")).keeps(parse_text(rules, "x", "LayerParameter")) is kept


def test_include_and_exclude_on_one_layer(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match=r"line 1, column 24.*'l'.*include.*exclude"):
        net(tmp_path, "layer { name: 'l' " + "     include { } exclude { } }")


PHASES = """
    layer { name: 'data' type: 'Data' top: 'x' include { phase: TRAIN } transform_param { crop_size: 5 }
            data_param { batch_size: 2 } }
    layer { name: 'data' type: 'Data' top: 'x' include { phase: TEST } transform_param { crop_size: 6 } }
    layer { name: 'extra' type: 'ReLU' bottom: 'x' top: 'y' include { stage: 'more' min_level: 1 } }
    layer { name: 'out' type: 'ReLU' bottom: 'x' top: 'z' exclude { stage: 'bare' } }"""


@pytest.mark.parametrize(("options", "layers", "shape"), [
    ({}, ["out"], (1, 3, 6, 6)), ({"phase": "TRAIN"}, ["out"], (2, 3, 5, 5)),
    ({"stages": ["more"]}, ["out"], (1, 3, 6, 6)), ({"stages": ["more"], "level": 1}, ["extra", "out"],
                                                    (1, 3, 6, 6)),
    ({"stages": ["bare"]}, [], (1, 3, 6, 6)),
])
def test_a_net_in_different_states(tmp_path: Path, options: dict[str, Any], layers: list[str],
                                   shape: tuple[int, ...]) -> None:
    found = net(tmp_path, PHASES, **options)
    assert [layer.name for layer in found.layers] == layers
    assert found.inputs == {"x": shape} and [layer.name for layer in found.data_layers] == ["data"]
    assert any(note.startswith("not part of the net in phase") for note in found.notes)


def test_stages_named_in_the_file_count_too(tmp_path: Path) -> None:
    found = net(tmp_path, "state { stage: 'more' } " + PHASES, level=1)
    assert [layer.name for layer in found.layers] == ["extra", "out"]


def test_states_that_leave_nothing(tmp_path: Path) -> None:
    with pytest.raises(NetworkError, match=r"no layer.*TEST"):
        net(tmp_path, "layer { type: 'ReLU' include { phase: TRAIN } }")
    with pytest.raises(NetworkError, match="'DEPLOY' does not exist"):
        net(tmp_path, PHASES, phase="DEPLOY")


# -- wiring --------------------------------------------------------------------------------------

INPUT = "layer { name: 'in' type: 'Input' top: 'x' input_param { shape { dim: 2 dim: 3 dim: 7 dim: 5 } } } "


def chain(*layers: str) -> str:
    """Layers written `name type bottoms > tops`, behind an input x."""
    text = INPUT
    for line in layers:
        left, right = line.split(" > ") if " > " in line else (line.removesuffix(" >"), "")
        name, type, *bottoms = left.split()
        wiring = "".join(f" bottom: '{b}'" for b in bottoms) + "".join(f" top: '{t}'" for t in right.split())
        text += f"layer {{ name: '{name}' type: '{type}'{wiring} }}\n"
    return text


def test_in_place_layers_read_and_write_values_of_their_own(tmp_path: Path) -> None:
    found = net(tmp_path, chain("c Convolution x > c", "b BatchNorm c > c", "r ReLU c > c", "p Pooling c > p",
                                "s Eltwise p c > s", "d Dropout s > s"))
    assert [(layer.name, layer.inputs, layer.outputs) for layer in found.layers] == [
        ("c", ("x",), ("c_before_b",)), ("b", ("c_before_b",), ("c_before_r",)),
        ("r", ("c_before_r",), ("c",)),
        ("p", ("c",), ("p",)), ("s", ("p", "c"), ("s_before_d",)), ("d", ("s_before_d",), ("s",))]
    assert found.layers[1].bottoms == found.layers[1].tops == ("c",)
    assert (found.inputs, found.input_variables, found.outputs) == ({"x": (2, 3, 7, 5)}, {"x": "x"}, ["s"])


def test_an_input_changed_in_place(tmp_path: Path) -> None:
    found = net(tmp_path, chain("scale Power x > x", "c Convolution x > x_before_scale"))
    assert found.input_variables == {"x": "x_before_scale_"}
    assert [layer.inputs for layer in found.layers] == [("x_before_scale_",), ("x",)]


def test_outputs_are_what_nobody_reads(tmp_path: Path) -> None:
    found = net(tmp_path, chain("s Slice x > z b a", "r ReLU b > r", "l SoftmaxWithLoss a >",
                                "q Silence r >"))
    assert found.outputs == ["z"]
    assert found.layers[2].tops == ()


@pytest.mark.parametrize(("layers", "fragments"), [
    (["a ReLU y > z"], ["layer 'a' reads 'y', which no layer produces"]),
    (["conv1 ReLU x > conv1", "a ReLU conv2 > z"],
     ["reads 'conv2', which no layer produces; nearest: conv1"]),
    (["a ReLU c > b", "b ReLU b > c"], ["layer 'a' reads 'c', which only 'b' produces", "a cycle"]),
    (["a ReLU a > a"], ["layer 'a' reads 'a', which only 'a' produces"]),
    (["a ReLU x > y", "b ReLU x > y"], ["layer 'b' produces 'y', which 'a' produces too"]),
    (["a ReLU x > x y x"], ["layer 'a' produces 'x', which 'a' produces too"]),
    (["a ReLU x > a", "e Eltwise x a > a"], ["layer 'e' produces 'a', which 'a' produces too"]),
    (["p Pooling x > p", "r ReLU x > x"],
     ["layer 'r' changes 'x' in place, but 'p' reads it before that too"]),
    (["e Eltwise x x > x"], ["layer 'e' changes 'x' in place, but 'e' reads it"]),
    (["a ReLU y > z", "b ReLU w > z", "c ReLU v > u"], ["'a' reads 'y'", "'b' reads 'w'", "'c' reads 'v'",
                                                       "'b' produces 'z'"]),
])
def test_graphs_that_caffe_refuses(tmp_path: Path, layers: list[str], fragments: list[str]) -> None:
    with pytest.raises(NetworkError) as caught:
        net(tmp_path, chain(*layers))
    for fragment in fragments:
        assert fragment in str(caught.value)
    assert str(caught.value).count("net.prototxt, line") == max(1, len(fragments) - ("a cycle" in fragments))


def test_names_are_made_unique(tmp_path: Path) -> None:
    found = net(tmp_path, chain("r ReLU x > a", "r ReLU a > b",
                                "r_2 ReLU b > c") + "layer { type: 'ReLU' bottom: 'c' }")
    assert [layer.name for layer in found.layers] == ["r", "r_3", "r_2", "relu_2"]
    assert sum("it is called" in note for note in found.notes) == 2


def test_splits_that_caffe_inserted_are_taken_out(tmp_path: Path) -> None:
    """Their names are `<blob>_<layer>_<top>_split`; a Split that somebody wrote stays."""
    def layer(name: str, type: str, bottoms: str, tops: str) -> bytes:
        return part(100, part(1, name), part(2, type), *[part(3, b) for b in bottoms.split()],
                    *[part(4, t) for t in tops.split()])

    file = tmp_path / "net.caffemodel"
    file.write_bytes(
        layer("in", "Input", "", "x") + layer("x_in_0_split", "Split", "x", "x_in_0_split_0 x_in_0_split_1")
        + layer("a", "ReLU", "x_in_0_split_0", "a") + layer("b", "ReLU", "x_in_0_split_1", "b")
        + layer("mine", "Split", "b", "c d"))
    found = net_from_caffemodel(file)
    assert [(layer.name, layer.inputs, layer.outputs) for layer in found.layers] == [
        ("a", ("x",), ("a",)), ("b", ("x",), ("b",)), ("mine", ("b",), ("c", "d"))]
    assert_line(found.notes, "1 Split")


def test_a_caffemodel_that_does_not_tell_its_inputs(tmp_path: Path) -> None:
    file = tmp_path / "net.caffemodel"
    file.write_bytes(part(2, part(4, "a"), number(5, 18), part(2, "data"), part(3, "data")))
    found = net_from_caffemodel(file)
    assert found.inputs == {"data": None} and found.input_variables == {"data": "data_before_a"}


def test_a_caffemodels_layers_are_set_to_the_test_phase(tmp_path: Path) -> None:
    file = tmp_path / "net.caffemodel"
    file.write_bytes(part(100, part(1, "d"), part(2, "Dropout"), part(3, "x"), part(4, "y"), number(10, 0)))
    assert net_from_caffemodel(file).layers[0].params.get("phase") == "TEST"


# -- data layers ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("layer", "expected"), [
    ("type: 'Input' top: 'a' top: 'b' input_param { shape { dim: 2 dim: 3 } }", {"a": (2, 3), "b": (2, 3)}),
    ("type: 'Input' top: 'a' top: 'b' input_param { shape { dim: 2 } shape { dim: 3 } }",
     {"a": (2,), "b": (3,)}),
    ("type: 'Input' top: 'a'", {"a": None}),
    ("type: 'Input' top: 'a' input_param { shape { } }", {"a": ()}),
    ("type: 'DummyData' top: 'a' dummy_data_param { num: 2 channels: 3 height: 7 width: 5 }",
     {"a": (2, 3, 7, 5)}),
    ("type: 'DummyData' top: 'a' top: 'b' dummy_data_param { shape { dim: 4 } }", {"a": (4,), "b": (4,)}),
    ("type: 'MemoryData' top: 'a' top: 'b' "
     "memory_data_param { batch_size: 2 channels: 3 height: 7 width: 5 }",
     {"a": (2, 3, 7, 5), "b": (2,)}),
    ("type: 'Data' top: 'a' top: 'b' transform_param { crop_size: 7 } data_param { batch_size: 2 }",
     {"a": (2, 3, 7, 7), "b": (2,)}),
    ("type: 'Data' top: 'a' transform_param { crop_h: 7 crop_w: 5 } data_param { batch_size: 2 }",
     {"a": (2, 3, 7, 5)}),
    ("type: 'Data' top: 'a' transform_param { crop_size: 7 force_gray: true }", {"a": (1, 1, 7, 7)}),
    ("type: 'Data' top: 'a' data_param { batch_size: 2 }", {"a": None}),
    ("type: 'ImageData' top: 'a' image_data_param { new_height: 7 new_width: 5 is_color: false }",
     {"a": (1, 1, 7, 5)}),
    ("type: 'WindowData' top: 'a' window_data_param { batch_size: 2 crop_size: 7 }", {"a": (2, 3, 7, 7)}),
    ("type: 'HDF5Data' top: 'a' top: 'b'", {"a": None, "b": None}),
    ("type: 'Python' top: 'a' python_param { module: 'm' layer: 'L' }", {"a": None}),
    ("type: 'AnnotatedData' top: 'a' annotated_data_param { odd: 1 }", {"a": None}),
])
def test_what_data_layers_bring(tmp_path: Path, layer: str, expected: dict[str, Any]) -> None:
    found = net(tmp_path,
                f"layer {{ name: 'd' {layer} }} layer {{ name: 'r' type: 'ReLU' bottom: 'a' top: 'y' }}")
    assert found.inputs == expected
    assert ([layer.name for layer in found.data_layers], [layer.name for layer in found.layers]) == (["d"],
                                                                                                     ["r"])
    assert any("becomes inputs: a (" in note for note in found.notes) is ("'Input'" not in layer)


def test_a_parameter_layer_is_no_data_layer(tmp_path: Path) -> None:
    found = net(tmp_path,
                "layer { name: 'p' type: 'Parameter' top: 'w' parameter_param { shape { dim: 3 } } }")
    assert (found.inputs, [layer.name for layer in found.layers]) == ({}, ["p"])


@pytest.mark.parametrize(("layer", "fragment"), [
    ("type: 'Input' top: 'a' input_param { shape { dim: 1 dim: 0 dim: 7 } }",
     "input 'a' has the shape 1x0x7"),
    ("type: 'Input' top: 'a' input_param { shape { dim: -1 } }", "every size must be at least 1"),
    ("type: 'Input' top: 'a' input_param { shape { dim: 1 } shape { dim: 1 } }", "has 2 shapes for 1 tops"),
    ("type: 'DummyData' top: 'a' dummy_data_param { num: 2 channels: 3 }", "are given 1, 1, 0, 0 times"),
])
def test_data_layers_that_cannot_be(tmp_path: Path, layer: str, fragment: str) -> None:
    with pytest.raises(FileFormatError, match=fragment):
        net(tmp_path, f"layer {{ name: 'd' {layer} }}")


def test_build_and_presence() -> None:
    layer = build("LayerParameter", name="p", pooling_param={"pool": "AVE"}, param=[{"lr_mult": 2.0}])
    assert (layer.get("pooling_param").get("pool"), layer.get("param")[0].get("decay_mult")) == ("AVE", 1)
    with pytest.raises(KeyError, match=r"PoolingParameter.*'size'"):
        build("PoolingParameter", size=3)
