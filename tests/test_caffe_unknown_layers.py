"""Layers that no Caffe knows: shown and kept, computed up to, or brought in by an op of the user's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import matnet
from matnet import show
from matnet.errors import FileFormatError, MatnetError, ShapeError, UnsupportedLayersError
from matnet.ops.base import REGISTRY, Op, register
from tests.caffe_nets import converted

HEAD = "input: 'data' input_dim: 1 input_dim: 3 input_dim: 7 input_dim: 9 "
RELU = "layer { name: 'r' type: 'ReLU' bottom: 'data' top: 'r' } "
ODD = "layer { name: 'odd' type: 'Oddity' bottom: 'r' top: 'odd' oddity_param { scale: 3 } } "
BEHIND = (
    "layer { name: 'c' type: 'Convolution' bottom: 'odd' top: 'c' convolution_param { num_output: 4 kernel_size: 3 } } "
    "layer { name: 'p' type: 'Pooling' bottom: 'c' top: 'p' pooling_param { kernel_size: 2 } } "
)
X = np.random.default_rng(3).standard_normal((1, 3, 7, 9)).astype(np.float32)


@pytest.fixture
def definition(tmp_path: Path) -> Path:
    file = tmp_path / "net.prototxt"
    file.write_text(HEAD + RELU + ODD + BEHIND)
    return file


def test_everything_is_shown(definition: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert show.main([str(definition)]) == 0
    shown = capsys.readouterr().out
    assert all(word in shown for word in ("Oddity", "ReLU", "odd", "Convolution", "Pooling"))


def test_a_network_runs_up_to_the_unknown_layer(definition: Path) -> None:
    net = matnet.load(definition)
    assert {"r", "odd", "c", "p"} <= set(net.layers)
    np.testing.assert_array_equal(net.forward(X, ["r"])["r"], np.maximum(X, 0))
    with pytest.raises(MatnetError, match=r"(?s)Oddity.*last variable that can be computed is 'r'"):
        net.forward(X)


def test_a_layer_behind_it_is_not_called_unknown(definition: Path, capsys: pytest.CaptureFixture[str]) -> None:
    show.main([str(definition)])
    shown = capsys.readouterr().out
    assert " (of unknown type: odd)\n" in shown and "Oddity (unknown)" in shown
    assert "Convolution (unknown)" not in shown and "a layer of unknown type lies before it" in shown
    with pytest.raises(UnsupportedLayersError) as caught:
        matnet.load(definition).forward(X)
    assert "'Oddity'" in str(caught.value) and "Convolution" not in str(caught.value)


def test_params_without_values_are_told_from_no_params(definition: Path, capsys: pytest.CaptureFixture[str]) -> None:
    definition.write_text(HEAD + BEHIND.replace("odd", "data"))
    show.main([str(definition)])
    assert "? (2 params without values not counted)" in capsys.readouterr().out
    definition.write_text(HEAD + RELU)
    show.main([str(definition)])
    assert "0B (0 parameters)" in capsys.readouterr().out


def test_a_conversion_refuses_it(definition: Path) -> None:
    with pytest.raises(UnsupportedLayersError, match=r"(?s)'odd' \(Oddity\).*last blob .* 'r'"):
        matnet.convert_caffe(definition)


@pytest.fixture
def user_op() -> Iterator[type[Op]]:
    @register("mylab.Odd", caffe=("Oddity", "my.layers.OddLayer"))
    @dataclass(frozen=True, kw_only=True)
    class Odd(Op):
        scale: float = 1.0
        lambda_: float = 0.0
        text: str = ""

        @classmethod
        def from_caffe(cls, param: Any) -> Op:
            python = param.get("python_param")
            slope = param.get("relu_param").get("negative_slope")
            return cls(scale=param.get("scale", 1.0), lambda_=slope, text=python.get("param_str"))

        def forward(self, xp: Any, inputs: Any, params: Any) -> list[Any]:
            return [self.scale * inputs[0] + self.lambda_]

    yield Odd
    REGISTRY.remove(Odd)


def test_a_registered_op_sees_every_message(user_op: type[Op], tmp_path: Path) -> None:
    """Known and unknown messages: here the second unknown one, and BVLC's relu_param."""
    layer = (
        "layer { name: 'o' type: 'Oddity' bottom: 'data' top: 'o' other_param { a: 1 } oddity_param { scale: 3 } "
        "relu_param { negative_slope: 0.25 } }"
    )
    net = converted(tmp_path, layer, {"data": (1, 3, 7, 9)}, {})
    np.testing.assert_allclose(net.forward(X)["o"], 3 * X + 0.25, rtol=1e-6)


def test_a_python_layer_is_found_by_module_and_class(user_op: type[Op], tmp_path: Path) -> None:
    layer = (
        "layer { name: 'o' type: 'Python' bottom: 'data' top: 'o' "
        "python_param { module: 'my.layers' layer: 'OddLayer' param_str: 'k: 2' } }"
    )
    op = converted(tmp_path, layer, {"data": (1, 3, 7, 9)}, {}).layers["o"].op
    assert isinstance(op, user_op) and op.text == "k: 2"  # type: ignore[attr-defined]


def test_a_property_called_like_a_keyword_is_saved_under_its_name(user_op: type[Op], tmp_path: Path) -> None:
    layer = "layer { name: 'o' type: 'Oddity' bottom: 'data' top: 'o' relu_param { negative_slope: 0.5 } }"
    net = converted(tmp_path, layer, {"data": (1, 3, 7, 9)}, {})
    path = matnet.save(net, tmp_path / "net.mat")
    assert b"lambda\0" in path.read_bytes()
    assert matnet.load(path).layers["o"].op.lambda_ == 0.5  # type: ignore[attr-defined]


def test_weights_that_no_layer_takes_are_named(tmp_path: Path) -> None:
    layer = "layer { name: 'fc1' type: 'InnerProduct' bottom: 'data' top: 'y' inner_product_param { num_output: 2 } }"
    weights = {"fc1": (np.ones((2, 189), np.float32), np.ones(2, np.float32))}
    converted(tmp_path, layer, {"data": (1, 3, 7, 9)}, weights)
    prototxt = tmp_path / "other.prototxt"
    prototxt.write_text((tmp_path / "deploy.prototxt").read_text().replace("fc1", "classifier"))
    with pytest.raises(FileFormatError, match=r"(?s)layer 'classifier'.*nused weights in the file: fc1"):
        matnet.convert_caffe(prototxt, tmp_path / "weights.caffemodel")


@pytest.mark.parametrize(("crop", "start"), [("geometry", 0), ("caffe", 0)])
def test_a_crop_between_pixels_cuts_at_0(crop: str, start: int, tmp_path: Path) -> None:
    """Filters of 2 x 2 pixels move the image by half a pixel, where BVLC Caffe cuts at 0 and FCN's branch refuses."""
    convolution = "convolution_param { num_output: 1 kernel_size: 2 bias_term: false }"
    layers = (
        f"layer {{ name: 'c' type: 'Convolution' bottom: 'data' top: 'c' {convolution} }} "
        "layer { name: 'y' type: 'Crop' bottom: 'data' bottom: 'c' top: 'y' }"
    )
    net = converted(tmp_path, layers, {"data": (1, 3, 7, 9)}, {"c": (np.ones((1, 3, 2, 2), np.float32),)}, crop=crop)
    np.testing.assert_array_equal(net.forward(X, ["y"])["y"], X[:, :, :6, :8])
    assert [note for note in net.source.notes if "'y' (Crop)" in note and "0, 0" in note]


@pytest.mark.parametrize(
    ("kind", "named"),
    [
        ("Convolution3D", "two spatial dimensions"),
        ("POOLING3D", "two spatial dimensions"),
        ("Convolutions", "nearest: Convolution"),
    ],
)
def test_a_type_that_is_left_out_on_purpose_says_why(kind: str, named: str, tmp_path: Path) -> None:
    layer = f"layer {{ name: 'odd' type: '{kind}' bottom: 'data' top: 'y' }}"
    with pytest.raises(UnsupportedLayersError, match=rf"(?s)1 layer is .*'odd' \({kind}\); [^\n]*{named}"):
        converted(tmp_path, layer, {"data": (1, 3, 7, 9)}, {})


def test_types_of_the_first_generation_say_why_too(tmp_path: Path) -> None:
    path = tmp_path / "v1.prototxt"
    path.write_text("""input: "x" input_dim: 1 input_dim: 3 input_dim: 4 input_dim: 6
layers { name: "c" type: CONVOLUTION3D bottom: "x" top: "c" convolution_param { num_output: 2 kernel_depth: 3 } }
layers { name: "n" type: POOLING3D bottom: "c" top: "n" }""")
    with pytest.raises(UnsupportedLayersError, match=r"(?s)2 layers .*two spatial dimensions\n.*POOLING3D\); matnet"):
        matnet.convert_caffe(path, lenient=True)


PARAMS = {"ReLU": "", "Pooling": "pooling_param { kernel_size: 2 }", "Permute": "permute_param { order: 1 }"}


@pytest.mark.parametrize("kind", PARAMS)
def test_an_input_with_three_spatial_dimensions_is_named(kind: str, tmp_path: Path) -> None:
    layer = f"layer {{ name: 'l' type: '{kind}' bottom: 'clip' top: 'y' {PARAMS[kind]} }}"
    with pytest.raises(ShapeError, match=r"deploy\.prototxt: input 'clip' has 5 axes \(1x3x4x20x22\)"):
        converted(tmp_path, layer, {"clip": (1, 3, 4, 20, 22)}, {})
