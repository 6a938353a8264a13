"""What differed from Caffe when generated networks were held against an independent implementation, case by case.

Expected numbers are worked by hand, or by loops written from the layers' definitions in BVLC Caffe.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

import matnet
from matnet import convert, run
from matnet.converters.export.to_caffe import to_caffe
from matnet.errors import NetworkError, ShapeError
from matnet.ops.extensions.crf import DenseCRF
from tests.caffe_bytes import floats, number, part
from tests.caffe_nets import C6, P6, TOLERANCE, V, X, Y, blob_values, caffe_files, check, converted, layer, reloaded
from tests.conftest import assert_close
from tests.helpers import values


def commanded(folder: Path, *options: str) -> Path:
    """The .mat file that the command makes of the files of `caffe_files`."""
    target = folder / "net.mat"
    files = ["--prototxt", str(folder / "deploy.prototxt"), "--caffemodel", str(folder / "weights.caffemodel")]
    assert convert.main([*files, "--color-format", "rgb", "--out", str(target), *options]) == 0
    return target


def everything(model: Path, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Blob -> value, as `matnet.run --all` writes them for arrays `in__NAME`."""
    given, results = model.with_name("in.npz"), model.with_name("out.npz")
    np.savez(given, **{f"in__{name.replace('/', '__')}": value for name, value in inputs.items()})
    assert run.main([str(model), str(given), str(results), "--all"]) == 0
    with np.load(results) as stored:
        return {name.removeprefix("out__"): stored[name] for name in stored.files}


# -- inputs under Caffe's names ---------------------------------------------------------------------


@pytest.mark.parametrize("form", ["simplenn", "dagnn"])
def test_a_label_beside_the_image_is_left_alone(form: str, tmp_path: Path) -> None:
    """A recording of a network with a loss holds the label too; a chain in SimpleNN has no name for its input."""
    weights = values(5, 462)
    text = layer("fc", "InnerProduct", "data", "fc", "inner_product_param { num_output: 5 bias_term: false }")
    text += layer("loss", "SoftmaxWithLoss", "fc label", "loss")
    caffe_files(tmp_path, text, {"data": X.shape, "label": (2,)}, {"fc": [weights]})
    label = np.zeros(2, np.float32)
    found = everything(commanded(tmp_path, "--format", form), {"data": X, "label": label})
    assert_close(found["fc"], X.reshape(2, -1) @ weights.T, TOLERANCE, "fc")


@pytest.mark.parametrize("names", ["caffe", "upstream"])
def test_an_input_that_is_changed_in_place_is_fed_by_its_blobs_name(names: str, tmp_path: Path) -> None:
    text = layer("relu", "ReLU", "data", "data") + layer("gate", "Scale", "data g", "y", "scale_param { axis: 0 }")
    caffe_files(tmp_path, text, {"data": X.shape, "g": (2, 6)}, {})
    gate = values(2, 6)
    found = everything(commanded(tmp_path, "--names", names), {"data": X, "g": gate})
    assert_close(found["y"], np.maximum(X, 0) * gate[:, :, None, None], TOLERANCE, "y")


def test_an_input_that_is_changed_in_place_has_its_last_value(tmp_path: Path) -> None:
    text = layer("relu", "ReLU", "data", "data") + layer("gate", "Scale", "data g", "y", "scale_param { axis: 0 }")
    caffe_files(tmp_path, text, {"data": X.shape, "g": (2, 6)}, {})
    net = reloaded(converted(tmp_path, text, {"data": X.shape, "g": (2, 6)}, {}), tmp_path)
    found = blob_values(net, ["data"], {"data": X, "g": values(2, 6)})
    assert_close(found["data"], np.maximum(X, 0), 0, "data")


@pytest.mark.process
def test_an_input_without_axes_is_one_number(tmp_path: Path) -> None:
    """An empty input_shape is Caffe's shape of a single number, and no shape at all that of an image."""
    caffe_files(tmp_path, layer("l", "Scale", "data g", "y"), {"data": X.shape, "g": ()}, {})
    found = everything(commanded(tmp_path), {"data": X, "g": np.float32(3)})
    assert_close(found["y"], 3 * X, TOLERANCE, "y")


# -- sharing ----------------------------------------------------------------------------------------


def test_the_owner_of_a_shared_blob_keeps_its_shape(tmp_path: Path) -> None:
    """PERMISSIVE counts for the layer that shares, not for the one that comes first (BVLC Caffe, Net::AppendParam)."""
    weights = values(6, 6)
    convolution = "convolution_param { num_output: 6 kernel_size: 1 bias_term: false }"
    product = "inner_product_param { num_output: 6 bias_term: false }"
    text = layer("a", "Convolution", "x", "a", f'param {{ name: "w" }} {convolution}')
    text += layer("b", "InnerProduct", "a", "b", f'param {{ name: "w" share_mode: PERMISSIVE }} {product}')
    x = values(2, 6, 1, 1)
    net = converted(tmp_path, text, {"x": x.shape}, {"a": [weights.reshape(6, 6, 1, 1)], "b": [weights]})
    found = blob_values(net, ["b"], {"x": x})
    assert_close(found["b"], x[:, :, 0, 0] @ weights.T @ weights.T, TOLERANCE, "b")


def test_one_blob_used_straight_and_transposed(tmp_path: Path) -> None:
    weights, x = values(6, 6), values(2, 6)
    product = 'param { name: "w" } inner_product_param { num_output: 6 bias_term: false'
    text = layer("a", "InnerProduct", "x", "a", f"{product} }}")
    text += layer("b", "InnerProduct", "a", "b", f"{product} transpose: true }}")
    found = blob_values(converted(tmp_path, text, {"x": x.shape}, {"a": [weights], "b": [weights]}), ["b"], {"x": x})
    assert_close(found["b"], x @ weights.T @ weights, TOLERANCE, "b")


def test_one_blob_as_slope_and_as_factor(tmp_path: Path) -> None:
    text = layer("a", "PReLU", "x", "a", 'param { name: "w" }') + layer("b", "Scale", "a", "b", 'param { name: "w" }')
    found = blob_values(converted(tmp_path, text, {"x": X.shape}, {"a": [C6], "b": [C6]}), ["b"], {"x": X})
    factor = C6.reshape(1, 6, 1, 1)
    assert_close(found["b"], factor * np.where(X > 0, X, factor * X), TOLERANCE, "b")


# -- layers -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("param", "offset", "expected"), [
    ("", C6, X + C6.reshape(6, 1, 1)),
    ("bias_param { axis: 0 }", P6.reshape(2, 3)[:, :1].reshape(2), X + P6.reshape(2, 3)[:, :1].reshape(2, 1, 1, 1)),
    ("bias_param { axis: 0 }", Y[:, :, 0, 0], X + Y[:, :, :1, :1]),
    ("bias_param { axis: -1 }", Y[0, 0, 0], X + Y[0, 0, 0]),
    ("bias_param { axis: 2 }", Y[0, 0], X + Y[0, 0]),
    ("bias_param { axis: 0 }", Y, X + Y),
], ids=["channels", "items", "items and channels", "columns", "pixels", "all"])  # fmt: skip
def test_bias_from_a_second_bottom(param: str, offset: np.ndarray, expected: np.ndarray, tmp_path: Path) -> None:
    check(tmp_path, "Bias", param, {"x": X, "b": offset}, expected)


def test_batch_norm_of_a_vector_has_one_channel(tmp_path: Path) -> None:
    """(5 - 1) / sqrt(3 + 1) = 2, (1 - 1) / 2 = 0, (0 - 1) / 2 = -0.5; both sums are stored twice as large."""
    blobs = [np.array([2], np.float32), np.array([6], np.float32), np.array([2], np.float32)]
    x, expected = np.array([5, 1, 0], np.float32), np.array([2, 0, -0.5], np.float32)
    check(tmp_path, "BatchNorm", "batch_norm_param { eps: 1 }", {"x": x}, expected, blobs)


def test_the_tops_of_filter_keep_their_own_ranks(tmp_path: Path) -> None:
    chosen = np.array([1, 0], np.float32)
    check(tmp_path, "Filter", "", {"x": X, "v": V, "s": chosen}, [X[:1], V[:1]])


def test_a_blob_that_is_only_another_name_of_an_unread_input(tmp_path: Path) -> None:
    """Split and Flatten cost nothing, but here no layer is left that would read `x`."""
    text = layer("s", "Split", "x", "a b") + layer("f", "Flatten", "b", "c") + layer("t", "TanH", "v", "d")
    caffe_files(tmp_path, text, {"x": X.shape, "v": V.shape}, {})
    found = everything(commanded(tmp_path), {"x": X, "v": V})
    for blob, expected in {"a": X, "b": X, "c": X.reshape(2, -1), "d": np.tanh(V)}.items():
        assert_close(found[blob], expected, TOLERANCE, blob)


@pytest.mark.process
def test_a_blob_keeps_its_shape_where_one_reader_needs_it_merged(tmp_path: Path) -> None:
    """The sum reads the merged copy of `t`, the blob itself holds the map."""
    text = layer("f", "Flatten", "x", "f") + layer("a", "TanH", "f", "t") + layer("e", "Eltwise", "t t", "y")
    text += layer("s", "Scale", "t", "z", "scale_param { axis: 1 }")
    blob = values(462)
    caffe_files(tmp_path, text, {"x": X.shape}, {"s": [blob]})
    found, t = everything(commanded(tmp_path), {"x": X}), np.tanh(X.reshape(2, 462))
    for name, expected in {"f": X.reshape(2, 462), "t": t, "y": 2 * t, "z": blob * t}.items():
        assert_close(found[name], expected, TOLERANCE, name)


@pytest.mark.parametrize("backend", ["numpy", "onnx"])
def test_items_one_after_the_other(backend: str, tmp_path: Path) -> None:
    """Three times the batch comes out, whatever the batch is; the network then runs on another batch."""
    text = layer("p", "Power", "x", "p", "power_param { scale: 0.5 shift: 0.25 }")
    text += layer("c", "Concat", "p p p", "y", "concat_param { axis: 0 }")
    text += layer("s", "Scale", "y", "z", "scale_param { bias_term: true }")
    net = reloaded(converted(tmp_path, text, {"x": (2, 6)}, {"s": [C6, P6]}), tmp_path)
    engine = net.compile(["p", "y", "z"], backend=backend)
    for batch in (2, 5):
        x = values(batch, 6)
        found, p = engine(x[:, :, None, None]), 0.5 * x + 0.25
        y = np.concatenate([p, p, p])
        for name, expected in {"p": p, "y": y, "z": C6 * y + P6}.items():
            assert_close(found[name][:, :, 0, 0], expected, TOLERANCE, name)


@pytest.mark.parametrize(("param", "output"), [("", "probability"), ("output_probability: false", "log")])
def test_deeplabs_crf_takes_its_numbers(param: str, output: str, tmp_path: Path) -> None:
    """One spread for rows and columns, one for all colours (DeepLab fork, densecrf layer)."""
    text = layer("crf", "DenseCRF", "u sizes image", "y", f"""dense_crf_param {{ max_iter: 7 pos_w: 3 pos_xy_std: 2
                 bi_w: 4 bi_w: 5 bi_xy_std: 49 bi_xy_std: 121 bi_rgb_std: 5 bi_rgb_std: 6 {param} }}""")  # fmt: skip
    shapes = {"u": (2, 4, 5, 7), "sizes": (2, 1, 1, 2), "image": (2, 3, 5, 7)}
    net = reloaded(converted(tmp_path, text, shapes, {}), tmp_path)
    assert net.layers["crf"].op == DenseCRF(
        iterations=7, wtGauss=(3.0,), xGauss=(2.0,), yGauss=(2.0,), wtBilateral=(4.0, 5.0), xBilateral=(49.0, 121.0),
        yBilateral=(49.0, 121.0), rBilateral=(5.0, 6.0), gBilateral=(5.0, 6.0), bBilateral=(5.0, 6.0),
        byteImage=False, output=output,
    )  # fmt: skip
    sizes = np.array([[5, 7], [3, 4]], np.float32).reshape(2, 1, 1, 2)
    found = net.forward({"u": values(2, 4, 5, 7), "sizes": sizes, "image": values(2, 3, 5, 7)})["y"]
    total = (found if output == "probability" else np.exp(found)).sum(axis=1)
    assert_close(total[0], np.ones((5, 7)), TOLERANCE, "image 1")
    assert_close(total[1, :3, :4], np.ones((3, 4)), TOLERANCE, "image 2")
    np.testing.assert_array_equal(found[1, :, 3:], 0)


@pytest.mark.parametrize(("kind", "param"), [
    ("Tile", "tile_param { tiles: 2000000000 }"),
    ("Interp", "interp_param { height: 2000000000 width: 2000000000 }"),
    ("LRN", "lrn_param { local_size: 3000000001 norm_region: WITHIN_CHANNEL }"),
], ids=["tile", "interp", "lrn"])  # fmt: skip
def test_a_blob_larger_than_caffe_can_count_is_refused(kind: str, param: str, tmp_path: Path) -> None:
    files = caffe_files(tmp_path, layer("l", kind, "x", "y", param), {"x": X.shape}, {})
    with pytest.raises(ShapeError, match=r"'l' .*more values.*Caffe"):
        matnet.convert_caffe(*files)


SHARED = [
    ("flatten", layer("s", "Flatten", "x", "f") + layer("r", "ReLU", "f", "f") + layer("t", "TanH", "x", "y"),
     {"f": np.maximum(X, 0).reshape(2, -1), "x": np.maximum(X, 0), "y": np.tanh(np.maximum(X, 0))}),
    ("reshape", layer("s", "Reshape", "x", "f", "reshape_param { shape { dim: 0 dim: 2 dim: 3 dim: -1 } }")
     + layer("r", "ReLU", "f", "f"), {"f": np.maximum(X, 0).reshape(2, 2, 3, 77), "x": np.maximum(X, 0)}),
    ("split", layer("s", "Split", "x", "a b") + layer("r", "ReLU", "a", "a") + layer("p", "Power", "a", "a",
     "power_param { scale: 2 }"), {name: 2 * np.maximum(X, 0) for name in ("a", "b", "x")}),
    ("copy", layer("s", "TanH", "x", "f") + layer("r", "ReLU", "f", "f"), {"f": np.maximum(np.tanh(X), 0), "x": X}),
    ("dropout", layer("s", "Flatten", "x", "f") + layer("r", "Dropout", "f", "f"), {"f": X.reshape(2, -1), "x": X}),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), [case[1:] for case in SHARED], ids=[case[0] for case in SHARED])
def test_an_in_place_layer_changes_all_blobs_in_its_memory(
    text: str, expected: dict[str, np.ndarray], tmp_path: Path
) -> None:
    """Flatten, Reshape and Split hand on their bottom's memory (BVLC Caffe: Blob::ShareData), other layers copy."""
    net = reloaded(converted(tmp_path, text, {"x": X.shape}, {}), tmp_path)
    found = blob_values(net, list(expected), {"x": X})
    for blob, value in expected.items():
        assert_close(found[blob], value, TOLERANCE, blob)


# -- files ------------------------------------------------------------------------------------------


def test_a_square_is_no_chain(tmp_path: Path) -> None:
    """The one layer reads its input twice, which a SimpleNN layer cannot."""
    caffe_files(tmp_path, layer("l", "Power", "x", "y", "power_param { power: 2 }"), {"x": X.shape}, {})
    with pytest.raises(NetworkError, match=r"'l'.*more than one"):
        commanded(tmp_path, "--format", "simplenn")
    assert_close(everything(commanded(tmp_path), {"x": X})["y"], X * X, TOLERANCE, "y")


# -- the way back -----------------------------------------------------------------------------------


def way_back(folder: Path, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Every blob of the network that the .mat file becomes when it goes back to Caffe and is converted once more."""
    again = folder / "again"
    again.mkdir()
    files = [f"--out-{kind}={again / name}" for kind, name in
             (("prototxt", "deploy.prototxt"), ("caffemodel", "weights.caffemodel"))]  # fmt: skip
    assert convert.main(["--to-caffe", str(folder / "net.mat"), *files]) == 0
    return everything(commanded(again), inputs)


@pytest.mark.process
@pytest.mark.parametrize("form", [("--format", "dagnn"), ("--format", "auto"), ("--no-simplify",),
                                  ("--names", "upstream")], ids=" ".join)  # fmt: skip
def test_layers_that_became_no_layers_come_back(form: tuple[str, ...], tmp_path: Path) -> None:
    """A Flatten, a Split, a Reshape and a Concat of one blob cost nothing here, and are layers in Caffe."""
    weights = values(5, 462)
    text = layer("flat", "Flatten", "x", "f") + layer("act", "TanH", "f", "t") + layer("two", "Split", "t", "t1 t2")
    text += layer("fc", "InnerProduct", "t1", "fc", "inner_product_param { num_output: 5 bias_term: false }")
    text += layer("shape", "Reshape", "t2", "r", "reshape_param { shape { dim: 0 dim: 6 dim: -1 } }")
    text += layer("one", "Concat", "r", "c") + layer("norm", "Softmax", "c", "p")
    caffe_files(tmp_path, text, {"x": X.shape}, {"fc": [weights]})
    commanded(tmp_path, *form)
    found, t = way_back(tmp_path, {"x": X}), np.tanh(X)
    exponentials = np.exp(t.reshape(2, 6, 77))
    expected = {"f": X.reshape(2, 462), "t": t.reshape(2, 462), "t1": t.reshape(2, 462), "t2": t.reshape(2, 462),
                "fc": t.reshape(2, 462) @ weights.T, "r": t.reshape(2, 6, 77), "c": t.reshape(2, 6, 77),
                "p": exponentials / exponentials.sum(axis=1, keepdims=True)}  # fmt: skip
    for blob, value in expected.items():
        assert_close(found[blob], value, TOLERANCE, blob)


@pytest.mark.parametrize(("kind", "param", "shape"), [
    ("Deconvolution", "convolution_param { num_output: 4 kernel_size: 3 dilation: 2 bias_term: false }", (6, 4, 3, 3)),
    ("InnerProduct", "inner_product_param { num_output: 4 transpose: true bias_term: false }", (462, 4)),
    ("Scale", "scale_param { axis: 2 num_axes: 2 }", (7, 11)),
    ("Scale", "scale_param { num_axes: 0 }", ()),
    ("Scale", "scale_param { axis: 0 num_axes: -1 }", (2, 6, 7, 11)),
], ids=["dilated", "transposed", "pixels", "one number", "all"])  # fmt: skip
def test_blobs_come_back_bit_for_bit(kind: str, param: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    blob = values(*shape)
    net = converted(tmp_path, layer("l", kind, "x", "y", param), {"x": X.shape}, {"l": [blob]})
    back = to_caffe(reloaded(net, tmp_path))
    assert [found.shape for found in back.blobs["l"]] == [shape]
    np.testing.assert_array_equal(back.blobs["l"][0], blob)


def test_legacy_shapes_come_back_as_caffe_states_them_today(tmp_path: Path) -> None:
    """A blob that is written with `shape` fits only exactly: the legacy 1x1x4x462 must be 4x462, 1x1x1x6 must be 6."""
    text = layer("act", "PReLU", "x", "a")
    text += layer("fc", "InnerProduct", "a", "y", "inner_product_param { num_output: 4 }")
    prototxt, _ = caffe_files(tmp_path, text, {"x": X.shape}, {})
    legacy = [number(1, 1), number(2, 1)]
    slope = part(7, *legacy, number(3, 1), number(4, 6), part(5, floats(*C6)))
    weights, offset = values(4, 462), values(4)
    product = part(7, *legacy, number(3, 4), number(4, 462), part(5, weights.tobytes()))
    product += part(7, *legacy, number(3, 1), number(4, 4), part(5, offset.tobytes()))
    old = tmp_path / "old.caffemodel"
    old.write_bytes(part(100, part(1, "act"), slope) + part(100, part(1, "fc"), product))
    back = to_caffe(reloaded(matnet.convert_caffe(prototxt, old, color_format="rgb"), tmp_path))
    assert {name: [blob.shape for blob in blobs] for name, blobs in back.blobs.items()} == {
        "act": [(6,)], "fc": [(4, 462), (4,)]
    }  # fmt: skip
    for found, expected in zip([*back.blobs["act"], *back.blobs["fc"]], [C6, weights, offset], strict=True):
        np.testing.assert_array_equal(found, expected)


def test_a_changed_network_is_written_as_it_is_now(tmp_path: Path) -> None:
    """Fine-tuned numbers keep Caffe's graph; another output layer does not."""
    text = layer("flat", "Flatten", "x", "f")
    text += layer("fc", "InnerProduct", "f", "fc", "inner_product_param { num_output: 4 bias_term: false }")
    net = converted(tmp_path, text, {"x": X.shape}, {"fc": [values(4, 462)]})
    net.params["fc_filter"].value = 2 * net.params["fc_filter"].value
    tuned = to_caffe(net)
    assert [found.get("type") for found in tuned.message.get("layer")] == ["Input", "Flatten", "InnerProduct"]
    expected = net.params["fc_filter"].value.transpose(3, 2, 0, 1).reshape(4, 462)
    np.testing.assert_array_equal(tuned.blobs["fc"][0], expected)
    net.params["fc_filter"].value = net.params["fc_filter"].value[..., :3]
    cut = to_caffe(net)
    assert cut.message.get("layer")[-1].get("inner_product_param").get("num_output") == 3


def test_an_aligned_crop_goes_back_with_its_offsets(tmp_path: Path) -> None:
    """BVLC Caffe would cut at 0, 0. A window of 3 loses one pixel on each side."""
    text = layer("pool", "Pooling", "x", "p", "pooling_param { kernel_size: 3 }") + layer("crop", "Crop", "x p", "y")
    net = converted(tmp_path, text, {"x": X.shape}, {})
    assert to_caffe(net).message.get("layer")[-1].get("crop_param").get("offset") == [1, 1]
