"""Training definitions: what only training needs is dropped and told, and where the data come from."""

from __future__ import annotations

from pathlib import Path

import pytest

import matnet
from matnet.errors import NetworkError, UnsupportedLayersError
from matnet.network import Network

DATA = 'layer { name: "data" type: "Data" top: "data" top: "label" transform_param { crop_size: 9 } %s }'
FILTERS = "convolution_param { num_output: 4 kernel_size: 3 }"
CONVOLUTION = f'layer {{ name: "c" type: "Convolution" bottom: "data" top: "c" {FILTERS} }}'


def network(tmp_path: Path, text: str, **options: object) -> Network:
    file = tmp_path / "net.prototxt"
    file.write_text(text)
    return matnet.convert_caffe(file, placeholders=True, **options)


@pytest.mark.parametrize("kind", ["SmoothL1Loss", "CenterLoss", "CTC", "centerThrErr", "MultiBoxLoss", "OddMeasure"])
def test_an_unknown_layer_that_reads_a_label_and_that_nothing_reads_goes(kind: str, tmp_path: Path) -> None:
    loss = f'layer {{ name: "l" type: "{kind}" bottom: "c" bottom: "label" top: "l" }}'
    net = network(tmp_path, DATA % "" + CONVOLUTION + loss)
    assert (net.inputs, net.outputs) == (["data"], ["c"])
    assert [note for note in net.source.notes if "'l'" in note and kind in note]


def test_an_unknown_layer_that_reads_no_label_stays(tmp_path: Path) -> None:
    odd = 'layer { name: "o" type: "OddHead" bottom: "c" top: "o" }'
    with pytest.raises(UnsupportedLayersError, match=r"(?s)layer 'o' \(OddHead\).*last blob .* 'c'"):
        network(tmp_path, DATA % "" + CONVOLUTION + odd)


def test_an_unknown_layer_that_a_kept_one_reads_stays(tmp_path: Path) -> None:
    odd = 'layer { name: "o" type: "OddLoss" bottom: "c" bottom: "label" top: "o" }'
    read = 'layer { name: "r" type: "ReLU" bottom: "o" top: "r" }'
    with pytest.raises(UnsupportedLayersError, match=r"layer 'o' \(OddLoss\)"):
        network(tmp_path, DATA % "" + CONVOLUTION + odd + read)


def test_a_chain_of_layers_on_labels_goes(tmp_path: Path) -> None:
    """Targets made by an unknown layer of labels and features, read by losses alone (Faster R-CNN's AnchorTarget)."""
    target = (
        'layer { name: "t" type: "Python" bottom: "c" bottom: "label" top: "t" top: "w" '
        'python_param { module: "rpn.anchor_target_layer" layer: "AnchorTargetLayer" } }'
    )
    loss = 'layer { name: "l" type: "SmoothL1Loss" bottom: "c" bottom: "t" bottom: "w" top: "l" loss_weight: 1 }'
    net = network(tmp_path, DATA % "" + CONVOLUTION + target + loss)
    assert (net.inputs, net.outputs) == (["data"], ["c"])


SOFTMAX_LOSS = 'layer { name: "s" type: "SoftmaxWithLoss" bottom: "%s" bottom: "label" }'
ENDS = {
    "DeepLab's MatWrite, which writes a file": 'layer { name: "w" type: "MatWrite" bottom: "c" }',
    "SphereFace's margin on the true class": 'layer { name: "m" type: "MarginInnerProduct" bottom: "c" bottom: "label" '
    'top: "m" top: "lambda" }' + SOFTMAX_LOSS % "m",
    "AM-Softmax's, scaled": 'layer { name: "m" type: "LabelSpecificAdd" bottom: "c" bottom: "label" top: "m" } '
    'layer { name: "x" type: "Scale" bottom: "m" top: "x" } ' + SOFTMAX_LOSS % "x",
}


@pytest.mark.parametrize("end", ENDS)
def test_what_lies_behind_the_last_inference_layer_goes(end: str, tmp_path: Path) -> None:
    """Test time has neither labels nor files to write: the network ends before them, and no note says otherwise."""
    net = network(tmp_path, DATA % "" + CONVOLUTION + ENDS[end])
    assert (list(net.layers), net.outputs) == (["c"], ["c"])
    assert not [note for note in net.source.notes if "became" in note]


@pytest.mark.parametrize("head", [
    'type: "InnerProduct" inner_product_param { num_output: 2 }',
    'type: "Pooling" pooling_param { global_pooling: true }',
])  # fmt: skip
def test_a_layer_of_filters_or_maps_behind_a_label_is_not_lost(head: str, tmp_path: Path) -> None:
    """An unknown layer that samples boxes, or mixes images, by labels: all layers behind it are the network's head."""
    sampler = 'layer { name: "m" type: "OddSampler" bottom: "c" bottom: "label" top: "m" } '
    head = f'layer {{ name: "h" bottom: "m" top: "h" {head} }}'
    with pytest.raises(UnsupportedLayersError, match=r"layer 'm' \(OddSampler\)"):
        network(tmp_path, DATA % "" + CONVOLUTION + sampler + head + SOFTMAX_LOSS % "h")


def test_an_image_named_target_is_no_label(tmp_path: Path) -> None:
    """A tracker compares the maps of `target` and of the image, in an unknown layer that no other reads."""
    target = 'input: "target" input_shape { dim: 1 dim: 3 dim: 5 dim: 5 } '
    second = CONVOLUTION.replace('"c"', '"t"').replace('"data"', '"target"')
    end = 'layer { name: "x" type: "Correlation" bottom: "c" bottom: "t" top: "x" }'
    with pytest.raises(UnsupportedLayersError, match=r"layer 'x' \(Correlation\)"):
        network(tmp_path, target + DATA % "" + CONVOLUTION + second + end)


def test_a_sequence_of_words_is_no_image(tmp_path: Path) -> None:
    """LRCN's training net: an input of unknown shape that an Embed reads takes all of its axes from its size."""
    text = (
        'layer { name: "d" type: "HDF5Data" top: "cont" top: "words" top: "target" } layer { name: "e" type: "Embed" '
        'bottom: "words" top: "e" embed_param { input_dim: 5 num_output: 3 bias_term: false } } layer { name: "l" '
        'type: "LSTM" bottom: "e" bottom: "cont" top: "l" recurrent_param { num_output: 2 } } layer { name: "p" '
        'type: "InnerProduct" bottom: "l" top: "p" inner_product_param { num_output: 5 axis: 2 } }'
    )
    net = network(tmp_path, text, input_size={"words": (4, 6)})
    assert net.input_shapes == {"cont": (4, 6, 1, 1), "words": (4, 6, 1, 1)}


def test_a_layer_that_picks_boxes_passes_them_on(tmp_path: Path) -> None:
    """ProposalTarget: at test time all boxes are pooled; its further tops go to losses."""
    text = (
        "input: 'data' input_shape { dim: 1 dim: 3 dim: 9 dim: 9 } input: 'boxes' input_shape { dim: 2 dim: 5 } "
        "input: 'gt_boxes' input_shape { dim: 1 dim: 5 }"
        + CONVOLUTION
        + 'layer { name: "t" type: "ProposalTarget" bottom: "boxes" bottom: "gt_boxes" top: "rois" top: "labels" }'
        'layer { name: "p" type: "ROIPooling" bottom: "c" bottom: "rois" top: "p" '
        "roi_pooling_param { pooled_h: 2 pooled_w: 3 } }"
        'layer { name: "l" type: "SoftmaxWithLoss" bottom: "p" bottom: "labels" }'
    )
    net = network(tmp_path, text)
    assert (net.inputs, net.infer_shapes(net.input_shapes)["p"]) == (["data", "boxes"], (2, 4, 2, 3))


@pytest.mark.parametrize("loss", ["SoftmaxWithLoss", "SoftmaxWithLossOHEM"])
def test_a_softmax_loss_without_its_label_becomes_softmax(loss: str, tmp_path: Path) -> None:
    text = "input: 'data' input_dim: 1 input_dim: 3 input_dim: 9 input_dim: 9 " + CONVOLUTION
    label = "label" if loss == "SoftmaxWithLoss" else "data"
    net = network(tmp_path, text + f'layer {{ name: "l" type: "{loss}" bottom: "c" bottom: "{label}" top: "l" }}')
    assert net.layers["l"].type_name == "dagnn.SoftMax"


def test_a_data_layer_of_another_phase_gives_the_inputs(tmp_path: Path) -> None:
    net = network(tmp_path, DATA % "include { phase: TRAIN }" + CONVOLUTION)
    assert net.input_shapes == {"data": (1, 3, 9, 9)}
    assert [note for note in net.source.notes if "'data' (Data) of another phase" in note]


def test_a_data_layer_of_a_stage_gives_the_inputs(tmp_path: Path) -> None:
    net = network(tmp_path, DATA % 'include { stage: "deploy" }' + CONVOLUTION)
    assert net.input_shapes == {"data": (1, 3, 9, 9)}


def test_a_blob_that_a_layer_of_another_phase_makes_is_told(tmp_path: Path) -> None:
    made = 'layer { name: "m" type: "ReLU" bottom: "c" top: "m" include { %s } }'
    read = 'layer { name: "r" type: "ReLU" bottom: "m" top: "r" }'
    for rule, option in (("phase: TRAIN", "phase='TRAIN'"), ('stage: "val"', r"stages=\['val'\]")):
        with pytest.raises(NetworkError, match=f"layer 'r' reads 'm'.*'m' .*{option}"):
            network(tmp_path, DATA % "" + CONVOLUTION + made % rule + read)


def test_an_input_that_nothing_reads_may_be_given(tmp_path: Path) -> None:
    text = "input: 'data' input_dim: 1 input_dim: 3 input_dim: 9 input_dim: 9 input: 'im_info' "
    text = text.replace("input: 'im_info'", "") + (
        'layer { name: "i" type: "Input" top: "im_info" input_param { shape { dim: 1 dim: 3 } } }' + CONVOLUTION
    )
    assert network(tmp_path, text).unread_inputs == {"im_info"}


def test_boxes_of_unknown_number_are_one_unless_given(tmp_path: Path) -> None:
    pooling = "roi_pooling_param { pooled_h: 2 pooled_w: 3 }"
    text = (
        DATA % ""
        + 'layer { name: "b" type: "Input" top: "rois" }'
        + f'layer {{ name: "p" type: "ROIPooling" bottom: "data" bottom: "rois" top: "p" {pooling} }}'
    )
    assert network(tmp_path, text).input_shapes["rois"] == (1, 5, 1, 1)
    assert network(tmp_path, text, input_size={"rois": (7, 5)}).input_shapes["rois"] == (7, 5, 1, 1)


def test_images_of_a_data_layer_have_three_channels_where_nothing_tells(tmp_path: Path) -> None:
    text = DATA.replace("crop_size: 9", "") % "" + CONVOLUTION
    net = network(tmp_path, text)
    assert net.params["c_filter"].value.shape == (3, 3, 3, 4)
    assert [note for note in net.source.notes if "'data'" in note and "3 channels" in note]
    assert network(tmp_path, text, input_size=(1, 9, 9)).params["c_filter"].value.shape[:2] == (3, 3)


PYTHON_DATA = {
    "{'batch_size': 5, 'im_shape': [27, 25], 'split': 'train'}": (5, 3, 27, 25),
    "{'im_shape': (27, 25), 'mean': (104.00699, 116.66877, 122.67892)}": (1, 3, 27, 25),
    "{'image_size': (27, 25, 1)}": (1, 1, 27, 25),
    "{'shape': (5, 3, 27, 25)}": (5, 3, 27, 25),
    "crop_size: 27": (1, 3, 27, 27),
    "'new_height': 27\\n'new_width': 25": (1, 3, 27, 25),
    "{'num_classes': 21}": None,
    "no values": None,
    "": None,
}


@pytest.mark.parametrize("given", PYTHON_DATA)
def test_a_python_data_layer_tells_its_size_in_its_param_str(given: str, tmp_path: Path) -> None:
    """Literals of Python, as in BVLC's pascal_multilabel_datalayers, or YAML, as in py-faster-rcnn; never executed."""
    text = "layer { name: 'd' type: 'Python' top: 'data' top: 'label' python_param { module: 'm' layer: 'L' "
    text += f'param_str: "{given}" }} }} layer {{ name: "c" type: "Convolution" bottom: "data" top: "c" '
    text += "convolution_param { num_output: 4 kernel_size: 3 } } "
    text += "layer { name: 'l' type: 'SoftmaxWithLoss' bottom: 'c' bottom: 'label' top: 'l' }"
    (tmp_path / "net.prototxt").write_text(text)
    net = matnet.convert_caffe(tmp_path / "net.prototxt", placeholders=True)
    expected = PYTHON_DATA[given]
    assert net.input_shapes == ({} if expected is None else {"data": expected})
    sized = matnet.convert_caffe(tmp_path / "net.prototxt", placeholders=True, input_size=(31, 33))
    assert sized.input_shapes["data"][2:] == (31, 33)


HINTS = {
    "include { phase: TRAIN }": ("phase='TRAIN'", {"phase": "TRAIN"}),
    "exclude { phase: TEST }": ("phase='TRAIN'", {"phase": "TRAIN"}),
    "include { stage: 'deploy' }": ("stages=['deploy']", {"stages": ["deploy"]}),
    "include { stage: 'a' stage: 'b' }": ("stages=['a', 'b']", {"stages": ["a", "b"]}),
    "include { min_level: 2 }": ("level=2", {"level": 2}),
    "include { phase: TRAIN stage: 'a' }": ("phase='TRAIN', stages=['a']", {"phase": "TRAIN", "stages": ["a"]}),
}


@pytest.mark.parametrize("rule", HINTS)
@pytest.mark.parametrize("where", ["all layers", "all but the input", "one that others need"])
def test_the_message_names_the_options_that_keep_the_layers(rule: str, where: str, tmp_path: Path) -> None:
    """And these options, given to `matnet.load` as it is told, do keep them."""
    hint, options = HINTS[rule]
    data = "layer { name: 'd' type: 'Input' top: 'x' input_param { shape { dim: 1 dim: 2 dim: 3 dim: 4 } } %s } "
    text = data % (rule if where == "all layers" else "")
    text += f"layer {{ name: 'a' type: 'ReLU' bottom: 'x' top: 'a' {rule} }} "
    if where == "one that others need":
        text += "layer { name: 'b' type: 'ReLU' bottom: 'a' top: 'b' }"
    (tmp_path / "net.prototxt").write_text(text)
    with pytest.raises(NetworkError) as caught:
        matnet.load(tmp_path / "net.prototxt")
    assert hint in str(caught.value)
    assert "a" in matnet.load(tmp_path / "net.prototxt", **options).layers


def test_a_size_without_a_name_is_that_of_every_image(tmp_path: Path) -> None:
    """Two images that data layers bring in, as in FCN's networks of colour and depth."""
    text = "".join(
        f"layer {{ name: '{name}' type: 'Data' top: '{name}' }} layer {{ name: 'c{name}' type: 'Convolution' "
        f"bottom: '{name}' top: 'c{name}' convolution_param {{ num_output: 4 kernel_size: 3 }} }} "
        for name in ("color", "hha")
    )
    text += "layer { name: 's' type: 'Eltwise' bottom: 'ccolor' bottom: 'chha' top: 's' }"
    (tmp_path / "net.prototxt").write_text(text)
    for size in ((7, 9), (3, 7, 9)):
        net = matnet.convert_caffe(tmp_path / "net.prototxt", input_size=size, placeholders=True)
        assert net.input_shapes == {"color": (1, 3, 7, 9), "hha": (1, 3, 7, 9)}


def test_channels_are_known_behind_a_layer_that_states_its_size(tmp_path: Path) -> None:
    """SegNet's Upsample with upsample_h and upsample_w, on an input whose size the file does not state."""
    text = "layer { name: 'd' type: 'Data' top: 'x' } layer { name: 'c' type: 'Convolution' bottom: 'x' top: 'c' "
    text += "convolution_param { num_output: 4 kernel_size: 1 } } layer { name: 'p' type: 'Pooling' bottom: 'c' "
    text += "top: 'p' top: 'm' pooling_param { kernel_size: 2 stride: 2 } } layer { name: 'u' type: 'Upsample' bottom: "
    text += "'p' bottom: 'm' top: 'u' upsample_param { upsample_h: 23 upsample_w: 30 } } layer { name: 'e' "
    text += "type: 'Convolution' bottom: 'u' top: 'e' convolution_param { num_output: 2 kernel_size: 3 } }"
    (tmp_path / "net.prototxt").write_text(text)
    net = matnet.convert_caffe(tmp_path / "net.prototxt", placeholders=True)
    assert net.params["e_filter"].value.shape == (3, 3, 4, 2)


def test_the_image_size_that_detections_are_cut_to_is_two_numbers(tmp_path: Path) -> None:
    """Of a data layer whose sizes no file states (Cascade R-CNN's EvalData)."""
    shapes = {"prob": (6, 3), "boxes": (6, 12), "rois": (6, 5)}
    inputs = "".join(
        f"layer {{ type: 'Input' top: '{name}' input_param {{ shape {{ dim: {rows} dim: {columns} }} }} }}"
        for name, (rows, columns) in shapes.items()
    )
    bottoms = " ".join(f"bottom: '{name}'" for name in (*shapes, "sizes"))
    output = f"layer {{ name: 'f' type: 'FrcnnOutput' {bottoms} top: 'f' frcnn_output_param {{ conf_thr: 0.1 }} }}"
    net = network(tmp_path, f"layer {{ type: 'EvalData' top: 'sizes' }} {inputs} {output}")
    assert net.input_shapes["sizes"] == (1, 2, 1, 1)
    assert any("'sizes'" in note and "1x2" in note for note in net.source.notes)
