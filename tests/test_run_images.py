"""`matnet.run` on images: the file's own order of channels, the preprocessing of the file or of the options."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

import matnet
from matnet import run
from matnet.arrays import held_names
from matnet.command_line import run_command
from matnet.formats.mat import write_mat

ROOT = Path(__file__).resolve().parents[1]
MODEL = ROOT / "models" / "digits-lenet" / "digits-lenet.mat"
SEVENS = ROOT / "models" / "digits-lenet" / "test" / "7"


def outputs(tmp_path: Path, *arguments: object) -> dict[str, np.ndarray]:
    assert run_command(run.main, [*map(str, arguments), str(tmp_path / "out.npz")]) == 0
    with np.load(tmp_path / "out.npz") as stored:
        return dict(stored)


@pytest.mark.process
def test_an_image_and_a_folder_are_prepared_as_the_file_says(tmp_path: Path) -> None:
    net = matnet.load(MODEL)
    paths = sorted(SEVENS.glob("*.png"))
    expected = net(np.stack([net.preprocessing.load(path) for path in paths]))[:, :, 0, 0]
    found = outputs(tmp_path, MODEL, SEVENS)
    np.testing.assert_allclose(next(iter(found.values())), expected, rtol=1e-5, atol=1e-6)
    shutil.copy(paths[2], tmp_path / "photo")  # no suffix
    found = outputs(tmp_path, MODEL, tmp_path / "photo")
    np.testing.assert_allclose(next(iter(found.values())), expected[2:3], rtol=1e-5, atol=1e-6)


def test_an_image_that_cannot_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"junk")
    assert run_command(run.main, [str(MODEL), str(tmp_path / "bad.jpg"), str(tmp_path / "out.npz")]) == 2
    assert "bad.jpg" in capsys.readouterr().err
    assert not (tmp_path / "out.npz").exists()


@pytest.mark.process
def test_a_caffe_network_gets_its_images_in_its_own_order(real_data: Path, tmp_path: Path) -> None:
    """The reference was computed by another implementation from B, G, R blobs; R, G, B gives other scores."""
    folder = real_data / "caffe" / "squeezenet"
    model = f"{folder / 'SqueezeNet_deploy.prototxt'},{folder / 'decompressed_SqueezeNet.caffemodel'}"
    image = real_data / "images" / "imagenet100" / "n01440764_tench.JPEG"
    found = outputs(tmp_path, "--mean", 123, 117, 104, model, image, "--all")
    net = matnet.load(model)
    rgb = net.prepare(image, mean=(123, 117, 104))
    np.testing.assert_array_equal(found["out__data"], rgb[:, ::-1])
    (scores,) = net.outputs
    np.testing.assert_allclose(found[f"out__{scores}"].ravel(), net(rgb).ravel(), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", ["out.npz", "out.mat", "model.mat"])
def test_what_run_did_not_write_is_not_replaced(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / name
    if name == "model.mat":
        shutil.copy(MODEL, target)
    elif target.suffix == ".npz":
        np.savez(target, out__prob=np.ones(3), accuracy=np.ones(2))
    else:
        write_mat(target, {"subjects": np.ones((3, 4))})
    before = target.read_bytes()
    image = str(next(SEVENS.glob("*.png")))
    assert run_command(run.main, [str(MODEL), image, str(target)]) == 2
    assert str(target) in capsys.readouterr().err
    assert target.read_bytes() == before


@pytest.mark.process
@pytest.mark.parametrize("name", ["out.npz", "out.mat"])
def test_what_run_wrote_is_replaced(name: str, tmp_path: Path) -> None:
    for outputs_of, wanted in (("conv1", "out__conv1"), ("ip1,conv2", "out__ip1")):
        assert run_command(run.main, [str(MODEL), str(SEVENS), str(tmp_path / name), "--outputs", outputs_of]) == 0
        assert wanted in held_names(tmp_path / name)
