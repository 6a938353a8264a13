"""A network saved while it was trained gives probabilities, under the loss layer's name, wherever it is run.

Expected: the softmax of the scores W x + b, calculated here.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import matnet
from matnet import convert, run
from matnet.engines import EngineOptions
from matnet.errors import NetworkError
from matnet.evaluation.config import EvaluationConfig
from matnet.evaluation.runner import Runner
from matnet.evaluation.tasks import Classification
from matnet.formats.mat.values import Cell
from matnet.formats.simplenn import read_simplenn
from matnet.images import Preprocessing
from matnet.network import Layer, Network, Source
from matnet.ops.activation import SoftMax
from matnet.ops.convolution import Conv
from matnet.ops.training import Loss
from matnet.params import Param

RNG = np.random.default_rng(10)
WEIGHTS = RNG.normal(0, 0.004, (2, 2, 3, 5)).astype(np.float32)
BIASES = RNG.normal(0, 1, (5, 1)).astype(np.float32)
IMAGES = RNG.integers(0, 256, (4, 2, 2, 3), np.uint8)
INPUT = IMAGES.transpose(0, 3, 1, 2).astype(np.float32)
SCORES = np.einsum("nhwc,hwck->nk", IMAGES.astype(np.float64), WEIGHTS) + BIASES[:, 0]
EXPONENTIALS = np.exp(SCORES - SCORES.max(axis=1, keepdims=True))
PROBABILITIES = EXPONENTIALS / EXPONENTIALS.sum(axis=1, keepdims=True)
META = {"normalization": {"imageSize": np.array([[2.0, 2, 3]])}}
PLAIN = {"pad": np.zeros((1, 1)), "stride": np.ones((1, 1))}


def simplenn(**fields: Any) -> Network:
    layers = [{"type": "conv", "weights": Cell([WEIGHTS, BIASES]), **PLAIN}, {"type": "softmaxloss", **fields}]
    return read_simplenn({"layers": Cell(layers), "meta": META}, Source())


def dagnn() -> Network:
    """With labels, a loss and an error measure, as cnn_train_dag saves it."""
    net = Network(dict(META), Source(format="dagnn"))
    net.params = {"f": Param(WEIGHTS), "b": Param(BIASES)}
    net.add(Layer("fc", Conv(), ["input"], ["prediction"], ["f", "b"]))
    net.add(Layer("objective", Loss(loss="softmaxlog"), ["prediction", "label"], ["objective"]))
    net.add(Layer("top1err", Loss(loss="classerror"), ["prediction", "label"], ["top1err"]))
    return net


def called(net: Network, name: str, path: Path) -> Any:
    return net(INPUT)


def compiled_default(net: Network, name: str, path: Path) -> Any:
    [(key, value)] = net.compile(backend="onnx")(INPUT).items()
    assert key == name
    return value


def named(net: Network, name: str, path: Path) -> Any:
    return net(INPUT, name)


def prob(net: Network, name: str, path: Path) -> Any:
    return net(INPUT, "prob", backend="onnx")


def run_command(net: Network, name: str, path: Path, *options: str) -> dict[str, np.ndarray]:
    net.save(path / "net.mat")
    np.savez(path / "in.npz", in__input=INPUT)
    assert run.main([str(path / "net.mat"), str(path / "in.npz"), str(path / "out.npz"), *options]) == 0
    return dict(np.load(path / "out.npz"))


def run_default(net: Network, name: str, path: Path) -> Any:
    written = run_command(net, name, path)
    assert set(written) == {f"out__{name}"}
    return written[f"out__{name}"]


def run_all(net: Network, name: str, path: Path) -> Any:
    written = run_command(net, name, path, "--all")
    np.testing.assert_array_equal(written[f"out__{name}"], written["out__prob"])
    return written[f"out__{name}"]


def evaluated(net: Network, name: str, path: Path) -> Any:
    variable = Classification.variable(net)
    assert variable == name
    config = EvaluationConfig(Preprocessing.of(net), variable, EngineOptions(), None)
    runner = Runner(net, config)
    assert any(repr(name) in note and "SoftMax" in note for note in runner.info.notes)
    return runner.engine(INPUT)[variable]


def classified(net: Network, name: str, path: Path) -> Any:
    found = net.classify([Image.fromarray(image) for image in IMAGES], top=5)
    assert found.measure == "probability"
    values = np.zeros_like(PROBABILITIES)
    for row, answers in enumerate(found.answers):
        values[row, [answer.index for answer in answers]] = [answer.probability for answer in answers]
    return values


def as_features(net: Network, name: str, path: Path) -> Any:
    return net.features([Image.fromarray(image) for image in IMAGES], name)


def exported(net: Network, name: str, path: Path) -> Any:
    onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    net.save(path / "net.mat")
    assert convert.main([str(path / "net.mat"), "--to-onnx", str(path / "net.onnx")]) == 0
    session = onnxruntime.InferenceSession(str(path / "net.onnx"), providers=["CPUExecutionProvider"])
    [output] = session.get_outputs()
    assert output.name == name
    return session.run(None, {"input": INPUT})[0]


WAYS = [called, compiled_default, named, prob, run_default, run_all, evaluated, classified, as_features, exported]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("make", "name"), [(simplenn, "layer2"), (dagnn, "objective")])
def test_the_loss_gives_probabilities(
    way: Callable[[Network, str, Path], Any], make: Callable[[], Network], name: str, tmp_path: Path
) -> None:
    values = np.asarray(way(make(), name, tmp_path), np.float64)
    np.testing.assert_allclose(values.reshape(PROBABILITIES.shape), PROBABILITIES, rtol=2e-5)


def test_the_note_names_the_layer_and_what_it_computes() -> None:
    inference = dagnn().for_inference()
    assert isinstance(inference.layers["objective"].op, SoftMax)
    [note] = [note for note in inference.source.notes if "objective" in note]
    assert "SoftMax" in note
    assert [note for note in inference.source.notes if "dropped" in note and "top1err" in note]
    assert any(note in inference.compile().notes for note in [note])


def test_labels_give_the_loss_and_change_no_default_output(tmp_path: Path) -> None:
    """With labels 2, 1, 5, 5 the loss is the mean of -log p of these classes."""
    labels = np.array([2, 1, 5, 5], np.float32)
    loss = -np.log(PROBABILITIES[np.arange(4), labels.astype(int) - 1]).sum() / 4
    given = {"input": INPUT, "label": labels.reshape(4, 1, 1, 1)}
    net = dagnn()
    np.testing.assert_allclose(net(given, "objective"), np.full((1, 1, 1, 1), loss), rtol=1e-5)
    np.testing.assert_allclose(net.compile("objective")(given)["objective"].item(), loss, rtol=1e-5)
    np.testing.assert_allclose(net(given).reshape(4, 5), PROBABILITIES, rtol=2e-5)
    np.testing.assert_allclose(net(INPUT, "objective").reshape(4, 5), PROBABILITIES, rtol=2e-5)


def test_labels_of_a_training_batch_in_the_file_are_no_labels_of_these_images(tmp_path: Path) -> None:
    written = run_command(simplenn(**{"class": np.array([[2.0, 1, 5, 5]])}), "layer2", tmp_path, "--all")
    np.testing.assert_allclose(written["out__layer2"].reshape(4, 5), PROBABILITIES, rtol=2e-5)


@pytest.mark.parametrize(
    ("scores", "shown"), [("prediction", {"prob"}), ("p", {"p"})], ids=["beside a SoftMax", "behind a SoftMax"]
)
def test_no_second_softmax(scores: str, shown: set[str]) -> None:
    net = dagnn()
    del net.layers["objective"], net.layers["top1err"]
    net.add(Layer("prob", SoftMax(), ["prediction"], [shown.copy().pop()]))
    net.add(Layer("objective", Loss(loss="softmaxlog"), [scores, "label"], ["objective"]))
    inference = net.for_inference()
    assert (set(inference.outputs), "objective" in inference.layers) == (shown, False)
    np.testing.assert_allclose(net(INPUT).reshape(4, 5), PROBABILITIES, rtol=2e-5)


@pytest.mark.parametrize("kind", ["log", "classerror", "mhinge", "logistic"])
def test_other_losses_are_dropped(kind: str) -> None:
    net = dagnn()
    net.layers["objective"].op = Loss(loss=kind)
    inference = net.for_inference()
    assert inference.outputs == ["prediction"]
    np.testing.assert_allclose(net(INPUT).reshape(4, 5), SCORES, rtol=2e-5)


def test_prob_is_no_alias_where_the_name_is_taken_or_several_would_have_it() -> None:
    net = dagnn()
    net.layers["prob"] = net.layers.pop("fc")
    net.layers["prob"].name = "prob"
    assert net.for_inference().resolve("prob") == "prediction"
    both = dagnn()
    both.add(Layer("second", Loss(), ["input", "label"], ["second"]))
    inference = both.for_inference()
    assert set(inference.outputs) == {"objective", "second"}
    with pytest.raises(NetworkError, match="prob"):
        inference.resolve("prob")


def test_the_network_itself_and_its_file_keep_the_loss(tmp_path: Path) -> None:
    net = simplenn()
    net(INPUT)
    assert isinstance(matnet.load(net.save(tmp_path / "net.mat")).layers["layer2"].op, Loss)
