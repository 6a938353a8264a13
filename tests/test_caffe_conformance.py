"""Caffe networks through convert, save, load and run, against every blob as BVLC Caffe computed it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import matnet
from matnet import convert, run
from matnet.images.prepare import Preprocessing
from tests.conftest import DATA, assert_close, conformance_cases

TOLERANCE = 1e-4
CASES = conformance_cases("caffe")


def converted_blobs(folder: Path, io: Path, target: Path, *options: str) -> dict[str, np.ndarray]:
    """Blob -> value, by the two commands a user would type."""
    model, results = target / "net.mat", target / "out.npz"
    weights = ["--caffemodel", str(folder / "weights.caffemodel")]
    prototxt = ["--prototxt", str(folder / "deploy.prototxt")]
    assert convert.main([*prototxt, *weights, "--color-format", "rgb", "--out", str(model), *options]) == 0
    assert run.main([str(model), str(io), str(results), "--all"]) == 0
    with np.load(results) as stored:
        return {name.removeprefix("out__"): stored[name] for name in stored.files}


def assert_blobs(found: dict[str, np.ndarray], io: Path) -> None:
    """Every recorded blob under Caffe's own name, in Caffe's own shape."""
    with np.load(io) as expected:
        names = [name.removeprefix("out__") for name in expected.files if name.startswith("out__")]
        assert set(names) <= set(found), f"missing: {sorted(set(names) - set(found))}"
        for name in names:
            assert_close(found[name], expected[f"out__{name}"], TOLERANCE, name)


@pytest.mark.process
@pytest.mark.parametrize("case", CASES)
def test_every_blob_as_caffe(case: str, tmp_path: Path) -> None:
    io = DATA / "caffe" / case / "io.npz"
    assert_blobs(converted_blobs(DATA / "caffe" / case, io, tmp_path), io)


@pytest.mark.process
@pytest.mark.parametrize("options", [
    ("--format", "dagnn"),
    ("--remove-dropout", "--simplify"),
    ("--no-simplify",),
    ("--extensions", "avoid"),
], ids=" ".join)  # fmt: skip
@pytest.mark.parametrize("case", ["bn_scale", "eltwise_max", "net_alexnet", "net_fcn", "net_mobilenet", "ip_chain"])
def test_options_that_change_the_form_keep_the_values(case: str, options: tuple[str, ...], tmp_path: Path) -> None:
    io = DATA / "caffe" / case / "io.npz"
    assert_blobs(converted_blobs(DATA / "caffe" / case, io, tmp_path, *options), io)


@pytest.mark.process
@pytest.mark.parametrize("case", ["net_alexnet", "net_googlenet", "net_nin"])
def test_the_flipped_network_gives_the_same_for_the_flipped_image(case: str, tmp_path: Path) -> None:
    """The default conversion takes R, G, B: fed Caffe's B, G, R input backwards, its blobs are Caffe's."""
    io = DATA / "caffe" / case / "io.npz"
    backwards = tmp_path / "io.npz"
    with np.load(io) as stored:
        arrays = {name: stored[name] for name in stored.files}
    arrays["in__data"] = arrays["in__data"][:, ::-1]
    np.savez(backwards, **arrays)
    assert_blobs(converted_blobs(DATA / "caffe" / case, backwards, tmp_path, "--color-format", "bgr"), io)


MTCNN = {f"mtcnn_det{number}": (f"det{number}.prototxt", f"det{number}.caffemodel") for number in (1, 2, 3)}


@pytest.mark.process
@pytest.mark.parametrize("name", sorted(MTCNN))
def test_mtcnn_as_caffe(name: str, real_data: Path, tmp_path: Path) -> None:
    prototxt, weights = (real_data / "caffe" / name / file for file in MTCNN[name])
    io, model, results = real_data / "reference" / f"{name}.npz", tmp_path / "net.mat", tmp_path / "out.npz"
    arguments = [
        "--prototxt",
        str(prototxt),
        "--caffemodel",
        str(weights),
        "--color-format",
        "rgb",
        "--out",
        str(model),
    ]
    assert convert.main(arguments) == 0
    assert run.main([str(model), str(io), str(results), "--all"]) == 0
    with np.load(results) as stored:
        assert_blobs({name.removeprefix("out__"): stored[name] for name in stored.files}, io)


def test_lenet_of_2014_as_caffe(real_data: Path, tmp_path: Path) -> None:
    folder, io = real_data / "caffe" / "lenet_v1_everpeace", real_data / "reference" / "lenet.npz"
    model, results = tmp_path / "net.mat", tmp_path / "out.npz"
    arguments = [
        str(folder / "lenet.prototxt"),
        str(model),
        "--caffe-data",
        str(folder / "lenet_iter_10000.caffemodel"),
    ]
    assert convert.main(arguments) == 0
    assert run.main([str(model), str(io), str(results), "--all"]) == 0
    with np.load(results) as stored:
        assert_blobs({name.removeprefix("out__"): stored[name] for name in stored.files}, io)


SQUEEZENET = ("SqueezeNet_deploy.prototxt", "decompressed_SqueezeNet.caffemodel")


@pytest.mark.process
def test_squeezenet_scores_and_errors_as_caffe(real_data: Path, tmp_path: Path) -> None:
    """Caffe on 100 images squashed to 256 x 256, centre 227, minus 104, 117, 123 (B, G, R): 36.0 and 17.0 % errors."""
    prototxt, weights = (real_data / "caffe" / "squeezenet" / name for name in SQUEEZENET)
    model = tmp_path / "squeezenet.mat"
    arguments = ["--prototxt", str(prototxt), "--caffemodel", str(weights), "--mean-values", "123,117,104"]
    assert convert.main([*arguments, "--out", str(model)]) == 0
    with np.load(real_data / "reference" / "squeezenet_imagenet100.npz") as reference:
        expected, labels, files = reference["scores"], reference["labels"], reference["files"]
    net = matnet.load(model)
    prepare = Preprocessing.of(net)
    images = [prepare.load(real_data / "images" / "imagenet100" / str(name)) for name in files]
    by_numpy = net(np.stack(images[:5])).reshape(5, -1)
    assert_close(by_numpy, expected[:5], TOLERANCE, "scores by numpy")
    compiled = net.compile(backend="onnx")
    batches = [np.stack(images[start : start + 10]) for start in range(0, 100, 10)]
    scores = np.concatenate([next(iter(compiled(batch).values())) for batch in batches]).reshape(100, -1)
    assert_close(scores, expected, TOLERANCE, "scores")
    ranks = (scores > scores[np.arange(100), labels][:, None]).sum(axis=1)
    assert ((ranks >= 1).mean(), (ranks >= 5).mean()) == (0.36, 0.17)


@pytest.mark.process
def test_resnet_from_its_training_definition(real_data: Path) -> None:
    """CIFAR's images are R, G, B: with them and the mean beside the weights four of five samples come out right."""
    folder = real_data / "caffe" / "resnet20_cifar10"
    files = [folder / "res20_cifar_train_test.prototxt", folder / "ResNet_20.caffemodel"]
    net = matnet.convert_caffe(*files, mean=folder / "mean.binaryproto", color_format="rgb")
    assert net.input_shapes == {"Data1": (1, 3, 32, 32)}
    prepare = Preprocessing.of(net)
    classes = sorted(path for path in (real_data / "images" / "cifar300").iterdir() if path.is_dir())
    samples = [(path, label) for label, folder in enumerate(classes) for path in sorted(folder.iterdir())]
    scores = net(np.stack([prepare.load(path) for path, _ in samples])).reshape(len(samples), -1)
    assert (scores.argmax(axis=1) != [label for _, label in samples]).mean() < 0.25
