"""The prototxt reader and writer: protobuf's text format as Caffe's files use it.

Expected values are worked by hand from the text format's definition; Google's protobuf runtime, given
the same schema, is the outside judge of whole files.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from matnet.converters.caffemodel import read_prototxt
from matnet.converters.files.message import Message
from matnet.converters.files.schema import message_type
from matnet.converters.files.text import parse_text, read_text
from matnet.converters.files.text_write import to_text
from matnet.errors import FileFormatError
from tests.caffe_bytes import protobuf_class
from tests.conftest import DATA, conformance_cases

PROTOTXTS = sorted((DATA / "caffe").glob("*/deploy.prototxt"))


def parse(text: str, **options: Any) -> Message:
    return parse_text(text, "net.prototxt", **options)


def layer(text: str) -> Message:
    return parse(f"layer {{ {text} }}").get("layer")[0]


@pytest.mark.parametrize(("text", "field", "expected"), [
    ('name: "plain"', "name", "plain"),
    ("name: 'single'", "name", "single"),
    ('name: "two" \'parts\' # and a comment\n "more"', "name", "twopartsmore"),
    (r'name: "tab\tnew\nquote\"back\\ \x41\102\7"', "name", 'tab\tnew\nquote"back\\ AB\x07'),
    ('name: "r\u00e9seau"', "name", "r\u00e9seau"),
    ("input_dim: 1 input_dim: 3", "input_dim", [1, 3]),
    ("input_dim: [1, 3, 0x10, 010, -5]", "input_dim", [1, 3, 16, 8, -5]),
    ("input_dim: []", "input_dim", []),
    ("input_dim: 1, input_dim: 2; input_dim: 3;", "input_dim", [1, 2, 3]),
    ("force_backward: true", "force_backward", True),
    ("force_backward: False", "force_backward", False),
    ("force_backward: t", "force_backward", True),
    ("force_backward: 0", "force_backward", False),
    ("\ufeffname: 'bom'", "name", "bom"),
    ("name:'dense'input_dim:7#end", "name", "dense"),
])
def test_scalars(tmp_path: Path, text: str, field: str, expected: object) -> None:
    file = tmp_path / "net.prototxt"
    file.write_bytes(text.encode())
    assert read_text(file).get(field) == expected


@pytest.mark.parametrize(("text", "expected"), [
    ("0.5", 0.5), ("-2", -2.0), ("1e-3", 1e-3), ("1.5f", 1.5), (".25", 0.25), ("3.", 3.0), ("1E2", 100.0),
    ("inf", float("inf")), ("-Infinity", float("-inf")), ("- 4", -4.0),
    ("0.1", 0.1), ("0.30000000000000004", 0.3), ("1e99", float("inf")),
])
def test_a_float_is_the_shortest_decimal_of_its_32_bits(text: str, expected: float) -> None:
    assert layer(f"power_param {{ scale: {text} }}").get("power_param").get("scale") == expected


def test_nan() -> None:
    assert str(layer("power_param { scale: nan }").get("power_param").get("scale")) == "nan"


@pytest.mark.parametrize("text", [
    "layer { pooling_param { pool: AVE kernel_size: 3 } }",
    "layer: { pooling_param: { pool: 1 kernel_size: 3 } }",
    "layer < pooling_param < pool: AVE, kernel_size: 3 > >",
    "layer: [{ pooling_param { pool: AVE kernel_size: 3 } }]",
    "layer : {\r\n pooling_param\r\n{ pool : AVE # mean\r\n kernel_size : 3 } ; }",
])
def test_the_spellings_of_a_message(text: str) -> None:
    pooling = parse(text).get("layer")[0].get("pooling_param")
    assert (pooling.get("pool"), pooling.get("kernel_size"), pooling.get("stride")) == ("AVE", 3, 1)


def test_defaults_and_presence() -> None:
    convolution = layer("convolution_param { num_output: 6 pad: 0 }").get("convolution_param")
    assert convolution.get("bias_term") is True and convolution.get("group") == 1
    assert (convolution.has("pad"), convolution.get("pad")) == (True, [0])
    assert (convolution.has("kernel_size"), convolution.get("kernel_size")) == (False, [])
    assert layer("name: 'x'").get("batch_norm_param").get("eps") == 1e-5


def test_bytes_that_are_no_utf8(tmp_path: Path) -> None:
    file = tmp_path / "net.prototxt"
    file.write_bytes(b"# caf\xe9\nname: 'caf\xe9' input: 'caf\\351'")
    message = read_text(file)
    assert message.get("name") == message.get("input")[0] == "caf\\xe9"


@pytest.mark.parametrize(("text", "line", "column", "fragments"), [
    ('name "x"', 1, 6, ["`:` or `{` after `name`"]),
    ("name: x", 1, 7, ["`x`", "a string in quotes for `name`"]),
    ('name: "x\ninput_dim: 1', 1, 7, ["an unterminated string"]),
    ("input_dim: 1.5", 1, 12, ["`1.5`", "an integer for `input_dim`"]),
    ("input_dim: 3000000000", 1, 12, ["-2147483648 to 2147483647"]),
    ("input_dim: 3x3", 1, 12, ["`3x3`"]),
    ("input_dim: [1 2]", 1, 15, ["`2`", "`,` or `]`"]),
    ("force_backward: maybe", 1, 17, ["true or false"]),
    ("layer {\n  name: 'a'\n", 3, 1, ["the end of the file", "`}` that closes the message of line 1"]),
    ("layer {\n  name: 'a' >\n}", 2, 13, ["`>`", "a field name or `}`"]),
    ("}", 1, 1, ["`}`", "a field name"]),
    ("layer: 3", 1, 8, ["`3`", "`layer` is a message"]),
    ("name: { }", 1, 7, ["`{`", "a string in quotes"]),
    ("layer { pooling_param { pool: 'AVE' } }", 1, 31, ["MAX, without quotes"]),
    ("layer { convolution_param { pad: -1 } }", 1, 34, ["`-1`", "from 0 to 4294967295"]),
    ("\n\n  layer { type: CONVOLUTION }", 3, 17, ["`CONVOLUTION`", "a string in quotes for `type`"]),
    ("layers { type: 'Convolution' }", 1, 16, ["NONE, without quotes"]),
    ("name: 'a' @", 1, 11, ["`@`"]),
    ("state { phase: TEST", 1, 20, ["the end of the file"]),
    ("a" * 500 + " 1", 1, 502, ["`1`"]),
])
def test_syntax_errors_say_where_and_what(text: str, line: int, column: int, fragments: list[str]) -> None:
    with pytest.raises(FileFormatError) as caught:
        parse(text)
    message = str(caught.value)
    assert message.startswith(f"net.prototxt, line {line}, column {column}: found "), message
    assert all(fragment in message for fragment in fragments), message


def test_all_unreadable_fields_are_listed_at_once() -> None:
    text = """
        layer {
          name: 'p' type: 'Pooling'
          pooling_param { kernel: 3 pool: MEDIAN stride: 2 stride: 3 }
        }
        layer { name: 'c' type: 'Clip' clip_param { min: 0 } clip_param { max: 2 } }
        colour: 3"""
    with pytest.raises(FileFormatError) as caught:
        parse(text)
    lines = str(caught.value).splitlines()
    assert "6 invalid fields" in lines[0]
    assert [line.split(":")[0].strip() for line in lines[1:]] == [
        "line 4, column 27", "line 4, column 43", "line 4, column 60", "line 6, column 40",
        "line 6, column 62",
        "line 7, column 9"]
    for line, fragment in zip(lines[1:], ["unknown field `kernel` in PoolingParameter; nearest: ",
                                          "MAX, AVE, STOCHASTIC",
                                          "`stride` is repeated", "needs the field `max`",
                                          "`clip_param` is repeated",
                                          "unknown field `colour` in NetParameter"], strict=True):
        assert fragment in line


def test_lenient_keeps_what_it_does_not_know() -> None:
    text = """
        layer { name: 'x' type: 'ReLU' odd: BEST odd: 'good' odd { deep: -1.5 deep: 0x10 } name: 'y'
                relu_param { negative_slope: 0.25 } relu_param { engine: CUDNN } }"""
    relu = parse(text, lenient=True).get("layer")[0]
    assert relu.get("name") == "y"
    assert relu.unknown() == ["odd"] and relu.get("odd")[:2] == ["BEST", "good"]
    assert relu.get("odd")[2].get("deep") == [-1.5, 16]
    assert (relu.get("relu_param").get("negative_slope"), relu.get("relu_param").get("engine")) == (0.25, "CUDNN")


def test_fields_of_an_unknown_layer_type_are_no_mistakes() -> None:
    odd = layer("type: 'Oddity' transform_param { odd: 1 } oddity_param { scale: 2 mode: NEAREST }")
    assert odd.get("oddity_param").get("scale") == 2
    assert str(odd.get("oddity_param").get("mode")) == "NEAREST"
    v1 = parse("layers { name: 'u' type: ODDITY oddity_param { scale: 2 } }").get("layers")[0]
    assert (v1.get("type"), v1.get("oddity_param").get("scale")) == ("ODDITY", 2)


@pytest.mark.parametrize(("text", "path", "expected"), [
    ("type: 'Permute' permute_param { order: 0 order: 2 order: 3 order: 1 }", "permute_param.order",
     [0, 2, 3, 1]),
    ("type: 'Normalize' norm_param { across_spatial: false scale_filler { type: 'constant' value: 20 } }",
     "norm_param.channel_shared", True),
    ("type: 'PriorBox' prior_box_param { min_size: 30.0 max_size: 60.0 aspect_ratio: 2 flip: true "
     "clip: false variance: 0.1 variance: 0.2 step: 8 }", "prior_box_param.variance", [0.1, 0.2]),
    ("type: 'DetectionOutput' detection_output_param { num_classes: 21 save_output_param { output_format: '' } "
     "nms_param { nms_threshold: 0.45 top_k: 400 } code_type: CENTER_SIZE keep_top_k: 200 }",
     "detection_output_param.nms_param.nms_threshold", 0.45),
    ("type: 'Interp' interp_param { zoom_factor: 8 }", "interp_param.shrink_factor", 1),
    ("type: 'BN' bn_param { slope_filler { value: 1 } frozen: true momentum: 0.95 }", "bn_param.eps", 1e-5),
    ("type: 'ROIPooling' roi_pooling_param { pooled_w: 7 pooled_h: 6 spatial_scale: 0.0625 }",
     "roi_pooling_param.pooled_h", 6),
    ("type: 'Convolution' convolution_param { num_output: 4 hole: 2 }", "convolution_param.hole", 2),
    ("type: 'ShuffleChannel' shuffle_channel_param { group: 3 }", "shuffle_channel_param.group", 3),
    ("type: 'MultiStageMeanfield' multi_stage_meanfield_param { num_iterations: 10 compatibility_mode: POTTS "
     "threshold: 2 theta_alpha: 160 theta_beta: 3 theta_gamma: 3 spatial_filter_weight: 3 }",
     "multi_stage_meanfield_param.theta_alpha", 160.0),
    ("type: 'DenseCRF' densecrf_param { x_gauss: 19 y_gauss: 19 wt_gauss: 15 x_bilateral: 61 y_bilateral: 61 "
     "r_bilateral: 10 g_bilateral: 10 b_bilateral: 10 wt_bilateral: 35 }", "densecrf_param.wt_bilateral",
     35.0),
    ("type: 'DepthwiseConvolution' convolution_param { group: 6 }", "convolution_param.group", 6),
    ("type: 'Dropout' forward_type: FLOAT16 dropout_param { scale_train: false }",
     "dropout_param.scale_train", False),
])
def test_the_forks_layers(text: str, path: str, expected: object) -> None:
    """As in published files of SSD, DeepLab, PSPNet, Fast R-CNN, CRF-RNN, CCNN and others; read strictly."""
    value: Any = layer(text)
    for name in path.split("."):
        value = value.get(name)
    assert value == expected


def test_both_generations_in_one_file() -> None:
    with pytest.raises(FileFormatError, match=r"`layer` \(line 2, column 1\) and `layers` \(line 1, column 1\)"):
        parse("layers { name: 'old' type: RELU }\nlayer { name: 'new' type: 'ReLU' }")


def test_deep_nesting_is_refused_without_recursing() -> None:
    with pytest.raises(FileFormatError, match="at most 100 levels"):
        parse("odd {" * 100_000)
    parse("odd {" * 99 + "}" * 99, lenient=True)


@pytest.mark.parametrize(("content", "fragment"), [
    (b"<!DOCTYPE html><html>", "web page"), (b"\x0a\x05LeNet\x12\x03", "prototxt and the caffemodel swapped"),
    (b"\xff\xfen\x00a\x00m\x00e\x00", "UTF-16"), (b"", "empty"),
    (b"net: 'a.prototxt'\nbase_lr: 0.1\n", "is a solver"), (b"# nothing", "no layers"),
    (b'{"layers": []}', "expected a field name"),
])
def test_files_that_are_no_prototxt(tmp_path: Path, content: bytes, fragment: str) -> None:
    file = tmp_path / "net.prototxt"
    file.write_bytes(content)
    with pytest.raises(FileFormatError) as caught:
        read_prototxt(file)
    assert fragment in str(caught.value) and str(file) in str(caught.value)


def test_places_of_layers_and_fields() -> None:
    found = parse("layer { name: 'a' }\n  layer { name: 'b'\n top: 'c' }").get("layer")[1]
    assert found.place() == "net.prototxt, line 2, column 3"
    assert found.place("top") == "net.prototxt, line 3, column 7"


def test_the_writer() -> None:
    text = """
        name: 'a "b"\\n'
        layer { type: 'Power' top: 'x' top: 'y' power_param { scale: 0.00001 shift: 3 power: -inf } }
        layer { type: 'Odd' odd: WORD odd2: 'word' odd3: true include { phase: TEST } }"""
    assert to_text(parse(text)) == """\
name: "a \\"b\\"\\n"
layer {
  type: "Power"
  top: "x"
  top: "y"
  power_param {
    power: -inf
    scale: 1e-05
    shift: 3
  }
}
layer {
  type: "Odd"
  include {
    phase: TEST
  }
  odd: WORD
  odd2: "word"
  odd3: true
}
"""
    assert parse(to_text(parse(text))) == parse(text)


@pytest.mark.parametrize("file", PROTOTXTS, ids=lambda file: file.parent.name)
def test_whole_files_against_protobuf(file: Path) -> None:
    text_format = pytest.importorskip("google.protobuf.text_format", reason="needs protobuf")
    judge = text_format.Parse(file.read_text(), protobuf_class("NetParameter")())
    message = read_text(file)
    assert parse(text_format.MessageToString(judge)) == message
    assert text_format.Parse(to_text(message), protobuf_class("NetParameter")()) == judge


def test_there_are_files_to_test() -> None:
    assert len(PROTOTXTS) == len(conformance_cases("caffe")) >= 50


@pytest.mark.parametrize(("message", "name", "number", "type", "default"), [
    ("BlobProto", "shape", 7, "BlobShape", None), ("BlobProto", "double_data", 8, "f64", 0.0),
    ("NetParameter", "layer", 100, "LayerParameter", None), ("NetParameter", "layers", 2, "V1LayerParameter",
                                                             None),
    ("ConvolutionParameter", "dilation", 18, "u32", 0), ("ConvolutionParameter", "bias_term", 2, "bool",
                                                         True),
    ("PoolingParameter", "round_mode", 13, "RoundMode", "CEIL"), ("LRNParameter", "k", 5, "f32", 1.0),
    ("EltwiseParameter", "operation", 1, "EltwiseOp", "SUM"), ("MVNParameter", "eps", 3, "f32", 1e-9),
    ("BatchNormParameter", "moving_average_fraction", 2, "f32", 0.999),
    ("FlattenParameter", "end_axis", 2, "i32", -1),
    ("V1LayerParameter", "param", 1001, "str", ""), ("V0LayerParameter", "det_crop_mode", 59, "str", "warp"),
    ("LayerParameter", "clip_param", 148, "ClipParameter", None), ("NetState", "phase", 1, "Phase", "TEST"),
    ("PriorBoxParameter", "offset", 13, "f32", 0.5), ("NormalizeParameter", "eps", 4, "f32", 1e-10),
    ("DetectionOutputParameter", "code_type", 6, "PriorBoxCodeType", "CORNER"),
    ("NonMaximumSuppressionParameter", "nms_threshold", 1, "f32", 0.3),
    ("BlobProto", "raw_data", 12, "bytes", b""),
])
def test_rows_of_the_schema(message: str, name: str, number: int, type: str, default: object) -> None:
    """Rows of caffe.proto (BVLC 1.0, the SSD fork, NVIDIA's fork), copied by hand."""
    field = message_type(message).field(name)
    assert (field.number, field.type_name, field.default) == (number, type, default)


@pytest.mark.parametrize(
    ("field", "hinted"),
    [("foo: 1", True), ("round_mode: ODD", False), ("round_mode: ODD foo: 1", True), ("pool: 7", False)],
)
def test_reading_leniently_is_advised_only_where_it_helps(field: str, hinted: bool) -> None:
    text = f"layer {{ name: 'p' type: 'Pooling' pooling_param {{ kernel_size: 2 {field} }} }}"
    with pytest.raises(FileFormatError, match="field") as refusal:
        parse_text(text, "net.prototxt")
    assert ("lenient" in str(refusal.value)) == hinted
