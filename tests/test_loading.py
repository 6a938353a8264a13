"""matnet.load: paths of every kind, pairs, folders, bytes, open files and names."""

from __future__ import annotations

import importlib
import io
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import matnet
from matnet.arguments import network_from
from matnet.errors import DownloadError, FileFormatError, MatnetError, run_command
from matnet.network import Network
from matnet.show import parser as show_parser
from matnet.zoo import UnknownModelError, all_cards, find_card

DIGITS = find_card("digits-lenet").folder
MAT, PROTOTXT, CAFFEMODEL = DIGITS / "digits-lenet.mat", DIGITS / "deploy.prototxt", DIGITS / "digits-lenet.caffemodel"
X = np.random.default_rng(2).normal(0, 8, (2, 1, 8, 8)).astype(np.float32)


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MATNET_OFFLINE", "1")
    monkeypatch.setenv("MATNET_HOME", str(tmp_path / "home"))


def assert_is_digits(net: Network) -> None:
    np.testing.assert_allclose(net(X), matnet.load(MAT)(X), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "kind", ["path", "text", "bytes", "open file", "memory", "name", "name.mat", "alias in capitals"]
)
def test_matconvnets_file_in_every_form(kind: str) -> None:
    if kind == "open file":
        with MAT.open("rb") as file:
            net = matnet.load(file)
        assert net.source.path == MAT
    else:
        source = {
            "path": MAT, "text": str(MAT), "bytes": MAT.read_bytes(), "memory": io.BytesIO(MAT.read_bytes()),
            "name": "digits-lenet", "name.mat": "digits-lenet.mat", "alias in capitals": "Digits LeNet",
        }[kind]  # fmt: skip
        net = matnet.load(source)
    assert_is_digits(net)


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("joined", [False, True])
def test_caffes_pair(order: int, joined: bool) -> None:
    pair = [PROTOTXT, CAFFEMODEL][::order]
    net = matnet.load(",".join(map(str, pair))) if joined else matnet.load(*pair)
    assert net.source.format == "caffe"
    assert_is_digits(net)


def test_kinds_go_by_content(tmp_path: Path) -> None:
    for source, name in ((MAT, "net"), (PROTOTXT, "definition.txt"), (CAFFEMODEL, "weights.bin")):
        shutil.copy(source, tmp_path / name)
    assert_is_digits(matnet.load(tmp_path / "net"))
    assert_is_digits(matnet.load(tmp_path / "definition.txt", tmp_path / "weights.bin"))


@pytest.mark.parametrize(
    "files",
    [
        ("readme.md", "deploy.prototxt", "digits-lenet.caffemodel"),
        ("digits-lenet.mat",),
        ("deploy.prototxt", "digits-lenet.caffemodel"),
        ("readme.md", "digits-lenet.mat", "deploy.prototxt"),
    ],
)
def test_a_models_folder(files: tuple[str, ...], tmp_path: Path) -> None:
    folder = tmp_path / "digits-lenet"
    folder.mkdir()
    for name in files:
        shutil.copy(DIGITS / name, folder / name)
    net = matnet.load(folder)
    assert_is_digits(net)
    assert net.source.format == ("simplenn" if "digits-lenet.mat" in files else "caffe")


def test_a_folder_of_several_things_is_refused(tmp_path: Path) -> None:
    for name in ("a.mat", "b.mat"):
        shutil.copy(MAT, tmp_path / name)
    with pytest.raises(FileFormatError, match=r"a\.mat, b\.mat"):
        matnet.load(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileFormatError, match="no network"):
        matnet.load(tmp_path / "empty")


def test_a_path_that_exists_comes_before_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    net = matnet.load(MAT)
    first = next(iter(net.params))
    net.params[first].value = net.params[first].value * 0
    matnet.save(net, "caffe-alex")
    assert not matnet.load("caffe-alex").params[first].value.any()


def test_a_known_model_that_cannot_be_fetched_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DownloadError) as error:
        matnet.load("imagenet-vgg-f")
    for part in ("MATNET_OFFLINE", "by hand", "imagenet-vgg-f.mat", str(tmp_path / "home")):
        assert part in str(error.value)


def test_a_download_that_nobody_can_verify_is_refused_unless_allowed() -> None:
    name = next(
        card.name
        for card in all_cards()
        if not card.mat_urls and card.prototxt
        if (file := card.file("caffemodel")) is not None and not file.hashes
    )
    with pytest.raises(DownloadError, match="allow_unverified=True"):
        matnet.load(name)
    with pytest.raises(DownloadError, match="MATNET_OFFLINE"):
        matnet.load(name, allow_unverified=True)


def test_names_of_nothing() -> None:
    with pytest.raises(UnknownModelError, match="digits-lenet"):
        matnet.load("digits-lenett")
    with pytest.raises(FileFormatError, match="no such file"):
        matnet.load("folder/none.mat")


@pytest.mark.parametrize(
    "source", [None, 3, ["net.mat"], io.StringIO("text"), b"", b"PK no network", io.BytesIO(b"<html>")]
)
def test_what_is_no_network(source: object) -> None:
    with pytest.raises(MatnetError) as error:
        matnet.load(source)  # type: ignore[arg-type]
    assert "/tmp" not in str(error.value)


@pytest.mark.parametrize("source", [str(MAT), f"{PROTOTXT},{CAFFEMODEL}", str(DIGITS), "digits-lenet"])
def test_commands_take_what_python_takes(source: str) -> None:
    assert_is_digits(network_from(source, show_parser().parse_args([source])))


@pytest.mark.parametrize("verb", ["predict", "features", "run", "eval", "doctor", "show"])
def test_an_image_in_the_place_of_a_network(verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As when a person gives image and MODEL in the other order."""
    Image.new("RGB", (4, 5)).save(tmp_path / "photo.jpg")
    more = {"features": ["--layer", "ip1", "--out", str(tmp_path / "f.npz")], "run": [str(tmp_path / "o.npz")]}
    swapped = [str(tmp_path / "photo.jpg"), *([str(MAT)] if verb not in ("show", "eval") else [])]
    module = importlib.import_module("matnet.doctor.__main__" if verb == "doctor" else f"matnet.{verb}")
    given = ["--model", *swapped] if verb == "eval" else [*swapped, *more.get(verb, [])]
    status = run_command(module.main, given)
    said = " ".join("".join(capsys.readouterr()).split())
    assert status == (1 if verb == "doctor" else 2)
    assert "photo.jpg: is an image, not a network" in said
    assert "MODEL" in said
