"""Files of other programs in place of a network: one sentence with their kind and what to do, in whatever is called."""

from __future__ import annotations

import gzip
import pickle
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

import matnet
from matnet import convert, predict, show
from matnet.command_line import run_command
from matnet.errors import FileFormatError
from matnet.kinds import CAFFEMODEL, kind_of
from matnet.zoo import find_card

FOLDER = find_card("digits-lenet").folder
IMAGE = FOLDER / "test/7/0007.png"


def onnx(path: Path) -> None:
    matnet.load("digits-lenet").to_onnx(path.with_suffix(".onnx"))
    path.with_suffix(".onnx").rename(path)


def torch_zip(path: Path) -> None:
    """torch.save since 1.6: a zip archive whose folder holds data.pkl."""
    archive(path, "net/data.pkl", "net/version", "net/data/0")


def torch_pickle(path: Path) -> None:
    """torch.save before 1.6: its magic number, its protocol, then the object, each pickled."""
    path.write_bytes(b"".join(pickle.dumps(part, 2) for part in (0x1950A86A20F9469CFC6C, 1001, {})))


def keras_hdf5(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.attrs["keras_version"] = "2.4.0"
        file.create_group("model_weights")


def archive(path: Path, *names: str) -> None:
    with zipfile.ZipFile(path, "w") as file:
        for name in names:
            file.writestr(name, "{}")


def tar(path: Path) -> None:
    with tarfile.open(path, "w") as file:
        file.add(FOLDER / "digits-lenet.mat", "net.mat")


def message(number: int, content: bytes) -> bytes:
    """A field of a protocol buffer that holds a text or a message."""
    return bytes((number << 3 | 2, len(content))) + content


NODE = message(1, b"input") + message(2, b"Placeholder")
KINDS: dict[str, tuple[Callable[[Path], object], str]] = {
    "ONNX": (onnx, "an ONNX model"),
    "PyTorch": (torch_zip, "a PyTorch file"),
    "PyTorch, old": (torch_pickle, "a PyTorch file"),
    "pickle": (lambda path: path.write_bytes(pickle.dumps({"w": 1}, 4)), "a Python pickle"),
    "Keras, HDF5": (keras_hdf5, "a Keras model"),
    "Keras": (lambda path: archive(path, "metadata.json", "config.json", "model.weights.h5"), "a Keras model"),
    "GraphDef": (lambda path: path.write_bytes(message(1, NODE) * 2), "TensorFlow"),
    "SavedModel": (lambda path: path.write_bytes(b"\x08\x01" + message(2, message(1, b"\x0a\x00"))), "TensorFlow"),
    "TensorFlow Lite": (lambda path: path.write_bytes(b"\x1c\0\0\0TFL3" + bytes(90)), "TensorFlow Lite"),
    "safetensors": (lambda path: path.write_bytes(b"\x08" + bytes(7) + b'{"a":1} '), "safetensors"),
    "MXNet": (lambda path: path.write_bytes(b"\x12\x01" + bytes(90)), "MXNet"),
    "npz": (lambda path: np.savez(path.open("wb"), x=np.ones(3)), "NumPy archive"),
    "npy": (lambda path: np.save(path.open("wb"), np.ones(3)), "NumPy array"),
    "zip": (lambda path: archive(path, "net.mat"), "a zip archive"),
    "gzip": (lambda path: path.write_bytes(gzip.compress(b"net")), "packed archive"),
    "tar": (tar, "packed archive"),
    "web page": (lambda path: path.write_text("<!DOCTYPE html><html></html>"), "a web page"),
    "Git LFS": (lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\n"), "Git LFS pointer"),
    "image": (lambda path: Image.new("RGB", (4, 3)).save(path, "JPEG"), "an image"),
    "PDF": (lambda path: path.write_bytes(b"%PDF-1.4\n%\xe2\xe3\n"), "a PDF document"),
}  # fmt: skip


@pytest.mark.parametrize("suffix", ["mat", "caffemodel", "prototxt", "bin"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_kind_is_named_whatever_the_file_is_called(kind: str, suffix: str, tmp_path: Path) -> None:
    write, named = KINDS[kind]
    file = tmp_path / f"net.{suffix}"
    write(file)
    with pytest.raises(FileFormatError) as caught:
        matnet.load(file)
    assert str(file) in str(caught.value)
    assert named in str(caught.value)
    assert "byte 0: found b" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
def test_as_caffes_weights(kind: str, tmp_path: Path) -> None:
    write, named = KINDS[kind]
    file = tmp_path / "net.JPEG"
    write(file)
    with pytest.raises(FileFormatError, match=f"net.JPEG.*{named}"):
        matnet.load(FOLDER / "deploy.prototxt", file)


@pytest.mark.parametrize("verb", ["predict", "show", "convert", "convert a pair"])
def test_commands_name_it(verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, out = tmp_path / "net.onnx", tmp_path / "net.mat"
    onnx(file)
    main, arguments = {
        "predict": (predict.main, [file, IMAGE]),
        "show": (show.main, [file]),
        "convert": (convert.main, [file, out]),
        "convert a pair": (convert.main, [FOLDER / "deploy.prototxt", file, out]),
    }[verb]
    assert run_command(main, list(map(str, arguments))) == 2
    assert f"{file}: is an ONNX model" in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize("name", ["net", "BZh", "%PDF-", "\n\x03abc"])
def test_the_weights_of_a_network_of_any_name_are_still_weights(name: str, tmp_path: Path) -> None:
    """A caffemodel starts with the name of its net."""
    file = tmp_path / "net.caffemodel"
    file.write_bytes(message(1, name.encode()) + (FOLDER / "digits-lenet.caffemodel").read_bytes())
    assert kind_of(file) == CAFFEMODEL
