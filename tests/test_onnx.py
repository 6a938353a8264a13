"""Networks as ONNX: every exporter against the numpy engine, and the files against onnx's own checker.

The numpy engine is the reference; MatConvNet's and Caffe's own numbers are compared in test_backends.py.
"""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

import matnet
from matnet import Layer, NetworkError, UnsupportedLayersError
from matnet.convert import main as convert_main
from matnet.formats.onnx import (
    EXPORTERS,
    ExportOptions,
    LayerWriter,
    OnnxModel,
    exporter,
    save_onnx,
    to_onnx_model,
    write_model,
)
from matnet.formats.onnx.winograd import WinogradWay, winograd_way
from matnet.formats.onnx.winograd.matrices import matrices
from matnet.network import Network
from matnet.ops import extensions as ext
from matnet.ops.activation import ReLU
from matnet.ops.base import Op
from matnet.ops.combine import Sum
from matnet.ops.convolution import Conv
from tests.conftest import DATA
from tests.layer_cases import CASES, FILTERS, X, single, values

onnx = pytest.importorskip("onnx", reason="onnx, which checks the models, is not installed")
onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime, which runs the models, is not installed")

TOLERANCE = 1e-5


def check_and_run(model: OnnxModel, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    coded = model.to_bytes()
    onnx.checker.check_model(onnx.load_model_from_string(coded), full_check=True)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(coded, options, providers=["CPUExecutionProvider"])
    results = session.run(None, {name: inputs[name] for name in model.inputs})
    return dict(zip(model.outputs, results, strict=True))


def of_size(net: Network, *shapes: tuple[int, ...]) -> OnnxModel:
    """The model for inputs x0, x1, ... of just these shapes."""
    given = {f"x{number}": shape for number, shape in enumerate(shapes)}
    return to_onnx_model(net, batch=shapes[0][0], size=shapes[0][2:], input_shapes=given)  # type: ignore[arg-type]


def assert_same(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert found.keys() == expected.keys()
    for name, reference in expected.items():
        assert found[name].shape == reference.shape
        bound = TOLERANCE * max(1e-3, np.abs(reference).max())
        np.testing.assert_allclose(found[name], reference, rtol=0, atol=bound)


@pytest.mark.parametrize("case", CASES)
def test_exporter(case: str) -> None:
    op, params, shapes, outputs = CASES[case]
    net = single(op, params, len(shapes), outputs)
    inputs = {f"x{number}": 0.6 * values(*shape, seed=number) for number, shape in enumerate(shapes)}
    assert_same(check_and_run(of_size(net, *shapes), inputs), net.forward(inputs))


def test_every_exporter_has_a_case() -> None:
    other = {ext.Log, ext.Parameter, ext.DummyData}  # below: positive inputs, no inputs
    import_module("matnet.formats.onnx.extensions")
    assert {type(op) for op, *_ in CASES.values()} | other == set(EXPORTERS)


def test_logarithm() -> None:
    net = single(ext.Log(base=2, scale=0.5, shift=0.25), [])
    inputs = {"x0": np.abs(values(*X))}
    assert_same(check_and_run(of_size(net, X), inputs), net.forward(inputs))


@pytest.mark.parametrize("op", [ext.Parameter(), ext.DummyData(size=(7, 11, 6, 2), value=0.5)])
def test_layers_without_inputs(op: Op) -> None:
    net = single(op, [values(7, 11, 6, 2)] if isinstance(op, ext.Parameter) else [], inputs=0)
    net.add(Layer("b", Sum(), ["x0", "y0"], ["z"]))
    inputs = {"x0": values(*X)}
    assert_same(check_and_run(of_size(net, X), inputs), net.forward(inputs))


MODELS = DATA / "matconvnet"
ANY_SIZE = ["dag_fcn8s", "dag_concat3", "sn_dncnn", "dag_crop"]


@pytest.mark.process
@pytest.mark.parametrize("name", ANY_SIZE)
def test_one_model_for_any_batch_and_size(name: str) -> None:
    net = matnet.load(MODELS / name / "model.mat").for_inference()
    shapes = {"dag_fcn8s": {"input": (1, 3, 33, 41)}, "dag_concat3": {"x": (2, 4, 9, 8)}}
    shapes |= {"sn_dncnn": {"input": (1, 1, 10, 9)}, "dag_crop": {"x": (1, 3, 9, 8), "ref": (1, 2, 4, 5)}}
    model = to_onnx_model(net, size="dynamic", input_shapes=shapes[name])
    for batch, rows, columns in ((1, 0, 0), (3, 32, 64)):
        inputs = {k: values(batch, c, h + rows, w + columns) for k, (_, c, h, w) in shapes[name].items()}
        assert_same(check_and_run(model, inputs), net.forward(inputs, list(model.outputs)))


def test_names_of_dynamic_axes() -> None:
    net = matnet.load(MODELS / "sn_dncnn" / "model.mat")
    model = to_onnx_model(net, input_shapes={"input": (1, 1, 10, 9)})
    assert model.inputs == {"input": ("batch", 1, "height", "width")}
    fixed = to_onnx_model(net, batch=4, size=(20, 30))
    assert fixed.inputs == {"input": (4, 1, 20, 30)}


def test_a_fully_connected_network_keeps_its_size() -> None:
    """LeNet's last layers cover their maps: they become products, which fixes height and width but not the batch."""
    net = single(Conv(), [values(7, 11, 6, 5), values(5, 1)])
    model = to_onnx_model(net, input_shapes={"x0": X})
    assert model.inputs == {"x0": ("batch", 6, 7, 11)}
    assert "Gemm" in [node.op_type for node in model.nodes]


def test_saved_file_carries_weights_and_metadata(tmp_path: Path) -> None:
    net = matnet.load(MODELS / "dag_importer" / "model.mat")
    (path,) = save_onnx(net, tmp_path / "net.onnx", size=(40, 50))
    onnx.checker.check_model(str(path), full_check=True)
    model = onnx.load(path)
    assert [(item.domain, item.version) for item in model.opset_import] == [("", 17)]
    props = {item.key: item.value for item in model.metadata_props}
    found = json.loads(props["preprocessing"])
    assert found["imageSize"] == [40, 50, 3]
    assert json.loads(props["classes"]) == matnet.meta.class_names(net)  # type: ignore[attr-defined]
    again = save_onnx(net, tmp_path / "again.onnx", size=(40, 50))[0]
    assert path.read_bytes() == again.read_bytes()


def test_large_weights_go_to_a_second_file(tmp_path: Path) -> None:
    net = single(Conv(), [FILTERS, values(8, 1)])
    net.input_shapes["x0"] = X
    paths = save_onnx(net, tmp_path / "net.onnx", largest=1000)
    assert [path.name for path in paths] == ["net.onnx", "net.onnx.data"]
    onnx.checker.check_model(str(paths[0]))
    session = onnxruntime.InferenceSession(str(paths[0]), providers=["CPUExecutionProvider"])
    inputs = {"x0": values(*X)}
    assert_same({"y0": session.run(None, inputs)[0]}, net.forward(inputs))


def test_layers_that_onnx_lacks_are_listed_together() -> None:
    net = single(ext.ArgMax(topK=2), [])
    net.add(Layer("b", ext.CaffePooling(mask=True), ["x0"], ["z", "mask"]))
    with pytest.raises(UnsupportedLayersError, match=r"(?s)'a' \(dagnn.ArgMax\).*'b' \(dagnn.CaffePooling\)"):
        of_size(net, X)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"outputs": ["x0"]}, "'x0' is an input"),
        ({"batch": 0, "size": (7, 11)}, "batch is 0; expected a number >= 1 or 'dynamic'"),
        ({"size": "any"}, "size is 'any'; expected"),
    ],
)
def test_bad_arguments(arguments: dict[str, object], told: str) -> None:
    with pytest.raises(NetworkError, match=told):
        to_onnx_model(single(Conv(), [FILTERS, values(8, 1)]), **arguments)  # type: ignore[arg-type]


def test_an_exporter_of_ones_own() -> None:
    class Twice(ReLU):
        def forward(self, xp, inputs, params):  # type: ignore[no-untyped-def]
            return [2 * inputs[0]]

    @exporter(Twice)
    def write_twice(writer: LayerWriter, op: Twice) -> None:
        writer.node("Add", writer.inputs[0], writer.inputs[0], to=writer.outputs[0])

    try:
        net, inputs = single(Twice(), []), {"x0": values(*X)}
        model = to_onnx_model(net, input_shapes={"x0": X})
        assert_same(check_and_run(model, inputs), net.forward(inputs))
        with pytest.raises(NetworkError, match="op Twice already has an ONNX exporter, write_twice"):
            exporter(Twice)(write_twice)
    finally:
        del EXPORTERS[Twice]


def test_the_command_writes_a_checked_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "net.onnx"
    assert convert_main([str(MODELS / "sn_dncnn" / "model.mat"), "--to-onnx", str(path), "--input-size", "10x9"]) == 0
    assert capsys.readouterr().out.rstrip().endswith("checked by onnx")
    assert [value.name for value in onnx.load(path).graph.input] == ["input"]


def test_the_command_converts_caffe_models_too(tmp_path: Path) -> None:
    folder, path = DATA / "caffe" / "net_fcn", tmp_path / "net.onnx"
    files = ["--prototxt", str(folder / "deploy.prototxt"), "--caffemodel", str(folder / "weights.caffemodel")]
    assert convert_main([*files, "--to-onnx", str(path), "--color-format", "rgb"]) == 0
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    with np.load(folder / "io.npz") as io:
        (found,) = session.run(None, {name[4:]: io[name] for name in io.files if name.startswith("in__")})
        expected = io[f"out__{session.get_outputs()[0].name}"]
    assert_same({"y": found}, {"y": expected})


# op, filters' size, input: each axis of its own length, maps that are no whole number of tiles
WINOGRAD = {
    "padded": (Conv(pad=(1, 1, 1, 1)), (3, 3, 6, 8), (2, 6, 7, 11)),
    "all pads different": (Conv(pad=(1, 2, 0, 3)), (3, 3, 6, 8), (3, 6, 9, 14)),
    "no pad, no bias": (Conv(hasBias=False), (3, 3, 5, 7), (2, 5, 10, 6)),
    "one tile": (Conv(), (3, 3, 2, 3), (1, 2, 3, 5)),
    "whole tiles": (Conv(pad=(1, 1, 1, 1)), (3, 3, 2, 3), (2, 2, 8, 4)),
    "pads beyond the input": (Conv(pad=(7, 9, 8, 6)), (3, 3, 2, 3), (2, 2, 1, 3)),
    "groups": (Conv(pad=(1, 1, 1, 1)), (3, 3, 4, 6), (2, 8, 7, 11)),
    "groups, no bias": (Conv(hasBias=False), (3, 3, 2, 9), (2, 6, 9, 14)),
}
WAYS = [(WinogradWay("products", tile), case) for tile in (4, 5) for case in WINOGRAD]
WAYS += [(WinogradWay("tiles", 4), case) for case in WINOGRAD if "groups" not in case]


@pytest.mark.parametrize(
    ("way", "case"), WAYS, ids=lambda value: value if isinstance(value, str) else f"{value.kind}{value.tile}"
)
def test_winograds_algorithm(way: WinogradWay, case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    op, filters, shape = WINOGRAD[case]
    net, x = single(op, [values(*filters), values(filters[3], 1)]), values(*shape)
    monkeypatch.setattr("matnet.formats.onnx.convolution.winograd_way", lambda *arguments: way)
    axes = {"x0": (None, *shape[1:]), "y0": (None, *net.infer_shapes({"x0": shape})["y0"][1:])}
    model = write_model(net, ["x0"], ["y0"], axes, {"x0", "y0"}, ExportOptions(winograd=1))
    operators = [node.op_type for node in model.nodes]
    expected = {"tiles": (True, 2), "products": (False, 5)}[way.kind]
    assert ("DepthToSpace" in operators, operators.count("MatMul")) == expected
    for images in (x, x[:1]):
        assert_same(check_and_run(model, {"x0": images}), net.forward(images))


def test_the_matrices_for_four_outputs_of_three_weights() -> None:
    """F(4, 3) as Lavin and Gray print it."""
    found = matrices(4)
    printed = [[4, 0, -5, 0, 1, 0], [0, -4, -4, 1, 1, 0], [0, 4, -4, -1, 1, 0]]
    printed += [[0, -2, -1, 2, 1, 0], [0, 2, -1, -2, 1, 0], [0, 4, 0, -5, 0, 1]]
    np.testing.assert_array_equal(found.input, printed)
    weights = [[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]]
    np.testing.assert_allclose(found.filter, np.array(weights) / 24, rtol=1e-15)
    outputs = [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]]
    np.testing.assert_array_equal(found.output, outputs)


@pytest.mark.parametrize("tile", [2, 3, 4, 5])
def test_the_matrices_correlate(tile: int) -> None:
    pixels, weights = values(tile + 2).astype(np.float64), values(3, seed=1).astype(np.float64)
    found = matrices(tile)
    computed = found.output @ ((found.filter @ weights) * (found.input @ pixels))
    np.testing.assert_allclose(computed, np.correlate(pixels, weights), rtol=1e-12)


@pytest.mark.parametrize(
    ("op", "filters", "size", "images", "way"),
    [
        (Conv(pad=(1, 1, 1, 1)), (3, 3, 256, 256), (56, 56), 1, WinogradWay("tiles", 4)),
        (Conv(pad=(1, 1, 1, 1)), (3, 3, 64, 64), (224, 224), 1, None),  # few channels: the tiles cost more
        (Conv(pad=(1, 1, 1, 1)), (3, 3, 512, 512), (7, 7), 1, None),  # few pixels: the filters cost more
        (Conv(pad=(1, 1, 1, 1)), (3, 3, 512, 512), (7, 7), 16, WinogradWay("products", 4)),
        (
            Conv(pad=(1, 1, 1, 1)),
            (3, 3, 128, 1024),
            (28, 28),
            1,
            WinogradWay("products", 4),
        ),  # two groups of 128 of 256 channels
        (Conv(pad=(1, 1, 1, 1)), (3, 3, 256, 256), (14, 14), 16, WinogradWay("products", 5)),  # 15 pixels for 14
        (Conv(pad=(1, 1, 1, 1), stride=(2, 2)), (3, 3, 256, 256), (56, 56), 1, None),
        (Conv(pad=(1, 1, 1, 1), dilate=(2, 2)), (3, 3, 256, 256), (56, 56), 1, None),
        (Conv(), (5, 5, 256, 256), (56, 56), 1, None),
        (Conv(), (3, 5, 256, 256), (56, 56), 1, None),
        (Conv(), (3, 3, 256, 256), (None, 56), 1, None),
        (Conv(), (3, 3, 256, 256), (2, 56), 1, None),  # no output
    ],
)
def test_where_winograds_algorithm_pays(
    op: Conv, filters: tuple[int, ...], size: tuple[int, int], images: int, way: WinogradWay | None
) -> None:
    axes = (None, 256 if filters[2] == 128 else filters[2], *size)
    assert winograd_way(op, np.empty(filters, np.float32), axes, images) == way


@pytest.mark.parametrize("has_bias", [True, False])
@pytest.mark.parametrize("images", [1, 2, 9])
def test_a_product_with_a_large_matrix_has_images_as_pixels(
    images: int, has_bias: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("matnet.formats.onnx.convolution.MANY_WEIGHTS", 7 * 11 * 6 * 5)
    params = [values(7, 11, 6, 5), values(5, 1)][: 1 + has_bias]
    net, x = single(Conv(hasBias=has_bias), params), values(images, 6, 7, 11)
    axes = {"x0": (None, 6, 7, 11), "y0": (None, 5, 1, 1)}
    model = write_model(net, ["x0"], ["y0"], axes, {"x0", "y0"}, ExportOptions(product_as_conv=True))
    assert [found.op_type for found in model.nodes] == ["Flatten", "Transpose", "Reshape", "Conv", "Transpose"]
    assert_same(check_and_run(model, {"x0": x}), net.forward(x))


@pytest.mark.parametrize(
    ("options", "images", "node", "filters"),
    [
        (ExportOptions(), 1, "Gemm", (5, 6 * 77)),
        (ExportOptions(product_by_columns=True), 2, "Gemm", (6 * 77, 5)),
        (ExportOptions(product_as_conv=True), 1, "Conv", (5, 6, 7, 11)),
        (ExportOptions(product_as_conv=True), 2, "Gemm", (5, 6 * 77)),
    ],
)
def test_forms_of_a_matrix_product(options: ExportOptions, images: int, node: str, filters: tuple[int, ...]) -> None:
    net, x = single(Conv(), [values(7, 11, 6, 5), values(5, 1)]), values(images, 6, 7, 11)
    model = write_model(net, ["x0"], ["y0"], {"x0": x.shape, "y0": (images, 5, 1, 1)}, options=options)
    assert node in [found.op_type for found in model.nodes]
    assert model.constants["a/filters"].shape == filters
    assert_same(check_and_run(model, {"x0": x}), net.forward(x))


def test_a_network_without_weights_is_refused_with_its_params() -> None:
    net = matnet.convert_caffe(DATA / "caffe" / "net_nin" / "deploy.prototxt")
    with pytest.raises(NetworkError, match=r"no weights.*\(conv1, .*caffemodel"):
        to_onnx_model(net)
