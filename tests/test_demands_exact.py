"""What users ask for most, continued: the checks of the demands on fetching, reading, sizes, numbers and figures.

The numbers are those of the list in test_demands. Expected values are written out here, or come from Caffe's and
MatConvNet's own formulas, which the tests transcribe.
"""

from __future__ import annotations

import hashlib
import io
import json
import random
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
from PIL import Image

import matnet
from matnet import reproduce
from matnet.command_line import run_command
from matnet.comparison import compare
from matnet.doctor.__main__ import main as doctor
from matnet.evaluation.command import embedded_data, embedded_model
from matnet.formats.mat import read_mat, write_mat
from matnet.images import decode_uint8, imresize
from matnet.metrics import ConfusionMatrix, FoldAccuracy
from matnet.network import Layer, Network
from matnet.ops.activation import ReLU
from matnet.shapes import caffe_pool_trailing_pad, caffe_pooled, windows
from matnet.zoo.cards import Card, RemoteFile
from matnet.zoo.download import Patience
from matnet.zoo.fetch import Fetcher
from tests.caffe_bytes import part
from tests.caffe_nets import X, blob_values, converted, layer, per_channel
from tests.conftest import DATA
from tests.hostile_server import Behaviour, serving

MODEL, DIGITS = Path(embedded_model()), Path(embedded_data())
DIGIT = next(DIGITS.glob("3/*.png"))


# -- 2: preprocessing travels with the weights ------------------------------------------------------


@pytest.mark.process  # all 355 images
def test_demand_02_a_model_whose_images_are_here_reaches_its_published_error(
    capsys: pytest.CaptureFixture[str], home: Path
) -> None:
    """The card of digits-lenet states 2.82 %: 10 of 355 images."""
    assert run_command(reproduce.main, ["--models", "digits-lenet", "--check", "--json", "--quiet"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["rows"]
    assert round(row["figures"]["top1_error"], 2) == round(100 * 10 / 355, 2) == 2.82


@pytest.mark.process  # the search takes seconds
def test_demand_02_transposed_images_are_reported_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in sorted(DIGITS.glob("*/*.png")):
        (tmp_path / path.parent.name).mkdir(exist_ok=True)
        Image.open(path).transpose(Image.Transpose.TRANSPOSE).save(tmp_path / path.parent.name / path.name)
    given = [str(MODEL), str(tmp_path), "--try", "scale,mean,transposed,labels", "--limit", "150", "--json"]
    assert run_command(doctor, given) == 1
    assert json.loads(capsys.readouterr().out)["search"]["best"]["knob"] == "transposed"


# -- 3: downloads that survive dead hosts -----------------------------------------------------------


def test_demand_03_after_a_refusal_and_a_cut_at_60_percent_the_file_is_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MATNET_HOME", str(tmp_path))
    monkeypatch.delenv("MATNET_OFFLINE", raising=False)
    content = random.Random(3).randbytes(50_000)
    sha1 = hashlib.sha1(content).hexdigest()
    refusing, cutting = Behaviour(statuses=[403] * 99), Behaviour(content=content, cut_after=30_000, cuts=1)
    with serving(refusing) as first, serving(cutting) as second:
        file = RemoteFile(file="a.caffemodel", role="caffemodel", urls=(first, second), hashes={"sha1": sha1})
        card = Card(name="a-model", title="", folder=Path("nowhere"), prose="", files=(file,))
        patience = Patience(first_wait=0.0, longest_wait=0.0)
        got = Fetcher(patience=patience, progress=False).file(card, file)
    assert got.read_bytes() == content
    assert cutting.asked[-1] == "bytes=30000-"  # it went on, and did not begin anew


# -- 5: every dialect of prototxt -------------------------------------------------------------------

SIZES = {
    "input_dim": 'input: "data" input_dim: 1 input_dim: 3 input_dim: 6 input_dim: 8',
    "input_shape": 'input: "data" input_shape { dim: 1 dim: 3 dim: 6 dim: 8 }',
    "Input": 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 6 dim: 8 } } }',
}
V0 = """
layers { layer { name: "c" type: "conv" num_output: 4 kernelsize: 3 pad: 1 stride: 2 } bottom: "data" top: "c" }
layers { layer { name: "r" type: "relu" } bottom: "c" top: "c" }
layers { layer { name: "p" type: "pool" pool: AVE kernelsize: 2 stride: 2 } bottom: "c" top: "p" }
layers { layer { name: "f" type: "innerproduct" num_output: 5 } bottom: "p" top: "f" }
layers { layer { name: "prob" type: "softmax" } bottom: "f" top: "prob" }
"""
V1 = """
layers { name: "c" type: CONVOLUTION bottom: "data" top: "c"
  convolution_param { num_output: 4 kernel_size: 3 pad: 1 stride: 2 } }
layers { name: "r" type: RELU bottom: "c" top: "c" }
layers { name: "p" type: POOLING bottom: "c" top: "p" pooling_param { pool: AVE kernel_size: 2 stride: 2 } }
layers { name: "f" type: INNER_PRODUCT bottom: "p" top: "f" inner_product_param { num_output: 5 } }
layers { name: "prob" type: SOFTMAX bottom: "f" top: "prob" }
"""
V2 = """
layer { name: "c" type: "Convolution" bottom: "data" top: "c"
  convolution_param { num_output: 4 kernel_h: 3 kernel_w: 3 pad: 1 stride: 2 } }
layer { name: "r" type: "ReLU" bottom: "c" top: "c" }
layer { name: "p" type: "Pooling" bottom: "c" top: "p" pooling_param { pool: AVE kernel_size: 2 stride: 2 } }
layer { name: "f" type: "InnerProduct" bottom: "p" top: "f" inner_product_param { num_output: 5 } }
layer { name: "prob" type: "Softmax" bottom: "f" top: "prob" }
"""


def test_demand_05_three_generations_and_three_forms_of_input_are_one_graph(tmp_path: Path) -> None:
    nets = []
    for generation, text in (("V0", V0), ("V1", V1), ("V2", V2)):
        for form, head in SIZES.items():
            if (generation, form) in (("V0", "input_shape"), ("V0", "Input"), ("V1", "Input")):
                continue  # forms that Caffe had only later, and reads in no file of that generation
            path = tmp_path / f"{generation}-{form}.prototxt"
            path.write_text(head + text)
            nets.append(matnet.load(path))
    first, *others = nets
    assert len(nets) == 6
    for net in others:
        assert compare(first, net).same(with_meta=False), net.source
        assert net.input_shapes == first.input_shapes == {"data": (1, 3, 6, 8)}


# -- 7: DagNN across versions -----------------------------------------------------------------------


@pytest.mark.process
def test_demand_07_properties_of_blocks_come_and_go(tmp_path: Path) -> None:
    """Properties with MatConvNet's defaults may be missing; what it does not know is read past when asked."""
    net = matnet.load(MODEL)
    net.save(tmp_path / "dag.mat", format="dagnn")
    expected = net(np.ones((1, 1, 8, 8), np.float32))
    rng = random.Random(7)
    for round_ in range(6):
        file = read_mat(tmp_path / "dag.mat")
        for block in (entry["block"] for entry in file["layers"]):
            for name in [name for name in ("opts", "hasBias", "size", "dilate", "leak") if name in block]:
                if rng.random() < 0.5:
                    del block[name]
            block[f"ofLater{rng.randrange(3)}"] = np.array([[1.0]])
        write_mat(tmp_path / f"{round_}.mat", file)
        again = matnet.load(tmp_path / f"{round_}.mat", lenient=True)
        np.testing.assert_array_equal(again(np.ones((1, 1, 8, 8), np.float32)), expected)


# -- 8: sizes of pooling ----------------------------------------------------------------------------


@pytest.mark.process
def test_demand_08_pooled_sizes_are_those_of_both_rules_up_to_20() -> None:
    """Caffe: pooling_layer.cpp; MatConvNet: vl_nnpool, floor((H + pads - kernel) / stride) + 1."""
    for size in range(1, 21):
        for kernel in range(1, 21):
            for pad in range(min(kernel, 20)):
                for stride in range(1, 21) if size + 2 * pad >= kernel else ():
                    count = -(-(size + 2 * pad - kernel) // stride) + 1
                    if pad and (count - 1) * stride >= size + pad:
                        count -= 1
                    assert caffe_pooled(size, kernel, stride, pad) == count
                    assert windows(size, pad, pad, kernel, stride) == (size + 2 * pad - kernel) // stride + 1
                    if stride <= kernel or pad:  # elsewhere no pad gives MatConvNet Caffe's size
                        assert windows(size, pad, caffe_pool_trailing_pad(kernel, stride, pad), kernel, stride) == count


# -- 9: tables that anyone can measure again --------------------------------------------------------


@pytest.mark.process
def test_demand_09_a_row_carries_what_it_takes_to_compare_it(capsys: pytest.CaptureFixture[str], home: Path) -> None:
    assert run_command(reproduce.main, ["--models", "digits-lenet", "--json", "--quiet"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["rows"]
    text = json.dumps(row)
    assert hashlib.sha256(MODEL.read_bytes()).hexdigest() in text
    assert {"numpy", "matnet"} <= set(row["run"]["versions"])
    for fact in ("list_sha256", "preprocessing", "backend", "device", "precision", "batch_size", "date", "status"):
        assert row["run"][fact], fact


# -- 10: no Caffe, no protoc, no limit of 64 MB -----------------------------------------------------


def test_demand_10_alexnet_is_converted_without_caffe_and_protobuf(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("caffe", "google", "google.protobuf", "torch", "tensorflow", "onnx"):
        monkeypatch.setitem(sys.modules, name, None)
    folder = DATA / "caffe" / "net_alexnet"
    net = matnet.load(folder / "deploy.prototxt", folder / "weights.caffemodel")
    again = matnet.load(net.save(tmp_path / "alexnet.mat"))
    assert list(again.layers) == list(net.layers)


@pytest.mark.process  # 75 MB
def test_demand_10_weights_of_more_than_64_mb_are_a_view_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "net.prototxt").write_text(
        f'{SIZES["Input"]} layer {{ name: "f" type: "InnerProduct" bottom: "data" top: "f" '
        "inner_product_param { num_output: 130000 bias_term: false } }"
    )
    shape = part(7, part(1, b"\xd0\xf7\x07\x90\x01"))  # packed varints: 130000, 144
    data = bytes(130_000 * 144 * 4)
    (tmp_path / "net.caffemodel").write_bytes(
        part(100, part(1, "f"), part(2, "InnerProduct"), part(7, part(5, data), shape))
    )
    del data
    tracemalloc.start()
    net = matnet.load(tmp_path / "net.prototxt", tmp_path / "net.caffemodel")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (tmp_path / "net.caffemodel").stat().st_size > 64 << 20
    assert net["f"].filters.size == 130_000 * 144
    assert peak < 2.2 * net["f"].filters.nbytes


# -- 12: normalisation ------------------------------------------------------------------------------


def test_demand_12_lrn_and_batch_norm_mean_what_caffe_means(tmp_path: Path) -> None:
    """AlexNet's LRN: alpha 1e-4 is of the sum over 5, so 2e-5 of each term in MatConvNet, and k is 1."""
    net = converted(tmp_path, layer("n", "LRN", "data", "n", "lrn_param { local_size: 5 alpha: 1e-4 beta: 0.75 }"),
                    {"data": X.shape}, {})  # fmt: skip
    np.testing.assert_allclose(net["n"].op.param, (5, 1, 2e-5, 0.75), rtol=1e-6)
    window = np.pad(X.astype(np.float64) ** 2, ((0, 0), (2, 2), (0, 0), (0, 0)))
    total = sum(window[:, shift : shift + X.shape[1]] for shift in range(5))
    np.testing.assert_allclose(net(X), X / (1 + 1e-4 / 5 * total) ** 0.75, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("factor", [0.0, 1.0, 999.98])
def test_demand_12_the_third_blob_of_batch_norm_divides_the_first_two(factor: float, tmp_path: Path) -> None:
    """batch_norm_layer.cpp: scale = factor == 0 ? 0 : 1 / factor; sqrt(variance + eps), eps 1e-5."""
    mean, variance = np.linspace(-2, 3, 6, dtype=np.float32), np.linspace(0.5, 4, 6, dtype=np.float32)
    blobs = {"b": [mean, variance, np.float32([factor])]}
    net = converted(tmp_path, layer("b", "BatchNorm", "data", "y"), {"data": X.shape}, blobs)
    scale = 1 / factor if factor else 0.0
    expected = (X - per_channel(mean * scale)) / np.sqrt(per_channel(variance * scale) + 1e-5)
    np.testing.assert_allclose(blob_values(net, ["y"], {"data": X})["y"], expected, rtol=2e-5, atol=1e-4)


# -- 14: resizing and decoding ----------------------------------------------------------------------


def test_demand_14_resizing_is_matlabs_and_jpegs_of_any_kind_are_read(tmp_path: Path) -> None:
    """MATLAB: imresize([0:3; 4:7; 8:11; 12:15], 0.5), and of a line of 4 up to 8, both bicubic."""
    ramp = np.arange(16, dtype=np.float64).reshape(4, 4)
    np.testing.assert_array_equal(imresize(ramp, (2, 2)), [[2.3046875, 4.3828125], [10.6171875, 12.6953125]])
    for mode, pixel, expected in (("L", 77, (77,) * 3), ("CMYK", (0, 255, 255, 0), (255, 0, 0)),
                                  ("RGB", (10, 200, 30), (10, 200, 30))):  # fmt: skip
        for size in ((16, 16), (17, 9)):
            file = io.BytesIO()
            Image.new(mode, size, pixel).save(file, "JPEG", quality=100, subsampling=0)
            (tmp_path / "a.jpg").write_bytes(file.getvalue())
            pixels = decode_uint8(tmp_path / "a.jpg", 3)
            assert pixels.shape == (*size[::-1], 3)
            assert np.abs(pixels.astype(int) - expected).max() <= 3


# -- 16: one meaning of IU --------------------------------------------------------------------------


def test_demand_16_three_images_with_void_are_counted_as_by_hand() -> None:
    """True 0: 4 pixels, 3 found, 1 taken for 1; true 1: 3 pixels, 2 found, 1 taken for 2; true 2: 1, found; 2 void."""
    counted = ConfusionMatrix(3)
    for predicted, truth in (
        ([[0, 0, 1]], [[0, 0, 0]]),
        ([[1, 1], [2, 0]], [[1, 1], [1, 255]]),
        ([[0, 2, 1]], [[0, 2, 255]]),
    ):
        counted.update(np.array(predicted), np.array(truth))
    np.testing.assert_array_equal(counted.counts, [[3, 1, 0], [0, 2, 1], [0, 0, 1]])
    iou = np.array([3 / 4, 2 / 4, 1 / 2])
    found = counted.result()
    np.testing.assert_allclose(found.mean_iu, 100 * iou.mean())
    np.testing.assert_allclose(found.pixel_accuracy, 100 * 6 / 8)
    np.testing.assert_allclose(found.mean_accuracy, 100 * (3 / 4 + 2 / 3 + 1) / 3)
    np.testing.assert_allclose(found.frequency_weighted_iu, 100 * (np.array([4, 3, 1]) * iou).sum() / 8)


# -- 17: the same numbers from every engine ---------------------------------------------------------


@pytest.mark.parametrize("model", ["digits", "net_googlenet", "net_mobilenet"])
def test_demand_17_engines_agree_layer_by_layer(model: str) -> None:
    folder = DATA / "caffe" / model
    net = (
        matnet.load(MODEL)
        if model == "digits"
        else matnet.load(folder / "deploy.prototxt", folder / "weights.caffemodel")
    )
    net = net.for_inference()
    shapes = net.default_input_shapes(2)
    x = {name: np.random.default_rng(17).normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    names = [name for name in net.variables if name not in net.inputs]
    reference, fast = net.forward(x, names), net.forward(x, names, backend="onnx")
    for name in names:
        largest = np.abs(reference[name]).max()
        np.testing.assert_allclose(fast[name], reference[name], atol=1e-5 * max(largest, 1e-12), rtol=0, err_msg=name)


# -- 18: memory -------------------------------------------------------------------------------------


@pytest.mark.process
def test_demand_18_variables_that_nobody_asked_for_are_freed() -> None:
    """A chain of 12 layers on 4 MB: asked for one variable, a few of them live at a time; asked for all, all do."""
    net = Network()
    for number_ in range(12):
        net.add(Layer(f"r{number_}", ReLU(), [f"v{number_}"], [f"v{number_ + 1}"]))
    x = np.ones((1, 16, 256, 256), np.float32)
    peaks = {}
    for name, wanted in (("one", ["v7"]), ("last", ["v12"]), ("all", [f"v{number_}" for number_ in range(1, 13)])):
        engine = net.compile(wanted, backend="numpy")
        tracemalloc.start()
        engine(x)
        peaks[name] = tracemalloc.get_traced_memory()[1] / x.nbytes
        tracemalloc.stop()
    assert peaks["one"] < 4 and peaks["last"] < 4
    assert 11 < peaks["all"] < 15


# -- 19: faces --------------------------------------------------------------------------------------


def test_demand_19_each_fold_is_judged_by_the_threshold_of_the_others() -> None:
    """Fold 0 alone would take 0.5 (all right); the best of fold 1 is 1.5, by which one pair of fold 0 is wrong."""
    distances = np.array([0.2, 0.4, 0.9, 1.9, 1.0, 1.2, 1.8, 2.0])
    same = np.array([True, True, False, False, True, True, False, False])
    found = FoldAccuracy.of(distances, same, np.repeat([0, 1], 4))
    np.testing.assert_allclose(found.thresholds, [1.5, 0.65])
    np.testing.assert_allclose(found.accuracies, [75, 50])
    np.testing.assert_allclose((found.mean, found.standard_error), (62.5, 12.5))


# -- 20: files that others read ---------------------------------------------------------------------


def test_demand_20_another_reader_of_mat_files_sees_cells_text_and_columns(tmp_path: Path) -> None:
    """scipy.io as the outside judge of a MAT 5 file: layers is a 1 x N cell, text is text, filters have their axes."""
    net = matnet.load(MODEL)
    net.save(tmp_path / "net.mat", format="simplenn")
    seen: Any = scipy.io.loadmat(tmp_path / "net.mat")
    assert seen["layers"].shape == (1, len(net.layers)) and seen["layers"].dtype == object
    for cell, (name, kept) in zip(seen["layers"][0], net.layers.items(), strict=True):
        assert cell["name"][0, 0][0] == name
        if kept.params:
            filters, biases = cell["weights"][0, 0].ravel()
            np.testing.assert_array_equal(filters.reshape(net[name].filters.shape), net[name].filters)
            assert biases.size == net[name].biases.size
