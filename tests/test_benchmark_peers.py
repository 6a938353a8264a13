"""What the benchmark times: networks by name, settled random weights, and peers that compute the same network."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import matnet
from matnet.benchmarks import contenders, models
from matnet.benchmarks.contenders import chosen_peers
from matnet.benchmarks.peers import PEERS, Subject
from matnet.benchmarks.unasked import UnaskedRunner
from tests.conftest import DATA, assert_close


def test_the_published_table_is_19_networks_then_faces_and_segmentation() -> None:
    models.check_names(models.PUBLISHED)
    assert len(models.PUBLISHED) == len(set(models.PUBLISHED)) == 19 + 5


@pytest.mark.process
def test_a_network_by_name_has_random_weights_and_the_published_speed() -> None:
    """785.7 images/s stand on MatConvNet's page; 2 * 3 * 11 * 11 * 64 * 54 * 54 ... by its layers: 1.4 GFLOP."""
    model = models.build("vgg-f")
    assert (model.name, model.weights, model.output) == ("imagenet-vgg-f", "random", "prob")
    assert model.input_shape(3) == (3, 3, 224, 224)
    assert next(iter(model.published.values())) == 785.7
    layers = [(11 * 11 * 3, 64, 54 * 54), (5 * 5 * 64, 256, 27 * 27), *[(3 * 3 * 256, 256, 13 * 13)] * 3]
    layers += [(6 * 6 * 256, 4096, 1), (4096, 4096, 1), (4096, 1000, 1)]
    assert model.operations() == 2 * sum(taps * count * pixels for taps, count, pixels in layers)


@pytest.mark.process
def test_random_weights_are_settled_as_training_leaves_them() -> None:
    """Every batch normalisation gives means 0 and deviations 1 for the settling image, the scores deviate by 1."""
    model = models.build("resnet50")
    x = np.random.default_rng(0).standard_normal(model.input_shape(1)).astype(np.float32)
    layers = {layer.name: layer for layer in model.net.upto([model.output])}
    wanted = ["bn_conv1", "bn_res3b_branch2b", layers["prob"].inputs[0]]
    first, middle, scores = (model.net.forward(x, [name])[name] for name in wanted)
    for found, before in ((first, "bn_conv1"), (middle, "bn_res3b_branch2b")):
        g, b = (model.net.params[name].value.reshape(-1) for name in layers[before].params[:2])
        np.testing.assert_allclose(found.mean(axis=(0, 2, 3)), b, atol=1e-3)
        np.testing.assert_allclose(found.std(axis=(0, 2, 3)), g, rtol=1e-2)
    np.testing.assert_allclose(scores.std(), 1, rtol=1e-3)


CASES = ["sn_alexnet", "sn_bnorm", "sn_conv_groups", "sn_conv_basic", "sn_convt_crop", "sn_convt_depthwise", "sn_dncnn"]
CASES += ["sn_lrn", "sn_pool_max", "sn_pool_stride_gt_window", "sn_conv_pad_scalar", "sn_conv_fc", "dag_batchnorm"]
CASES += ["dag_fcn8s", "dag_googlenet", "dag_scale_bias", "dag_pooling", "dag_sum2", "dag_concat3"]


def subject_of(case: str, folder: Path) -> tuple[Subject, np.ndarray, np.ndarray]:
    """A network recorded under MatConvNet, its one input, and its last output, N x C x H x W."""
    net = matnet.load(DATA / "matconvnet" / case / "model.mat").for_inference()
    with np.load(DATA / "matconvnet" / case / "io.npz") as io:
        arrays = {name: io[name].reshape(io[name].shape + (1,) * (4 - io[name].ndim)) for name in io.files}
    given = [name for name in arrays if name.startswith("in__")]
    output = next(name for name in reversed(net.outputs) if f"out__{name}" in arrays)
    x = np.ascontiguousarray(arrays[given[0]].transpose(3, 2, 0, 1), dtype=np.float32)
    subject = Subject(net, output, x.shape, 2, folder)
    assert len(given) == 1
    return subject, x, arrays[f"out__{output}"].transpose(3, 2, 0, 1)


@pytest.mark.parametrize("form", ["torch-eager", "torch-channels-last", "torch-optimized"])
@pytest.mark.parametrize("case", CASES)
def test_torch_computes_what_matconvnet_does(case: str, form: str, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="torch is not installed")
    subject, x, expected = subject_of(case, tmp_path)
    given = x.copy()
    runner = PEERS["torch"][form](subject)
    assert_close(runner(x), expected, 1e-4, case)
    assert_close(x, given, 0, "the input, which stays as it was")


@pytest.mark.process
@pytest.mark.parametrize(("peer", "module"), [
    ("onnxruntime", "onnxruntime"), ("openvino", "openvino"), ("opencv-onnx", "cv2"), ("opencv-caffe", "cv2"),
])  # fmt: skip
@pytest.mark.parametrize("case", ["sn_alexnet", "dag_googlenet", "sn_bnorm", "dag_fcn8s"])
def test_peers_on_files_compute_what_matconvnet_does(case: str, peer: str, module: str, tmp_path: Path) -> None:
    found = pytest.importorskip(module, reason=f"{module} is not installed")
    if peer == "opencv-caffe" and not hasattr(found.dnn, "readNetFromCaffe"):
        pytest.skip("OpenCV 5 cannot read Caffe files")
    subject, x, expected = subject_of(case, tmp_path)
    (contender,) = chosen_peers([peer])
    assert_close(contender.make(subject)(x).reshape(expected.shape), expected, 1e-3, case)


def test_ours_are_the_default_onnx_runtime_alone_and_all_runtimes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contenders, "available", lambda runtime: runtime == "openvino")
    always = ["matnet", "matnet-unasked", "matnet-alone"]
    assert [contender.name for contender in contenders.ours()] == [*always, "matnet-auto"]
    monkeypatch.setattr(contenders, "available", lambda runtime: False)
    assert [contender.name for contender in contenders.ours()] == always
    assert [contender.name for contender in contenders.ours("onnx", "openvino")] == ["matnet-onnx-openvino"]


@pytest.mark.process
def test_a_run_that_nobody_asked_anything_of_counts_its_search(tmp_path: Path) -> None:
    """By hand: 5 calls of 2 s during the search and 195 of 1 s are 205 s; the cache is as it was before."""
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    subject, x, expected = subject_of("sn_bnorm", tmp_path)
    before = os.environ.get("MATNET_HOME")
    runner = UnaskedRunner(subject)
    assert os.environ.get("MATNET_HOME") == before
    assert_close(runner(x).reshape(expected.shape), expected, 1e-3, "sn_bnorm")
    assert not runner.engine.searching
    assert 1 < len(runner.first) <= 200
    runner.first = [2.0] * 5
    np.testing.assert_allclose(runner.over_a_run([1.0]), [205 / 200])


@pytest.mark.parametrize("case", ["dag_sum2", "dag_googlenet", "sn_alexnet", "sn_conv_pad_scalar", "dag_batchnorm"])
def test_torch_with_fused_convolutions_computes_the_same(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ATen's two operators run on GPUs alone: what they stand for is computed in their place."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    from matnet.benchmarks.peers import torch_fused
    from matnet.benchmarks.peers.torch_network import torch_network

    fused: list[bool] = []

    def convolution(x: Any, other: Any, weight: Any, bias: Any, *windows: Any) -> Any:
        fused.append(other is not None)
        y = torch.nn.functional.conv2d(x, weight, bias, *windows)
        return torch.relu(y if other is None else y + other)

    monkeypatch.setattr(torch_fused, "convolution", convolution)
    subject, x, expected = subject_of(case, tmp_path)
    module = torch_network(subject.net, subject.name, subject.output, subject.shape).eval()
    with torch.inference_mode():
        found = torch_fused.with_fused_convolutions(module)(torch.from_numpy(x)).numpy()
    assert_close(found, expected, 1e-4, case)
    assert fused or case in ("dag_sum2", "sn_conv_pad_scalar", "dag_batchnorm")
    for name, arguments in (("relu", 7), ("add_relu", 9)):
        schema = getattr(torch.ops.aten, f"cudnn_convolution_{name}").default._schema
        assert len(schema.arguments) == arguments
