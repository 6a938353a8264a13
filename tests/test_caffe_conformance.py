"""Caffe networks through convert, save, load and run, against every blob as BVLC Caffe computed it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from matnet import convert, run
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


@pytest.mark.parametrize("case", CASES)
def test_every_blob_as_caffe(case: str, tmp_path: Path) -> None:
    io = DATA / "caffe" / case / "io.npz"
    assert_blobs(converted_blobs(DATA / "caffe" / case, io, tmp_path), io)


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
