"""What users ask for most: the checks of the demands that loading, asking, converting and the doctor answer.

The numbers are those of a list of twenty demands, ranked by how often public issue threads raise them.
test_demands_exact holds the others, test_doctor_photos those that need photographs of others (2, 14, 15). Beside them:
what a bare installation needs (10) in .ci/run; GPUs without cuDNN (17) in test_cupy_machine. The weights of FCN-32s
(16) and the reference faces of VGG-Face (19) are not part of the project.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import matnet
from matnet import convert, predict
from matnet.command_line import run_command
from matnet.comparison import compare
from matnet.doctor.__main__ import main as doctor
from matnet.errors import UnsupportedLayersError
from matnet.evaluation.command import embedded_data, embedded_model
from matnet.formats.mat import write_mat
from matnet.formats.mat.values import Cell, StructArray
from matnet.image_arguments import parsed, preprocessing_from
from matnet.zoo import all_cards
from matnet.zoo.random_weights import skeleton
from tests.caffe_bytes import blob, floats

MODEL, DIGITS = Path(embedded_model()), Path(embedded_data())


def row(*values: float) -> np.ndarray:
    return np.array([values], np.float64)


# -- 1: any MatConvNet file, whatever its vintage ---------------------------------------------------

FILTERS = np.random.default_rng(1).normal(size=(3, 5, 3, 4)).astype(np.float32)
BIASES = np.arange(4, dtype=np.float32).reshape(1, 4)
NORMALIZATION = {"imageSize": row(7, 9, 3), "averageImage": np.float32([[[123.0, 117, 104]]]), "cropSize": row(1)}
CLASSES = {"name": Cell(["a", "b", "c", "d"]), "description": Cell(["A", "B", "C", "D"])}


def layers(legacy: bool) -> list[dict[str, Any]]:
    weights = {"filters": FILTERS, "biases": BIASES} if legacy else {"weights": Cell([FILTERS, BIASES])}
    return [
        {"type": "conv", "name": "conv1", **weights, "pad": row(1, 1, 2, 2), "stride": row(2, 1)},
        {"type": "relu", "name": "relu1"},
        {"type": "softmax", "name": "prob"},
    ]


def six_ways(folder: Path) -> dict[str, Path]:
    """The same network as releases of MatConvNet from beta8 to beta25, and the people between them, saved it."""
    fields = dict.fromkeys(name for layer in layers(False) for name in layer)
    whole = [{name: layer.get(name, np.zeros((0, 0))) for name in fields} for layer in layers(False)]
    meta = {"normalization": NORMALIZATION, "classes": CLASSES}
    today = {"layers": Cell(layers(False)), "meta": meta}
    ways: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
        "beta8: filters, biases, normalization at the top": (
            {"layers": Cell(layers(True)), "normalization": NORMALIZATION, "classes": CLASSES}, {}
        ),
        "beta16: weights, normalization at the top": (
            {"layers": Cell(layers(False)), "normalization": NORMALIZATION, "classes": CLASSES}, {}
        ),
        "beta25: meta": (today, {}),
        "in a variable net": ({"net": today}, {}),
        "layers as a struct array": (
            {"layers": StructArray(whole, (1, 3), tuple(fields)), "meta": meta}, {"compress": True}
        ),
        "v7.3": (today, {"version": "7.3"}),
    }  # fmt: skip
    files = {}
    for number, (way, (variables, options)) in enumerate(ways.items()):
        files[way] = folder / f"{number}.mat"
        write_mat(files[way], variables, **options)
    return files


@pytest.mark.process
def test_demand_01_one_network_saved_six_ways_loads_as_six_equal_ones(tmp_path: Path) -> None:
    first, *others = (matnet.load(file) for file in six_ways(tmp_path).values())
    x = np.random.default_rng(2).normal(size=(2, 3, 7, 9)).astype(np.float32)
    for net in others:
        assert compare(first, net).same(), compare(first, net)
        np.testing.assert_array_equal(net(x), first(x))
        assert net.classes == ["A", "B", "C", "D"]
        np.testing.assert_array_equal(net["conv1"].filters, FILTERS)
        assert net.preprocessing.describe() == first.preprocessing.describe()


# -- 2 and 15: preprocessing and classes ------------------------------------------------------------


@pytest.fixture
def report(capsys: pytest.CaptureFixture[str]) -> Callable[..., dict[str, Any]]:
    """What the doctor says as JSON."""

    def read(*arguments: object) -> dict[str, Any]:
        assert run_command(doctor, [*map(str, arguments), "--json"]) in (0, 1)
        found: dict[str, Any] = json.loads(capsys.readouterr().out)
        return found

    return read


@pytest.mark.process
@pytest.mark.parametrize(("flipped", "knob"), [(["--scale", "0.00392"], "scale"), (["--mean", "0"], "mean")])
def test_demand_02_one_flipped_knob_is_reported_by_name(
    flipped: list[str], knob: str, report: Callable[..., dict[str, Any]]
) -> None:
    found = report(MODEL, DIGITS, *flipped, "--limit", 100, "--try", "scale,mean,transposed,labels")
    assert found["search"]["best"]["knob"] == knob


@pytest.mark.process
def test_demand_15_a_permuted_ground_truth_is_diagnosed(tmp_path: Path, report: Callable[..., dict[str, Any]]) -> None:
    order = [3, 7, 1, 9, 0, 2, 8, 4, 6, 5]
    lines = [f"{path} {order[int(path.parent.name)]}" for path in sorted(DIGITS.glob("*/*.png"))]
    (tmp_path / "val.txt").write_text("\n".join(lines))
    found = report(MODEL, tmp_path / "val.txt", "--try", "scale,labels")
    assert found["search"]["best"]["knob"] == "labels"


# -- 4: cut files -----------------------------------------------------------------------------------


@pytest.mark.process
def test_demand_04_a_file_cut_at_twenty_places_is_one_sentence_with_its_place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = MODEL.read_bytes()
    image = str(next(DIGITS.glob("7/*.png")))
    for number in range(20):
        size = len(content) * number // 20
        cut = tmp_path / f"{number}.mat"
        cut.write_bytes(content[:size])
        assert run_command(predict.main, [str(cut), image]) == 2
        err = capsys.readouterr().err
        assert err.count("\n") == 1
        assert str(cut) in err
        assert ("byte" in err) if size else ("0 bytes" in err)


# -- 6: layers that nobody knows --------------------------------------------------------------------

UNKNOWN = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 6 dim: 8 } } }
layer { name: "a" type: "Frobnicate" bottom: "data" top: "a" }
layer { name: "b" type: "ReLU" bottom: "a" top: "b" }
layer { name: "c" type: "Convolutoin" bottom: "b" top: "c" }
layer { name: "d" type: "Whirl" bottom: "c" top: "d" }
"""


def test_demand_06_three_unknown_layers_are_one_error_that_names_three(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "net.prototxt").write_text(UNKNOWN)
    with pytest.raises(UnsupportedLayersError) as error:
        matnet.convert_caffe(tmp_path / "net.prototxt")
    text = str(error.value)
    assert all(word in text for word in ("'a'", "Frobnicate", "'c'", "Convolutoin", "'d'", "Whirl"))
    assert "Convolution" in text  # the nearest known type
    net = matnet.load(tmp_path / "net.prototxt")  # which still lists them
    assert all(name in net.summary() for name in ("Frobnicate", "Convolutoin", "Whirl"))
    assert run_command(convert.main, [str(tmp_path / "net.prototxt"), str(tmp_path / "net.mat")]) == 2
    err = capsys.readouterr().err
    assert all(word in err for word in ("Frobnicate", "Convolutoin", "Whirl"))


# -- 11: means in all their shapes ------------------------------------------------------------------

PLAIN = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 6 dim: 8 } } }
layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc" inner_product_param { num_output: 4 } }
"""
RGB = np.float32([123, 117, 104])


def mean_files(folder: Path) -> dict[str, Path]:
    """One colour as mean files of Caffe's, whose order is B, G, R: an image of the input's size."""
    bgr = np.ascontiguousarray(np.broadcast_to(RGB[::-1, None, None], (3, 6, 8)), np.float32)
    (folder / "mean.binaryproto").write_bytes(blob(floats(*bgr.ravel()), 1, 3, 6, 8))
    np.save(folder / "mean.npy", bgr)
    np.save(folder / "colour.npy", bgr[:, :1, :1])
    return {name: folder / name for name in ("mean.binaryproto", "mean.npy", "colour.npy")}


def test_demand_11_every_form_of_one_mean_gives_the_same_input(tmp_path: Path) -> None:
    (tmp_path / "net.prototxt").write_text(PLAIN)
    image = np.random.default_rng(3).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    net = matnet.load(tmp_path / "net.prototxt")
    inputs = {"mean=": net.prepare(image, mean=RGB), "mean_values": _prepared(tmp_path, image, mean_values=RGB)}
    options = parsed(predict.parser(), ["net", "image", "--mean", "123", "117", "104"])
    inputs["--mean R G B"] = net.prepare(image, preprocessing=preprocessing_from(net, options))
    for name, file in mean_files(tmp_path).items():
        inputs[f"convert --mean {name}"] = _prepared(tmp_path, image, mean=file)
        options = parsed(predict.parser(), ["net", "image", "--mean", str(file)])
        inputs[f"predict --mean {name}"] = net.prepare(image, preprocessing=preprocessing_from(net, options))
    shapes: dict[str, Any] = {
        "1 x 1 x 3": RGB.reshape(1, 1, 3),
        "3 x 1": RGB.reshape(3, 1),
        "H x W x 3": np.broadcast_to(RGB, (6, 8, 3)).copy(),
    }
    for name, mean in shapes.items():
        twin = matnet.load(tmp_path / "net.prototxt")
        twin.meta["normalization"] = {**twin.meta["normalization"], "averageImage": mean}
        inputs[f"averageImage {name}"] = twin.prepare(image)
    expected = (image.astype(np.float32) - RGB).transpose(2, 0, 1)[np.newaxis]
    for name, found in inputs.items():
        np.testing.assert_allclose(found, expected, atol=1e-4, err_msg=name)


def _prepared(folder: Path, image: np.ndarray, **options: Any) -> np.ndarray:
    net = matnet.load(folder / "net.prototxt", full_image_size=(6, 8), **options)
    return net.prepare(image)


# -- 13: the layout of weights ----------------------------------------------------------------------


@pytest.mark.parametrize("way", ["numpy", "onnx", "saved", "caffe"])
def test_demand_13_filters_of_3_x_5_on_an_l_with_groups_are_not_transposed(way: str, tmp_path: Path) -> None:
    """The sum is written out here; a transposed filter, or one of the other group, gives another one."""
    rng = np.random.default_rng(4)
    filters = rng.normal(size=(3, 5, 2, 6)).astype(np.float32)
    shape = {"weights": Cell([filters, np.zeros((1, 6), np.float32)]), "pad": row(0), "stride": row(1)}
    meta = {"inputs": {"name": "input", "size": row(7, 8, 4, 1)}}
    write_mat(tmp_path / "net.mat", {"layers": Cell([{"type": "conv", "name": "c", **shape}]), "meta": meta})
    net = matnet.load(tmp_path / "net.mat")
    image = np.zeros((1, 4, 7, 8), np.float32)
    image[0, :, 1:6, 2] = image[0, :, 5, 2:7] = np.arange(1, 5)[:, None]  # an L, of another gray in each channel
    expected = np.zeros((1, 6, 5, 4))
    for k, y, x in np.ndindex(6, 5, 4):
        channels = slice(0, 2) if k < 3 else slice(2, 4)
        window = image[0, channels, y : y + 3, x : x + 5]
        expected[0, k, y, x] = (window * filters[:, :, :, k].transpose(2, 0, 1)).sum()
    if way == "saved":
        net.save(tmp_path / "dag.mat", format="dagnn")
        net = matnet.load(tmp_path / "dag.mat")
    elif way == "caffe":
        assert run_command(convert.main, [str(tmp_path / "net.mat"), "--to-caffe", str(tmp_path / "net")]) == 0
        net = matnet.load(tmp_path / "net.prototxt", tmp_path / "net.caffemodel")
    found = net(image, backend="onnx" if way == "onnx" else "numpy")
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


# -- 18: any variable by its name -------------------------------------------------------------------


@pytest.mark.process
def test_demand_18_every_variable_of_every_known_network_is_reachable_by_its_name() -> None:
    from matnet.answers.layer_names import named_layers

    count = 0
    for card in all_cards():
        if card.prototxt is None:
            continue
        net = skeleton(card)
        found = named_layers(net, net.variables)
        assert list(found.items()) == [(name, name) for name in net.variables]
        assert {net.resolve(alias) for alias in net.aliases} <= set(net.variables)
        count += len(found)
    assert count > 3000


def test_demand_18_layers_are_reached_in_python_and_in_commands(tmp_path: Path) -> None:
    net = matnet.load(MODEL)
    inference = net.for_inference()
    inner = [name for name in inference.variables if name not in inference.inputs]
    found = net.features([next(DIGITS.glob("3/*.png"))], inner)
    assert list(found) == inner
    values = net.forward(net.prepare(next(DIGITS.glob("3/*.png"))), inner)
    for name in inner:
        np.testing.assert_allclose(found[name].ravel(), values[name].ravel(), rtol=1e-4, atol=1e-5)


# -- 20: files that MATLAB loads --------------------------------------------------------------------


@pytest.mark.process
@pytest.mark.parametrize("version", ["5", "7.3"])
@pytest.mark.parametrize("format", ["simplenn", "dagnn"])
def test_demand_20_a_saved_network_is_the_same_again_and_names_with_digits_survive(
    version: str, format: str, tmp_path: Path
) -> None:
    net = matnet.load(MODEL)
    first = next(iter(net.layers))
    net.layers = {("1x1/reduce" if name == first else name): layer for name, layer in net.layers.items()}
    net.layers["1x1/reduce"] = replace(net.layers["1x1/reduce"], name="1x1/reduce")
    for name in ("a.mat", "b.mat"):
        net.save(tmp_path / name, format=format, version=version)
    again = matnet.load(tmp_path / "a.mat")
    assert "1x1/reduce" in again.layers
    assert list(again.layers) == list(net.layers)
    for param, kept in zip(net.params.values(), again.params.values(), strict=True):
        np.testing.assert_array_equal(kept.value, param.value)
    x = np.random.default_rng(5).normal(size=(2, 1, 8, 8)).astype(np.float32)
    np.testing.assert_array_equal(again(x), net(x))
    if version == "5":  # HDF5 leaves the order of its parts to the library
        assert (tmp_path / "a.mat").read_bytes() == (tmp_path / "b.mat").read_bytes()
    shutil.copy(tmp_path / "a.mat", tmp_path / "c.mat")
    assert run_command(convert.main, [str(tmp_path / "c.mat"), str(tmp_path / "d.mat")]) == 0
    assert compare(again, matnet.load(tmp_path / "d.mat")).same()
