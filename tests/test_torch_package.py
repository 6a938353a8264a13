"""The PyTorch package that a command writes: it runs without matnet, and computes the same."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import matnet
from matnet.command_line import run_command
from matnet.convert import main as convert_main
from matnet.errors import FileFormatError
from matnet.images import Preprocessing
from matnet.torch import save_torch
from matnet.torch.preprocess import preprocess_text
from tests.conftest import DATA

CHAINS: dict[str, dict[str, Any]] = {
    "vl_imreadjpeg": {"interpolation": "bicubic", "crop_fraction": (0.875, 0.875), "mean": (123.7, 116.8, 103.9)},
    "vl_imreadjpeg, squashed": {"keep_aspect": False, "interpolation": "lanczos3", "color": "bgr", "scale": 0.017},
    "imresize": {"resize": "imresize", "crop_fraction": (0.9, 0.8), "mean": "image"},
    "pillow": {"resize": "pillow", "interpolation": "bilinear", "std": (58.0, 57.0, 57.5), "input_range": (0, 1)},
    "pillow, ten crops": {"resize": "pillow", "interpolation": "bilinear", "crop_fraction": (0.8, 0.8), "crops": 10},
    "opencv": {"resize": "opencv", "interpolation": "bilinear", "keep_aspect": False, "crop_fraction": (0.9, 0.9)},
    "opencv-float": {"resize": "opencv-float", "interpolation": "bilinear", "mean": "image", "std": "image"},
    "gray": {"channels": 1, "resize": "pillow", "interpolation": "bilinear"},
    "gray, vl_imreadjpeg": {"channels": 1, "exif": True},
}


def picture(path: Path, *shape: int, orientation: int = 1) -> Path:
    from PIL import Image

    image = Image.fromarray(np.random.default_rng(4).integers(0, 256, shape, np.uint8))
    exif = image.getexif()
    exif[0x0112] = orientation
    image.save(path, exif=exif)
    return path


@pytest.mark.process
@pytest.mark.parametrize("name", CHAINS)
def test_preprocessing_is_the_same_to_the_bit(name: str, tmp_path: Path) -> None:
    size = (31, 24)
    fields = dict(CHAINS[name])
    for what in ("mean", "std"):
        if isinstance(fields.get(what), str):
            fields[what] = np.random.default_rng(1).uniform(50, 150, (*size, 3)).astype(np.float32)
            np.save(tmp_path / f"{what}.npy", fields[what])
    chain = Preprocessing(image_size=size, **fields)
    source = tmp_path / "preprocess.py"
    source.write_text(preprocess_text(chain, "a network"), encoding="utf-8")
    names: dict[str, Any] = {"__name__": "preprocess", "__file__": str(source)}
    module = type(sys)("preprocess")  # dataclasses look their module up
    sys.modules["preprocess"] = module
    module.__dict__.update(names)
    exec(compile(source.read_text(), str(source), "exec"), module.__dict__)
    images = [picture(tmp_path / "a.jpg", 61, 83, 3, orientation=6), picture(tmp_path / "b.png", 31, 24, 3)]
    for image in [*images, picture(tmp_path / "c.png", 20, 45), picture(tmp_path / "d.jpg", 200, 40, 3)]:
        found = module.__dict__["prepare"](image)
        np.testing.assert_array_equal(found.reshape(chain.shape), chain.load(image), err_msg=image.name)


# -- the folder: needs torch ------------------------------------------------------------------------

WITHOUT = """
import sys, json
sys.path.insert(0, {folder!r})
sys.modules["matnet"] = sys.modules["scipy"] = None
import torch
from model import load
from preprocess import prepare
with torch.no_grad():
    print(json.dumps(load()(torch.from_numpy(prepare({image!r}))).flatten().tolist()))
"""


def needs_torch() -> None:
    pytest.importorskip("torch", reason="torch is not installed: pip install 'matnet[torch]'")
    pytest.importorskip("safetensors", reason="safetensors is not installed: pip install 'matnet[torch]'")


def test_the_folder_runs_without_matnet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    needs_torch()
    folder = tmp_path / "net"
    assert convert_main(["digits-lenet", "--to-torch", str(folder)]) == 0
    assert "e-0" in capsys.readouterr().out
    files = {"model.py", "weights.safetensors", "labels.txt", "preprocess.py", "README.md"}
    assert {path.name for path in folder.iterdir()} == files
    image = picture(tmp_path / "digit.png", 11, 9)
    code = WITHOUT.format(folder=str(folder), image=str(image))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    net = matnet.load("digits-lenet")
    expected = net(net.prepare(str(image))).ravel()
    np.testing.assert_allclose(json.loads(done.stdout), expected, atol=1e-6)
    assert (folder / "labels.txt").read_text().split() == list("0123456789")


def test_a_folder_is_written_again_but_not_over_other_files(tmp_path: Path) -> None:
    needs_torch()
    net, folder = matnet.load("digits-lenet"), tmp_path / "net"
    first = save_torch(net, folder)
    assert save_torch(net, folder).files == first.files
    (folder / "notes.txt").write_text("mine")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(FileFormatError, match=r"notes\.txt"):
        save_torch(net, folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["net"]


def test_a_folder_of_other_files_is_refused_before_the_network_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("matnet.convert._network", lambda given: pytest.fail("the network is read first"))
    (tmp_path / "other").write_text("mine")
    assert run_command(convert_main, ["digits-lenet", "--to-torch", str(tmp_path)]) == 2
    assert "'other'" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["README.md", "model.py", "other"])
def test_a_folder_of_other_files_stays_as_it_is(name: str, tmp_path: Path) -> None:
    needs_torch()
    (tmp_path / name).write_text("mine")
    assert run_command(convert_main, ["digits-lenet", "--to-torch", str(tmp_path)]) == 2
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "mine"


@pytest.mark.parametrize("case", ["slice_channels", "embed"])
def test_a_caffe_model_of_several_outputs_or_of_indices(case: str, tmp_path: Path) -> None:
    needs_torch()
    source, folder = DATA / "caffe" / case, tmp_path / "net"
    files = [str(source / "deploy.prototxt"), str(source / "weights.caffemodel")]
    assert convert_main([*(name for name in files if Path(name).exists()), "--to-torch", str(folder)]) == 0
    assert not (folder / "preprocess.py").exists() and (folder / "model.py").exists()


def test_without_torch_the_command_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    assert run_command(convert_main, ["digits-lenet", "--to-torch", str(tmp_path / "net")]) == 2
    assert "pip install 'matnet[torch]'" in capsys.readouterr().err
    assert not (tmp_path / "net").exists()


def test_the_documents_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """docs/pytorch.md, block after block, from the project's folder."""
    needs_torch()
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    from matnet.torch import TRANSLATIONS

    root = DATA.parents[1]
    blocks = re.findall(r"^```python\n(.*?)^```$", (root / "docs" / "pytorch.md").read_text(), re.MULTILINE | re.DOTALL)
    blocks = [block for block in blocks if not re.match("import (openvino|onnx2torch)", block)]  # see test_documents
    assert len(blocks) == 6
    (tmp_path / "models").symlink_to(root / "models")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    known = dict(TRANSLATIONS)
    try:
        for block in blocks:
            exec(block, names)
    finally:
        TRANSLATIONS.clear()
        TRANSLATIONS.update(known)
    assert names["scores"].shape == (1, 10, 1, 1)
    assert names["scores"].argmax() == 7
    assert names["package"].error < 1e-5
