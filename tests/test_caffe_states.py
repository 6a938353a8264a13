"""Which layers of a Caffe network a state keeps, how they are wired, and what data layers bring.

Expected values are BVLC Caffe's rules (Net::StateMeetsRule, Net::Init), worked by hand.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from matnet.converters.caffemodel import NetDef, net_from_caffemodel, read_prototxt
from matnet.converters.files.text import parse_text
from matnet.converters.graph.assemble import NetState
from matnet.errors import FileFormatError, NetworkError
from tests.caffe_bytes import number, part
from tests.helpers import assert_line


def net(folder: Path, text: str, **options: Any) -> NetDef:
    file = folder / "net.prototxt"
    file.write_text(text)
    return read_prototxt(file, **options)


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
    with pytest.raises(NetworkError, match="unknown phase 'DEPLOY'"):
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
    found = net(tmp_path, chain("s Slice x > z b a", "r ReLU b > r", "l SoftmaxWithLoss a >", "q Silence r >"))
    assert found.outputs == ["z"]
    assert found.layers[2].tops == ()


@pytest.mark.parametrize(("layers", "fragments"), [
    (["a ReLU y > z"], ["layer 'a' reads 'y', which no layer produces"]),
    (["conv1 ReLU x > conv1", "a ReLU conv2 > z"],
     ["reads 'conv2', which no layer produces; nearest: conv1"]),
    (["a ReLU c > b", "b ReLU b > c"], ["layer 'a' reads 'c', which only the later layer 'b' produces", "a cycle"]),
    (["a ReLU a > a"], ["layer 'a' reads 'a', which only the later layer 'a' produces"]),
    (["a ReLU x > y", "b ReLU x > y"], ["layer 'b' produces 'y', which 'a' also produces"]),
    (["a ReLU x > x y x"], ["layer 'a' produces 'x', which 'a' also produces"]),
    (["a ReLU x > a", "e Eltwise x a > a"], ["layer 'e' produces 'a', which 'a' also produces"]),
    (["p Pooling x > p", "r ReLU x > x"],
     ["layer 'r' changes 'x' in place, but 'p' also reads the unchanged value"]),
    (["e Eltwise x x > x"], ["layer 'e' changes 'x' in place, but 'e' also reads"]),
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
    assert sum("renamed to" in note for note in found.notes) == 2


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
    # data_transformer.cpp of the SSD fork: images are resized, then cropped; FIT_SMALL_SIZE keeps the aspect ratio
    ("type: 'AnnotatedData' top: 'a' top: 'b' transform_param { resize_param { prob: 1 resize_mode: WARP height: 7 "
     "width: 5 interp_mode: LINEAR interp_mode: AREA } } data_param { batch_size: 8 }",
     {"a": (8, None, 7, 5), "b": None}),
    ("type: 'Data' top: 'a' transform_param { resize_param { height: 7 width: 5 } crop_size: 4 }", {"a": (1, 3, 4, 4)}),
    ("type: 'Data' top: 'a' transform_param { resize_param { resize_mode: FIT_SMALL_SIZE height: 7 width: 5 } }",
     {"a": None}),
    # forks that name the fields of ImageData: ENet's DenseImageData, MS-CNN's ImageGtData, OpenPose's CPMData
    ("type: 'DenseImageData' top: 'a' dense_image_data_param { batch_size: 4 new_height: 7 new_width: 5 }",
     {"a": (4, None, 7, 5)}),
    ("type: 'ImageGtData' top: 'a' image_gt_data_param { resize_width: 9 resize_height: 8 crop_width: 5 "
     "crop_height: 7 }", {"a": (1, None, 7, 5)}),
    ("type: 'CPMData' top: 'a' data_param { batch_size: 2 } cpm_transform_param { crop_size_x: 5 crop_size_y: 7 }",
     {"a": (2, None, 7, 5)}),
    ("type: 'OddData' top: 'a' odd_param { batch_size: x new_height: -1 new_width: 5 crop_size: 2 crop_size: 3 }",
     {"a": None}),
    ("type: 'VideoData' top: 'a' video_data_param { modality: FLOW new_length: 5 num_segments: 3 batch_size: 2 } "
     "transform_param { crop_size: 7 }", {"a": (2, 30, 7, 7)}),
    ("type: 'VideoData' top: 'a' video_data_param { modality: RGB num_segments: 3 } transform_param { crop_size: 7 }",
     {"a": (1, 9, 7, 7)}),
    ("type: 'VideoData' top: 'a' video_data_param { new_height: 9 new_width: 8 } transform_param { crop_size: 7 "
     "force_gray: true }", {"a": (1, 1, 7, 7)}),
])
def test_what_data_layers_bring(tmp_path: Path, layer: str, expected: dict[str, Any]) -> None:
    found = net(tmp_path, f"layer {{ name: 'd' {layer} }} layer {{ name: 'r' type: 'ReLU' bottom: 'a' top: 'y' }}")
    assert found.inputs == expected
    assert ([layer.name for layer in found.data_layers], [layer.name for layer in found.layers]) == (["d"], ["r"])
    assert any("becomes inputs: a (" in note for note in found.notes) is ("'Input'" not in layer)


def test_a_parameter_layer_is_no_data_layer(tmp_path: Path) -> None:
    found = net(tmp_path, "layer { name: 'p' type: 'Parameter' top: 'w' parameter_param { shape { dim: 3 } } }")
    assert (found.inputs, [layer.name for layer in found.layers]) == ({}, ["p"])


@pytest.mark.parametrize(("layer", "fragment"), [
    ("type: 'Input' top: 'a' input_param { shape { dim: 1 dim: 0 dim: 7 } }",
     "input 'a' has shape 1x0x7"),
    ("type: 'Input' top: 'a' input_param { shape { dim: -1 } }", "every size must be at least 1"),
    ("type: 'Input' top: 'a' input_param { shape { dim: 1 } shape { dim: 1 } }", "has 2 shapes for 1 tops"),
    ("type: 'DummyData' top: 'a' dummy_data_param { num: 2 channels: 3 }", "have 1, 1, 0, 0 values"),
])
def test_data_layers_that_cannot_be(tmp_path: Path, layer: str, fragment: str) -> None:
    with pytest.raises(FileFormatError, match=fragment):
        net(tmp_path, f"layer {{ name: 'd' {layer} }}")
