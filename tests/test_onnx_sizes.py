"""ONNX models of networks that declare no size, sizes by input, chosen outputs, and layers without an ONNX form.

Expected values are those of the numpy engine, which tests/test_conformance.py holds against MatConvNet's.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

import matnet
from matnet.command_line import run_command
from matnet.errors import NetworkError, UnsupportedLayersError
from matnet.network import Layer, Network
from matnet.ops.combine import Sum
from matnet.ops.convolution import Conv
from matnet.params import Param
from tests.conftest import DATA, assert_close

PUBLIC = DATA / "mat_public"
REAL = Path(os.environ.get("MATNET_REAL_DATA", "/nonexistent"))
RNG = np.random.default_rng(11)


def computed(path: Path, **inputs: np.ndarray) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs), strict=True))


def axes(path: Path) -> dict[str, list[str | int]]:
    """The axes of each input: names of dynamic ones, lengths of the others."""
    found = onnx.load(str(path)).graph.input
    return {i.name: [d.dim_param or d.dim_value for d in i.type.tensor_type.shape.dim] for i in found}


def convert(*arguments: object) -> int:
    from matnet.convert import main

    return run_command(main, [str(argument) for argument in arguments])


def images(net: Network, n: int, h: int, w: int) -> np.ndarray:
    from matnet.meta import input_channels

    (name,) = net.data_inputs()
    return RNG.random((n, input_channels(net, name) or 3, h, w), np.float32)


@pytest.mark.parametrize("name", ["base", "hole2", "opts_dilate", "bn_mo_T", "dag_relu", "rt_names"])
def test_a_network_that_declares_no_size_takes_any(name: str, tmp_path: Path) -> None:
    net = matnet.load(PUBLIC / f"{name}.mat")
    assert convert(PUBLIC / f"{name}.mat", "--to-onnx", tmp_path / "net.onnx") == 0
    ((given, found),) = axes(tmp_path / "net.onnx").items()
    assert found == ["batch", 3, "height", "width"]
    for shape in ((1, 8, 6), (2, 13, 40)):
        x = images(net, *shape)
        (result,) = computed(tmp_path / "net.onnx", **{given: x}).values()
        assert_close(result, net(x), 1e-5, f"{name} {shape}")
    assert "imageSize" not in onnx.load(str(tmp_path / "net.onnx")).metadata_props


@pytest.mark.process
@pytest.mark.skipif(not (REAL / "matconvnet").is_dir(), reason="no real networks in $MATNET_REAL_DATA")
@pytest.mark.parametrize("file", ["dncnn3/DnCNN3.mat", "lapsrn_x2/LapSRN_x2.mat"])
def test_real_denoisers_and_super_resolution_take_any_size(file: str, tmp_path: Path) -> None:
    net = matnet.load(REAL / "matconvnet" / file)
    assert convert(REAL / "matconvnet" / file, "--to-onnx", tmp_path / "net.onnx") == 0
    ((given, _),) = axes(tmp_path / "net.onnx").items()
    for shape in ((1, 24, 36), (2, 21, 17)):
        x = images(net, *shape)
        expected = net.for_inference().forward(x)
        for name, value in computed(tmp_path / "net.onnx", **{given: x}).items():
            assert_close(value, expected[name], 1e-5, f"{name} {shape}")


def two_inputs() -> Network:
    """A convolution of `image` added to `map`, of which nothing tells the channels."""
    net = Network()
    net.add(Layer("c", Conv(size=(1, 1, 3, 4), hasBias=False), ["image"], ["c"], ["f"]))
    net.add(Layer("s", Sum(), ["c", "map"], ["s"]))
    net.params["f"] = Param(RNG.random((1, 1, 3, 4), np.float32))
    return net


def test_sizes_by_input(tmp_path: Path) -> None:
    net = two_inputs()
    net.save(tmp_path / "net.mat")
    sizes = ("--input-size", "image=5x7", "--input-size", "map=4x5x7")
    assert convert(tmp_path / "net.mat", "--to-onnx", tmp_path / "net.onnx", *sizes) == 0
    assert {name: found[1:] for name, found in axes(tmp_path / "net.onnx").items()} == {
        "image": [3, 5, 7],
        "map": [4, 5, 7],
    }
    image, other = RNG.random((2, 3, 5, 7), np.float32), RNG.random((2, 4, 5, 7), np.float32)
    filters = net.params["f"].value[0, 0]
    expected = np.einsum("nchw,ck->nkhw", image, filters) + other
    (found,) = computed(tmp_path / "net.onnx", image=image, map=other).values()
    assert_close(found, expected, 1e-5, "sum")


@pytest.mark.parametrize(
    ("size", "parts"),
    [
        ((), ["net.mat", "'map'", "channels", "--input-size image=HxW --input-size map=CxHxW"]),
        (("--input-size", "mop=5x7"), ["'mop'", "map"]),
        (("--input-size", "5x7", "--input-size", "map=4x5x7"), ["--input-size", "name"]),
        (("--input-size", "1x2x3x4x5"), ["1x2x3x4x5"]),
    ],
)
def test_what_is_unknown_of_a_size_is_named(
    size: tuple[str, ...], parts: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    two_inputs().save(tmp_path / "net.mat")
    for command in (
        (tmp_path / "net.mat", "--to-onnx", tmp_path / "net.onnx"),
        ("--to-caffe", tmp_path / "net.mat", "--out", tmp_path / "caffe"),
    ):
        assert convert(*command, *size) == 2
        message = capsys.readouterr().err
        assert all(part in message for part in parts), message
    assert not [*tmp_path.glob("*.onnx"), *tmp_path.glob("caffe*")]


def test_outputs_are_chosen(tmp_path: Path) -> None:
    net = matnet.load(PUBLIC / "base.mat")
    assert convert(PUBLIC / "base.mat", "--to-onnx", tmp_path / "net.onnx", "--outputs", "r1,p1") == 0
    x = images(net, 2, 8, 6)
    expected = net.forward(x, outputs=["r1", "p1"])
    found = computed(tmp_path / "net.onnx", input=x)
    assert len(found) == 2
    for value, known in zip(found.values(), expected.values(), strict=True):
        assert_close(value, known, 1e-5, "output")


def test_an_empty_network_is_refused(tmp_path: Path) -> None:
    from matnet.formats.onnx import save_onnx

    with pytest.raises(NetworkError, match="layers"):
        save_onnx(Network(), tmp_path / "net.onnx")
    assert not list(tmp_path.iterdir())


# A convolution, its default boxes, and the detections of both: SSD's head in small.
SSD = """
name: "ssd" input: "data" input_dim: 1 input_dim: 3 input_dim: 16 input_dim: 16
layer { name: "c" type: "Convolution" bottom: "data" top: "c" convolution_param { num_output: 4 kernel_size: 3 pad:
  1 stride: 2 } }
layer { name: "loc" type: "Convolution" bottom: "c" top: "loc" convolution_param { num_output: 8 kernel_size: 1 } }
layer { name: "conf" type: "Convolution" bottom: "c" top: "conf" convolution_param { num_output: 4 kernel_size: 1 }
  }
layer { name: "locp" type: "Permute" bottom: "loc" top: "locp" permute_param { order: 0 order: 2 order: 3 order: 1
  } }
layer { name: "locf" type: "Flatten" bottom: "locp" top: "locf" }
layer { name: "confp" type: "Permute" bottom: "conf" top: "confp" permute_param { order: 0 order: 2 order: 3 order:
  1 } }
layer { name: "conff" type: "Flatten" bottom: "confp" top: "conff" }
layer { name: "boxes" type: "PriorBox" bottom: "c" bottom: "data" top: "boxes" prior_box_param { min_size: 4
  max_size: 8 aspect_ratio: 1 clip: false variance: 0.1 } }
layer { name: "detect" type: "DetectionOutput" bottom: "locf" bottom: "conff" bottom: "boxes" top: "found"
  detection_output_param { num_classes: 2 share_location: true background_label_id: 0 nms_param { nms_threshold:
  0.45 top_k: 10 } keep_top_k: 5 confidence_threshold: 0.01 } }
"""


@pytest.mark.process
def test_the_part_before_a_detection_head(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "ssd.prototxt").write_text(SSD)
    net = matnet.load(tmp_path / "ssd.prototxt")
    weights = {"c": (3, 3, 3, 4), "loc": (1, 1, 4, 8), "conf": (1, 1, 4, 4)}
    for layer, shape in weights.items():
        filters, bias = net.layers[layer].params
        net.params[filters] = Param(RNG.standard_normal(shape).astype(np.float32))
        net.params[bias] = Param(RNG.standard_normal((1, shape[3])).astype(np.float32))
    net.save(tmp_path / "ssd.mat")
    assert convert(tmp_path / "ssd.mat", "--to-onnx", tmp_path / "ssd.onnx", "--input-size", "16x16") == 0
    message = capsys.readouterr().err
    assert all(part in message for part in ("ssd.mat", "'boxes'", "locf", "conff")), message
    x = RNG.random((1, 3, 16, 16), np.float32)
    found = computed(tmp_path / "ssd.onnx", data=x)
    expected = net.forward(x, outputs=list(found))
    assert {"locf", "conff"} <= found.keys()
    for name, value in found.items():
        assert_close(value, expected[name], 1e-5, name)
    with pytest.raises(UnsupportedLayersError, match="detect"):
        net.to_onnx(tmp_path / "whole.onnx")


HEAD = """
layer { name: "c" type: "Convolution" bottom: "x" top: "c" convolution_param { num_output: 4 kernel_size: 3 } }
layer { name: "k" type: "Convolution" bottom: "x" top: "k" convolution_param { num_output: 2 kernel_size: 3 } }
layer { name: "r" type: "Reshape" bottom: "c" top: "r" reshape_param { shape { dim: 0 dim: 2 dim: -1 dim: 0 } } }
layer { name: "p" type: "PriorBox" bottom: "c" bottom: "x" top: "p" prior_box_param { min_size: 3 } }
layer { name: "f" type: "Flatten" bottom: "r" top: "f" }
layer { name: "g" type: "Flatten" bottom: "k" top: "g" }
layer { name: "d" type: "DetectionOutput" bottom: "f" bottom: "g" bottom: "p" top: "d"
  detection_output_param { num_classes: 2 code_type: CENTER_SIZE nms_param { nms_threshold: 0.5 } } }
"""


def test_a_detector_is_written_up_to_its_head_for_the_size_that_it_states(tmp_path: Path) -> None:
    """The Reshape needs a fixed size, which the definition states; PriorBox, which ONNX lacks, reads sizes only."""
    (tmp_path / "net.prototxt").write_text(f'input: "x" input_shape {{ dim: 1 dim: 3 dim: 6 dim: 5 }} {HEAD}')
    net = matnet.convert_caffe(tmp_path / "net.prototxt", placeholders=True, color_format="rgb")
    random = np.random.default_rng(0)
    for param in net.params.values():
        param.value = random.standard_normal(param.value.shape).astype(np.float32)
    x = random.standard_normal((1, 3, 6, 5)).astype(np.float32)
    net.to_onnx(tmp_path / "net.onnx", partial=True)
    session = onnxruntime.InferenceSession(str(tmp_path / "net.onnx"))
    assert session.get_inputs()[0].shape == ["batch", 3, 6, 5]
    names = [output.name for output in session.get_outputs()]
    assert sorted(names) == ["f", "g"]
    expected = net.forward(x, names)
    for name, found in zip(names, session.run(names, {"x": x}), strict=True):
        assert_close(found, expected[name], 1e-5, name)
